"""A server of our own to talk to, and the words to talk with."""
import base64
import contextlib
import http.client
import http.server
import json
import math
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid

TESTS = pathlib.Path(__file__).parent.parent
TIMBRE = os.environ.get("TIMBRE", "build/cli/timbre")
API = "/api/v1"
# Sanitizers make everything slower, and memory figures meaningless.
SANITIZED = os.environ.get("TIMBRE_SANITIZED", "0") != "0"
FULL = bool(os.environ.get("TIMBRE_FULL_TESTS"))
# Seconds that a client waits for anything: enough for a busy machine, and only ever reached by what is broken.
PATIENCE = 240 if SANITIZED else 60


def wav(seconds=2.0, rate=24000, channels=1, seed=1):
    """A voiced hum with some noise: audio enough for every stage."""
    noise = random.Random(seed)
    frames = bytearray()
    for i in range(int(seconds * rate)):
        t = i / rate
        hum = sum(math.sin(2 * math.pi * 120 * k * t) / k for k in range(1, 8)) * (
            0.6 + 0.4 * math.sin(2 * math.pi * 3 * t)
        )
        for _ in range(channels):
            frames += struct.pack("<h", int(6000 * hum / 2 + noise.uniform(-300, 300)))
    return (b"RIFF" + struct.pack("<I", 36 + len(frames)) + b"WAVEfmt " +
            struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16) +
            b"data" + struct.pack("<I", len(frames)) + bytes(frames))


REFERENCE = wav()


def data_uri(audio=REFERENCE):
    return "data:audio/wav;base64," + base64.b64encode(audio).decode()


def wav_chunk(data, name):
    """Where a chunk's content begins; the sizes of a streamed file's last chunk are unknown, so they are not used
    there."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:16]
    at = 12
    while data[at:at + 4] != name:
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
        assert at < len(data)
    return at + 8


def wav_format(data):
    """(channels, rate)"""
    return struct.unpack_from("<HI", data, wav_chunk(data, b"fmt ") + 2)


def wav_rate(data):
    return wav_format(data)[1]


def wav_samples(data):
    return data[wav_chunk(data, b"data"):]


def wav_seconds(data):
    """Length of a 16-bit WAV, by its bytes."""
    channels, rate = wav_format(data)
    return len(wav_samples(data)) / 2 / channels / rate


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self):
        return self.json()["detail"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def multipart(fields):
    """fields: {name: str | (file name, bytes) | (file name, bytes, type)} → body, content type"""
    boundary = uuid.uuid4().hex
    body = bytearray()
    for name, value in (fields.items() if isinstance(fields, dict) else fields):
        body += f"--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"".encode()
        if isinstance(value, tuple):
            body += f"; filename=\"{value[0]}\"\r\nContent-Type: {value[2] if len(value) > 2 else 'audio/wav'}".encode()
            value = value[1]
        elif isinstance(value, str):
            value = value.encode()
        body += b"\r\n\r\n" + value + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"


class Server:
    """`timbre serve` on a free port with a state folder of its own."""

    def __init__(self, *options, engine="preview", state=None, environment=None, wait=True, port=0, **popen):
        self.folder = tempfile.TemporaryDirectory(prefix="timbre-test-")
        self.state = pathlib.Path(state or pathlib.Path(self.folder.name) / "state")
        self.options = options
        self.engine = engine
        self.environment = {**os.environ, "XDG_CONFIG_HOME": self.folder.name, **(environment or {})}
        self.port_wanted = port
        self.popen = popen
        self.process = None
        if wait:
            self.start()

    def start(self):
        self.log_path = pathlib.Path(self.folder.name) / "log"
        self.log_file = open(self.log_path, "ab")
        command = [
            TIMBRE,
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port_wanted),
            "--state-dir",
            str(self.state),
        ]
        if self.engine:
            command += ["--engine", self.engine]
        self.process = subprocess.Popen(command + [str(option) for option in self.options], stdout=subprocess.PIPE,
                                        stderr=self.log_file, env=self.environment, text=True, **self.popen)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on http://(.+):(\d+)\n", line)
        if not match:
            self.process.wait(30)
            raise RuntimeError(f"no listening line but {line!r}; exit {self.process.returncode}; log: {self.log()}")
        self.port = int(match.group(2))
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self, expected=0):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.process.stdout.close()
        self.log_file.close()
        assert self.process.returncode == expected, (self.process.returncode, self.log()[-4000:])

    def close(self):
        try:
            self.stop()
        finally:
            self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.log()[-4000:])
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.folder.cleanup()
        else:
            self.close()

    # ---- talking

    def connection(self, timeout=PATIENCE):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE, json_body=None, form=None):
        headers = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers.setdefault("Content-Type", "application/json")
        if form is not None:
            body, headers["Content-Type"] = multipart(form)
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, json_body=None, **options):
        return self.request("POST", path, json_body=json_body, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)

    def upload(self, audio=REFERENCE, name="ref.wav"):
        answer = self.post(API + "/files/upload", form={"file": (name, audio)})
        assert answer.status == 201, answer
        return answer.json()["id"]

    def add_voice(self, name, audio=REFERENCE, **fields):
        answer = self.post(API + "/voices", form={"name": name, "ref_audio": ("ref.wav", audio), **fields})
        assert answer.status == 201, answer

    def clone(self, text="Hello there.", path="/voice-clone", timeout=PATIENCE, **fields):
        if "ref_audio" not in fields and "voice" not in fields:
            fields["ref_audio"] = data_uri()
        return self.post(API + path, {"text": text, **fields}, timeout=timeout)

    def raw(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def metrics(self):
        values = {}
        for line in self.get("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name):
        return self.metrics()[name]

    def wait_idle(self, seconds=PATIENCE):
        """Until no item is live and no other request runs (this one does)."""
        def idle():
            now = self.metrics()
            return (now["timbre_batch_size"] == 0 and now["timbre_queue_depth"] == 0 and
                    now["timbre_requests_in_flight"] <= 1 and now["timbre_job_items_running"] == 0)
        wait_for(idle, seconds)

    def status(self, field):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise KeyError(field)

    def memory(self):
        """Resident bytes."""
        return self.status("VmRSS") * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def quiet_descriptors(self):
        """When the connections are gone, those that asked for this too: a moment after their clients."""
        least = self.descriptors()

        def no_less():
            nonlocal least
            for _ in range(20):
                time.sleep(0.01)
                now = self.descriptors()
                if now < least:
                    least = now
                    return False
            return True
        wait_for(no_less)
        return least

    def job(self, items, **fields):
        answer = self.post(API + "/queue/submit", {"items": items, **fields})
        assert answer.status == 202, answer
        return answer.json()["id"]

    def job_state(self, job):
        return self.get(f"{API}/queue/status/{job}").json()

    def wait_job(self, job, seconds=PATIENCE):
        wait_for(lambda: self.job_state(job)["state"] == "finished", seconds)
        return self.get(f"{API}/queue/results/{job}?audio=url").json()


def says(text):
    """What a speech-to-text service answers."""
    return 200, json.dumps({"text": text}).encode()


class Transcriber(http.server.ThreadingHTTPServer):
    """A speech-to-text service: answers with its replies, (status, body), one after the other; the last one stays."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), TranscriberAnswer)
        self.replies, self.keys = [], []
        self.gate = None
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answers(self, *replies):
        self.replies, self.keys = list(replies), []

    @contextlib.contextmanager
    def nobody_answers(self):
        self.gate = threading.Event()
        try:
            yield
        finally:
            self.gate.set()


class TranscriberAnswer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/audio/transcriptions" and b"RIFF" in body
        self.server.keys.append(self.headers.get("Authorization"))
        if self.server.gate is not None and not self.server.gate.wait(PATIENCE):
            return
        status, body = self.server.replies[0] if len(self.server.replies) == 1 else self.server.replies.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


def wait_for(condition, seconds=PATIENCE, every=0.05):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {condition}")
        time.sleep(every)


@contextlib.contextmanager
def hub_of_models():
    """The address of an emulated hub whose models are a small checkpoint; a scenario's name follows it."""
    command = [sys.executable, TESTS / "hub_server.py", TESTS / "golden/qwen/sample-c/model"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"
        running.stdin.close()


def empty_home(folder, hub, scenario="good"):
    """What a user has who has pulled nothing but the denoiser."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    denoiser = os.environ.get("TIMBRE_DENOISER") or cache / "timbre/DeepFilterNet3_onnx.tar.gz"
    return {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data"),
            "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": f"{hub}/{scenario}/", "TIMBRE_DENOISER": str(denoiser),
            "TIMBRE_SYSTEM_MODELS": str(folder / "system")}


def events(body):
    """Server-sent events: [(event or None, data)]"""
    result = []
    for block in body.decode().split("\n\n"):
        if block.strip():
            lines = dict(line.split(": ", 1) for line in block.splitlines())
            result.append((lines.get("event"), json.loads(lines["data"])))
    return result


def run(*arguments, environment=None, timeout=30):
    return subprocess.run([TIMBRE, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent", **(environment or {})})


def quote(text):
    return urllib.parse.quote(text, safe="")
