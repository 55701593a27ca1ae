"""The command lines of README.md and docs/cli.md, pasted line by line: on a recording of 5 s and a FLAC of 30 s, with
the preview voice and without network or sound card, for which small programs stand in."""
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from support import ROOT, TIMBRE, Case, environment, needs_denoiser, needs_espeak, speech, tone, write_wav

sys.path.insert(0, str(ROOT / "tests"))
from family_calls import copy_model  # noqa: E402

# What stands in for other programs: they read all that comes, or write a recording.
STANDINS = {
    "aplay": "#!/bin/sh\ncat >/dev/null\n",
    "sox": "#!/bin/sh\ncat >/dev/null\n",
    "arecord": "#!/bin/sh\nexec dd if=/dev/zero bs=96000 count=2 status=none\n",
    "ffmpeg": "#!/bin/sh\nexec cat me.wav\n",
}
# Lines that install, download or run for ever; others' tests and the scripts' own run them.
ELSEWHERE = re.compile(
    r"^(scripts/|meson |git |sudo |curl |docker )|^timbre (pull|serve)\b|^timbre clone --batch items"
)


def lines_of(page):
    """The commands in the shell blocks of a page, without their comments; lines that end in a backslash are joined."""
    for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*", "", line).strip()
            if line:
                yield line


@needs_denoiser
@needs_espeak
class Docs(Case):
    def setUp(self):
        super().setUp()
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "timbre").symlink_to(TIMBRE)
        for name, text in STANDINS.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.env = environment(TIMBRE_ENGINE="preview", XDG_DATA_HOME=str(self.folder / "data"))
        self.env["PATH"] = f"{tools}:{self.env['PATH']}"
        for name in ("me.wav", "noisy.wav", "in.wav"):
            write_wav(self.folder / name, (speech() * 3)[:5 * 48000])
        write_wav(self.folder / "long.wav", tone(30, 24000), 24000)
        self.run_line("timbre resample long.wav -r 44100 -o song.flac -q")
        (self.folder / "long.wav").unlink()
        (self.folder / "book.md").write_text("# One\n\nHello there.\n")
        for name in ("video.mkv", "talk.mkv"):
            (self.folder / name).touch()

        self.install_voices()

    def install_voices(self):
        """Small models in place of the released ones, and a fine-tuned folder."""
        def rename(config):
            talker = config["talker_config"]
            for key in ("spk_id", "spk_is_dialect"):
                talker[key]["vivian"] = talker[key].pop("mira")

        self.family = {**self.env, "TIMBRE_ENGINE": "auto", "HF_HUB_CACHE": str(self.folder / "hub")}
        for sample, name, edit in (("sample-g", "1.7B-CustomVoice", rename), ("sample-i", "1.7B-VoiceDesign", None)):
            cache = self.folder / f"hub/models--Qwen--Qwen3-TTS-12Hz-{name}"
            copy_model(sample, cache / "snapshots" / ("0" * 40), edit)
            (cache / "refs").mkdir()
            (cache / "refs/main").write_text("0" * 40)
        copy_model("sample-h", self.folder / "checkpoint-epoch-9")

    def run_line(self, line):
        # As typed: "…" stands for what the reader knows.
        env = self.family if re.match(r"timbre (speak|models \./)", line) else self.env
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line.replace("…", "")], cwd=self.folder, env=env,
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stderr}")

    def check_page(self, page, least):
        ran = 0
        for line in lines_of(page):
            # A saved voice needs the model, and a designed one a model that speaks: their own tests have one.
            if (
                ELSEWHERE.search(line)
                or "voice create" in line
                or "voice design" in line
                or "--voice" in line
                or line.startswith(("timbre voice show", "timbre voice rm"))
            ):
                continue
            with self.subTest(line=line):
                self.run_line(line)
                ran += 1
        self.assertGreaterEqual(ran, least)

    def test_readme(self):
        self.check_page("README.md", 5)

    def test_command_page(self):
        self.check_page("docs/cli.md", 5)

    def test_readme_is_in_the_order_of_use(self):
        titles = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.M)
        self.assertEqual([t for t in titles if t in ("Needs", "Try it", "Install it", "Use it", "Serve it")],
                         ["Needs", "Try it", "Install it", "Use it", "Serve it"])

    def test_examples_in_the_help_are_legal(self):
        """Every example of --help begins with a command that exists, and has options that it knows."""
        overview = subprocess.run([TIMBRE, "--help"], capture_output=True, text=True, env=self.env).stdout
        commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", overview, re.M)
        self.assertIn("clone", commands)
        for command in commands:
            text = subprocess.run(
                [TIMBRE, *command.split(), "--help"], capture_output=True, text=True, env=self.env
            ).stdout
            for line in text.partition("Examples:")[2].splitlines():
                for part in re.findall(r"timbre ([^|;&]*)", line):
                    name = next((c for c in sorted(commands, key=len, reverse=True) if part.startswith(c)), None)
                    self.assertIsNotNone(name, line)
                    known = subprocess.run(
                        [TIMBRE, *name.split(), "--help"], capture_output=True, text=True, env=self.env
                    ).stdout
                    for option in re.findall(r"(?<= )--[a-z-]+", part):
                        self.assertIn(option, known, line)


if __name__ == "__main__":
    unittest.main()
