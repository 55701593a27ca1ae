"""The commands of docs/deployment.md, as they stand there but for names, ports and how much of everything."""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from shared import need_redis, on_free_port
from support import API, PATIENCE, TIMBRE, Server, data_uri, wav

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(TIMBRE).resolve().parents[1]
CPUS = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
QWEN = ROOT / "tests/golden/qwen/sample-c/model"
SHORT = data_uri(wav(1.0))


@pytest.fixture(scope="module", autouse=True)
def redis_is_there():
    need_redis()


def commands(section):
    """The lines of the shell blocks below this heading."""
    page = (ROOT / "docs/deployment.md").read_text()
    text = re.search(rf"^## {section}\n(.*?)^## ", page, re.M | re.S).group(1)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return len(blocks), [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_from_one_machine_to_several(tmp_path):
    count, lines = commands("From one machine to several")
    assert count == 4
    (tmp_path / "blobs").mkdir()
    (tmp_path / "keys").write_text("team " + "k" * 64 + "\n")
    stands_for = {"queue.example": "127.0.0.1", "/mnt/timbre": str(tmp_path / "blobs"), "0.0.0.0": "127.0.0.1"}
    environment = {**os.environ, "PATH": f"{pathlib.Path(TIMBRE).resolve().parent}:{os.environ['PATH']}",
                   "TIMBRE_ENGINE": "preview",
                   "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path)}
    started = []

    def shell(line, start, more=()):
        for name, value in stands_for.items():
            line = line.replace(name, value)
        return start(["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, env={**environment, **dict(more)})

    def launch(line, written):
        """Starts what goes on running, on a port in place of the one that is written there."""
        def start(port):
            stands_for[written] = str(port)
            return shell("exec " + line.removesuffix("&"), subprocess.Popen, {"TIMBRE_PORT": str(port)}
                         if written == "8077" else {})
        port, process = on_free_port(start)
        started.append(process)
        return port
    try:
        server = None
        for line in lines:
            if not line.endswith("&"):
                done = shell(line, lambda *words, **options: subprocess.run(*words, **options, capture_output=True,
                                                                            text=True))
                assert done.returncode == 0, (line, done.stderr)
            elif line.startswith("redis"):
                launch(line, "6379")
            elif line.startswith("timbre serve"):
                server = launch(line, "8077")
            else:
                launch(line, "9090")
        client = Server(wait=False)
        client.port = server
        answer = client.post(API + "/voice-clone", {"text": "Hello.", "ref_audio": SHORT},
                             headers={"x-api-key": "k" * 64})
        assert answer.status == 200, answer
        client.folder.cleanup()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(PATIENCE)


# What makes a command of "How many workers" short: it stands behind the command's own options, which all stay.
SHORTER = {"bench/service_times.py": f"--build {BUILD} --rounds 1 --batch 1 --cpus {CPUS}",
           "bench/capacity_check.py": f"--build {BUILD} --items 3 --cpus {CPUS}",
           "bench/queue_first_audio.py": f"--build {BUILD} --rounds 1",
           "bench/redis_rate.py": "--items 200 --clients 2",
           "tools/capacity.py plan": "--items 300", "tools/capacity.py run": "--items 300",
           "tools/capacity.py redis": ""}


@pytest.mark.slow
def test_how_many_workers(tmp_path):
    count, lines = commands("How many workers")
    assert count == 2
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("bench", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    run = set()
    for line in lines:
        for name, more in SHORTER.items():
            # Up to what follows: a pipe, a file, another command, a comment.
            line, times = re.subn(rf"(?<![\w/])({re.escape(name)}\b[^>&|#]*)", rf"\1 {more} ", line)
            run |= {name} if times else set()
        line = line.replace("--model DIR", f"--model {QWEN}")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=tmp_path, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout[-500:], done.stderr[-2000:])
        text = done.stdout or (tmp_path / "mine.json").read_text()
        assert json.loads(text), (line, text)
    assert run == set(SHORTER)
