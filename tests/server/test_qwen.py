"""The server with Qwen3-TTS, of random weights: batching over requests, streams, stored voices, jobs.

What the networks compute is compared with the official implementation elsewhere; here it counts that nothing that
happens around a request changes its samples.
"""
import base64
import os
import pathlib

import openai
import pytest
from load import parallel
from support import API, Server, wait_for, wav_rate

GOLDEN = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden")) / "qwen"
REFERENCE = (GOLDEN / "references/ref_en.wav").read_bytes()
TEXTS = ["Hello there.", "One, two, three.", "Something a little longer than the others.", "Short."]
# Random weights never come to an end by themselves.
LENGTH = {"max_seconds": 1.2}


@pytest.fixture(scope="module")
def server():
    with Server(
        "--model", GOLDEN / "sample-c/model", "--precision", "f32", "--max-batch", 8, engine="qwen3"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def ref(server):
    return server.upload(REFERENCE)


def audio(answer):
    assert answer.status == 200, answer
    (item,) = answer.json()["items"]
    return base64.b64decode(item["audio_base64"])


def test_one(server, ref):
    answer = server.clone(
        "Hello.",
        "/voice-clone-enhanced",
        ref_audio=ref,
        ref_text="What the reference says.",
        language="en",
        seed=3,
        **LENGTH,
    )
    (item,) = answer.json()["items"]
    assert (item["engine"], item["is_clone"], item["sample_rate"], item["finish_reason"]) == (
        "qwen3",
        True,
        48000,
        "length",
    )
    assert 0 < item["duration"] <= 1.2 and item["timings"]["speech"] > 0
    assert wav_rate(base64.b64decode(item["audio_base64"])) == 48000
    ready = server.get("/health/ready").json()
    assert ready["engine"] == "qwen3"


@pytest.mark.parametrize("preload", [False, True])
def test_models_load_when_they_are_needed(preload):
    """Ready as soon as it listens; loading is the first request's, or --preload's."""
    options = ["--preload"] if preload else []
    with Server("--model", GOLDEN / "sample-c/model", *options, engine="qwen3") as server:
        ready = server.get("/health/ready")
        assert (
            ready.status == 200
            and ready.json()["engine_loaded"] is preload
            and ready.json()["denoiser_loaded"] is preload
        ), ready
        assert server.clone("Hello.", **LENGTH).status == 200
        ready = server.get("/health/ready").json()
        assert ready["engine_loaded"] is True and ready["denoiser_loaded"] is preload
        assert server.clone("Hello.", "/voice-clone-enhanced", **LENGTH).status == 200
        assert server.get("/health/ready").json()["denoiser_loaded"] is True


def test_idle_models_are_unloaded():
    with Server("--model", GOLDEN / "sample-c/model", "--idle-unload", "1", engine="qwen3") as server:
        for _ in range(2):
            assert server.clone("Hello.", "/voice-clone-enhanced", **LENGTH).status == 200
            wait_for(
                lambda: (
                    not any(server.get("/health/ready").json()[name] for name in ("engine_loaded", "denoiser_loaded"))
                )
            )
            wait_for(lambda: server.metric("timbre_memory_reserved_bytes") < 1 << 20)  # the cached voice


def test_batched_over_requests(server, ref):
    """Eight clients at once get what each gets alone, and share steps."""
    def ask(index):
        return audio(
            server.clone(
                TEXTS[index % 4], ref_audio=ref, ref_text="It says so." if index % 2 else None, seed=index, **LENGTH
            )
        )

    alone = [ask(index) for index in range(8)]
    assert len(set(alone)) == 8
    together = [None] * 8
    sizes = [0]

    def client(index):
        if index == 8:
            while None in together:
                sizes.append(server.metric("timbre_batch_size"))
        else:
            together[index] = ask(index)
    parallel(9, client)
    assert together == alone
    assert max(sizes) >= 2


@pytest.mark.parametrize("path", ["/voice-clone", "/voice-clone-enhanced"])
def test_stream_is_the_whole(server, ref, path):
    fields = {"ref_audio": ref, "ref_text": "It says so.", "seed": 5, "response_format": "pcm", **LENGTH}
    whole = audio(server.clone(TEXTS[2], path, **fields))
    answer = server.clone(TEXTS[2], path, stream=True, **fields)
    assert answer.status == 200 and answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.body == whole and len(whole) > 20000


def test_stored_voice(server, ref):
    """A stored voice speaks as its reference does, also after a restart."""
    server.add_voice("clara", REFERENCE, ref_text="It says so.")
    fields = {"seed": 9, "response_format": "pcm", "voice": "clara", **LENGTH}
    first = audio(server.clone(TEXTS[0], **fields))
    direct = audio(
        server.clone(
            TEXTS[0],
            "/voice-clone-enhanced",
            ref_audio=ref,
            ref_text="It says so.",
            seed=9,
            response_format="pcm",
            run_post_processing=False,
            **LENGTH,
        )
    )
    assert first == direct
    server.stop()
    server.start()
    assert audio(server.clone(TEXTS[0], **fields)) == first
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        speech = client.audio.speech.create(
            model="qwen3-tts-0.6b",
            voice="clara",
            input=TEXTS[0],
            response_format="wav",
            extra_body={"seed": 9, **LENGTH},
        ).read()
    assert wav_rate(speech) == 48000 and len(speech) > 20000
    assert "qwen3-tts-0.6b" in [model["id"] for model in server.get("/v1/models").json()["data"]]


def test_job(server, ref):
    job = server.wait_job(
        server.job([{"text": text, "ref_audio": ref, "seed": 1, "max_seconds": 0.5} for text in TEXTS])
    )
    assert job["done"] == 4 and all(item["engine"] == "qwen3" for item in job["items"])


def test_leaving_ends_the_sequence(server, ref):
    """Such weights may end an utterance at once, and then there is nothing to cancel: with another seed they do not."""
    from test_stream import leave_after
    for seed in range(1, 9):
        def ended():
            return [server.metric(f'timbre_items_total{{result="{result}"}}') for result in ("ok", "cancelled")]
        before = ended()
        leave_after(
            server,
            API + "/voice-clone",
            {"text": "And on and on.", "ref_audio": ref, "seed": seed, "max_seconds": 60, "stream": True},
            1,
        )
        wait_for(lambda: sum(ended()) == sum(before) + 1)
        server.wait_idle()
        if ended()[1] == before[1] + 1:
            return
    raise AssertionError("not one of eight was cancelled")


def test_weights_that_are_away(tmp_path):
    # They were there when the server looked for them at its start.
    (tmp_path / "nothing").symlink_to(GOLDEN / "sample-c/model")
    with Server("--model", tmp_path / "nothing", engine="qwen3") as server:
        (tmp_path / "nothing").unlink()
        answer = server.clone("Hello.")
        assert answer.status == 503 and str(tmp_path) not in answer.detail and "model" in answer.detail, answer
        assert server.get("/health/live").status == 200
        (tmp_path / "nothing").symlink_to(GOLDEN / "sample-c/model")
        assert server.clone("Hello.", max_seconds=0.3).status == 200
