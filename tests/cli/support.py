"""Runs the command and reads and writes WAV files; only Python's own library."""
import array
import ast
import atexit
import json
import math
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

TIMBRE = os.environ["TIMBRE_COMMAND"]
GOLDEN = pathlib.Path(os.environ["TIMBRE_GOLDEN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZED = os.environ.get("TIMBRE_SANITIZED") == "1"
WEIGHTS = pathlib.Path(os.environ.get("TIMBRE_DENOISER") or pathlib.Path(
    os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "timbre" / "DeepFilterNet3_onnx.tar.gz")

OK, FAILED, USAGE, INPUT, MODEL, INTERRUPTED = 0, 1, 2, 3, 4, 130

needs_denoiser = unittest.skipUnless(WEIGHTS.exists(), "the denoiser's weights are not installed (scripts/setup)")
needs_espeak = unittest.skipUnless(shutil.which("espeak-ng"), "espeak-ng is not installed")


# Neither installed models nor packed weights of the user's: the tests have a cache of their own.
CACHE = tempfile.mkdtemp(prefix="timbre-cache-")
atexit.register(shutil.rmtree, CACHE, True)


def environment(**extra):
    result = {key: value for key, value in os.environ.items() if not key.startswith(("TIMBRE_", "HF_"))}
    if "TIMBRE_TEST_BACKEND" in os.environ:  # the tests of a GPU's driver that runs kernels on the CPU
        result.update({name: os.environ[name] for name in ("TIMBRE_DEVICE", "TIMBRE_CUDA_LIBRARY")})
    result.update({"TIMBRE_DENOISER": str(WEIGHTS), "NO_COLOR": "1", "XDG_CACHE_HOME": CACHE, **extra})
    return result


def run(*arguments, stdin=b"", env=None, cwd=None, timeout=240):
    return subprocess.run([TIMBRE, *map(str, arguments)], input=stdin, capture_output=True, cwd=cwd, timeout=timeout,
                          env=environment(**(env or {})))


def read_npy(path):
    """The values of a one-dimensional NumPy file of int16 or float32."""
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    length, = struct.unpack_from("<H", data, 8)
    head = ast.literal_eval(data[10:10 + length].decode())
    return array.array({"<i2": "h", "<f4": "f"}[head["descr"]], data[10 + length:])


def denoiser_clips():
    """A folder with the denoiser's golden clips as WAV files: CASE.in.wav (16 bit), CASE.KIND.f32.wav of the official
    runtime's stream, and CASE.aligned.f32.wav, that stream without its delay of 1440 samples."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="timbre-clips-"))
    atexit.register(shutil.rmtree, folder, True)
    for source in (GOLDEN / "dfn").glob("*.in.npy"):
        case, clip = source.name[:-len(".in.npy")], read_npy(source)
        write_wav(folder / f"{case}.in.wav", [s / 32768 for s in clip])
        for stream in source.parent.glob(f"{case}*.raw.npy"):
            kind, samples = stream.name[len(case) + 1:-len(".npy")], read_npy(stream)
            write_wav(folder / f"{case}.{kind}.f32.wav", samples, encoding="float")
            if kind == "raw":
                write_wav(folder / f"{case}.aligned.f32.wav", samples[1440:1440 + len(clip)], encoding="float")
    return folder


def json_lines(data):
    return [json.loads(line) for line in data.decode().splitlines()]


class Case(unittest.TestCase):
    """A test with a folder of its own that must hold, at the end, only what the test expects."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="timbre-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, status, *arguments, **options):
        """Runs the command and compares the exit status; returns what ran, stderr as text."""
        done = run(*arguments, **options)
        done.stderr = done.stderr.decode()
        self.assertEqual(done.returncode, status, f"timbre {' '.join(map(str, arguments))}\n{done.stderr}")
        return done

    def files(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


def write_wav(path, samples, rate=48000, channels=1, encoding="s16"):
    """`samples`: floats, interleaved."""
    if encoding == "s16":
        data = array.array("h", (max(-32768, min(32767, round(s * 32768))) for s in samples)).tobytes()
        code, size = 1, 2
    else:
        data, code, size = array.array("f", samples).tobytes(), 3, 4
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, code, channels, rate,
                       rate * channels * size, channels * size, 8 * size, b"data", len(data))
    pathlib.Path(path).write_bytes(head + data)


def parse_wav(data):
    """(rate, channels, samples as floats, interleaved); a data size that is not known yet means: to the end."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:16]
    at, code, rate, channels, bits = 12, None, None, None, None
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
            if code == 0xFFFE:
                code = struct.unpack_from("<H", data, at + 8 + 24)[0]
        if name == b"data":
            size = min(size, len(data) - at - 8)
            body = data[at + 8:at + 8 + size]
            if bits == 16:
                values = array.array("h", body)
                return rate, channels, [v / 32768 for v in values]
            if bits == 24:
                return rate, channels, [int.from_bytes(body[i:i + 3], "little", signed=True) / 8388608
                                        for i in range(0, len(body) - 2, 3)]
            return rate, channels, list(array.array("f", body))
        at += 8 + size + size % 2
    raise AssertionError("no data chunk")


def read_wav(path):
    return parse_wav(pathlib.Path(path).read_bytes())


def snr(reference, other):
    """dB; the louder the difference, the lower."""
    signal_power = sum(x * x for x in reference)
    noise = sum((x - y) ** 2 for x, y in zip(reference, other))
    return math.inf if noise == 0 else 10 * math.log10(signal_power / noise)


def speech():
    """Two seconds of somebody who speaks, at 48 kHz: a reference must have speech in it."""
    return [s / 32768 for s in read_npy(GOLDEN / "dfn" / "tts_en_odd.in.npy")[:96000]]


def tone(seconds, rate=48000, frequency=220.0, level=0.3):
    """A voiced sound: a few harmonics, amplitude moving like syllables."""
    step = 2 * math.pi * frequency / rate
    return [level * (0.6 + 0.4 * math.sin(2 * math.pi * 3 * i / rate)) *
            (math.sin(step * i) + 0.5 * math.sin(2 * step * i) + 0.25 * math.sin(3 * step * i)) / 1.75
            for i in range(int(seconds * rate))]


def peak_memory(process):
    """VmHWM of a running process in bytes, or None where it has ended."""
    try:
        for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def start(*arguments, env=None, **options):
    return subprocess.Popen([TIMBRE, *map(str, arguments)], env=environment(**(env or {})), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def interrupt(process, number=signal.SIGINT):
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
