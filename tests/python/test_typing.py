"""The types: mypy and pyright over the package, over a program that is right and over one that is not."""

import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PACKAGE, SANITIZED

HERE = pathlib.Path(__file__).parent
WRONG = [
    number
    for number, line in enumerate((HERE / "wrongly_typed_program.py").read_text().splitlines(), 1)
    if "# WRONG" in line
]


def errors_in(program, out):
    return sorted({int(number) for number in re.findall(program + r"\.py:(\d+)(?::\d+ -|:) error", out)})


pytestmark = pytest.mark.skipif(SANITIZED, reason="the release build tells")


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")
    (cache / "mypy.ini").write_text(f"[mypy]\ncache_dir = {cache}\n")

    def run(module, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", *module, *map(str, arguments)], cwd=PACKAGE, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    run.configuration = cache / "mypy.ini"
    return run


def test_mypy(mypy):
    check = ("mypy", "--strict", "--config-file", mypy.configuration)
    assert "Success" in (out := mypy(check, "timbre", HERE / "typed_program.py")), out
    out = mypy(check, HERE / "wrongly_typed_program.py")
    assert errors_in("wrongly_typed_program", out) == WRONG, out


def test_the_stub_names_what_the_extension_has():
    from timbre import _core

    stub = pathlib.Path(PACKAGE, "timbre", "_core.pyi").read_text()
    named = set(re.findall(r"^(?:def )?(\w+)(?:\(|: (?:str|int)$)", stub, re.M))
    assert named == {name for name in dir(_core) if not name.startswith("__")}


def test_pyright(tmp_path):
    for path in [
        *pathlib.Path(PACKAGE, "timbre").glob("*.py*"),
        HERE / "typed_program.py",
        HERE / "wrongly_typed_program.py",
    ]:
        target = tmp_path / ("timbre" if path.parent.name == "timbre" else "") / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(path.read_text())
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard", "reportMissingModuleSource": false}')
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "pyright", "--pythonpath", sys.executable, "-p", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    out = done.stdout + done.stderr
    assert errors_in("wrongly_typed_program", out) == WRONG and f"{out.count(' - error')} errors" in out, out
    assert out.count(" - error") == len(re.findall("wrongly_typed_program.* - error", out)), out
