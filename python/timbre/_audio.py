"""Cleaning and resampling of arrays and files."""

from __future__ import annotations

import os

from . import _context, _core
from ._samples import give, rate_of, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, Literal, Union

    from ._samples import Buffer, Samples

    Path = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    Level = Literal["auto", "off"]
    Resampler = Literal["auto", "soxr", "polyphase", "sinc"]
    Encoding = Literal["s16", "s24", "float"]

_CONTAINERS = {"auto": 0, "wav": 1, "flac": 2, "ogg": 3, "opus": 4, "mp3": 5, "raw": 6, "aac": 7}
_ENCODINGS = {"s16": 0, "s24": 1, "float": 2}


class FileInfo:
    """What was made of a file: `path`, `rate` (Hz), `channels`, `length` (samples per channel), `duration` (seconds),
    `clipped` (samples that were beyond full scale) and `warnings` (list of str)."""

    __slots__ = ("path", "rate", "channels", "length", "clipped", "warnings")

    def __init__(self, path: str, rate: int, channels: int, length: int, clipped: int, warnings: list[str]) -> None:
        self.path = path
        self.rate = rate
        self.channels = channels
        self.length = length
        self.clipped = clipped
        self.warnings = warnings

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.length / self.rate

    def __repr__(self) -> str:
        return f"<timbre.FileInfo {self.path!r}: {self.duration:.2f} s at {self.rate} Hz>"


def target_of(path: Path, container: str | None, encoding: str) -> tuple[bytes, int, int]:
    """A file to be written, as the extension takes it."""
    if container is not None and container not in _CONTAINERS:
        raise ValueError(f"format is one of {', '.join(_CONTAINERS)}, not {container!r}")
    if encoding not in _ENCODINGS:
        raise ValueError(f"encoding is one of {', '.join(_ENCODINGS)}, not {encoding!r}")
    return os.fsencode(path), _CONTAINERS[container or "auto"], _ENCODINGS[encoding]


def _cleaning(
    attenuation_limit_db: float | None, post_filter_beta: float | None, level: str, resampler: str, output_rate: int
) -> dict[str, Any]:
    return {
        "attenuation_limit_db": attenuation_limit_db,
        "post_filter_beta": post_filter_beta,
        "level": level,
        "resampler": resampler,
        "output_rate": rate_of(output_rate, "output_rate"),
    }


def enhance(
    samples: Buffer,
    rate: int,
    *,
    attenuation_limit_db: float | None = None,
    post_filter_beta: float | None = None,
    level: Level = "auto",
    output_rate: int = 48000,
    resampler: Resampler = "auto",
) -> Samples:
    """Removes noise from a recording.

    Args:
        samples (array): [length] or [length, channels]; float16, float32 or float64 in [-1, 1], int16, int32 or uint8.
            Each channel is cleaned by itself.
        rate (int): Hz, 4000 to 192000.
        attenuation_limit_db (float): nothing is lowered by more than this; 100, the default, is no limit, 0 a bypass.
        post_filter_beta (float): presses down what is very noisy a little more; 0, the default, is off, 0.02 usual.
        level ("auto" | "off"): "auto" keeps speech that is much too quiet or too loud like any other.
        output_rate (int): Hz; 48000 is the model's own.
        resampler (str): "auto", "soxr", "polyphase" or "sinc", for rates other than 48000.

    Returns:
        numpy.ndarray of float32 with the input's dimensions, at `output_rate`, aligned with the input; without numpy a
        memoryview of floats.

    Raises:
        TypeError, ValueError: samples that are no audio; a NaN among them.
        timbre.ModelError: the denoiser's weights are missing.
    """
    data, code, _, channels = take(samples)
    options = _cleaning(attenuation_limit_db, post_filter_beta, level, resampler, output_rate)
    options.update(input_rate=rate_of(rate), channels=channels)
    return give(_core.enhance(_context.default().core, data, code, options), channels, getattr(samples, "ndim", 1) == 1)


def enhance_file(
    source: Path,
    target: Path,
    *,
    attenuation_limit_db: float | None = None,
    post_filter_beta: float | None = None,
    level: Level = "auto",
    output_rate: int = 48000,
    resampler: Resampler = "auto",
    encoding: Encoding = "s16",
    format: str | None = None,
    max_seconds: float = 0.0,
    salvage: bool = False,
    ffmpeg: bool = True,
) -> FileInfo:
    """Removes noise from a file, as `timbre enhance` does: the same samples, titles and marks are kept.

    Args:
        source, target (path): the format of the target is taken from its name's ending, or `format`.
        encoding ("s16" | "s24" | "float"): of the target's samples.
        format (str): "wav", "flac", "ogg", "opus", "mp3", "aac" or "raw".
        max_seconds (float): longer recordings are refused; 0 is no limit.
        salvage (bool): a damaged file is read as far as it goes, with a warning.
        ffmpeg (bool): formats that only ffmpeg decodes are given to it, if it is installed.
        The others are those of `enhance`.

    Returns:
        FileInfo.
    """
    goal = target_of(target, format, encoding)
    options = _cleaning(attenuation_limit_db, post_filter_beta, level, resampler, output_rate)
    made = _core.enhance_file(
        _context.default().core, os.fsencode(source), goal, options, (float(max_seconds), salvage, ffmpeg)
    )
    return FileInfo(os.fsdecode(target), *made)


def resample(samples: Buffer, rate: int, new_rate: int, *, resampler: Resampler = "auto") -> Samples:
    """Changes the rate of a recording; at equal rates the samples pass bit for bit.

    Args:
        samples (array): [length] or [length, channels], as for `enhance`.
        rate, new_rate (int): Hz, 4000 to 192000.
        resampler (str): "auto", "soxr", "polyphase" (as scipy's resample_poly) or "sinc" (as torchaudio's resample).

    Returns:
        numpy.ndarray of float32 with the input's dimensions; without numpy a memoryview of floats.
    """
    data, code, _, channels = take(samples)
    out = _core.resample(
        _context.default().core, data, code, channels, rate_of(rate), rate_of(new_rate, "new_rate"), resampler
    )
    return give(out, channels, getattr(samples, "ndim", 1) == 1)


def resample_file(
    source: Path,
    target: Path,
    new_rate: int,
    *,
    resampler: Resampler = "auto",
    encoding: Encoding = "s16",
    format: str | None = None,
    max_seconds: float = 0.0,
    salvage: bool = False,
    ffmpeg: bool = True,
) -> FileInfo:
    """Changes the rate of a file, as `timbre resample` does. Arguments as for `enhance_file`.

    Returns:
        FileInfo.
    """
    made = _core.resample_file(
        _context.default().core,
        os.fsencode(source),
        target_of(target, format, encoding),
        rate_of(new_rate, "new_rate"),
        resampler,
        (float(max_seconds), salvage, ffmpeg),
    )
    return FileInfo(os.fsdecode(target), *made)


def read(
    source: Path | bytes, *, max_seconds: float = 1800.0, salvage: bool = False, ffmpeg: bool = True
) -> tuple[Samples, int]:
    """Decodes an audio file.

    Args:
        source (path, or the file's bytes)

    Returns:
        (samples, rate): numpy.ndarray of float32, [length] or [length, channels], and Hz.
    """
    limits = (float(max_seconds), salvage, ffmpeg)
    if isinstance(source, (bytes, bytearray, memoryview)):
        made = _core.read(b"", bytes(source), limits)
    else:
        made = _core.read(os.fsencode(source), None, limits)
    return give(made[0], made[2]), made[1]


def write(target: Path, samples: Buffer, rate: int, *, encoding: Encoding = "s16", format: str | None = None) -> int:
    """Writes an audio file, whole or not at all.

    Returns:
        int: samples that were beyond full scale and clipped.
    """
    path, container, kind = target_of(target, format, encoding)
    data, code, _, channels = take(samples)
    return _core.write(path, data, code, channels, rate_of(rate), container, kind)


class Enhancer:
    """Removes noise from a stream: `push` what comes, use what is ready, `flush` at the end.

    Args:
        rate (int): Hz of what is pushed.
        channels (int): 1 to 8.
        low_latency (bool): works frame by frame (10 ms) instead of in blocks, half a second ahead; more time.
        compensate_delay (bool): the output is aligned with the input and as long.
        The others are those of `enhance`. The stream follows the level of what has come so far.

    How the input is cut does not change the output. Any thread may push; one at a time is served. A context manager;
    `iterate` makes an iterator of it.
    """

    def __init__(
        self,
        rate: int = 48000,
        *,
        channels: int = 1,
        attenuation_limit_db: float | None = None,
        post_filter_beta: float | None = None,
        level: Level = "auto",
        output_rate: int = 48000,
        resampler: Resampler = "auto",
        low_latency: bool = False,
        compensate_delay: bool = True,
    ) -> None:
        options = _cleaning(attenuation_limit_db, post_filter_beta, level, resampler, output_rate)
        options.update(
            input_rate=rate_of(rate), channels=channels, low_latency=low_latency, compensate_delay=compensate_delay
        )
        self._core = _core.enhancer(_context.default().core, options)
        self.rate = options["input_rate"]
        self.output_rate = options["output_rate"]
        self.channels = channels

    def push(self, samples: Buffer) -> Samples:
        """Takes samples, [length] or [length, channels], and returns those that are ready (possibly none)."""
        data, code, _, channels = take(samples)
        if channels != self.channels and len(data) > 0:
            raise ValueError(f"this enhancer was made for {self.channels} channels, and the samples have {channels}")
        return give(_core.enhancer_push(self._core, data, code), self.channels)

    def flush(self) -> Samples:
        """The input is complete: returns the rest. Then only `close` is allowed."""
        return give(_core.enhancer_flush(self._core), self.channels)

    def iterate(self, chunks: Iterable[Buffer]) -> Iterator[Samples]:
        """Cleans arrays as they come, and yields arrays that are not empty; the last after the input has ended."""
        for chunk in chunks:
            ready = self.push(chunk)
            if len(ready) > 0:
                yield ready
        ready = self.flush()
        if len(ready) > 0:
            yield ready

    @property
    def local_snr(self) -> float:
        """The signal-to-noise ratio in dB that the model saw in its last frame (first channel)."""
        return _core.enhancer_snr(self._core)

    def close(self) -> None:
        """Frees the stream."""
        _core.enhancer_close(self._core)

    def __enter__(self) -> Enhancer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
