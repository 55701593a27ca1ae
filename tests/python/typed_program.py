"""What the type checkers must think of a program that uses the package; never run."""

import asyncio
from typing import Any

import numpy
import numpy.typing
import timbre
from typing_extensions import assert_type

Floats = numpy.typing.NDArray[numpy.float32]

samples, rate = timbre.read("voice.wav")
assert_type(samples, Floats)
assert_type(rate, int)
assert_type(timbre.enhance(samples, rate, attenuation_limit_db=12, level="off"), Floats)
assert_type(timbre.resample(samples, rate, 48000, resampler="soxr"), Floats)
assert_type(timbre.enhance_file("in.wav", "out.flac").warnings, list[str])
with timbre.Enhancer(48000, channels=2) as enhancer:
    assert_type(enhancer.push(samples), Floats)
    for piece in enhancer.iterate([samples, samples]):
        assert_type(piece, Floats)

with timbre.Pipeline("0.6b", device="cpu", memory="8G") as pipeline:
    speech = pipeline.clone("Hello.", ref_audio=(samples, rate), ref_text="What it says.", temperature=0.8, seed=1)
    assert_type(speech, timbre.Speech)
    assert_type(speech.samples, Floats)
    assert_type(speech.timings, dict[str, float])
    assert_type(speech.segments[0].start, float)
    for one in pipeline.clone_batch([{"text": "Hello.", "ref_audio": "voice.wav", "custom_id": "a"}]):
        assert_type(one, timbre.Speech)
    with pipeline.stream("Hello.", ref_audio=b"...") as stream:
        for piece in stream:
            assert_type(piece, Floats)
        assert_type(stream.info, "timbre.SpeechInfo | None")
    voice = timbre.Voice.create(pipeline, "voice.wav", "What it says.")
    pipeline.clone("Hello.", voice=voice)
    assert_type(timbre.AudioPipeline(pipeline).run([{"text": "Hello."}]), dict[str, timbre.Speech])
    try:
        pipeline.speak("Hello.", speaker="Vivian", instruct="softly")
    except timbre.Error as error:
        assert_type(error.field, "str | None")


async def main() -> None:
    assert_type(await pipeline.aclone("Hello.", voice="anna.voice"), timbre.Speech)
    async for piece in pipeline.astream("Hello.", ref_audio="voice.wav"):
        assert_type(piece, Floats)
    async for one in pipeline.aclone_batch([{"text": "Hello."}]):
        assert_type(one, timbre.Speech)
    service = timbre.NoiseRemovalService(max_workers=2)
    assert_type(await service.aprocess("voice.wav"), tuple[Floats, int])


asyncio.run(main())
statistics: dict[str, Any] = pipeline.statistics()
