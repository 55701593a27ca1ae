#!/usr/bin/env python3
"""timbre's resamplers beside python-soxr and scipy, alternately, on one core.

    bench/resample.py [BUILD_FOLDER] [--seconds 30] [--rounds 5]

Needs numpy, scipy and soxr. Checks that the outputs agree and prints how many times faster than real
time each is, and the ratio. Best of all rounds: the machine may have other things to do.
"""
import argparse
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

# One core for all of it, before anything starts threads.
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import scipy.signal
import soxr

PAIRS = [(24000, 48000), (44100, 48000), (22050, 48000), (16000, 48000), (8000, 48000), (96000, 48000), (48000, 24000)]
BLOCK = 4096


def peer_soxr_whole(x, rate_in, rate_out):
    return soxr.resample(x, rate_in, rate_out, quality="VHQ")


def peer_soxr_stream(x, rate_in, rate_out):
    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="VHQ")
    parts = [stream.resample_chunk(x[i : i + BLOCK], last=i + BLOCK >= len(x)) for i in range(0, len(x), BLOCK)]
    return np.concatenate(parts)


def peer_poly(x, rate_in, rate_out):
    divisor = math.gcd(rate_in, rate_out)
    return scipy.signal.resample_poly(x, rate_out // divisor, rate_in // divisor)


# (kind of timbre, peer, its name, allowed distance)
CASES = [
    ("soxr", peer_soxr_stream, "python-soxr, 4096 a chunk", 1e-7),
    ("soxr", peer_soxr_whole, "python-soxr, one call", 1e-7),
    ("polyphase", peer_poly, "scipy resample_poly", 2e-6),
]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "unknown CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    program = arguments.build / "bench" / "bench_resample"
    if not program.exists():
        sys.exit(f"{program} is missing: run ninja -C {arguments.build}")
    print(
        f"{cpu_name()}, one core; {arguments.seconds:g} s of mono noise, best of {arguments.rounds} rounds; times real"
        " time"
    )
    print(f"{'rates':>16} {'timbre':>10} {'x RT':>8}   {'peer':<26} {'x RT':>8} {'ratio':>7} {'difference':>11}")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "in.f32")
        target = os.path.join(folder, "out.f32")
        for rate_in, rate_out in PAIRS:
            x = np.random.default_rng(1).uniform(-1, 1, int(rate_in * arguments.seconds)).astype(np.float32)
            x.tofile(source)
            for kind, peer, name, allowed in CASES:
                ours = theirs = math.inf
                for _ in range(arguments.rounds):
                    output = subprocess.run(
                        [program, source, str(rate_in), str(rate_out), kind, str(BLOCK), "3", target],
                        check=True, capture_output=True, text=True).stdout
                    ours = min(ours, float(output))
                    start = time.perf_counter()
                    expected = peer(x, rate_in, rate_out)
                    theirs = min(theirs, time.perf_counter() - start)
                actual = np.fromfile(target, np.float32)
                same_length = len(actual) == len(expected)
                difference = float(np.max(np.abs(actual - expected))) if same_length else math.inf
                failed |= not difference <= allowed
                print(f"{rate_in:>7} > {rate_out:<6} {kind:>10} {arguments.seconds / ours:8.0f}   {name:<26} "
                      f"{arguments.seconds / theirs:8.0f} {theirs / ours:7.2f} {difference:11.2g}")
            output = subprocess.run([program, source, str(rate_in), str(rate_out), "sinc", str(BLOCK), "3", target],
                                    check=True, capture_output=True, text=True).stdout
            print(f"{rate_in:>7} > {rate_out:<6} {'sinc':>10} {arguments.seconds / float(output):8.0f}")
    sys.exit("the outputs differ" if failed else 0)


if __name__ == "__main__":
    main()
