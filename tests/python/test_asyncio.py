"""asyncio: cancelling, many at once, nothing left behind."""

import asyncio
import gc
import os
import threading
import tracemalloc

import numpy
import pytest
import timbre
from conftest import NOISY, QWEN, SANITIZED

REFERENCE = sorted((QWEN / "references").glob("*.wav"))[0]


def test_the_same_as_without(qwen):
    async def main():
        speech = await qwen.aclone("One.", ref_audio=REFERENCE, seed=1, max_frames=20)
        pieces = [piece async for piece in qwen.astream("One.", ref_audio=REFERENCE, seed=1, max_frames=20)]
        batch = [
            one
            async for one in qwen.aclone_batch(
                [{"text": "One.", "ref_audio": REFERENCE, "seed": 1, "max_frames": 20}] * 3
            )
        ]
        return speech, pieces, batch

    expected = qwen.clone("One.", ref_audio=REFERENCE, seed=1, max_frames=20).samples
    speech, pieces, batch = asyncio.run(main())
    assert numpy.array_equal(speech.samples, expected) and numpy.array_equal(numpy.concatenate(pieces), expected)
    assert sorted(one.index for one in batch) == [0, 1, 2]
    assert all(numpy.array_equal(one.samples, expected) for one in batch)


def test_failures(pipeline):
    async def main():
        with pytest.raises(FileNotFoundError):
            await pipeline.aclone("Hello.", ref_audio="/absent.wav")
        with pytest.raises(timbre.ArgumentError):
            await pipeline.aclone("Hello.", ref_audio=NOISY, top_k=-5)
        with pytest.raises(FileNotFoundError):
            async for _ in pipeline.astream("Hello.", ref_audio="/absent.wav"):
                pass
        with pytest.raises(timbre.BatchError) as caught:
            async for _ in pipeline.aclone_batch([{"text": "Hello.", "ref_audio": "/absent.wav"}, {"text": 5}]):
                pass
        assert len(caught.value.errors) == 2
        kept = [one async for one in pipeline.aclone_batch([{"text": 5}], return_exceptions=True)]
        assert isinstance(kept[0], timbre.Error)

    before = descriptors_of_pipes()
    asyncio.run(main())
    assert not descriptors_of_pipes() - before


def descriptors_of_pipes():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("pipe:"):
            found.add(target)
    return found


def test_cancelling_a_task_cancels_its_item(qwen):
    async def main():
        started = asyncio.Event()
        task = asyncio.ensure_future(
            qwen.aclone(
                "One.",
                ref_audio=REFERENCE,
                max_frames=5000,
                progress=lambda stage, fraction: stage == "speech" and started.set(),
            )
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = qwen.statistics()["cancelled_items"]
    asyncio.run(main())
    qwen.wait()
    assert qwen.statistics()["cancelled_items"] == before + 1


def test_leaving_a_stream_cancels_it(qwen):
    async def main():
        async for _ in qwen.astream("One.", ref_audio=REFERENCE, max_frames=5000):
            break
        async with qwen.astream("One.", ref_audio=REFERENCE, max_frames=5000) as stream:
            await stream.__anext__()
        stream = qwen.astream("One.", ref_audio=REFERENCE, max_frames=5000)
        await stream.__anext__()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        qwen.astream("One.", ref_audio=REFERENCE)  # never begun
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    qwen.wait()
    assert qwen.statistics()["live_sequences"] == 0


async def many(pipeline):
    """32 streams, every other one cancelled after its first array."""
    heard = []

    async def listen(number):
        count = 0
        async for piece in pipeline.astream("One two three.", ref_audio=REFERENCE, seed=number, max_frames=24):
            count += len(piece)
            if number % 2:
                asyncio.current_task().cancel()
                await asyncio.sleep(0)
        heard.append((number, count))

    results = await asyncio.gather(*(listen(number) for number in range(32)), return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 16, results
    assert sorted(number for number, _ in heard) == list(range(0, 32, 2)) and all(count > 0 for _, count in heard)


def test_many_streams_leave_nothing_behind(qwen):
    from timbre import _aio

    asyncio.run(many(qwen))
    qwen.wait()
    gc.collect()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    tracemalloc.start()
    try:
        asyncio.run(many(qwen))
        qwen.wait()
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        asyncio.run(many(qwen))
        qwen.wait()
        gc.collect()
        second = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(os.listdir("/proc/self/fd")) == descriptors and threading.active_count() == threads
    assert not any(_aio._hubs.values())
    now = qwen.statistics()
    assert now["live_sequences"] == 0 and now["queued_items"] == 0
    if not SANITIZED:
        assert second - first < 64 * 1024, (first, second)


def test_two_loops_at_once(qwen):
    wrong = []

    def work(seed):
        async def main():
            speeches = await asyncio.gather(
                *(qwen.aclone("One.", ref_audio=REFERENCE, seed=seed, max_frames=6) for _ in range(3))
            )
            if any(not numpy.array_equal(one.samples, speeches[0].samples) for one in speeches):
                wrong.append(seed)

        asyncio.run(main())

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
