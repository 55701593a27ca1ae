"""The script for a day with a GPU, in its reduced form, over the driver that runs kernels on the CPU."""
import importlib.machinery
import json
import os
import pathlib
import subprocess
import sys
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCRIPT = [sys.executable, str(ROOT / "scripts/gpu-day")]


def gpu_day(*arguments):
    return subprocess.run([*SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def steps(folder):
    return {step["step"]: step["ended"] for step in json.loads((folder / "gpu-day.json").read_text())["steps"]}


def test_packed_and_run(tmp_path):
    packed = tmp_path / "packed"
    done = gpu_day("pack", "--level", "0", "--build", os.environ["TIMBRE_BUILD"], "--to", packed)
    assert done.returncode == 0, done.stderr
    done = gpu_day("run", "--reduced", "--packed", packed, "--out", tmp_path / "out", "--limit", "3000")
    log = (tmp_path / "out/gpu-day.log").read_text()
    assert done.returncode == 0, done.stdout + log
    ended = steps(tmp_path / "out")
    assert {"doctor", "bounds, PTX 7.8", "bounds, PTX 7.0", "tests: batches", "a crowd in little memory",
            "bench/gpu.py"} <= set(ended), ended
    assert "emulated GPU 0" in log and "empty kernel of a graph" in log
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    measured = {figure["what"] for figure in figures["figures"]}
    assert {"load", "memory", "prefill", "frame", "predictor", "talker", "codec", "first", "server"} <= measured
    assert figures["notes"] == []
    # A step that fails and time that is over are told, and nothing else is begun.
    done = gpu_day("run", "--reduced", "--packed", tmp_path / "nothing", "--out", tmp_path / "other", "--limit", "0")
    assert done.returncode == 1 and set(steps(tmp_path / "other").values()) <= {"not begun", "not installed"} | {
        "0 of 4 were spoken"}
    done = gpu_day("run", "--reduced", "--packed", tmp_path / "nothing", "--out", tmp_path / "third", "--limit", "60")
    assert done.returncode == 1 and steps(tmp_path / "third")["doctor"] == "missing"


def goes_on(process):
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_of_a_step_goes_on(tmp_path):
    """What a step started ends with it, whether its time is over or it leaves something behind."""
    path = str(ROOT / "scripts/gpu-day")
    module = types.ModuleType("gpu_day")
    module.__file__ = path
    importlib.machinery.SourceFileLoader(module.__name__, path).exec_module(module)
    for command, ended in (("sleep 1000 & echo $! >$FILE; wait", "time over"),
                           ("sleep 1000 >/dev/null & echo $! >$FILE", "ok")):
        written = tmp_path / "process"
        assert module.run_group(["sh", "-c", command], 10, {**os.environ, "FILE": str(written)}) == (ended, "")
        while goes_on(int(written.read_text())):
            time.sleep(0.1)
