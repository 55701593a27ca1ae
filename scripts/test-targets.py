"""Prints the files of a build folder that the tests of some suites need, for ninja.

    test-targets.py MESON FOLDER SUITE... [-SUITE...]      -SUITE: without those of this one

A build with sanitizers takes minutes, and half of it has no test in the suite that runs.
"""
import json
import os
import subprocess
import sys

meson, folder, *suites = sys.argv[1:]
left_out = {suite[1:] for suite in suites if suite.startswith("-")}
known = json.loads(subprocess.check_output([meson, "introspect", folder, "--tests", "--targets"]))
files = {target["id"]: target["filename"] for target in known["targets"]}
wanted = {
    os.path.relpath(file, os.path.abspath(folder))
    for test in known["tests"]
    for own in [{suite.split(":")[-1] for suite in test["suite"]}]
    if own & set(suites) and not own & left_out
    for dependency in test["depends"]
    for file in files.get(dependency, [])
}
print("\n".join(sorted(wanted)))
