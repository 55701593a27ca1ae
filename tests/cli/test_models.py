"""models and pull, against an emulation of the hub."""
import atexit
import concurrent.futures
import fcntl
import json
import os
import pathlib
import pty
import shutil
import subprocess
import sys
import unittest

from support import (
    FAILED,
    GOLDEN,
    MODEL,
    OK,
    ROOT,
    TIMBRE,
    USAGE,
    WEIGHTS,
    Case,
    environment,
    json_lines,
    needs_denoiser,
    parse_wav,
)

SAMPLE = GOLDEN / "qwen/sample-c/model"
REFERENCE = GOLDEN / "qwen/references/ref_en_short.wav"
REPOSITORY = "models--Qwen--Qwen3-TTS-12Hz-0.6B-Base"


def start_hub(*arguments):
    """The emulation's address."""
    server = subprocess.Popen(
        [sys.executable, os.environ["TIMBRE_HUB_SERVER"], *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def stop():
        server.stdin.close()
        server.stdout.close()
        server.wait()

    atexit.register(stop)
    return f"http://127.0.0.1:{int(server.stdout.readline())}"


HUB = start_hub(SAMPLE, *([WEIGHTS] if WEIGHTS.exists() else []))


class HubCase(Case):
    def setUp(self):
        super().setUp()
        self.hub()

    def hub(self, scenario="good"):
        self.env = self.variables(self.folder, scenario)

    @staticmethod
    def variables(home, scenario):
        """Those of a user who has nothing yet, with the hub in `scenario`."""
        return {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "XDG_DATA_HOME": str(home / ".local/share"),
                "TIMBRE_DENOISER": "", "TIMBRE_SYSTEM_MODELS": str(home / "system"),
                "HF_ENDPOINT": f"{HUB}/{scenario}/", "PIP_INDEX_URL": f"{HUB}/{scenario}/simple"}


class Pull(HubCase):
    @needs_denoiser
    def test_a_pulled_model_clones_at_once(self):
        done = self.check(OK, "pull", "0.6b", env=self.env)
        self.assertIn("fetching the file list of Qwen/Qwen3-TTS-12Hz-0.6B-Base from http://127.0.0.1", done.stderr)
        self.assertIn("licence Apache-2.0", done.stderr)
        self.assertIn("fetching model.safetensors, ", done.stderr)
        self.assertIn("fetching DeepFilterNet3", done.stderr)
        self.assertRegex(done.stderr, "0.6b is installed: .*/snapshots/")
        out = self.folder / "out.wav"
        for model in ((), ("--model", "0.6b"), ("--model", "Qwen/Qwen3-TTS-12Hz-0.6B-Base"),
                      ("--model", self.folder / ".cache/huggingface/hub" / REPOSITORY)):
            done = self.check(
                OK,
                "clone",
                "--ref",
                REFERENCE,
                "--text",
                "Hi.",
                "-o",
                out,
                *model,
                env={**self.env, "TIMBRE_ENGINE": ""},
            )
            self.assertNotIn("preview", done.stderr)
            self.assertGreater(len(parse_wav(out.read_bytes())[2]), 1000)

    @needs_denoiser
    def test_pulled_speakers_speak_at_once(self):
        """The hub's other models: what is pulled is found by what is asked, beside a Base model that clones."""
        hubs = {name: start_hub(GOLDEN / "qwen" / sample / "model", WEIGHTS)
                for name, sample in (("0.6b-customvoice", "sample-h"), ("1.7b-customvoice", "sample-g"),
                                     ("1.7b-voicedesign", "sample-i"))}
        for name, address in hubs.items():
            env = {**self.env, "HF_ENDPOINT": f"{address}/good/", "PIP_INDEX_URL": f"{address}/good/simple"}
            done = self.check(OK, "pull", f"qwen3-tts-{name}", env=env)
            kind = {"0.6b-customvoice": "0.6B-CustomVoice", "1.7b-customvoice": "1.7B-CustomVoice",
                    "1.7b-voicedesign": "1.7B-VoiceDesign"}[name]
            self.assertIn(f"fetching the file list of Qwen/Qwen3-TTS-12Hz-{kind} from", done.stderr)
        self.check(OK, "pull", "0.6b", env=self.env)
        out = self.folder / "out.wav"
        for options, model in ((("--speaker", "mira"), "qwen3-tts-1.7b-customvoice"),
                               (("--speaker", "speaker_test"), "qwen3-tts-0.6b-customvoice"),
                               (("--instruct", "A calm voice."), "qwen3-tts-1.7b-voicedesign"),
                               (("--model", "0.6b-customvoice"), "qwen3-tts-0.6b-customvoice"),
                               (("--model", "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice", "--speaker", "mira"),
                                "qwen3-tts-1.7b-customvoice")):
            base = ("speak", "--text", "Hi.", "--max-frames", "6", "--json", "-o", out)
            done = self.check(OK, *base, *options, env=self.env)
            self.assertEqual(json_lines(done.stdout)[0]["model"], model)
        done = self.check(OK, "clone", "--ref", REFERENCE, "--text", "Hi.", "-o", out, "--json", env=self.env)
        self.assertEqual(json_lines(done.stdout)[0]["model"], "qwen3-tts-0.6b")
        models = json_lines(self.check(OK, "models", "--json", env=self.env).stdout)
        kinds = {m["name"]: m["kind"] for m in models}
        self.assertEqual(kinds["qwen3-tts-1.7b-voicedesign"], "voice_design")
        self.assertIsNone(kinds["dfn3"])
        self.check(OK, "rm", "1.7b-voicedesign", env=self.env)
        done = self.check(USAGE, "speak", "--text", "Hi.", "--instruct", "A calm voice.", "-o", out, env=self.env)
        self.assertIn("qwen3-tts-1.7b-customvoice (custom_voice)", done.stderr)

    @needs_denoiser
    def test_whatever_the_hub_is_like(self):
        """Connections that end early, redirects with lengths of their own, no lengths, a storage that refuses at
        first, a hub that is busy, a mirror: what was pulled is the whole model, and is used at once."""

        def pull_and_clone(scenario):
            home = self.folder / scenario
            home.mkdir()
            env = self.variables(home, scenario)
            done = self.check(OK, "pull", "0.6b", env=env)  # the denoiser comes along
            if scenario in ("limitonce", "worst"):
                self.assertIn("too many requests", done.stderr)
                self.assertIn("HF_TOKEN", done.stderr)
            out = home / "out.wav"
            self.check(OK, "clone", "--ref", REFERENCE, "--text", "Hi.", "--max-frames", "4", "-o", out, env=env)
            self.assertGreater(len(parse_wav(out.read_bytes())[2]), 1000)

        scenarios = ("drops", "norange", "cdn403", "lengths", "nolength", "strip", "mirror", "chain", "noblobs", "gzip",
                     "redirect", "limitonce", "worst")
        # Most of the time is spent between one try and the next.
        with concurrent.futures.ThreadPoolExecutor(len(scenarios)) as users:
            running = {scenario: users.submit(pull_and_clone, scenario) for scenario in scenarios}
        for scenario, ended in running.items():
            with self.subTest(scenario=scenario):
                ended.result()

    @needs_denoiser
    def test_a_long_wait_is_said_and_the_rest_comes_later(self):
        """A hub that asks for hours is not waited for; nothing of the refusal stays in the way of the next try."""
        self.hub("limitlong")
        done = self.check(FAILED, "pull", "0.6b", env=self.env)
        self.assertIn("it asks to wait 120 minutes", done.stderr)
        out = self.folder / "out.wav"
        words = ("clone", "--ref", REFERENCE, "--text", "Hi.", "--max-frames", "4", "-o", out)
        self.check(MODEL, *words, env={**self.env, "TIMBRE_ENGINE": "qwen3"})
        self.hub("good")
        self.check(OK, "pull", "0.6b", env=self.env)
        self.check(OK, *words, env=self.env)

    @needs_denoiser
    def test_for_the_machine(self):
        self.check(OK, "pull", "--system", "0.6b", env=self.env)
        self.assertFalse((self.folder / ".cache").exists())
        places = {
            model["name"]: model["path"]
            for model in json_lines(self.check(OK, "models", "--json", env=self.env).stdout)
        }
        self.assertTrue(places["qwen3-tts-0.6b"].startswith(str(self.folder / "system/hub")))
        self.assertTrue(places["dfn3"].startswith(str(self.folder / "system")))
        for path in (self.folder / "system").rglob("*"):
            mode = path.stat().st_mode
            self.assertEqual(mode & 0o444, 0o444, path)
            self.assertTrue(path.is_file() or mode & 0o111 == 0o111, path)

    def test_failures_are_json(self):
        cases = [("missing", "0.6b", MODEL, "not there"), ("html", "0.6b", FAILED, "not valid JSON"),
                 ("good", "whisper", MODEL, "timbre models"), ("good", "0.7b", MODEL, "did you mean 0.6b?"),
                 ("long", "1.7b", FAILED, "more than the")]
        for scenario, name, status, text in cases:
            self.hub(scenario)
            done = self.check(status, "pull", "--json", name, env=self.env)
            line, = json_lines(done.stdout)
            self.assertEqual((line["name"], line["installed"]), (name, False))
            self.assertIn(text, line["error"]["message"])

    def test_without_the_hub(self):
        """What fails on the way there says what else leads to a model."""
        self.hub("odd")
        done = self.check(FAILED, "pull", "--json", "0.6b", env=self.env)
        line, = json_lines(done.stdout)
        self.assertIn("HTTP 400", line["error"]["message"])
        for word in ("--model DIR", "HF_ENDPOINT", "HF_TOKEN"):
            self.assertIn(word, line["hint"])
            self.assertIn(word, done.stderr)
        done = self.check(FAILED, "pull", "--json", "0.6b", env={**self.env, "HF_HUB_OFFLINE": "1"})
        self.assertIn("HF_HUB_OFFLINE", json_lines(done.stdout)[0]["error"]["message"])

    def test_old_libcurl(self):
        """A libcurl without CURLOPT_PROTOCOLS_STR is named, and what is needed."""
        source = self.folder / "curl.c"
        source.write_text("""
            #include <curl/curl.h>
            curl_version_info_data *curl_version_info(CURLversion age) {
                static curl_version_info_data data = {.version = "7.68.0", .version_num = 0x074400};
                (void)age;
                return &data;
            }""")
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", self.folder / "libcurl.so.4", source], check=True)
        done = self.check(
            FAILED,
            "pull",
            "0.6b",
            env={**self.env, "LD_LIBRARY_PATH": f"{self.folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"},
        )
        self.assertIn("version 7.68.0, and 7.85 or newer is needed", done.stderr)


class Incomplete(HubCase):
    def begin_download(self):
        blobs = self.folder / ".cache/huggingface/hub" / REPOSITORY / "blobs"
        blobs.mkdir(parents=True)
        (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"half")

    def test_no_other_voice_speaks(self):
        """With a download that has not finished, `auto` is no excuse for the preview voice."""
        self.begin_download()
        out = self.folder / "out.wav"
        done = self.check(
            MODEL, "clone", "--ref", REFERENCE, "--text", "Hi.", "--no-pre", "--no-post", "-o", out, env=self.env
        )
        self.assertIn("its download has not finished", done.stderr)
        self.assertIn("timbre pull qwen3-tts-0.6b", done.stderr)
        self.assertFalse(out.exists())

    def test_models_says_so(self):
        self.begin_download()
        model = json_lines(self.check(OK, "models", "--json", env=self.env).stdout)[0]
        self.assertEqual((model["installed"], model["state"], model["short_name"]), (False, "incomplete", "0.6b"))
        self.assertIn("its download has not finished", model["reason"])
        self.assertIn("its download has not finished", self.check(OK, "models", env=self.env).stdout.decode())

    def test_pointer(self):
        model = self.folder / "clone-without-lfs"
        shutil.copytree(SAMPLE, model)
        (model / "model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:180b\nsize 1829344272\n"
        )
        done = self.check(
            MODEL,
            "clone",
            "--ref",
            REFERENCE,
            "--text",
            "Hi.",
            "--model",
            model,
            "--no-pre",
            "--no-post",
            "-o",
            self.folder / "out.wav",
            env=self.env,
        )
        self.assertIn("model.safetensors is a Git LFS pointer", done.stderr)


class Offer(HubCase):
    """A model that is missing is offered to people, and to nobody else."""

    def at_a_terminal(self, answer, *arguments):
        """(exit status, what the terminal showed) of a command whose input and messages are one."""
        terminal, own = pty.openpty()
        process = subprocess.Popen([TIMBRE, *map(str, arguments)], stdin=own, stdout=subprocess.PIPE, stderr=own,
                                   env=environment(**self.env))
        os.close(own)
        os.write(terminal, answer.encode())
        shown = b""
        try:
            while part := os.read(terminal, 65536):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(terminal)
        process.stdout.close()
        return process.wait(), shown.decode()

    def say(self, *more):
        return ("clone", "--ref", REFERENCE, "--text", "Hi.", "--max-frames", "4", "-o", self.folder / "out.wav", *more)

    @needs_denoiser
    def test_yes(self):
        status, shown = self.at_a_terminal("y\n", *self.say())
        self.assertEqual(status, OK, shown)
        self.assertIn("Download qwen3-tts-0.6b now (2.5 GB, licence Apache-2.0)?", shown)
        self.assertIn("a preview voice speaks, no clone", shown)
        self.assertTrue((self.folder / "out.wav").exists())
        status, shown = self.at_a_terminal("", *self.say("--model", "0.6b"))
        self.assertEqual(status, OK, shown)
        self.assertNotIn("Download", shown)

    def test_no(self):
        for answer in ("n\n", "\n", "yess\n"):
            status, shown = self.at_a_terminal(answer, *self.say("--model", "1.7b", "--no-pre", "--no-post"))
            self.assertEqual(status, MODEL, shown)
            self.assertIn("Download qwen3-tts-1.7b now (4.5 GB", shown)
        self.assertEqual(self.files(), [])

    @needs_denoiser
    def test_the_denoiser_alone(self):
        wav = self.folder / "a.wav"
        shutil.copy(REFERENCE, wav)
        status, shown = self.at_a_terminal("y\n", "enhance", wav, "-o", self.folder / "b.wav")
        self.assertEqual(status, OK, shown)
        self.assertIn("Download dfn3 now", shown)

    @needs_denoiser
    def test_scripts_are_not_asked(self):
        done = self.check(MODEL, *self.say("--model", "0.6b"), env=self.env, stdin=b"y\n")
        self.assertNotIn("Download", done.stderr)
        self.assertEqual(self.files(), [])
        self.check(OK, *self.say("--model", "0.6b", "--yes"), env=self.env)
        self.assertTrue((self.folder / "out.wav").exists())


class Bench(HubCase):
    def test_a_tokenizer_that_is_none(self):
        """bench/qwen.py says what it needs instead of failing on a contradiction."""
        model = self.folder / "model"
        shutil.copytree(SAMPLE, model)
        (model / "merges.txt").write_text("#version: 0.2\n")
        done = subprocess.run(
            [
                sys.executable,
                ROOT / "bench/qwen.py",
                model,
                "--build",
                pathlib.Path(TIMBRE).parent.parent,
                "--official",
                "",
            ],
            capture_output=True,
            text=True,
            env=environment(**self.env),
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("its tokenizer is not that of Qwen3-TTS", done.stderr)
        self.assertIn("tests/golden/qwen/tokenizer", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class Packs(HubCase):
    """Packed weights are counted, shown, and go with their model or when nothing uses them."""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(SAMPLE, self.model)

    def packs(self):
        return json_lines(self.check(OK, "models", "--packs", "--json", env=self.env).stdout)

    def make_pack(self, *more):
        self.check(
            OK,
            "clone",
            "--ref",
            REFERENCE,
            "--text",
            "Hi.",
            "--model",
            self.model,
            "--max-frames",
            "3",
            "--no-pre",
            "--no-post",
            "-o",
            self.folder / "out.wav",
            *more,
            env=self.env,
        )

    def test_shown_and_counted(self):
        self.assertEqual(self.packs(), [])
        self.make_pack()
        self.make_pack()
        pack, = self.packs()
        self.assertEqual((pack["model"], pack["stale"], pack["reason"]), (str(self.model), False, None))
        self.assertEqual(pack["bytes"], pathlib.Path(pack["pack"]).stat().st_size)
        self.assertIn("1 pack, ", self.check(OK, "models", env=self.env).stdout.decode())
        lines = self.check(OK, "models", "--packs", env=self.env).stdout.decode().splitlines()
        self.assertRegex(lines[0], "MB  /.*tmbpack$")
        self.assertEqual(lines[1].strip(), f"of {self.model}")

    def test_what_makes_one_stale(self):
        folder = self.folder / ".cache/timbre/packs"
        cases = [("its model is gone", lambda: shutil.rmtree(self.model)),
                 ("its model has changed", lambda: os.utime(self.model / "model.safetensors", (1, 1))),
                 ("not complete any more", lambda: (self.model / "model.safetensors").write_bytes(b"cut")),
                 ("another version", lambda: next(folder.glob("*.tmbpack")).write_bytes(b"TMBPACK\n\1" + bytes(5000))),
                 ("another version", lambda: next(folder.glob("*.tmbpack")).write_bytes(b""))]
        for reason, damage in cases:
            with self.subTest(reason=reason):
                self.make_pack()
                damage()
                (folder / "readme.txt").write_text("not a pack")
                pack, = self.packs()
                self.assertTrue(pack["stale"])
                self.assertIn(reason, pack["reason"])
                self.assertIn("timbre models --prune", self.check(OK, "models", env=self.env).stdout.decode())
                done, = json_lines(self.check(OK, "models", "--prune", "--json", env=self.env).stdout)
                self.assertEqual(done, {"pruned": 1, "bytes": pack["bytes"]})
                self.assertEqual([path.name for path in folder.iterdir()], ["readme.txt"])
                shutil.rmtree(self.model, ignore_errors=True)
                shutil.copytree(SAMPLE, self.model)

    def test_unfinished(self):
        self.make_pack()
        pack = pathlib.Path(self.packs()[0]["pack"])
        mine = pack.with_name(f"{pack.name}.{os.getpid()}.tmp")
        nobodys = pack.with_name(f"{pack.name}.4194304.tmp")  # above the largest number of a process
        for path in (mine, nobodys):
            path.write_bytes(b"half")
        self.check(OK, "models", "--prune", env=self.env)
        self.assertEqual(sorted(pack.parent.iterdir()), sorted([pack, mine]))

    def test_a_new_pack_takes_the_old_ones_place(self):
        self.make_pack()
        os.utime(self.model / "model.safetensors", (1, 1))
        self.make_pack()
        self.assertEqual([pack["stale"] for pack in self.packs()], [False])
        self.make_pack("--precision", "int4")
        self.assertEqual([pack["stale"] for pack in self.packs()], [False, False])


class Remove(HubCase):
    """Only what pull wrote goes."""

    def setUp(self):
        super().setUp()
        self.cache = self.folder / ".cache/huggingface/hub"
        self.repository = self.cache / REPOSITORY

    @needs_denoiser
    def test_all_of_it(self):
        self.check(OK, "pull", "0.6b", env=self.env)
        self.check(OK, "clone", "--ref", REFERENCE, "--text", "Hi.", "--max-frames", "3", "--no-pre", "--no-post", "-o",
                   self.folder / "out.wav", env=self.env)
        bytes_before = sum(
            path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()
        )
        done, = json_lines(self.check(OK, "rm", "0.6b", "--json", env=self.env).stdout)
        self.assertTrue(done["removed"])
        self.assertEqual(done["kept"], 0)
        left = [path for path in self.folder.rglob("*") if path.is_file()]
        self.assertEqual(sorted(path.name for path in left), ["DeepFilterNet3_onnx.tar.gz", "out.wav"])
        self.assertEqual(bytes_before - sum(path.stat().st_size for path in left), done["bytes"])
        self.assertFalse(self.repository.exists())
        self.check(OK, "rm", "dfn3", env=self.env)
        self.assertEqual([path.name for path in self.folder.rglob("*") if path.is_file()], ["out.wav"])
        for name in ("0.6b", "dfn3", "Qwen/Qwen3-TTS-12Hz-1.7B-Base", "whisper", str(self.folder)):
            done = self.check(MODEL, "rm", "--json", name, env=self.env)
            self.assertFalse(json_lines(done.stdout)[0]["removed"])
        self.assertTrue((self.folder / "out.wav").exists())

    @needs_denoiser
    def test_what_others_put_there_stays(self):
        self.check(OK, "pull", "0.6b", env=self.env)
        snapshot, = (self.repository / "snapshots").iterdir()
        picture = self.repository / "blobs" / ("c" * 40)
        picture.write_bytes(b"a picture")
        (snapshot / "picture.png").symlink_to(f"../../blobs/{'c' * 40}")
        (snapshot / "notes.json").write_text("{}")
        other = self.repository / "snapshots" / ("d" * 40)
        other.mkdir()
        shared = os.readlink(snapshot / "vocab.json")
        (other / "words.bin").symlink_to(shared)
        elsewhere = self.folder / "elsewhere"
        shutil.copytree(SAMPLE, elsewhere)
        (self.repository / "snapshots" / ("e" * 40)).symlink_to(elsewhere)
        done, = json_lines(self.check(OK, "rm", "0.6b", "--json", env=self.env).stdout)
        self.assertEqual(done["kept"], 3)
        left = sorted(
            str(path.relative_to(self.repository)) for path in self.repository.rglob("*") if not path.is_dir()
        )
        self.assertEqual(
            left,
            sorted(
                [
                    f"blobs/{'c' * 40}",
                    "blobs/" + shared.split("/")[-1],
                    "refs/main",
                    f"snapshots/{'d' * 40}/words.bin",
                    f"snapshots/{snapshot.name}/notes.json",
                    f"snapshots/{snapshot.name}/picture.png",
                ]
            ),
        )
        self.assertTrue((elsewhere / "model.safetensors").exists())

    def test_half_a_download(self):
        blobs = self.repository / "blobs"
        blobs.mkdir(parents=True)
        (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"half")
        self.check(OK, "rm", "0.6b", env=self.env)
        self.assertFalse(self.repository.exists())

    def test_not_while_it_is_downloaded(self):
        blobs, locks = self.repository / "blobs", self.cache / ".locks" / REPOSITORY
        blobs.mkdir(parents=True)
        locks.mkdir(parents=True)
        (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"half")
        with open(locks / ("a" * 64 + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.check(FAILED, "rm", "0.6b", env=self.env)
            self.assertIn("is being downloaded now", done.stderr)
        self.assertTrue((blobs / ("a" * 64 + ".incomplete")).exists())


def tensor_place(path, name):
    """Where a tensor's bytes begin in a safetensors file, and how many there are."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:8 + length])[name]["data_offsets"]
    return 8 + length + begin, end - begin


class Unfit(HubCase):
    """A model that does not fit is exit status 4 whatever is wrong with it, and is named."""

    def say(self, model, *more):
        return ("clone", "--ref", REFERENCE, "--text", "Hi.", "--model", model, "--no-pre", "--no-post", "-o",
                self.folder / "out.wav", *more)

    def test_numbers_that_are_none(self):
        cases = [("model.safetensors", "talker.model.layers.0.mlp.up_proj.weight"),
                 ("model.safetensors", "talker.model.text_embedding.weight"),
                 ("model.safetensors", "talker.code_predictor.model.norm.weight"),
                 ("model.safetensors", "speaker_encoder.fc.weight"),
                 ("speech_tokenizer/model.safetensors", "decoder.decoder.0.conv.weight"),
                 ("speech_tokenizer/model.safetensors", "encoder.downsample.conv.weight")]
        for file, name in cases:
            model = self.folder / "model"
            shutil.copytree(SAMPLE, model)
            at, size = tensor_place(model / file, name)
            with open(model / file, "r+b") as weights:
                weights.seek(at + size // 8 * 4)
                weights.write(b"\xff\xff\xff\xff")  # NaN in every dtype
            with self.subTest(tensor=name):
                more = ("--ref-text", "Some words.") if name.startswith("encoder.") else ()
                done = self.check(MODEL, *self.say(model, *more), env=self.env)
                self.assertIn(name, done.stderr)
                self.assertIn("NaN", done.stderr)
                self.assertFalse((self.folder / "out.wav").exists())
            shutil.rmtree(model)

    def test_other_kinds(self):
        for path, member, value in (
            ("config.json", "tts_model_type", "something_else"),
            ("config.json", "model_type", "bert"),
            ("speech_tokenizer/config.json", "model_type", "encodec"),
        ):
            model = self.folder / "model"
            shutil.copytree(SAMPLE, model)
            config = json.loads((model / path).read_text())
            config[member] = value
            (model / path).write_text(json.dumps(config))
            with self.subTest(member=member):
                self.assertIn(value, self.check(MODEL, *self.say(model), env=self.env).stderr)
            shutil.rmtree(model)

    def test_the_guard_is_on(self):
        """Weights that never find their end: the text's length bounds the speech, and the option lets it run."""
        model = self.folder / "model"
        shutil.copytree(SAMPLE, model)
        talker = json.loads((model / "config.json").read_text())["talker_config"]
        at, size = tensor_place(model / "model.safetensors", "talker.codec_head.weight")
        row = size // talker["vocab_size"]
        with open(model / "model.safetensors", "r+b") as weights:
            # The end's score is always 0, which is never among the highest fifty of random scores.
            weights.seek(at + row * talker["codec_eos_token_id"])
            weights.write(bytes(row))
        result, = json_lines(self.check(OK, *self.say(model, "--json", "--seed", "1"), env=self.env).stdout)
        self.assertEqual(result["finish_reason"], "runaway")
        self.assertLess(result["duration"], 6)
        (free,) = json_lines(
            self.check(
                OK, *self.say(model, "--json", "--seed", "1", "--no-runaway-guard", "--max-seconds", "8"), env=self.env
            ).stdout
        )
        self.assertEqual(free["finish_reason"], "length")


if __name__ == "__main__":
    unittest.main()
