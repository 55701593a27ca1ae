#!/usr/bin/env python3
"""How soon a request sounds: one without a reference (a built-in speaker) beside those with a saved voice.

    bench/first_audio.py BASE CUSTOM [--build DIR] [--reference FILE] [--threads 2] [--frames 12] [--items 4]
                         [--rounds 3]

BASE is a Base checkpoint's folder, CUSTOM a CustomVoice one's of the same size; full-size random weights will do. The
same text goes to each, in turns, one item at a time, through all that a stream goes through; a figure is the least of
the items of all rounds, without an item's wait for its turn and the first item of a process, which waits for the model.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = ("This is a sentence that the voice should say in a natural way, and this is another one that follows it; "
        "nobody has to be in a hurry here.")


def speaker_of(custom):
    names = json.loads((custom / "config.json").read_text())["talker_config"]["spk_id"]
    return sorted(names)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=pathlib.Path)
    parser.add_argument("custom", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-test/release")
    parser.add_argument("--reference", type=pathlib.Path, default=ROOT / "tests/golden/qwen/references/ref_en.wav")
    parser.add_argument("--reference-text", default="A short reference sentence.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    timbre = options.build / "cli/timbre"
    environment = {key: value for key, value in os.environ.items() if key != "TIMBRE_MODEL"}
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        environment["XDG_CACHE_HOME"] = str(place)  # its packs go with it
        if "TIMBRE_DENOISER" not in environment:
            environment["TIMBRE_DENOISER"] = str(pathlib.Path.home() / ".cache/timbre/DeepFilterNet3_onnx.tar.gz")

        def run(*words):
            done = subprocess.run([timbre, *map(str, words)], capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(f"timbre {' '.join(map(str, words))}: {done.stderr}")
            return [json.loads(line) for line in done.stdout.splitlines()]

        voices = {"saved voice, x-vector": place / "x.tmbvoice", "saved voice, in context": place / "c.tmbvoice"}
        create = ("voice", "create", options.reference, "--model", options.base, "--json", "-o")
        run(*create, voices["saved voice, x-vector"], "--x-vector-only")
        run(*create, voices["saved voice, in context"], "--ref-text", options.reference_text)
        ways = {name: ("clone", "--model", options.base, {"voice": str(path)}) for name, path in voices.items()}
        ways["no reference, a speaker"] = ("speak", "--model", options.custom, {"speaker": speaker_of(options.custom)})
        found = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, (command, option, model, fields) in ways.items():
                batch = place / "batch.jsonl"
                line = {"text": TEXT, "seed": 1, "max_frames": options.frames, "non_streaming_text": True, **fields}
                batch.write_text("".join(json.dumps({**line, "custom_id": str(i)}) + "\n"
                                         for i in range(options.items + 1)))
                results = run(command, option, model, "--batch", batch, "--out-dir", place / "out", "--max-batch", 1,
                              "--threads", options.threads)
                for result in results:
                    if result["custom_id"] != "0":
                        timings = result["timings"]
                        found[name].append(timings["first_audio"] - timings["queued"])
        cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
        print(f"{cpu}, {options.threads} threads; least of {options.rounds} rounds of {options.items} items\n")
        print("| | first audio, s |\n| --- | --- |")
        for name, seconds in found.items():
            print(f"| {name} | {min(seconds):.3f} |")


if __name__ == "__main__":
    main()
