"""Voices that were prepared once and speak many times."""

from __future__ import annotations

import os

from . import _core
from ._errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._audio import Path
    from ._pipeline import Pipeline
    from ._request import Reference
    from ._speech import Speech


class Voice:
    """A prepared voice: the recording cleaned and encoded. `Voice.create` makes one of a recording, `Voice.design` of a
    description, `save` keeps it, `Voice.load` brings it back; it goes wherever a recording goes.

    Attributes:
        path (str): its file.
        model (str): the kind of model that it fits. transcript (str): what the recording says, as far as it is kept.
        seconds (float): length of the recording. in_context (bool): False: the speaker embedding alone.
        reference (dict | None): what was measured of the recording, after `create` and `design`.
        clip (Speech | None): what the designed voice was made of, after `design`; `clip.seed` makes it again.
    """

    def __init__(self, path: Path, *, _folder: Any = None, _reference: str | None = None) -> None:
        self.path = os.fsdecode(path)
        self._folder = _folder  # of a voice that was not saved yet: removed with it
        self.model, self.transcript, self.seconds, self.in_context = _core.voice_read(os.fsencode(self.path))
        self.clip: Speech | None = None
        self.reference: dict[str, Any] | None = None
        if _reference is not None:
            import json

            self.reference = json.loads(_reference)

    @classmethod
    def create(cls, pipeline: Pipeline, ref_audio: Reference, ref_text: str | None = None, **options: Any) -> Voice:
        """Cleans and encodes a recording with a pipeline's model.

        Args:
            pipeline (Pipeline)
            ref_audio (path | bytes | (array, rate)): the recording.
            ref_text (str): what it says, word for word; without it only the speaker embedding is used.
            options: fields that concern the recording, as `x_vector_only`, `run_pre_processing`, `trim_reference`.

        Raises:
            timbre.UnsupportedError: the engine has no voices to save (the preview voice).
        """
        import tempfile

        from ._request import request_fields

        fields = request_fields({"text": "", "ref_audio": ref_audio, "ref_text": ref_text, **options})
        folder = tempfile.TemporaryDirectory(prefix="timbre-voice-")
        path = os.path.join(folder.name, "voice")
        reference = _core.voice_create(pipeline._context.core, fields, os.fsencode(path))
        return cls(path, _folder=folder, _reference=reference)

    @classmethod
    def design(cls, pipeline: Pipeline, instruct: str, text: str, **options: Any) -> Voice:
        """Makes a voice from a description, to be cloned ever after: a VoiceDesign model speaks a clip, which is
        cleaned and encoded by a Base model, as `timbre voice design` does.

        Args:
            pipeline (Pipeline): with a model of both kinds, `Pipeline(models={...})`.
            instruct (str): how the voice is, as "A calm old man with a deep voice."
            text (str): what it says in the clip: two or three sentences.
            options: the fields of `Pipeline.speak`, as `language` and `seed`.

        Raises:
            timbre.ModelError: one of the two models is missing.
            timbre.FormatError: the clip has no speech in it.
        """
        import tempfile

        if not instruct:
            raise ArgumentError("how is the voice? instruct describes it")
        clip = pipeline.speak(text, instruct=instruct, **options)
        with tempfile.TemporaryDirectory(prefix="timbre-clip-") as folder:
            path = os.path.join(folder, "clip.wav")
            clip.save(path, encoding="s16")
            voice = cls.create(pipeline, path, text)
        voice.clip = clip
        return voice

    @classmethod
    def load(cls, path: Path) -> Voice:
        """Reads a voice's file; no model is needed."""
        return cls(path)

    def save(self, path: Path) -> None:
        """Writes the voice's file, whole or not at all."""
        import shutil

        target = os.fsdecode(path)
        temporary = f"{target}.{os.getpid()}.part"
        try:
            shutil.copyfile(self.path, temporary)
            os.replace(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def __repr__(self) -> str:
        return f"<timbre.Voice {self.path!r}: {self.seconds:.1f} s for {self.model}>"
