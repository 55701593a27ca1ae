"""The operator's speech-to-text service: it fills a missing ref_text in every way to the engine, and its failures are
said."""

import base64
import json
import os
import pathlib
import socket
import struct

import pytest
from support import API, REFERENCE, Server, Transcriber, data_uri, run, says, wait_for

GOLDEN = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden")) / "qwen"
SPOKEN = (GOLDEN / "references/ref_en.wav").read_bytes()


def cut(samples):
    """The recording without so many samples: another one, for whoever goes by its bytes."""
    data = SPOKEN[44 : len(SPOKEN) - 2 * samples]
    return SPOKEN[:4] + struct.pack("<I", 36 + len(data)) + SPOKEN[8:40] + struct.pack("<I", len(data)) + data


SAID = "A short reference sentence."
LENGTH = {"max_seconds": 0.8}


@pytest.fixture(scope="module")
def service():
    with Transcriber() as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def server(service, tmp_path_factory):
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("sesame\n")
    with Server(
        "--model",
        GOLDEN / "sample-c/model",
        "--precision",
        "f32",
        "--transcribe-url",
        service.url,
        "--transcribe-key-file",
        key,
        engine="qwen3",
    ) as running:
        yield running


def only(answer):
    assert answer.status == 200, answer
    (item,) = answer.json()["items"]
    return item


def test_a_transcript_that_was_heard_is_as_good_as_one_that_was_sent(server, service):
    service.answers(says(SAID))
    ref = server.upload(SPOKEN)
    heard = only(server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, language="en", **LENGTH))
    assert heard["reference"]["transcript"] == SAID and service.keys == ["Bearer sesame"]
    sent = only(
        server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, language="en", ref_text=SAID, **LENGTH)
    )
    assert sent["reference"]["transcript"] is None and sent["audio_base64"] == heard["audio_base64"]
    alone = only(
        server.clone(
            "Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, language="en", x_vector_only=True, **LENGTH
        )
    )
    assert alone["reference"]["transcript"] is None and alone["audio_base64"] != heard["audio_base64"]
    assert len(service.keys) == 1
    # The prepared voice is known by now.
    again = only(server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, language="en", **LENGTH))
    assert (
        again["audio_base64"] == heard["audio_base64"]
        and again["reference"]["transcript"] == SAID
        and len(service.keys) == 1
    )


def test_a_failure_is_said_and_not_remembered(server, service):
    service.answers((500, b"CUDA out of memory"), (200, b"<html>"), says(SAID))
    ref = server.upload(cut(1000))
    alone = only(server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, x_vector_only=True, **LENGTH))
    for words in ("HTTP 500", "no JSON"):
        failed = only(server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, **LENGTH))
        assert (
            words in failed["warnings"][0]
            and "ref_text" in failed["warnings"][0]
            and failed["reference"]["transcript"] is None
        )
        assert failed["audio_base64"] == alone["audio_base64"]
    assert (
        only(server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, seed=3, **LENGTH))["reference"][
            "transcript"
        ]
        == SAID
    )


def test_jobs_and_stored_voices(server, service):
    service.answers(says(SAID))
    job = server.job([{"text": "Hello.", "ref_audio": server.upload(cut(2000)), **LENGTH}])
    assert server.wait_job(job)["items"][0]["reference"]["transcript"] == SAID
    server.add_voice("anna", cut(3000))
    voice = server.get(API + "/voices/anna").json()
    assert voice["reference"]["transcript"] == SAID and voice["prepared"] is True, voice
    assert len(service.keys) == 2


def test_the_words_alone(server, service):
    service.answers(says(" Some \n words. "))
    for body in (
        {"form": {"audio": ("me.wav", SPOKEN)}},
        {"body": SPOKEN, "headers": {"Content-Type": "audio/wav"}},
        {"form": {"file": ("me.wav", REFERENCE)}},
    ):
        answer = server.post(API + "/transcribe", **body)
        assert answer.status == 200 and answer.json() == {"text": "Some words."}, answer
    silence = SPOKEN[:44] + bytes(len(SPOKEN) - 44)
    for audio, words in ((b"no audio at all", ""), (b"", "empty"), (silence, "no speech")):
        answer = server.post(API + "/transcribe", form={"audio": ("me.wav", audio)})
        assert answer.status == 400 and words in answer.detail, answer
    for reply, words in (
        ((500, b"CUDA"), "failed or cannot be reached"),
        ((401, b"who are you?"), "is the key right?"),
        (says(" "), "no words"),
        ((200, b"{}"), "no text"),
    ):
        service.answers(reply)
        answer = server.post(API + "/transcribe", form={"audio": ("me.wav", SPOKEN)})
        assert answer.status == 502 and words in answer.detail and "sesame" not in answer.detail, answer
    assert server.get("/health").json()["transcribes"] is True


def test_its_address_is_nobody_elses_business(server, service, tmp_path):
    """Nor the password in it: neither answers nor warnings nor the log have them."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{unused.getsockname()[1]}"
    with Server("--model", GOLDEN / "sample-c/model", "--precision", "f32", "--transcribe-url",
                f"http://user:pa55word@{where}", engine="qwen3") as other:
        answer = other.post(API + "/transcribe", form={"audio": ("me.wav", SPOKEN)})
        assert answer.status == 502 and "cannot be reached" in answer.detail, answer
        cloned = other.clone("Hello.", "/voice-clone-enhanced", ref_audio=data_uri(SPOKEN), language="en", **LENGTH)
        item = only(cloned)
        assert "transcript" in item["warnings"][0], item["warnings"]
        for text in (str(answer.headers), answer.body.decode(), str(cloned.headers), json.dumps(item), other.log()):
            assert "pa55word" not in text and where not in text


def test_who_leaves_is_not_waited_for(service):
    """A service that says nothing keeps no thread once the client has left."""
    with Server("--transcribe-url", service.url, "--enhance-workers", 1) as server:
        with service.nobody_answers():
            head = f"POST {API}/transcribe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\n"
            for _ in range(2):  # the second one waits for the first one's thread
                with server.raw() as connection:
                    connection.sendall(f"{head}Content-Length: {len(SPOKEN)}\r\n\r\n".encode() + SPOKEN)
                    wait_for(lambda: server.metric("timbre_requests_in_flight") == 2)
            wait_for(lambda: server.metric("timbre_requests_in_flight") == 1)
            assert server.post(API + "/enhance", body=REFERENCE, headers={"Content-Type": "audio/wav"}).status == 200


def test_without_a_service():
    with Server() as server:
        answer = server.post(API + "/transcribe", form={"audio": ("me.wav", REFERENCE)})
        assert answer.status == 404 and "--transcribe-url" in answer.detail, answer
        assert server.get("/health").json()["transcribes"] is False
        assert base64.b64decode(only(server.clone("Hello."))["audio_base64"])[:4] == b"RIFF"


def test_what_the_operator_wrote():
    for options, status, words in (
        (("--transcribe-url", "localhost:80"), 2, "transcription service"),
        (("--transcribe-key-file", "/nowhere"), 1, "/nowhere"),
    ):
        done = run("serve", "--engine", "preview", "--port", "0", *options)
        assert done.returncode == status and words in done.stderr, (options, done)
