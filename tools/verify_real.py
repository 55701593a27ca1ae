#!/usr/bin/env python3
"""Compares timbre with the official Python package on one checkpoint; `timbre verify MODEL --official` runs it.

    verify_real.py --timbre PROGRAM --model FOLDER --ref RECORDING [--ref-text TEXT] [--text TEXT] [--frames N]

Prints one JSON object a line, {"name", "verdict": "ok" | "note" | "fault", "detail"}:

- for each way of cloning (x-vector alone, in context if there is a transcript, the whole text at first): the greedy
codes and the
  wave of qwen-tts in f32 against timbre's with `--precision f32`. The codes must be the same; the waves may differ by
  what the order of additions makes, 1e-3 of full scale at most.
- the codec as timbre packs it by default against f32 on the same codes: signal to noise for each 80 ms.
- the language model in int8 against f32: how far the greedy codes are the same. They fork sooner or later, which is no
fault.

The last two need timbre alone. Exit status 0: everything was tried, whatever came out.
"""
import argparse
import array
import ast
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import types
from importlib.machinery import ModuleSpec

FRAME = 1920  # samples of 80 ms at 24 kHz
WAVE_TOLERANCE = 1e-3
QUIET_CODEC = 35.0  # dB: above this nobody has heard the codec's rounding


def report(name, verdict, detail):
    print(json.dumps({"name": name, "verdict": verdict, "detail": detail}), flush=True)


def read_npy(path):
    """A NumPy file of int16 [frames, books] as a list of lists."""
    with open(path, "rb") as file:
        data = file.read()
    length, = struct.unpack_from("<H", data, 8)
    shape = ast.literal_eval(data[10:10 + length].decode())["shape"]
    values = array.array("h", data[10 + length:])
    return [list(values[i * shape[1]:(i + 1) * shape[1]]) for i in range(shape[0])]


def read_wav(path):
    """The samples of a mono WAV file of 32-bit floats."""
    with open(path, "rb") as file:
        data = file.read()
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            return array.array("f", data[at + 8:at + 8 + size - size % 4])
        at += 8 + size + size % 2
    raise ValueError(f"{path}: no samples")


class Timbre:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.count = 0

    def speak(self, precision, *more):
        """(codes, samples) of a greedy clone without cleaning."""
        self.count += 1
        wave, codes = (os.path.join(self.folder, f"{self.count}.{ending}") for ending in ("wav", "npy"))
        a = self.arguments
        subprocess.run(
            [
                a.timbre,
                "clone",
                "--engine",
                "qwen3",
                "--model",
                a.model,
                "--ref",
                a.ref,
                "--text",
                a.text,
                "--precision",
                precision,
                "--greedy",
                "--no-pre",
                "--no-post",
                "--no-runaway-guard",
                "--max-frames",
                str(a.frames),
                "--encoding",
                "float",
                "-o",
                wave,
                "--codes-out",
                codes,
                "-q",
                *more,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return read_npy(codes), read_wav(wave)


def stand_in_for_torchaudio():
    """The package imports it for its 25 Hz tokenizer alone, which no Base checkpoint has; a build of it that does not
    fit the installed torch must not be what ends the comparison."""
    try:
        import torchaudio.compliance.kaldi  # noqa: F401
    except (ImportError, OSError):
        names = ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi")
        for name in [loaded for loaded in sys.modules if loaded.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        for name in names:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)
        sys.modules[names[0]].compliance = sys.modules[names[1]]
        sys.modules[names[1]].kaldi = sys.modules[names[2]]


def load_official(model):
    """The official model in f32, or None and why not."""
    stand_in_for_torchaudio()
    try:
        import torch
        from qwen_tts import Qwen3TTSModel
    except (ImportError, OSError) as error:
        return (
            None,
            (
                f"{sys.executable} cannot import it ({error}): pip install qwen-tts, or name another interpreter with"
                " --python"
            ),
        )
    return Qwen3TTSModel.from_pretrained(model, dtype=torch.float32), None


def official_speech(official, arguments, **options):
    """(codes, samples) of the official package; its generate() hands the codes over on the way."""
    kept = []
    generate = official.model.generate

    def keep(*positional, **named):
        result = generate(*positional, **named)
        kept.append(result[0])
        return result

    official.model.generate = keep
    try:
        waves, _ = official.generate_voice_clone(
            text=arguments.text,
            ref_audio=arguments.ref,
            do_sample=False,
            subtalker_dosample=False,
            max_new_tokens=arguments.frames,
            **options,
        )
    finally:
        official.model.generate = generate
    return kept[0][0].tolist(), waves[0].tolist()


def compare_case(name, mine, theirs):
    my_codes, my_wave = mine
    codes, wave = theirs
    if my_codes != codes:
        same = next(
            (i for i, pair in enumerate(zip(my_codes, codes)) if pair[0] != pair[1]), min(len(my_codes), len(codes))
        )
        report(
            f"codes {name}",
            "fault",
            f"{len(my_codes)} frames of timbre and {len(codes)} of the official package, the first other one is frame"
            f" {same}",
        )
        return
    report(f"codes {name}", "ok", f"{len(codes)} frames of {len(codes[0]) if codes else 0} codes are the official ones")
    if len(my_wave) != len(wave):
        report(f"wave {name}", "fault", f"{len(my_wave)} samples of timbre and {len(wave)} of the official package")
        return
    worst = max((abs(a - b) for a, b in zip(my_wave, wave)), default=0.0)
    report(
        f"wave {name}", "ok" if worst <= WAVE_TOLERANCE else "fault", f"differs by {worst:.1e} of full scale at most"
    )


def compare_with_official(arguments, timbre):
    official, reason = load_official(arguments.model)
    if official is None:
        report("qwen-tts", "fault", reason)
        return
    cases = [("x-vector", ["--x-vector-only"], {"x_vector_only_mode": True, "language": "Auto"}),
             ("x-vector, whole text", ["--x-vector-only", "--non-streaming-text", "--language", "en"],
              {"x_vector_only_mode": True, "language": "English", "non_streaming_mode": True})]
    if arguments.ref_text:
        cases.append(("in context", ["--ref-text", arguments.ref_text, "--language", "en"],
                      {"ref_text": arguments.ref_text, "language": "English"}))
    for name, options, named in cases:
        compare_case(name, timbre.speak("f32", *options), official_speech(official, arguments, **named))


def decibels(reference, other):
    """Signal to noise of each 80 ms, loudest windows to windows 60 dB below them."""
    loudest = max((sum(v * v for v in reference[at:at + FRAME]) for at in range(0, len(reference), FRAME)), default=0.0)
    result = []
    for at in range(0, len(reference), FRAME):
        signal = sum(v * v for v in reference[at:at + FRAME])
        noise = sum((a - b) ** 2 for a, b in zip(reference[at:at + FRAME], other[at:at + FRAME]))
        if signal > 1e-6 * loudest:
            result.append(10 * math.log10(signal / noise) if noise > 0 else 200.0)
    return sorted(result)


def compare_codec(timbre):
    """The same codes through both codecs."""
    exact_codes, exact = timbre.speak("codec=f32", "--x-vector-only")
    codes, packed = timbre.speak("auto", "--x-vector-only")
    if codes != exact_codes:
        report("codec auto against f32", "fault", "the codec's precision changed the codes, which do not depend on it")
        return
    values = decibels(exact, packed)
    if not values:
        report("codec auto against f32", "note", "nothing was spoken")
        return
    worst, median = values[0], values[len(values) // 2]
    advice = (
        ""
        if worst >= QUIET_CODEC
        else f"; below {QUIET_CODEC:.0f} dB: listen, and use --precision codec=f32 where it can be heard"
    )
    report("codec auto against f32", "ok" if worst >= QUIET_CODEC else "note",
           f"{median:.1f} dB in the median of {len(values)} windows of 80 ms, {worst:.1f} dB in the worst{advice}")


def compare_int8(timbre):
    exact, _ = timbre.speak("f32", "--x-vector-only")
    for precision in ("int8", "talker=int8,predictor=f32"):
        codes, _ = timbre.speak(precision, "--x-vector-only")
        frames = min(len(exact), len(codes))
        same = next((i for i in range(frames) if exact[i] != codes[i]), frames)
        first = sum(exact[i][0] == codes[i][0] for i in range(frames))
        report(f"{precision} against f32", "note" if frames else "fault",
               f"the greedy codes are the same for {same} of {frames} frames, the first book's for {first}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timbre", default="timbre")
    parser.add_argument("--model", required=True)
    parser.add_argument("--ref", required=True)
    parser.add_argument("--ref-text", default="")
    parser.add_argument("--text", default="Good morning, how are you?")
    parser.add_argument("--frames", type=int, default=25)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timbre = Timbre(arguments, folder)
        compare_with_official(arguments, timbre)
        compare_codec(timbre)
        compare_int8(timbre)


if __name__ == "__main__":
    main()
