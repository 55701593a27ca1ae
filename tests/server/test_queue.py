"""Jobs: what they promise, above all when the server dies."""
import base64
import contextlib
import random
import signal
import time

import pytest
from strangers import Strangers
from support import API, FULL, Server, data_uri, wait_for, wav

TEXT = "A sentence that takes a moment to say. "


def test_job_life(server, ref):
    answer = server.post(
        API + "/queue/submit",
        {
            "items": [
                {"text": "One.", "ref_audio": ref, "custom_id": "a"},
                {"text": "Two.", "ref_audio": ref, "response_format": "flac"},
            ],
            "label": "mine",
        },
    )
    assert answer.status == 202
    job = answer.json()
    assert job["label"] == "mine" and job["total"] == 2 and job["state"] in ("queued", "running", "finished")
    results = server.wait_job(job["id"])
    assert (
        results["state"] == "finished"
        and results["done"] == 2
        and results["failed"] == 0
        and results["finished"] >= results["created"]
    )
    assert [item["state"] for item in results["items"]] == ["done", "done"]
    assert [item["custom_id"] for item in results["items"]] == ["a", None]
    full = server.get(f"{API}/queue/results/{job['id']}").json()
    for item in full["items"]:
        assert server.get(item["url"]).body == base64.b64decode(item["audio_base64"])
    assert base64.b64decode(full["items"][1]["audio_base64"])[:4] == b"fLaC"
    listed = server.get(API + "/queue").json()["jobs"]
    assert job["id"] in [other["id"] for other in listed]
    # Its audio is the job's: it stays as long as the job, and goes with it.
    assert server.delete(full["items"][0]["url"]).status == 409
    assert server.delete(f"{API}/queue/{job['id']}").status == 204
    for path in ("status", "results"):
        assert server.get(f"{API}/queue/{path}/{job['id']}").status == 404
    assert server.delete(f"{API}/queue/{job['id']}").status == 404
    assert server.get(full["items"][0]["url"]).status == 404


def test_embedded_reference_is_kept_once(server):
    before = server.metric("timbre_stored_bytes")
    uri = data_uri(wav(1.0, seed=9))
    job = server.job([{"text": "One.", "ref_audio": uri}] * 5)
    results = server.wait_job(job)
    assert results["done"] == 5
    server.delete(f"{API}/queue/{job}")
    assert server.metric("timbre_stored_bytes") == before


def test_voice(server, voice):
    assert server.wait_job(server.job([{"text": "Hi.", "voice": voice}]))["done"] == 1


def test_reference_of_a_job_cannot_be_removed(server):
    file = server.upload()
    job = server.job([{"text": TEXT, "ref_audio": file}])
    assert server.delete(f"{API}/files/{file}").status == 409
    server.wait_job(job)
    server.delete(f"{API}/queue/{job}")
    assert server.delete(f"{API}/files/{file}").status == 204


def test_idempotency_key(server, ref):
    body = {"items": [{"text": "Once.", "ref_audio": ref}]}
    first = server.post(API + "/queue/submit", body, headers={"Idempotency-Key": "abc"})
    again = server.post(API + "/queue/submit", body, headers={"Idempotency-Key": "abc"})
    other = server.post(API + "/queue/submit", body, headers={"Idempotency-Key": "abd"})
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    for job in (first.json()["id"], other.json()["id"]):
        server.wait_job(job)
        server.delete(f"{API}/queue/{job}")


def test_cancel_while_it_runs(server, ref):
    job = server.job([{"text": TEXT * 20, "ref_audio": ref}] * 20)
    wait_for(lambda: server.job_state(job)["running"] > 0)
    assert server.delete(f"{API}/queue/{job}").status == 204
    server.wait_idle()
    assert not list((server.state / "tmp").iterdir())


BAD = [
    ("items", {}),
    ("items", {"items": []}),
    ("items", {"items": {}}),
    ("items", {"items": "x"}),
    ("items[0]", {"items": [1]}),
    ("items[0].text", {"items": [{}]}),
    ("items[0].text", {"items": [{"text": ["a"], "ref_audio": "x"}]}),
    ("items[0].ref_audio", {"items": [{"text": "a"}]}),
    ("items[0].ref_audio", {"items": [{"text": "a", "ref_audio": "0" * 32}]}),
    ("items[1].ref_audio", {"items": [{"text": "a", "ref_audio": ...}, {"text": "a", "ref_audio": "../x"}]}),
    ("items[0].voice", {"items": [{"text": "a", "voice": "nobody"}]}),
    ("items[0].seed", {"items": [{"text": "a", "ref_audio": "x", "seed": -1}]}),
    ("items[0].stream", {"items": [{"text": "a", "ref_audio": "x", "stream": True}]}),
    ("label", {"items": [{"text": "a", "ref_audio": ...}], "label": 1}),
    ("label", {"items": [{"text": "a", "ref_audio": ...}], "label": "x" * 201}),
    ("items", {"items": [{"text": "a", "ref_audio": "x"}] * 1001}),
    ("more", {"items": [{"text": "a", "ref_audio": ...}], "more": 1}),
]


@pytest.mark.parametrize("field,body", BAD, ids=[f"{i}-{field}" for i, (field, _) in enumerate(BAD)])
def test_bad_submit(server, ref, field, body):
    items = body.get("items")
    if isinstance(items, list):
        items = [
            {**item, "ref_audio": ref} if isinstance(item, dict) and item.get("ref_audio") is ... else item
            for item in items
        ]
        body = {**body, "items": items}
    answer = server.post(API + "/queue/submit", body)
    assert answer.status == 400 and answer.detail.startswith(f"Invalid Input: {field}: "), answer


@pytest.mark.parametrize("path", ["status/x", f"status/{'0' * 32}", f"results/{'0' * 32}", "results/..%2f.."])
def test_no_such_job(server, path):
    assert server.get(f"{API}/queue/{path}").status == 404


def test_bad_results_query(server):
    assert server.get(f"{API}/queue/results/{'0' * 32}?audio=loud").status == 400


def test_queue_limit():
    with Server("--max-jobs", 3) as server:
        ref = server.upload()
        answers = [
            server.post(API + "/queue/submit", {"items": [{"text": TEXT * 30, "ref_audio": ref}] * 10})
            for _ in range(4)
        ]
        assert [a.status for a in answers] == [202, 202, 202, 503]
        assert int(answers[3].headers["Retry-After"]) >= 1
        for answer in answers[:3]:
            server.delete(f"{API}/queue/{answer.json()['id']}")


def test_requests_go_before_jobs():
    """A short request is answered while a big job still runs."""
    with Server() as server:
        ref = server.upload()
        job = server.job([{"text": TEXT * 10, "ref_audio": ref}] * 200)
        wait_for(lambda: server.job_state(job)["running"] > 0)
        assert server.clone("Hello.", ref_audio=ref).status == 200
        assert server.job_state(job)["state"] == "running"
        server.delete(f"{API}/queue/{job}")


def test_jobs_take_turns(server, ref):
    big = server.job([{"text": TEXT * 5, "ref_audio": ref}] * 100)
    small = server.job([{"text": "Short.", "ref_audio": ref}])
    server.wait_job(small)
    assert server.job_state(big)["state"] == "running"
    server.delete(f"{API}/queue/{big}")


@pytest.mark.slow
def test_drain_keeps_the_rest_queued():
    with Server("--max-batch", 2) as server:
        ref = server.upload()
        job = server.job([{"text": TEXT * 4, "ref_audio": ref}] * 40)
        wait_for(lambda: server.job_state(job)["done"] > 0)
        server.stop()
        server.start()
        results = server.wait_job(job, 120)
        assert results["done"] == 40 and results["failed"] == 0
        assert len({item["url"] for item in results["items"]}) == 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 5, 6] if FULL else [4])
def test_kill_at_random_moments(seed):
    """50 jobs, the server killed again and again, strangers at its door: every item ends once, nothing is lost."""
    dice = random.Random(seed)
    kills = 20 if FULL else 8
    # One at a time: then one ends every now and then, not all in the end.
    with Server("--max-batch", 1) as server:
        ref = server.upload()
        jobs = [
            server.job(
                [
                    {
                        "text": f"Number {i} of many." + " Long." * (i % 7),
                        "ref_audio": ref,
                        "custom_id": f"{i}",
                        "seed": i,
                    }
                ]
                * (1 + i % 3),
                label=f"job {i}",
            )
            for i in range(50)
        ]
        finished = {}

        def files():
            return {path.name for path in (server.state / "files").iterdir()}
        strangers = contextlib.ExitStack()
        strangers.enter_context(Strangers(server))
        for kill in range(kills):
            if kill % 2:
                # Near the moment when a result is stored, and not only before any is.
                before = files()
                wait_for(lambda: not files() <= before, every=0.001)
            time.sleep(dice.uniform(0.0, 0.1 if kill % 2 else 0.3))
            server.kill()
            server.start()
            # What was finished once stays as it was.
            for job in jobs:
                for position, item in enumerate(server.get(f"{API}/queue/results/{job}?audio=url").json()["items"]):
                    if item["state"] == "done":
                        assert finished.setdefault((job, position), item) == item
        strangers.close()
        assert finished
        urls = set()
        for i, job in enumerate(jobs):
            results = server.wait_job(job, 120)
            assert results["total"] == results["done"] == 1 + i % 3, results
            for position, item in enumerate(results["items"]):
                assert item["custom_id"] == f"{i}" and item["seed"] == i
                assert finished.get((job, position), item) == item
                assert server.get(item["url"]).status == 200
                urls.add(item["url"])
        assert len(urls) == sum(1 + i % 3 for i in range(50))
        # No file without a row, no row without a file.
        assert files() == {url.rpartition("/")[2] for url in urls} | {ref}
        server.stop()
        server.start()


def test_kill_while_submitting():
    """A job whose submission was answered is there after a kill."""
    with Server() as server:
        ref = server.upload()
        jobs = []
        for _ in range(3):
            jobs += [server.job([{"text": TEXT, "ref_audio": ref}]) for _ in range(3)]
            server.kill()
            server.start()
        for job in jobs:
            assert server.wait_job(job)["done"] == 1


def test_one_server_for_a_folder():
    with Server() as server:
        with pytest.raises(RuntimeError, match="in use by another server"):
            Server(state=server.state)


def test_finished_jobs_expire():
    with Server("--keep-jobs", "1", "--keep-files", "1") as server:
        ref = server.upload()
        job = server.job([{"text": "Hi.", "ref_audio": ref}])
        wait_for(lambda: server.get(f"{API}/queue/status/{job}").status == 404, 60)
        wait_for(lambda: not list((server.state / "files").iterdir()), 60)


def test_newer_state_is_refused(tmp_path):
    import sqlite3
    state = tmp_path / "state"
    state.mkdir()
    with sqlite3.connect(state / "state.db") as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(RuntimeError, match="newer timbre"):
        Server(state=state)


def test_broken_database_is_refused(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(RuntimeError, match="state.db"):
        Server(state=state)


def test_still_alive(server, alive):
    pass
