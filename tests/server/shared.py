"""A queue that several processes share: a Redis server of our own, workers, and servers that use it."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
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


class Redis:
    """A server with its own folder, on a socket in it."""

    def __init__(self, *options, password=""):
        self.environment = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
        self.folder = tempfile.TemporaryDirectory(prefix="timbre-redis-")
        self.socket = f"{self.folder.name}/redis.sock"
        self.url = f"unix:{self.socket}"
        self.options = options
        self.start()

    def start(self):
        # appendfsync always: what was acknowledged survives a kill.
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder.name,
             "--appendonly", "yes", "--appendfsync", "always", "--save", "", *self.options],
            stdout=subprocess.DEVNULL)
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


def front(queue, *options, **settings):
    """A server that leaves the work to workers."""
    return Server("--queue", queue, *options, **settings)


def blobs_of(folder):
    return sorted(path.name for path in pathlib.Path(folder).glob("??/*"))
