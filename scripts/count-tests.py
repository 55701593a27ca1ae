#!/usr/bin/env python3
"""Counts single tests in the logs of `meson test`: count-tests.py FOLDER=EXIT_STATUS...

A test program of cmocka, unittest or pytest counts as the tests inside it; any other as one. A program that
failed although none of its tests did (a crash, a leak) counts as one failure more, and so does a run of meson
that failed without leaving a failed test. Prints what failed, then "N passed, N failed". The exit status is 1
where something failed or nothing ran.
"""
import json
import pathlib
import re
import sys

PATTERNS = [  # (marker that the format is this one, passed, failed, skipped): summed over all matches
    (r"^\[==========\]", r"^\[  PASSED  \] (\d+) test", r"^\[  FAILED  \] (\d+) test", r"^\[  SKIPPED \] (\d+) test"),
    (r"^=+ .*\b(?:passed|failed|errors?|skipped)\b.* in ", r"\b(\d+) passed", r"\b(\d+) (?:failed|errors?)\b",
     r"\b(\d+) skipped"),
]


def count_unittest(text):
    ran = sum(int(n) for n in re.findall(r"^Ran (\d+) tests?", text, re.M))
    parts = {"failures": 0, "errors": 0, "skipped": 0}
    for name, number in re.findall(r"\b(failures|errors|skipped)=(\d+)", "\n".join(
            re.findall(r"^(?:OK|FAILED).*\(.*\)$", text, re.M))):
        parts[name] += int(number)
    failed = parts["failures"] + parts["errors"]
    return ran - failed - parts["skipped"], failed, parts["skipped"]


def count(text):
    for marker, *patterns in PATTERNS:
        if re.search(marker, text, re.M):
            lines = text if marker.startswith(r"^\[") else "\n".join(
                line for line in text.splitlines() if re.search(marker, line))
            return tuple(sum(int(n) for n in re.findall(p, lines, re.M)) for p in patterns)
    if re.search(r"^Ran \d+ tests?", text, re.M):
        return count_unittest(text)
    return None


def main(arguments):
    passed = failed = skipped = 0
    for argument in arguments:
        folder, _, status = argument.rpartition("=")
        log = pathlib.Path(folder) / "meson-logs" / "testlog.json"
        failed_before = failed
        for line in log.read_text().splitlines() if log.exists() else []:
            test = json.loads(line)
            text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
            good = test["result"] in ("OK", "EXPECTEDFAIL")
            if test["result"] == "SKIP":
                skipped += 1
                continue
            inside = count(text)
            if inside is None:
                inside = (1, 0, 0) if good else (0, 1, 0)
            passed += inside[0]
            skipped += inside[2]
            failed += inside[1]
            if not good:
                if inside[1] == 0:
                    failed += 1
                print(f"failed: {folder}: {test['name']} ({test['result']})")
        if status != "0" and failed == failed_before:
            failed += 1
            print(f"failed: {folder}: the build, or meson test itself")
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed > 0 and failed == 0 else 1


sys.exit(main(sys.argv[1:]))
