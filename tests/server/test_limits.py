"""Limits, timeouts and slow clients."""
import http.client
import socket
import struct
import threading
import time

import pytest
from support import API, REFERENCE, SANITIZED, Server, data_uri, multipart, wait_for, wav

MIB = 1 << 20


@pytest.fixture(scope="module")
def small():
    with Server(
        "--max-json-bytes",
        "64K",
        "--max-upload-bytes",
        "64K",
        "--max-text",
        100,
        "--max-items",
        4,
        "--max-references",
        2,
        "--header-timeout",
        "1",
        "--idle-timeout",
        "2",
        "--max-reference-seconds",
        3,
    ) as running:
        yield running


def receive_all(client):
    data = b""
    try:
        while part := client.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def post_bytes(server, path, size, content_type="application/json", head=b"", expect=False):
    """A body of exactly `size` bytes; the answer's first line."""
    with server.raw() as client:
        extra = "Expect: 100-continue\r\n" if expect else ""
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n"
            f"{extra}Connection: close\r\n\r\n".encode()
        )
        if not expect:
            try:
                client.sendall(head)
                rest = size - len(head)
                block = b" " * 65536
                while rest:
                    rest -= client.send(block[:min(rest, 65536)])
            except (BrokenPipeError, ConnectionResetError):
                pass
        return receive_all(client).split(b"\r\n", 1)[0].decode()


def test_json_body_limit(small):
    at_limit = post_bytes(small, API + "/voice-clone", 65536, head=b'{"text": ""')
    assert " 400 " in at_limit
    assert " 413 " in post_bytes(small, API + "/voice-clone", 65537)


def test_default_json_limit(server):
    before = server.memory()
    assert " 400 " in post_bytes(server, API + "/voice-clone", 32 * MIB, head=b"{")
    assert " 413 " in post_bytes(server, API + "/voice-clone", 32 * MIB + 1, head=b"{")
    assert SANITIZED or server.memory() < before + 64 * MIB


def test_expect_continue_is_refused_at_once(server):
    assert " 413 " in post_bytes(server, API + "/voice-clone", 40 * MIB, expect=True)


def test_absurd_length(server):
    assert " 413 " in post_bytes(server, API + "/voice-clone", 1 << 50, expect=True)
    with server.raw() as client:
        client.sendall(b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 99999999999999999999999999\r\n\r\n")
        assert b" 4" in receive_all(client)[:15]


def chunked(server, path, content_type, blocks):
    with server.raw() as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        try:
            for block in blocks:
                client.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            client.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        return receive_all(client).split(b"\r\n", 1)[0].decode()


def test_chunked_body(small, server):
    assert " 400 " in chunked(server, API + "/voice-clone", "application/json", [b'{"text"', b': ""}'])
    assert " 413 " in chunked(small, API + "/voice-clone", "application/json", [b" " * 4096] * 17)


@pytest.mark.parametrize("raw", [False, True])
def test_upload_limit(small, raw):
    path = API + "/files/upload"
    for size, status in ((65536, 201), (65538, 413)):
        audio = wav(1.0, 16000)
        audio = audio[:40] + struct.pack("<I", size - 44) + audio[44:] + bytes(size - len(audio))
        audio = audio[:4] + struct.pack("<I", size - 8) + audio[8:]
        answer = (
            small.post(path, body=audio, headers={"Content-Type": "audio/wav"})
            if raw
            else small.post(path, form={"file": ("a.wav", audio)})
        )
        assert answer.status == status, answer
    assert not list((small.state / "tmp").iterdir())


def test_embedded_file_limit(small):
    with Server("--max-upload-bytes", "16K") as server:
        answer = server.clone("Hi.", ref_audio=data_uri(wav(1.0)))
        assert answer.status == 413, answer


def test_text_limit(small):
    assert small.clone("ü" * 100, ref_audio=data_uri(wav(0.5, 16000))).status == 200
    answer = small.clone("ü" * 101, ref_audio=data_uri(wav(0.5, 16000)))
    assert answer.status == 400 and answer.detail == "Invalid Input: text: has 101 characters, the limit is 100"


def test_item_limit(small):
    reference = data_uri(wav(0.5, 16000))
    assert small.clone(["a"] * 4, ref_audio=reference).status == 200
    answer = small.clone(["a"] * 5, ref_audio=reference)
    assert answer.status == 400 and answer.detail == "Invalid Input: text: has 5 items, the limit is 4"


def test_reference_count_limit(small):
    references = [small.upload(wav(0.5, 16000, seed=i)) for i in range(3)]
    assert small.clone(["a"] * 2, ref_audio=references[:2]).status == 200
    answer = small.clone(["a"] * 3, ref_audio=references)
    assert answer.status == 400 and "more than 2 different references" in answer.detail


def test_reference_count_limit_of_jobs(small):
    references = [data_uri(wav(0.5, 16000, seed=i)) for i in range(3)]

    def submit(*used):
        return small.post(API + "/queue/submit", {"items": [{"text": "a", "ref_audio": one} for one in used]})
    assert submit(*references[:2], references[0]).status == 202
    answer = submit(*references)
    assert answer.status == 400 and "more than 2 different references" in answer.detail, answer


def test_reference_length_limit(small):
    # 4 s at 8 kHz fit the upload limit.
    file = small.upload(wav(4.0, 8000))
    answer = small.clone("Hi.", ref_audio=file)
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: ref_audio: ") and "3" in answer.detail


def test_url_limit(server):
    assert server.get("/health/live?" + "x" * (2048 - len("/health/live?"))).status == 200
    assert server.get("/health/live?" + "x" * (2049 - len("/health/live?"))).status == 414


def test_header_limit(server):
    assert server.get("/health/live", headers={"X-Fill": "x" * 15000}).status == 200
    assert server.get("/health/live", headers={"X-Fill": "x" * 17000}).status == 431
    assert server.get("/health/live", headers={"X-Fill": "x" * 200000}).status in (431, 413)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" * 10,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\x03" * 50,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(10),
)
def test_nonsense(small, data):
    with small.raw(timeout=15) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = receive_all(client)
        assert answer == b"" or answer.startswith(b"HTTP/1.")
        assert not answer.startswith(b"HTTP/1.1 2")
    assert small.get("/health/live").status == 200


@pytest.mark.parametrize(
    "headers,status",
    [
        ("Transfer-Encoding: nonsense", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
    ],
)
def test_doubtful_length(server, headers, status):
    """What two programs could read differently is refused, and the connection ends with it."""
    with server.raw(timeout=15) as client:
        client.sendall(
            f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n\r\n"
            "5\r\nGET /\r\n0\r\n\r\n".encode()
        )
        answer = receive_all(client)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and answer.count(b"HTTP/1.1 ") == 1, answer


def is_closed(client):
    """The server ends it by itself; the socket's own timeout raises otherwise."""
    receive_all(client)
    return True


def test_header_timeout(small):
    with small.raw() as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: loc")
        assert is_closed(client)


def test_dripping_header(small):
    """A byte now and then does not keep a connection: 300 of them would take 30 s."""
    with small.raw() as client, pytest.raises((BrokenPipeError, ConnectionResetError)):
        client.sendall(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        for _ in range(300):
            client.sendall(b"x")
            time.sleep(0.1)


def test_body_timeout(small):
    with small.raw() as client:
        client.sendall(
            b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
            b" 1000\r\n\r\n{"
        )
        assert is_closed(client)


def test_idle_keep_alive(small):
    with small.raw() as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert is_closed(client)


def test_slowloris(server):
    """200 connections that never finish their head do not keep others out."""
    clients = [server.raw() for _ in range(200)]
    try:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert server.get("/health/live").status == 200
        # Served beside them, not after they were thrown out.
        clients[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[-1].recv(1)
    finally:
        for client in clients:
            client.close()


def test_connection_cap():
    with Server("--max-connections", 8, "--header-timeout", 1, "--http-threads", 1) as server:
        clients = [server.raw() for _ in range(30)]
        try:
            wait_for(lambda: server.descriptors() > 8)
            assert server.descriptors() < 60
            # Those that are silent are sent away, and others get their turn.
            assert server.get("/health/live", timeout=20).status == 200
        finally:
            for client in clients:
                client.close()


def test_connections_of_one_address():
    with Server("--max-connections-per-address", 3) as server:
        clients = [server.raw() for _ in range(3)]
        with server.raw() as extra:
            assert receive_all(extra) == b""
        for client in clients:
            client.close()
        def served():
            try:
                return server.get("/health/live").status == 200
            except (ConnectionError, http.client.HTTPException):
                return False
        wait_for(served)


def test_body_memory_limit():
    with Server("--max-body-memory", "1M") as server:
        answer = server.post(API + "/voice-clone", body=b" " * 500000, headers={"Content-Type": "application/json"})
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1
        wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)
        assert server.clone("Hi.", ref_audio=data_uri(wav(0.5))).status == 200


def test_body_memory_of_forms():
    """A form's texts are counted as they come, and given back when the client leaves."""
    head = (f"POST {API}/voice-clone-file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000\r\n\r\n").encode()
    part = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"a" * 10000
    with Server("--max-body-memory", "1M") as server:
        used = lambda: server.metric("timbre_body_memory_bytes")  # noqa: E731
        with server.raw() as first:
            first.sendall(head + part)
            wait_for(lambda: used() >= 10000)
        wait_for(lambda: used() == 0)


def test_reservations_come_back(server):
    threads = [threading.Thread(target=lambda: server.clone("", ref_audio=data_uri())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)


def test_full_queue():
    with Server("--max-waiting-items", 4, "--max-batch", 1) as server:
        reference = server.upload()
        text = "A sentence of some length that takes its time. " * 4
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.clone(text, ref_audio=reference))) for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = sorted({a.status for a in answers})
        assert statuses in ([200, 503], [200]), statuses
        for answer in answers:
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
        answer = server.clone(["A. "] * 32, ref_audio=reference)
        assert answer.status == 503, answer
        server.wait_idle()
        assert server.clone("Hi.", ref_audio=reference).status == 200


def test_storage_limit():
    with Server("--max-storage", "200K") as server:
        file = server.upload()
        answer = server.post(API + "/files/upload", form={"file": ("a.wav", wav(3.0))})
        assert answer.status == 507, answer
        answer = server.clone("A rather long text so that its audio does not fit in what is left. " * 3, ref_audio=file)
        assert answer.status == 507, answer
        assert server.delete(f"{API}/files/{file}").status == 204
        server.upload()
        assert not list((server.state / "tmp").iterdir())


def test_storage_limit_of_answers():
    """What is cleaned or spoken into an answer lies on the disk too, until the client has it."""
    with Server("--max-storage", "600K") as server:
        short, long = wav(1.0, 8000), wav(8.0, 8000)  # at 48 kHz 94 and 750 KiB
        for _ in range(12):  # more than fits, if something stayed booked
            answer = server.post(API + "/enhance", form={"audio": ("a.wav", short)})
            assert answer.status == 200 and len(answer.body) > 90000, answer
            answer = server.post(API + "/voice-clone-file", form={"text": "Hello.", "ref_audio": ("a.wav", REFERENCE)},
                                 headers={"Accept": "audio/wav"})
            assert answer.status == 200 and answer.headers["X-Clipped"] == "0", answer
            assert server.post(API + "/enhance", form={"audio": ("a.wav", long)}).status == 507
            wait_for(lambda: not list((server.state / "tmp").iterdir()))


def test_small_bodies_of_get(server):
    answer = server.request("GET", "/health/live", body=b"x" * 100)
    assert answer.status == 200
    answer = server.request("GET", API + "/voices", body=b"x" * 70000)
    assert answer.status == 413


def test_still_alive(server, alive):
    pass
