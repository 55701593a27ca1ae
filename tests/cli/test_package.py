"""What `meson install` puts down: the library through pkg-config, shared and static, from C and C++; the documents."""
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from support import ROOT, SANITIZED, TIMBRE, Case

BUILD = pathlib.Path(os.environ["TIMBRE_BUILD"])
NINJA = "/usr/bin/ninja" if os.path.exists("/usr/bin/ninja") else "ninja"
PROGRAM = """
#include <timbre/timbre.h>
#include <stdio.h>
int main(void) {
    tmb_options options;
    tmb_context *context = 0;
    tmb_error error;
    tmb_options_default(&options);
    if (tmb_open(&options, &context, &error) != TMB_OK)
        return 1;
    tmb_close(&context);
    puts(tmb_version());
    return 0;
}
"""


@unittest.skipIf(SANITIZED, "a program without sanitizers cannot use a library with them")
@unittest.skipUnless(shutil.which("pkg-config"), "pkg-config is not installed")
class Package(Case):
    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        # Through the build folder itself: it remembers which meson made it, PATH may hold another.
        done = subprocess.run([NINJA, "-C", BUILD, "install"], env={**os.environ, "DESTDIR": str(self.root)},
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.pc = next(self.root.rglob("timbre.pc"))

    def flags(self, *options):
        env = {**os.environ, "PKG_CONFIG_PATH": str(self.pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(self.root)}
        text = subprocess.run(
            ["pkg-config", *options, "timbre"], check=True, capture_output=True, text=True, env=env
        ).stdout
        # The root is also put before the system's own folders, which are not in it.
        return [f.replace(str(self.root), "") if not pathlib.Path(f[2:]).exists() else f for f in text.split()]

    def run_program(self, *command, env=None):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr}")
        return done.stdout

    def test_programs_in_c_and_cpp(self):
        library = str(next(self.root.rglob("libtimbre.so")).parent)
        version = self.run_program("pkg-config", "--modversion", "timbre", env={"PKG_CONFIG_PATH": str(self.pc.parent)})
        for compiler, name in (("cc", "program.c"), ("c++", "program.cc")):
            if not shutil.which(compiler):
                continue
            (self.folder / name).write_text(PROGRAM)
            program = self.folder / f"{compiler}-program"
            self.run_program(
                compiler,
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pedantic",
                str(self.folder / name),
                "-o",
                str(program),
                *self.flags("--cflags", "--libs"),
            )
            self.assertEqual(self.run_program(str(program), env={"LD_LIBRARY_PATH": library}), version)

    def test_static_program(self):
        (self.folder / "program.c").write_text(PROGRAM)
        archive = next(self.root.rglob("libtimbre.a"))
        libraries = [f for f in self.flags("--static", "--cflags", "--libs") if f != "-ltimbre"]
        program = self.folder / "program"
        self.run_program("cc", str(self.folder / "program.c"), "-o", str(program), str(archive), *libraries)
        linked = self.run_program("ldd", str(program))
        self.assertNotIn("libtimbre", linked)
        self.run_program(str(program))

    def test_the_system_looks_where_the_library_lies(self):
        """/usr/local/lib64, Meson's guess on a Debian without dpkg-dev, is in neither path."""
        folder = "/" + str(self.pc.parent.relative_to(self.root))
        if not folder.startswith("/usr/local/") or not os.path.exists("/etc/debian_version"):
            self.skipTest("another prefix, or another system")
        where = self.run_program("pkg-config", "--variable", "pc_path", "pkg-config").strip()
        self.assertIn(folder, where.split(":"))

    def test_debian_s_packages_have_all_of_it(self):
        """dh_missing refuses what no package has; here it is seen before a release."""
        patterns = [line.strip() for file in (ROOT / "packaging/debian").glob("*.install")
                    for line in file.read_text().splitlines() if line.strip()]  # fmt: skip
        for file in self.root.rglob("*"):
            if file.is_dir():
                continue
            name = re.sub(r"^usr/local/", "usr/", str(file.relative_to(self.root)))
            name = re.sub(r"^usr/lib/systemd", "lib/systemd", name)
            name = re.sub(r"^usr/lib(64)?/(?=libtimbre|pkgconfig)", "usr/lib/x86_64-linux-gnu/", name)
            if "-packages/timbre/" in name:
                continue  # each Python has a folder of its own
            known = any(fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern + "/*") for pattern in patterns)
            self.assertTrue(known, f"{name} is in none of packaging/debian/*.install")

    def test_the_unit_names_what_is_installed(self):
        unit = next(self.root.rglob("timbre.service"))
        self.assertEqual(len(list(self.root.rglob("timbre.socket"))), 1)
        text = unit.read_text()
        program = next(line for line in text.splitlines() if line.startswith("ExecStart=")).split("=")[1].split()[0]
        self.assertTrue(os.access(str(self.root) + program, os.X_OK), program)
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        # The folder is not the system's root: the unit is judged with the program at the place where it lies now.
        copy = self.folder / "timbre.service"
        copy.write_text(text.replace(program, str(self.root) + program))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy],
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(
            (done.returncode, [line for line in done.stderr.splitlines() if "timbre" in line]), (0, []), done.stderr
        )

    def test_the_voice_that_comes_with_it(self):
        """A reader, good enough to be cloned, with the words of the recording."""
        folder = next(self.root.rglob("timbre/voices"))
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["english.flac", "english.txt"])
        env = {"TIMBRE_VOICES": str(folder), "XDG_DATA_HOME": str(self.folder)}
        shown = json.loads(self.run_program(TIMBRE, "voice", "show", "english", "--json", env=env))
        self.assertEqual(shown["transcript"].strip(), (folder / "english.txt").read_text().strip())

    def test_only_public_names_are_visible(self):
        library = next(self.root.rglob("libtimbre.so"))
        names = [line.split()[-1] for line in self.run_program("nm", "-D", "--defined-only", str(library)).splitlines()]
        header = (next(self.root.rglob("timbre.h"))).read_text()
        self.assertGreater(len(names), 20)
        for name in names:
            self.assertIn(name.split("@")[0], header)

    def test_documents_are_installed(self):
        for path in (
            "share/man/man1/timbre.1",
            "share/bash-completion/completions/timbre",
            "share/zsh/site-functions/_timbre",
        ):
            found = list(self.root.rglob(path))
            self.assertEqual(len(found), 1, path)
            self.assertGreater(found[0].stat().st_size, 2000)
        # Each program has a page: that of the other one, for the server.
        programs = [path.name for path in self.root.rglob("bin/timbre*")]
        self.assertEqual(sorted(programs), ["timbre", "timbre-serve"])
        for program in programs:
            self.assertEqual(len(list(self.root.rglob(f"share/man/man1/{program}.1"))), 1, program)


if __name__ == "__main__":
    unittest.main()
