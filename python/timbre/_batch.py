"""Many items at once."""

from __future__ import annotations

from . import _core
from ._context import Context
from ._errors import ArgumentError, BatchError, ClosedError, Error, ForkError, LimitError
from ._request import failure, submit
from ._speech import Speech

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

WINDOW = 256  # items of a batch that are under way


class Batch:
    """A batch under way: feeds items as room is made and hands out what ends. For `clone_batch` and its kin, which
    differ in how they wait for news."""

    def __init__(
        self,
        context: Context,
        inbox: Any,
        items: Iterable[Mapping[str, Any]],
        progress: Callable[[int, str, float], object] | None,
        return_exceptions: bool,
        first_token: int = 0,
        window: int = WINDOW,
    ) -> None:
        self.context = context
        self.inbox = inbox
        self.items = iter(items)
        self.progress = progress
        self.return_exceptions = return_exceptions
        self.first = first_token
        self.window = window
        self.count = 0
        self.waiting: Mapping[str, Any] | None = None  # an item that the queue had no room for
        self.flying: dict[int, Any] = {}
        self.failed: list[Error] = []  # before they were under way
        self.errors: list[Error] = []  # that are told at the end

    def feed(self) -> None:
        """Starts items as far as there is room."""
        while len(self.flying) < self.window:
            item = self.waiting
            if item is None:
                item = next(self.items, None)
                if item is None:
                    return
                if not hasattr(item, "keys"):
                    raise TypeError(f"an item is a mapping of fields, not {type(item).__name__}")
            self.waiting = None
            index = self.count
            try:
                self.flying[index] = submit(
                    self.context, self.inbox, self.first + index, item, audio=False, progress=self.progress is not None
                )
            except (ClosedError, ForkError):
                raise
            except LimitError as error:
                if self.flying:
                    self.waiting = item
                    return
                self._refuse(error, item, index)
            except Error as error:
                self._refuse(error, item, index)
            except (TypeError, ValueError, OSError) as error:
                refused = ArgumentError(str(error))
                refused.__cause__ = error
                self._refuse(refused, item, index)
            self.count += 1

    def _refuse(self, error: Error, item: Mapping[str, Any], index: int) -> None:
        name = item.get("custom_id")
        error.custom_id, error.index = name if isinstance(name, str) else None, index
        self.failed.append(error)

    def early(self) -> Iterator[Any]:
        """What is handed out of the items that failed before they were under way."""
        while self.failed:
            yield from self._hand_out(self.failed.pop(0))

    def take(self, token: int, kind: str, value: Any, extra: Any) -> Iterator[Any]:
        """Takes news of an item: what is handed out for it, and nothing for progress."""
        index = token - self.first
        if kind == "progress":
            if self.progress is not None:
                self.progress(index, value, extra)
            return
        del self.flying[index]
        ended = failure(value, index) if "error" in value else Speech(dict(value), index)
        self.feed()
        yield from self._hand_out(ended)

    def _hand_out(self, ended: Speech | Error) -> Iterator[Any]:
        if isinstance(ended, Speech) or self.return_exceptions:
            yield ended
        else:
            self.errors.append(ended)

    def finish(self) -> None:
        """All have ended: raises what was not handed out."""
        if self.errors:
            raise BatchError(self.errors)

    def cancel(self) -> None:
        """Cancels what is under way."""
        for item, _ in self.flying.values():
            _core.cancel(item)
        self.flying.clear()
