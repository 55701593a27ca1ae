"""What was spoken."""

from __future__ import annotations

import os

from ._audio import target_of
from ._samples import give, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._audio import Encoding, Path
    from ._samples import Samples


class Segment:
    """A piece of a long text and where it lies in the speech: `text`, `start` and `end` in seconds."""

    __slots__ = ("text", "start", "end")

    def __init__(self, text: str, start: float, end: float) -> None:
        self.text = text
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"Segment({self.text!r}, {self.start:.3f}, {self.end:.3f})"


def _warnings(result: dict[str, Any], reference: dict[str, Any] | None) -> list[str]:
    warnings = [str(line) for line in (reference or {}).get("warnings") or []]
    if result["voice_unusable"]:
        warnings.append("The saved voice could not be used; the recording was used instead.")
    if result["instruct_dropped"]:
        warnings.append("The model does not follow instructions; it was given none.")
    return warnings


class SpeechInfo:
    """What is known of speech in addition to its samples.

    Attributes:
        custom_id (str | None): the item's name as it was given. index (int | None): its place in a batch.
        rate (int): Hz. duration (float): seconds.
        engine (str): "preview", "qwen3", "remote". model (str | None): the name of the model that spoke.
        is_clone (bool): False: another voice than the recording's spoke.
        finish_reason (str): "stop", "length", "runaway".
        seed (int): the same seed gives the same speech.
        timings (dict[str, float]): seconds in each stage, and "first_audio" and "total" from the call on.
        segments (list[Segment]): the pieces of a long text.
        warnings (list[str]): what to know about the recording and the call; empty: nothing.
        reference (dict | None): what was measured of the recording.
    """

    def __init__(self, result: dict[str, Any], index: int | None = None) -> None:
        self.custom_id: str | None = result["custom_id"]
        self.index = index
        self.rate: int = result["sample_rate"]
        self.duration: float = result["duration"]
        self.engine: str = result["engine"]
        self.model: str | None = result["model"]
        self.is_clone: bool = result["is_clone"]
        self.finish_reason: str = result["finish_reason"]
        self.seed: int = result["seed"]
        self.timings: dict[str, float] = result["timings"]
        self.segments: list[Segment] = [Segment(*segment) for segment in result["segments"]]
        self.reference: dict[str, Any] | None = None
        if result["reference"] is not None:
            import json

            self.reference = json.loads(result["reference"])
        self.warnings: list[str] = _warnings(result, self.reference)

    def __repr__(self) -> str:
        name = f"{self.custom_id!r}: " if self.custom_id is not None else ""
        return f"<timbre.{type(self).__name__} {name}{self.duration:.2f} s at {self.rate} Hz by {self.engine}>"


class Speech(SpeechInfo):
    """Speech and what is known of it: SpeechInfo, and

    Attributes:
        samples (numpy.ndarray of float32, [length]): mono; without numpy a memoryview of floats.
    """

    def __init__(self, result: dict[str, Any], index: int | None = None) -> None:
        super().__init__(result, index)
        self.samples: Samples = give(result["samples"])

    def save(self, path: Path, *, encoding: Encoding = "s16", format: str | None = None) -> int:
        """Writes a file, whole or not at all; its format is taken from the name's ending, or `format`.

        Returns:
            int: samples that were beyond full scale and clipped.
        """
        from ._audio import write

        return write(path, self.samples, self.rate, encoding=encoding, format=format)

    def to_bytes(self, format: str = "wav", *, encoding: Encoding = "s16") -> bytes:
        """The same as bytes of a file.

        Returns:
            bytes.
        """
        import tempfile

        target_of("x", format, encoding)
        with tempfile.TemporaryDirectory(prefix="timbre-") as folder:
            path = os.path.join(folder, "speech")
            self.save(path, encoding=encoding, format=format)
            with open(path, "rb") as file:
                return file.read()


def wave_bytes(samples: object, rate: int) -> bytes:
    """Samples of several channels as a WAV file of 32-bit floats, which the library reads like any recording."""
    import struct

    from . import _core

    data, code, length, channels = take(samples, "ref_audio")
    floats = data if code == "f" else bytes(_core.floats(data, code))
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(floats),
        b"WAVE",
        b"fmt ",
        16,
        3,
        channels,
        rate,
        rate * channels * 4,
        channels * 4,
        32,
        b"data",
        len(floats),
    )
    return head + floats
