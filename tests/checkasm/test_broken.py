#!/usr/bin/env python3
"""checkasm finds every kernel that is wrong on purpose, says which it is, and finds nothing else: test_broken.py
CHECKASM"""
import os
import re
import shlex
import subprocess
import sys
import unittest

# Meson's: what runs programs of another machine.
WRAPPER = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
CHECKASM = sys.argv.pop(1)


def checkasm(*arguments):
    return subprocess.run([*WRAPPER, CHECKASM, *arguments], capture_output=True, text=True, timeout=600)


class Broken(unittest.TestCase):
    def test_each_is_found(self):
        names = [line.split() for line in checkasm("--list-broken").stdout.splitlines()]
        self.assertGreater(len(names), 10)
        for name, kernel in names:
            with self.subTest(name):
                done = checkasm("--break=" + name)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                reports = re.findall(r"^(?:FAILED (\S+) |checkasm: signal \w+ in (\S+) )\((\w+)\)", done.stderr, re.M)
                self.assertTrue(reports, done.stderr)
                for failed, crashed, level in reports:
                    self.assertTrue((failed or crashed).startswith(kernel), done.stderr)
                    self.assertEqual(level, "broken", done.stderr)

    def test_a_crash_is_reported(self):
        self.assertRegex(checkasm("--break=gemm_overrun").stderr, r"signal SEGV in gemm_f32\S* \(broken\)")

    def test_unknown_names(self):
        self.assertEqual(checkasm("--break=nothing").returncode, 2)
        self.assertEqual(checkasm("--only=nothing").returncode, 1)


if __name__ == "__main__":
    unittest.main()
