"""A speech server of Python's own library, with faults on demand: what --engine remote is tested against."""
import array
import http.server
import json
import math
import threading
import time

SPEECH = [0.25 * math.sin(2 * math.pi * 200 * i / 24000) for i in range(24000)]
PCM = array.array("h", (round(s * 32767) for s in SPEECH)).tobytes()


class SpeechServer(http.server.ThreadingHTTPServer):
    """Answers by the scenario that is the first part of the path."""
    daemon_threads = True

    def __init__(self, port=0, listens=True):
        """Without `listens` it has its port, and refuses connections until listen()."""
        super().__init__(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server_bind()
        self.requests, self.checks, self.sent = [], 0, 0
        self.at_once = self.most_at_once = 0
        self.healthy = True
        self.left = threading.Event()
        self.gate = threading.Event()  # for the scenario "gated"
        self.company = None  # for the scenario "together": a barrier
        self.lock = threading.Lock()
        self.listens = False
        if listens:
            self.listen()

    def listen(self):
        self.listens = True
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, scenario):
        return f"http://127.0.0.1:{self.server_port}/{scenario}"

    def close(self):
        self.gate.set()
        if self.listens:
            self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counted = False  # among those at once

    def log_message(self, *_):
        pass

    def answer(self, status, kind, body, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "audio/pcm;rate=24000")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        self.counted = True
        try:
            getattr(self, self.path.split("/")[1])(body)
        except OSError:
            self.close_connection = True  # the client has left
        finally:
            self.leave()

    def leave(self):
        """Before the last byte goes out: with it, the client may begin its next request."""
        with self.server.lock:
            self.server.at_once -= self.counted
        self.counted = False

    def do_GET(self):
        """Its health."""
        self.server.checks += 1
        self.answer(200 if self.server.healthy else 500, "text/plain", b"")

    def good(self, _):
        self.begin_stream()
        for start in range(0, len(PCM), 4801):  # odd: samples are cut in halves
            self.chunk(PCM[start:start + 4801])
        self.leave()
        self.chunk(b"")

    def secret(self, body):
        if self.headers.get("Authorization") != "Bearer sesame":
            return self.answer(401, "application/json", b'{"error": {"message": "who are you?"}}')
        self.good(body)

    def busy(self, body):
        if len(self.server.requests) < 3:
            return self.answer(503, "text/plain", b"later", Retry_After="1")
        self.good(body)

    def picky(self, body):
        if "bad" in body["input"]:
            return self.answer(400, "application/json", b'{"error": {"message": "such words are not spoken"}}')
        self.good(body)

    def html(self, _):
        self.answer(200, "text/html", b"<html>hello</html>")

    def fast(self, _):
        self.answer(200, "audio/pcm;rate=48000", PCM)

    def silent(self, _):
        self.answer(200, "audio/pcm", b"")

    def broken(self, _):
        self.answer(500, "text/plain", b"CUDA out of memory\nTraceback")

    def cut(self, _):
        self.begin_stream()
        self.chunk(PCM[:9600])
        self.close_connection = True

    def endless(self, _):
        self.begin_stream()
        try:
            while True:
                self.chunk(PCM)
                self.server.sent += len(PCM)
        except OSError:
            self.server.left.set()

    def full(self, _):
        self.answer(429, "text/plain", b"no room", Retry_After="1")

    def full_at_first(self, body):
        if len(self.server.requests) == 1:
            return self.full(body)
        self.good(body)

    def together(self, body):
        self.server.company.wait(60)
        self.good(body)

    def gated(self, body):
        self.server.gate.wait(60)
        self.good(body)

    def slow(self, body):
        time.sleep(0.5)
        self.good(body)

    def hang_up(self, _):
        self.close_connection = True

    def mends(self, body):
        """Fails until it is told otherwise."""
        if not self.server.gate.is_set():
            return self.broken(body)
        self.good(body)

    def moved(self, _):
        self.answer(302, "text/plain", b"", Location="http://127.0.0.1:1/")
