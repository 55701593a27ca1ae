"""scripts/setup and scripts/demo where Debian's package manager is not there: they say what is missing, and go on if
nothing is."""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from support import ROOT, Case

TOOLS = [
    "bash",
    "sh",
    "sed",
    "sort",
    "grep",
    "cat",
    "cut",
    "tr",
    "comm",
    "uname",
    "id",
    "dirname",
    "mkdir",
    "env",
    "mktemp",
    "sha256sum",
    "rm",
    "cp",
    "cmp",
    "tail",
    "head",
    "nproc",
]
PRESENT = ["python3", "pip3", "cc", "meson", "ninja", "pkg-config"]


class Setup(Case):
    def path(self, *extra, without=()):
        """A PATH without apt, with these commands alone."""
        folder = self.folder / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in TOOLS + PRESENT:
            place = shutil.which(name)
            if place and name not in without:
                (folder / name).symlink_to(place)
        for name in extra:
            (folder / name).write_text("#!/bin/sh\nexit 0\n")
            (folder / name).chmod(0o755)
        return {**os.environ, "PATH": str(folder)}

    def setup(self, purpose, env):
        return subprocess.run(
            ["bash", ROOT / "scripts/setup", "--for", purpose], capture_output=True, text=True, env=env, timeout=120
        )

    @unittest.skipUnless(all(shutil.which(name) for name in PRESENT), "not all build tools are installed")
    def test_goes_on_if_all_is_there(self):
        env = self.path("espeak-ng", "curl")
        if not (
            pathlib.Path(env.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
            / "timbre/DeepFilterNet3_onnx.tar.gz"
        ).exists():
            self.skipTest("the denoiser's weights are not installed")
        for purpose in ("build", "demo"):
            done = self.setup(purpose, env)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_names_what_is_missing(self):
        names = {"dnf": "ninja-build", "pacman": "ninja", "apk": "ninja-build", "brew": "ninja"}
        for manager, package in names.items():
            done = self.setup("build", self.path(manager, without=("ninja",)))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"{manager} .*\b{package}\b.*\n\Z")
        done = self.setup("demo", self.path(without=("ninja", "meson")))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"(?s)no apt.*meson.*ninja-build.*\n\Z")

    def test_every_package_has_a_name_everywhere(self):
        rows = [
            line.split() for line in (ROOT / "scripts/packages").read_text().splitlines() if line and line[0] != "#"
        ]
        self.assertGreater(len(rows), 25)
        for row in rows:
            self.assertEqual(len(row), 7, row)
            self.assertRegex(row[6], r"^(cmd:[\w.+-]+|pc:[\w.+-]+|-)$")

    def test_demo_looks_at_its_options_first(self):
        for option, name in (("--ref", "absent.wav"), ("--model", "absent")):
            done = subprocess.run(
                ["bash", ROOT / "scripts/demo", option, self.folder / name], capture_output=True, text=True, timeout=60
            )
            self.assertEqual(done.returncode, 2)
            self.assertIn(name, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
