"""What goes wrong: one class for each status of the library, all of them `timbre.Error`."""

from __future__ import annotations

import errno as _errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Error(Exception):
    """A call failed. Programs decide by the class, `status`, `field` and `errno`; the text is for people.

    Attributes:
        status (str): the library's word: "argument", "memory", "io", "format", "model", "unsupported", "limit",
            "cancelled", "timeout", "internal".
        field (str | None): the request's field that is to blame, as "ref_audio".
        errno (int | None): of the system call that failed.
        reason (str): the text without the file's name.
        custom_id (str | None), index (int | None): of a batch's item, its name and its place in the batch.
        reference (dict | None): what was measured of a recording that was refused.
    """

    status: str = "internal"
    field: str | None = None
    reason: str = ""
    custom_id: str | None = None
    index: int | None = None
    reference: dict[str, object] | None = None
    errno: int | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(kind: type[Error], arguments: tuple[object, ...], attributes: dict[str, object]) -> Error:
    error = kind(*arguments)
    error.__dict__.update(attributes)
    return error


class ArgumentError(Error, ValueError):
    """Something that no call of this kind accepts."""

    status = "argument"


class OutOfMemoryError(Error, MemoryError):
    """The system or the memory budget has no room."""

    status = "memory"


class FileError(Error, OSError):
    """A file or pipe could not be read or written."""

    status = "io"


class FileMissingError(FileError, FileNotFoundError):
    """There is no such file."""


class FormatError(Error, ValueError):
    """The bytes are not what they should be: audio, a model, a voice."""

    status = "format"


class ModelError(Error):
    """A model is missing or does not fit; the text says how to get it."""

    status = "model"


class UnsupportedError(Error):
    """Legal, but this build, machine or model cannot do it."""

    status = "unsupported"


class LimitError(Error):
    """Over a limit: length, size, count, queue."""

    status = "limit"


class CancelledError(Error):
    """The item was cancelled, or its pipeline closed."""

    status = "cancelled"


class TimeLimitError(Error, TimeoutError):
    """A time limit passed."""

    status = "timeout"


class InternalError(Error):
    """A bug in timbre."""

    status = "internal"


class ForkError(Error, RuntimeError):
    """timbre was used in the parent process, and this is its fork."""

    status = "unsupported"


class ClosedError(Error, ValueError):
    """The pipeline was closed."""

    status = "argument"


class BatchError(Error):
    """Some items of a batch failed; the others were delivered.

    Attributes:
        errors (list[Error]): one for each item that failed, with `custom_id` and `index`.
        results (dict): of AudioPipeline: what became of the others, by custom_id.
    """

    def __init__(self, errors: list[Error], results: dict[str, Any] | None = None) -> None:
        self.errors = errors
        self.results = results if results is not None else {}
        first = errors[0]
        name = first.custom_id if first.custom_id is not None else f"item {first.index}"
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{name}: {first}{more}")
        self.status, self.field = first.status, first.field
        self.custom_id, self.index = first.custom_id, first.index

    def __reduce__(self) -> tuple[object, ...]:
        return BatchError, (self.errors, self.results)


_CLASSES: dict[str, type[Error]] = {
    kind.status: kind
    for kind in (
        ArgumentError,
        OutOfMemoryError,
        FileError,
        FormatError,
        ModelError,
        UnsupportedError,
        LimitError,
        CancelledError,
        TimeLimitError,
        InternalError,
    )
}


def from_core(status: str, message: str, field: str | None, system: int, name_bytes: int) -> Error:
    """The exception for a `tmb_error`; the extension calls this."""
    kind = _CLASSES.get(status, InternalError)
    if kind is FileError and system == _errno.ENOENT:
        kind = FileMissingError
    error = kind(message)
    error.field = field
    error.errno = system or None
    error.reason = message.encode("utf-8", "replace")[name_bytes:].decode("utf-8", "replace")
    return error
