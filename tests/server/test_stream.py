"""Audio while it is made, clients that leave, clients that read slowly."""
import base64
import json
import socket
import time

import pytest
from support import (API, REFERENCE, Server, data_uri, events, multipart, wait_for, wav_chunk, wav_rate, wav_samples,
                     wav_seconds)

LONG = "This sentence is here to take quite a while to say. " * 30
# As long as a text may be: whoever leaves it must have left before it is spoken, however late.
LONGEST = "This sentence is here to take quite a while to say. " * 78


def test_stream_is_the_same_audio(server, ref):
    text = "Hello there, this is a test."
    whole = server.clone(text, "/voice-clone-enhanced", ref_audio=ref, seed=3, response_format="pcm").json()["items"][0]
    answer = server.clone(text, "/voice-clone-enhanced", ref_audio=ref, seed=3, response_format="pcm", stream=True)
    assert answer.status == 200 and answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["Content-Type"] == "audio/pcm;rate=48000;channels=1" and answer.headers["X-Seed"] == "3"
    assert answer.body == base64.b64decode(whole["audio_base64"])


@pytest.mark.parametrize(
    "name,start", [("wav", b"RIFF"), ("flac", b"fLaC"), ("mp3", None), ("opus", b"OggS"), ("ogg", b"OggS")]
)
def test_stream_formats(server, ref, name, start):
    answer = server.clone("Hello there.", ref_audio=ref, response_format=name, stream=True)
    assert answer.status == 200 and len(answer.body) > 500
    assert start is None or answer.body.startswith(start)


def test_streamed_wav_says_length_unknown(server, ref):
    body = server.clone("Hello there.", "/voice-clone-enhanced", ref_audio=ref, stream=True).body
    at = wav_chunk(body, b"data")
    assert body[at - 4:at] == b"\xff\xff\xff\xff" and wav_rate(body) == 48000 and wav_seconds(body) > 0.2


def test_first_bytes_before_the_last(server, ref):
    """The answer begins while the item is still live."""
    connection = server.connection()
    body = json.dumps({"text": LONG, "ref_audio": ref, "stream": True})
    connection.request("POST", API + "/voice-clone-enhanced", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.read(44)[:4] == b"RIFF"
    assert server.metric("timbre_requests_in_flight") >= 2  # it and this question
    connection.close()
    server.wait_idle()


def test_errors_before_audio_are_answers(server):
    answer = server.clone("Hi.", ref_audio="0" * 32, stream=True)
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: ref_audio: ")


def read_raw(server, path, body):
    """(head, body's chunks, trailers) as they come, the first two as bytes: http.client drops trailers."""
    text = json.dumps(body).encode()
    connection = server.raw()
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                       f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    data = b"".join(iter(lambda: connection.recv(65536), b""))
    connection.close()
    head, rest = data.split(b"\r\n\r\n", 1)
    audio = b""
    while True:
        size, rest = rest.split(b"\r\n", 1)
        if int(size, 16) == 0:
            return head.decode(), audio, rest.decode()
        audio, rest = audio + rest[:int(size, 16)], rest[int(size, 16) + 2:]


CUT = REFERENCE[:len(REFERENCE) * 3 // 4]


@pytest.mark.parametrize("path,fields", [
    (API + "/voice-clone", {"text": "Hello.", "stream": True, "response_format": "pcm"}),
    (API + "/voice-clone-enhanced", {"text": "Hello.", "stream": True}),
    ("/v1/audio/speech", {"input": "Hello.", "voice": "any", "response_format": "opus"}),
])
def test_warnings_come_before_the_audio(server, path, fields):
    """Whatever is known of the reference before anything sounds stands in the head of an answer that is streamed; what
    was clipped behind it."""
    head, audio, trailers = read_raw(server, path, {**fields, "ref_audio": data_uri(CUT), "salvage": True})
    assert head.startswith("HTTP/1.1 200") and len(audio) > 500, head
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert "the file is cut short: it promises" in headers["X-Timbre-Warnings"], headers
    assert headers["Trailer"] == "X-Clipped" and trailers.startswith("X-Clipped: 0\r\n"), (headers, trailers)
    # The reference is known by now: what is kept of it warns as well. A sound one does not.
    head, _, _ = read_raw(server, path, {**fields, "ref_audio": data_uri(CUT), "salvage": True})
    assert "the file is cut short" in head
    head, _, trailers = read_raw(server, path, {**fields, "ref_audio": data_uri(REFERENCE)})
    assert "the file is" not in head and "X-Clipped: " in trailers


def test_openai_events_warn_before_the_audio(server):
    answer = server.post("/v1/audio/speech", {"input": "Hello.", "voice": "any", "stream_format": "sse",
                                              "response_format": "pcm", "ref_audio": data_uri(CUT), "salvage": True})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert "the file is cut short: it promises" in answer.headers["X-Timbre-Warnings"]


def test_events(server, ref):
    answer = server.clone(
        ["One.", "Two."], "/voice-clone-enhanced", ref_audio=ref, custom_id=["a", "b"], stream=True, stream_format="sse"
    )
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream"
    seen = events(answer.body)
    names = [name for name, _ in seen]
    assert names[-1] == "done" and names.count("done") == 1 and names.count("result") == 2
    stages = {data["stage"] for name, data in seen if name == "progress"}
    assert "speech" in stages
    for index, custom_id in ((0, "a"), (1, "b")):
        (result,) = [data for name, data in seen if name == "result" and data["index"] == index]
        audio = b"".join(
            base64.b64decode(data["audio"]) for name, data in seen if name == "audio" and data["index"] == index
        )
        assert result["custom_id"] == custom_id
        assert len(audio) == pytest.approx(result["duration"] * result["sample_rate"] * 2, abs=100)
        stored = server.get(result["url"]).body
        assert wav_samples(stored) == audio


def test_form_can_stream(server):
    answer = server.post(
        API + "/voice-clone-file", form={"text": "Hi.", "ref_audio": ("r.wav", REFERENCE), "stream": "true"}
    )
    assert answer.status == 200 and answer.body[:4] == b"RIFF"


def leave_after(server, path, body, first_bytes):
    """Sends a request, reads `first_bytes` of the answer (0: nothing) and goes."""
    data = json.dumps(body).encode()
    server.wait_idle()  # or a request that just ends counts as this one
    client = server.raw()
    client.sendall(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
        f" {len(data)}\r\n\r\n".encode()
        + data
    )
    if first_bytes:
        client.recv(first_bytes)
    else:
        def submitted():  # not just connected: a client that leaves earlier is gone before there is an item to cancel
            now = server.metrics()
            return now["timbre_batch_size"] + now["timbre_queue_depth"] >= 1
        wait_for(submitted)
    client.close()


@pytest.mark.parametrize("stream,first_bytes", [(False, 0), (True, 0), (True, 1)])
def test_leaving_cancels(server, ref, stream, first_bytes):
    server.wait_idle()
    before = server.metrics()
    leave_after(
        server, API + "/voice-clone-enhanced", {"text": LONGEST, "ref_audio": ref, "stream": stream}, first_bytes
    )

    def ended():  # however: an item that was spoken to its end must not look like one that goes on
        now = server.metrics()
        return {name: now[name] - before.get(name, 0) for name in now
                if name.startswith("timbre_items_total") and now[name] != before.get(name, 0)}
    assert set(wait_for(ended)) == {'timbre_items_total{result="cancelled"}'}
    server.wait_idle()


def test_leaving_amid_a_body():
    """What half a request holds is let go when its client leaves, and not when its time is over."""
    with Server("--idle-timeout", "600") as server:
        server.wait_idle()
        before = server.quiet_descriptors()
        body, content_type = multipart({"text": "Hello.", "ref_audio": ("a.wav", REFERENCE)})
        head = (
            f"POST {API}/voice-clone-file HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
            f" {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        for sent in (len(body) // 2, 300, 0):
            for _ in range(4):
                with server.raw() as client:
                    client.sendall(head.encode() + body[:sent])
        # Asking also wakes its threads: each closes what it has to at its next turn.
        wait_for(lambda: server.get("/health/live").status == 200 and server.descriptors() <= before)
        wait_for(lambda: not list((server.state / "tmp").iterdir()))
        wait_for(lambda: server.metric("timbre_requests_in_flight") == 1)


def test_leaving_cancels_every_item(server, ref):
    before = server.metric('timbre_items_total{result="cancelled"}')
    ok = server.metric('timbre_items_total{result="ok"}')
    leave_after(server, API + "/voice-clone", {"text": [LONG] * 20, "ref_audio": ref}, 0)
    wait_for(lambda: server.metric('timbre_items_total{result="cancelled"}') > before)
    server.wait_idle()
    # Those not started yet are not started any more.
    assert server.metric('timbre_items_total{result="ok"}') == ok
    assert server.metric('timbre_requests_total{method="POST",path="/api/v1/voice-clone",status="499"}') >= 1


def test_half_of_many_leave(server, ref):
    """Those that stay get what they asked for."""
    data = json.dumps({"text": "Hello there.", "ref_audio": ref, "seed": 1, "response_format": "pcm"}).encode()
    expected = server.clone("Hello there.", ref_audio=ref, seed=1, response_format="pcm").json()["items"][0][
        "audio_base64"
    ]
    head = (
        f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection:"
        f" close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    clients = []
    for _ in range(40):
        client = server.raw(timeout=60)
        client.sendall(head.encode() + data)
        clients.append(client)
    for client in clients[::2]:
        client.close()
    for client in clients[1::2]:
        answer = b""
        while part := client.recv(1 << 16):
            answer += part
        client.close()
        head_text, body = answer.split(b"\r\n\r\n", 1)
        assert b" 200 " in head_text.split(b"\r\n")[0], head_text
        assert json.loads(body)["items"][0]["audio_base64"] == expected
    server.wait_idle()
    assert not list((server.state / "tmp").iterdir())


def test_slow_reader_holds_up_only_itself():
    """Generation waits for a reader that does not read; memory stays, others are served."""
    with Server("--stream-ahead", "1") as server:
        ref = server.upload()
        server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref)
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            data = json.dumps({"text": LONG * 2, "ref_audio": ref, "stream": True}).encode()
            client.sendall(
                f"POST {API}/voice-clone-enhanced HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
                f" application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            assert client.recv(16)
            clients.append(client)
        for _ in range(3):
            assert server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref).status == 200
        for client in clients:
            client.close()
        server.wait_idle()


def test_deadline():
    with Server("--job-deadline", "1") as server:
        answer = server.post(API + "/voice-clone-enhanced", {"text": [LONG * 2] * 30, "ref_audio": data_uri()})
        assert answer.status == 200
        assert any(item.get("error") == "The deadline passed" for item in answer.json()["items"])
        server.wait_idle()


def test_still_alive(server, alive):
    pass
