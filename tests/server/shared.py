"""A queue that several processes share: a Redis server of our own, workers, and servers that use it."""
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from support import PATIENCE, TIMBRE, Server


def need_redis():
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    command = [TIMBRE, "worker", "--queue", "redis://127.0.0.1:1", "--print-config"]
    text = subprocess.run(command, capture_output=True, text=True)
    if "built without Redis" in text.stderr:
        pytest.skip("this timbre was built without Redis")


def free_port():
    """One that nobody has at the moment: whoever takes it may find that another was faster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def on_free_port(start):
    """(port, process) of start(port), again with another port if the program ends instead of listening there."""
    for _ in range(20):
        port = free_port()
        process = start(port)
        end = time.monotonic() + PATIENCE
        while process.poll() is None and not listens(port):
            assert time.monotonic() < end
            time.sleep(0.02)
        if process.poll() is None:
            return port, process
    raise RuntimeError(f"{process.args} ends with every port")


class Redis:
    """A server with its own folder, on a socket in it, and on a port of its own if an option `listens` names it."""

    def __init__(self, *options, password="", listens=None):
        self.listens = listens
        self.port = None
        self.environment = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
        self.folder = tempfile.TemporaryDirectory(prefix="timbre-redis-")
        self.socket = f"{self.folder.name}/redis.sock"
        self.url = f"unix:{self.socket}"
        self.options = options
        self.start()

    def launch(self, *options):
        # appendfsync always: what was acknowledged survives a kill.
        return subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder.name,
             "--appendonly", "yes", "--appendfsync", "always", "--save", "", *self.options, *options],
            stdout=subprocess.DEVNULL)

    def start(self):
        if self.listens:
            self.port, self.process = on_free_port(lambda port: self.launch(self.listens, str(port)))
        else:
            self.process = self.launch()
        end = time.monotonic() + PATIENCE
        while self.cli("ping", check=False).strip() != "PONG":
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def cli(self, *words, check=True):
        result = subprocess.run(["redis-cli", "-s", self.socket, *words], capture_output=True, text=True,
                                env=self.environment)
        assert not check or result.returncode == 0, result.stderr
        return result.stdout

    def keys(self, pattern="*"):
        return sorted(self.cli("--scan", "--pattern", "{timbre}:" + pattern).split())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()


class Worker:
    """`timbre worker` with a state folder of its own."""

    def __init__(self, queue, *options, environment=None):
        # What a killed worker had begun may still write into it.
        self.folder = tempfile.TemporaryDirectory(prefix="timbre-worker-", ignore_cleanup_errors=True)
        self.command = [TIMBRE, "worker", "--queue", queue, "--state-dir", f"{self.folder.name}/state",
                        "--engine", "preview", *map(str, options)]
        self.environment = {**os.environ, "XDG_CONFIG_HOME": self.folder.name, **(environment or {})}
        self.log_path = pathlib.Path(self.folder.name) / "log"
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, env=self.environment,
                                            text=True)
        self.line = self.process.stdout.readline()
        if not self.line:
            self.process.wait(PATIENCE)
            raise RuntimeError(f"the worker does not start: {self.log()}")
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        assert self.process.returncode == 0, self.log()[-4000:]

    def close(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.log()[-4000:])
        self.close()


@contextlib.contextmanager
def worker_on_a_port(queue, *options):
    """A worker and the port at which it says how it is."""
    for left in range(20, 0, -1):
        port = free_port()
        try:
            worker = Worker(queue, *options, "--port", port)
        except RuntimeError:
            if left == 1:
                raise
            continue
        break
    with worker:
        yield worker, port


class Proxy:
    """Between a client and a unix socket: `fault(number, direction, data)` may return other bytes, None to cut both
    ways, or "half" to close only this direction."""

    def __init__(self, target, fault):
        self.target = target
        self.fault = fault
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.count = 0
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.target)
            except OSError:
                client.close()
                continue
            for source, drain, direction in ((client, server, "to"), (server, client, "from")):
                threading.Thread(target=self.pump, args=(source, drain, direction), daemon=True).start()

    def pump(self, source, drain, direction):
        try:
            while data := source.recv(65536):
                self.count += 1
                data = self.fault(self.count, direction, data)
                if data is None:
                    break
                if data == "half":
                    drain.shutdown(socket.SHUT_WR)
                    return
                drain.sendall(data)
        except OSError:
            pass
        for end in (source, drain):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def bucket_server():
    """An S3 server (moto) with a bucket: the environment by which timbre finds it."""
    port, process = on_free_port(lambda port: subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL))
    try:
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("PUT", "/sounds")
        assert client.getresponse().status == 200
        yield {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
               "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        process.terminate()
        process.wait()


def objects(bucket):
    """What is stored there; what says which place it is stays for ever."""
    client = http.client.HTTPConnection(bucket["AWS_ENDPOINT_URL"].removeprefix("http://"))
    client.request("GET", "/sounds?list-type=2")
    names = re.findall(r"<Key>(.*?)</Key>", client.getresponse().read().decode())
    return [name for name in names if name.split("/")[-1] != "identity"]


def front(queue, *options, **settings):
    """A server that leaves the work to workers."""
    return Server("--queue", queue, *options, **settings)


def blobs_of(folder):
    return sorted(path.name for path in pathlib.Path(folder).glob("??/*"))
