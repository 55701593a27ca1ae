"""clone, voice, tokenize, models, pull and doctor."""
import ast
import json
import random
import math
import pathlib
import shutil
import struct
import unittest

from support import (FAILED, GOLDEN, INPUT, MODEL, OK, SANITIZED, USAGE, Case, json_lines, needs_denoiser, needs_espeak,
                     parse_wav, read_npy, read_wav, run, snr, speech, write_wav)

QWEN = GOLDEN / "qwen"
STAGES = {"queued", "resample_reference", "enhance_reference", "speech", "resample_speech", "enhance_speech"}


def read_codes(path):
    """(shape, values) of a NumPy file of int16."""
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    length, = struct.unpack_from("<H", data, 8)
    assert (10 + length) % 64 == 0
    head = ast.literal_eval(data[10:10 + length].decode())
    assert head["descr"] == "<i2" and not head["fortran_order"], head
    shape = head["shape"]
    count = 1
    for size in shape:
        count *= size
    return shape, struct.unpack_from(f"<{count}h", data, 10 + length)


@needs_denoiser
@needs_espeak
class Preview(Case):
    def setUp(self):
        super().setUp()
        self.ref = self.folder / "ref.wav"
        write_wav(self.ref, speech())

    def test_one(self):
        out = self.folder / "out.wav"
        done = self.check(
            OK, "clone", "--ref", self.ref, "--text", "Hello there.", "-o", out, "--engine", "preview", "--json"
        )
        result, = json_lines(done.stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("preview", False, 48000))
        self.assertEqual(result["finish_reason"], "stop")
        self.assertLessEqual(STAGES, set(result["timings"]))
        rate, channels, samples = read_wav(out)
        self.assertEqual((rate, channels), (48000, 1))
        self.assertAlmostEqual(len(samples) / rate, result["duration"], delta=1e-4)
        self.assertGreater(result["duration"], 0.3)
        self.assertGreater(max(map(abs, samples)), 0.01)
        self.assertEqual(done.stderr.count("no clone"), 1, done.stderr)
        self.assertIn("timbre pull qwen3-tts-0.6b", done.stderr)
        self.assertEqual(self.files(), ["out.wav", "ref.wav"])

    def test_names_that_say_no_format_are_refused_at_once(self):
        """Before a recording is read: not after the speech, and with nothing else said."""
        base = ("clone", "--ref", self.ref, "--text", "Hello there.", "--engine", "preview")
        for words in (("-o", "out.xyz"), ("-o", "out"), ("-o", "out.wav", "--reference-out", "clean.xyz")):
            done = self.check(USAGE, *base, *words, cwd=self.folder)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn("says no audio format", done.stderr)
        self.check(OK, *base, "-q", "-o", "out.xyz", "--format", "wav", cwd=self.folder)
        self.assertEqual(self.files(), ["out.xyz", "ref.wav"])

    def test_the_same_seed_is_the_same_sound(self):
        for name in ("a", "b"):
            self.check(
                OK,
                "clone",
                "--ref",
                self.ref,
                "--text",
                "Again.",
                "-o",
                self.folder / f"{name}.wav",
                "--engine",
                "preview",
                "--seed",
                "7",
            )
        self.assertEqual((self.folder / "a.wav").read_bytes(), (self.folder / "b.wav").read_bytes())

    def test_streams_to_standard_output(self):
        self.check(
            OK,
            "clone",
            "--ref",
            self.ref,
            "--text",
            "Pipes.",
            "-o",
            self.folder / "a.wav",
            "--engine",
            "preview",
            "--seed",
            "1",
        )
        done = self.check(
            OK, "clone", "--ref", self.ref, "--text", "Pipes.", "-o", "-", "--engine", "preview", "--seed", "1"
        )
        self.assertEqual(parse_wav(done.stdout)[2], read_wav(self.folder / "a.wav")[2])

    def test_text_from_a_file_and_from_standard_input(self):
        (self.folder / "text").write_text("From a file.\n")
        base = ("clone", "--ref", self.ref, "--engine", "preview", "--seed", "1", "-o")
        self.check(OK, *base, self.folder / "a.wav", "--text", "From a file.")
        self.check(OK, *base, self.folder / "b.wav", "--text-file", self.folder / "text")
        self.check(OK, *base, self.folder / "c.wav", "--text", "-", stdin=b"From a file.\n")
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "b.wav"))
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "c.wav"))

    def test_speed(self):
        text = "This is a longer sentence."
        base = ("clone", "--ref", self.ref, "--engine", "preview", "--seed", "1", "--text", text)
        plain, = json_lines(self.check(OK, *base, "-o", self.folder / "a.wav", "--json").stdout)
        fast, = json_lines(self.check(OK, *base, "-o", self.folder / "b.wav", "--json", "--speed", "2").stdout)
        self.assertAlmostEqual(fast["duration"], plain["duration"] / 2, delta=0.1)
        rate, _, samples = read_wav(self.folder / "b.wav")
        self.assertAlmostEqual(fast["duration"], len(samples) / rate, places=4)
        self.assertGreater(max(map(abs, samples)), 0.02)
        done = self.check(OK, *base, "-o", "-", "--speed", "2")
        self.assertAlmostEqual(len(parse_wav(done.stdout)[2]), len(samples), delta=rate / 10)
        item = {"text": text, "ref_audio": str(self.ref), "seed": 1}
        (self.folder / "items.jsonl").write_text(json.dumps(item) + "\n")
        done = self.check(OK, "clone", "--engine", "preview", "--batch", self.folder / "items.jsonl", "--out-dir",
                          self.folder / "out", "--speed", "2")
        self.assertAlmostEqual(json_lines(done.stdout)[0]["duration"], fast["duration"], delta=0.1)
        self.check(USAGE, *base, "-o", self.folder / "c.wav", "--speed", "0")

    def test_pauses_are_refused_if_they_would_be_read_aloud(self):
        base = ("clone", "--ref", self.ref, "--engine", "preview", "-o", self.folder / "a.wav", "--pauses", "--text")
        done = self.check(USAGE, *base, "One. [pause:1s] Two.")
        self.assertIn("would read", done.stderr)
        self.assertIn("qwen3", done.stderr)
        self.check(OK, *base, "One. Two.")

    def test_without_post_processing_the_engine_rate_remains(self):
        done = self.check(
            OK,
            "clone",
            "--ref",
            self.ref,
            "--text",
            "Plain.",
            "-o",
            self.folder / "a.wav",
            "--engine",
            "preview",
            "--no-post",
            "--no-pre",
            "--json",
        )
        result, = json_lines(done.stdout)
        self.assertEqual(read_wav(self.folder / "a.wav")[0], result["sample_rate"])
        self.assertEqual(result["timings"]["enhance_speech"], 0)
        self.assertEqual(result["timings"]["enhance_reference"], 0)

    def test_each_cleaning_stage_has_its_strength(self):
        """By default no limit for the reference and 12 dB for the speech."""
        def speak(*options):
            self.check(
                OK,
                "clone",
                "--ref",
                self.ref,
                "--text",
                "Strength.",
                "-o",
                self.folder / "a.wav",
                "--engine",
                "preview",
                "--reference-out",
                self.folder / "clean.wav",
                "--seed",
                "1",
                *options,
            )
            return read_wav(self.folder / "clean.wav"), read_wav(self.folder / "a.wav")
        default = speak()
        self.assertEqual(
            speak(
                "--pre-atten-lim-db", "100", "--pre-pf-beta", "0", "--post-atten-lim-db", "12", "--post-pf-beta", "0"
            ),
            default,
        )
        self.assertNotEqual(speak("--post-atten-lim-db", "100")[1], default[1])
        self.assertNotEqual(speak("--post-pf-beta", "0.02")[1], default[1])
        self.assertNotEqual(speak("--pre-atten-lim-db", "6")[0], default[0])

    def test_reference_out(self):
        self.check(
            OK,
            "clone",
            "--ref",
            self.ref,
            "--text",
            "Clean.",
            "-o",
            self.folder / "a.wav",
            "--engine",
            "preview",
            "--reference-out",
            self.folder / "clean.wav",
        )
        self.check(OK, "enhance", self.ref, "-o", self.folder / "expected.wav")
        self.assertEqual(
            (read_wav(self.folder / "clean.wav")[0], len(read_wav(self.folder / "clean.wav")[2])), (48000, 96000)
        )

    def references(self):
        """(name, samples, channels, what is said) of recordings without speech, and of doubtful ones."""
        noise = random.Random(1)
        said = speech()
        yield "zeros", [0] * 96000, 1, "silence"
        yield "offset", [0.4] * 96000, 1, "silence"
        yield "noise", [noise.gauss(0, 0.1) for _ in range(96000)], 1, "steady sound"
        yield "tone", [0.3 * math.sin(0.05 * i) for i in range(96000)], 1, "steady sound"
        yield "syllable", said[28800:28800 + 9600], 1, "too little speech"
        yield "antiphase", [v for s in said for v in (s, -s)], 2, None

    def test_a_reference_without_speech_is_refused(self):
        for name, samples, channels, reason in self.references():
            ref, out = self.folder / f"{name}.wav", self.folder / f"{name}.out.wav"
            write_wav(ref, samples, channels=channels)
            done = self.check(
                OK if reason is None else INPUT,
                "clone",
                "--ref",
                ref,
                "--text",
                "Hello.",
                "-o",
                out,
                "--engine",
                "preview",
                "--json",
            )
            result, = json_lines(done.stdout)
            judged = run("info", "--speech", "--json", ref)
            verdict, = json_lines(judged.stdout)
            self.assertEqual(judged.returncode, done.returncode)
            self.assertEqual(result["reference"], verdict["reference"])
            if reason is None:
                self.assertIn("left and right are opposite", result["warnings"][0])
                self.assertEqual(sum("left and right" in line for line in done.stderr.splitlines()), 1)
                continue
            self.assertIn(reason, result["error"]["message"])
            self.assertIn("record 3 to 30 s", done.stderr)
            self.assertEqual(verdict["reference"]["verdict"], "unusable")
            self.assertFalse(out.exists())
        (self.folder / "items.jsonl").write_text("".join(
            json.dumps({"custom_id": name, "text": "Hello.", "ref_audio": f"{name}.wav"}) + "\n"
            for name in ("zeros", "ref", "tone")))
        done = self.check(
            INPUT,
            "clone",
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--engine",
            "preview",
        )
        results = {r["custom_id"]: r for r in json_lines(done.stdout)}
        self.assertIn("silence", results["zeros"]["error"]["message"])
        self.assertIn("steady sound", results["tone"]["error"]["message"])
        self.assertNotIn("error", results["ref"])
        self.assertEqual(results["ref"]["warnings"], results["ref"]["reference"]["warnings"])

    def test_doubtful_references_warn_in_json_and_once_in_the_command(self):
        quiet = self.folder / "quiet.wav"
        write_wav(quiet, [s / 30 for s in speech()], encoding="float")
        done = self.check(OK, "clone", "--ref", quiet, "--ref-text", "a word " * 18, "--text", "Hello.", "-o",
                          self.folder / "out.wav", "--engine", "preview", "--json")
        result, = json_lines(done.stdout)
        self.assertEqual([w.split(":")[0] for w in result["warnings"]],
                         ["short", "quiet", "the transcript is too long"])
        self.assertEqual(result["reference"]["verdict"], "doubtful")
        self.assertEqual(result["clipped"], 0)
        for warning in result["warnings"]:
            self.assertEqual(done.stderr.count(warning), 1, done.stderr)
        shown = self.check(OK, "info", "--speech", quiet).stdout.decode()
        self.assertIn("usable, but", shown)
        self.assertIn("raise the recording level", shown)

    def test_a_quiet_reference_is_cleaned_like_any_other(self):
        def power(name):
            samples = read_wav(self.folder / name)[2]
            return 10 * math.log10(sum(s * s for s in samples) / len(samples))

        for name, scale in (("usual", 1), ("quiet", 1 / 100)):
            write_wav(self.folder / "in.wav", [s * scale for s in speech()], encoding="float")
            self.check(
                OK,
                "clone",
                "--ref",
                self.folder / "in.wav",
                "--text",
                "x",
                "-o",
                self.folder / "out.wav",
                "--engine",
                "preview",
                "--reference-out",
                self.folder / f"{name}.wav",
                "--encoding",
                "float",
            )
        self.assertAlmostEqual(power("usual.wav") - 40, power("quiet.wav"), delta=1)

    def test_bad_references(self):
        (self.folder / "bad.wav").write_bytes(b"no audio")
        for ref in ("bad.wav", "absent.wav"):
            done = self.check(
                INPUT,
                "clone",
                "--ref",
                self.folder / ref,
                "--text",
                "x",
                "-o",
                self.folder / "out.wav",
                "--engine",
                "preview",
                "--json",
            )
            result, = json_lines(done.stdout)
            self.assertIn(ref, result["error"]["message"])
        self.assertEqual(self.files(), ["bad.wav", "ref.wav"])

    def test_bad_texts(self):
        for text in ("", "   ", "\n"):
            done = run("clone", "--ref", self.ref, "--text", text, "-o", self.folder / "out.wav", "--engine", "preview")
            self.assertNotEqual(done.returncode, OK)
        (self.folder / "zero").write_bytes(b"a\0b")
        self.check(
            INPUT, "clone", "--ref", self.ref, "--text-file", self.folder / "zero", "-o", self.folder / "out.wav"
        )
        self.assertEqual(self.files(), ["ref.wav", "zero"])

    def test_batch_of_32_with_one_corrupt_reference(self):
        (self.folder / "corrupt.wav").write_bytes(self.ref.read_bytes()[:40] + b"\xff\xff\xff\x7f")
        with open(self.folder / "items.jsonl", "w") as file:
            for i in range(32):
                ref = "corrupt.wav" if i == 17 else "ref.wav"
                print(json.dumps({"text": f"Number {i}.", "ref_audio": ref, "custom_id": f"item-{i}"}), file=file)
        done = self.check(
            INPUT,
            "clone",
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--engine",
            "preview",
            cwd="/",
        )
        results = {result["custom_id"]: result for result in json_lines(done.stdout)}
        self.assertEqual(set(results), {f"item-{i}" for i in range(32)})
        failed = [r for r in results.values() if "error" in r]
        self.assertEqual([r["custom_id"] for r in failed], ["item-17"])
        self.assertTrue(failed[0]["error"]["message"])
        self.assertEqual(sorted(f for f in self.files() if f.startswith("out/")),
                         sorted(f"out/item-{i}.wav" for i in range(32) if i != 17))
        for result in results.values():
            if "audio" in result:
                self.assertGreater(len(read_wav(result["audio"])[2]), 0.2 * 48000)
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        self.assertEqual(len(errors), 1, done.stderr)

    def test_batch_lines(self):
        lines = [
            '{"text": "good", "ref_audio": "ref.wav", "custom_id": "../up"}',
            "not json",
            "[1, 2]",
            "",
            '{"text": "a", "text": "b", "ref_audio": "ref.wav"}',
            '{"text": "a", "ref_audio": "ref.wav", "temprature": 1}',
            '{"text": "a", "ref_audio": "ref.wav", "temperature": 11}',
            '{"text": 5, "ref_audio": "ref.wav"}',
            '{"ref_audio": "ref.wav"}',
            '{"text": "a", "ref_audio": "ref.wav", "response_format": "aiff"}',
            (
                '{"text": "a", "ref_audio": "ref.wav", "response_format": "flac", "seed": 3, "x_vector_only": true,'
                ' "language": null}'
            ),
            '{"text": "a", "ref_audio": "-"}',
            '{"text": "good", "ref_audio": "%s", "custom_id": "../up"}' % self.ref,
        ]
        (self.folder / "items.jsonl").write_text("\n".join(lines))
        done = self.check(
            INPUT,
            "clone",
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--engine",
            "preview",
        )
        results = json_lines(done.stdout)
        errors = {r["custom_id"]: r["error"]["message"] for r in results if "error" in r}
        expected = {"0002": "not JSON", "0003": "no object", "0005": "duplicate", "0006": 'did you mean "temperature"',
                    "0007": "not within", "0008": "not a text", "0009": "text is missing", "0010": "response_format",
                    "0012": "standard input"}
        self.assertEqual(set(errors), set(expected))
        for line, words in expected.items():
            self.assertIn(words, errors[line])
        self.assertEqual(sorted(f for f in self.files() if f.startswith("out/")),
                         ["out/0011.flac", "out/_._up-13.wav", "out/_._up.wav"])
        seeds = [r["seed"] for r in results if r.get("custom_id") == "0011"]
        self.assertEqual(seeds, [3])

    def test_batch_fields_are_those_of_the_api(self):
        fields = {
            "ref_text": "",
            "language": "en_US",
            "voice": None,
            "temperature": None,
            "x_vector_only_mode": True,
            "max_new_tokens": 900,
            "non_streaming_mode": True,
            "split_length": 40,
            "pauses": True,
            "guard_runaway": False,
            "trim_reference": True,
            "reference_silence": 0.5,
            "subtalker_temperature": 0.5,
            "subtalker_top_k": 5,
            "greedy": True,
            "do_sample": False,
            "subtalker_dosample": True,
            "first_chunk_frames": 2,
        }
        lines = [
            {"text": "One.", "ref_audio": "ref.wav", **fields},
            {"text": "Two.", "ref_audio": "ref.wav", "language": "", "seed": None},
            {"text": "Three.", "ref_audio": "ref.wav", "x_vector_only": True, "x_vector_only_mode": True},
            {"text": "Four.", "ref_audio": "ref.wav", "reference_silence": 6},
            {"text": "Five.", "ref_audio": "ref.wav", "language": "klingon"},
            {"text": "Six.", "ref_audio": "ref.wav", "max_new_tokens": 1.5},
        ]
        (self.folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
        done = self.check(
            INPUT,
            "clone",
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--engine",
            "preview",
        )
        errors = {r["custom_id"]: r["error"]["message"] for r in json_lines(done.stdout) if "error" in r}
        expected = {
            "0003": "same field",
            "0004": "reference_silence",
            "0005": "auto, en, zh",
            "0006": "max_frames is not a whole number",
        }
        self.assertEqual(set(errors), set(expected), done.stdout)
        for line, words in expected.items():
            self.assertIn(words, errors[line])

    def test_what_is_missing_is_said_first(self):
        nothing = {"HF_HOME": "/nonexistent", "HF_HUB_CACHE": "/nonexistent", "TIMBRE_SYSTEM_MODELS": "/nonexistent"}
        base = ("clone", "--ref", self.ref, "--text", "Hi.", "-o", self.folder / "out.wav")
        for options, words in (
            (("--no-preview",), "timbre pull"),
            (("--engine", "qwen3"), "timbre pull"),
            (("--model", "1.7b"), "timbre pull qwen3-tts-1.7b"),
            (("--denoiser", "/nope", "--engine", "preview"), "/nope"),
        ):
            done = self.check(MODEL, *base, *options, env=nothing)
            self.assertIn(words, done.stderr)
        self.check(USAGE, *base, "--engine", "preview", "--no-preview", env=nothing)
        self.check(OK, *base, "--engine", "preview", "--denoiser", "/nope", "--no-pre", "--no-post", env=nothing)

    def test_batch_takes_defaults_from_options_and_reads_standard_input(self):
        items = '{"text": "one"}\n{"text": "two", "run_post_processing": false}\n'
        done = self.check(
            OK,
            "clone",
            "--batch",
            "-",
            "--out-dir",
            self.folder / "out",
            "--ref",
            self.ref,
            "--engine",
            "preview",
            "--seed",
            "9",
            "--format",
            "flac",
            stdin=items.encode(),
        )
        results = json_lines(done.stdout)
        self.assertEqual({r["seed"] for r in results}, {9})
        self.assertEqual([f for f in self.files() if f.startswith("out/")], ["out/0001.flac", "out/0002.flac"])

    def test_empty_batch(self):
        self.check(INPUT, "clone", "--batch", "-", "--out-dir", self.folder / "out", stdin=b"\n\n")
        self.check(INPUT, "clone", "--batch", self.folder / "absent", "--out-dir", self.folder / "out")


class Engines(Case):
    def test_unknown_engine_and_precision(self):
        write_wav(self.folder / "ref.wav", speech())
        base = ("clone", "--ref", self.folder / "ref.wav", "--text", "x", "-o", self.folder / "out.wav")
        self.assertIn("opera", self.check(USAGE, *base, "--engine", "opera").stderr)
        self.assertIn("int3", self.check(USAGE, *base, "--precision", "int3").stderr)

    @needs_denoiser
    def test_missing_model_says_how_to_get_it(self):
        write_wav(self.folder / "ref.wav", speech())
        env = {
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_CACHE": str(self.folder / "hf/hub"),
            "HOME": str(self.folder),
        }
        done = self.check(
            MODEL,
            "clone",
            "--ref",
            self.folder / "ref.wav",
            "--text",
            "x",
            "-o",
            self.folder / "out.wav",
            "--engine",
            "qwen3",
            env=env,
        )
        self.assertIn("timbre pull", done.stderr)
        done = self.check(
            MODEL,
            "clone",
            "--ref",
            self.folder / "ref.wav",
            "--text",
            "x",
            "-o",
            self.folder / "out.wav",
            "--engine",
            "qwen3",
            "--model",
            self.folder / "nowhere",
            env=env,
        )
        self.assertIn("nowhere", done.stderr)

    def test_models(self):
        done = self.check(OK, "models", "--json")
        names = {m["name"]: m for m in json_lines(done.stdout)}
        self.assertLessEqual({"qwen3-tts-0.6b", "qwen3-tts-1.7b", "dfn3"}, set(names))
        for model in names.values():
            self.assertEqual(model["installed"], model["path"] is not None)
            self.assertGreater(model["bytes"], 1_000_000)
            self.assertTrue(model["license"] and model["title"])
        text = self.check(OK, "models").stdout.decode()
        for name in names:
            self.assertIn(name, text)

    def test_pull_unknown(self):
        done = self.check(MODEL, "pull", "qwen3-tts-0.7b")
        self.assertIn("did you mean qwen3-tts-0.6b", done.stderr)
        self.assertIn("timbre models", self.check(MODEL, "pull", "whisper").stderr)

    @needs_denoiser
    def test_doctor(self):
        result, = json_lines(self.check(OK, "doctor", "--json").stdout)
        checks = {c["name"]: c for c in result["checks"]}
        self.assertTrue(result["ok"])
        for name in (
            "version",
            "cpu",
            "memory budget",
            "denoiser",
            "resampler soxr",
            "format wav",
            "format flac",
            "format opus",
        ):
            self.assertTrue(checks[name]["ok"], checks[name])
        self.assertIn("ok    denoiser", self.check(OK, "doctor").stdout.decode())
        broken, = json_lines(self.check(MODEL, "doctor", "--json", "--denoiser", "/absent").stdout)
        self.assertFalse(broken["ok"])


def golden_items(model, layout=False):
    """[(case, index, batch line, codes file, wave file)] of a checkpoint's cases in one text layout: what the official
    package makes of them."""
    items = []
    for path in sorted((QWEN / model / "cases").glob("*/case.json")):
        case = json.loads(path.read_text())
        if case.get("non_streaming_mode", False) != layout:
            continue
        texts = case["text"] if isinstance(case["text"], list) else [case["text"]]
        for i, text in enumerate(texts):
            def pick(key):
                value = case.get(key)
                return value[i] if isinstance(value, list) else value
            line = {"text": text, "language": pick("language"), "custom_id": f"{path.parent.name}-{i}",
                    "ref_audio": str(QWEN / "references" / pick("ref_audio")), "x_vector_only": pick("x_vector_only"),
                    "repetition_penalty": case.get("options", {}).get("repetition_penalty", 1.05)}
            if pick("ref_text"):
                line["ref_text"] = pick("ref_text")
            items.append((case, line, path.parent / f"codes_{i}.npy", path.parent / f"wave_{i}.npy"))
    return items


class Qwen(Case):
    """The whole command over checkpoints with random weights, against what the official package makes of them."""

    def exact(self, model):
        return [
            "--engine",
            "qwen3",
            "--model",
            QWEN / model / "model",
            "--precision",
            "f32",
            "--greedy",
            "--no-pre",
            "--no-post",
            "--encoding",
            "float",
            "--json",
        ]

    def compare(self, audio, codes, golden_codes, golden_wave):
        self.assertEqual(read_codes(codes), read_codes(golden_codes))
        rate, channels, samples = read_wav(audio)
        expected = read_npy(golden_wave)
        self.assertEqual((rate, channels, len(samples)), (24000, 1, len(expected)))
        self.assertLessEqual(max(abs(a - b) for a, b in zip(samples, expected)), 1e-4)
        self.assertGreaterEqual(snr(expected, samples), 80)

    def batch(self, model, layout=False, limit=None, env=None):
        """All golden items of a model together, in one process."""
        items = golden_items(model, layout)[:limit]
        self.assertTrue(items)
        lines = "".join(json.dumps(line) + "\n" for _, line, _, _ in items)
        (self.folder / "items.jsonl").write_text(lines)
        case = items[0][0]
        done = self.check(
            OK,
            "clone",
            *self.exact(model),
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--codes-out",
            self.folder / "codes",
            "--max-frames",
            case["max_new_tokens"],
            *(["--non-streaming-text"] if layout else []),
            env=env,
        )
        results = {result["custom_id"]: result for result in json_lines(done.stdout)}
        self.assertEqual(set(results), {line["custom_id"] for _, line, _, _ in items})
        for _, line, codes, wave in items:
            with self.subTest(model=model, item=line["custom_id"], env=env):
                result = results[line["custom_id"]]
                self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("qwen3", True, 24000))
                self.compare(result["audio"], result["codes"], codes, wave)

    def one(self, model, name, *options):
        (case, line, codes, wave), = [item for layout in (False, True) for item in golden_items(model, layout)
                                      if item[1]["custom_id"] == f"{name}-0"]
        out = self.folder / "out.wav"
        arguments = [
            "--ref",
            line["ref_audio"],
            "--text",
            line["text"],
            "--language",
            line["language"],
            "--repetition-penalty",
            line["repetition_penalty"],
            "--max-frames",
            case["max_new_tokens"],
            "--codes-out",
            self.folder / "codes.npy",
            "-o",
            out,
        ]
        if "ref_text" in line:
            arguments += ["--ref-text", line["ref_text"]]
        if line["x_vector_only"]:
            arguments += ["--x-vector-only"]
        if case.get("non_streaming_mode"):
            arguments += ["--non-streaming-text"]
        result, = json_lines(self.check(OK, "clone", *self.exact(model), *arguments, *options).stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("qwen3", True, 24000))
        self.compare(out, self.folder / "codes.npy", codes, wave)
        return result

    def test_one_text_as_the_official_package(self):
        cases = [
            ("sample-c", "icl_en"),
            ("sample-f", "icl_penalty"),
            ("sample-c", "icl_nonstreaming"),
            ("sample-c", "xvec_auto"),
        ]
        for model, name in cases[:1] if SANITIZED else cases:
            with self.subTest(model=model, case=name):
                result = self.one(model, name)
                self.assertEqual(result["finish_reason"], "length" if name == "icl_nonstreaming" else "stop")

    def test_mixed_batches_as_the_official_package(self):
        for model in ("sample-e",) if SANITIZED else ("sample-c", "sample-d", "sample-e", "sample-f"):
            self.batch(model)
        for model in ("sample-f",) if SANITIZED else ("sample-e", "sample-f"):
            self.batch(model, layout=True)

    @unittest.skipIf(SANITIZED, "the release build tells")
    def test_the_same_on_every_cpu(self):
        for level in ("generic", "avx2"):
            self.batch("sample-d", env={"TIMBRE_CPU": level})
            self.batch("sample-f", limit=2, env={"TIMBRE_CPU": level})

    @unittest.skipIf(SANITIZED, "the release build tells")
    def test_one_thread_and_many_make_the_same(self):
        self.one("sample-c", "icl_en", "--threads", "1")
        self.one("sample-c", "icl_en", "--threads", "3")

    def test_tokens_of_the_official_package(self):
        pairs = json.loads((QWEN / "tokenizer/strings.json").read_text())
        model = ("--model", QWEN / "sample-c/model")
        single = [(text, ids) for text, ids in pairs if "\n" not in text and text]
        self.assertGreater(len(single), 50)
        done = self.check(OK, "tokenize", *model, "--lines", stdin="".join(text + "\n" for text, _ in single).encode())
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], [ids for _, ids in single])
        for text, ids in [pair for pair in pairs if "\n" in pair[0]][:3]:
            done = self.check(OK, "tokenize", *model, stdin=text.encode())
            self.assertEqual(json.loads(done.stdout), ids)

    def test_saved_voice_speaks_as_its_recording(self):
        model = ("--engine", "qwen3", "--model", QWEN / "sample-c/model", "--precision", "f32")
        ref = ("--ref-text", "A short reference sentence.", "--no-pre")
        say = ("--text", "Good morning.", "--greedy", "--max-frames", "16", "--no-post")
        recording, voice = QWEN / "references/ref_en.wav", self.folder / "me.tmbvoice"
        self.check(OK, "voice", "create", recording, *model, *ref, "-o", voice)
        self.check(OK, "clone", *model, "--ref", recording, *ref, *say, "-o", self.folder / "a.wav")
        self.check(OK, "clone", *model, "--voice", voice, *say, "-o", self.folder / "b.wav")
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "b.wav"))
        (self.folder / "items.jsonl").write_text(
            '{"text": "Good morning.", "voice": "me.tmbvoice", "custom_id": "v"}\n'
        )
        self.check(
            OK, "clone", *model, "--batch", self.folder / "items.jsonl", "--out-dir", self.folder / "out", *say[2:]
        )
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "out/v.wav"))
        # By its x-vector it speaks too, and otherwise.
        self.check(OK, "clone", *model, "--voice", voice, *say, "--x-vector-only", "-o", self.folder / "x.wav")
        self.assertNotEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "x.wav"))

    def test_a_pause_alone_is_exactly_silence(self):
        model = (
            "--engine",
            "qwen3",
            "--model",
            QWEN / "sample-c/model",
            "--ref",
            QWEN / "references/ref_en.wav",
            "--no-pre",
            "--pauses",
            "-o",
            self.folder / "out.wav",
        )
        for ref, post in (
            ((), ("--no-post",)),
            (("--ref-text", "A short reference sentence."), ("--no-post",)),
            ((), ()),
        ):
            self.check(OK, "clone", *model, *ref, *post, "--text", " [pause:1s] [pause:250ms]\n")
            rate, _, samples = read_wav(self.folder / "out.wav")
            self.assertEqual(len(samples), rate * 5 // 4)
            self.assertEqual(set(samples), {0.0})
        done = self.check(USAGE, "clone", *model, "--text", "Hi. [pause:31s]")
        self.assertIn("30 s is the most", done.stderr)
        for nothing in ("[pause:0s]", " [pause:0ms]\n[pause:0]"):
            done = self.check(USAGE, "clone", *model, "--text", nothing)
            self.assertIn("text is empty", done.stderr)

    def test_another_kind_of_model(self):
        """Exit status 4 and what to do, whichever file says that it is another model."""
        for file, change in (
            ("config.json", {"tts_model_type": "custom_voice_of_another_kind"}),
            ("config.json", {"model_type": "llama"}),
            ("config.json", {"tokenizer_type": "other"}),
        ):
            model = self.folder / "model"
            shutil.copytree(QWEN / "sample-c/model", model)
            (model / file).chmod(0o644)
            config = json.loads((model / file).read_text())
            (model / file).unlink()
            (model / file).write_text(json.dumps({**config, **change}))
            done = self.check(
                MODEL,
                "clone",
                "--engine",
                "qwen3",
                "--model",
                model,
                "--ref",
                QWEN / "references/ref_en.wav",
                "--text",
                "Hi.",
                "--no-pre",
                "--no-post",
                "-o",
                self.folder / "out.wav",
            )
            self.assertIn(file, done.stderr)
            shutil.rmtree(model)
        self.assertEqual(self.files(), [])

    def test_long_texts_are_split_by_themselves(self):
        text = (
            "# One\n\n"
            + "This is a sentence of a long text. " * 8
            + "\n\n## Two\n\n"
            + "And this is another sentence. " * 8
        )
        self.assertGreater(len(text), 400)
        (self.folder / "book.md").write_text(text)
        model = (
            "clone",
            "--engine",
            "qwen3",
            "--model",
            QWEN / "sample-c/model",
            "--ref",
            QWEN / "references/ref_en.wav",
            "--no-pre",
            "--no-post",
            "--seed",
            "5",
            "--json",
            "--max-seconds",
            "3",
            "--text-file",
            self.folder / "book.md",
            "-o",
        )
        first, = json_lines(self.check(OK, *model, self.folder / "a.wav").stdout)
        again, = json_lines(self.check(OK, *model, self.folder / "b.wav", "--split", "auto").stdout)
        self.assertEqual([s["text"] for s in first["segments"]][:1], ["One"])
        self.assertIn("Two", [s["text"] for s in first["segments"]])
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "b.wav"))
        whole, = json_lines(self.check(OK, *model, self.folder / "c.wav", "--split", "off").stdout)
        self.assertLessEqual(len(whole.get("segments", [])), 1)
        self.assertLessEqual(first["duration"], 3.001)
        self.assertIn("auto and off", self.check(USAGE, *model, self.folder / "d.wav", "--split", "some").stderr)

    def test_utf_16_is_named(self):
        for order in ("utf-16-le", "utf-16-be"):
            text = self.folder / "text.txt"
            text.write_bytes("\ufeffGood morning.".encode(order))
            say = ("clone", "--engine", "preview", "--ref", QWEN / "references/ref_en.wav", "-o", self.folder / "a.wav")
            for options in (("--text-file", text), ("--text", "Hi.", "--ref-text-file", text)):
                self.assertIn("text.txt is UTF-16: save it as UTF-8", self.check(INPUT, *say, *options).stderr)
            text.write_bytes("\ufeff{}\n".encode(order))
            done = self.check(INPUT, "clone", "--engine", "preview", "--batch", text, "--out-dir", self.folder)
            self.assertIn("the file is UTF-16: save it as UTF-8", done.stderr)

    def test_byte_order_marks(self):
        """Editors on Windows write one; it is no part of a text, a transcript or a batch."""
        bom = b"\xef\xbb\xbf"
        (self.folder / "text.txt").write_bytes(bom + b"Good morning.\r\n")
        (self.folder / "ref.txt").write_bytes(bom + b"A short reference sentence.\r\n")
        line = {
            "text": "Good morning.",
            "ref_text": "A short reference sentence.",
            "ref_audio": str(QWEN / "references/ref_en.wav"),
            "custom_id": "b",
        }
        (self.folder / "items.jsonl").write_bytes(bom + json.dumps(line).encode() + b"\r\n")
        model = (
            "--engine",
            "qwen3",
            "--model",
            QWEN / "sample-c/model",
            "--precision",
            "f32",
            "--greedy",
            "--no-pre",
            "--no-post",
            "--max-frames",
            "12",
        )
        ref = ("--ref", QWEN / "references/ref_en.wav")
        self.check(
            OK,
            "clone",
            *model,
            *ref,
            "--text",
            "Good morning.",
            "--ref-text",
            line["ref_text"],
            "-o",
            self.folder / "a.wav",
        )
        self.check(
            OK,
            "clone",
            *model,
            *ref,
            "--text-file",
            self.folder / "text.txt",
            "--ref-text-file",
            self.folder / "ref.txt",
            "-o",
            self.folder / "c.wav",
        )
        self.check(OK, "clone", *model, "--batch", self.folder / "items.jsonl", "--out-dir", self.folder)
        whole = read_wav(self.folder / "a.wav")
        self.assertEqual(read_wav(self.folder / "c.wav"), whole)
        self.assertEqual(read_wav(self.folder / "b.wav"), whole)

    def test_bad_voices(self):
        say = ("--text", "Hello.", "--no-post", "--max-frames", "4", "-o", self.folder / "out.wav")
        voice = self.folder / "me.tmbvoice"
        self.check(
            OK,
            "voice",
            "create",
            "--ref",
            QWEN / "references/ref_en.wav",
            "--no-pre",
            "--model",
            QWEN / "sample-c/model",
            "-o",
            voice,
        )
        done = self.check(MODEL, "clone", "--model", QWEN / "sample-d/model", "--voice", voice, *say)
        self.assertIn("make the voice again", done.stderr)
        whole = voice.read_bytes()
        for data in (b"", b"no voice", whole[:-1], whole[:40], whole[:200] + b"\xff" + whole[201:]):
            voice.write_bytes(data)
            done = self.check(INPUT, "clone", "--model", QWEN / "sample-c/model", "--voice", voice, *say)
            self.assertTrue(done.stderr)
        self.assertEqual(self.files(), ["me.tmbvoice"])

    def test_damaged_models(self):
        model = self.folder / "model"
        say = (
            "clone",
            "--engine",
            "qwen3",
            "--model",
            model,
            "--ref",
            QWEN / "references/ref_en.wav",
            "--text",
            "Hello.",
            "--no-pre",
            "--no-post",
            "-o",
            self.folder / "out.wav",
        )
        for name in (
            "config.json",
            "vocab.json",
            "model.safetensors",
            "speech_tokenizer/config.json",
            "speech_tokenizer/model.safetensors",
        ):
            for size in (100,) if SANITIZED else (0, 100):
                shutil.copytree(QWEN / "sample-d/model", model)
                data = (model / name).read_bytes()
                (model / name).write_bytes(data[:size])
                with self.subTest(file=name, size=size):
                    done = self.check(MODEL, *say)
                    self.assertIn(name.split("/")[-1].split(".")[0], done.stderr)
                shutil.rmtree(model)
        self.assertEqual(self.files(), [])

    def test_memory_budget(self):
        say = (
            "--engine",
            "qwen3",
            "--model",
            QWEN / "sample-c/model",
            "--ref",
            QWEN / "references/ref_en.wav",
            "--no-pre",
            "--no-post",
            "-o",
            self.folder / "out.wav",
        )
        done = self.check(FAILED, "clone", *say, "--text", "Hello.", "--memory", "1M")
        self.assertRegex(done.stderr, r"needs [0-9.]+ MiB.*memory budget is 1\.0 MiB")
        done = self.check(
            FAILED, "clone", *say, "--split", "off", "--text", "-", "--memory", "80M", stdin=b"Hello there. " * 20000
        )
        self.assertRegex(
            done.stderr, r"needs [0-9.]+ [MG]iB beside [0-9.]+ MiB of models, the memory budget is 80\.0 MiB"
        )
        self.check(OK, "clone", *say, "--text", "Hello.", "--memory", "80M", "--max-frames", "4")

    def test_auto_is_this_engine_where_its_model_is_installed(self):
        commit = "0123456789abcdef" * 2 + "01234567"
        hub = self.folder / "hf/hub/models--Qwen--Qwen3-TTS-12Hz-0.6B-Base"
        (hub / "refs").mkdir(parents=True)
        (hub / "refs/main").write_text(commit)
        (hub / "snapshots").mkdir()
        (hub / "snapshots" / commit).symlink_to(QWEN / "sample-d/model")
        env = {"HF_HOME": str(self.folder / "hf"), "HF_HUB_CACHE": str(self.folder / "hf/hub")}
        say = (
            "clone",
            "--ref",
            QWEN / "references/ref_es.wav",
            "--text",
            "Hello.",
            "--no-pre",
            "--no-post",
            "--max-frames",
            "4",
            "--json",
            "-o",
            self.folder / "out.wav",
        )
        result, = json_lines(self.check(OK, *say, env=env).stdout)
        self.assertEqual((result["engine"], result["is_clone"]), ("qwen3", True))
        result, = json_lines(self.check(OK, *say, "--model", QWEN / "sample-c/model").stdout)
        self.assertEqual((result["engine"], result["is_clone"]), ("qwen3", True))
        done = self.check(MODEL, *say, "--model", self.folder / "absent")
        self.assertIn("absent", done.stderr)

    def test_long_texts_and_pauses(self):
        text = "The first sentence is here. [pause:500ms] The second one follows after it. A third one ends it."
        say = (
            "clone",
            "--model",
            QWEN / "sample-c/model",
            "--ref",
            QWEN / "references/ref_en.wav",
            "--no-pre",
            "--no-post",
            "--seed",
            "4",
            "--text",
            text,
            "-o",
            self.folder / "out.wav",
            "--json",
        )
        (result,) = json_lines(
            self.check(OK, *say, "--split", "30", "--pauses", "--max-frames", "80", "--runaway-guard").stdout
        )
        segments = result["segments"]
        self.assertGreaterEqual(len(segments), 2)
        self.assertEqual(segments[0]["text"], "The first sentence is here.")
        self.assertAlmostEqual(segments[1]["start"] - segments[0]["end"], 0.5, delta=0.002)
        self.assertAlmostEqual(segments[-1]["end"], result["duration"], delta=0.002)
        result, = json_lines(self.check(OK, *say, "--max-frames", "6").stdout)
        self.assertEqual([s["text"] for s in result["segments"]], [text])

    def test_shaping_the_reference(self):
        rate, _, clip = read_wav(QWEN / "references/ref_en.wav")
        second = [0.0] * rate
        pieces = {
            "plain": clip,
            "padded": clip + second,
            "a": second + clip + second[: rate // 2],
            "b": second[: rate // 2] + clip + second,
        }
        say = (
            "clone",
            *self.exact("sample-c"),
            "--text",
            "Hello.",
            "--ref-text",
            "A reference.",
            "--max-frames",
            "8",
            "-o",
            self.folder / "out.wav",
        )
        codes = {}
        for name, options in {
            "plain": (),
            "plain+": ("--ref-silence", "1"),
            "padded": (),
            "a": ("--trim-ref",),
            "b": ("--trim-ref",),
            "a-": (),
        }.items():
            write_wav(self.folder / "ref.wav", pieces[name.strip("+-")], rate)
            self.check(OK, *say, "--ref", self.folder / "ref.wav", *options, "--codes-out", self.folder / "codes.npy")
            codes[name] = read_codes(self.folder / "codes.npy")
        self.assertEqual(codes["plain+"], codes["padded"])
        self.assertNotEqual(codes["plain"], codes["padded"])
        self.assertEqual(codes["a"], codes["b"])
        self.assertNotEqual(codes["a"], codes["a-"])

    @needs_denoiser
    def test_all_five_stages(self):
        out = self.folder / "out.wav"
        say = (
            "clone",
            "--model",
            QWEN / "sample-c/model",
            "--ref",
            QWEN / "references/ref_fr_44k_stereo.wav",
            "--ref-text",
            "Une phrase.",
            "--text",
            "All of it.",
            "--max-frames",
            "20",
            "--seed",
            "5",
        )
        result, = json_lines(self.check(OK, *say, "-o", out, "--json").stdout)
        self.assertEqual((result["sample_rate"], result["seed"], result["engine"]), (48000, 5, "qwen3"))
        self.assertLessEqual(STAGES, set(result["timings"]))
        self.assertTrue(all(result["timings"][stage] > 0 for stage in STAGES - {"queued"}))
        samples = read_wav(out)[2]
        self.assertGreater(len(samples), 2 * 1920 * 2)
        self.assertEqual(len(samples) % 3840, 0)
        streamed = parse_wav(self.check(OK, *say, "-o", "-").stdout)[2]
        self.assertEqual(streamed, samples)


if __name__ == "__main__":
    unittest.main()
