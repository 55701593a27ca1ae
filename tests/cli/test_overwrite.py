"""No output ever replaces an input, a model or another output, whatever the paths look like."""
import json
import os
import pathlib
import stat
import subprocess
import tempfile
import time
import unittest

from support import (
    FAILED,
    GOLDEN,
    INPUT,
    OK,
    TIMBRE,
    USAGE,
    Case,
    environment,
    json_lines,
    needs_denoiser,
    needs_espeak,
    run,
    speech,
    tone,
    write_wav,
)

PREVIEW = {"TIMBRE_ENGINE": "preview"}


class Overwrite(Case):
    def setUp(self):
        super().setUp()
        write_wav(self.folder / "me.wav", speech())
        (self.folder / "text.txt").write_text("Hello.")
        (self.folder / "sub").mkdir()
        (self.folder / "link.wav").symlink_to("me.wav")
        os.link(self.folder / "me.wav", self.folder / "hard.wav")
        self.before = self.snapshot()

    def snapshot(self):
        return {name: (self.folder / name).read_bytes() for name in self.files()}

    def refused(self, *arguments, message="would replace", **options):
        done = self.check(USAGE, *arguments, cwd=self.folder, **options)
        self.assertIn(message, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.snapshot(), self.before, arguments)
        return done.stderr

    def test_every_pair_of_a_command(self):
        speak = ("clone", "--text", "hi", "--ref", "me.wav", "--engine", "preview")
        for arguments in [
            ("voice", "create", "me.wav", "-o", "hard"),
            ("enhance", "me.wav", "-o", "x.wav", "--plot", "sub/../me.png"),
            ("enhance", "me.wav", "-o", "me.wav"),
            ("enhance", "me.wav", "-o", ".", "--no-suffix"),
            ("enhance", "me.wav", "-o", "x.wav", "--denoiser", "x.wav"),
            ("resample", "me.wav", "-r", "16k", "-o", "me.wav"),
            ("resample", "me.wav", "-r", "16k", "-o", "."),
            (*speak, "-o", "me.wav"),
            (*speak, "-o", "x.wav", "--reference-out", "me.wav"),
            (*speak, "-o", "x.wav", "--codes-out", "me.wav"),
            (*speak, "-o", "x.wav", "--denoiser", "x.wav"),
            (*speak, "-o", "text.txt", "--ref-text-file", "text.txt"),
            ("clone", "--ref", "me.wav", "--text-file", "text.txt", "-o", "text.txt"),
            ("clone", "--voice", "text.txt", "--text", "hi", "-o", "text.txt"),
        ]:
            with self.subTest(arguments=arguments):
                for name, target in (("hard", "me.wav"), ("me.png", "me.wav"), ("x.wav", "text.txt")):
                    if name in arguments or f"sub/../{name}" in arguments:
                        if arguments.count(name) != 1 and name == "x.wav" or name in ("hard", "me.png"):
                            os.link(self.folder / target, self.folder / name)
                self.before = self.snapshot()
                self.refused(*arguments)
                for name in ("hard", "me.png", "x.wav"):
                    (self.folder / name).unlink(missing_ok=True)
                self.before = self.snapshot()

    def test_a_voice_of_two_files(self):
        """A recording with its transcript beside it: both are read."""
        voices = self.folder / "voices"
        voices.mkdir()
        write_wav(voices / "anna.wav", speech())
        (voices / "anna.txt").write_text("Her words.")
        os.link(voices / "anna.txt", self.folder / "words.npy")
        self.before = self.snapshot()
        named = ("clone", "--voices", "voices", "--voice", "anna", "--engine", "preview")
        for output in (
            ("-o", "voices/anna.wav"),
            ("-o", "x.wav", "--codes-out", "voices/anna.txt"),
            ("-o", "x.wav", "--codes-out", "words.npy"),
            ("-o", "x.wav", "--reference-out", "sub/../voices/anna.wav"),
        ):
            self.refused(*named, "--text", "hi", *output)
        (self.folder / "items.jsonl").write_text('{"custom_id": "anna", "text": "hi"}')
        self.before = self.snapshot()
        done = self.check(INPUT, *named, "--batch", "items.jsonl", "--out-dir", "voices", cwd=self.folder)
        self.assertIn("would replace", done.stderr)
        self.assertEqual(self.snapshot(), self.before)

    def test_every_spelling_of_a_path(self):
        for path in (
            "./me.wav",
            "sub/../me.wav",
            "link.wav",
            "hard.wav",
            str(self.folder / "me.wav"),
            "sub/./../hard.wav",
        ):
            with self.subTest(path=path):
                self.refused("enhance", "me.wav", "-o", path)
                self.refused("resample", path, "-r", "16000", "-o", "me.wav")
                self.refused("clone", "--ref", path, "--text", "hi", "-o", "hard.wav", "--engine", "preview")

    def test_two_outputs_of_one_file(self):
        speak = ("clone", "--ref", "me.wav", "--text", "hi", "--engine", "preview")
        (self.folder / "dir").symlink_to("sub")
        for first, second in (("x.wav", "x.wav"), ("x.wav", "./x.wav"), ("sub/x.wav", "dir/x.wav")):
            self.refused(*speak, "-o", first, "--reference-out", second, message="would both write")
            self.refused(*speak, "-o", first, "--codes-out", second, message="would both write")
            self.refused(
                "enhance", "me.wav", "-o", first + ".png", "--plot", second + ".png", message="would both write"
            )
        write_wav(self.folder / "sub/me.wav", tone(0.2))
        self.before = self.snapshot()
        self.refused("enhance", "me.wav", "sub/me.wav", "-o", "out", message="would both write")
        self.refused("resample", "me.wav", "sub/me.wav", "-r", "16k", "-o", "out", message="would both write")

    def test_a_file_of_the_model(self):
        (self.folder / "model").mkdir()
        (self.folder / "model/config.json").write_text("{}")
        self.before = self.snapshot()
        for options in (("-o", "model/config.json"), ("-o", "x.wav", "--codes-out", "sub/../model/config.json")):
            self.refused("clone", "--ref", "me.wav", "--text", "hi", "--model", "model", *options)

    def test_standard_streams(self):
        def redirected(*arguments, source="me.wav", target="me.wav"):
            with open(self.folder / source, "rb") as stdin, open(self.folder / target, "ab") as stdout:
                return subprocess.run([TIMBRE, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                      cwd=self.folder, env=environment(), timeout=240)

        for arguments in (
            ("enhance", "-", "-o", "me.wav"),
            ("enhance", "-", "-o", "-"),
            ("enhance", "me.wav", "-o", "-"),
            ("enhance", "me.wav", "-o", "/dev/stdout"),
            ("resample", "-", "-r", "8k", "-o", "-"),
            ("enhance", "-", "-o", "hard.wav"),
            ("clone", "--engine", "preview", "--ref", "-", "--text", "hi", "-o", "-"),
            ("enhance", "/dev/stdin", "-o", "me.wav"),
            ("info", "me.wav"),
        ):
            with self.subTest(arguments=arguments):
                done = redirected(*arguments)
                self.assertEqual(done.returncode, USAGE, done.stderr)
                self.assertIn(b"would replace", done.stderr)
                self.assertEqual(self.snapshot(), self.before)

    def test_no_abbreviation_of_what_writes(self):
        for option, meant in (
            ("--reference", "--ref"),
            ("--reference-text", "--ref-text"),
            ("--reference-audio", "--ref"),
            ("--reference-o", None),
            ("--codes", None),
            ("--outpu", None),
            ("--out", "--output"),
            ("--gpu", "--device"),
        ):
            done = self.refused("clone", option, "me.wav", "--ref", "me.wav", "--text", "hi", "-o", "x.wav",
                                message="unknown option")
            if meant is not None:
                self.assertIn(f"did you mean {meant}?", done)
        self.refused("enhance", "me.wav", "-o", "x.wav", "--plo", "me.wav", message="unknown option")
        for option in ("--out", "--outp", "--output-"):  # --output-rate is of nothing that is written
            self.assertIn("did you mean --output", self.refused("enhance", "me.wav", option, "x.wav",
                                                                message="unknown option"))
        self.refused("enhance", "me.wav", "-o", "x.wav", "--plot", "hard.wav", message="does not end in .png")

    def batch(self, status, items, stdin=False, folder=".", extra=()):
        lines = "".join(json.dumps(i) + "\n" for i in items).encode()
        (self.folder / "items.jsonl").write_bytes(lines)
        done = self.check(status, "clone", "--batch", "-" if stdin else "items.jsonl", "--out-dir", folder, *extra,
                          cwd=self.folder, stdin=lines if stdin else b"", env=PREVIEW)
        return {line["custom_id"]: line for line in json_lines(done.stdout)}

    @needs_denoiser
    @needs_espeak
    def test_a_batch_spares_the_references_of_all_items(self):
        write_wav(self.folder / "you.wav", speech())
        recordings = {n: (self.folder / n).read_bytes() for n in ("me.wav", "you.wav")}
        got = self.batch(INPUT, [
            {"custom_id": "me", "ref_audio": "me.wav", "text": "One."},
            {"custom_id": "you", "ref_audio": "hard.wav", "text": "Two."},
            {"custom_id": "fine", "ref_audio": "./you.wav", "text": "Three."},
            {"custom_id": "items", "ref_audio": "fine.wav", "text": "Four."},
        ])
        self.assertIn("would replace", got["me"]["error"]["message"])
        self.assertIn("would replace", got["you"]["error"]["message"])
        self.assertIn("would replace", got["items"]["error"]["message"])
        self.assertEqual(got["fine"]["audio"], "./fine.wav")
        self.assertEqual({n: (self.folder / n).read_bytes() for n in recordings}, recordings)

    @needs_denoiser
    @needs_espeak
    def test_a_batch_from_a_pipe_replaces_nothing(self):
        """Nobody knows what later lines will read."""
        recording = (self.folder / "me.wav").read_bytes()
        got = self.batch(INPUT, [{"custom_id": "me", "ref_audio": "sub/other.wav", "text": "One."},
                                 {"custom_id": "x", "ref_audio": "me.wav", "text": "Two."},
                                 {"custom_id": "y", "ref_audio": "me.wav", "text": "Three."}], stdin=True)
        self.assertIn("error", got["me"])
        self.assertIn("audio", got["x"])
        self.assertEqual((self.folder / "me.wav").read_bytes(), recording)
        again = self.batch(INPUT, [{"custom_id": "x", "ref_audio": "me.wav", "text": "Two."}], stdin=True)
        self.assertIn("exists", again["x"]["error"]["message"])

    @needs_denoiser
    @needs_espeak
    def test_no_two_results_name_one_file(self):
        ids = [
            "a-3",
            "a",
            "a",
            "A",
            "a/b",
            "a?b",
            "a_b",
            "e\u0301t\u00e9",
            "\u00e9t\u00e9",
            "x" * 300,
            "x" * 299,
            ".hid",
            "_hid",
            "a-3",
        ]
        lines = [{"custom_id": i, "ref_audio": "me.wav", "text": "Hi."} for i in ids]
        (self.folder / "items.jsonl").write_text("".join(json.dumps(i) + "\n" for i in lines))
        done = self.check(
            OK,
            "clone",
            "--batch",
            "items.jsonl",
            "--out-dir",
            "out",
            "--codes-out",
            "codes",
            cwd=self.folder,
            env=PREVIEW,
        )
        files = [line["audio"] for line in json_lines(done.stdout)]
        self.assertEqual(len({f.casefold() for f in files}), len(ids), sorted(files))
        self.assertEqual(len(list((self.folder / "out").iterdir())), len(ids))
        # The same batch again is the same files: a file of items may replace what it made before.
        done = self.check(OK, "clone", "--batch", "items.jsonl", "--out-dir", "out", cwd=self.folder, env=PREVIEW)
        self.assertEqual(sorted(line["audio"] for line in json_lines(done.stdout)), sorted(files))


QWEN = GOLDEN / "qwen"
CLONE = ("clone", "--model", QWEN / "sample-c/model", "--ref", QWEN / "references/ref_en.wav", "--no-pre", "--no-post",
         "--max-frames", "2")  # fmt: skip
ONE = (*CLONE, "--text", "Hi.", "-o", "out.wav")
WHOLE_FILES = [
    (("voice", "create", CLONE[4], "--no-pre", "--model", CLONE[2], "-o"), b"TMBV"),
    ((*ONE, "--codes-out"), b"\x93NUMPY"),
    (("enhance", "me.wav", "-o", "out.wav", "--plot"), b"\x89PNG"),
]


@needs_denoiser
class WholeFiles(Case):
    """What is written at once, beside the audio, is written as audio is."""

    def setUp(self):
        super().setUp()
        write_wav(self.folder / "me.wav", tone(0.3))

    def each(self):
        for words, begin in WHOLE_FILES:
            with self.subTest(words=words):
                path = self.folder / "file.png"
                yield words, begin, path
                path.unlink()

    def test_a_pipe_is_written_in_place(self):
        for words, begin, path in self.each():
            os.mkfifo(path)
            pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            got = b""
            with subprocess.Popen([TIMBRE, *map(str, words), path], cwd=self.folder, env=environment(),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # fmt: skip
                over = False
                while not over:
                    over = process.poll() is not None
                    try:
                        got += os.read(pipe, 1 << 20)
                    except BlockingIOError:
                        pass
                    time.sleep(0.01)
                self.assertEqual(process.returncode, OK, process.stderr.read())
            os.close(pipe)
            self.assertTrue(got.startswith(begin), got)
            self.assertTrue(path.is_fifo())

    def test_the_permissions_of_a_file_stay(self):
        for words, begin, path in self.each():
            path.write_bytes(b"old")
            path.chmod(0o600)
            link = self.folder / "link.png"
            link.symlink_to(path.name)
            self.check(OK, *words, link, cwd=self.folder)
            self.assertTrue(link.is_symlink())
            link.unlink()
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            self.assertTrue(path.read_bytes().startswith(begin))

    def test_a_link_to_nothing_is_refused(self):
        for words, _, path in self.each():
            path.symlink_to("absent")
            self.assertIn(b"file.png: cannot be written: No such file", run(*words, path, cwd=self.folder).stderr)
            self.assertTrue(path.is_symlink())

    @unittest.skipIf(os.geteuid() == 0, "root may write everything")
    def test_a_file_that_may_not_be_written_stays(self):
        for words, _, path in self.each():
            path.write_bytes(b"old")
            path.chmod(0o400)
            done = run(*words, path, cwd=self.folder)
            self.assertIn(b"file.png: cannot be written: Permission denied", done.stderr)
            self.assertIn(done.returncode, (FAILED, INPUT))
            self.assertEqual(path.read_bytes(), b"old")

    def test_codes_that_are_not_written_are_not_named(self):
        (self.folder / "items.jsonl").write_text('{"text": "Hi.", "custom_id": "a"}')
        (self.folder / "codes/a.npy").mkdir(parents=True)
        batch = (*CLONE, "--batch", "items.jsonl", "--out-dir", "out", "--codes-out", "codes")
        for words in ((*ONE, "--json", "--codes-out", "absent/a.npy"), batch):
            with self.subTest(words=words):
                done = self.check(FAILED, *words, cwd=self.folder)
                result, = json_lines(done.stdout)
                self.assertIn("a.npy: cannot be written", result["error"]["message"])
                self.assertFalse({"audio", "codes"} & set(result))
                self.assertEqual(done.stderr.count("cannot be written"), 1, done.stderr)

    @needs_espeak
    def test_an_engine_without_codes_writes_none(self):
        write_wav(self.folder / "me.wav", speech())
        (self.folder / "items.jsonl").write_text('{"text": "Hi.", "ref_audio": "me.wav"}')
        for words in (
            ("--ref", "me.wav", "--text", "Hi.", "-o", "out.wav", "--json", "--codes-out", "a.npy"),
            ("--batch", "items.jsonl", "--out-dir", "out", "--codes-out", "codes"),
        ):
            with self.subTest(words=words):
                done = self.check(OK, "clone", "--no-pre", "--no-post", *words, env=PREVIEW, cwd=self.folder)
                result, = json_lines(done.stdout)
                self.assertIn("audio", result)
                self.assertNotIn("codes", result)
                self.assertIn("no codes to write", done.stderr)
        self.assertEqual([name for name in self.files() if name.endswith(".npy")], [])


if __name__ == "__main__":
    unittest.main()
