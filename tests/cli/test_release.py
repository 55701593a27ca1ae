"""What makes a release: the version in one place, the changelog's section, the program's weights."""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import unittest

from support import ROOT, TIMBRE, WEIGHTS, Case, environment, needs_denoiser

VERSION = re.search(r"^ *version: '([0-9.]+)',$", (ROOT / "meson.build").read_text(), re.M).group(1)


def git(folder, *arguments):
    date = {name: "2026-01-02T03:04:05Z" for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE")}
    who = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
    subprocess.run(["git", *who, "-C", folder, *arguments], check=True, capture_output=True,
                   env={**os.environ, **date})  # fmt: skip


@unittest.skipUnless((ROOT / ".git").exists() and shutil.which("git"), "not a checkout")
class Twice(Case):
    """What of a release takes no compiler: two runs, in two places and surroundings, give the same bytes. All of it is
    compared by `scripts/release --twice`."""

    def setUp(self):
        super().setUp()
        self.first, self.second = self.folder / "first", self.folder / "another place"
        subprocess.run(["git", "clone", "-q", ROOT, self.first], check=True, capture_output=True)
        for name in ("scripts/release", "scripts/sbom.py", "scripts/common.sh", "meson.build", "CHANGELOG.md"):
            shutil.copy(ROOT / name, self.first / name)
        git(self.first, "add", "-A")
        git(self.first, "commit", "-q", "--allow-empty", "-m", "as it is now")
        subprocess.run(["git", "clone", "-q", self.first, self.second], check=True, capture_output=True)

    def release(self, folder, *arguments, umask=0o022, **env):
        return subprocess.run([folder / "scripts/release", *arguments], capture_output=True, text=True, umask=umask,
                              cwd="/", env={**os.environ, **env})  # fmt: skip

    def test_the_same_bytes(self):
        made = []
        surroundings = ({"TZ": "Asia/Tokyo", "LC_ALL": "C"}, {"TZ": "America/Lima", "SOURCE_DATE_EPOCH": "1"})
        for folder, umask, env in zip((self.first, self.second), (0o022, 0o077), surroundings):
            done = self.release(folder, "source", umask=umask, **env)
            self.assertEqual(done.returncode, 0, done.stderr)
            made.append({path.name: path.read_bytes() for path in (folder / "dist" / VERSION).iterdir()})
        self.assertEqual(made[0], made[1])
        source, bill = f"timbre-{VERSION}-source.tar.gz", f"timbre-{VERSION}.spdx.json"
        self.assertEqual(sorted(made[0]), sorted(["SHA256SUMS", source, bill]))
        sums = dict(reversed(line.split()) for line in made[0]["SHA256SUMS"].decode().splitlines())
        self.assertEqual(sums, {name: hashlib.sha256(made[0][name]).hexdigest() for name in (source, bill)})
        document = json.loads(made[0][bill])
        self.assertEqual(document["spdxVersion"], "SPDX-2.3")
        packages = {package["SPDXID"]: package for package in document["packages"]}
        self.assertEqual(len(packages), len(document["packages"]))
        for relation in document["relationships"]:
            for end in (relation["spdxElementId"], relation["relatedSpdxElement"]):
                self.assertTrue(end == "SPDXRef-DOCUMENT" or end in packages, end)
        (tarball,) = [package for package in packages.values() if package["name"] == source]
        self.assertEqual(tarball["checksums"], [{"algorithm": "SHA256", "checksumValue": sums[source]}])
        # The tarball holds what is committed, under one folder.
        with tarfile.open(fileobj=io.BytesIO(made[0][source])) as archive:
            names = archive.getnames()
        self.assertEqual({name.split("/")[0] for name in names}, {f"timbre-{VERSION}"})
        self.assertIn(f"timbre-{VERSION}/meson.build", names)

    def test_what_is_no_release(self):
        self.assertEqual(self.release(self.first, "everything").returncode, 2)
        (self.first / "README.md").write_text("changed")
        done = self.release(self.first, "source")
        self.assertIn("not committed", done.stderr)
        self.assertEqual(done.returncode, 1)
        git(self.first, "checkout", "-q", ".")
        changes = (self.first / "CHANGELOG.md").read_text().replace(f"## {VERSION}", "## 9.9.9")
        (self.first / "CHANGELOG.md").write_text(changes)
        git(self.first, "commit", "-qam", "another version's changes")
        done = self.release(self.first, "source")
        self.assertIn(f'no section "## {VERSION}"', done.stderr)
        self.assertEqual(done.returncode, 1)
        self.assertFalse((self.first / "dist").exists())


class Release(Case):
    def test_one_version(self):
        shown = subprocess.run(
            ["bash", "-c", ". scripts/common.sh; project_version"], cwd=ROOT, capture_output=True, text=True
        )
        self.assertEqual(shown.stdout.strip(), VERSION)
        self.assertIn(VERSION, self.check(0, "--version").stdout.decode())
        self.assertRegex((ROOT / "CHANGELOG.md").read_text(), rf"(?m)^## {re.escape(VERSION)}\b")

    @needs_denoiser
    @unittest.skipIf(
        os.path.exists("/usr/share/timbre/DeepFilterNet3_onnx.tar.gz"), "a package's denoiser is always found"
    )
    def test_a_tree_anywhere_brings_its_weights(self):
        """bin/timbre finds share/timbre beside bin, after what the user pulled."""
        (self.folder / "bin").mkdir()
        shutil.copy(TIMBRE, self.folder / "bin" / "timbre")
        env = {
            key: value
            for key, value in environment(HOME=str(self.folder)).items()
            if not key.startswith(("TIMBRE", "XDG"))
        }
        env["TIMBRE_SYSTEM_MODELS"] = str(self.folder / "nothing")

        def denoiser():
            done = subprocess.run(
                [self.folder / "bin" / "timbre", "models", "--json"], env=env, capture_output=True, text=True
            )
            models = [json.loads(line) for line in done.stdout.splitlines()]
            return next(model for model in models if model["name"] == "dfn3")

        self.assertFalse(denoiser()["installed"])
        (self.folder / "share" / "timbre").mkdir(parents=True)
        (self.folder / "share" / "timbre" / WEIGHTS.name).symlink_to(WEIGHTS.resolve())
        found = denoiser()
        self.assertTrue(found["installed"])
        self.assertEqual(pathlib.Path(found["path"]).resolve(), WEIGHTS.resolve())


if __name__ == "__main__":
    unittest.main()
