"""speak, and what the commands know of the family: built-in speakers, fine-tuned voices, voices from descriptions."""

import json
import pathlib
import re
import sys
import unittest

from support import (
    GOLDEN,
    INPUT,
    MODEL,
    OK,
    ROOT,
    USAGE,
    Case,
    json_lines,
    needs_denoiser,
    parse_wav,
    read_npy,
    read_wav,
    snr,
)

sys.path.insert(0, str(ROOT / "tests"))
import family_calls  # noqa: E402
import humming_codec  # noqa: E402

from test_clone import QWEN, golden_items, read_codes  # noqa: E402

FAMILY = ("sample-g", "sample-h", "sample-i")
MODELS = {name: str(QWEN / sample / "model") for name, sample in family_calls.SAMPLES.items()}
EXACT = ("--engine", "qwen3", "--precision", "f32", "--greedy", "--no-post", "--encoding", "float", "--json")


def items_of(model, layout):
    """[(case, batch line, codes file, wave file)] of a model's cases in one layout: the default is the whole text."""
    items = []
    for path in sorted((QWEN / model / "cases").glob("*/case.json")):
        case = json.loads(path.read_text())
        if case.get("non_streaming_mode", True) != layout:
            continue
        texts = case["text"] if isinstance(case["text"], list) else [case["text"]]
        for i, text in enumerate(texts):
            line = {"text": text, "custom_id": f"{model}-{path.parent.name}-{i}"}
            for key in ("speaker", "instruct", "language"):
                value = case.get(key)
                value = value[i] if isinstance(value, list) else value
                if value is not None:
                    line[key] = value
            if case["call"] == "voice_design":
                line.setdefault("instruct", "")
            items.append((case, line, path.parent / f"codes_{i}.npy", path.parent / f"wave_{i}.npy"))
    return items


def name_of(sample):
    return {sample: name for name, sample in family_calls.SAMPLES.items()}[sample]


class Family(Case):
    def compare(self, result, golden_codes, golden_wave):
        self.assertNotIn("error", result)
        self.assertEqual(read_codes(result["codes"]), read_codes(golden_codes))
        rate, channels, samples = read_wav(result["audio"])
        expected = read_npy(golden_wave)
        self.assertEqual((rate, channels, len(samples)), (24000, 1, len(expected)))
        self.assertLessEqual(max(abs(a - b) for a, b in zip(samples, expected)), 1e-4)
        self.assertGreaterEqual(snr(expected, samples), 80)

    def speak(self, lines, *options):
        (self.folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = self.check(
            OK,
            "speak",
            *EXACT,
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--codes-out",
            self.folder / "codes",
            *options,
        )
        results = {result["custom_id"]: result for result in json_lines(done.stdout)}
        self.assertEqual(set(results), {line["custom_id"] for line in lines})
        return results, done.stderr

    def test_batches_as_the_official_package(self):
        """Every case of a model together, in both layouts."""
        for model in FAMILY:
            for layout in (True, False):
                items = items_of(model, layout)
                for most in sorted({case["max_new_tokens"] for case, *_ in items}):
                    some = [item for item in items if item[0]["max_new_tokens"] == most]
                    results, _ = self.speak(
                        [line for _, line, _, _ in some],
                        "--model",
                        MODELS[name_of(model)],
                        "--max-frames",
                        most,
                        *(() if layout else ("--streaming-text",)),
                    )
                    for _, line, codes, wave in some:
                        with self.subTest(line["custom_id"]):
                            self.compare(results[line["custom_id"]], codes, wave)

    def test_all_models_in_one_process(self):
        """Clones beside speakers and descriptions: who speaks is found by what is asked, and each sounds as alone."""
        items = [item for model in FAMILY for item in items_of(model, True) if item[0]["max_new_tokens"] == 18]
        clones = [
            (case, line, codes, wave)
            for case, line, codes, wave in golden_items("sample-c")
            if case["max_new_tokens"] == golden_items("sample-c")[0][0]["max_new_tokens"]
        ]
        lines = [
            {**line, "max_frames": case["max_new_tokens"], "model": name_of(line["custom_id"][:8])}
            for case, line, _, _ in items
        ]
        lines += [
            {**line, "max_frames": case["max_new_tokens"], "run_pre_processing": False} for case, line, _, _ in clones
        ]
        lines = lines[::2] + lines[1::2]
        models = [option for name, folder in MODELS.items() for option in ("--model", f"{name}={folder}")]
        results, _ = self.speak(lines, *models)
        for _, line, codes, wave in items + clones:
            with self.subTest(line["custom_id"]):
                self.compare(results[line["custom_id"]], codes, wave)
        self.assertEqual({r["model"] for r in results.values()}, set(MODELS))

    def test_one_text(self):
        for model, case in (
            ("sample-g", "instruct"),
            ("sample-g", "dialect_auto_streaming"),
            ("sample-h", "plain"),
            ("sample-i", "instruct_zh"),
        ):
            ((golden, line, codes, wave),) = [
                item
                for layout in (True, False)
                for item in items_of(model, layout)
                if item[1]["custom_id"] == f"{model}-{case}-0"
            ]
            options = [
                option
                for key in ("speaker", "instruct", "language", "text")
                if key in line
                for option in (f"--{key}", line[key])
            ]
            if golden.get("non_streaming_mode") is False:
                options.append("--streaming-text")
            out = self.folder / "out.wav"
            done = self.check(
                OK,
                "speak",
                *EXACT,
                "--model",
                MODELS[name_of(model)],
                "--max-frames",
                golden["max_new_tokens"],
                *options,
                "-o",
                out,
                "--codes-out",
                self.folder / "codes.npy",
            )
            (result,) = json_lines(done.stdout)
            self.compare(result, codes, wave)
            self.assertFalse(result["is_clone"])
            self.assertNotIn("no clone", done.stderr)

    def test_quantized_models_speak(self):
        for model in FAMILY:
            for precision in ("int8", "int4", "bf16"):
                for options in ((), ("--instruct", "Calm.")):
                    out = self.folder / "out.wav"
                    who = (
                        () if model == "sample-i" else ("--speaker", "mira" if model == "sample-g" else "speaker_test")
                    )
                    options = options or (("--instruct", "") if model == "sample-i" else ())
                    self.check(
                        OK,
                        "speak",
                        "--model",
                        MODELS[name_of(model)],
                        "--precision",
                        precision,
                        *who,
                        *options,
                        "--text",
                        "Hello there.",
                        "--max-frames",
                        12,
                        "--no-post",
                        "-o",
                        out,
                    )
                    self.assertGreaterEqual(len(read_wav(out)[2]), 1920)

    @needs_denoiser
    def test_streams_and_cleans(self):
        base = (
            "speak",
            "--model",
            MODELS["speakers"],
            "--speaker",
            "old_tom",
            "--text",
            "Hello there.",
            "--seed",
            "3",
            "--max-frames",
            "12",
        )
        self.check(OK, *base, "-o", self.folder / "a.wav")
        done = self.check(OK, *base, "-o", "-")
        self.assertEqual(parse_wav(done.stdout)[2], read_wav(self.folder / "a.wav")[2])
        self.assertEqual(read_wav(self.folder / "a.wav")[0], 48000)

    def test_a_dropped_instruction_is_said(self):
        done = self.check(
            OK,
            "speak",
            *EXACT,
            "--model",
            MODELS["fine"],
            "--text",
            "Hi.",
            "--instruct",
            "Whisper.",
            "-o",
            self.folder / "a.wav",
            "--max-frames",
            6,
        )
        (result,) = json_lines(done.stdout)
        self.assertIn("does not follow instructions", result["warnings"][0])
        self.assertEqual(done.stderr.count("does not follow instructions"), 1)

    def test_usage(self):
        out = self.folder / "a.wav"
        for options, words in (
            (("--text", "Hi."), "where to?"),
            (("-o", out), "what to say?"),
            (("--text", "Hi.", "-o", out, "--model", "=x"), "NAME=MODEL"),
            (("--text", "Hi.", "-o", out, "--ref", "x"), "unknown option --ref"),
            (("--text", "Hi.", "-o", out, "--streaming-text", "--non-streaming-text"), "exclude"),
        ):
            self.assertIn(words, self.check(USAGE, "speak", *options).stderr)
        done = self.check(
            MODEL,
            "speak",
            "--text",
            "Hi.",
            "-o",
            out,
            env={"HF_HOME": str(self.folder), "HF_HUB_CACHE": str(self.folder)},
        )
        self.assertIn("timbre pull 0.6b-customvoice", done.stderr)
        done = self.check(USAGE, "speak", "--text", "Hi.", "--speaker", "x", "-o", out, "--engine", "preview")
        self.assertIn("no voices of its own", done.stderr)


class Refusals(Case):
    def test_the_list_is_complete(self):
        family_calls.check_complete()

    def options_of(self, call):
        names = {"max_new_tokens": "max-frames", "ref_audio": "ref"}
        options = ["clone" if "ref_audio" in call.fields else "speak"]
        for key, value in call.fields.items():
            if value is True:
                options.append(f"--{key.replace('_', '-')}")
            elif value is not None:
                options += [f"--{names.get(key, key)}", str(value)]
        return options + ([] if "max_new_tokens" in call.fields else ["--max-frames", "6"])

    def test_alone(self):
        models = family_calls.make_models(self.folder)
        for call in family_calls.CALLS:
            with self.subTest(call.what):
                out = self.folder / "out.wav"
                out.unlink(missing_ok=True)
                done = self.check_any(
                    *self.options_of(call), "--model", models[call.model], "--no-post", "--json", "-o", out
                )
                (result,) = json_lines(done.stdout)
                if call.refusal is None:
                    self.assertEqual(done.returncode, OK, done.stderr)
                    self.assertGreater(len(read_wav(out)[2]), 0)
                else:
                    self.assertIn(done.returncode, (USAGE, INPUT, MODEL))
                    self.assertRegex(result["error"]["message"], call.refusal)
                    self.assertFalse(out.exists())

    def check_any(self, *arguments):
        from support import run

        return run(*arguments)

    def test_in_a_batch_that_item_fails_alone(self):
        models = family_calls.make_models(self.folder)
        for broken in family_calls.BROKEN:
            del models[broken]
        lines, expected = [], {}
        for i, call in enumerate(call for call in family_calls.CALLS if call.model in models):
            fields = dict(call.fields)
            if (
                call.kind == "custom-voice"
                and "speaker" not in fields
                and "instruct" not in fields
                and call.refusal is None
            ):
                fields["instruct"] = ""
            lines.append(
                {"max_new_tokens": 6, "model": call.model, "custom_id": str(i), "run_pre_processing": False, **fields}
            )
            expected[str(i)] = call.refusal
        (self.folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        options = [option for name, folder in models.items() for option in ("--model", f"{name}={folder}")]
        done = self.check_any(
            "speak",
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--no-post",
            "--precision",
            "int8",
            *options,
        )
        results = {r["custom_id"]: r for r in json_lines(done.stdout)}
        self.assertEqual(set(results), set(expected))
        for name, refusal in expected.items():
            with self.subTest(lines[int(name)]):
                error = results[name].get("error", {}).get("message")
                if refusal is None:
                    self.assertIsNone(error)
                else:
                    self.assertRegex(error or "", refusal)

    def test_an_adapter_alone(self):
        adapter = self.folder / "adapter"
        adapter.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors", "speaker_embedding.safetensors"):
            (adapter / name).write_text("{}")
        for command in (
            ("speak", "--text", "Hi.", "-o", self.folder / "a.wav", "--model", adapter),
            ("models", adapter),
            (
                "clone",
                "--ref",
                family_calls.REFERENCE,
                "--text",
                "Hi.",
                "-o",
                self.folder / "a.wav",
                "--model",
                adapter,
            ),
        ):
            done = self.check(MODEL, *command)
            self.assertIn("LoRA adapter", done.stderr)
            self.assertIn("merge it", done.stderr)


class FineTuned(Case):
    NAME = "Änne Weiß II 安妮"

    def setUp(self):
        super().setUp()

        def rename(config):
            talker = config["talker_config"]
            talker["spk_id"] = {self.NAME: talker["spk_id"]["speaker_test"]}
            talker["spk_is_dialect"] = {self.NAME: False}

        self.model = family_calls.copy_model("sample-h", self.folder / "Meine Stimme – Ü", rename)

    def test_under_its_own_name(self):
        golden = QWEN / "sample-h/cases/plain"
        case = json.loads((golden / "case.json").read_text())
        for name in (self.NAME, self.NAME.upper().replace("SS", "ß"), "A\u0308nne Weiß II 安妮", None):
            out, codes = self.folder / "out.wav", self.folder / "codes.npy"
            done = self.check(
                OK,
                "speak",
                *EXACT,
                "--model",
                self.model,
                *(() if name is None else ("--speaker", name)),
                "--text",
                case["text"],
                "--max-frames",
                case["max_new_tokens"],
                "-o",
                out,
                "--codes-out",
                codes,
            )
            (result,) = json_lines(done.stdout)
            self.assertEqual(read_codes(codes), read_codes(golden / "codes_0.npy"))
            self.assertEqual(result["model"], "Meine Stimme – Ü")
        done = self.check(
            USAGE, "speak", "--model", self.model, "--speaker", "Anne", "--text", "Hi.", "-o", self.folder / "x.wav"
        )
        self.assertIn(self.NAME, done.stderr)

    def test_is_described(self):
        shown = self.check(OK, "models", self.model).stdout.decode()
        for words in ("custom_voice", "0.6B", self.NAME, "follows no instructions", "german", "int8"):
            self.assertIn(words, shown)
        (described,) = json_lines(self.check(OK, "models", "--json", self.model).stdout)
        self.assertEqual(described["speakers"], [{"name": self.NAME, "dialect": None}])
        # A processor that multiplies tiles pads such small matrices to them: these are large enough to gain.
        (larger,) = json_lines(self.check(OK, "models", "--json", QWEN / "sample-c/model").stdout)
        self.assertGreater(larger["memory"]["f32"], larger["memory"]["int4"])
        (described,) = json_lines(self.check(OK, "models", "--json", QWEN / "sample-g/model").stdout)
        self.assertEqual([s["dialect"] for s in described["speakers"]], [None, None, "harbour_dialect"])
        self.assertIn("harbour_dialect", described["dialects"])
        self.assertEqual(
            (described["kind"], described["follows_instruct"], described["clones"]), ("custom_voice", True, False)
        )
        done = self.check(MODEL, "models", self.folder / "nothing")
        self.assertIn("nothing", done.stderr)

    @needs_denoiser
    def test_doctor_describes_it(self):
        (report,) = json_lines(self.check(OK, "doctor", "--json", "--model", self.model).stdout)
        self.assertEqual(report["models"][0]["speakers"][0]["name"], self.NAME)
        (check,) = [check for check in report["checks"] if check["name"] == "model"]
        for words in ("custom_voice", self.NAME, "languages", "int4"):
            self.assertIn(words, check["detail"])
        self.check(MODEL, "doctor", "--model", self.folder / "nothing")


@needs_denoiser
class Designed(Case):
    """What random weights say is never taken for speech: then no voice is made of it, as of any such recording. With a
    codec that hums it is."""

    SAID = "What the designed voice says at first."

    def test_as_the_steps_by_hand(self):
        """One command makes the clip and the voice that three make, and what is cloned with it is the same, all to the
        bit; with room for one model at a time as well."""
        model = humming_codec.humming(MODELS["design"], self.folder / "hums")
        names = ("v.tmbvoice", "clip.wav", "hand.wav", "hand.tmbvoice", "small.tmbvoice")
        voice, clip, by_hand, by_hand_voice, small = (self.folder / name for name in names)
        both = ("--model", model, "--model", MODELS["base"])
        said = ("--instruct", "A calm voice.", "--text", self.SAID, "--seed", 5, "--max-frames", 60)
        done = self.check(OK, "voice", "design", *said, *both, "-o", voice, "--clip-out", clip, "--json")
        (result,) = json_lines(done.stdout)
        self.assertEqual((result["voice"], result["clip"], result["seed"]), (str(voice), str(clip), 5))
        self.assertEqual(result["reference"]["verdict"], "good")
        self.check(OK, "speak", "--model", model, *said, "-o", by_hand)
        self.assertEqual(by_hand.read_bytes(), clip.read_bytes())
        create = ("voice", "create", by_hand, "--ref-text", self.SAID, "--model", MODELS["base"], "-o", by_hand_voice)
        self.check(OK, *create)
        self.assertEqual(by_hand_voice.read_bytes(), voice.read_bytes())
        self.check(OK, "voice", "design", *said, *both, "-o", small, "--memory", "51M")
        self.assertEqual(small.read_bytes(), voice.read_bytes())
        spoken = {}
        for name, options in (("design", ("--voice", voice)), ("steps", ("--voice", by_hand_voice)),
                              ("recording", ("--ref", by_hand, "--ref-text", self.SAID))):
            out = self.folder / f"{name}.wav"
            self.check(OK, "clone", *options, "--model", MODELS["base"], "--text", "And ever after.", "--seed", 7,
                       "--max-frames", 12, "-o", out)
            spoken[name] = out.read_bytes()
        self.assertEqual(spoken["design"], spoken["steps"])
        self.assertEqual(spoken["design"], spoken["recording"])
        # Another seed is another voice.
        other = self.folder / "other.tmbvoice"
        self.check(OK, "voice", "design", *said[:5], 6, *said[6:], *both, "-o", other)
        self.assertNotEqual(other.read_bytes(), voice.read_bytes())

    def test_what_is_no_speech_makes_no_voice(self):
        voice, clip, by_hand = (self.folder / name for name in ("v.tmbvoice", "clip.wav", "hand.wav"))
        both = ("--model", MODELS["design"], "--model", MODELS["base"])
        said = ("--instruct", "A calm voice.", "--text", self.SAID, "--seed", 5, "--max-frames", 40)
        done = self.check(INPUT, "voice", "design", *said, *both, "-o", voice, "--clip-out", clip, "--json")
        (result,) = json_lines(done.stdout)
        self.check(OK, "speak", "--model", MODELS["design"], *said, "-o", by_hand)
        self.assertEqual(read_wav(by_hand), read_wav(clip))
        create = ("voice", "create", by_hand, "--ref-text", self.SAID, "--model", MODELS["base"], "-o", voice, "--json")
        (refused,) = json_lines(self.check(INPUT, *create).stdout)
        self.assertEqual(result["error"], refused["error"])
        self.assertFalse(voice.exists())
        # Memory for one model at a time makes the same clip.
        small = self.folder / "small.wav"
        self.check(INPUT, "voice", "design", *said, *both, "-o", voice, "--clip-out", small, "--memory", "43M")
        self.assertEqual(read_wav(small), read_wav(clip))

    def test_usage(self):
        base = ("voice", "design")
        voice = self.folder / "v.tmbvoice"
        for options, words in (
            (("--text", "Hi.", "-o", voice), "--instruct"),
            (("--instruct", "x", "-o", voice), "--text"),
            (("--instruct", "x", "--text", "Hi."), "where to?"),
            (("--instruct", "x", "--text", "Hi.", "-o", "v.wav"), "tmbvoice"),
            (("--instruct", "x", "--text", "Hi.", "-o", voice, "--name", "me"), "exclude"),
            (("--instruct", "x", "--text", "Hi.", "-o", voice, "--clip-out", "clip"), "no audio format"),
        ):
            self.assertIn(words, self.check(USAGE, *base, *options).stderr)
        for model, words in (("design", "Base model"), ("base", "VoiceDesign model")):
            done = self.check(MODEL, *base, "--instruct", "x", "--text", "Hi.", "-o", voice, "--model", MODELS[model])
            self.assertIn(words, done.stderr)
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    unittest.main()
