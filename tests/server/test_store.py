"""What lies on the disk: damaged, full, locked, gone in the middle of it. Nothing that was stored is lost, and no job
is stuck. What the store does by itself is in tests/unit/queue."""
import contextlib
import json
import os
import pathlib
import resource
import socket
import sqlite3
import subprocess
import time

import pytest
from load import parallel
from support import API, FULL, REFERENCE, SANITIZED, Server, wait_for

GOLDEN = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden")) / "qwen"
SPEECH = (GOLDEN / "references/ref_en.wav").read_bytes()


def change(server, sql, *values):
    """While the server is down."""
    with contextlib.closing(sqlite3.connect(server.state / "state.db")) as database:
        database.execute(sql, values)
        database.commit()


# ---- identities

def test_keys_are_whole(server, ref):
    """Long keys that begin alike are different keys."""
    jobs = {}
    for end in "ab":
        answer = server.post(API + "/queue/submit", {"items": [{"text": "Hi.", "ref_audio": ref}]},
                             headers={"Idempotency-Key": "k" * 300 + end})
        assert answer.status == 202, answer
        jobs[end] = answer.json()["id"]
    assert jobs["a"] != jobs["b"]


def test_key_with_another_body(server, ref):
    def submit(body):
        return server.post(API + "/queue/submit", body, headers={"Idempotency-Key": "one"})
    items = [{"text": "Hi.", "ref_audio": ref}]
    first = submit({"label": "x", "items": items})
    assert first.status == 202, first
    assert submit({"items": items, "label": "x"}).json()["id"] == first.json()["id"]
    for body in (
        {"items": items},
        {"label": "x", "items": items * 2},
        {"label": "x", "items": [{**items[0], "seed": 1}]},
    ):
        answer = submit(body)
        assert answer.status == 409 and first.json()["id"] in answer.detail and "Idempotency-Key" in answer.detail, (
            answer
        )


# ---- few descriptors

def test_results_need_few_descriptors():
    with Server(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))) as server:
        ref = server.upload()
        job = server.job([{"text": "Hi.", "ref_audio": ref, "custom_id": str(i)} for i in range(60)])
        done = server.wait_job(job)
        files = [item["url"].rsplit("/", 1)[1] for item in done["items"]]
        for _ in range(3):
            answer = server.get(f"{API}/queue/results/{job}")
            assert answer.status == 200, answer
            assert all(item["audio_base64"] for item in answer.json()["items"])
        # Somebody removed one by hand, and another is half of what it was.
        (server.state / "files" / files[10]).unlink()
        half = server.state / "files" / files[20]
        half.write_bytes(half.read_bytes()[:100])
        items = server.get(f"{API}/queue/results/{job}").json()["items"]
        for i, item in enumerate(items):
            assert bool(item["audio_base64"]) is (i not in (10, 20)), item
            assert ("error" in item) is (i in (10, 20)), item
        assert "damaged" in items[20]["error"]


# ---- damage

def test_damaged_index_is_made_again():
    with Server() as server:
        for name in "abc":
            server.add_voice(name)
        files = [server.upload() for _ in range(3)]
        server.stop()
        with contextlib.closing(sqlite3.connect(server.state / "state.db")) as database:
            (page,) = database.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name='sqlite_autoindex_voices_2'"
            ).fetchone()
        data = bytearray((server.state / "state.db").read_bytes())
        data[page * 4096 - 64:page * 4096] = os.urandom(64)
        (server.state / "state.db").write_bytes(data)
        server.start()
        assert "index" in server.log()
        assert [voice["name"] for voice in server.get(API + "/voices").json()["voices"]] == ["a", "b", "c"]
        assert all(server.get(f"{API}/voices/{name}/audio").body == REFERENCE for name in "abc")
        assert all(server.get(f"{API}/files/{file}").body == REFERENCE for file in files)


@pytest.mark.parametrize("how", ["table", "empty", "gone", "noise", "format"])
def test_damaged_database_stops_the_start(how):
    with Server() as server:
        server.add_voice("anna")
        server.upload()
        server.stop()
        path = server.state / "state.db"
        whole = path.read_bytes()
        if how == "table":
            with contextlib.closing(sqlite3.connect(path)) as database:
                (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name='files'").fetchone()
            path.write_bytes(whole[:(page - 1) * 4096] + os.urandom(4096) + whole[page * 4096:])
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "gone":
            path.unlink()
        elif how == "format":
            path.write_bytes(whole[:18] + b"\x03" + whole[19:])
        else:
            path.write_bytes(os.urandom(len(whole)))
        before = sorted(p.name for folder in ("voices", "files") for p in (server.state / folder).iterdir())
        with pytest.raises(RuntimeError) as told:
            server.start()
        assert "state.db" in str(told.value) and "backup" in str(told.value)
        assert sorted(p.name for folder in ("voices", "files") for p in (server.state / folder).iterdir()) == before
        for left in server.state.glob("state.db*"):
            left.unlink()
        path.write_bytes(whole)
        server.start()
        assert server.get(API + "/voices/anna/audio").body == REFERENCE


def test_values_that_cannot_be():
    with Server() as server:
        ref = server.upload()
        job = server.job([{"text": "Hi.", "ref_audio": ref}] * 4)
        server.wait_job(job)
        server.add_voice("anna")
        server.stop()
        change(server, "UPDATE items SET state=99 WHERE position=0")
        change(server, "UPDATE items SET result='{nonsense' WHERE position=1")
        change(server, "UPDATE items SET state=0, result=NULL, file=NULL, request=? WHERE position=2",
               '{"text": "Hi.", "ref_audio": "%s", "top_k": 1e300}' % ref)
        change(server, "UPDATE items SET state=0, result=NULL, file=NULL, request=? WHERE position=3",
               '{"text": "Hi.", "ref_audio": "%s", "seed": -5}' % ref)
        change(server, "UPDATE voices SET language=CAST(x'ff41' AS TEXT), bytes=-1, duration=9e999")
        change(server, "UPDATE files SET bytes=-7, expires=-1 WHERE id=?", ref)
        server.start()
        items = server.wait_job(job)["items"]
        assert [item["state"] for item in items] == ["done", "done", "failed", "failed"]
        assert "top_k" in items[2]["error"] and "seed" in items[3]["error"] and "damaged" in items[1]["error"]
        assert [voice["name"] for voice in server.get(API + "/voices").json()["voices"]] == ["anna"]
        assert server.get(API + "/voices/anna/audio").body == REFERENCE
        assert server.get(f"{API}/files/{ref}").body == REFERENCE


# ---- full, locked

@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_disk_that_is_full_for_a_while(small_disk):
    if small_disk is None:
        pytest.skip("mounting a small file system needs root; test_full_database of queue-worker is the same without")
    with Server("--max-storage", 0, state=small_disk / "state") as server:
        ref = server.upload()
        count = 40 if SANITIZED else 200
        job = server.job([{"text": "Hi.", "ref_audio": ref}] * count)
        wait_for(lambda: server.job_state(job)["done"] >= 3)
        ballast = small_disk / "ballast"
        with pytest.raises(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        before = server.job_state(job)["done"]
        time.sleep(10 if FULL else 4)  # the condition is the length of the shortage
        assert before < count
        ballast.unlink()
        state = server.wait_job(job)
        assert (state["done"], state["failed"]) == (count, 0), server.log()[-2000:]
        files = {item["url"] for item in state["items"]}
        assert len(files) == count and len(list((server.state / "files").iterdir())) == count + 1


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_database_that_is_locked_for_a_while(begin):
    with Server() as server:
        ref = server.upload()
        server.add_voice("anna")
        count = 40 if SANITIZED else 200
        job = server.job([{"text": "Hi.", "ref_audio": ref}] * count)
        wait_for(lambda: server.job_state(job)["done"] >= 3)
        with contextlib.closing(sqlite3.connect(server.state / "state.db", timeout=30, isolation_level=None)) as other:
            other.execute(begin)
            end = time.monotonic() + (60 if FULL else 8)
            while time.monotonic() < end:
                # Whoever reads is served; whoever writes is told to come back.
                assert server.get(API + "/voices").status == 200
                assert server.get(f"{API}/files/{ref}").status == 200
                assert server.get(f"{API}/queue/status/{job}").status == 200
                answer = server.post(API + "/voices", form={"name": "late", "ref_audio": ("a.wav", REFERENCE)})
                assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, answer
            other.execute("COMMIT")
        state = server.wait_job(job)
        assert (state["done"], state["failed"]) == (count, 0)
        assert len({item["url"] for item in state["items"]}) == count
        assert len(list((server.state / "files").iterdir())) == count + 1


# ---- what was prepared

@pytest.fixture(scope="module")
def qwen():
    with Server("--model", GOLDEN / "sample-c/model", "--precision", "f32", engine="qwen3") as running:
        yield running


def prepared_files(server):
    """What the engine wrote; what was measured of the reference is small and JSON."""
    return [path for path in (server.state / "voices").iterdir() if "." in path.name and path.read_bytes()[:1] != b"{"]


@pytest.mark.parametrize("how", ["empty", "half", "flipped", "another version", "noise", "a folder", "gone"])
def test_prepared_voice_that_cannot_be_used(qwen, how):
    qwen.add_voice("anna", SPEECH, ref_text="What the reference says.")

    def spoken(path):
        answer = qwen.clone("Hello.", path, voice="anna", max_seconds=0.5, seed=1)
        assert answer.status == 200, answer
        return answer.json()["items"][0]["audio_base64"]
    try:
        before = [spoken(path) for path in ("/voice-clone", "/voice-clone-enhanced")]
        (path,) = prepared_files(qwen)
        whole = path.read_bytes()
        spoilt = {"empty": b"", "half": whole[:len(whole) // 2], "noise": os.urandom(1000),
                  "another version": whole[:8] + bytes([whole[8] ^ 0x7f]) + whole[9:],
                  "flipped": whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:]}.get(how)
        path.unlink()
        if how == "a folder":
            path.mkdir()
        elif how != "gone":
            path.write_bytes(spoilt)
        # It sounds as before, on every path.
        for _ in range(2):
            assert [spoken(path) for path in ("/voice-clone", "/voice-clone-enhanced")] == before
        job = qwen.job([{"text": "Hello.", "voice": "anna", "max_seconds": 0.5}])
        assert qwen.wait_job(job)["done"] == 1
        if how not in ("a folder", "gone"):
            wait_for(lambda: path.exists() and path.read_bytes() == whole)
            assert qwen.clone("Hello.", voice="anna", max_seconds=0.5).status == 200
    finally:
        if path.is_dir():
            path.rmdir()
        qwen.delete(API + "/voices/anna")
    assert prepared_files(qwen) == []


def test_prepared_voices_count(tmp_path):
    with Server("--model", GOLDEN / "sample-c/model", "--max-storage", len(SPEECH) + 4096, engine="qwen3") as server:
        server.add_voice("anna", SPEECH)
        used = sum(path.stat().st_size for path in (server.state / "voices").iterdir())
        assert used <= len(SPEECH) + 4096 and server.metric("timbre_stored_bytes") == used
        assert server.clone("Hello.", voice="anna", max_seconds=0.5).status in (200, 507)


def test_deleted_while_it_is_created(qwen):
    """Whatever comes first: the answer says what is, and of a voice that is gone nothing stays."""
    for wait in [0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4]:
        answers = {}

        def create():
            answers["post"] = qwen.post(API + "/voices", form={"name": "race", "ref_audio": ("a.wav", SPEECH)})

        def delete():
            end = time.monotonic() + wait
            while answers.get("delete") != 204 and time.monotonic() < end + 0.5 and "post" not in answers:
                if time.monotonic() >= end:
                    answers["delete"] = qwen.delete(API + "/voices/race").status
        parallel(2, lambda i: (create, delete)[i]())
        there = qwen.get(API + "/voices/race").status == 200
        assert (answers["post"].status, there) in ((201, True), (409, False)) or \
            (answers["post"].status == 201 and answers.get("delete") == 204), answers
        if there:
            assert qwen.delete(API + "/voices/race").status == 204
        assert list((qwen.state / "voices").iterdir()) == []


# ---- readers that do not read

@pytest.mark.slow
def test_stalled_readers_hold_nobody_up_for_long():
    with Server("--max-batch", 4) as server:
        ref = server.upload()
        text = "This sentence is here to take quite a while to say. " * 40
        body = json.dumps({"text": text, "ref_audio": ref, "stream": True, "stream_format": "sse"}).encode()
        stalled = []
        for _ in range(8):
            client = server.raw()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall((f"POST {API}/voice-clone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
            stalled.append(client)
        wait_for(lambda: server.metric("timbre_batch_size") == 4)
        # Long before the 30 s after which a connection without progress ends, and everybody after that.
        for _ in range(3):
            assert server.clone("Hello.", ref_audio=ref).status == 200
        for client in stalled:
            client.close()
