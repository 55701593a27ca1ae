"""The same for asyncio. One inbox serves all that an event loop waits for in a pipeline; its descriptor wakes the
loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref

from . import _core
from ._batch import Batch
from ._context import Context
from ._request import failure, submit
from ._samples import give
from ._speech import Speech, SpeechInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any

    from ._request import Progress
    from ._samples import Samples

_tokens = itertools.count()
# Guarded by the GIL: a loop's thread alone touches its hub.
_hubs: weakref.WeakKeyDictionary[Context, dict[asyncio.AbstractEventLoop, _Hub]] = weakref.WeakKeyDictionary()
_BATCH_TOKENS = 1 << 32  # tokens that a batch may use


class _Hub:
    """Hands the events of one inbox to those who wait in one event loop. Exists while somebody does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inbox = _core.inbox()
        self.descriptor = _core.inbox_descriptor(self.inbox)
        self.thread = threading.get_ident()
        self.queues: dict[int, asyncio.Queue[Any]] = {}
        loop.add_reader(self.descriptor, self._drain)

    def _drain(self) -> None:
        while True:
            event = _core.inbox_next(self.inbox, False)
            if event is None:
                return
            queue = self.queues.get(event[0] - event[0] % _BATCH_TOKENS)
            if queue is not None:
                queue.put_nowait(event)


class _Place:
    """A token's queue in the hub of the running loop."""

    def __init__(self, context: Context) -> None:
        loop = asyncio.get_running_loop()
        self._hubs = _hubs.setdefault(context, {})
        hub = self._hubs.get(loop)
        if hub is None:
            hub = self._hubs[loop] = _Hub(loop)
        self.hub = hub
        self.token = next(_tokens) * _BATCH_TOKENS
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        hub.queues[self.token] = self.queue

    def leave(self) -> None:
        hub = self.hub
        if hub.queues.pop(self.token, None) is not None and not hub.queues:
            del self._hubs[hub.loop]
            if not hub.loop.is_closed():
                hub.loop.remove_reader(hub.descriptor)
            _core.inbox_close_descriptor(hub.inbox)


async def aclone(context: Context, item: Mapping[str, Any], progress: Progress | None) -> Speech:
    """Clones an item; what cancels the task cancels it."""
    place = _Place(context)
    flight: Any = None
    try:
        flight = submit(context, place.hub.inbox, place.token, item, audio=False, progress=progress is not None)
        while True:
            _, kind, value, extra = await place.queue.get()
            if kind == "progress" and progress is not None:
                progress(value, extra)
            elif kind == "result":
                if "error" in value:
                    raise failure(value)
                return Speech(value)
    finally:
        place.leave()
        if flight is not None:
            _core.cancel(flight[0])


class AsyncStream:
    """Speech while it is made: an asynchronous iterator of arrays (float32, mono, `rate` Hz). Begins when it is first
    waited for. Cancelling the task that waits, `aclose`, or letting it go cancels what was not spoken yet. An
    asynchronous context manager.

    Attributes:
        rate (int | None): Hz, known with the first array.
        info (SpeechInfo | None): set when the speech has ended.
    """

    def __init__(self, context: Context, item: Mapping[str, Any], progress: Progress | None) -> None:
        self.rate: int | None = None
        self.info: SpeechInfo | None = None
        self._context = context
        self._fields: Mapping[str, Any] | None = item
        self._progress = progress
        self._place: _Place | None = None
        self._flight: Any = None

    def __aiter__(self) -> AsyncStream:
        return self

    def _begin(self) -> None:
        if self._fields is not None:
            fields, self._fields = self._fields, None
            self._place = _Place(self._context)
            self._flight = submit(
                self._context,
                self._place.hub.inbox,
                self._place.token,
                fields,
                audio=True,
                progress=self._progress is not None,
                stream=True,
            )

    def _end(self) -> None:
        place, flight = self._place, self._flight
        self._fields = self._place = self._flight = None
        if place is not None:
            place.leave()
        if flight is not None:
            _core.cancel(flight[0])

    async def __anext__(self) -> Samples:
        try:
            self._begin()
            while self._place is not None:
                _, kind, value, extra = await self._place.queue.get()
                if kind == "audio":
                    self.rate = extra
                    return give(value)
                if kind == "progress":
                    if self._progress is not None:
                        self._progress(value, extra)
                    continue
                self._end()
                if "error" in value:
                    raise failure(value)
                self.info = SpeechInfo(value)
                self.rate = self.info.rate
        except BaseException:
            self._end()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancels the speech if it has not ended."""
        self._end()

    def __del__(self) -> None:
        place = self._place
        if place is None:
            return
        if place.hub.thread == threading.get_ident() or place.hub.loop.is_closed():
            place.leave()
        else:
            place.hub.loop.call_soon_threadsafe(place.leave)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


async def aclone_batch(
    context: Context,
    items: Iterable[Mapping[str, Any]],
    return_exceptions: bool,
    progress: Callable[[int, str, float], object] | None,
    window: int,
) -> AsyncIterator[Speech]:
    """Clones many items and yields each as it ends."""
    place = _Place(context)
    batch = Batch(context, place.hub.inbox, items, progress, return_exceptions, place.token, window)
    try:
        batch.feed()
        while batch.flying or batch.failed:
            for ended in batch.early():
                yield ended
            if batch.flying:
                for ended in batch.take(*await place.queue.get()):
                    yield ended
    finally:
        place.leave()
        batch.cancel()
    batch.finish()
