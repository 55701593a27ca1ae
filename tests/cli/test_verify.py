"""verify: a sound checkpoint passes, and every kind of damage is named."""
import contextlib
import copy
import json
import os
import shutil
import sys
import tempfile
import unittest

import released_config
import released_tensors
from support import FAILED, GOLDEN, MODEL, OK, ROOT, TIMBRE, USAGE, Case, environment, json_lines, needs_denoiser

SAMPLE = GOLDEN / "qwen/sample-c/model"
REFERENCE = GOLDEN / "qwen/references/ref_en_short.wav"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:180b\nsize 1829344272\n"


def read_header(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), data[8 + length:]


def write_header(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def change_tensor(path, name, change):
    header, data = read_header(path)
    change(header, name)
    write_header(path, header, data)


def rename(header, name):
    header[name + ".other"] = header.pop(name)


def reshape(header, name):
    header[name]["shape"] = [header[name]["shape"][1], header[name]["shape"][0]]


def retype(header, name):
    header[name]["dtype"] = "I32" if header[name]["dtype"] == "F32" else "I16"


def overlap(header, name):
    begin, end = header[name]["data_offsets"]
    header[name]["data_offsets"] = [begin - 4, end - 4]


def put_not_a_number(path, name):
    header, data = read_header(path)
    begin, end = header[name]["data_offsets"]
    at = begin + (end - begin) // 8 * 4
    write_header(path, header, data[:at] + b"\xff\xff\xff\xff" + data[at + 4:])


def set_value(path, keys, value):
    root = json.loads(path.read_text())
    place = root
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(root))


def swap_words(path):
    words = json.loads(path.read_text())
    words["Good"], words["Hello"] = words["Hello"], words["Good"]
    path.write_text(json.dumps(words))


def drop_merges(path):
    lines = path.read_text().splitlines(True)
    path.write_text("".join(lines[:2000]))


def drop_added_token(path):
    root = json.loads(path.read_text())
    del root["added_tokens_decoder"]["151644"]
    path.write_text(json.dumps(root))


WEIGHTS, CODEC = "model.safetensors", "speech_tokenizer/model.safetensors"
DAMAGE = [
    ("a missing file", lambda m: (m / "merges.txt").unlink(), ["merges.txt", "is missing"]),
    ("an empty file", lambda m: (m / "config.json").write_bytes(b""), ["config.json", "is empty"]),
    ("a Git LFS pointer", lambda m: (m / WEIGHTS).write_text(POINTER), [WEIGHTS, "Git LFS pointer"]),
    (
        "a broken link",
        lambda m: ((m / CODEC).unlink(), (m / CODEC).symlink_to("../../blobs/gone")),
        [CODEC, "is a link to a file that is not there"],
    ),
    (
        "a cut file",
        lambda m: os.truncate(m / WEIGHTS, (m / WEIGHTS).stat().st_size - 1000),
        [WEIGHTS, "is the download complete?"],
    ),
    (
        "bytes behind the end",
        lambda m: (m / CODEC).write_bytes((m / CODEC).read_bytes() + bytes(8)),
        [CODEC, "speech_tokenizer"],
    ),
    (
        "a header that is none",
        lambda m: (m / WEIGHTS).write_bytes(b"\xff" * 8 + (m / WEIGHTS).read_bytes()[8:]),
        [WEIGHTS],
    ),
    (
        "a renamed tensor",
        lambda m: change_tensor(m / WEIGHTS, "talker.model.layers.1.mlp.up_proj.weight", rename),
        ["language model", "talker.model.layers.1.mlp.up_proj.weight", "is missing"],
    ),
    (
        "another shape",
        lambda m: change_tensor(m / WEIGHTS, "talker.model.layers.1.mlp.up_proj.weight", reshape),
        ["language model", "talker.model.layers.1.mlp.up_proj.weight", "shape"],
    ),
    (
        "another type",
        lambda m: change_tensor(m / CODEC, "decoder.decoder.0.conv.weight", retype),
        ["codec decoder", "decoder.decoder.0.conv.weight"],
    ),
    (
        "tensors that overlap",
        lambda m: change_tensor(m / WEIGHTS, "talker.model.layers.1.mlp.up_proj.weight", overlap),
        [WEIGHTS, "talker.model.layers.1."],
    ),
    (
        "a missing speaker encoder",
        lambda m: change_tensor(m / WEIGHTS, "speaker_encoder.fc.weight", rename),
        ["speaker encoder", "speaker_encoder.fc.weight"],
    ),
    (
        "a missing codec encoder",
        lambda m: change_tensor(m / CODEC, "encoder.downsample.conv.weight", rename),
        ["codec encoder", "encoder.downsample.conv.weight"],
    ),
    (
        "NaN in the talker",
        lambda m: put_not_a_number(m / WEIGHTS, "talker.model.text_embedding.weight"),
        [WEIGHTS, "talker.model.text_embedding.weight", "NaN"],
    ),
    (
        "NaN in the codec",
        lambda m: put_not_a_number(m / CODEC, "encoder.downsample.conv.weight"),
        [CODEC, "encoder.downsample.conv.weight", "NaN"],
    ),
    ("two words changed places", lambda m: swap_words(m / "vocab.json"), ["tokenizer", "Good morning"]),
    ("merges that were cut", lambda m: drop_merges(m / "merges.txt"), ["tokenizer"]),
    ("an added token gone", lambda m: drop_added_token(m / "tokenizer_config.json"), ["tokenizer", "<|im_start|>"]),
    (
        "a value out of its bounds",
        lambda m: set_value(m / "generation_config.json", ["temperature"], -1),
        ["configuration", "temperature"],
    ),
    (
        "values that contradict",
        lambda m: set_value(m / "speech_tokenizer/config.json", ["decoder_config", "num_quantizers"], 7),
        ["configuration", "num_quantizers"],
    ),
    (
        "JSON that is none",
        lambda m: (m / "speech_tokenizer/config.json").write_text("{\"a\": "),
        ["configuration", "speech_tokenizer/config.json"],
    ),
]


class Verify(Case):
    def verify(self, status, *arguments, **options):
        result, = json_lines(self.check(status, "verify", "--json", *arguments, **options).stdout)
        self.assertEqual(result["ok"], status == OK)
        self.assertEqual(result["faults"], sum(check["verdict"] == "fault" for check in result["checks"]))
        return result

    def test_sound(self):
        result = self.verify(OK, SAMPLE)
        self.assertEqual({check["verdict"] for check in result["checks"]}, {"ok", "note"})
        names = {check["name"] for check in result["checks"]}
        self.assertTrue(
            {
                "release",
                "config.json",
                "configuration",
                "tokenizer",
                "language model",
                "speaker encoder",
                "codec decoder",
                "codec encoder",
            }
            <= names
        )
        text = self.check(OK, "verify", SAMPLE).stdout.decode()
        self.assertRegex(text.splitlines()[-1], r"^\d+ checks: \d+ in order, 1 notes, 0 faults$")
        self.verify(OK, GOLDEN / "qwen/sample-f/model")  # shards

    def test_damage(self):
        model = self.folder / "model"
        for kind, damage, words in DAMAGE:
            shutil.copytree(SAMPLE, model)
            damage(model)
            with self.subTest(kind=kind):
                result = self.verify(MODEL, model)
                faults = [
                    f"{check['name']}: {check['detail']}" for check in result["checks"] if check["verdict"] == "fault"
                ]
                self.assertTrue(any(all(word in fault for word in words) for fault in faults), faults)
            shutil.rmtree(model)

    def test_several_faults_are_all_named(self):
        model = self.folder / "model"
        shutil.copytree(SAMPLE, model)
        for name in ("talker.model.norm.weight", "talker.codec_head.weight", "speaker_encoder.fc.bias"):
            put_not_a_number(model / WEIGHTS, name)
        (model / "merges.txt").unlink()
        text = json.dumps(self.verify(MODEL, model))
        self.assertRegex(self.check(MODEL, "verify", model).stdout.decode().splitlines()[-1], r" [4-9] faults$")
        for name in ("talker.model.norm.weight", "talker.codec_head.weight", "speaker_encoder.fc.bias", "merges.txt"):
            self.assertIn(name, text)

    def test_what_is_not_there(self):
        env = {
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "c"),
            "TIMBRE_SYSTEM_MODELS": str(self.folder / "s"),
        }
        for model in ("0.6b", "whisper", self.folder / "absent"):
            result = self.verify(MODEL, model, env=env)
            self.assertEqual(result["checks"], [])
            self.assertTrue(result["error"]["message"])
        self.verify(MODEL, env=env)
        (self.folder / "empty").mkdir()
        self.assertGreater(self.verify(MODEL, self.folder / "empty", env=env)["faults"], 3)

    def released(self, large=False):
        """The small checkpoint where the released one would lie, with the released configuration."""
        size = "1.7B" if large else "0.6B"
        model = self.folder / f"hub/models--Qwen--Qwen3-TTS-12Hz-{size}-Base/snapshots/{'0' * 40}"
        shutil.copytree(SAMPLE, model)
        (model / "config.json").write_text(json.dumps(released_config.main_config(large)))
        (model / "generation_config.json").write_text(json.dumps(released_config.generation_config()))
        (model / "speech_tokenizer/config.json").write_text(json.dumps(released_config.codec_config()))
        return model

    def test_released_values(self):
        for large in (False, True):
            model = self.released(large)
            result = self.verify(MODEL, model)
            values = [check["detail"] for check in result["checks"] if check["detail"].endswith("values as released")]
            self.assertEqual(values, ["53 values as released", "10 values as released", "34 values as released"])
            text = json.dumps(result)
            self.assertIn("3857413744" if large else "1829344272", text)
            self.assertIn("682293092", text)  # the small file has another size
            self.assertIn("has 159 tensors, the released file has " + ("480" if large else "478"), text)
        self.assertEqual(len(released_tensors.language_model() | released_tensors.speaker_encoder()), 478)
        self.assertEqual(len(released_tensors.language_model(True) | released_tensors.speaker_encoder(True)), 480)
        self.assertEqual(len(released_tensors.codec_encoder() | released_tensors.codec_decoder()), 496)
        changes = [
            ("config.json", ["talker_config", "rope_theta"], 10000),
            ("config.json", ["talker_config", "codec_language_id", "german"], 2050),
            ("config.json", ["speaker_encoder_config", "enc_dim"], 512),
            ("generation_config.json", ["temperature"], 0.7),
            ("generation_config.json", ["subtalker_top_k"], 20),
            ("speech_tokenizer/config.json", ["decoder_config", "sliding_window"], 250),
            ("speech_tokenizer/config.json", ["decoder_config", "upsample_rates"], [5, 8, 4, 3]),
        ]
        for file, keys, value in changes:
            shutil.rmtree(self.folder / "hub")
            model = self.released()
            set_value(model / file, keys, value)
            with self.subTest(value="/".join(keys)):
                faults = [check["detail"] for check in self.verify(MODEL, model)["checks"] if check["name"] == file]
                self.assertTrue(
                    any(
                        f"{'/'.join(keys)} is {json.dumps(value, separators=(',', ':'))}, the released file says"
                        in fault
                        for fault in faults
                    ),
                    faults,
                )

    def test_released_sums(self):
        """A file of the released size with other bytes."""
        model = self.released()
        (model / "speech_tokenizer/configuration.json").write_bytes(b" " * 76)
        with open(model / WEIGHTS, "r+b") as weights:
            weights.truncate(1829344272)  # sparse: takes no room
        checks = {check["name"]: check for check in self.verify(MODEL, model)["checks"] if check["verdict"] == "fault"}
        self.assertIn(
            "has the released size and another SHA-256", checks["speech_tokenizer/configuration.json"]["detail"]
        )
        self.assertIn("it was cut, or is another file", checks["speech_tokenizer/preprocessor_config.json"]["detail"])

    @needs_denoiser
    def test_denoiser(self):
        result = self.verify(OK, "dfn3")
        self.assertIn("is the official export", result["checks"][0]["detail"])
        archive = self.folder / "other.tar.gz"
        archive.write_bytes(b"\x1f\x8b" + b"no archive" * 100)
        self.assertEqual(self.verify(MODEL, archive)["faults"], 1)
        archive.write_text(POINTER)
        self.assertIn("Git LFS pointer", json.dumps(self.verify(MODEL, archive)))


@contextlib.contextmanager
def patched(path, place, data):
    """`data` at `place` of a large file, for a while."""
    with open(path, "r+b") as file:
        file.seek(place)
        before = file.read(len(data))
        file.seek(place)
        file.write(data)
        file.flush()
        try:
            yield
        finally:
            file.seek(place)
            file.write(before)


@contextlib.contextmanager
def resized(path, more):
    """A large file without its last bytes, or with zeros behind it, for a while."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size + min(more, 0))
        end = file.read()
        file.truncate(size + more)
        try:
            yield
        finally:
            file.truncate(size)
            file.seek(size - len(end))
            file.write(end)


def large_header(path):
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return length, json.loads(file.read(length))


def with_header(path, change, name):
    length, header = large_header(path)
    change(header, name)
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= length
    return patched(path, 8, text.ljust(length))


def rename_shortly(header, name):
    header[name[:-1] + "X"] = header.pop(name)


def with_element(path, name, value):
    length, header = large_header(path)
    begin, end = header[name]["data_offsets"]
    return patched(path, 8 + length + begin + (end - begin) // 8 * 4, value)


UP = "talker.model.layers.1.mlp.up_proj.weight"
LARGE_DAMAGE = [
    ("a cut file", lambda m: resized(m / WEIGHTS, -1000), [WEIGHTS, "is the download complete?"]),
    ("bytes behind the end", lambda m: resized(m / CODEC, 8), [CODEC, "has 682293100 bytes"]),
    ("a renamed tensor", lambda m: with_header(m / WEIGHTS, rename_shortly, UP), ["language model", UP, "is missing"]),
    ("another shape", lambda m: with_header(m / WEIGHTS, reshape, UP), ["language model", UP, "shape"]),
    (
        "another type",
        lambda m: with_header(m / CODEC, retype, "decoder.decoder.0.conv.weight"),
        ["codec decoder", "decoder.decoder.0.conv.weight"],
    ),
    ("tensors that overlap", lambda m: with_header(m / WEIGHTS, overlap, UP), [WEIGHTS, "talker.model.layers.1."]),
    (
        "a missing speaker encoder",
        lambda m: with_header(m / WEIGHTS, rename_shortly, "speaker_encoder.fc.weight"),
        ["speaker encoder", "speaker_encoder.fc.weight"],
    ),
    (
        "a missing codec encoder",
        lambda m: with_header(m / CODEC, rename_shortly, "encoder.downsample.conv.weight"),
        ["codec encoder", "encoder.downsample.conv.weight"],
    ),
    (
        "NaN in the talker",
        lambda m: with_element(m / WEIGHTS, "talker.model.text_embedding.weight", b"\xff\xff"),
        [WEIGHTS, "talker.model.text_embedding.weight", "NaN"],
    ),
    (
        "an infinity in the predictor",
        lambda m: with_element(m / WEIGHTS, "talker.code_predictor.model.norm.weight", b"\x80\x7f"),
        [WEIGHTS, "talker.code_predictor.model.norm.weight", "infinite"],
    ),
    (
        "NaN in the codec",
        lambda m: with_element(m / CODEC, "encoder.downsample.conv.weight", b"\xff\xff\xff\xff"),
        [CODEC, "encoder.downsample.conv.weight", "NaN"],
    ),
]
# Of the others, what there is in a checkpoint of any size.
SMALL_DAMAGE = [
    (
        "another mrope_section",
        lambda m: set_value(m / "config.json", ["talker_config", "rope_scaling", "mrope_section"], [16, 24, 24]),
        ["config.json", "mrope_section", "the released file says"],
    ),
    (
        "another base of the rotations",
        lambda m: set_value(m / "config.json", ["talker_config", "rope_theta"], 10000),
        ["config.json", "rope_theta", "the released file says"],
    ),
] + [
    one
    for one in DAMAGE
    if one[0]
    in (
        "a missing file",
        "an empty file",
        "merges that were cut",
        "an added token gone",
        "a value out of its bounds",
        "values that contradict",
        "JSON that is none",
    )
]


@unittest.skipUnless(os.environ.get("TIMBRE_FULL_TESTS"), "writes 2.5 GB, and reads them for each kind of damage")
class FullSize(Verify):
    """A checkpoint of the released size with the released values and random weights."""

    test_sound = test_damage = test_several_faults_are_all_named = test_what_is_not_there = None
    test_released_values = test_released_sums = test_denoiser = None

    def faults(self, model):
        result = self.verify(MODEL, model)
        return [f"{c['name']}: {c['detail']}" for c in result["checks"] if c["verdict"] == "fault"]

    def test_every_kind_of_damage(self):
        model = self.released()
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            shutil.copy(GOLDEN / "qwen/tokenizer" / name, model)
        released_tensors.write_all(model)
        self.assertEqual((model / WEIGHTS).stat().st_size, 1829344272)
        self.assertEqual((model / CODEC).stat().st_size, 682293092)
        sound = self.faults(model)
        for fault in sound:  # it is another file, and nothing else is wrong with it
            self.assertRegex(fault, "another SHA-256|another file|is missing$")
        for kind, damage, words in LARGE_DAMAGE:
            with self.subTest(kind=kind), damage(model):
                faults = [fault for fault in self.faults(model) if fault not in sound]
                self.assertTrue(any(all(word in fault for word in words) for fault in faults), faults)
        small = [path for path in model.rglob("*") if path.suffix in (".json", ".txt")]
        before = {path: path.read_bytes() for path in small}
        for kind, damage, words in SMALL_DAMAGE:
            with self.subTest(kind=kind):
                damage(model)
                faults = [fault for fault in self.faults(model) if fault not in sound]
                self.assertTrue(any(all(word in fault for word in words) for fault in faults), faults)
            for path, data in before.items():
                path.write_bytes(data)
        self.assertEqual(self.faults(model), sound)


STUB = """
import json, os, pathlib, sys, types
sys.path.insert(0, os.environ["STUB_SUPPORT"])
case = pathlib.Path(os.environ["STUB_CASE"])

class Codes:
    def __init__(self, rows): self.rows = rows
    def tolist(self): return self.rows

class Qwen3TTSModel:
    def __init__(self):
        self.model = types.SimpleNamespace(generate=lambda: ([Codes(self.codes)], None))
    @classmethod
    def from_pretrained(cls, model, dtype): return cls()
    def generate_voice_clone(self, **options):
        name = "icl" if options.get("ref_text") else "ns" if options.get("non_streaming_mode") else "xv"
        self.codes, wave = json.loads((case / name).read_text())
        self.model.generate()
        return [Codes(wave)], 24000
"""


class Official(Case):
    """The comparison with the official package, which a stand-in plays: it says what timbre said, or something else."""

    @classmethod
    def setUpClass(cls):
        """What timbre says, once for all tests."""
        sys.path.insert(0, str(ROOT / "tools"))
        import verify_real

        arguments = type(
            "Arguments",
            (),
            {
                "timbre": TIMBRE,
                "model": str(SAMPLE),
                "ref": str(REFERENCE),
                "text": "Good morning, how are you?",
                "frames": 6,
            },
        )
        old = dict(os.environ)
        os.environ.update(environment())
        try:
            with tempfile.TemporaryDirectory() as folder:
                timbre = verify_real.Timbre(arguments, folder)
                cls.said = {
                    "xv": timbre.speak("f32", "--x-vector-only"),
                    "ns": timbre.speak("f32", "--x-vector-only", "--non-streaming-text", "--language", "en"),
                    "icl": timbre.speak("f32", "--ref-text", "Some words.", "--language", "en"),
                }
        finally:
            os.environ.clear()
            os.environ.update(old)

    def setUp(self):
        super().setUp()
        self.cases = copy.deepcopy(self.said)
        (self.folder / "qwen_tts.py").write_text(STUB)
        (self.folder / "torch.py").write_text("float32 = 'float32'\n")
        self.env = {
            "PYTHONPATH": str(self.folder),
            "STUB_SUPPORT": str(ROOT / "tools"),
            "STUB_CASE": str(self.folder),
            "HF_HOME": str(self.folder),
        }

    def compare(self, status):
        for name, (codes, wave) in self.cases.items():
            (self.folder / name).write_text(json.dumps([codes, list(wave)]))
        done = self.check(
            status,
            "verify",
            SAMPLE,
            "--official",
            "--json",
            "--python",
            sys.executable,
            "--official-script",
            ROOT / "tools/verify_real.py",
            "--ref",
            REFERENCE,
            "--ref-text",
            "Some words.",
            "--frames",
            "6",
            env=self.env,
        )
        result, = json_lines(done.stdout)
        return {check["name"]: check for check in result["checks"]}

    def test_equal(self):
        checks = self.compare(OK)
        for case in ("x-vector", "x-vector, whole text", "in context"):
            self.assertEqual(checks["codes " + case]["verdict"], "ok")
            self.assertIn("differs by 0.0e+00", checks["wave " + case]["detail"])
        self.assertRegex(
            checks["codec auto against f32"]["detail"], r"dB in the median of \d+ windows of 80 ms, .* dB in the worst"
        )
        self.assertRegex(checks["int8 against f32"]["detail"], r"the same for \d of 5 frames")

    def test_torchaudio_is_not_needed(self):
        """The package imports it for what no Base checkpoint has, and a build for another torch does not load."""
        (self.folder / "qwen_tts.py").write_text("import torchaudio.compliance.kaldi as kaldi\n" + STUB)
        self.assertEqual(self.compare(OK)["codes x-vector"]["verdict"], "ok")
        (self.folder / "torchaudio.py").write_text("raise OSError('Could not load this library: _torchaudio.so')\n")
        self.assertEqual(self.compare(OK)["codes x-vector"]["verdict"], "ok")

    def test_differences(self):
        self.cases["xv"][0][3][2] += 1
        self.cases["ns"][1][100] += 0.01
        self.cases["icl"] = (self.cases["icl"][0][:-1], self.cases["icl"][1])
        checks = self.compare(MODEL)
        self.assertIn("the first other one is frame 3", checks["codes x-vector"]["detail"])
        self.assertEqual(checks["wave x-vector, whole text"]["verdict"], "fault")
        self.assertEqual(checks["codes in context"]["verdict"], "fault")

    def test_what_is_missing(self):
        (self.folder / "qwen_tts.py").unlink()
        self.assertIn("pip install qwen-tts", self.compare(MODEL)["qwen-tts"]["detail"])
        self.check(USAGE, "verify", SAMPLE, "--official")
        for more in (("--python", "/absent/python"), ("--official-script", "/absent/script")):
            self.check(FAILED, "verify", SAMPLE, "--official", "--ref", REFERENCE, *more, env=self.env)


if __name__ == "__main__":
    unittest.main()
