"""An item: its fields, as callers give them and as the extension takes them."""

from __future__ import annotations

import os

from . import _core
from ._context import Context
from ._errors import Error, from_core
from ._samples import rate_of, take
from ._speech import wave_bytes
from ._voice import Voice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypedDict, Union

    from ._audio import Level, Path
    from ._samples import Buffer

    Reference = Union[Path, bytes, tuple[Buffer, int], Voice]
    Progress = Callable[[str, float], object]

    class Cleaning(TypedDict, total=False):
        """How a cleaning stage works."""

        attenuation_limit_db: float
        post_filter_beta: float
        level: Level

    class CloneOptions(TypedDict, total=False):
        """The fields of an item other than its text; None means the same as leaving a field out."""

        ref_audio: Reference | None
        ref_text: str | None
        voice: Path | Voice | None
        language: str | None
        custom_id: str | None
        model: str | None
        speaker: str | None
        instruct: str | None
        temperature: float | None
        top_k: int | None
        top_p: float | None
        repetition_penalty: float | None
        greedy: bool | None
        do_sample: bool | None
        subtalker_dosample: bool | None
        subtalker_temperature: float | None
        subtalker_top_k: int | None
        subtalker_top_p: float | None
        seed: int | None
        max_seconds: float | None
        max_frames: int | None
        max_new_tokens: int | None
        x_vector_only: bool | None
        x_vector_only_mode: bool | None
        non_streaming_text: bool | None
        non_streaming_mode: bool | None
        streaming_text: bool | None
        split_length: int | None
        pauses: bool | None
        guard_runaway: bool | None
        first_chunk_frames: int | None
        trim_reference: bool | None
        reference_silence: float | None
        salvage: bool | None
        level: Level | None
        run_pre_processing: bool | None
        run_post_processing: bool | None
        pre: Cleaning | None
        post: Cleaning | None
        priority: int | None
        deadline: float | None

    class SpeakOptions(TypedDict, total=False):
        """The fields of an item that one of the model's own voices speaks."""

        language: str | None
        custom_id: str | None
        model: str | None
        temperature: float | None
        top_k: int | None
        top_p: float | None
        repetition_penalty: float | None
        greedy: bool | None
        seed: int | None
        max_seconds: float | None
        max_frames: int | None
        streaming_text: bool | None
        split_length: int | None
        pauses: bool | None
        guard_runaway: bool | None
        run_post_processing: bool | None
        post: Cleaning | None
        priority: int | None
        deadline: float | None

    class Item(CloneOptions, total=False):
        """An item of a batch."""

        text: str


# As the command has them: other than the library's, which asks for nothing.
_DEFAULTS = {"guard_runaway": True, "split_length": 400}


def request_fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item's fields as the extension takes them."""
    fields = {**_DEFAULTS, **item}
    voice = fields.get("voice")
    reference = fields.pop("ref_audio", None)
    if isinstance(reference, Voice):
        if voice is not None:
            raise TypeError("ref_audio and voice are both a voice")
        voice, reference = reference, None
    if voice is not None:
        fields["_voice"] = voice  # kept alive with the fields: its file may be temporary
        fields["voice"] = os.fsencode(voice.path if isinstance(voice, Voice) else voice)
    if isinstance(reference, (bytes, bytearray, memoryview, str)) and len(reference) == 0:
        raise ValueError("ref_audio is empty")
    if isinstance(reference, (bytes, bytearray, memoryview)):
        fields["ref_data"] = bytes(reference)
    elif isinstance(reference, tuple):
        if len(reference) != 2:
            raise TypeError("ref_audio as samples is a pair: (array, rate)")
        samples, rate = reference[0], rate_of(reference[1], "the rate of ref_audio")
        data, code, length, channels = take(samples, "ref_audio")
        if length == 0:
            raise ValueError("ref_audio has no samples")
        if channels == 1:
            fields["ref_samples"] = (data, code, rate)
        else:
            fields["ref_data"] = wave_bytes(samples, rate)
    elif reference is not None:
        try:
            fields["ref_audio"] = os.fsencode(reference)
        except TypeError:
            raise TypeError(
                "ref_audio is a path, an audio file's bytes, a pair (array, rate) or a Voice, not "
                f"{type(reference).__name__}"
            ) from None
    return fields


def failure(result: Mapping[str, Any], index: int | None = None) -> Error:
    """The exception for an item that failed."""
    error = from_core(*result["error"])
    error.custom_id, error.index = result["custom_id"], index
    if result["reference"] is not None:
        import json

        error.reference = json.loads(result["reference"])
    return error


def submit(
    context: Context,
    inbox: Any,
    token: int,
    item: Mapping[str, Any],
    *,
    audio: bool,
    progress: bool,
    stream: bool = False,
) -> Any:
    """Starts an item; what is returned cancels it when it is let go."""
    fields = request_fields(item)
    kept = fields.pop("_voice", None)
    fields["want_samples"] = not stream
    fields["stream"] = stream
    return _core.submit(context.core, inbox, token, fields, audio, progress), kept


def own_voice(speaker: str | None, instruct: str | None, options: Mapping[str, Any]) -> Any:
    """The fields that make one of the model's own voices speak."""
    return {**options, "speaker": speaker if speaker is not None else "", "instruct": instruct}
