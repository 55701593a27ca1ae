"""--engine remote against servers on this machine: one made of Python with faults on demand, and `timbre serve` itself."""
import array
import base64
import http.server
import json
import math
import signal
import socket
import subprocess
import threading
import time
import unittest

from support import (INPUT, OK, TIMBRE, USAGE, Case, environment, json_lines, needs_denoiser, needs_espeak, parse_wav,
                     read_wav, speech, write_wav)

SPEECH = [0.25 * math.sin(2 * math.pi * 200 * i / 24000) for i in range(24000)]
PCM = array.array("h", (round(s * 32767) for s in SPEECH)).tobytes()


class SpeechServer(http.server.ThreadingHTTPServer):
    """Answers by the scenario that is the first part of the path."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.sent = [], 0
        self.left = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, scenario):
        return f"http://127.0.0.1:{self.server_port}/{scenario}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

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
        self.server.requests.append((self.path, dict(self.headers), body))
        getattr(self, self.path.split("/")[1])(body)

    def good(self, _):
        self.begin_stream()
        for start in range(0, len(PCM), 4801):  # odd: samples are cut in halves
            self.chunk(PCM[start:start + 4801])
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

    def moved(self, _):
        self.answer(302, "text/plain", b"", Location="http://127.0.0.1:1/")


@needs_denoiser
class Remote(Case):
    def setUp(self):
        super().setUp()
        self.server = SpeechServer()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.ref = self.folder / "ref.wav"
        write_wav(self.ref, speech())

    def clone(self, status, scenario, *arguments, env=None, text="Hello."):
        return self.check(status, "clone", "--engine", "remote", "--remote-url", self.server.url(scenario), "--ref", self.ref,
                          "--text", text, "--language", "en", "-o", self.folder / "out.wav", "--json", *arguments, env=env)

    def test_plain_speech_comes_through_bit_for_bit(self):
        done = self.clone(OK, "good", "--no-pre", "--no-post", "--ref-text", "A tone.", "--seed", "5", "--temperature", "0.5")
        result, = json_lines(done.stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("remote", True, 24000))
        self.assertEqual(parse_wav((self.folder / "out.wav").read_bytes())[2], [s / 32768 for s in array.array("h", PCM)])
        (path, headers, body), = self.server.requests
        self.assertEqual(path, "/good/v1/audio/speech")
        self.assertEqual((body["input"], body["ref_text"], body["language"], body["seed"], body["temperature"]),
                         ("Hello.", "A tone.", "English", 5, 0.5))
        prefix = "data:audio/wav;base64,"
        self.assertTrue(body["ref_audio"].startswith(prefix))
        rate, channels, samples = parse_wav(base64.b64decode(body["ref_audio"][len(prefix):]))
        self.assertEqual((rate, channels, samples), (48000, 1, read_wav(self.ref)[2]))
        self.assertNotIn("Authorization", headers)

    def test_all_five_stages(self):
        self.clone(OK, "good")
        rate, _, samples = read_wav(self.folder / "out.wav")
        self.assertEqual((rate, len(samples)), (48000, 48000))

    def test_key(self):
        self.clone(OK, "secret", env={"TIMBRE_REMOTE_KEY": "sesame"})
        done = self.clone(USAGE, "secret", env={"TIMBRE_REMOTE_KEY": "wrong"})
        self.assertIn("who are you?", done.stderr)
        self.assertNotIn("wrong", done.stderr.replace("is the key", ""))

    def test_a_busy_server_is_asked_again(self):
        self.clone(OK, "busy", "--no-post")
        self.assertEqual(len(self.server.requests), 3)

    def test_an_item_fails_alone(self):
        items = [{"text": f"{'bad' if i == 1 else 'good'} {i}", "ref_audio": "ref.wav", "custom_id": str(i)} for i in range(4)]
        (self.folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        done = self.check(USAGE, "clone", "--engine", "remote", "--remote-url", self.server.url("picky"), "--batch",
                          self.folder / "items.jsonl", "--out-dir", self.folder / "out", "--json")
        results = {line["custom_id"]: line for line in json_lines(done.stdout)}
        self.assertIn("such words are not spoken", results["1"]["error"]["message"])
        self.assertEqual(sorted(k for k, v in results.items() if not v.get("error")), ["0", "2", "3"])

    def test_answers_that_are_no_speech(self):
        for scenario, words in (("html", "text/html"), ("fast", "rate=48000"), ("silent", "no audio"), ("cut", "closed"),
                                ("broken", "CUDA out of memory"), ("moved", "HTTP 302")):
            with self.subTest(scenario):
                done = self.clone(INPUT, scenario)
                self.assertIn(words, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(self.files(), ["ref.wav"])

    def test_no_server(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            done = self.check(INPUT, "clone", "--engine", "remote", "--remote-url", f"http://127.0.0.1:{unused.getsockname()[1]}",
                              "--ref", self.ref, "--text", "Hello.", "-o", self.folder / "out.wav")
        self.assertIn("127.0.0.1", done.stderr)
        self.assertEqual(self.files(), ["ref.wav"])

    def test_addresses(self):
        for arguments in ((), ("--remote-url", "localhost:80"), ("--remote-url", "ftp://host")):
            done = self.check(USAGE, "clone", "--engine", "remote", *arguments, "--ref", self.ref, "--text", "Hello.", "-o",
                              self.folder / "out.wav")
            self.assertIn("speech server", done.stderr)

    def test_max_seconds_ends_an_endless_answer(self):
        result, = json_lines(self.clone(OK, "endless", "--no-post", "--max-seconds", "2").stdout)
        self.assertEqual((result["duration"], result["finish_reason"]), (2, "length"))
        self.assertTrue(self.server.left.wait(10))

    def test_interrupt_hangs_up(self):
        process = subprocess.Popen([TIMBRE, "clone", "--engine", "remote", "--remote-url", self.server.url("endless"), "--ref",
                                    str(self.ref), "--text", "Hello.", "-o", str(self.folder / "out.wav")],
                                   env=environment(), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while self.server.sent == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertTrue(self.server.left.wait(10))
        self.assertEqual(self.files(), ["ref.wav"])

    def test_a_slow_listener_holds_up_the_server(self):
        process = subprocess.Popen([TIMBRE, "clone", "--engine", "remote", "--remote-url", self.server.url("endless"), "--ref",
                                    str(self.ref), "--text", "Hello.", "--no-pre", "--no-post", "-o", "-"],
                                   env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            before = -1
            for _ in range(100):  # until nothing moves any more
                time.sleep(0.3)
                if self.server.sent == before > 0:
                    break
                before = self.server.sent
            self.assertEqual(self.server.sent, before)
            self.assertLess(before, 64 << 20)
        finally:
            process.kill()
            process.communicate()

    @needs_espeak
    def test_another_timbre(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        state = self.folder / "state"
        server = subprocess.Popen([TIMBRE, "serve", "--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state),
                                   "--engine", "preview"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self.assertTrue(self.listens(port))
            done = self.check(OK, "clone", "--engine", "remote", "--remote-url", f"http://127.0.0.1:{port}", "--ref", self.ref,
                              "--text", "Through another machine.", "-o", self.folder / "out.wav", "--json")
            result, = json_lines(done.stdout)
            self.assertGreater(result["duration"], 0.5)
            self.assertGreater(max(map(abs, read_wav(self.folder / "out.wav")[2])), 0.01)
        finally:
            server.terminate()
            server.communicate(timeout=60)

    def listens(self, port):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.05)
        return False


if __name__ == "__main__":
    unittest.main()
