"""timbre: voice cloning with studio-clean sound.

    import timbre

    clean = timbre.enhance(samples, rate)
    with timbre.Pipeline() as pipeline:
        speech = pipeline.clone("Hello.", ref_audio="voice.wav", ref_text="What voice.wav says.")
        speech.save("hello.wav")

Arrays are numpy's where numpy is installed, and otherwise memoryviews of floats. Log lines go to the logger "timbre".
"""

from __future__ import annotations

from ._audio import Enhancer, FileInfo, enhance, enhance_file, read, resample, resample_file, write
from ._core import version as __version__
from ._errors import (
    ArgumentError,
    BatchError,
    CancelledError,
    ClosedError,
    Error,
    FileError,
    FileMissingError,
    ForkError,
    FormatError,
    InternalError,
    LimitError,
    ModelError,
    OutOfMemoryError,
    TimeLimitError,
    UnsupportedError,
)
from ._pipeline import Pipeline, Stream
from ._speech import Segment, Speech, SpeechInfo
from ._voice import Voice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._aio import AsyncStream
    from .services import AudioPipeline, NoiseRemovalService, ResamplerService

__all__ = [
    "ArgumentError",
    "AsyncStream",
    "AudioPipeline",
    "BatchError",
    "CancelledError",
    "ClosedError",
    "Enhancer",
    "Error",
    "FileError",
    "FileInfo",
    "FileMissingError",
    "ForkError",
    "FormatError",
    "InternalError",
    "LimitError",
    "ModelError",
    "NoiseRemovalService",
    "OutOfMemoryError",
    "Pipeline",
    "ResamplerService",
    "Segment",
    "Speech",
    "SpeechInfo",
    "Stream",
    "TimeLimitError",
    "UnsupportedError",
    "Voice",
    "__version__",
    "enhance",
    "enhance_file",
    "read",
    "resample",
    "resample_file",
    "write",
]

# What few need is imported when it is first asked for: asyncio alone takes as long as all of this.
_LATER = {
    "AsyncStream": "_aio",
    "AudioPipeline": "services",
    "NoiseRemovalService": "services",
    "ResamplerService": "services",
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module 'timbre' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
