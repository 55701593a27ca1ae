#!/usr/bin/env python3
"""Qwen3-TTS on a GPU, by parts and as a server, on full-size random weights: bench/gpu.py [OPTION...]

    --programs DIR      where timbre and bench_gpu lie, or a build folder (build-test/release)
    --models DIR        where the checkpoints are, or are made (3 and 5 GB; default: a folder that goes afterwards)
    --model FOLDER      this one checkpoint instead of --sizes
    --sizes LIST        of 0.6b, 1.7b
    --precisions LIST   bf16;int8;talker=int8,predictor=int4 are separated by ";"
    --sequences LIST    utterances at once, for the parts
    --frames N          of each utterance; --rounds N: of the other parts, the least of which counts
    --clients LIST      clients of the server at once, each with one request after another; "": no server
    --seconds S         of speech in a request
    --peer KIND=PYTHON  a peer of bench/gpu_peer.py (official, faster) and the Python that has it; may be repeated
    --peer-device NAME  of PyTorch; default cuda:0
    --limit S           nothing is begun that many seconds after the start
    --most S            for a set of parts, at most; default 600
    --json FILE         all figures

Parts are those of bench_gpu. A request to the server is a streamed clone with a saved voice, without the denoiser:
audio seconds for each second, and how soon the first samples come, without what loads the model. A peer speaks the
same text for as many frames in turn with the server, of as many clients as it is asked for at once; printed are the
medians of --requests rounds and how many times as much audio a second timbre speaks. TIMBRE_CUDA_PTX=7.0 forbids
dependent launch.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cli"))
import released_config  # noqa: E402
import released_tensors  # noqa: E402

TEXT = "This is a sentence that the voice should say in a natural way, and this is another one."
REFERENCE = ROOT / "tests/golden/qwen/references/ref_en.wav"
RATE = 24000
FRAME = 0.08


def make_checkpoint(folder, large):
    """As it is released, with values that repeat: times do not depend on them."""
    if (folder / "speech_tokenizer/model.safetensors").exists():
        return folder
    (folder / "speech_tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(released_config.main_config(large)))
    (folder / "generation_config.json").write_text(json.dumps(released_config.generation_config()))
    (folder / "speech_tokenizer/config.json").write_text(json.dumps(released_config.codec_config()))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((ROOT / "tests/golden/qwen/tokenizer" / name).read_bytes())
    tokenizer = ROOT / "tests/golden/qwen/sample-c/model/tokenizer_config.json"
    (folder / "tokenizer_config.json").write_bytes(tokenizer.read_bytes())
    released_tensors.write_all(folder, large)
    return folder


class Bench:
    def __init__(self, options):
        self.options = options
        self.begin = time.monotonic()
        self.figures = []
        self.notes = []

    def figure(self, figure):
        self.figures.append(figure)
        self.write()

    def note(self, text):
        self.notes.append(text)
        self.write()

    def write(self):
        """Each time: whoever stops this program has what there is."""
        if self.options.json:
            self.options.json.write_text(json.dumps({"figures": self.figures, "notes": self.notes}, indent=1) + "\n")

    def program(self, name, folder):
        for path in (self.options.programs / name, self.options.programs / folder / name):
            if path.exists():
                return str(path)
        sys.exit(f"there is no {name} in {self.options.programs}")

    def left(self):
        return self.options.limit - (time.monotonic() - self.begin)

    def may_begin(self, what):
        if self.left() <= 0:
            self.note(f"{what}: not begun, the time is over")
        return self.left() > 0

    def parts(self, model, precision, sequences):
        what = f"{model.name}, {precision}, {sequences} at once"
        if not self.may_begin(what):
            return
        command = [self.program("bench_gpu", "bench"), str(model), "--precision", precision, "--sequences",
                   str(sequences), "--frames", str(self.options.frames), "--rounds", str(self.options.rounds)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.options.most)
        except subprocess.TimeoutExpired:
            self.note(f"{what}: it had not ended after {self.options.most:g} s")
            return
        if done.returncode:
            self.note(f"{what}: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            self.figure({"model": model.name, **json.loads(line)})

    @contextlib.contextmanager
    def server(self, model, precision):
        with tempfile.TemporaryDirectory() as state:
            command = [self.program("timbre", "cli"), "serve", "--host", "127.0.0.1", "--port", "0", "--state-dir",
                       state, "--engine", "qwen3", "--model", str(model), "--precision", precision, "--device", "cuda",
                       "--max-batch", "32", "--max-connections-per-address", "200"]
            log = open(pathlib.Path(state) / "log", "w+", encoding="utf-8")
            begin = time.monotonic()
            cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
            environment = {"TIMBRE_DENOISER": str(cache / "timbre/DeepFilterNet3_onnx.tar.gz"),
                           **os.environ, "XDG_CACHE_HOME": state}  # its packs go with it
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
            try:
                line = process.stdout.readline()
                found = re.search(r"http://\S+", line)
                if not found:
                    process.wait(30)
                    log.seek(0)
                    raise RuntimeError("the server does not start: " + log.read()[-500:])
                yield found.group(0), begin
            finally:
                end(process)
                log.close()

    def serve(self, model, precision):
        what = f"{model.name}, {precision}, server"
        if not self.options.clients or not self.may_begin(what):
            return
        try:
            with self.server(model, precision) as (url, begin):
                add_voice(url)
                stream(url, 0.3)
                self.figure({"model": model.name, "precision": precision, "what": "ready, with one request",
                                     "us": 1e6 * (time.monotonic() - begin)})
                for clients in self.options.clients:
                    if self.may_begin(f"{what}, {clients} clients"):
                        self.figure({"model": model.name, "precision": precision, "clients": clients,
                                             **load(url, clients, self.options.seconds, self.options.requests)})
                for kind, python in self.options.peer:
                    if self.may_begin(f"{what}, {kind}"):
                        self.compare(model, precision, url, kind, python)
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            self.note(f"{what}: {error}")

    def compare(self, model, precision, url, kind, python):
        """The server and a peer in turn."""
        try:
            with Peer(kind, python, model, self.options.peer_device) as peer:
                for clients in self.options.clients:
                    ours, theirs = [], []
                    for _ in range(self.options.requests):
                        if not self.may_begin(f"{model.name}, {precision}, {kind}, {clients} at once"):
                            return
                        ours.append(load(url, clients, self.options.seconds, 1))
                        theirs.append(peer.speak(round(self.options.seconds / FRAME), clients))
                    if any(one["failed"] for one in ours):
                        raise RuntimeError(str(next(one["failures"] for one in ours if one["failed"])))
                    self.figure({
                        "model": model.name, "precision": precision, "clients": clients, "what": "peer", "peer": kind,
                        "ready": peer.ready, "audio seconds a second": median(
                            [one["audio seconds a second"] for one in ours]),
                        "audio seconds a second of the peer": median([one["audio"] / one["whole"] for one in theirs]),
                        "first audio": median([one["first audio, median"] for one in ours]),
                        "first audio of the peer": median([one["first"] for one in theirs])})
        except (OSError, RuntimeError, ValueError) as error:
            self.note(f"{model.name}, {kind}: {error}")


class Peer:
    """bench/gpu_peer.py in a process of its own."""

    def __init__(self, kind, python, model, device):
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen([python, ROOT / "bench/gpu_peer.py", kind, model, device], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)

    def __enter__(self):
        try:
            self.ready = self.answer()["ready"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError("it ended: " + self.log.read().strip()[-500:])
        return json.loads(line)

    def speak(self, frames, batch):
        self.process.stdin.write(json.dumps({"frames": frames, "batch": batch, "text": TEXT}) + "\n")
        self.process.stdin.flush()
        return self.answer()


def median(values):
    return sorted(values)[len(values) // 2]


def end(process):
    """Asks a server to end; one that does not would take the GPU from what comes next."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError("the server does not end") from None
    finally:
        process.stdout.close()


def post(url, path, body, kind):
    try:
        return urllib.request.urlopen(urllib.request.Request(url + path, body, {"Content-Type": kind}), timeout=600)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path}: {error.code}, {error.read().decode(errors='replace')}") from error


def add_voice(url):
    boundary = uuid.uuid4().hex
    parts = {"name": b"bench", "run_pre_processing": b"false", "x_vector_only": b"true"}
    body = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
                    for name, value in parts.items())
    body += (f'--{boundary}\r\nContent-Disposition: form-data; name="ref_audio"; filename="ref.wav"\r\n\r\n'.encode() +
             REFERENCE.read_bytes() + f"\r\n--{boundary}--\r\n".encode())
    post(url, "/api/v1/voices", body, f"multipart/form-data; boundary={boundary}").read()


def stream(url, seconds, seed=1):
    """Seconds until the first samples, and seconds of audio."""
    begin = time.monotonic()
    fields = {"text": TEXT, "voice": "bench", "stream": True, "response_format": "pcm", "seed": seed,
              "max_seconds": seconds, "first_chunk_frames": 1}
    with post(url, "/api/v1/voice-clone", json.dumps(fields).encode(), "application/json") as answer:
        first = answer.read(2)
        soon = time.monotonic() - begin
        return soon, (len(first) + len(answer.read())) / 2 / RATE


def load(url, clients, seconds, requests):
    soon, audio, failures = [], [], []

    def client(number):
        for turn in range(requests):
            try:
                first, length = stream(url, seconds, seed=number * requests + turn)
                soon.append(first)
                audio.append(length)
            except (OSError, RuntimeError) as error:
                failures.append(str(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - begin
    soon.sort()
    return {"what": "server", "requests": len(audio), "failures": failures[:3], "failed": len(failures),
            "audio seconds a second": sum(audio) / wall,
            "first audio, median": soon[len(soon) // 2] if soon else None,
            "first audio, 95 %": soon[min(len(soon) - 1, len(soon) * 95 // 100)] if soon else None}


def table(figures):
    """Milliseconds of the parts, a row for each model, precision and number of utterances; then the servers."""
    rows = {}
    for figure in figures:
        if "sequences" in figure and "us" in figure:
            name = figure["what"] + (f" {figure['count']}" if figure["what"] in ("prefill", "codec") else "")
            key = (figure["model"], figure["precision"], figure["sequences"])
            rows.setdefault(key, {})[name] = figure["us"] / 1000
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| model, precision, at once | " + " | ".join(names) + " |", "|" + " --- |" * (len(names) + 1)]
    for key, row in rows.items():
        cells = [f"{row[name]:.2f}" if name in row else "" for name in names]
        lines.append(f"| {key[0]}, {key[1]}, {key[2]} | " + " | ".join(cells) + " |")
    for figure in figures:
        if figure["what"] == "server":
            soon = [1000 * (figure[name] or 0) for name in ("first audio, median", "first audio, 95 %")]
            lines.append(f"{figure['model']}, {figure['precision']}, {figure['clients']} clients: "
                         f"{figure['audio seconds a second']:.1f} seconds of audio a second, "
                         f"first audio {soon[0]:.1f} ms (95 %: {soon[1]:.1f}), "
                         f"{figure['failed']} of {figure['requests'] + figure['failed']} failed")
        if figure["what"] == "peer":
            ours, theirs = figure["audio seconds a second"], figure["audio seconds a second of the peer"]
            lines.append(f"{figure['model']}, {figure['precision']}, {figure['clients']} at once: {ours:.1f} seconds "
                         f"of audio a second, {figure['peer']} {theirs:.1f} ({ours / theirs:.2f} times); first audio "
                         f"{1000 * figure['first audio']:.1f} ms, {1000 * figure['first audio of the peer']:.1f}")
    return "\n".join(lines)


def peer(text):
    kind, _, python = text.partition("=")
    if kind not in ("official", "faster"):
        raise argparse.ArgumentTypeError(f"a peer is official or faster, not {kind!r}")
    return kind, python or sys.executable


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "build-test/release")
    parser.add_argument("--models", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--sizes", default="0.6b,1.7b")
    parser.add_argument("--precisions", default="bf16;int8;talker=int8,predictor=int4")
    parser.add_argument("--sequences", type=numbers, default=[1, 8, 32])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=numbers, default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.3)
    parser.add_argument("--peer", type=peer, action="append", default=[])
    parser.add_argument("--peer-device", default="cuda:0")
    parser.add_argument("--limit", type=float, default=1e9)
    parser.add_argument("--most", type=float, default=600)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args(arguments)
    bench = Bench(options)
    with tempfile.TemporaryDirectory(prefix="timbre-models-") as temporary:
        place = options.models or pathlib.Path(temporary)
        sizes = [options.model] if options.model else options.sizes.split(",")
        for size in sizes:
            model = size if options.model else make_checkpoint(place / size, size == "1.7b")
            for precision in options.precisions.split(";"):
                for sequences in options.sequences:
                    bench.parts(model, precision, sequences)
            bench.serve(model, options.precisions.split(";")[0])
    print(table(bench.figures))
    for note in bench.notes:
        print(note)
    bench.write()
    return bench


if __name__ == "__main__":
    sys.exit(1 if main().notes else 0)
