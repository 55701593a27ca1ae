"""The shape of the Python services that timbre takes the place of, so that an application around them keeps its own:
a pipeline that takes a batch of requests, and services for resampling and noise removal with a number of workers."""

from __future__ import annotations

from ._audio import enhance, read, resample
from ._errors import ArgumentError, BatchError, Error
from ._pipeline import Pipeline
from ._speech import Speech

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from types import TracebackType
    from typing import Any, Callable, TypeVar, Union

    from ._audio import Level, Path, Resampler
    from ._request import Item
    from ._samples import Buffer, Samples

    Audio = Union[Path, bytes, tuple[Buffer, int]]
    Self = TypeVar("Self", bound="_Service")


def _audio(audio: Audio) -> tuple[Buffer, int]:
    """Samples and rate of a path, a file's bytes, or a pair that has them."""
    if isinstance(audio, tuple):
        if len(audio) != 2:
            raise TypeError("audio as samples is a pair: (array, rate)")
        return audio
    return read(audio)


class _Service:
    """Works on several recordings at once. A context manager."""

    def __init__(self, max_workers: int | None) -> None:
        if max_workers is not None and (isinstance(max_workers, bool) or not isinstance(max_workers, int)):
            raise TypeError(f"max_workers is an integer, not {type(max_workers).__name__}")
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers is at least 1, not {max_workers}")
        if max_workers is None:
            from . import _core

            max_workers = _core.cpu_threads
        self.max_workers: int = max_workers
        self._executor: ThreadPoolExecutor | None = None

    def _pool(self) -> ThreadPoolExecutor:
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(self.max_workers, thread_name_prefix=type(self).__name__)
        return self._executor

    def process(self, audio: Audio) -> tuple[Samples, int]:
        """Works on one recording: a path, an audio file's bytes, or (array, rate).

        Returns:
            (numpy.ndarray of float32, rate).
        """
        raise NotImplementedError

    def process_batch(self, audios: Iterable[Audio]) -> list[tuple[Samples, int]]:
        """Works on several at once.

        Returns:
            list of (array, rate) in the order of `audios`. The first failure is raised.
        """
        return list(self._pool().map(self.process, audios))

    async def aprocess(self, audio: Audio) -> tuple[Samples, int]:
        """`process` for asyncio."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._pool(), self.process, audio)

    async def aprocess_batch(self, audios: Iterable[Audio]) -> list[tuple[Samples, int]]:
        """`process_batch` for asyncio."""
        import asyncio

        return list(await asyncio.gather(*(self.aprocess(audio) for audio in audios)))

    def close(self) -> None:
        """Ends the workers."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ResamplerService(_Service):
    """Brings recordings to one rate.

    Args:
        target_rate (int): Hz.
        max_workers (int): recordings at a time; None is the number of CPUs.
        resampler (str): as for `timbre.resample`.
    """

    def __init__(
        self, target_rate: int = 48000, *, max_workers: int | None = None, resampler: Resampler = "auto"
    ) -> None:
        super().__init__(max_workers)
        self.target_rate = target_rate
        self._resampler: Resampler = resampler

    def process(self, audio: Audio) -> tuple[Samples, int]:
        samples, rate = _audio(audio)
        return resample(samples, rate, self.target_rate, resampler=self._resampler), self.target_rate


class NoiseRemovalService(_Service):
    """Removes noise from recordings; the result has 48 kHz, or `output_rate`.

    Args:
        max_workers (int): recordings at a time; None is the number of CPUs.
        attenuation_limit_db, post_filter_beta, level, output_rate: as for `timbre.enhance`.
    """

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        attenuation_limit_db: float | None = None,
        post_filter_beta: float | None = None,
        level: Level = "auto",
        output_rate: int = 48000,
    ) -> None:
        super().__init__(max_workers)
        self.output_rate = output_rate
        self._enhance: Callable[..., Samples] = lambda samples, rate: enhance(
            samples,
            rate,
            attenuation_limit_db=attenuation_limit_db,
            post_filter_beta=post_filter_beta,
            level=level,
            output_rate=output_rate,
        )

    def process(self, audio: Audio) -> tuple[Samples, int]:
        return self._enhance(*_audio(audio)), self.output_rate


class AudioPipeline:
    """A batch of requests in, a mapping of result audios out.

    Args:
        pipeline (timbre.Pipeline): who speaks; None opens one with `options`, which is closed with this.
        run_pre_processing, run_post_processing (bool): the cleaning stages of requests that do not say it themselves.
        options: those of timbre.Pipeline.
    """

    def __init__(
        self,
        pipeline: Pipeline | None = None,
        *,
        run_pre_processing: bool = True,
        run_post_processing: bool = True,
        **options: Any,
    ) -> None:
        if pipeline is not None and options:
            raise TypeError("either a pipeline, or the options of one")
        self._own = pipeline is None
        self.pipeline = Pipeline(**options) if pipeline is None else pipeline
        self.run_pre_processing = run_pre_processing
        self.run_post_processing = run_post_processing

    def _requests(
        self, requests: Iterable[Item | Mapping[str, Any]], pre: bool | None, post: bool | None
    ) -> tuple[list[str], list[dict[str, Any]]]:
        stages = {
            "run_pre_processing": self.run_pre_processing if pre is None else pre,
            "run_post_processing": self.run_post_processing if post is None else post,
        }
        items = [
            {**stages, **{name: value for name, value in request.items() if value is not None}} for request in requests
        ]
        names = [str(item.setdefault("custom_id", str(number))) for number, item in enumerate(items)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ArgumentError(f"several requests have the custom_id {twice[0]!r}: results are told apart by it")
        return names, items

    @staticmethod
    def _results(names: list[str], ended: list[Speech | Error], return_exceptions: bool) -> dict[str, Speech]:
        results: dict[str, Any] = {}
        errors = sorted((one for one in ended if isinstance(one, Error)), key=lambda error: error.index or 0)
        for one in sorted(ended, key=lambda one: one.index or 0):
            if isinstance(one, Speech) or return_exceptions:
                results[names[one.index or 0]] = one
        if errors and not return_exceptions:
            raise BatchError(errors, results)
        return results

    def run(
        self,
        requests: Iterable[Item | Mapping[str, Any]],
        *,
        run_pre_processing: bool | None = None,
        run_post_processing: bool | None = None,
        return_exceptions: bool = False,
    ) -> dict[str, Speech]:
        """Clones a batch.

        Args:
            requests (iterable of mappings): the fields of an item; `custom_id` is its number if there is none.
            run_pre_processing, run_post_processing (bool): of requests that do not say it themselves.
            return_exceptions (bool): an item that failed has its timbre.Error in the mapping. Otherwise BatchError is
                raised after all have ended; its `results` has those that did not fail.

        Returns:
            dict: custom_id to Speech, in the order of the requests.
        """
        names, items = self._requests(requests, run_pre_processing, run_post_processing)
        ended: list[Speech | Error] = list(self.pipeline.clone_batch(items, return_exceptions=True))
        return self._results(names, ended, return_exceptions)

    async def arun(
        self,
        requests: Iterable[Item | Mapping[str, Any]],
        *,
        run_pre_processing: bool | None = None,
        run_post_processing: bool | None = None,
        return_exceptions: bool = False,
    ) -> dict[str, Speech]:
        """`run` for asyncio; cancelling the task cancels what is under way."""
        names, items = self._requests(requests, run_pre_processing, run_post_processing)
        ended: list[Speech | Error] = [one async for one in self.pipeline.aclone_batch(items, return_exceptions=True)]
        return self._results(names, ended, return_exceptions)

    __call__ = run

    def close(self) -> None:
        """Closes the pipeline that this opened."""
        if self._own:
            self.pipeline.close()

    def __enter__(self) -> AudioPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
