#!/usr/bin/env python3
"""Qwen3-TTS: timbre and its peers in turn, on one machine, with the same weights, text and number of frames.

    bench/qwen.py MODEL [--build DIR] [--threads 2] [--frames 60] [--rounds 3] [--precisions int8,int4,bf16]
                  [--official bf16,f32] [--c-peer PROGRAM] [--c-peer-weights bf16,int8]
                  [--ggml-peer PROGRAM --ggml-weights TALKER.gguf,CODEC.gguf ...] [--no-timbre-batches]

MODEL is a checkpoint's folder; where there is none, full-size random weights of the 0.6B are made there (1.7B: run
tools/make_checkpoint.py --size 1.7b first). Times do not depend on the values, and such weights never end an utterance.

Peers: the official package (qwen-tts with torch, transformers and soundfile in this Python), the C program of
gabriele-mastrapasqua/qwen3-tts where --c-peer names its binary, and that of ServeurpersoCom/qwentts.cpp (with ggml)
where --ggml-peer names its qwen-tts, with the same weights converted by its convert.py and quantize; nothing is
fetched. It takes half the CPUs as threads unless src/backend.h is told otherwise; a number that is not --threads is
printed with its name.

To hold every side at AVX2, build the two programs for it (make blas; cmake -DGGML_NATIVE=OFF -DGGML_AVX2=ON
-DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BLAS=ON) and set TIMBRE_CPU=avx2 OPENBLAS_CORETYPE=Haswell ATEN_CPU_CAPABILITY=avx2
ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2.

A round runs every implementation once, one after the other, so that all see the same state of a shared machine; printed
are the least of the rounds. Load is a second start's, from what the first one cached. Stages are timed one after the
other; the whole request (RTF, seconds of work for a second of audio; first audio) overlaps them as each implementation
does.
"""
import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import types
import wave
from importlib.machinery import ModuleSpec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = ("This is a sentence that the voice should say in a natural way, and this is another one that follows it; "
        "nobody has to be in a hurry here.")
FRAME_SECONDS = 0.08
PROMPT = 45  # positions, the text's
LONG_PROMPT = 117  # with a reference of 5 s


# ---- The official package, in a process of its own: bench/qwen.py --worker MODEL DTYPE THREADS ----

def worker(model_path, dtype, threads):
    """Prints its load time, then for each line "FRAMES BATCH" on standard input a JSON object of seconds."""
    begin = time.perf_counter()
    import torch

    # only the 25 Hz tokenizer wants it
    for name in ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi"):
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.__spec__ = ModuleSpec(name, None)
    sys.modules["torchaudio"].compliance = sys.modules["torchaudio.compliance"]
    sys.modules["torchaudio.compliance"].kaldi = sys.modules["torchaudio.compliance.kaldi"]
    import numpy as np
    from qwen_tts import Qwen3TTSModel
    torch.set_num_threads(threads)
    imported = time.perf_counter()
    tts = Qwen3TTSModel.from_pretrained(model_path, dtype={"bf16": torch.bfloat16, "f32": torch.float32}[dtype],
                                        attn_implementation="sdpa", device_map="cpu")
    loaded = time.perf_counter()
    seconds = {"calls": []}

    def timed(owner, name, key):
        function = getattr(owner, name)

        def wrapper(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds.setdefault(key, []).append(time.perf_counter() - start)
        setattr(owner, name, wrapper)

    talker = tts.model.talker
    timed(talker.model, "forward", "talker")
    timed(talker.code_predictor, "generate", "predictor")
    timed(tts.model.speech_tokenizer, "decode", "decoder")
    noise = (np.random.default_rng(1).standard_normal(24000 * 5) * 0.05).astype(np.float32)
    prompt = tts.create_voice_clone_prompt(ref_audio=(noise, 24000), x_vector_only_mode=True)
    print(json.dumps({"import": imported - begin, "load": loaded - imported}), flush=True)
    for line in sys.stdin:
        frames, batch = map(int, line.split())
        seconds.clear()
        start = time.perf_counter()
        tts.generate_voice_clone(text=[TEXT] * batch, language=["English"] * batch, voice_clone_prompt=prompt * batch,
                                 max_new_tokens=frames + 1, do_sample=True)
        whole = time.perf_counter() - start
        print(json.dumps({
            "whole": whole, "prefill": seconds["talker"][0], "talker": sum(seconds["talker"][1:]) / frames,
            "predictor": sum(seconds["predictor"]) / frames, "decoder": sum(seconds["decoder"]) / frames / batch,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)


class Official:
    def __init__(self, arguments, dtype):
        self.name, self.frames = f"official {dtype}", arguments.frames
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", arguments.model, dtype, str(arguments.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = ""
        while not line.startswith("{"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.name} did not start (is qwen-tts installed?)")
        self.start = json.loads(line)
        self.run(4)  # warm

    def run(self, frames, batch=1):
        self.process.stdin.write(f"{frames} {batch}\n")
        self.process.stdin.flush()
        line = ""
        while not line.startswith("{"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.name} ended")
        return json.loads(line)

    def round(self):
        frames = max(8, self.frames // 4)  # it is slow, and its time a frame does not depend on their number
        result = self.run(frames)
        result["rtf"] = result.pop("whole") / (frames * FRAME_SECONDS)
        result["load"] = self.start["load"] + self.start["import"]
        return result

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- timbre ----

class Server:
    """A benchmark program that answers lines."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a benchmark program ended")
        return line.strip()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return [float(word) for word in self.answer().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


CODEC = {"f32": "f32"}  # of each --precision; "auto" is what the command takes


class Timbre:
    def __init__(self, arguments, precision, voice, folder):
        self.name, self.arguments, self.precision, self.voice, self.folder = (
            f"timbre {precision}",
            arguments,
            precision,
            voice,
            folder,
        )
        self.environment = dict(os.environ, XDG_CACHE_HOME=f"{folder}/cache")
        self.request()  # quantizes and caches

    def request(self):
        command = [
            f"{self.arguments.build}/cli/timbre",
            "clone",
            "-q",
            "--engine",
            "qwen3",
            "--model",
            self.arguments.model,
            "--voice",
            self.voice,
            "--text",
            TEXT,
            "--language",
            "English",
            "--max-frames",
            str(self.arguments.frames + 1),
            "--no-pre",
            "--no-post",
            "--precision",
            self.precision,
            "--json",
            "-o",
            f"{self.folder}/out.wav",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{' '.join(command)} failed")
        result = json.loads(output)
        timings = result["timings"]
        return {
            "rtf": timings["speech"] / result["duration"],
            "load": timings["queued"],
            "peak": usage.ru_maxrss * 1024,
            "first": timings["first_audio"] - timings["queued"],
            "process": time.perf_counter() - start,
        }

    def lm(self):
        return Server(
            [
                f"{self.arguments.build}/bench/bench_lm",
                self.arguments.model,
                "--precision",
                self.precision,
                "--threads",
                str(self.arguments.threads),
                "--packs",
                f"{self.folder}/packs",
                "--serve",
            ]
        )

    def round(self):
        result = self.request()
        server = self.lm()
        server.ask("frames 4 1")
        result["prefill"] = server.ask(f"prefill {PROMPT}")[0]
        result["prefill_long"] = server.ask(f"prefill {LONG_PROMPT}")[0]
        talker, predictor = server.ask(f"frames {self.arguments.frames // 2} 1")
        result["talker"], result["predictor"] = (
            seconds / (self.arguments.frames // 2) for seconds in (talker, predictor)
        )
        if self.arguments.timbre_batches:
            for batch in (4, 8):
                steps = max(8, self.arguments.frames // 4)
                # the least is the best
                result[f"batch{batch}"] = -steps * batch / sum(server.ask(f"frames {steps} {batch}"))
        server.close()
        codec = Server([f"{self.arguments.build}/bench/bench_codec", self.arguments.model, str(self.arguments.threads),
                        CODEC.get(self.precision, "bf16")])
        codec.ask("decode 16 16 1")
        result["decoder"] = codec.ask("decode 48 16 1")[0] / 48
        codec.close()
        return result

    def roofline(self):
        server = self.lm()
        server.process.stdin.write("roofline\n")
        server.process.stdin.close()
        lines = server.process.stdout.read().strip()
        server.process.wait()
        return lines

    def close(self):
        pass


# ---- The C program ----

def number(pattern, output):
    return float(re.search(pattern, output).group(1))


class Peer:
    def __init__(self, arguments, weights):
        self.name = f"C peer {weights}"
        self.command = [
            arguments.c_peer,
            "-d",
            arguments.model,
            "-t",
            TEXT,
            "-l",
            "English",
            "-m",
            str(arguments.frames),
            "-j",
            str(arguments.threads),
            "--seed",
            "42",
            "-o",
            os.devnull,
        ] + ([] if weights == "bf16" else [f"--{weights}"])

    def run(self, **environment):
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=dict(os.environ, **environment))
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{' '.join(self.command)} failed:\n{output[-500:]}")
        return {
            "rtf": number(r"RTF ([\d.]+)", output),
            "first": number(r"TTFA: (\d+) ms", output) / 1000,
            "load": number(r"Model loaded in (\d+) ms", output) / 1000,
            "prefill": number(r"Prefill: (\d+) ms", output) / 1000,
            "talker": number(r"Talker step: \d+ ms \(([\d.]+) ms/f", output) / 1000,
            "predictor": number(r"Code Predictor: \d+ ms \(([\d.]+) ms/f", output) / 1000,
            "decoder": number(r"Speech decoder: (\d+) ms", output)
            / 1000
            / int(self.command[self.command.index("-m") + 1]),
            "peak": usage.ru_maxrss * 1024,
        }

    def round(self):
        stages = self.run(QWEN_NO_OVERLAP="1")
        whole = self.run()
        return dict(stages, rtf=whole["rtf"], first=whole["first"], peak=whole["peak"])

    def close(self):
        pass


# ---- The program with ggml ----

class GgmlPeer:
    def __init__(self, arguments, weights):
        talker, codec = weights.split(",")
        self.name, self.frames = f"ggml peer {Path(talker).stem.rsplit('-', 1)[-1]}", arguments.frames
        self.command = [
            arguments.ggml_peer,
            "--model",
            talker,
            "--codec",
            codec,
            "--lang",
            "English",
            "--seed",
            "42",
            "--max-new",
        ]
        output, _ = self.run(4, os.devnull)
        threads = int(number(r"CPU threads: (\d+)", output))
        if threads != arguments.threads:
            self.name += f", {threads} threads"

    def run(self, frames, path):
        process = subprocess.Popen(
            [*self.command, str(frames), "-o", path], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdin.write(TEXT)
        process.stdin.close()
        output = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{' '.join(self.command)} failed:\n{output[-500:]}")
        return output, usage.ru_maxrss * 1024

    def first_audio(self):
        """Seconds until the model is there, and from then until the first sample of a stream."""
        begin = time.perf_counter()
        process = subprocess.Popen([*self.command, "4", "-o", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, bufsize=0)
        process.stdin.write(TEXT.encode())
        process.stdin.close()
        line = b"-"
        while line and b"[Prompt] Built" not in line:
            line = process.stderr.readline()
        loaded = time.perf_counter()
        received = 0
        while received <= 44:  # a header comes before the samples
            data = process.stdout.read(4096)
            if not data:
                raise SystemExit(f"{' '.join(self.command)} sent no audio")
            received += len(data)
        first = time.perf_counter()
        process.stdout.read()
        process.stderr.read()
        process.wait()
        return {"load": loaded - begin, "first": first - loaded}

    def round(self):
        output, peak = self.run(self.frames, os.devnull)
        return {
            "rtf": number(r"Total [\d.]+ ms .*RTF ([\d.]+)", output),
            "prefill": number(r"Prefill ([\d.]+) ms", output) / 1000,
            "talker": number(r"TalkerDecode .*, ([\d.]+) ms/frame", output) / 1000,
            "predictor": number(r"CodePredictor .*\(([\d.]+) ms/frame", output) / 1000,
            "decoder": number(r"CodecDecode ([\d.]+) ms", output) / 1000 / self.frames,
            "peak": peak,
            **self.first_audio(),
        }

    def close(self):
        pass


# ---- The table ----

def cell(result, key, scale=1000.0, digits=1):
    return f"{result[key] * scale:.{digits}f}" if key in result else "–"


def print_table(names, results):
    print(
        "| | prefill 45 / 117, ms | talker, ms a frame | predictor | LM frames/s | 4 / 8 sequences, frames/s | codec"
        " decoder, ms a frame | RTF | first audio, s | load, s | peak MB |"
    )
    print("|---" * 11 + "|")
    for name in names:
        result = results[name]
        batches = " / ".join(f"{-result[key]:.0f}" for key in ("batch4", "batch8") if key in result) or "–"
        prefill = cell(result, "prefill", digits=0) + (
            " / " + cell(result, "prefill_long", digits=0) if "prefill_long" in result else ""
        )
        print(
            f"| {name} | {prefill} | {cell(result, 'talker')} | {cell(result, 'predictor')} |"
            f" {1 / (result['talker'] + result['predictor']):.1f} | {batches} | {cell(result, 'decoder')} |"
            f" {cell(result, 'rtf', 1, 2)} | {cell(result, 'first', 1, 2)} | {cell(result, 'load', 1, 2)} |"
            f" {cell(result, 'peak', 1e-6, 0)} |"
        )
    ours, theirs = ([name for name in names if name.startswith("timbre") == mine] for mine in (True, False))
    for name in theirs:
        ratios = ", ".join(f"{our} {results[name]['rtf'] / results[our]['rtf']:.2f}" for our in ours)
        print(f"\ntimes as fast as {name}, whole request: {ratios}")


def check_tokenizer(arguments):
    """Ends with an explanation if the model's tokenizer is not Qwen's, which config.json's ids are of."""
    command = [f"{arguments.build}/cli/timbre", "tokenize", "--model", arguments.model, "<|im_start|>assistant\n"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0 and json.loads(done.stdout) == [151644, 77091, 198]:
        return
    sys.exit(
        f"{arguments.model}: its tokenizer is not that of Qwen3-TTS"
        f" ({done.stderr.strip() or 'other ids: ' + done.stdout.strip()}).\nCopy vocab.json and merges.txt from"
        f" {ROOT / 'tests/golden/qwen/tokenizer'} into it, or name a folder that does not exist yet: random weights"
        " with the right tokenizer are made there."
    )


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--worker":
        return worker(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--build", type=Path, default=ROOT / "build-test/release")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", default="int8,int4,bf16")
    parser.add_argument("--official", default="bf16,f32", help="dtypes of the official package; empty for none")
    parser.add_argument("--c-peer", help="the binary of gabriele-mastrapasqua/qwen3-tts")
    parser.add_argument("--c-peer-weights", default="bf16,int8")
    parser.add_argument("--ggml-peer", help="the qwen-tts of ServeurpersoCom/qwentts.cpp")
    parser.add_argument("--ggml-weights", nargs="+", default=[], metavar="TALKER,CODEC", help="pairs of its GGUF files")
    parser.add_argument("--no-timbre-batches", dest="timbre_batches", action="store_false")
    arguments = parser.parse_args()
    if not Path(arguments.model, "config.json").exists():
        subprocess.run([sys.executable, str(ROOT / "tools/make_checkpoint.py"), arguments.model], check=True)
    check_tokenizer(arguments)
    with tempfile.TemporaryDirectory() as folder:
        voice = f"{folder}/voice.tmbvoice"
        with wave.open(f"{folder}/reference.wav", "wb") as reference:
            reference.setparams((1, 2, 24000, 0, "NONE", None))
            reference.writeframes(os.urandom(24000 * 5 * 2))
        subprocess.run(
            [
                f"{arguments.build}/cli/timbre",
                "voice",
                "create",
                f"{folder}/reference.wav",
                "-q",
                "--x-vector-only",
                "--no-pre",
                "--engine",
                "qwen3",
                "--model",
                arguments.model,
                "-o",
                voice,
            ],
            check=True,
        )
        sides = [Timbre(arguments, precision, voice, folder) for precision in arguments.precisions.split(",")]
        sides += (
            [Peer(arguments, weights) for weights in arguments.c_peer_weights.split(",")] if arguments.c_peer else []
        )
        sides += [GgmlPeer(arguments, weights) for weights in arguments.ggml_weights] if arguments.ggml_peer else []
        results = {side.name: {} for side in sides}
        official = [dtype for dtype in arguments.official.split(",") if dtype]
        results |= {f"official {dtype}": {} for dtype in official}
        for number in range(arguments.rounds):
            for side in [*sides, *official]:
                if isinstance(side, str):  # these hold gigabytes: one at a time
                    side = Official(arguments, side)
                for key, value in side.round().items():
                    results[side.name][key] = min(results[side.name].get(key, value), value)
                side.close()
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        cpu = next(
            (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
            "unknown CPU",
        )
        print(f"{cpu}, {arguments.threads} threads; {arguments.frames} frames; least of {arguments.rounds} rounds\n")
        print_table(list(results), results)
        print()
        for side in sides:
            if isinstance(side, Timbre):
                print(f"{side.name}:\n{side.roofline()}\n")


if __name__ == "__main__":
    main()
