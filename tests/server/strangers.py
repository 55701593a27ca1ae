"""Strangers beside other clients: for the storm, the soak and the kill tests. They leave early, trickle, ask for too
much, send heads that can be read in two ways and forms of random parts. Whatever they do, each gets 4xx or 5xx, or
nothing, and nobody else notices."""

import collections
import random
import re
import threading
import time

from support import API
from test_mutations import form, random_part_head
from test_strangers import INNER, LARGE_HEADS, LONG_TARGETS, OTHER_SHAPES, receive_all, smuggling

SHAPES = [
    b"POST " + API.encode() + b"/voices HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n" + INNER
    for _, lines in smuggling()
]
SHAPES += [shape + INNER for shape in OTHER_SHAPES.values()]
TOO_MUCH = [b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for target in LONG_TARGETS.values()]
TOO_MUCH += [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" for name, head in LARGE_HEADS.items() if name != "cookies"
]
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d{3} ")  # a refusal's words have "HTTP/1.1", too
BEGUN = [
    b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: ",
    f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
    " 60000000\r\n\r\n{".encode(),
    f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding:"
    " chunked\r\n\r\n5\r\n".encode(),
    f"POST {API}/files/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data;"
    " boundary=b\r\nContent-Length: 50000\r\n\r\n--b\r\n".encode(),
]


class Strangers:
    """`count` threads of them, between `with`; the server may be killed and started again meanwhile. `wrong` gets
    what should not have come back."""

    def __init__(self, server, count=4, seed=1):
        self.server = server
        self.wrong = []
        self.counts = collections.Counter()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed * 1000 + i),)) for i in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if not kind:
            assert not self.wrong, self.wrong[:3]
            assert len(self.counts) == 4, self.counts

    def ask(self, data):
        """All that comes back."""
        with self.server.raw(timeout=20) as client:
            try:
                client.sendall(data)
            except OSError:
                pass
            return receive_all(client)

    def refused(self, data):
        answer = self.ask(data)
        is_refusal = answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501", b"HTTP/1.1 503"))
        if answer and (not is_refusal or len(STATUS_LINE.findall(answer)) > 1):
            self.wrong.append((data[:300], answer[:300]))

    def leave(self, dice):
        with self.server.raw(timeout=20) as client:
            data = dice.choice(BEGUN + SHAPES)
            client.sendall(data[: dice.randrange(1, len(data) + 1)])
            time.sleep(dice.choice((0, 0, 0.05)))

    def trickle(self, dice):
        end = time.monotonic() + dice.uniform(0, 2)
        with self.server.raw(timeout=20) as client:
            client.sendall(dice.choice(BEGUN))
            while time.monotonic() < end and not self.stopping.wait(0.1):
                client.sendall(b"x")

    def shape(self, dice):
        self.refused(dice.choice(SHAPES) if dice.random() < 0.8 else dice.choice(TOO_MUCH))

    def form(self, dice):
        body = form([(random_part_head(dice), b"x") for _ in range(dice.randrange(1, 4))])
        path = dice.choice(("/voice-clone-file", "/files/upload", "/voices", "/enhance"))
        self.refused(
            f"POST {API}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: multipart/form-data;"
            f" boundary=xyz\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def run(self, dice):
        while not self.stopping.is_set():
            what = dice.choice((self.leave, self.trickle, self.shape, self.form))
            self.counts[what.__name__] += 1
            try:
                what(dice)
            except OSError:
                time.sleep(0.02)  # the server is away, or has sent the client away
