"""Runs pytest over one file of tests with the packages of tests/requirements.txt: run_pytest.py FILE [OPTION...]

They live in .cache/venv, which scripts/setup --for test makes. Where they are missing the tests fail: what was
not run is not tested.
"""
import os
import pathlib
import sys

root = pathlib.Path(__file__).resolve().parent.parent
python = os.environ.get("TIMBRE_TEST_PYTHON") or str(root / ".cache/venv/bin/python")
if not os.access(python, os.X_OK):
    sys.exit(f"{python} is missing: run scripts/setup --for test, or name a Python that has the packages of "
             "tests/requirements.txt in TIMBRE_TEST_PYTHON")
test = pathlib.Path(sys.argv[1]).resolve()
os.chdir(test.parent)
os.execv(python, [python, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--tb=short", "--durations=5",
                  test.name, *sys.argv[2:]])
