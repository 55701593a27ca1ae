"""Arrays in and out: the buffer protocol, numpy where it is installed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    import numpy
    from numpy.typing import NDArray

    Samples = NDArray[numpy.float32]
    Buffer = Union[NDArray[Any], memoryview, bytes, bytearray, Any]

MAXIMUM_CHANNELS = 8
_FORMATS = {("f", 4): "f", ("d", 8): "d", ("e", 2): "e", ("h", 2): "h", ("i", 4): "i", ("l", 4): "i", ("B", 1): "B"}
_WANTED = "float16, float32, float64, int16, int32 or uint8"


def _numpy() -> Any:
    """numpy where it is installed, otherwise None."""
    module = sys.modules.get("numpy")
    if module is None:
        try:
            import numpy as module
        except ImportError:
            return None
    return module


def _view(samples: object) -> memoryview:
    try:
        return memoryview(samples)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError) as error:
        # Tensors and the like have no buffer, but know how to become an array; arrays of dates cannot have one.
        if hasattr(samples, "__array__") and not isinstance(samples, getattr(_numpy(), "ndarray", ())):
            numpy = _numpy()
            if numpy is not None:
                return memoryview(numpy.asarray(samples))
        raise TypeError(
            f"samples are an array of {_WANTED} (numpy, array.array, memoryview), not {type(samples).__name__}: {error}"
        ) from None


def _swapped(data: bytes, width: int) -> bytes:
    out = bytearray(len(data))
    for i in range(width):
        out[i::width] = data[width - 1 - i :: width]
    return bytes(out)


def take(samples: object, what: str = "samples") -> tuple[bytes, str, int, int]:
    """The bytes of an array [length] or [length, channels], interleaved, their format, length and channels."""
    if isinstance(samples, (bytes, bytearray)):
        raise TypeError(
            f"{what} must be an array of {_WANTED}, not {type(samples).__name__}: bytes do not say what their "
            'samples are; use memoryview(...).cast("h") or numpy.frombuffer'
        )
    view = _view(samples)
    order, name = (
        (view.format[0], view.format[1:]) if view.format[:1] in "@=<>!" and view.format[:1] else ("@", view.format)
    )
    code = _FORMATS.get((name, view.itemsize))
    if code is None:
        kind = getattr(samples, "dtype", None) or getattr(samples, "typecode", None) or view.format
        raise TypeError(f"{what} must be {_WANTED}, not {kind}")
    if view.ndim == 0 or view.ndim > 2:
        raise ValueError(f"{what} must have the shape [length] or [length, channels], not {view.ndim} dimensions")
    shape = tuple(view.shape or ())
    length, channels = shape[0], shape[1] if view.ndim == 2 else 1
    if not 1 <= channels <= MAXIMUM_CHANNELS:
        turned = 1 <= length <= MAXIMUM_CHANNELS < channels
        raise ValueError(
            f"{what} must have the shape [length, channels] with 1 to {MAXIMUM_CHANNELS} channels, not {list(shape)}"
            + ("; turned round it would do: use array.T" if turned else "")
        )
    data = view.tobytes()
    little = sys.byteorder == "little"
    if view.itemsize > 1 and (order in ">!" if little else order == "<"):
        data = _swapped(data, view.itemsize)
    return data, code, length, channels


def give(data: bytearray, channels: int = 1, flat: bool = True) -> Samples:
    """Floats as numpy's array, or as a memoryview of floats without numpy. `flat`: [length] for one channel."""
    numpy = _numpy()
    length = len(data) // (4 * channels)
    result: Any
    if numpy is not None:
        result = numpy.frombuffer(data, dtype=numpy.float32)
        if not flat or channels > 1:
            result = result.reshape(length, channels)
    elif length == 0 or (flat and channels == 1):
        result = memoryview(data).cast("f")
    else:
        result = memoryview(data).cast("f", (length, channels))
    floats: Samples = result
    return floats


def rate_of(rate: Any, what: str = "rate") -> int:
    """A sampling rate as an integer, or what is wrong with it."""
    if isinstance(rate, bool) or not hasattr(rate, "__index__"):
        raise TypeError(f"{what} is an integer in Hz, not {type(rate).__name__}")
    number = int(rate.__index__())
    if not 4000 <= number <= 192000:
        raise ValueError(f"{what} is 4000 to 192000 Hz, not {number}")
    return number
