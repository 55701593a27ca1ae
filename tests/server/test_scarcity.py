"""Too little of something: memory, disk, descriptors, the model. What cannot be done is refused with a reason,
and when there is enough again the server works on, without a restart."""
import contextlib
import http.client
import itertools
import os
import pathlib
import resource
import shutil
import sqlite3
import subprocess
import threading

import pytest
from support import API, FULL, REFERENCE, Server, data_uri, wait_for, wav

GOLDEN = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden"))
LONG = "This sentence is here to take quite a while to say. " * 3


def limited(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


def all_at_once(calls):
    answers = []
    threads = [threading.Thread(target=lambda call=call: answers.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(threads)
    return answers


def check_intact(server):
    """The database agrees with the folder, and nothing is half-written."""
    assert not list((server.state / "tmp").iterdir())
    with contextlib.closing(sqlite3.connect(f"file:{server.state / 'state.db'}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = {name for (name,) in database.execute("SELECT id FROM files")}
    assert rows == {path.name for path in (server.state / "files").iterdir()}


# ---- memory

@pytest.mark.slow
def test_budget():
    """More than fits waits; what never fits is refused with both numbers."""
    with Server("--memory", "80M", "--max-batch", 32) as server:
        ref = server.upload()
        answers = all_at_once([lambda: server.clone([LONG] * 4, "/voice-clone-enhanced", ref_audio=ref)] * 8)
        assert [a.status for a in answers] == [200] * 8
        for answer in answers:
            assert all(item["audio_base64"] for item in answer.json()["items"])
        assert server.metric("timbre_memory_budget_bytes") == 80 << 20
    with Server("--memory", "9M") as server:
        answer = server.clone("Hi.")
        assert answer.status == 503 and "Not enough memory" in answer.detail and answer.detail.count(" M") >= 2, answer


@pytest.mark.slow
def test_hard_limit():
    """Under a limit of the address space, more work than fits finishes or is refused with a reason."""
    with Server("--max-batch", 64, "--enhance-workers", 8, preexec_fn=limited(resource.RLIMIT_AS, 640 << 20)) as server:
        ref = server.upload()
        assert server.metric("timbre_memory_budget_bytes") == (640 << 20) * 3 // 4
        long = wav(20.0, 16000)
        calls = (
            [lambda: server.clone([LONG] * 6, "/voice-clone-enhanced", ref_audio=ref, timeout=300)] * 12
            + [lambda: server.post(API + "/enhance", form={"audio": ("a.wav", long)}, timeout=300)] * 10
            + [
                lambda: server.post(
                    API + "/voice-clone", body=b" " * (30 << 20), headers={"Content-Type": "application/json"}
                )
            ]
            * 8
        )
        answers = all_at_once(calls)
        assert sum(a.status == 200 for a in answers) >= 8
        for answer in answers:
            assert answer.status in (200, 400, 413, 503), answer
            if answer.status == 503:
                assert answer.detail and int(answer.headers["Retry-After"]) >= 1
            elif answer.status == 200 and answer.headers["Content-Type"] == "application/json":
                for item in answer.json()["items"]:
                    assert item["audio_base64"] or "memory" in item["error"], item
        server.wait_idle(60)
        assert server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref).status == 200
        check_intact(server)


# ---- disk

def use_up_disk(server):
    """Uploads until there is no room; then every other way to store something is refused as well."""
    ref = server.upload()
    statuses = []
    for seed in range(200):
        statuses.append(server.post(API + "/files/upload", form={"file": ("a.wav", wav(1.0, 48000, seed=seed))}).status)
        if statuses[-1] != 201:
            break
    assert statuses[-1] == 507 and statuses.count(201) >= 1, statuses
    text = LONG * 8
    answer = server.clone(text, "/voice-clone-enhanced", ref_audio=ref)
    assert answer.status == 507 and "room" in answer.detail, answer
    many = server.clone(["Hi.", text], "/voice-clone-enhanced", ref_audio=ref)
    assert many.status == 200 and "room" in many.json()["items"][1]["error"], many
    answer = server.post(API + "/enhance?response_format=wav", form={"audio": ("a.wav", wav(8.0, 8000))})
    assert answer.status == 507, answer
    return ref


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MiB, or None where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk(small_disk):
    if small_disk is None:
        pytest.skip("mounting a small file system needs root; test_largest_file is the same without")
    with Server("--max-storage", 0, state=small_disk / "state") as server:
        ref = use_up_disk(server)
        job = server.post(API + "/queue/submit", {"items": [{"text": LONG * 8, "ref_audio": ref}]})
        assert job.status in (202, 507), job
        if job.status == 202:
            results = server.wait_job(job.json()["id"])
            assert results["failed"] == 1 and "room" in results["items"][0]["error"]
        check_intact(server)
        # Room again: works on.
        listed = [path.name for path in (server.state / "files").iterdir() if path.name != ref]
        for name in listed:
            assert server.delete(f"{API}/files/{name}").status in (204, 409)
        assert server.clone("Hello.", ref_audio=ref).status == 200
        check_intact(server)
        server.stop()
        server.start()
        assert server.clone("Hello.", ref_audio=ref).status == 200


def test_largest_file():
    """The system refuses files beyond a size: as a full disk. (espeak-ng cannot run under such a limit.)"""
    model = GOLDEN / "qwen/sample-c/model"
    with Server("--model", model, engine="qwen3", preexec_fn=limited(resource.RLIMIT_FSIZE, 400 << 10)) as server:
        ref = server.upload()
        answer = server.post(API + "/files/upload", form={"file": ("a.wav", wav(8.0, 48000))})
        assert answer.status == 507, answer
        # How long random weights speak depends on the seed alone.
        too_long = {"text": LONG * 2, "ref_audio": ref}
        for seed in range(60):
            too_long["seed"] = seed
            answer = server.post(API + "/voice-clone-enhanced", too_long)
            if answer.status != 200:
                break
        assert answer.status == 507 and "room" in answer.detail, answer
        answer = server.post(API + "/enhance", form={"audio": ("a.wav", wav(8.0, 8000))})
        assert answer.status == 507, answer
        job = server.wait_job(server.job([too_long, {"text": "Hi.", "ref_audio": ref, "max_seconds": 1}]))
        assert [item["state"] for item in job["items"]] == ["failed", "done"] and "room" in job["items"][0]["error"]
        check_intact(server)
        assert server.clone("Hello.", ref_audio=ref, max_seconds=1).status == 200


# ---- descriptors

@pytest.mark.parametrize("limit", [28, 40])
def test_few_descriptors(limit):
    """Whatever cannot be opened, and wherever that shows: for now there is no answer, and no job suffers from it."""
    with Server(preexec_fn=limited(resource.RLIMIT_NOFILE, limit)) as server:
        ref = server.upload()
        job = server.job([{"text": "Hello there.", "ref_audio": ref}] * 8)
        clones = [
            {"ref_audio": ref},
            {"ref_audio": data_uri()},
            {"ref_audio": ref, "path": "/voice-clone-enhanced"},
            {"ref_audio": ref, "response_format": "flac"},
            {"ref_audio": ref, "stream": True, "response_format": "opus"},
        ]
        file = ("a.wav", REFERENCE)
        kinds = [*[lambda fields=fields: server.clone("Hello there.", **fields) for fields in clones],
                 lambda: server.clone(["Hello there."] * 2, ref_audio=ref),
                 lambda: server.post(API + "/voice-clone-file", form={"text": "Hello there.", "ref_audio": file}),
                 lambda: server.post(API + "/files/upload", form={"file": file}),
                 lambda: server.get(f"{API}/files/{ref}"),
                 lambda: server.post(API + "/voices", form={"name": f"v{next(numbers)}", "ref_audio": file}),
                 lambda: server.post(API + "/enhance", form={"audio": file}),
                 lambda: server.get(f"{API}/queue/results/{job}")]
        numbers = itertools.count()

        def call(kind):
            try:
                return kind()
            except (OSError, http.client.HTTPException):
                return None  # not let in
        answers = [answer for answer in all_at_once([lambda kind=kind: call(kind) for kind in kinds * 4]) if answer]
        assert {answer.status for answer in answers} <= {200, 201, 503}, answers
        assert any(answer.status == 503 for answer in answers)
        for answer in answers:
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
            elif answer.headers["Content-Type"] == "application/json":
                for item in answer.json().get("items", []):
                    assert item.get("audio_base64") or item.get("error") or item["state"] != "done", item
        # Whoever was answered may hold a descriptor for a moment more, and then there is none for the next.
        wait_for(lambda: server.get(f"{API}/queue/status/{job}").status == 200)
        results = server.wait_job(job)
        assert [item for item in results["items"] if item["state"] != "done"] == []
        assert len(results["items"]) == 8
        wait_for(lambda: server.descriptors() < 20)
        assert server.clone("Hello there.", ref_audio=ref).status == 200
        wait_for(lambda: server.descriptors() < 20)
        check_intact(server)


# ---- the model

def test_denoiser_comes_later(tmp_path):
    weights = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", "~/.cache")) + "/timbre/DeepFilterNet3_onnx.tar.gz"
    place = tmp_path / "denoiser.tar.gz"
    shutil.copy(weights, place)
    with Server("--denoiser", place) as server:
        place.unlink()  # at the start it must be there; it loads when it is needed
        ref = server.upload()
        answer = server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref)
        assert (
            answer.status == 503 and str(tmp_path) not in answer.detail and int(answer.headers["Retry-After"]) >= 1
        ), answer
        assert server.clone("Hello.", ref_audio=ref).status == 200
        shutil.copy(weights, place)
        assert server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref).status == 200
        assert server.post(API + "/enhance", form={"audio": ("a.wav", REFERENCE)}).status == 200


@pytest.mark.slow
def test_results_of_many_items():
    """They are read one after the other: neither descriptors nor memory grow with them, for several readers at once."""
    count, descriptors = (1000, 64) if FULL else (150, 40)
    with Server("--max-batch", 4, preexec_fn=limited(resource.RLIMIT_NOFILE, descriptors)) as server:
        ref = server.upload()
        job = server.job([{"text": "Hi.", "ref_audio": ref, "response_format": "opus"}] * count)
        results = server.wait_job(job, 1200)
        assert (results["done"], results["failed"]) == (count, 0)
        server.get(f"{API}/queue/results/{job}")
        memory = server.memory()
        for answer in all_at_once([lambda: server.get(f"{API}/queue/results/{job}", timeout=240)] * 4):
            items = answer.json()["items"]
            assert len(items) == count and all(item["audio_base64"] for item in items)
        assert server.memory() < memory + (32 << 20)
        assert server.delete(f"{API}/queue/{job}").status == 204
        wait_for(lambda: [path.name for path in (server.state / "files").iterdir()] == [ref])
