#!/usr/bin/env python3
"""How much later a stream begins through a queue than without one: JSON on standard output.

    bench/queue_first_audio.py [--build build] [--rounds 40] [--fsync always] [--own] [--folder DIR] [--nice N]

Needs redis-server. A server alone, and a server with a queue and one worker, each with the same voice; requests go to
the two in turns, one at a time, and the time to the first byte of audio is taken. `later` compares the two requests of
a turn; `--fsync` is Redis' appendfsync, its file in --folder. The voice is a stored one, or with `--own` a reference
that each request brings along.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

root = pathlib.Path(__file__).resolve().parent.parent
options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--build", default=str(root / "build"))
options.add_argument("--rounds", type=int, default=40)
options.add_argument("--fsync", default="always", choices=["always", "everysec"])
options.add_argument("--own", action="store_true", help="a reference of each request's own in place of a stored voice")
options.add_argument("--folder", help="of Redis' file and the blobs; default: that for temporary files")
options.add_argument("--nice", type=int, help="of all of them; below 0 needs root")
arguments = options.parse_args()
os.environ["TIMBRE"] = str(pathlib.Path(arguments.build) / "cli/timbre")
sys.path.insert(0, str(root / "tests/server"))
sys.path.insert(0, str(root / "tools"))
from capacity import percentile  # noqa: E402
from load import prefer  # noqa: E402
from shared import Redis, Worker, front  # noqa: E402
from support import API, Server, data_uri, wav  # noqa: E402

TEXT = "A sentence whose first sound somebody waits for, and who does not care when it ends. " * 2


def first_audio(server):
    """Seconds from the request to the first byte of a stream; reads the rest."""
    connection = server.connection()
    body = {"text": TEXT, "stream": True, "response_format": "pcm", "seed": 1,
            **({"ref_audio": data_uri(wav(5.0))} if arguments.own else {"voice": "anna"})}
    body = json.dumps(body)
    started = time.monotonic()
    connection.request("POST", API + "/voice-clone", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    first = response.read(2)
    passed = time.monotonic() - started
    assert first and response.read()
    connection.close()
    return passed


def measure(alone, queued):
    for server in (alone, queued):
        server.add_voice("anna", ref_text="A reference of a few seconds.")
        first_audio(server)
    without, through = [], []
    for _ in range(arguments.rounds):
        without.append(first_audio(alone))
        through.append(first_audio(queued))
    return without, through


def main():
    if arguments.nice is not None:
        prefer(arguments.nice)
    tempfile.tempdir = arguments.folder
    with (tempfile.TemporaryDirectory() as blobs, Redis("--appendfsync", arguments.fsync) as redis, Server() as alone,
          front(redis.url, "--blobs", blobs) as queued, Worker(redis.url, "--blobs", blobs)):
        without, through = measure(alone, queued)
    later = [b - a for a, b in zip(without, through)]
    figures = {name: {"p50": round(percentile(values, 0.5) * 1e3, 1), "p95": round(percentile(values, 0.95) * 1e3, 1),
                      "min": round(min(values) * 1e3, 1)}
               for name, values in (("without", without), ("through", through), ("later", later))}
    print(json.dumps({**figures, "unit": "ms", "fsync": arguments.fsync, "rounds": arguments.rounds,
                      "own": arguments.own,
                      "load_average": round(os.getloadavg()[0], 1)}))


main()
