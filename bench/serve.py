#!/usr/bin/env python3
"""Load on the server: what batching gives, what a short request pays beside a long batch, memory over time.

    bench/serve.py [--build build] [--engine preview|qwen3] [--model DIR] [--seconds 10] [--items 24] [--slots 8]

Needs only Python. Starts `timbre serve` with a state folder of its own; all figures are of this machine, to be compared
with each other. Memory is the server's resident memory.
"""
import argparse
import json
import os
import pathlib
import sys
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent
options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--build", default=str(root / "build"))
options.add_argument("--engine", default="preview")
options.add_argument("--model")
options.add_argument("--seconds", type=float, default=10, help="of each measurement of latencies")
options.add_argument("--items", type=int, default=24, help="of each measurement of throughput")
options.add_argument("--batch", type=int, default=100, help="items of the request beside which others are timed")
options.add_argument("--slots", type=int, default=8, help="sequences spoken at once")
options.add_argument(
    "--max-seconds", type=float, default=4, help="longest speech of an item, for weights that do not stop by themselves"
)
options.add_argument("serve", nargs="*", help="more options of timbre serve, after --")
arguments = options.parse_args()
os.environ["TIMBRE"] = str(pathlib.Path(arguments.build) / "cli/timbre")
sys.path.insert(0, str(root / "tests/server"))
from load import LONG, SHORT, beside, parallel, percentile, time_to_leave  # noqa: E402
from support import API, Server  # noqa: E402

TEXTS = [
    f"Sentence number {i} is here to be spoken, and it is neither short nor very long." for i in range(arguments.items)
]
CLONE = "/voice-clone-enhanced"


class Memory:
    """Samples of the resident memory while something runs."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.samples, self.stop = [self.server.memory()], threading.Event()

        def watch():
            while not self.stop.wait(0.2):
                self.samples.append(self.server.memory())
        self.thread = threading.Thread(target=watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def __str__(self):
        mib = [sample / 2**20 for sample in self.samples]
        return f"memory {mib[0]:.0f} MiB before, {percentile(mib, 0.5):.0f} in the middle, {max(mib):.0f} at most"


def duration(answer):
    assert answer.status == 200, answer
    items = answer.json()["items"]
    assert all("error" not in item for item in items), items
    return sum(item["duration"] for item in items)


def throughput(server, ref):
    fields = {"ref_audio": ref, "path": CLONE, "max_seconds": arguments.max_seconds, "seed": 1, "timeout": 600}
    server.clone(SHORT, **fields)

    def one_by_one():
        return sum(duration(server.clone(text, **fields)) for text in TEXTS)

    def one_request():
        return duration(server.clone(TEXTS, **fields))

    def clients():
        spoken = []
        parallel(len(TEXTS), lambda index: spoken.append(duration(server.clone(TEXTS[index], **fields))))
        return sum(spoken)
    base = None
    print(f"\nthroughput, {len(TEXTS)} items:")
    for name, work in (
        ("one by one", one_by_one),
        ("in one request", one_request),
        (f"{len(TEXTS)} clients at once", clients),
    ):
        with Memory(server) as memory:
            start = time.monotonic()
            spoken = work()
            rate = spoken / (time.monotonic() - start)
        base = base or rate
        print(f"  {name:22} {rate:8.2f} s of audio a second, {rate / base:5.2f} times; {memory}")


def first_audio(server, ref):
    """Until the first bytes of a streamed WAV beyond its header."""
    seconds = []
    for _ in range(10):
        body = json.dumps(
            {"text": TEXTS[0], "ref_audio": ref, "stream": True, "seed": 1, "max_seconds": arguments.max_seconds}
        )
        connection = server.connection()
        start = time.monotonic()
        connection.request("POST", API + CLONE, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        got = 0
        while got <= 44:
            got += len(response.read1(4096))
        seconds.append(time.monotonic() - start)
        connection.close()
        server.wait_idle()
    print(
        f"\nfirst audio of a stream: p50 {percentile(seconds, 0.5) * 1e3:.0f} ms, p95"
        f" {percentile(seconds, 0.95) * 1e3:.0f} ms"
    )


def latencies(server):
    with Memory(server) as memory:
        free, alone, batch, live = beside(server, arguments.slots, arguments.seconds, items=arguments.batch, path=CLONE,
                                          max_seconds=arguments.max_seconds)
    print(f"\nshort requests ({SHORT!r}):")
    for name, values in (("nothing beside", free), (f"{arguments.slots - 1} other clients", alone),
                         (f"a request of {arguments.batch} items", batch)):
        print(
            f"  {name:26} {len(values):4} requests, p50 {percentile(values, 0.5) * 1e3:6.0f} ms, p95"
            f" {percentile(values, 0.95) * 1e3:6.0f} ms, p99 {percentile(values, 0.99) * 1e3:6.0f} ms"
        )
    print(f"  p95 beside the batch / beside the clients: {percentile(batch, 0.95) / percentile(alone, 0.95):.2f}; "
          f"{live:.0f} items live beside it; {memory}")


def main():
    serve = [
        "--max-batch",
        arguments.slots,
        *(["--model", arguments.model] if arguments.model else []),
        *arguments.serve,
    ]
    with Server(*serve, engine=arguments.engine) as server:
        ref = server.upload()
        print(
            f"engine {arguments.engine}, {arguments.slots} sequences at once, {os.cpu_count()} CPUs; {len(LONG)}"
            " characters in an item of the batch"
        )
        throughput(server, ref)
        first_audio(server, ref)
        latencies(server)
        gone = time_to_leave(server, 20)
        print(
            f"\na client leaves, its item ends: p50 {percentile(gone, 0.5) * 1e3:.0f} ms, p95"
            f" {percentile(gone, 0.95) * 1e3:.0f} ms"
        )
        server.wait_idle()
        time.sleep(3)
        print(f"memory at rest afterwards: {server.memory() / 2**20:.0f} MiB")


main()
