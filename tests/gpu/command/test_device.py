"""What the command and the server say of the device: the one that computes, none, and one that is lost."""
import os
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TESTS / "server"))
from support import API, Server, run  # noqa: E402

GOLDEN = pathlib.Path(os.environ["TIMBRE_GOLDEN"]) / "qwen"
FAMILY = ("--model", str(GOLDEN / "sample-g/model"), "--precision", "f32")
NO_DRIVER = {"TIMBRE_CUDA_LIBRARY": "/nonexistent/libcuda.so"}
SPEAKER = {"text": "Some words.", "speaker": "mira", "max_frames": 4, "run_post_processing": False}


def command(*arguments, **environment):
    return run(*arguments, environment={**os.environ, **environment}, timeout=120)


def speak(folder, *arguments, **environment):
    return command("speak", "--engine", "qwen3", *FAMILY, "--speaker", "mira", "--text", "Some words.", "--max-frames",
                   "4", "--no-post", "-v", "-o", str(folder / "out.wav"), *arguments, **environment)


def gpu_line(**environment):
    done = command("doctor", **environment)
    (line,) = [line for line in done.stdout.splitlines() if line.split()[1:2] == ["gpu"]]
    return line


def test_doctor_says_which():
    assert gpu_line().startswith("ok    gpu") and "emulated GPU 0, architecture 9.0" in gpu_line()
    assert "no NVIDIA driver" in gpu_line(**NO_DRIVER)
    assert "at least 11.0 is needed" in gpu_line(TIMBRE_FAKE_CUDA_VERSION="10020")
    assert "architecture 7.5; at least 8.0 is needed" in gpu_line(TIMBRE_FAKE_CUDA_CAPABILITY="75")
    refused = gpu_line(TIMBRE_FAKE_CUDA_MODULE_RESULT="221")
    assert not refused.startswith("ok") and "CUDA_ERROR_JIT_COMPILER_NOT_FOUND" in refused


def test_the_command_says_what_computes(tmp_path):
    done = speak(tmp_path, "--device", "cuda")
    assert done.returncode == 0 and "on the GPU" in done.stderr, done.stderr
    done = speak(tmp_path, "--device", "auto", "-y", **NO_DRIVER)
    assert done.returncode == 0 and "device auto: the CPU (no NVIDIA driver" in done.stderr, done.stderr
    done = speak(tmp_path, "--device", "cuda", **NO_DRIVER)
    assert done.returncode != 0 and "no NVIDIA driver" in done.stderr, done.stderr
    done = speak(tmp_path, "--device", "cuda:1")
    assert done.returncode != 0 and "there is no GPU 1: the driver has 1" in done.stderr, done.stderr


def spoken(server, **fields):
    return server.post(f"{API}/custom-voice", {**SPEAKER, **fields})


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_server_on_a_gpu(device):
    with Server(*FAMILY, "--device", device, engine="qwen3") as server:
        assert spoken(server).status == 200
        assert server.get("/health").json()["device"] == "cuda"
        assert 0 < server.metric("timbre_gpu_memory_reserved_bytes") <= server.metric("timbre_gpu_memory_budget_bytes")


def test_a_server_whose_gpu_is_lost():
    """The item that is spoken fails; the server lives, loads the model again, and its log has the driver's reason."""
    faults = {"TIMBRE_FAKE_CUDA_FAULT_LATER": "1"}  # of those that speak: loading launches each graph once
    with Server(*FAMILY, "--device", "cuda", engine="qwen3", environment=faults) as server:
        answer = spoken(server)
        assert answer.status == 500, answer
        assert spoken(server).status == 200
        assert server.get("/health").json()["device"] == "cuda"
        assert server.get("/health/ready").status == 200
        assert server.metric("timbre_gpu_losses_total") == 1
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in server.log()
        assert "the GPU was lost: the model is loaded once more" in server.log()


def test_a_server_without_a_gpu():
    with Server(*FAMILY, "--device", "auto", engine="qwen3", environment=NO_DRIVER) as server:
        assert spoken(server).status == 200
        assert server.get("/health").json()["device"] == "cpu"
