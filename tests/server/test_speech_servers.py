"""timbre serve in front of several speech servers: what their states are, and how they come back."""
import json
import pathlib
import sys

import pytest
from support import REFERENCE, Server, data_uri, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from load import parallel  # noqa: E402
from speech_server import PCM, SpeechServer  # noqa: E402

CLONE = {"ref_audio": data_uri(REFERENCE), "language": "en"}

HEAD = (b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n")


@pytest.fixture
def speech_servers():
    made = [SpeechServer(), SpeechServer()]
    yield made
    for server in made:
        server.close()


def serve(*urls, more=()):
    options = [word for url in urls for word in ("--remote-url", url)]
    return Server(*options, *more, engine="remote")


def speaks(server, **fields):
    """Whether it did; the item's error if not."""
    answer = server.post("/api/v1/voice-clone", {"text": "Hello there.", **CLONE, **fields})
    assert answer.status == 200 or answer.status >= 500, answer
    return answer.status == 200 and "error" not in answer.json()["items"][0]


def states(server, path="/health"):
    return [one["state"] for one in server.get(path).json()["speech_servers"]]


def number(server, name, url):
    return server.metric(f'timbre_speech_server_{name}{{url="{url}"}}')


def test_states_at_the_start(speech_servers):
    a, b = speech_servers
    with serve(a.url("good") + "#limit=3", b.url("good")) as server:
        assert server.get("/health/ready").json()["speech_servers"] == [
            {"state": "untried", "outstanding": 0, "url": a.url("good"), "limit": 3},
            {"state": "untried", "outstanding": 0, "url": b.url("good")}]
        assert speaks(server)
        assert states(server) == ["up", "untried"]
        assert number(server, "requests_total", a.url("good")) == 1
        assert number(server, "up", b.url("good")) == 1
    with Server(engine="preview") as server:
        assert "speech_servers" not in server.get("/health").json()
        assert "speech_server_up" not in server.get("/metrics").body.decode()


def test_strangers_do_not_see_addresses(speech_servers, tmp_path):
    (tmp_path / "keys").write_text("secret-key-of-this-test\n")
    with serve(speech_servers[0].url("good"), more=("--keys-file", tmp_path / "keys")) as server:
        assert server.get("/health").json()["speech_servers"] == [{"state": "untried", "outstanding": 0}]


def test_a_server_goes_and_comes_back(speech_servers):
    """Down after failures in a row; half open when a check of its health succeeds; up when it has spoken."""
    mends, up = speech_servers
    mends.healthy = False
    with serve(mends.url("mends"), up.url("good")) as server:
        wait_for(lambda: speaks(server) and states(server)[0] == "down")
        assert len(mends.requests) == 3 and number(server, "failures_total", mends.url("mends")) == 3
        assert number(server, "up", mends.url("mends")) == 0
        wait_for(lambda: speaks(server) and mends.checks >= 1)
        assert speaks(server) and len(mends.requests) == 3
        assert states(server)[0] == "down"
        # It says that it is well and is not: the one request that tries it goes to the other server after all.
        mends.healthy = True
        wait_for(lambda: speaks(server) and len(mends.requests) == 4)
        assert states(server)[0] == "down"
        mends.gate.set()
        wait_for(lambda: speaks(server) and states(server)[0] == "up")
        assert number(server, "up", mends.url("mends")) == 1
        assert number(server, "down_total", mends.url("mends")) >= 2


def test_the_only_server_goes_and_comes_back(speech_servers):
    mends, _ = speech_servers
    with serve(mends.url("mends")) as server:
        for _ in range(3):
            assert not speaks(server)
        asked = len(mends.requests)
        assert states(server) == ["down"] and not speaks(server) and len(mends.requests) == asked
        mends.gate.set()
        wait_for(lambda: speaks(server))
        assert states(server) == ["up"]


def test_several_clients_and_a_limit(speech_servers):
    a, b = speech_servers
    with serve(a.url("good") + "#limit=2", b.url("good") + "#limit=1") as server:
        done = []
        parallel(12, lambda _: done.append(speaks(server)))
        assert done == [True] * 12
        assert a.most_at_once <= 2 and b.most_at_once <= 1
        assert len(a.requests) + len(b.requests) == 12
        assert [one["outstanding"] for one in server.get("/health").json()["speech_servers"]] == [0, 0]


def test_a_client_leaves(speech_servers):
    """Its request to the speech server ends, and the place is free."""
    a, _ = speech_servers
    with serve(a.url("endless") + "#limit=1") as server:
        connection = server.raw()
        body = json.dumps({"text": "Without an end.", **CLONE}).encode()
        connection.sendall(HEAD % len(body) + body)
        wait_for(lambda: a.sent > 0)
        assert server.get("/health").json()["speech_servers"][0]["outstanding"] == 1
        connection.close()
        wait_for(lambda: server.get("/health").json()["speech_servers"][0]["outstanding"] == 0)
        assert a.left.wait(30)
        assert states(server) == ["up"]


def test_audio_is_whole(speech_servers):
    a, b = speech_servers
    with serve(a.url("hang_up"), b.url("good")) as server:
        body = {"input": "Hello.", "ref_audio": CLONE["ref_audio"], "response_format": "pcm",
                "run_pre_processing": False, "run_post_processing": False}
        answer = server.post("/v1/audio/speech", body)
        assert answer.status == 200 and answer.body == PCM
        assert len(b.requests) == 1


LONG = "Here is a sentence that goes on for a while, so that nobody can have heard all of it. " * 40


def occupy(server):
    """A listener that takes nothing: its text keeps the only place of the batch on this machine."""
    wait_for(lambda: server.metric("timbre_batch_size") == 0)  # who was answered may not have left yet
    connection = server.raw()
    body = json.dumps({"text": LONG, "stream": True, **CLONE}).encode()
    connection.sendall(HEAD % len(body) + body)
    wait_for(lambda: server.metric("timbre_batch_size") == 1)
    return connection


def speaker(server, **fields):
    answer = server.post("/api/v1/voice-clone", {"text": "Hello there.", **CLONE, **fields})
    assert answer.status == 200, answer
    return answer.json()["items"][0]["engine"]


def told(server, path="/api/v1/voice-clone", count=1, **fields):
    """What the head of an answer says of who speaks."""
    answer = server.post(path, {"text": ["Hello there."] * count if count > 1 else "Hello there.", **CLONE, **fields})
    assert answer.status == 200, answer
    return answer.headers["X-Engine"], answer.headers["X-Is-Clone"]


def serve_both(*urls, engine="preview"):
    options = [word for url in urls for word in ("--remote-url", url)]
    return Server("--overflow", "--max-batch", 1, *options, engine=engine)


def test_overflow(speech_servers):
    """The engine of this machine first; the pool for what it has no place for."""
    a, _ = speech_servers
    with serve_both(a.url("good")) as server:
        assert speaker(server) == "preview" and not a.requests
        listener = occupy(server)
        assert [speaker(server) for _ in range(3)] == ["remote"] * 3
        assert len(a.requests) == 3 and states(server) == ["up"]
        # With a saved voice too.
        server.add_voice("anna")
        assert speaker(server, ref_audio=None, voice="anna") == "remote"
        listener.close()
        server.wait_idle()
        assert speaker(server) == "preview" and len(a.requests) == 4


def test_overflow_is_named(speech_servers):
    """X-Engine and X-Is-Clone are of whoever spoke, however the answer leaves."""
    a, _ = speech_servers
    audio = {"stream": True, "response_format": "pcm"}
    events = {"stream": True, "stream_format": "sse"}
    with serve_both(a.url("good")) as server:
        for fields in ({}, audio):
            assert told(server, **fields) == ("preview", "false")
        listener = occupy(server)
        for fields in ({}, audio, {"count": 2}):
            assert told(server, **fields) == ("remote", "true"), fields
        # Events have begun before anybody speaks; they say it themselves.
        assert told(server, **events) == (None, None)
        listener.close()


@pytest.mark.parametrize("scenario", ["broken", "full", "secret", "html"])
def test_overflow_comes_back(speech_servers, scenario):
    """What the pool does not take is spoken here, when there is a place."""
    a, _ = speech_servers
    with serve_both(a.url(scenario)) as server:
        listener = occupy(server)
        spoken = []

        def leave():
            wait_for(lambda: a.requests)
            listener.close()
        parallel(2, lambda index: spoken.append(speaker(server)) if index else leave())
        assert spoken == ["preview"] and a.requests


def test_overflow_is_cut(speech_servers):
    """After the first audio nothing is spoken twice."""
    a, _ = speech_servers
    with serve_both(a.url("cut")) as server:
        listener = occupy(server)
        assert not speaks(server) and len(a.requests) == 1
        listener.close()


def test_overflow_with_nobody_there(speech_servers):
    a, _ = speech_servers
    url = a.url("good")
    a.close()
    with serve_both(url) as server:
        listener = occupy(server)
        spoken = []

        def leave():
            wait_for(lambda: number(server, "failures_total", url) >= 1)
            listener.close()
        parallel(2, lambda index: spoken.append(speaker(server)) if index else leave())
        assert spoken == ["preview"]


def test_overflow_needs_servers():
    for engine, urls in (("preview", ()), ("remote", ("http://127.0.0.1:1",))):
        with pytest.raises(RuntimeError):
            serve_both(*urls, engine=engine)
