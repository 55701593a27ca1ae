"""Cloning: one at a time, many at once, as a stream."""

from __future__ import annotations

import os

from . import _core
from ._batch import WINDOW, Batch
from ._context import Context
from ._request import failure, own_voice, submit
from ._samples import give
from ._speech import Speech, SpeechInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Unpack

    from ._aio import AsyncStream
    from ._audio import Path
    from ._request import CloneOptions, Item, Progress, SpeakOptions
    from ._samples import Samples

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def bytes_of(size: int | str) -> int:
    """A size in bytes: an integer, or text as "8G", "512 MiB"."""
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'memory is bytes or text as "8G", not {type(size).__name__}')
    if isinstance(size, int):
        number: float = size
    else:
        word = size.strip().lower()
        digits = word.rstrip("bigkmt ")
        unit = word[len(digits) :].strip().rstrip("b").rstrip("i")
        try:
            number = float(digits) * _UNITS[unit]
        except (ValueError, KeyError):
            raise ValueError(f'memory is bytes or text as "8G", not {size!r}') from None
    if not 0 < number < 1 << 63:
        raise ValueError(f"memory is out of range: {size!r}")
    return int(number)


class Stream:
    """Speech while it is made: an iterator of arrays (float32, mono, `rate` Hz). Closing it, or letting it go, cancels
    what was not spoken yet. A context manager.

    Attributes:
        rate (int | None): Hz, known with the first array.
        info (SpeechInfo | None): set when the speech has ended.
    """

    def __init__(self, context: Context, item: Mapping[str, Any], progress: Progress | None) -> None:
        self.rate: int | None = None
        self.info: SpeechInfo | None = None
        self._progress = progress
        self._inbox = _core.inbox()
        self._item: Any = submit(context, self._inbox, 0, item, audio=True, progress=progress is not None, stream=True)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Samples:
        try:
            while self._item is not None:
                _, kind, value, extra = _core.inbox_next(self._inbox, True)
                if kind == "audio":
                    self.rate = extra
                    return give(value)
                if kind == "progress":
                    if self._progress is not None:
                        self._progress(value, extra)
                    continue
                self._item = None
                if "error" in value:
                    raise failure(value)
                self.info = SpeechInfo(value)
                self.rate = self.info.rate
        except BaseException:
            self.close()
            raise
        raise StopIteration

    def close(self) -> None:
        """Cancels the speech if it has not ended."""
        if self._item is not None:
            _core.cancel(self._item[0])
            self._item = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pipeline:
    """The five stages and the models behind them: clean the recording, clone its voice, clean the speech.

    Args:
        model (str): a Qwen3-TTS checkpoint: a folder, "0.6b", "1.7b", or a repository's name; None is the smallest that
            is installed, and without one the preview voice speaks.
        device (str): "cpu" (default), "cuda" or "cuda:N" for an NVIDIA GPU, "auto" for the first GPU if there is one.
        gpu_memory (int | str): of the GPU, bytes or text as "8G"; None is nine tenths of what is free.
        memory (int | str): for models and sequences, bytes or text as "8G"; None is three quarters of what there is.
        engine (str): "auto", "preview", "qwen3" or "remote".
        precision (str): "auto", "f32", "bf16", "int8", "int4", or by network "talker=int8,codec=bf16".
        denoiser (path): the denoiser's weights; None looks for them.
        models (mapping | iterable): several models, name to checkpoint, or checkpoints; items name theirs.
        remote_url (str | iterable of str), remote_key (str): speech servers with OpenAI's API, for the engine "remote".
        overflow (bool): what the engine's batch has no place for goes to the servers of remote_url.
        remote_hedge (float): seconds without audio after which a second server is asked too; 0 is never.
        threads, resample_workers, enhance_workers, max_batch, max_batch_wait, idle_unload, max_input_seconds,
            max_input_bytes, max_queued, voice_cache_entries: as in timbre.h; None is the default.
        preview (bool): False: without a model nothing speaks, never the preview voice.
        ffmpeg (bool): False: recordings that only ffmpeg decodes are refused.

    Models are loaded when they are first needed. Any thread may use a pipeline. A context manager; `close` cancels what
    runs. In a fork of the process every call raises ForkError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        memory: int | str | None = None,
        gpu_memory: int | str | None = None,
        engine: str | None = None,
        precision: str | None = None,
        denoiser: Path | None = None,
        models: Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]] | None = None,
        remote_url: str | Iterable[str] | None = None,
        remote_key: str | None = None,
        overflow: bool | None = None,
        remote_hedge: float | None = None,
        threads: int | None = None,
        resample_workers: int | None = None,
        enhance_workers: int | None = None,
        max_batch: int | None = None,
        max_batch_wait: float | None = None,
        idle_unload: float | None = None,
        max_input_seconds: float | None = None,
        max_input_bytes: int | str | None = None,
        max_queued: int | None = None,
        voice_cache_entries: int | None = None,
        preview: bool = True,
        ffmpeg: bool = True,
    ) -> None:
        listed = None
        if models is not None:
            if model is not None:
                raise TypeError("either model or models")
            named: Any = models
            pairs = list(named.items()) if hasattr(models, "items") else [(None, value) for value in models]
            listed = [(name, os.fsencode(value)) for name, value in pairs]
        self._window = min(WINDOW, max_queued) if max_queued else WINDOW
        self._context = Context(
            engine=engine,
            model=None if model is None else os.fsencode(model),
            models=listed,
            precision=precision,
            denoiser=None if denoiser is None else os.fsencode(denoiser),
            remote_url=",".join(remote_url)
            if remote_url is not None and not isinstance(remote_url, str)
            else remote_url,
            overflow=overflow,
            remote_hedge=remote_hedge,
            remote_key=remote_key,
            threads=threads,
            resample_workers=resample_workers,
            enhance_workers=enhance_workers,
            max_batch=max_batch,
            max_batch_wait=max_batch_wait,
            idle_unload=idle_unload,
            max_input_seconds=max_input_seconds,
            max_input_bytes=None if max_input_bytes is None else bytes_of(max_input_bytes),
            max_queued=max_queued,
            voice_cache_entries=voice_cache_entries,
            memory_budget=None if memory is None else bytes_of(memory),
            device=device,
            gpu_memory=None if gpu_memory is None else bytes_of(gpu_memory),
            no_preview=not preview,
            no_ffmpeg=not ffmpeg,
        )

    def clone(self, text: str, *, progress: Progress | None = None, **options: Unpack[CloneOptions]) -> Speech:
        """Says a text with the voice of a recording.

        Args:
            text (str): what to say.
            ref_audio (path | bytes | (array, rate) | Voice): the recording, or a prepared voice.
            ref_text (str): what the recording says, word for word; without it only the speaker embedding is used.
            voice (path | Voice): a prepared voice.
            language (str): "auto", a code or tag as "en", or an English name.
            temperature, top_k, top_p, repetition_penalty, seed, max_seconds, x_vector_only, run_pre_processing,
                run_post_processing and the others: as `timbre clone` and docs/http-api.md have them.
            pre, post (dict): attenuation_limit_db, post_filter_beta and level of the two cleanings.
            progress (callable): called in this thread with a stage's name and a fraction; what it raises cancels.

        Returns:
            Speech.

        Raises:
            timbre.Error: with `status` and `field`.
        """
        inbox = _core.inbox()
        item = submit(self._context, inbox, 0, {"text": text, **options}, audio=False, progress=progress is not None)
        try:
            while True:
                _, kind, value, extra = _core.inbox_next(inbox, True)
                if kind == "progress" and progress is not None:
                    progress(value, extra)
                elif kind == "result":
                    if "error" in value:
                        raise failure(value)
                    return Speech(value)
        finally:
            _core.cancel(item[0])

    def speak(
        self,
        text: str,
        *,
        speaker: str | None = None,
        instruct: str | None = None,
        progress: Progress | None = None,
        **options: Unpack[SpeakOptions],
    ) -> Speech:
        """Says a text with one of the model's own voices (CustomVoice), or with one made from a description
        (VoiceDesign).

        Args:
            text (str): what to say.
            speaker (str): a built-in speaker, needed if the model has several.
            instruct (str): a style for the speaker, or the description of a voice.
            The others are those of `clone`.
        """
        return self.clone(text, progress=progress, **own_voice(speaker, instruct, options))

    def stream(self, text: str, *, progress: Progress | None = None, **options: Unpack[CloneOptions]) -> Stream:
        """The same as `clone` while it is made.

        Returns:
            Stream: an iterator of arrays.
        """
        return Stream(self._context, {"text": text, **options}, progress)

    def clone_batch(
        self,
        items: Iterable[Item | Mapping[str, Any]],
        *,
        return_exceptions: bool = False,
        progress: Callable[[int, str, float], object] | None = None,
    ) -> Iterator[Speech]:
        """Clones many items at once and yields each as it ends; `index` and `custom_id` tell which it is.

        Args:
            items (iterable of mappings): the fields of `clone`, and `text`. Taken as there is
                room, so that it may be long.
            return_exceptions (bool): an item that failed is yielded as a timbre.Error. Otherwise the others are yielded
                first, and BatchError is raised at the end.
            progress (callable): called with an item's index, a stage's name and a fraction.

        Yields:
            Speech, in order of completion. Leaving the iteration cancels what is under way.
        """
        batch = Batch(self._context, _core.inbox(), items, progress, return_exceptions, window=self._window)
        try:
            batch.feed()
            while batch.flying or batch.failed:
                yield from batch.early()
                if batch.flying:
                    yield from batch.take(*_core.inbox_next(batch.inbox, True))
        finally:
            batch.cancel()
        batch.finish()

    async def aclone(self, text: str, *, progress: Progress | None = None, **options: Unpack[CloneOptions]) -> Speech:
        """`clone` for asyncio: cancelling the task cancels the item."""
        from ._aio import aclone

        return await aclone(self._context, {"text": text, **options}, progress)

    async def aspeak(
        self,
        text: str,
        *,
        speaker: str | None = None,
        instruct: str | None = None,
        progress: Progress | None = None,
        **options: Unpack[SpeakOptions],
    ) -> Speech:
        """`speak` for asyncio."""
        return await self.aclone(text, progress=progress, **own_voice(speaker, instruct, options))

    def astream(self, text: str, *, progress: Progress | None = None, **options: Unpack[CloneOptions]) -> AsyncStream:
        """`stream` for asyncio.

        Returns:
            AsyncStream: an asynchronous iterator of arrays. Cancelling the task that waits for it cancels the speech.
        """
        from ._aio import AsyncStream

        return AsyncStream(self._context, {"text": text, **options}, progress)

    def aclone_batch(
        self,
        items: Iterable[Item | Mapping[str, Any]],
        *,
        return_exceptions: bool = False,
        progress: Callable[[int, str, float], object] | None = None,
    ) -> AsyncIterator[Speech]:
        """`clone_batch` for asyncio: an asynchronous iterator of Speech in order of completion."""
        from ._aio import aclone_batch

        return aclone_batch(self._context, items, return_exceptions, progress, self._window)

    def measure(self, ref_audio: Path, ref_text: str | None = None) -> dict[str, Any]:
        """Measures a recording as a reference: verdict, duration, speech, level, noise, warnings and more."""
        import json

        result: dict[str, Any] = json.loads(
            _core.reference_measure(self._context.core, os.fsencode(ref_audio), ref_text)
        )
        return result

    @property
    def engine(self) -> str:
        """The engine that would speak now: "preview", "qwen3" or "remote". Raises ModelError if none can."""
        return str(_core.resolve(self._context.core, 1)[0])

    def preload(self) -> None:
        """Loads the denoiser and the engine now instead of at first use."""
        _core.preload(self._context.core)

    def statistics(self) -> dict[str, Any]:
        """What the pipeline holds and does, as tmb_statistics in timbre.h."""
        return _core.statistics(self._context.core)

    def models(self) -> list[dict[str, Any]]:
        """What each model can do: name, kind, speakers, languages and more, as tmb_model_description in timbre.h."""
        return _core.models(self._context.core)

    def wait(self) -> None:
        """Waits until no item is under way."""
        _core.wait(self._context.core)

    def close(self) -> None:
        """Cancels what runs, waits for it, and frees the models. A second time does nothing."""
        self._context.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a pipeline cannot be pickled: open one in each process")
