"""What strangers send: heads that ask for too much, bodies that never end, two readings of one request."""
import json
import os
import signal
import socket
import threading
import time

import pytest
from support import API, SANITIZED, Server, data_uri, wait_for, wav

KEY = "a-key-for-the-tests-of-strangers"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"tester {KEY}\n")
    with Server("--keys-file", keys, "--rate-limit", 0) as running:
        yield running


def receive_all(client):
    data = b""
    try:
        while part := client.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def send(server, data, half_close=False):
    """Everything that comes back for these bytes, until the server closes."""
    with server.raw() as client:
        try:
            client.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if half_close:
            client.shutdown(socket.SHUT_WR)
        return receive_all(client)


def statuses(answer):
    """The status of each answer in what came back over one connection."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), answer[:200]
        found.append(int(head[9:12]))
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answer = rest[length:]
    return found


# ---- Heads that ask for too much ------------------------------------------------------------------------------------

LONG_TARGETS = {
    "path": b"/" + b"a" * 5000,
    "query": b"/health/live?" + b"x" * 5000,
    "thousands of arguments": b"/health/live?" + b"a&" * 28000,
    "arguments with values": b"/health/live?" + b"a=b&" * 8000,
    "escapes": b"/health/live?" + b"%41&" * 8000,
    "many question marks": b"/health/live" + b"?" * 3000,
    "more than is read": b"/" + b"a" * 70000,
    "more than is read, in arguments": b"/?" + b"a&" * 100000,
    "absolute": b"http://localhost/" + b"a&" * 3000,
}


@pytest.mark.parametrize("target", LONG_TARGETS.values(), ids=LONG_TARGETS)
def test_long_target(guarded, target):
    answer = send(guarded, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 414 "), answer[:100]


def test_many_arguments_within_the_limit(guarded):
    answer = send(
        guarded, b"GET /health/live?" + b"a&" * 1010 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]


LARGE_HEADS = {
    "one header": b"X: " + b"x" * 20000 + b"\r\n",
    "many headers": b"a:\r\n" * 5000,
    "cookies": b"Cookie: " + b"a=b; " * 3000 + b"\r\n",
    "empty cookies": b"Cookie: " + b"a;" * 30000 + b"\r\n",
    "headers within the bytes": b"a:\r\n" * 3500,
    "cookies within the bytes": b"Cookie: " + b"a;" * 7000 + b"\r\n",
    "cookies with commas": b"Cookie: " + b"a=b," * 3500 + b"\r\n",
    "cookies of many headers": b"Cookie: a=b; c=d\r\n" * 130,
    "more than is read": b"X: " + b"x" * 200000 + b"\r\n",
}


@pytest.mark.parametrize("head", LARGE_HEADS.values(), ids=LARGE_HEADS)
def test_large_head(guarded, head):
    answer = send(guarded, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]


def test_such_heads_leave_nothing(guarded):
    kinds = [b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for target in LONG_TARGETS.values()]
    kinds += [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head + b"\r\n" for head in LARGE_HEADS.values()
    ]

    def some(count):
        for i in range(count):
            with guarded.raw() as client:
                try:
                    client.sendall(kinds[i % len(kinds)])
                except (BrokenPipeError, ConnectionResetError):
                    pass
                if i % 3:
                    receive_all(client)
    some(100)
    memory, descriptors = guarded.memory(), guarded.quiet_descriptors()
    some(1500)
    wait_for(lambda: guarded.descriptors() <= descriptors + 2)
    assert SANITIZED or guarded.memory() < memory + (16 << 20)


# ---- One reading of the protocol ------------------------------------------------------------------------------------

INNER = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


def smuggling():
    """name → the head's lines, of a POST unless it has a first line; the body is a whole second request."""
    length = str(len(INNER)).encode()
    lengths = {
        "none": b"",
        "right": b"Content-Length: " + length + b"\r\n",
        "zero": b"Content-Length: 0\r\n",
        "blank": b"Content-Length : " + length + b"\r\n",
        "tab": b"Content-Length\t: 0\r\n",
        "blank behind": b"Content-Length: " + length + b" \r\n",
        "tab behind": b"Content-Length: 0\t\r\n",
        "plus": b"Content-Length: +5\r\n",
        "minus": b"Content-Length: -5\r\n",
        "hex": b"Content-Length: 0x10\r\n",
        "list": b"Content-Length: 0, 0\r\n",
        "empty": b"Content-Length:\r\n",
        "blanks inside": b"Content-Length: 1 2\r\n",
        "fraction": b"Content-Length: 5.0\r\n",
        "twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
        "two": b"Content-Length: 0\r\nContent-Length: " + length + b"\r\n",
        "two cases": b"content-length: 5\r\nCONTENT-LENGTH: 0\r\n",
        "huge": b"Content-Length: 18446744073709551615\r\n",
        "overflow": b"Content-Length: 18446744073709551621\r\n",
        "endless": b"Content-Length: " + b"9" * 400 + b"\r\n",
        "folded": b"Content-Length:\r\n 0\r\n",
        "bare line feed": b"Content-Length: 0\n",
        "NUL": b"Content-Length: 0\0" + b"1\r\n",
        "carriage return": b"Content-Length: 0\r1\r\n",
    }
    codings = {
        "none": b"",
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "identity": b"Transfer-Encoding: identity\r\n",
        "gzip": b"Transfer-Encoding: gzip, chunked\r\n",
        "blank": b"Transfer-Encoding : chunked\r\n",
        "blank behind": b"Transfer-Encoding: chunked \r\n",
        "comma behind": b"Transfer-Encoding: chunked,\r\n",
        "empty": b"Transfer-Encoding:\r\n",
        "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "then identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "folded": b"X: y\r\n Transfer-Encoding: chunked\r\n",
        "quoted": b"Transfer-Encoding: \"chunked\"\r\n",
        "control": b"Transfer-Encoding: \x0bchunked\r\n",
        "trailing": b"Transfer-Encoding: chunked;a\r\n",
        "bare line feed": b"X: y\nTransfer-Encoding: chunked\r\n",
        "prefix": b"Transfer-Encoding: xchunked\r\n",
    }
    for length_name, length_line in lengths.items():
        for coding_name, coding_line in codings.items():
            if (length_name, coding_name) not in (
                ("none", "none"),
                ("right", "none"),
                ("zero", "none"),
                ("none", "chunked"),
            ):
                yield f"length {length_name}, coding {coding_name}", length_line + coding_line
                yield f"coding {coding_name}, length {length_name}", coding_line + length_line


@pytest.mark.parametrize("path", [API + "/voices", "/health/live", "/nothing"])
def test_no_request_inside_a_request(server, path):
    """Whatever the head says of the body, nothing of the body is served as a request, and one answer says what is
    wrong."""
    for name, lines in smuggling():
        for body in (INNER, b"0\r\n\r\n" + INNER):
            answer = send(
                server,
                b"POST " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n" + body,
                half_close=True,
            )
            assert len(found := statuses(answer)) == 1 and found[0] in (400, 501), (name, body[:5], answer[:300])
            assert answer.count(b"HTTP/1.1 ") == 1 and b"timbre_" not in answer, (name, answer)


OTHER_SHAPES = {
    "two hosts": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "two different hosts": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
    "no host": b"GET /health/live HTTP/1.1\r\nX: y\r\n\r\n",
    "host with a blank": b"GET /health/live HTTP/1.1\r\nHost: local host\r\n\r\n",
    "host is a list": b"GET /health/live HTTP/1.1\r\nHost: localhost, other\r\n\r\n",
    "line feeds only": b"GET /health/live HTTP/1.1\nHost: localhost\n\n",
    "first line ends with a line feed": b"GET /health/live HTTP/1.1\nHost: localhost\r\n\r\n",
    "last line ends with a line feed": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\n",
    "folded": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "folded with a tab": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n",
    "folded before the first": b"GET /health/live HTTP/1.1\r\n X: a\r\nHost: localhost\r\n\r\n",
    "blank before the colon": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n",
    "no name": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n: a\r\n\r\n",
    "name with a letter beyond ASCII": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX\xe9: a\r\n\r\n",
    "no colon": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n",
    "control byte": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: a\x01b\r\n\r\n",
    "NUL in a value": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "NUL in a name": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX\x00: b\r\n\r\n",
    "carriage return in a value": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
    "chunked in HTTP/1.0": (
        b"POST /api/v1/voices HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding:"
        b" chunked\r\n\r\n0\r\n\r\n"
    ),
    "two blanks in the first line": b"GET  /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two blanks before the version": b"GET /health/live  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "blank after the version": b"GET /health/live HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "NUL in the target": b"GET /health/live\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_doubtful_head(guarded, data):
    answer = send(guarded, data + INNER, half_close=True)
    found = statuses(answer)
    assert found == [400], answer[:300]


@pytest.mark.parametrize(
    "line", [b"X:a", b"X:  a", b"X:\ta", b"X: a b", b"X:", b"X: ", b"X: a ", b"X: caf\xc3\xa9", b"x-!#$%&'*+.^_`|~: a"]
)
def test_plain_heads_are_plain(guarded, line):
    answer = send(
        guarded, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\nConnection: close\r\n\r\n"
    )
    assert statuses(answer) == [200], answer[:200]


def test_head_in_pieces(guarded):
    """The sums of a head are right however it comes, and however long its parts are."""
    head = (
        b"GET /health/live?a=b HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: %s\r\n" % (i, b"y" * (i * 37 % 500)) for i in range(40))
        + b"Connection: close\r\n\r\n"
    )
    for size in (1, 7, 1000):
        with guarded.raw() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(head), size):
                client.sendall(head[at:at + size])
            assert statuses(receive_all(client)) == [200]


def test_pipelined_requests_are_served(guarded):
    assert statuses(send(guarded, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50 +
                         b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")) == [200] * 51


def test_chunked_body_is_the_last(server):
    """Chunks can be read in two ways too: nothing that follows them is served."""
    body = json.dumps({"text": "", "voice": "x"}).encode()
    for chunks in (b"%x\r\n%s\r\n0\r\n\r\n", b"%x;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n", b"%x;\r\n%s\r\n0\r\n\r\n"):
        answer = send(server, CHUNKED + chunks % (len(body), body) + INNER)
        assert statuses(answer) == [400] and b"timbre_" not in answer and b"text" in answer, answer


CHUNKED = (f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
           "Transfer-Encoding: chunked\r\n\r\n").encode()
NO_CHUNKS = {
    "a long extension": b"5;" + b"a" * 70000 + b"\r\nhello\r\n0\r\n\r\n",
    "a longer extension": b"5;" + b"a" * 1000000,
    "extensions without end": (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 40 + b"1;" + b"a" * 2000,
    "leading zeros": b"0" * 70000 + b"5\r\nhello\r\n0\r\n\r\n",
    "no number": b"zz\r\nhello\r\n",
    "nothing": b"\r\nhello",
    "negative": b"-5\r\nhello",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a blank before": b" 5\r\nhello\r\n0\r\n\r\n",
    "a blank behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "longer than its size": b"5\r\nhelloXX0\r\n\r\n",
    "line feeds": b"5\nhello\n0\n\n",
    "a line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "a NUL": b"5;\0a\r\nhello\r\n0\r\n\r\n",
    "a carriage return": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a size that wraps": b"ffffffffffffffff\r\nabc",
    "a size beyond 64 bits": b"fffffffffffffffffff\r\nabc",
    "many trailers": b"0\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    "a long trailer": b"0\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
    "a trailer without a colon": b"0\r\nX y\r\n\r\n",
    "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
}


@pytest.mark.parametrize("chunks", NO_CHUNKS.values(), ids=NO_CHUNKS)
def test_what_is_no_chunked_body(server, chunks):
    """400 with a reason as JSON, and the end of the connection."""
    for data in (CHUNKED + chunks + INNER, CHUNKED + b"2\r\n{}\r\n" + chunks + INNER):
        answer = send(server, data)
        assert statuses(answer) == [400], answer[:300]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"].startswith("Invalid Input: body: "), answer


# ---- The same of every request of a connection ----------------------------------------------------------------------

BEFORE = {
    "none": (b"", []),
    "GET": (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", [200]),
    "two": (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2, [200, 200]),
    "not found": (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", [404]),
    "a body": (
        f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{}".encode(),
        [400],
    ),
}
WRONG = {
    **{name: (CHUNKED + chunks + INNER, 400) for name, chunks in NO_CHUNKS.items()},
    **{name: (shape + INNER, 400) for name, shape in OTHER_SHAPES.items()},
    **{f"target: {name}": (b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414)
       for name, target in LONG_TARGETS.items()},
    **{f"head: {name}": (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" + INNER, 431)
       for name, head in LARGE_HEADS.items()},
    "no version": (b"GET /health/live\r\n\r\n", 400),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "an unknown version": (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n" + INNER, 505),
    "a coding": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n" + INNER, 501),
    "a length that is too much": (CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 999999999"), 413),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_every_request_is_read_in_one_way(server, wrong):
    """What is wrong with a request is told as JSON, whichever of its connection it is, in however many pieces it comes,
    after what those before it are told; and it is the last."""
    data, status = wrong
    for before, expected in BEFORE.values():
        for whole in (True, False):
            with server.raw() as client:
                try:
                    if not whole and before:
                        client.sendall(before)
                        got = b""
                        while got.count(b"\r\n\r\n") < len(expected) or not got.endswith(b"}"):
                            got += client.recv(65536)
                        client.sendall(data[:30])
                        client.sendall(data[30:])
                    else:
                        got = b""
                        client.sendall(before + data)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                answer = got + receive_all(client)
            assert statuses(answer) == [*expected, status], (before, answer[-600:])
            last = answer[answer.rindex(b"HTTP/1.1 %d " % status):]
            head, _, body = last.partition(b"\r\n\r\n")
            assert json.loads(body)["detail"] and b"application/json" in head and b"\r\nConnection: close" in head, last


def test_good_requests_follow_each_other(server):
    """As many as there may be headers and cookies, in pieces, half-closed, and with bodies between them."""
    get = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    kinds = [
        (get % b"", 200),
        (get % b"".join(b"X-%d: a\r\n" % i for i in range(250)), 200),
        (get % (b"Cookie: " + b"; ".join(b"a%d=b" % i for i in range(250)) + b"\r\n"), 200),
        (get % b"X: %s\r\n" % (b"x" * 16000), 200),
        (BEFORE["a body"][0], 400),
        (form_request(API + "/nothing", b"x" * 300000).replace(b"POST", b"GET"), 404),
    ]
    for order in range(len(kinds) - 1):
        data = b"".join(kinds[(order + i) % (len(kinds) - 1)][0] for i in range(20))
        expected = [kinds[(order + i) % (len(kinds) - 1)][1] for i in range(20)]
        for size in (len(data), 4096, 777):
            with server.raw() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(data), size):
                    client.sendall(data[at:at + size])
                client.shutdown(socket.SHUT_WR)
                assert statuses(receive_all(client)) == expected
    # A refused request with a body is the last of its connection.
    assert statuses(send(server, kinds[5][0] + kinds[0][0])) == [404]


def test_chunked_bodies_are_as_good_as_any(server, ref):
    """Cut anywhere, with 100-continue, with more behind them, of a client that then only listens."""
    body = json.dumps({"text": "Hi.", "ref_audio": data_uri(wav(1.0, 24000)), "seed": 1}).encode()
    plain = server.post(API + "/voice-clone", body=body, headers={"Content-Type": "application/json"})
    expected = plain.json()["items"][0]

    def spoken(answer):
        assert statuses(answer) == [200], answer[:300]
        return json.loads(answer.partition(b"\r\n\r\n")[2])["items"][0]["audio_base64"]
    for size in (1000, 4096, 65536, 1 << 20):
        pieces = [body[at:at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%X;n=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        for end in (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n" + INNER):
            for half_close in (False, True):
                assert spoken(send(server, CHUNKED + chunks + end, half_close)) == expected["audio_base64"]
    with server.raw() as client:
        client.sendall(CHUNKED.replace(b"Transfer", b"Expect: 100-continue\r\nTransfer"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for at in range(0, len(chunks + b"0\r\n\r\n"), 5001):
            client.sendall((chunks + b"0\r\n\r\n")[at:at + 5001])
        assert spoken(receive_all(client)) == expected["audio_base64"]
    # Nothing of them stays, whenever they leave.
    server.wait_idle()
    wait_for(lambda: server.metric("timbre_connections") <= 1)
    before = server.quiet_descriptors()
    for cut in (len(CHUNKED), len(CHUNKED) + 5, len(CHUNKED) + 5000, len(CHUNKED + chunks)) * 5:
        leave(server, (CHUNKED + chunks)[:cut], 0, cut % 2)
    leave(server, CHUNKED + chunks + b"0\r\n\r\n", 0, True)
    server.wait_idle()
    wait_for(lambda: server.descriptors() <= before)
    wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)


def test_absolute_target(server):
    for target in (
        b"http://localhost/health/live",
        b"HTTP://localhost:80/health/live",
        b"http://localhost/health/live?a=b",
    ):
        assert statuses(
            send(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        ) == [200]
    assert statuses(
        send(server, b"GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    ) == [403]


def test_content_encoding(server):
    answer = server.post(
        API + "/voice-clone",
        body=b"\x1f\x8b\x08",
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert answer.status == 415 and "Content-Encoding" in answer.detail
    answer = server.post(
        API + "/voice-clone", body=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "identity"}
    )
    assert answer.status == 400


# ---- Clients that take their time -----------------------------------------------------------------------------------

def trickle(server, head, stop):
    """Forty clients that begin a request and send a byte now and then; a new one for each that is sent away."""
    def client():
        while not stop.is_set():
            try:
                with server.raw(timeout=1) as connection:
                    connection.sendall(head)
                    while not stop.wait(0.2):
                        connection.sendall(b"x")
            except OSError:
                stop.wait(0.05)
    threads = [threading.Thread(target=client) for _ in range(40)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong-wrong-wrong\r\n"
        b"Content-Type: application/json\r\nContent-Length: 60000000\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n",
        b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["wrong key", "head", "body of an open route", "chunked"],
)
def test_strangers_shut_nobody_out(tmp_path, head):
    keys = tmp_path / "keys"
    keys.write_text(f"tester {KEY}\n")
    with Server("--keys-file", keys, "--max-connections", 40) as server:
        stop = threading.Event()
        threads = trickle(server, head, stop)
        try:
            wait_for(lambda: server.descriptors() > 40)
            for _ in range(20):
                assert server.get("/health/live").status == 200
                assert server.get(API + "/voices", headers={"x-api-key": KEY}).status == 200
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_known_clients_leave_room_for_health_checks():
    """All connections are busy with requests that may stay: health checks get through, others hear why they do not."""
    with Server("--max-connections", 8) as server:
        clients = [server.raw() for _ in range(8)]
        try:
            for client in clients:
                client.sendall(
                    f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
                    " application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode()
                )
                assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            wait_for(lambda: server.get(API + "/voices").status == 503)
            answer = server.get(API + "/voices")
            assert answer.status == 503 and "--max-connections" in answer.detail and answer.headers["Retry-After"]
            assert server.get("/health/live").status == 200
        finally:
            for client in clients:
                client.close()
        wait_for(lambda: server.get(API + "/voices").status == 200)


def test_refused_at_once_and_drained(guarded):
    """The answer does not wait for the body, and the client that sends it nevertheless gets to read it."""
    head = (
        f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\nContent-Type:"
        " application/json\r\nContent-Length: 3000000\r\n\r\n".encode()
    )
    with guarded.raw() as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")
    answer = send(guarded, head + b" " * 3000000)
    assert statuses(answer) == [401]


def test_body_is_refused_in_its_midst(server):
    """A part that is no field ends a form at once, whatever was still to come."""
    head = (
        f"POST {API}/files/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data;"
        " boundary=xy\r\nContent-Length: 20000000\r\n\r\n".encode()
    )
    with server.raw() as client:
        client.sendall(
            head
            + b"--xy\r\nContent-Disposition: form-data; name=\"nothing\"\r\n\r\nsome text\r\n--xy\r\n"
            + b" " * 1000
        )
        answer = client.recv(4000)
        assert answer.startswith(b"HTTP/1.1 400 ") and b"nothing" in answer and b"X-Request-Id" in answer


def test_slow_body_is_told_so():
    with Server("--idle-timeout", "1") as server, server.raw() as client:
        client.sendall(
            f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
            " 30000000\r\n\r\n{".encode()
        )
        try:
            for _ in range(600):
                client.sendall(b" ")
                time.sleep(0.05)
            raise AssertionError("a byte now and then kept the connection")
        except (BrokenPipeError, ConnectionResetError):
            pass
        wait_for(
            lambda: (
                server.metrics().get('timbre_requests_total{method="POST",path="/api/v1/voice-clone",status="408"}')
                == 1
            )
        )


# ---- Clients that leave ---------------------------------------------------------------------------------------------

def test_half_close_is_no_leaving(server, ref):
    """A client that sends no more may still want its answer."""
    for path in ("/voice-clone", "/voice-clone-enhanced"):
        for stream in (False, True):
            body = json.dumps({"text": "Hello there.", "ref_audio": ref, "stream": stream}).encode()
            answer = send(
                server,
                f"POST {API}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
                f" {len(body)}\r\n\r\n".encode()
                + body,
                half_close=True,
            )
            assert answer.startswith(b"HTTP/1.1 200 ") and len(answer) > 5000, answer[:200]
    assert statuses(send(server, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", half_close=True)) == [200]


def test_whoever_reads_all_has_not_left(server):
    def aborted():
        return server.metric("timbre_requests_aborted_total")
    before = aborted()
    for i in range(200):
        with server.raw() as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert aborted() == before


def clone_request(path, ref, extra=b"", **fields):
    body = json.dumps({"text": "Hello.", "ref_audio": ref, "run_pre_processing": False, **fields}).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        .encode()
        + extra
        + b"\r\n"
        + body
    )


def form_request(path, audio, chunked=False):
    body = (
        b"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nHello.\r\n--b\r\nContent-Disposition: form-data;"
        b" name=\"ref_audio\"; filename=\"a.wav\"\r\n\r\n"
        + audio
        + b"\r\n--b--\r\n"
    )
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n".encode()
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def leave(server, data, read, reset):
    """Sends, reads so many bytes of the answer at least, and goes: in silence or with a reset."""
    client = server.raw()
    try:
        client.sendall(data)
        while read > 0:
            part = client.recv(65536)
            if not part:
                break
            read -= len(part)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except (BrokenPipeError, ConnectionResetError):
        pass
    client.close()


def test_clients_leave_at_every_moment():
    """Nothing stays of any of them: no descriptor, no memory that was booked, no file, no request that counts as
    running."""
    with Server("--max-waiting-items", 100000) as server:
        ref = server.upload(wav(2.0, 24000))
        inline = data_uri(wav(1.0, 48000))
        speech = json.dumps(
            {"input": "Hello.", "voice": "anna", "response_format": "wav", "stream_format": "sse"}
        ).encode()
        server.add_voice("anna", wav(2.0, 24000))
        whole = {
            "head": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "json": clone_request(API + "/voice-clone", ref),
            "inline": clone_request(API + "/voice-clone", inline),
            "stream": clone_request(API + "/voice-clone", ref, stream=True),
            "events": clone_request(API + "/voice-clone", ref, stream=True, stream_format="sse"),
            "events of inline audio": clone_request(API + "/voice-clone", inline, stream=True, stream_format="sse"),
            "speech": (
                "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
                f" application/json\r\nContent-Length: {len(speech)}\r\n\r\n".encode()
                + speech
            ),
            "form": form_request(API + "/voice-clone-file", wav(2.0, 24000)),
            "chunked form": form_request(API + "/voice-clone-file", wav(2.0, 24000), chunked=True),
            "raw": (
                b"POST /api/v1/files/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nContent-Length:"
                b" 40000\r\n\r\n"
                + bytes(40000)
            ),
            "refused": (
                b"POST /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n" + bytes(40000)
            ),
        }
        moments = []
        for name, data in whole.items():
            head = data.index(b"\r\n\r\n") + 4
            cuts = {0, 1, 20, head - 1, head, head + 1, (head + len(data)) // 2, len(data) - 1}
            moments += [(data[:cut], 0) for cut in sorted(cut for cut in cuts if cut <= len(data))]
            moments += [
                (data, 0),
                (data, 1),
                (data, 100),
                (data.replace(b"Host: ", b"Connection: close\r\nHost: ", 1), 1 << 30),
            ]
        for data, read in moments:  # what is made once and kept
            leave(server, data, min(read, 1), False)
        server.wait_idle()
        wait_for(lambda: server.metric("timbre_connections") <= 1)
        before = server.quiet_descriptors()
        memory = server.memory()
        rounds = 1 if SANITIZED else 4

        def many(seed):
            for turn in range(rounds):
                for i, (data, read) in enumerate(moments):
                    if (i + turn) % 4 == seed:
                        leave(server, data, read, (i // 4 + turn) % 2)
        threads = [threading.Thread(target=many, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.wait_idle()
        wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)
        wait_for(lambda: server.descriptors() <= before)
        # Results of requests that were over before their client left are kept; nothing else is.
        wait_for(lambda: not list((server.state / "tmp").iterdir()))
        assert server.metric("timbre_requests_in_flight") == 1
        assert SANITIZED or server.memory() < memory + (64 << 20)


def test_leaving_before_the_first_event(server, voice):
    """The response of a stream and its request hold each other while it is sent, and never longer."""
    inline = data_uri(wav(2.0, 48000))
    def some(count):
        for i in range(count):
            for fields in ({"ref_audio": inline}, {"voice": voice}):
                body = json.dumps({"text": "Hi.", "stream": True, "stream_format": "sse", **fields}).encode()
                leave(
                    server,
                    f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
                    f" application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body,
                    0,
                    i % 2,
                )

    some(5)
    server.wait_idle()
    wait_for(lambda: server.metric("timbre_connections") <= 1)
    before = server.quiet_descriptors()
    some(20 if SANITIZED else 150)
    server.wait_idle()
    wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)
    wait_for(lambda: server.descriptors() <= before)


# ---- Bytes that are no text -----------------------------------------------------------------------------------------

def test_messages_are_text(server):
    """A message may quote what is not UTF-8, or cut it: it is told as JSON nevertheless."""
    bodies = [json.dumps({"text": "a", "voice": "x", "a" + "\u00e9" * 40: 1}, ensure_ascii=False).encode(),
              json.dumps({"text": "a", "voice": "x", "\U0001f600" * 100: 1}, ensure_ascii=False).encode(),
              json.dumps({"items": [{"text": "a", "voice": "x", "b" + "\u00e9" * 80: 1}]}, ensure_ascii=False).encode()]
    for body in bodies:
        for path in ("/voice-clone", "/queue/submit"):
            answer = server.post(API + path, body=body, headers={"Content-Type": "application/json"})
            assert answer.status == 400 and answer.json()["detail"], answer
    for target in (b"/caf\xe9", b"/%ff", b"/api/v1/voices/%c3", b"/api/v1/files/%e9?a=%ff"):
        answer = send(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert statuses(answer)[0] in (400, 404), answer
        json.loads(answer.partition(b"\r\n\r\n")[2])
    for host in (b"caf\xe9", b"caf\xc3\xa9.example", b"\xff" * 300):
        answer = send(server, b"GET /health/live HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert statuses(answer) == [400] and json.loads(answer.partition(b"\r\n\r\n")[2]), answer
    for name in (b"\xff", b"\xc3", b"\xe9" * 200, "\u00e9".encode() * 100):
        body = b"--xyz\r\nContent-Disposition: form-data; name=\"" + name + b"\"\r\n\r\nx\r\n--xyz--\r\n"
        answer = server.post(
            API + "/voice-clone-file", body=body, headers={"Content-Type": "multipart/form-data; boundary=xyz"}
        )
        assert answer.status == 400 and "is not a field of this form" in answer.detail, answer


def test_byte_order_mark(server):
    body = b"\xef\xbb\xbf" + json.dumps({"text": "", "voice": "x"}).encode()
    answer = server.post(API + "/voice-clone", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400 and "text" in answer.detail


# ---- Memory ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", [b"{}", b"[]", b'""', b"1", b"null"])
def test_values_are_counted_before_they_are_made(server, value):
    """A value takes a hundred times the memory of its text."""
    body = b'{"text":[' + b",".join([value] * ((8 << 20) // (len(value) + 1))) + b'],"voice":"x"}'
    server.post(API + "/voice-clone", body=body, headers={"Content-Type": "application/json"})
    before = server.memory()
    answer = server.post(API + "/voice-clone", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400 and "values" in answer.detail, answer
    assert SANITIZED or server.memory() < before + (64 << 20)
    answer = server.post(API + "/voice-clone", body=b"[" * 100000, headers={"Content-Type": "application/json"})
    assert answer.status == 400 and "nested" in answer.detail


def test_promises_cost_no_memory(server):
    """Heads that announce large bodies leave the budget for bodies to those that come."""
    wait_for(lambda: server.metric("timbre_body_memory_bytes") == 0)  # who was answered before may still be taken down
    clients = [server.raw() for _ in range(8)]
    try:
        for client in clients:
            client.sendall(
                f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type:"
                " application/json\r\nContent-Length: 33000000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            client.sendall(b"{")
        assert server.metric("timbre_body_memory_bytes") < 1 << 20
        assert server.clone("Hello.").status == 200
    finally:
        for client in clients:
            client.close()


def test_one_client_has_not_all_of_the_memory(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"tester {KEY}\nother {KEY}2\n")
    with Server("--keys-file", keys, "--max-body-memory", "2M") as server:
        clients = [server.raw() for _ in range(3)]
        try:
            for client in clients:
                client.sendall(
                    f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nContent-Type:"
                    " application/json\r\nContent-Length: 1000000\r\n\r\n".encode()
                    + b" " * 200000
                )

            def booked():
                lines = server.get("/metrics", headers={"x-api-key": KEY}).body.decode().splitlines()
                return next(float(line.split()[1]) for line in lines if line.startswith("timbre_body_memory_bytes "))
            wait_for(lambda: booked() > 1 << 20)
            answer = server.post(API + "/voice-clone", body=b" " * 120000 + b"{}",
                                 headers={"Content-Type": "application/json", "x-api-key": KEY + "2"})
            assert answer.status == 400, answer
        finally:
            for client in clients:
                client.close()


# ---- Addresses and keys ---------------------------------------------------------------------------------------------

def test_localhost_is_both_loopbacks(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Server("--host", "localhost") as server:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.connect((address, server.port))
                client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert receive_all(client).startswith(b"HTTP/1.1 200 ")


def test_keys_of_every_editor(tmp_path):
    keys = tmp_path / "keys"
    keys.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\nother " + KEY.encode() + b"2")
    with Server("--keys-file", keys) as server:
        for key in (KEY, KEY + "2"):
            assert server.get(API + "/voices", headers={"x-api-key": key}).status == 200
        # What cannot be read leaves the old keys, and keeps nobody waiting.
        for replace in ("fifo", "folder", "nul", "gone"):
            keys.rmdir() if keys.is_dir() else keys.unlink()
            if replace == "fifo":
                os.mkfifo(keys)
            elif replace == "folder":
                keys.mkdir()
            elif replace == "nul":
                keys.write_bytes(KEY.encode() + b"\0\n")
            logged = server.log().count("the old keys stay")
            if replace == "gone":
                keys.unlink(missing_ok=True)
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: server.log().count("the old keys stay") == logged + 1)
            assert server.get(API + "/voices", headers={"x-api-key": KEY}).status == 200
            if replace == "nul":
                keys.write_bytes(b"x")


def test_still_alive(server, alive):
    pass
