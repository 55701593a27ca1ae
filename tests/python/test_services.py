"""The services' shape, and the examples: an application of FastAPI, a batch."""

import asyncio
import base64
import subprocess
import sys

import httpx
import numpy
import pytest
import timbre
from conftest import NOISY, PACKAGE, ROOT, SANITIZED

sys.path.insert(0, str(ROOT / "examples" / "python"))


def test_resampler_service(recording, tmp_path):
    samples, rate = recording
    timbre.write(tmp_path / "a.wav", samples, rate, encoding="float")
    with timbre.ResamplerService(16000, max_workers=2) as service:
        batch = service.process_batch([tmp_path / "a.wav", (samples, rate), (tmp_path / "a.wav").read_bytes()])
        assert asyncio.run(service.aprocess_batch([tmp_path / "a.wav"]))[0][1] == 16000
    expected = timbre.resample(samples, rate, 16000)
    assert len(batch) == 3 and all(new == 16000 and numpy.array_equal(out, expected) for out, new in batch)


def test_noise_removal_service(recording):
    samples, rate = recording
    with timbre.NoiseRemovalService(max_workers=3, attenuation_limit_db=20) as service:
        batch = service.process_batch([(samples, rate)] * 5)
        assert numpy.array_equal(batch[4][0], timbre.enhance(samples, rate, attenuation_limit_db=20))
        with pytest.raises(FileNotFoundError):
            service.process_batch([(samples, rate), "/absent.wav"])
        with pytest.raises(TypeError):
            service.process((1, 2, 3))


@pytest.mark.parametrize("workers, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_workers(workers, error):
    with pytest.raises(error, match="max_workers"):
        timbre.ResamplerService(max_workers=workers)


def test_audio_pipeline(pipeline):
    requests = [
        {"text": "One.", "ref_audio": NOISY, "custom_id": "a"},
        {"text": "Two.", "ref_audio": NOISY},
        {"text": "Three.", "ref_audio": NOISY, "custom_id": "c", "run_post_processing": False},
    ]
    whole = timbre.AudioPipeline(pipeline)
    results = whole.run(requests)
    assert list(results) == ["a", "1", "c"] and results["a"].rate == 48000 and results["c"].rate != 48000
    raw = asyncio.run(whole.arun(requests, run_pre_processing=False, run_post_processing=False))
    assert raw["a"].rate == results["c"].rate and list(raw) == ["a", "1", "c"]
    with pytest.raises(timbre.ArgumentError, match="'a'"):
        whole.run([requests[0], requests[0]])
    bad = [*requests, {"text": "Four.", "ref_audio": "/absent.wav", "custom_id": "d"}]
    with pytest.raises(timbre.BatchError) as caught:
        whole.run(bad)
    assert [error.custom_id for error in caught.value.errors] == ["d"] and list(caught.value.results) == ["a", "1", "c"]
    assert isinstance(whole(bad, return_exceptions=True)["d"], timbre.FileError)
    with pytest.raises(TypeError):
        timbre.AudioPipeline(pipeline, engine="preview")
    with timbre.AudioPipeline(engine="preview", run_post_processing=False) as own:
        assert own.run(requests[:1])["a"].rate == results["c"].rate
    with pytest.raises(ValueError, match="closed"):
        own.run(requests[:1])
    assert pipeline.clone("Still open.", ref_audio=NOISY).duration > 0


@pytest.fixture
def post(pipeline, monkeypatch, tmp_path):
    import fastapi_app

    (tmp_path / "me.flac").write_bytes(NOISY.read_bytes())
    monkeypatch.setenv("TIMBRE_ENGINE", "preview")
    monkeypatch.setenv("TIMBRE_AUDIO_ROOT", str(tmp_path))

    def send(body):
        async def main():
            async with fastapi_app.lifespan(fastapi_app.app):
                transport = httpx.ASGITransport(app=fastapi_app.app)
                async with httpx.AsyncClient(transport=transport, base_url="http://timbre", timeout=120) as client:
                    return await client.post("/api/v1/voice-clone-enhanced", json=body)

        return asyncio.run(main())

    return send


def test_the_application_of_fastapi(post, pipeline):
    recording = base64.b64encode(NOISY.read_bytes()).decode()
    answer = post(
        {
            "text": ["Good morning.", "How are you?"],
            "ref_audio": "data:audio/flac;base64," + recording,
            "ref_text": "What it says.",
            "language": ["en", None],
            "custom_id": ["a", "b"],
            "temperature": 0.9,
            "seed": [1, 2],
        }
    )
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    assert [item["custom_id"] for item in items] == ["a", "b"] and answer.json()["performance"] > 0
    samples, rate = timbre.read(base64.b64decode(items[1]["audio_base64"]))
    expected = pipeline.clone("How are you?", ref_audio=NOISY, ref_text="What it says.", temperature=0.9, seed=2)
    assert rate == 48000 and numpy.array_equal(samples, timbre.read(expected.to_bytes())[0]) and items[1]["seed"] == 2


def test_the_applications_single_values_and_failures(post):
    answer = post({"text": "Good morning.", "ref_audio": "me.flac", "custom_id": "x", "temperature": [0.5]})
    assert answer.status_code == 200 and answer.json()["items"][0]["audio_base64"]
    answer = post({"text": ["One.", "Two."], "ref_audio": ["me.flac", base64.b64encode(b"no audio at all").decode()]})
    good, bad = answer.json()["items"]
    assert good["audio_base64"] and bad["error"] and bad["audio_base64"] is None
    for body in (
        {},
        {"text": ["One.", "Two."], "language": ["en"] * 3, "ref_audio": "me.flac"},
        {"text": "One.", "ref_audio": "../me.flac"},
        {"text": 5},
    ):
        assert post(body).status_code == 422, body


@pytest.mark.skipif(SANITIZED, reason="the release build tells")
def test_the_batch(tmp_path, own_cache):
    import os

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "python" / "batch.py", NOISY, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PACKAGE, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == ["Good.wav", "Thank.wav", "clean.wav"]
