#!/usr/bin/env python3
"""What one Redis can do with items of a real size: JSON on standard output, for tools/capacity.py redis.

    bench/redis_rate.py [--items 20000] [--bytes 1024] [--clients 8] [--redis redis-server]

Starts a redis-server of its own (no other data, append-only file synced each second, noeviction) on a Unix socket in a
folder of its own. An item is what a queue on Streams does with it at least: XADD, XREADGROUP by a consumer, a lease
that is set, renewed once and removed, XACK and XDEL. Redis does all this on one thread, so the processor time that it
says it took for an item is what bounds its rate; the clients, which are Python, are slower than that.
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--items", type=int, default=20000)
options.add_argument("--bytes", type=int, default=1024, help="of an item's description; audio is not in the queue")
options.add_argument("--clients", type=int, default=8)
options.add_argument("--redis", default="redis-server")
arguments = options.parse_args()
STREAM, GROUP = b"timbre:items", b"workers"


class Client:
    """Commands and their answers as bytes, numbers and lists."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]
        return rest

    def __call__(self, *words):
        self.send(*words)
        return self.answer()

    def all(self, *commands):
        """In one go."""
        for command in commands:
            self.send(*command)
        return [self.answer() for _ in commands]


def processor_seconds(client):
    lines = dict(line.split(":", 1) for line in client("INFO", "cpu").decode().splitlines() if ":" in line)
    return float(lines["used_cpu_user"]) + float(lines["used_cpu_sys"])


def work(path, number, count, done):
    client, item = Client(path), os.urandom(arguments.bytes // 2).hex().encode()
    consumer = b"worker-%d" % number
    for _ in range(count):
        client("XADD", STREAM, "MAXLEN", "~", 1000000, "*", "job", "0123456789abcdef", "index", 1, "request", item)
        (_, ((entry, _),)), = client("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 1, "STREAMS", STREAM, ">")
        lease = b"timbre:lease:" + entry
        client("SET", lease, consumer, "PX", 30000)
        client("PEXPIRE", lease, 30000)
        client.all(("XACK", STREAM, GROUP, entry), ("XDEL", STREAM, entry), ("DEL", lease))
        done.append(1)


def measure(path):
    client = Client(path)
    client("XGROUP", "CREATE", STREAM, GROUP, "$", "MKSTREAM")
    done, each = [], arguments.items // arguments.clients
    threads = [threading.Thread(target=work, args=(path, i, each, done)) for i in range(arguments.clients)]
    cpu, start = processor_seconds(client), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu = time.monotonic() - start, processor_seconds(client) - cpu
    assert len(done) == each * arguments.clients and client("XLEN", STREAM) == 0
    return {"items": len(done), "item_bytes": arguments.bytes, "clients": arguments.clients,
            "processor_microseconds_per_item": round(cpu / len(done) * 1e6, 2),
            "items_per_second": round(len(done) / cpu),
            "items_per_second_seen": round(len(done) / took), "load_average": os.getloadavg()[0],
            "redis": client("INFO", "server").decode().split("redis_version:")[1].split()[0]}


def main():
    folder = tempfile.mkdtemp(prefix="timbre-redis-")
    path = os.path.join(folder, "socket")
    server = subprocess.Popen([arguments.redis, "--port", "0", "--unixsocket", path, "--dir", folder,
                               "--appendonly", "yes",
                               "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"],
                              stdout=subprocess.DEVNULL)
    try:
        while not pathlib.Path(path).exists() and server.poll() is None:
            time.sleep(0.05)
        print(json.dumps(measure(path)))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
