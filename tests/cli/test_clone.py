"""clone, voice, tokenize, models, pull and doctor."""
import ast
import json
import pathlib
import struct
import unittest

from support import (FAILED, GOLDEN, INPUT, MODEL, OK, USAGE, Case, json_lines, needs_denoiser, needs_espeak, parse_wav, read_wav,
                     run, tone, write_wav)

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
        write_wav(self.ref, tone(2))

    def test_one(self):
        out = self.folder / "out.wav"
        done = self.check(OK, "clone", "--ref", self.ref, "--text", "Hello there.", "-o", out, "--engine", "preview", "--json")
        result, = json_lines(done.stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("preview", False, 48000))
        self.assertEqual(result["finish_reason"], "stop")
        self.assertLessEqual(STAGES, set(result["timings"]))
        rate, channels, samples = read_wav(out)
        self.assertEqual((rate, channels), (48000, 1))
        self.assertAlmostEqual(len(samples) / rate, result["duration"], delta=1e-4)
        self.assertGreater(result["duration"], 0.3)
        self.assertGreater(max(map(abs, samples)), 0.01)
        self.assertIn("no clone", done.stderr)
        self.assertIn("timbre pull qwen3-tts-0.6b", done.stderr)
        self.assertEqual(self.files(), ["out.wav", "ref.wav"])

    def test_the_same_seed_is_the_same_sound(self):
        for name in ("a", "b"):
            self.check(OK, "clone", "--ref", self.ref, "--text", "Again.", "-o", self.folder / f"{name}.wav", "--engine", "preview",
                       "--seed", "7")
        self.assertEqual((self.folder / "a.wav").read_bytes(), (self.folder / "b.wav").read_bytes())

    def test_streams_to_standard_output(self):
        self.check(OK, "clone", "--ref", self.ref, "--text", "Pipes.", "-o", self.folder / "a.wav", "--engine", "preview", "--seed", "1")
        done = self.check(OK, "clone", "--ref", self.ref, "--text", "Pipes.", "-o", "-", "--engine", "preview", "--seed", "1")
        self.assertEqual(parse_wav(done.stdout)[2], read_wav(self.folder / "a.wav")[2])

    def test_text_from_a_file_and_from_standard_input(self):
        (self.folder / "text").write_text("From a file.\n")
        base = ("clone", "--ref", self.ref, "--engine", "preview", "--seed", "1", "-o")
        self.check(OK, *base, self.folder / "a.wav", "--text", "From a file.")
        self.check(OK, *base, self.folder / "b.wav", "--text-file", self.folder / "text")
        self.check(OK, *base, self.folder / "c.wav", "--text", "-", stdin=b"From a file.\n")
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "b.wav"))
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "c.wav"))

    def test_without_post_processing_the_engine_rate_remains(self):
        done = self.check(OK, "clone", "--ref", self.ref, "--text", "Plain.", "-o", self.folder / "a.wav", "--engine", "preview",
                          "--no-post", "--no-pre", "--json")
        result, = json_lines(done.stdout)
        self.assertEqual(read_wav(self.folder / "a.wav")[0], result["sample_rate"])
        self.assertEqual(result["timings"]["enhance_speech"], 0)
        self.assertEqual(result["timings"]["enhance_reference"], 0)

    def test_reference_out(self):
        self.check(OK, "clone", "--ref", self.ref, "--text", "Clean.", "-o", self.folder / "a.wav", "--engine", "preview",
                   "--reference-out", self.folder / "clean.wav")
        self.check(OK, "enhance", self.ref, "-o", self.folder / "expected.wav")
        self.assertEqual((read_wav(self.folder / "clean.wav")[0], len(read_wav(self.folder / "clean.wav")[2])), (48000, 96000))

    def test_bad_references(self):
        (self.folder / "bad.wav").write_bytes(b"no audio")
        for ref in ("bad.wav", "absent.wav"):
            done = self.check(INPUT, "clone", "--ref", self.folder / ref, "--text", "x", "-o", self.folder / "out.wav", "--engine",
                              "preview", "--json")
            result, = json_lines(done.stdout)
            self.assertIn(ref, result["error"]["message"])
        self.assertEqual(self.files(), ["bad.wav", "ref.wav"])

    def test_bad_texts(self):
        for text in ("", "   ", "\n"):
            done = run("clone", "--ref", self.ref, "--text", text, "-o", self.folder / "out.wav", "--engine", "preview")
            self.assertNotEqual(done.returncode, OK)
        (self.folder / "zero").write_bytes(b"a\0b")
        self.check(INPUT, "clone", "--ref", self.ref, "--text-file", self.folder / "zero", "-o", self.folder / "out.wav")
        self.assertEqual(self.files(), ["ref.wav", "zero"])

    def test_batch_of_32_with_one_corrupt_reference(self):
        (self.folder / "corrupt.wav").write_bytes(self.ref.read_bytes()[:40] + b"\xff\xff\xff\x7f")
        with open(self.folder / "items.jsonl", "w") as file:
            for i in range(32):
                ref = "corrupt.wav" if i == 17 else "ref.wav"
                print(json.dumps({"text": f"Number {i}.", "ref_audio": ref, "custom_id": f"item-{i}"}), file=file)
        done = self.check(INPUT, "clone", "--batch", self.folder / "items.jsonl", "--out-dir", self.folder / "out", "--engine", "preview",
                          cwd="/")
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
            '{"text": "a", "ref_audio": "ref.wav", "response_format": "flac", "seed": 3, "x_vector_only": true, "language": null}',
            '{"text": "a", "ref_audio": "-"}',
            '{"text": "good", "ref_audio": "%s", "custom_id": "../up"}' % self.ref,
        ]
        (self.folder / "items.jsonl").write_text("\n".join(lines))
        done = self.check(INPUT, "clone", "--batch", self.folder / "items.jsonl", "--out-dir", self.folder / "out", "--engine", "preview")
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

    def test_batch_takes_defaults_from_options_and_reads_standard_input(self):
        items = '{"text": "one"}\n{"text": "two", "run_post_processing": false}\n'
        done = self.check(OK, "clone", "--batch", "-", "--out-dir", self.folder / "out", "--ref", self.ref, "--engine", "preview", "--seed",
                          "9", "--format", "flac", stdin=items.encode())
        results = json_lines(done.stdout)
        self.assertEqual({r["seed"] for r in results}, {9})
        self.assertEqual([f for f in self.files() if f.startswith("out/")], ["out/0001.flac", "out/0002.flac"])

    def test_empty_batch(self):
        self.check(INPUT, "clone", "--batch", "-", "--out-dir", self.folder / "out", stdin=b"\n\n")
        self.check(INPUT, "clone", "--batch", self.folder / "absent", "--out-dir", self.folder / "out")


class Engines(Case):
    def test_unknown_engine_and_precision(self):
        write_wav(self.folder / "ref.wav", tone(1))
        base = ("clone", "--ref", self.folder / "ref.wav", "--text", "x", "-o", self.folder / "out.wav")
        self.assertIn("opera", self.check(USAGE, *base, "--engine", "opera").stderr)
        self.assertIn("int3", self.check(USAGE, *base, "--precision", "int3").stderr)

    @needs_denoiser
    def test_missing_model_says_how_to_get_it(self):
        write_wav(self.folder / "ref.wav", tone(1))
        env = {"HF_HOME": str(self.folder / "hf"), "HF_HUB_CACHE": str(self.folder / "hf/hub"), "HOME": str(self.folder)}
        done = self.check(MODEL, "clone", "--ref", self.folder / "ref.wav", "--text", "x", "-o", self.folder / "out.wav", "--engine",
                          "qwen3", env=env)
        self.assertIn("timbre pull", done.stderr)
        done = self.check(MODEL, "clone", "--ref", self.folder / "ref.wav", "--text", "x", "-o", self.folder / "out.wav", "--engine",
                          "qwen3", "--model", self.folder / "nowhere", env=env)
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
        for name in ("version", "cpu", "memory budget", "denoiser", "resampler soxr", "format wav", "format flac", "format opus"):
            self.assertTrue(checks[name]["ok"], checks[name])
        self.assertIn("ok    denoiser", self.check(OK, "doctor").stdout.decode())
        broken, = json_lines(self.check(MODEL, "doctor", "--json", "--denoiser", "/absent").stdout)
        self.assertFalse(broken["ok"])


def has_qwen3():
    """Whether the library has the engine: one that has not says so."""
    done = run("clone", "--engine", "qwen3", "--model", QWEN / "sample-c/model", "--ref", QWEN / "references/ref_en.wav", "--text",
               "x", "--no-pre", "--max-frames", "4", "-o", "/dev/null")
    return b"this version of timbre cannot speak" not in done.stderr


@unittest.skipUnless(has_qwen3(), "the library has no Qwen3-TTS engine")
class Qwen(Case):
    """The whole command over checkpoints with random weights, against what the official package makes of them."""

    def golden(self, name, *options):
        case = json.loads((QWEN / f"sample-c/cases/{name}/case.json").read_text())
        out = self.folder / "out.wav"
        arguments = ["clone", "--engine", "qwen3", "--model", QWEN / "sample-c/model", "--precision", "f32", "--greedy",
                     "--repetition-penalty", case["repetition_penalty"], "--max-frames", case["max_new_tokens"], "--no-pre",
                     "--no-post", "--no-runaway-guard", "--ref", QWEN / "references" / case["ref_audio"][0], "--text", case["text"],
                     "--language", case["language"], "--codes-out", self.folder / "codes.npy", "-o", out, "--encoding",
                     "float", "--json", *options]
        if case["ref_text"]:
            arguments += ["--ref-text", case["ref_text"]]
        if case["x_vector_only"]:
            arguments += ["--x-vector-only"]
        if case["non_streaming_mode"]:
            arguments += ["--non-streaming-text"]
        result, = json_lines(self.check(OK, *arguments).stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("qwen3", True, 24000))
        shape, codes = read_codes(self.folder / "codes.npy")
        self.assertEqual((shape, codes), read_codes(QWEN / f"sample-c/cases/{name}/codes_0.npy"))
        self.assertEqual(len(read_wav(out)[2]), shape[0] * 1920)

    def test_codes_of_the_official_package(self):
        for name in ("icl_en", "icl_nonstreaming", "xvec_auto"):
            with self.subTest(case=name):
                self.golden(name)

    def test_tokens_of_the_official_package(self):
        cases = json.loads((QWEN / "sample-c/tokenizer.json").read_text())
        pairs = [(c["text"], c["ids"]) if isinstance(c, dict) else tuple(c) for c in cases]
        single = [(t, i) for t, i in pairs if "\n" not in t and t]
        done = self.check(OK, "tokenize", "--model", QWEN / "sample-c/model", "--lines",
                          stdin="".join(t + "\n" for t, _ in single).encode())
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], [i for _, i in single])
        for text, ids in pairs[:5]:
            done = self.check(OK, "tokenize", "--model", QWEN / "sample-c/model", stdin=text.encode())
            self.assertEqual(json.loads(done.stdout), ids)

    @needs_denoiser
    def test_saved_voice_speaks_as_its_recording(self):
        model = ("--engine", "qwen3", "--model", QWEN / "sample-c/model", "--precision", "f32")
        ref = ("--ref", QWEN / "references/ref_en.wav", "--ref-text", "A short reference sentence.")
        say = ("--text", "Good morning.", "--greedy", "--max-frames", "16", "--no-post")
        voice = self.folder / "me.voice"
        self.check(OK, "voice", "create", *model, *ref, "-o", voice)
        self.check(OK, "clone", *model, *ref, *say, "-o", self.folder / "a.wav")
        self.check(OK, "clone", *model, "--voice", voice, *say, "-o", self.folder / "b.wav")
        self.assertEqual(read_wav(self.folder / "a.wav"), read_wav(self.folder / "b.wav"))


if __name__ == "__main__":
    unittest.main()
