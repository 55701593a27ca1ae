"""The package is that of the build folder (TIMBRE_PYTHON); the command beside it makes the same from the same."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

PACKAGE = os.environ["TIMBRE_PYTHON"]
sys.path.insert(0, PACKAGE)
TIMBRE = os.environ["TIMBRE_COMMAND"]
GOLDEN = pathlib.Path(os.environ["TIMBRE_GOLDEN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZED = os.environ.get("TIMBRE_SANITIZED") == "1"
# A sanitizer's runtime was loaded for this Python. Its children are not to have it: the command has its own, and
# espeak-ng's address space is limited.
PRELOAD = os.environ.pop("LD_PRELOAD", "")
NOISY = ROOT / "examples" / "audio" / "noisy.flac"
QWEN = GOLDEN / "qwen"
WEIGHTS = os.environ.get("TIMBRE_DENOISER") or str(
    pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    / "timbre"
    / "DeepFilterNet3_onnx.tar.gz"
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Neither installed models nor packs of the user's: the tests have a cache of their own."""
    os.environ["TIMBRE_DENOISER"] = WEIGHTS
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]


@pytest.fixture
def command():
    """Runs the command, which must succeed; its standard output."""

    def run(*arguments):
        done = subprocess.run([TIMBRE, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def python():
    """Runs a program of Python's in a process of its own, which must succeed; its standard output."""

    def run(program, folder=None, **environment):
        done = subprocess.run(
            [sys.executable, "-c", "import os; os.environ.pop('LD_PRELOAD', None)\n" + program],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PACKAGE, "LD_PRELOAD": PRELOAD, **environment},
            timeout=240,  # nothing here waits so long unless it waits for ever
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def pipeline():
    """The preview voice, which needs espeak-ng."""
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    import timbre

    with timbre.Pipeline(engine="preview") as opened:
        yield opened


@pytest.fixture(scope="module")
def qwen():
    """A checkpoint with random weights."""
    import timbre

    with timbre.Pipeline(QWEN / "sample-c" / "model", precision="f32", max_batch=8, threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def recording():
    """(samples, rate) of the noisy recording."""
    import timbre

    return timbre.read(NOISY)
