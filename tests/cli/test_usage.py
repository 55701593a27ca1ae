"""The command line itself: help, errors, exit statuses, environment, documents that agree with each other."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from support import FAILED, INPUT, OK, TIMBRE, USAGE, Case, environment, run, tone, write_wav

COMMANDS = [
    "clone",
    "enhance",
    "resample",
    "info",
    "voice create",
    "voice list",
    "voice show",
    "voice rm",
    "models",
    "pull",
    "rm",
    "verify",
    "tokenize",
    "doctor",
]
BUILD = pathlib.Path(os.environ["TIMBRE_BUILD"])
ALL_COMMANDS = [*COMMANDS, "serve"]


# zsh without its line editor: what the completion hands to it is printed.
ZSH_TRIAL = """
compdef() { : }
compadd() { print -rl -- "$@" }
_describe() { print -rl -- $commands }
_arguments() { print -rl -- "$@" }
source ./_timbre
words=("$@")
CURRENT=$#
_timbre
"""


def options_of(help_text):
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", help_text, re.M))


class Usage(Case):
    def test_version(self):
        self.assertRegex(self.check(OK, "--version").stdout.decode(), r"^timbre \d+\.\d+\.\d+\n$")

    def test_no_arguments(self):
        done = self.check(USAGE)
        self.assertIn("Commands:", done.stderr)
        self.assertEqual(done.stdout, b"")

    def test_overview_lists_every_command(self):
        text = self.check(OK, "--help").stdout.decode()
        listed = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", text, re.M)
        for command in COMMANDS:
            self.assertIn(command, listed)
            self.assertIn("Usage: timbre " + command, self.check(OK, *command.split(), "--help").stdout.decode())
            self.assertEqual(
                self.check(OK, "help", *command.split()).stdout, self.check(OK, *command.split(), "-h").stdout
            )
        self.assertIn("serve", listed)
        self.assertEqual(self.check(OK, "help", "serve").stdout, self.check(OK, "serve", "--help").stdout)
        self.assertIn("130", text)

    def test_unknown_command_suggests(self):
        self.assertIn('did you mean "enhance"', self.check(USAGE, "enhanse", "x").stderr)
        self.assertIn('did you mean "voice create"', self.check(USAGE, "voice", "craete").stderr)
        self.assertIn("voice show", self.check(USAGE, "voice").stderr)
        for words in (("voice", "--help"), ("help", "voice"), ("voice", "help"), ("voice", "-h")):
            done = self.check(OK, *words)
            self.assertEqual(done.stderr, "")
            for name in ("create", "list", "show", "rm"):
                self.assertIn(f"voice {name}", done.stdout.decode())
        self.assertIn("unknown option --bogus", self.check(USAGE, "--bogus").stderr)
        self.assertIn("unknown option --bogus", self.check(USAGE, "voice", "--bogus").stderr)
        self.assertNotIn("did you mean", self.check(USAGE, "zebra").stderr)

    def test_unknown_option_suggests(self):
        self.assertIn("did you mean --encoding", self.check(USAGE, "enhance", "--encodign", "s16", "x").stderr)
        self.assertIn("did you mean --resampler", self.check(USAGE, "resample", "--resamplerr=soxr", "x").stderr)
        self.assertIn("unknown option -Z", self.check(USAGE, "enhance", "-Z", "x").stderr)

    def test_values_are_checked(self):
        for arguments, message in [
            (("enhance", "x", "-o", "y", "--atten-lim-db", "loud"), "not a number"),
            (("enhance", "x", "-o", "y", "--atten-lim-db", "101"), "not within 0 to 100"),
            # The range of an item's field, in the batch file too.
            (("clone", "--temperature", "10.5"), "not within 0 to 10"),
            (("clone", "--repetition-penalty", "0"), "not within 0.01 to 100"),
            (("clone", "--max-frames", "1000001"), "not within 0 to 1000000"),
            (("enhance", "x", "-o", "y", "-a", "nan"), "not a number"),
            (("enhance", "x", "-o", "y", "--encoding", "s32"), "not one of s16, s24, float"),
            (("enhance", "x", "-o", "y", "--output-rate", "48000.5"), "not a whole number"),
            (("enhance", "x", "-o", "y", "--memory", "2X"), "not a number of bytes"),
            (("enhance", "x", "-o"), "needs a value"),
            (("enhance", "x", "-o", ""), "the name is empty"),
            (("enhance", "x", "-o", "y", "--json=1"), "takes no value"),
            (("clone", "--ref", "x", "--text", "t", "-o", "y", "--seed", "-1"), "not a whole number"),
            (("clone", "--ref", "x", "--text", "t", "-o", "y", "--seed", "18446744073709551616"), "not a whole number"),
            (("doctor", "extra"), 'unexpected argument "extra"'),
        ]:
            self.assertIn(message, self.check(USAGE, *arguments).stderr)

    def test_what_is_missing_is_named(self):
        for arguments, message in [
            (("enhance",), "usage: timbre enhance IN"),
            (("enhance", "x.wav"), "-o FILE"),
            (("enhance", "a.wav", "b.wav", "-o", "-"), "-o must be a folder"),
            (("enhance", "-", "-", "-o", "d"), "more than once"),
            (("enhance", "x.wav", "-o", "-", "--json"), "both want standard output"),
            (("enhance", "-", "--raw", "-o", "x.wav"), "--raw needs --rate"),
            (("resample", "-", "--raw", "-r", "16000", "-o", "x.wav"), "--raw needs --input-rate"),
            (("resample", "x.wav", "-o", "y.wav"), "-r HZ"),
            (("resample", "x.wav", "-r", "16000"), "-o FILE"),
            (("clone", "--ref", "x.wav", "-o", "y.wav"), "--text TEXT"),
            (("clone", "--text", "x", "-o", "y.wav"), "--ref FILE"),
            (("clone", "--text", "x", "--ref", "y.wav"), "-o FILE"),
            (("clone", "--text", "x", "--ref", "y.wav", "--voice", "z", "-o", "o.wav"), "exclude each other"),
            (("clone", "--batch", "x.jsonl"), "--out-dir DIR"),
            (("clone", "--batch", "x.jsonl", "--out-dir", "d", "--text", "x"), "--batch takes its texts"),
            (("tokenize", "x"), "--model DIR"),
            (("voice", "create", "-o", "x"), "--ref FILE"),
        ]:
            done = self.check(USAGE, *arguments, cwd=self.folder)
            self.assertIn(message, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.files(), [])

    def test_a_folder_of_voices_that_is_not_there_is_named(self):
        file = self.folder / "file"
        file.touch()
        for folder, why in ((self.folder / "none", "No such file"), (file, "Not a directory")):
            for words in (("voice", "list"), ("voice", "show", "anna"), ("voice", "rm", "anna"),
                          ("clone", "--voice", "anna", "--text", "Hi.", "-o", self.folder / "out.wav")):  # fmt: skip
                with self.subTest(words=words, folder=folder):
                    self.assertIn(f"--voices: {folder}: {why}", self.check(INPUT, *words, "--voices", folder).stderr)
                    self.check(INPUT, *words, env={"TIMBRE_VOICES": str(folder)})
        self.assertEqual(self.files(), ["file"])

    def test_a_file_that_is_not_there_is_named_once(self):
        for words in (
            ("info", "none.tmbvoice"),
            ("voice", "show", "none"),
            ("info", "none.wav"),
            ("resample", "none.wav", "-r", "16k", "-o", "out.wav"),
            ("clone", "--ref", "a.wav", "--text-file", "none.txt", "-o", "o.wav"),
            ("clone", "--voice", "./none.tmbvoice", "--text", "Hi.", "-o", "out.wav"),
        ):
            with self.subTest(words=words):
                told = self.check(INPUT, *words, cwd=self.folder).stderr
                self.assertEqual((told.count("none"), told.count("No such file")), (1, 1), told)

    def test_environment_stands_in_and_the_option_wins(self):
        done = self.check(USAGE, "enhance", "x", "-o", "y.wav", env={"TIMBRE_THREADS": "many"})
        self.assertIn("TIMBRE_THREADS", done.stderr)
        done = self.check(USAGE, "clone", "--ref", "x", "--text", "t", "-o", "y.wav", env={"TIMBRE_ENGINE": "opera"})
        self.assertIn("opera", done.stderr)
        done = self.check(USAGE, "clone", "--ref", "x", "--text", "t", "-o", "y.wav", "--engine", "ballet",
                          env={"TIMBRE_ENGINE": "opera"})
        self.assertIn("ballet", done.stderr)

    def test_colours_only_on_a_terminal(self):
        self.assertNotIn(b"\033", run("--help", env={"NO_COLOR": ""}).stdout)


class Documents(Case):
    def document(self, kind):
        return (BUILD / "packaging" / {"man": "timbre.1", "bash": "timbre", "zsh": "_timbre"}[kind]).read_text()

    def test_all_options_are_everywhere(self):
        man = self.document("man").replace("\\-", "-")
        bash, zsh = self.document("bash"), self.document("zsh")
        for command in ALL_COMMANDS:
            options = options_of(self.check(OK, *command.split(), "--help").stdout.decode())
            self.assertIn("--help", options)
            self.assertGreaterEqual(len(options), 4)
            first = re.escape(command.split()[0])
            of_bash = re.search(rf"^        {first}\)\n(.*?)^            ;;", bash, re.M | re.S)[1]
            of_zsh = re.search(rf"^        {first}\)\n(.*?)^            ;;", zsh, re.M | re.S)[1]
            section = re.search(rf"^\.SS timbre {re.escape(command)} .*?(?=^\.S[SH])", man, re.M | re.S)[0]
            common = man[man.index(".SH COMMON OPTIONS"):]
            for option in options:
                self.assertIn(f"\\fB{option}\\fR", section + common)
                self.assertRegex(of_bash, rf"(?<![\w-]){option}(?![\w-])")
                self.assertRegex(of_zsh, rf"(?<![\w-]){option}(?![\w-])")

    def test_man_page_is_clean(self):
        page = self.folder / "timbre.1"
        page.write_text(self.document("man"))
        try:
            done = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", page], capture_output=True, text=True)
        except FileNotFoundError:
            self.skipTest("groff is not installed")
        self.assertEqual(done.stderr, "")

    def test_man_page_says_everything(self):
        man = self.document("man").replace("\\-", "-")
        for text in (
            ".SH FILES",
            ".SH SEE ALSO",
            ".SH EXIT STATUS",
            "\\fISampling:\\fR",
            "\\fIExamples:\\fR",
            "amx",
            "default 8077",
            "TIMBRE_STATE_DIR",
            "/var/lib/timbre-models",
        ):
            self.assertIn(text, man)
        self.assertNotIn("[environment", man)

    def complete(self, *words):
        script = pathlib.Path(self.scripts.name) / "timbre.bash"
        script.write_text(self.document("bash"))
        line = " ".join(f"'{w}'" for w in words)
        done = subprocess.run(
            [
                "bash",
                "-c",
                f"source '{script}'; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _timbre; "
                'printf "%s\\n" "${COMPREPLY[@]}"',
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C", "XDG_DATA_HOME": str(self.folder / "data")},
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def setUp(self):
        super().setUp()
        self.scripts = tempfile.TemporaryDirectory()
        self.addCleanup(self.scripts.cleanup)

    def test_bash_completion_works(self):
        self.assertEqual(self.complete("timbre", "enh"), ["enhance"])
        self.assertEqual(self.complete("timbre", "voice", ""), ["create", "design", "list", "show", "rm"])
        self.assertEqual(self.complete("timbre", "vo"), ["voice"])
        self.assertIn("--atten-lim-db", self.complete("timbre", "enhance", "--at"))
        self.assertEqual(self.complete("timbre", "resample", "--resampler", "p"), ["polyphase"])
        self.assertEqual(self.complete("timbre", "enhance", "--encoding", "s"), ["s16", "s24"])
        (self.folder / "voice.wav").touch()
        self.assertEqual(self.complete("timbre", "enhance", "voi"), ["voice.wav"])

    def test_bash_completes_names_with_spaces(self):
        (self.folder / "my voice.wav").touch()
        (self.folder / "my other  voice*.wav").touch()
        (self.folder / "my folder").mkdir()
        both = ["my folder", "my other  voice*.wav", "my voice.wav"]
        self.assertEqual(sorted(self.complete("timbre", "enhance", "my")), both)
        self.assertEqual(sorted(self.complete("timbre", "clone", "--ref", "my\\ ")), both)
        self.assertEqual(self.complete("timbre", "clone", "--ref", '"my v'), ["my voice.wav"])
        self.assertEqual(self.complete("timbre", "clone", "--out-dir", "my"), ["my folder"])

    def test_bash_completes_values(self):
        self.assertIn("qwen3-tts-0.6b", self.complete("timbre", "pull", "q"))
        self.assertEqual(self.complete("timbre", "clone", "--engine", ""), ["auto", "qwen3", "preview", "remote"])
        self.assertIn("zh", self.complete("timbre", "clone", "-l", ""))
        self.assertIn("0.6b", self.complete("timbre", "clone", "--model", "0"))
        self.assertIn("int8", self.complete("timbre", "clone", "--precision", "i"))
        self.assertEqual(self.complete("timbre", "clone", "--precision", "=", "f"), ["f32"])
        self.assertIn("json", self.complete("timbre", "serve", "--log-format", ""))
        self.assertIn("qwen3", self.complete("timbre", "serve", "--engine", "q"))
        self.assertEqual(self.complete("timbre", "clone", "--text", ""), [""])
        voices = self.folder / "data/timbre/voices"
        voices.mkdir(parents=True)
        for name in ("anna.tmbvoice", "\u00fcber mich.wav", "\u00fcber mich.txt"):
            (voices / name).touch()
        self.assertEqual(self.complete("timbre", "voice", "show", ""), ["anna", "\u00fcber mich"])

    def test_zsh_completion_works(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        (self.folder / "_timbre").write_text(self.document("zsh"))
        (self.folder / "trial.zsh").write_text(ZSH_TRIAL)

        def complete(*words):
            done = subprocess.run(
                ["zsh", "-f", "trial.zsh", *words], capture_output=True, text=True, cwd=self.folder, timeout=60
            )
            self.assertEqual(done.stderr, "")
            return done.stdout
        self.assertIn("enhance:take noise", complete("timbre", ""))
        self.assertEqual(complete("timbre", "").count("\nvoice:"), 1)
        self.assertIn("--atten-lim-db", complete("timbre", "enhance", ""))
        self.assertIn("*:file:_files", complete("timbre", "enhance", ""))
        self.assertIn("(auto soxr polyphase sinc)", complete("timbre", "resample", ""))
        self.assertIn("qwen3-tts-0.6b", complete("timbre", "pull", ""))
        self.assertEqual(complete("timbre", "voice", "").split(), ["--", "create", "list", "show", "rm"])
        self.assertIn("--ref-text", complete("timbre", "voice", "create", ""))
        self.assertRegex(complete("timbre", "clone", ""), r"--engine\[.*:NAME:\(auto qwen3 preview remote\)")
        self.assertRegex(complete("timbre", "clone", ""), r"--model\[.*0\.6b 1\.7b")
        self.assertRegex(complete("timbre", "serve", ""), r"--log-format\[.*\(text json\)")

    def test_closed_output_is_an_error(self):
        words = ["--help"], ["serve", "--help"], ["serve", "--print-config"], ["worker", "--help"], ["queue", "--help"]
        for command in words:
            with self.subTest(command=command), open("/dev/full", "wb") as full:
                done = subprocess.run([TIMBRE, *command], stdout=full, stderr=subprocess.PIPE, env=environment())
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"standard output", done.stderr)

    def test_closed_standard_descriptors(self):
        """No file or pipe of the command's gets their numbers: not read, not written to, and nothing waits."""
        write_wav(self.folder / "me.wav", tone(0.1))
        resample = ("resample", "me.wav", "-r", "16k", "-o", "out.wav")
        for closed, status, words in (
            ((0,), INPUT, ("info", "-")),
            ((1,), FAILED, ("info", "me.wav")),
            ((0, 1), FAILED, ("info", "me.wav")),
            ((2,), OK, resample),
            ((0, 1, 2), OK, resample),
            ((0, 1, 2), INPUT, ("info", "none.wav")),
            ((0,), OK, ("serve", "--help")),
            ((1,), FAILED, ("serve", "--help")),
            ((2,), OK, ("serve", "--help")),
        ):
            with self.subTest(closed=closed, words=words):
                shell = " ".join(f"{number}>&-" for number in closed)
                done = subprocess.run(["sh", "-c", f'exec "$@" {shell}', "sh", TIMBRE, *words], cwd=self.folder,
                                      stdin=subprocess.DEVNULL, capture_output=True, env=environment(),
                                      timeout=240)  # fmt: skip
                self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(self.files(), ["me.wav", "out.wav"])

    def test_the_largest_file_that_is_allowed(self):
        write_wav(self.folder / "me.wav", tone(2))
        for file, encoding in (("out.wav", "s16"), ("out.flac", "s24")):
            with self.subTest(file=file):
                words = ("resample", "me.wav", "-r", "44100", "-o", file, "--encoding", encoding)
                done = subprocess.run(["sh", "-c", 'ulimit -f 10; exec "$@"', "sh", TIMBRE, *words], cwd=self.folder,
                                      capture_output=True, env=environment(), timeout=240)  # fmt: skip
                self.assertEqual(done.returncode, FAILED, done.stderr)
                self.assertIn(f"{file}: cannot be written: File too large", done.stderr.decode())
                self.assertEqual(self.files(), ["me.wav"])

    def test_a_reader_that_leaves_is_no_error_line(self):
        """`| head` has what it wants: a status, and no line, from whatever writes."""
        write_wav(self.folder / "me.wav", tone(2))
        for arguments in (
            ("resample", "me.wav", "-r", "16k", "-o", "-"),
            ("resample", "me.wav", "-r", "16k", "-o", "-", "--format", "flac"),
            ("info", "me.wav"),
            ("models",),
        ):
            with self.subTest(arguments=arguments):
                reading, writing = os.pipe()
                os.close(reading)
                done = subprocess.run([TIMBRE, *arguments], stdout=writing, stderr=subprocess.PIPE, cwd=self.folder,
                                      env=environment(), timeout=240)  # fmt: skip
                os.close(writing)
                self.assertEqual((done.returncode, done.stderr), (FAILED, b""))

    def test_without_libcurl(self):
        """Downloads say what is missing; all else needs no libcurl."""
        (self.folder / "libcurl.so.4").write_text("no library")
        without = {"LD_LIBRARY_PATH": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        errors = self.check(FAILED, "pull", "dfn3", env=without).stderr
        self.assertRegex(errors, "libcurl.so.4.*libcurl4")
        self.assertEqual(len([line for line in errors.splitlines() if "error:" in line]), 1, errors)
        self.assertIn("libcurl", errors.splitlines()[-1])
        self.assertEqual(self.check(OK, "--version", env=without).stderr, "")
        self.assertEqual(self.files(), ["libcurl.so.4"])


if __name__ == "__main__":
    unittest.main()
