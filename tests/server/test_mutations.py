"""Requests with mistakes: heads, forms, chunks and JSON, each changed a little at random. The server lives, answers,
and has nothing of them afterwards.

TIMBRE_MUTATIONS says how many, TIMBRE_MUTATION_SEED which.
"""
import json
import os
import random
import re
import socket

import pytest
from support import API, SANITIZED, Server, wait_for, wav

COUNT = int(os.environ.get("TIMBRE_MUTATIONS", "300" if SANITIZED else "1500"))
SEED = int(os.environ.get("TIMBRE_MUTATION_SEED", "1"))
AUDIO = wav(0.2, 16000)


def receive_all(client):
    data = b""
    try:
        while part := client.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def form(parts, boundary=b"xyz"):
    return (
        b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts)
        + b"--"
        + boundary
        + b"--\r\n"
    )


def bodies():
    """(content type, body) of every shape; none that makes the server speak at length."""
    text = [
        (b'Content-Disposition: form-data; name="text"', b"Hi."),
        (b'Content-Disposition: form-data; name="voice"', b"nobody"),
    ]
    file = [(b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav', AUDIO)]
    return [
        (b"application/json", json.dumps(body).encode())
        for body in (
            {"text": "Hi.", "voice": "nobody"},
            {"text": ["a", "b"], "voice": {"id": "nobody"}, "seed": 1, "top_k": 5, "stream": True},
            {"items": [{"text": "a", "voice": "nobody"}], "label": "l\u00fc"},
            {"input": "Hi.", "voice": "nobody", "speed": 1.5},
            {"text": "Hi.", "ref_audio": "data:audio/wav;base64,UklGRg=="},
            [],
            "text",
            5,
            None,
        )
    ] + [
        (b"multipart/form-data; boundary=xyz", form(text)),
        (b'multipart/form-data; charset=utf-8; boundary="x y z"', form(text + file, b"x y z")),
        (b"multipart/form-data; boundary=xyz", form(file)),
        (b"audio/wav", AUDIO),
        (b"application/octet-stream", b"junk" * 100),
        (b"text/plain", b"Hello"),
        (b"", b""),
    ]


PATHS = [
    API + path
    for path in (
        "/voice-clone",
        "/voice-clone-file",
        "/voice-clone-enhanced",
        "/files/upload",
        "/files/" + "0" * 32,
        "/voices",
        "/voices/anna",
        "/voices/anna/audio",
        "/queue/submit",
        "/queue/status/" + "1" * 32,
        "/queue/list",
        "/enhance",
        "/queue/results/" + "1" * 32,
    )
] + [
    "/v1/audio/speech",
    "/v1/models",
    "/v1/audio/voices",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/",
    "/docs",
    "/nothing",
]
HEADERS = [
    b"Accept: */*",
    b"Range: bytes=0-10",
    b"Range: bytes=-5,1-2",
    b"If-None-Match: \"x\"",
    b"Cookie: a=b; c",
    b"Origin: http://localhost",
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"Idempotency-Key: " + b"k" * 300,
    b"Connection: close",
    b"Upgrade: h2c",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Host: other",
    b" folded: x",
    b"X\t: y",
    b"X: \xff\xfe",
    b"X: " + b"x" * 20000,
    b"Authorization: Bearer \xc3",
    b"x-api-key: " + b"a" * 5000,
    b"TE: trailers",
    b"Max-Forwards: 0",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b":",
    b";",
    b"\"",
    b"\\",
    b"--xyz",
    b"--xyz--",
    b"--",
    b"%00",
    b"%",
    b"?",
    b"&",
    b"=",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"{",
    b"[",
    b"}",
    b"]",
    b"null",
    b"1e999",
    b"\\ud800",
    b"name=",
    b"filename*=UTF-8''%ff",
    b" " * 300,
    b"a&" * 500,
    b"[" * 200,
    b"HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((1, 1, 2, 8, 64))
        what = rng.randrange(6)
        if what == 0:
            data[at:at] = rng.choice(PIECES)
        elif what == 1:
            data[at:at + size] = b""
        elif what == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 3:
            data[at:at] = data[at:at + size]
        elif what == 4:
            data[at:at + size] = rng.randbytes(size)
        elif rng.randrange(8) == 0:
            del data[at:]
    return bytes(data)


def make_request(rng, everything):
    content_type, body = rng.choice(everything)
    if rng.randrange(2):
        body = mutate(body, rng)
    lines = [b"Host: localhost"]
    if content_type:
        lines.append(b"Content-Type: " + (mutate(content_type, rng) if rng.randrange(6) == 0 else content_type))
    if rng.randrange(3) == 0:
        sent = b""
        at = 0
        while at < len(body):
            size = rng.choice((1, 7, 100, 5000))
            sent += b"%x\r\n" % len(body[at:at + size]) + body[at:at + size] + b"\r\n"
            at += size
        body = sent + b"0\r\n\r\n"
        lines.append(b"Transfer-Encoding: chunked")
        body = mutate(body, rng) if rng.randrange(3) == 0 else body
    elif body or rng.randrange(2):
        lines.append(
            b"Content-Length: %d"
            % (len(body) if rng.randrange(6) else rng.choice((0, 1, len(body) + 1, 1 << 40, 1 << 64, -1)))
        )
    for _ in range(rng.choice((0, 0, 1, 3))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(HEADERS))
    path = rng.choice(PATHS).encode()
    head = (
        rng.choice((b"GET", b"POST", b"POST", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"PUT"))
        + b" "
        + path
        + b" HTTP/1.1\r\n"
        + b"\r\n".join(lines)
        + b"\r\n\r\n"
    )
    return (mutate(head, rng) if rng.randrange(3) == 0 else head) + body


GOOD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def refusals(answer):
    """The head of each answer that says what is wrong."""
    return re.findall(rb"HTTP/1\.1 [45]\d\d [^\r]*\r\n(?:[^\r\n]+\r\n)+", answer)


def exchange(server, data, rng):
    """What comes back for a request after which nothing more is sent."""
    with server.raw() as client:
        try:
            if rng.randrange(4) == 0:
                cut = rng.randrange(len(data) + 1)
                client.sendall(data[:cut])
                client.sendall(data[cut:])
            else:
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return receive_all(client)


@pytest.fixture(scope="module")
def patient():
    """Short texts, so that a request that is right by chance is soon over."""
    with Server("--max-text", 100, "--max-speech-seconds", 2, "--log-level", "error") as running:
        yield running


def settle(server):
    server.wait_idle()
    wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)
    wait_for(lambda: not list((server.state / "tmp").iterdir()))
    wait_for(lambda: server.metric("timbre_connections") <= 1)
    return server.quiet_descriptors(), server.memory()


def test_mutated_requests(patient):
    rng = random.Random(SEED)
    everything = bodies()
    for _ in range(100):
        exchange(patient, make_request(rng, everything), rng)
    descriptors, memory = settle(patient)
    for number in range(COUNT):
        data = rng.choice((b"", b"", GOOD)) + make_request(rng, everything)
        answer = exchange(patient, data, rng)
        assert all(b"application/json" in head for head in refusals(answer)), (number, data, answer)
        assert not answer or answer.startswith(b"HTTP/1.1 "), (number, data, answer[:200])
        assert not answer.startswith(b"HTTP/1.1 500"), (number, data, answer[:400])
        assert patient.process.poll() is None, (number, data)
    after = settle(patient)
    assert after[0] <= descriptors + 2
    # What was uploaded well is on the disk; its rows and the heap's holes take a little.
    assert SANITIZED or after[1] < memory + (32 << 20)


def random_part_head(rng):
    words = [
        b"Content-Disposition",
        b"content-disposition",
        b": ",
        b":",
        b"form-data",
        b"FORM-DATA",
        b"attachment",
        b";",
        b"; ",
        b"name=",
        b"NAME =",
        b"name=\"text\"",
        b"name=text",
        b"name=file",
        b"name=\"",
        b"name",
        b"filename=a.wav",
        b"filename=\"a\\\"b.wav\"",
        b"filename*=UTF-8''%e4",
        b"filename*=utf-8''%c3%a4",
        b"\r\n ",
        b"\r\n",
        b"Content-Type: audio/wav",
        b"Content-Type: multipart/mixed; boundary=z",
        b"\0",
        b"\xff",
        b"\"",
        b"\\",
        b"=",
        b" ",
        b"\t",
        b"x" * 300,
        b"Content-Transfer-Encoding: base64",
    ]
    if rng.randrange(2):
        return b"Content-Disposition: form-data" + b"".join(rng.choice(words) for _ in range(rng.randrange(6)))
    return b"".join(rng.choice(words) for _ in range(rng.randrange(12)))


def test_random_part_heads(patient):
    """Each form is answered, whatever the heads of its parts are."""
    rng = random.Random(SEED)
    count = max(COUNT // 2, 1) if "TIMBRE_MUTATIONS" not in os.environ else COUNT // 10

    def some(number):
        for _ in range(number):
            body = form([(random_part_head(rng), b"x") for _ in range(rng.randrange(1, 4))])
            path = rng.choice(
                (
                    API + "/voice-clone-file",
                    API + "/files/upload",
                    API + "/voices",
                    API + "/enhance",
                    API + "/queue/submit",
                )
            )
            answer = exchange(
                patient,
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=xyz\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body,
                rng,
            )
            assert answer.startswith(b"HTTP/1.1 4"), (path, body, answer)
            assert b"application/json" in answer
    some(50)
    before = settle(patient)
    some(count)
    after = settle(patient)
    assert after[0] <= before[0] + 2
    assert SANITIZED or after[1] < before[1] + (16 << 20)


def test_still_alive(patient, alive_after):
    pass


@pytest.fixture
def alive_after(patient):
    yield
    assert patient.get("/health/live").status == 200
    assert patient.clone("Still here.").status == 200
