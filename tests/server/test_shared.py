"""Servers and workers that share a queue: jobs, requests, voices, and what goes wrong between machines."""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from shared import Proxy, Redis, Worker, blobs_of, bucket_server, front, need_redis, objects, worker_on_a_port
from support import API, FULL, PATIENCE, REFERENCE, TIMBRE, Server, data_uri, wait_for, wav

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from speech_server import SpeechServer  # noqa: E402

TEXT = "A sentence that takes a moment to say. "
SHORT = data_uri(wav(1.0))


@pytest.fixture(scope="module", autouse=True)
def redis_is_there():
    need_redis()


@pytest.fixture
def blobs(tmp_path):
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder


def test_job_runs_on_a_worker(redis, blobs):
    with front(redis.url, "--blobs", blobs) as server:
        ref = server.upload()
        job = server.job([{"text": "One.", "ref_audio": ref, "custom_id": "a"},
                          {"text": "Two.", "ref_audio": SHORT, "response_format": "flac"}])
        assert server.get(f"{API}/queue/status/{job}").json()["state"] == "queued"
        with Worker(redis.url, "--blobs", blobs, "--port", "0") as worker:
            assert worker.line == "taking items from the queue\n"
            results = server.wait_job(job)
            assert (results["done"], results["failed"]) == (2, 0)
            full = server.get(f"{API}/queue/results/{job}").json()
            assert [item["custom_id"] for item in full["items"]] == ["a", None]
            assert base64.b64decode(full["items"][1]["audio_base64"])[:4] == b"fLaC"
            assert server.get(full["items"][0]["url"]).body == base64.b64decode(full["items"][0]["audio_base64"])
            worker.stop()
        server.delete(f"{API}/queue/{job}")
        server.delete(f"{API}/files/{ref}")
        assert blobs_of(blobs) == []


def test_files_in_redis_itself(redis):
    """Without --blobs: upload, job and result all travel through Redis, and nothing stays."""
    with front(redis.url) as server, Worker(redis.url):
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}])
        assert server.wait_job(job)["done"] == 1
        url = server.get(f"{API}/queue/results/{job}?audio=url").json()["items"][0]["url"]
        assert server.get(url).body[:4] == b"RIFF"
        server.delete(f"{API}/queue/{job}")
        assert redis.keys("bytes:*") == []


def test_requests_are_answered_through_the_queue(redis, blobs):
    """The same answer as without a queue, whole and streamed."""
    body = {"text": "Good morning.", "ref_audio": data_uri(), "seed": 7}
    with Server() as alone:
        expected = alone.post(API + "/voice-clone", body).json()["items"][0]
    with front(redis.url, "--blobs", blobs) as server, Worker(redis.url, "--blobs", blobs):
        answer = server.post(API + "/voice-clone", body)
        assert answer.status == 200, answer
        item = answer.json()["items"][0]
        assert item["audio_base64"] == expected["audio_base64"]
        for name in ("sample_rate", "duration", "engine", "is_clone", "finish_reason", "seed", "reference", "warnings"):
            assert item[name] == expected[name], name
        events = server.post(API + "/voice-clone", {**body, "stream": True, "stream_format": "sse"})
        assert events.status == 200
        kinds = re.findall(r"^event: (\w+)$", events.body.decode(), re.M)
        assert kinds[-2:] == ["result", "done"] and "audio" in kinds and "progress" in kinds
        bare = server.post(API + "/voice-clone", {**body, "stream": True, "response_format": "pcm"})
        assert bare.status == 200 and len(bare.body) > 1000
        # What the worker knows of the reference stands before the audio.
        cut = {**body, "ref_audio": data_uri(REFERENCE[:60000]), "salvage": True, "stream": True}
        warned = server.post(API + "/voice-clone", {**cut, "response_format": "pcm"})
        assert warned.status == 200 and len(warned.body) > 1000
        assert "the file is cut short: it promises" in warned.headers["X-Timbre-Warnings"]
        bad = server.post(API + "/voice-clone", {**body, "ref_audio": data_uri(b"RIFF nothing")})
        assert bad.status == 400
        # What stays is the answer's file, for its URL; nothing of the calls.
        wait_for(lambda: redis.keys("job:*") == [], PATIENCE)
        assert redis.keys("live:*") == [] and len(redis.keys("file:*")) == 2
        assert len(blobs_of(blobs)) == 1  # the same bytes


def test_the_worker_is_named(redis, blobs):
    """X-Engine and X-Is-Clone are of the worker that spoke, whatever the server itself would speak with."""
    body = {"text": "Good morning.", "ref_audio": SHORT}
    audio = {"stream": True, "response_format": "pcm"}
    with contextlib.closing(SpeechServer()) as speech, front(redis.url, "--blobs", blobs) as server:
        for path in ("/health/live", "/health/ready"):
            state = server.get(path).json()
            assert (state["engine"], state["is_clone"]) == ("queue", None), state
        assert server.process.stdout.readline() == "engine: workers that share the queue\n"
        for options, who in (((), ("preview", "false")),
                             (("--engine", "remote", "--remote-url", speech.url("good")), ("remote", "true"))):
            with Worker(redis.url, "--blobs", blobs, *options):
                for fields in ({}, audio, {"text": ["One.", "Two."]}):
                    answer = server.post(API + "/voice-clone", {**body, **fields})
                    assert answer.status == 200, answer
                    assert (answer.headers["X-Engine"], answer.headers["X-Is-Clone"]) == who, (who, fields)
                # Events have begun before anybody speaks; they say it themselves.
                events = server.post(API + "/voice-clone", {**body, "stream": True, "stream_format": "sse"})
                assert events.status == 200 and "X-Engine" not in events.headers
                assert f'"engine":"{who[0]}"' in events.body.decode()
                # OpenAI's events begin with the audio, and have no result.
                spoken = {"input": "Good morning.", "ref_audio": SHORT, "stream_format": "sse"}
                events = server.post("/v1/audio/speech", spoken)
                assert events.status == 200 and events.headers["X-Engine"] == who[0], events


def test_stream_that_lost_its_beginning(redis):
    """What comes up to the first audio is not on Redis' disk: if it dies with it, the client is told."""
    with front(redis.url) as server:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(server.post(
            API + "/voice-clone", {"text": "Hello.", "ref_audio": SHORT, "stream": True, "response_format": "pcm"})))
        asking.start()
        (job,) = wait_for(lambda: redis.keys("job:*"), PATIENCE)
        redis.cli("xadd", job.replace("job:", "live:"), "*", "kind", "audio", "delivery", "1", "data", "12345678",
                  "piece", "2")
        asking.join()
        assert answers[0].status == 503 and int(answers[0].headers["Retry-After"]) > 0, answers
        wait_for(lambda: redis.keys("job:*") == [], PATIENCE)


def test_nobody_takes_a_request(redis):
    with front(redis.url, "--job-deadline", "1") as server:
        answer = server.post(API + "/voice-clone", {"text": "Hello.", "ref_audio": SHORT})
        assert answer.status == 504
        wait_for(lambda: redis.keys("job:*") == [], PATIENCE)


def test_server_that_works(redis, blobs):
    with Server("--queue", redis.url, "--blobs", blobs, "--work") as server:
        assert server.wait_job(server.job([{"text": "Hi.", "ref_audio": SHORT}]))["done"] == 1
        assert server.clone("Hello.").status == 200


def test_voices_are_shared(redis, blobs):
    options = (redis.url, "--blobs", blobs)
    with front(*options) as one, front(*options) as other, Worker(*options):
        one.add_voice("anna", ref_text="hello")
        assert [voice["name"] for voice in other.get(API + "/voices").json()["voices"]] == ["anna"]
        assert other.wait_job(other.job([{"text": "Hi.", "voice": "anna"}]))["done"] == 1
        assert other.post(API + "/voice-clone", {"text": "Hi.", "voice": "anna"}).status == 200
        assert other.delete(API + "/voices/anna").status == 204
        assert one.get(API + "/voices").json()["voices"] == []


def test_drain(redis, blobs):
    """SIGTERM: what runs is finished, nothing more is taken, the rest is another's."""
    with front(redis.url, "--blobs", blobs) as server, Worker(redis.url, "--blobs", blobs, "--max-batch", 1) as first:
        job = server.job([{"text": TEXT, "ref_audio": SHORT}] * 24)
        wait_for(lambda: server.get(f"{API}/queue/status/{job}").json()["running"] > 0, PATIENCE)
        first.stop()
        status = server.get(f"{API}/queue/status/{job}").json()
        assert status["running"] == 0 and status["failed"] == 0
        with Worker(redis.url, "--blobs", blobs):
            assert server.wait_job(job)["done"] == 24


def test_labels(redis, blobs):
    """A worker without the label leaves the items to others and says so once."""
    with front(redis.url, "--blobs", blobs, "--need", "region=eu") as server, Worker(redis.url, "--blobs", blobs,
                                                                                     "--lease", 1) as other:
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}] * 3)
        wait_for(lambda: "region=eu" in other.log(), PATIENCE)
        time.sleep(1)  # it looks several times
        assert server.get(f"{API}/queue/status/{job}").json()["queued"] == 3
        assert other.log().count("items that need region=eu are left to other workers") == 1
        with Worker(redis.url, "--blobs", blobs, "--label", "fast", "--label", "region=eu"):
            assert server.wait_job(job)["done"] == 3


QWEN = str(pathlib.Path(__file__).parents[1] / "golden/qwen/sample-c/model")


def items_of(server, job):
    return server.get(f"{API}/queue/results/{job}?audio=url").json()["items"]


def test_models_are_needs(redis, blobs):
    """Items that name a model go to those who have it, jobs and requests alike."""
    item = {"text": "Hi.", "ref_audio": data_uri(), "ref_text": "hello", "max_seconds": 0.5}
    with front(redis.url, "--blobs", blobs) as server, Worker(redis.url, "--blobs", blobs) as preview:
        with Worker(redis.url, "--blobs", blobs, "--engine", "qwen3", "--model", f"Small={QWEN}"):
            pass  # it has been there, and is not now
        job = server.job([{**item, "model": "small"}, item, item])
        wait_for(lambda: server.get(f"{API}/queue/status/{job}").json()["done"] == 2, PATIENCE)
        wait_for(lambda: "items that need model=Small are left to other workers" in preview.log(), PATIENCE)
        with Worker(redis.url, "--blobs", blobs, "--engine", "qwen3", "--model", f"Small={QWEN}"):
            assert server.wait_job(job)["done"] == 3
            assert [entry["engine"] for entry in items_of(server, job)][0] == "qwen3"
            # OpenAI's clients name a model that may be nobody's.
            said = {"input": "Hi.", "ref_audio": data_uri(), "ref_text": "hello", "max_seconds": 0.5, "stream": False}
            assert server.post("/v1/audio/speech", {**said, "model": "tts-1"}).status == 200
            assert "{timbre}:work:calls:model=Small" not in redis.keys("work:calls*")
            assert server.post("/v1/audio/speech", {**said, "model": "SMALL"}).status == 200
            assert "{timbre}:work:calls:model=Small" in redis.keys("work:calls*")
            assert [server.post(API + "/voice-clone", {**item, "model": model}).json()["items"][0]["engine"]
                    for model in ("SMALL", "preview")] == ["qwen3", "preview"]


def test_memory(redis, blobs):
    """What never fits into a worker's memory is left to one that has more, or fails if there is none."""
    item = {"text": "Hi.", "ref_audio": data_uri(), "ref_text": "hello", "max_seconds": 0.5}
    model = ("--blobs", blobs, "--engine", "qwen3", "--model", QWEN)
    with front(redis.url, "--blobs", blobs) as server, Worker(redis.url, *model, "--memory", "1M") as small:
        failed = server.job([item])
        server.wait_job(failed)
        assert "raise it (--memory)" in items_of(server, failed)[0]["error"]
        with Worker(redis.url, *model, "--memory", "1G"):
            job = server.job([item] * 20)
            assert server.wait_job(job)["done"] == 20
            assert server.post(API + "/voice-clone", item).status == 200
            job = server.job([item] * 20)
            assert server.wait_job(job)["done"] == 20
        assert small.log().count("items that need memory=1048577 are left to other workers") <= 1


def test_streams_are_there_from_the_start(redis, blobs):
    """A scaler that looks at their lag finds them before the first item."""
    with Worker(redis.url, "--blobs", blobs):
        for name in ("calls", "jobs"):
            assert "workers" in redis.cli("xinfo", "groups", "{timbre}:work:" + name)


def test_poison(redis, blobs):
    """An item that takes down its worker is a dead letter after so many deliveries, and nothing else suffers."""
    with front(redis.url, "--blobs", blobs) as server:
        ref = server.upload()
        job = server.job([{"text": f"Item {i}.", "ref_audio": ref} for i in range(5)])
        poison = json.loads(subprocess.run([*cli_of(redis), "eval", POISON, "0", job], capture_output=True,
                                           text=True, check=True).stdout)
        assert poison == 2
        workers, delivery = 0, "0"
        while server.get(f"{API}/queue/status/{job}").json()["state"] != "finished":
            with Worker(redis.url, "--blobs", blobs, "--lease", 1, "--max-deliveries", 2) as worker:
                delivery = kill_at_poison(redis, job, worker, server, delivery)
                workers += 1
            assert workers < 20
        results = server.get(f"{API}/queue/results/{job}?audio=url").json()
        assert [item["state"] for item in results["items"]] == ["done", "done", "failed", "done", "done"]
        assert "workers died" in results["items"][2]["error"]
        letters = queue_command(redis, "dead", "--json")
        assert [(letter["job"], letter["item"], letter["deliveries"]) for letter in letters] == [(job, 2, 2)]
        assert subprocess.run([TIMBRE, "queue", "retry", letters[0]["id"], "--queue", redis.url]).returncode == 0
        assert queue_command(redis, "dead", "--json") == []
        with Worker(redis.url, "--blobs", blobs):
            assert server.wait_job(job)["done"] == 5
        assert subprocess.run([TIMBRE, "queue", "drop", "1-1", "--queue", redis.url],
                              capture_output=True).returncode == 1


# Item 2 gets a text that takes long, so that its worker can be killed while it runs alone or with others.
POISON = """local key = '{timbre}:items:' .. ARGV[1]
local item = cjson.decode(redis.call('HGET', key, 'q2'))
item.text = string.rep('This one never ends. ', 12)
redis.call('HSET', key, 'q2', cjson.encode(item))
return 2"""


def cli_of(redis):
    return ["redis-cli", "-s", redis.socket]


def kill_at_poison(redis, job, worker, server, delivery):
    """Kills the worker as soon as it has the poison, or returns when the job is over. The number of the delivery."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        state, number, lost = (redis.cli("hmget", "{timbre}:items:" + job, "s2", "d2", "c2") + "\n").split("\n")[:3]
        # One that has it after two lost it already is about to bury it.
        if state == "1" and number != delivery and int(lost or 0) < 2:
            worker.kill()
            return number
        if server.get(f"{API}/queue/status/{job}").json()["state"] == "finished":
            worker.stop()
            return delivery
        time.sleep(0.005)
    raise AssertionError("the job does not end")


def queue_command(redis, *words):
    text = subprocess.run([TIMBRE, "queue", *words, "--queue", redis.url], capture_output=True, text=True,
                          check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def test_worker_that_pauses(redis, blobs):
    """A worker that is stopped for longer than its lease cannot finish what another has taken over."""
    # The server sweeps what the paused worker stored in vain: after twice its own lease, or ten seconds.
    with (front(redis.url, "--blobs", blobs, "--lease", 1) as server,
          Worker(redis.url, "--blobs", blobs, "--lease", 1) as first):
        job = server.job([{"text": TEXT * 4, "ref_audio": SHORT}] * 4)
        wait_for(lambda: server.get(f"{API}/queue/status/{job}").json()["running"] > 0, PATIENCE)
        first.signal(signal.SIGSTOP)
        with Worker(redis.url, "--blobs", blobs, "--lease", 1) as second:
            assert server.wait_job(job)["done"] == 4
            before = results_of(server, job)
            first.signal(signal.SIGCONT)
            time.sleep(1)
            assert results_of(server, job) == before
            first.stop()
            second.stop()
        server.delete(f"{API}/queue/{job}")
        wait_for(lambda: blobs_of(blobs) == [], PATIENCE)


def results_of(server, job):
    return server.get(f"{API}/queue/results/{job}?audio=url").json()["items"]


def test_metrics(redis, blobs):
    with front(redis.url, "--blobs", blobs) as server, worker_on_a_port(redis.url, "--blobs", blobs) as (worker, own):
        assert worker.line == f"listening on http://127.0.0.1:{own}\n"
        server.wait_job(server.job([{"text": "Hi.", "ref_audio": SHORT}] * 2))
        assert server.metric("timbre_queue_deliveries_total") >= 2
        assert server.metric("timbre_queue_ended_total") >= 2
        assert server.metric("timbre_job_items_queued") == 0
        server.port, port = own, server.port
        assert server.metric('timbre_items_total{result="ok"}') == 2
        assert server.get("/health/ready").status == 200
        assert server.get(API + "/voices").status == 404
        server.port = port


def test_full_redis(blobs):
    """New jobs are refused with 503 and a time to come back before Redis is full."""
    with Redis("--maxmemory", "6mb") as redis, front(redis.url, "--blobs", blobs) as server:
        ref = server.upload()
        item = {"text": "Hi.", "ref_text": "x" * 4000, "ref_audio": ref}
        for _ in range(50):
            answer = server.post(API + "/queue/submit", {"items": [item] * 100})
            if answer.status != 202:
                break
        assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0
        jobs = server.get(API + "/queue").json()["jobs"]
        assert jobs
        with Worker(redis.url, "--blobs", blobs):
            # There is room left for results.
            wait_for(lambda: server.get(f"{API}/queue/status/{jobs[-1]['id']}").json()["done"] > 3, PATIENCE)


def test_redis_that_forgets_is_refused(blobs):
    with Redis("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as redis:
        result = subprocess.run([TIMBRE, "worker", "--queue", redis.url, "--engine", "preview", "--state-dir",
                                 str(blobs)],
                                capture_output=True, text=True)
        assert result.returncode == 2 and "noeviction" in result.stderr


def test_password(blobs, tmp_path):
    with Redis("--requirepass", "open sesame", password="open sesame", listens="--port") as redis:
        arguments = [TIMBRE, "queue", "dead", "--queue", redis.url]
        assert subprocess.run(arguments, capture_output=True).returncode == 2
        (tmp_path / "password").write_text("open sesame\n")
        assert subprocess.run([*arguments, "--queue-password-file", str(tmp_path / "password")]).returncode == 0
        for user in ("", "default"):
            port = f"redis://{user}:open%20sesame@127.0.0.1:{redis.port}/1"
            assert subprocess.run([TIMBRE, "queue", "dead", "--queue", port]).returncode == 0
        wrong = subprocess.run([TIMBRE, "queue", "dead", "--queue", f"redis://:wrong@127.0.0.1:{redis.port}"],
                               capture_output=True, text=True)
        assert wrong.returncode == 2 and "WRONGPASS" in wrong.stderr
        url = f"unix:default:open%20sesame@{redis.socket}"
        assert subprocess.run([TIMBRE, "queue", "dead"], env={**os.environ, "TIMBRE_QUEUE": url}).returncode == 0
        shown = subprocess.run([TIMBRE, "worker", "--queue", url, "--print-config"], capture_output=True,
                               text=True).stdout
        assert "sesame" not in shown and redis.socket in shown


@pytest.mark.parametrize("url", [
    "redis:", "redis://", "redis:///1", "redis://:6379", "redis://localhost:0", "redis://localhost:99999",
    "redis://[::1", "redis://localhost:1/16x", "redis://localhost:1/-1", "redis://localhost?db=2", "redis://a b",
    "redis://u%00:p@localhost", "http://localhost", "localhost:6379", "unix:", "unix:socket?db=x",
    "redis://" + "a" * 400, "redis://localhost:1\r\nX"])
def test_urls_that_are_none(url):
    result = subprocess.run([TIMBRE, "queue", "dead", "--queue", url], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2 and "it is redis://" in result.stderr, result


NONSENSE = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+PONG\r\n", b"$-1\r\n", b"*-1\r\n", b":1\r\n",
            b"*1000000000\r\n", b"$99\r\n", b"-ERR what\r\n", b"-NOAUTH Authentication required.\r\n", b"-LOADING\r\n",
            b"-\r\n",
            b"*2\r\n" * 20, b"%1\r\n+a\r\n+b\r\n", bytes(50)]


def test_servers_that_talk_nonsense():
    """Whatever answers: a clear end within the deadlines, as a wrong setting (2) or an unreachable server (1)."""
    def answer(connection, words):
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(words)

    def serve(listener, words):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0], words), daemon=True).start()
    running = []
    for words in NONSENSE:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(listener, words), daemon=True).start()
        command = [TIMBRE, "queue", "dead", "--queue", f"redis://127.0.0.1:{listener.getsockname()[1]}"]
        running.append((words, listener, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
    for words, listener, process in running:
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode in (1, 2) and "timbre queue: redis://127.0.0.1" in said, (words, process, said)
        listener.close()


def test_user_without_permission(blobs):
    """A Redis user that lacks a command or a key is told at the start, not with the first item."""
    with Redis() as redis:
        for rules in ("~* &* +@all -evalsha", "~* &* +@all -xgroup", "~other:* &* +@all", "~* &* +@all -info",
                      "~* &* +@all -ping"):
            redis.cli("acl", "setuser", "poor", "reset", "on", ">secret", *rules.split())
            result = subprocess.run([TIMBRE, "queue", "dead", "--queue", f"unix:poor:secret@{redis.socket}"],
                                    capture_output=True, text=True, timeout=PATIENCE)
            assert result.returncode != 0 and re.search("NOPERM|can't run", result.stderr), (rules, result)


def certificate(folder, name):
    """A self-signed one for these names, and its key."""
    paths = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=timbre", "-addext", f"subjectAltName={name}", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True)
    return paths


def test_tls(blobs, tmp_path):
    """rediss:// reaches whoever has a certificate that is trusted and has the right name, and nobody else."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    trusted, key = certificate(tmp_path, "IP:127.0.0.1,DNS:localhost")
    environment = {**os.environ, "SSL_CERT_FILE": str(trusted)}
    options = ("--tls-cert-file", trusted, "--tls-key-file", key, "--tls-ca-cert-file", trusted,
               "--tls-auth-clients", "no")

    def dead(url, environment):
        command = [TIMBRE, "queue", "dead", "--queue", url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    with Redis(*map(str, options), listens="--tls-port") as redis:
        port = redis.port
        url = f"rediss://127.0.0.1:{port}"
        with (front(url, "--blobs", blobs, environment=environment) as server,
              Worker(url, "--blobs", blobs, "--port", "0", environment=environment)):
            results = server.wait_job(server.job([{"text": "Hi.", "ref_audio": SHORT}] * 3))
            assert (results["done"], results["failed"]) == (3, 0)
        assert dead(f"rediss://localhost:{port}", environment).returncode == 0
        untrusted = dead(url, os.environ)
        assert untrusted.returncode == 1 and "certificate" in untrusted.stderr, untrusted
        plain = dead(f"redis://127.0.0.1:{port}", environment)
        assert plain.returncode == 1 and plain.stderr, plain
        assert "rediss" in subprocess.run([TIMBRE, "worker", "--queue", url, "--print-config"], capture_output=True,
                                          text=True).stdout
    other = tmp_path / "other"
    other.mkdir()
    trusted, key = certificate(other, "DNS:elsewhere.example")
    options = ("--tls-cert-file", trusted, "--tls-key-file", key, "--tls-ca-cert-file", trusted,
               "--tls-auth-clients", "no")
    with Redis(*map(str, options), listens="--tls-port") as redis:
        wrong = dead(f"rediss://127.0.0.1:{redis.port}", {**os.environ, "SSL_CERT_FILE": str(trusted)})
        assert wrong.returncode == 1 and "certificate" in wrong.stderr, wrong


def wait_while_it_moves(server, job):
    """Until it is finished, however long that takes on a busy machine, unless nothing of it ends any more."""
    ended = 0
    while ended >= 0:
        def has_moved():
            answer = server.get(f"{API}/queue/status/{job}")
            status = answer.json() if answer.status == 200 else {}  # Redis may be away
            return -1 if status.get("state") == "finished" else max(status.get("done", 0) - ended, 0)
        moved = wait_for(has_moved, 4 * PATIENCE)
        ended = -1 if moved < 0 else ended + moved


def chaos(redis, blobs, seed, items, kills, fault=None):
    """Workers die one after the other, Redis is restarted twice: every result is there once."""
    dice = random.Random(seed)
    proxy = Proxy(redis.socket, fault) if fault else None
    queue = f"redis://127.0.0.1:{proxy.port}" if proxy else redis.url
    options = ("--blobs", blobs, "--lease", 2, "--max-deliveries", 100)
    with front(redis.url, "--blobs", blobs, "--lease", 2, "--max-job-items", 1000) as server:
        workers = [Worker(queue, *options) for _ in range(3)]
        try:
            ref = server.upload()
            job = server.job([{"text": f"{TEXT * dice.randint(1, 6)} {i}.", "ref_audio": ref,
                               "custom_id": str(i)} for i in range(items)])
            for turn in range(kills):
                time.sleep(dice.uniform(0.2, 1))
                victim = dice.choice(workers)
                victim.kill()
                victim.start()
                if turn in (kills // 3, 2 * kills // 3):
                    redis.kill()
                    time.sleep(dice.uniform(0, 0.5))
                    redis.start()
            wait_while_it_moves(server, job)
            results = results_of(server, job)
            assert [item["custom_id"] for item in results] == [str(i) for i in range(items)]
            assert all(item["state"] == "done" and "error" not in item for item in results)
            assert len({item["url"] for item in results}) == items
            # What workers stored and never got to name goes after its grace.
            wanted = {redis.cli("hget", "{timbre}:file:" + item["url"].rsplit("/", 1)[1], "sum").strip()
                      for item in results}
            wanted.add(redis.cli("hget", "{timbre}:file:" + ref, "sum").strip())
            wait_for(lambda: set(blobs_of(blobs)) == wanted, 2 * PATIENCE)
            assert not list(pathlib.Path(blobs).glob("tmp/*")) or kills
            server.delete(f"{API}/queue/{job}")
            server.delete(f"{API}/files/{ref}")
            wait_for(lambda: blobs_of(blobs) == [], PATIENCE)
            for worker in workers:
                worker.stop()
        finally:
            for worker in workers:
                worker.close()
            if proxy:
                proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10) if FULL else [1])
def test_killed_workers_and_restarts(blobs, seed):
    with Redis() as redis:
        chaos(redis, blobs, seed, 200 if FULL else 60, 30 if FULL else 6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5) if FULL else [2])
def test_network_that_fails(blobs, seed):
    """Bytes come late, connections are cut and half closed between the workers and Redis."""
    dice = random.Random(seed)

    def fault(number, direction, data):
        what = dice.random()
        if what < 0.02:
            return None
        if what < 0.025:
            return "half"
        if what < 0.1:
            time.sleep(dice.uniform(0, 0.2))
        return data

    with Redis() as redis:
        chaos(redis, blobs, seed, 30, 0, fault)


@pytest.mark.parametrize("seed", range(10) if FULL else [1])
def test_streams_through_a_network_that_fails(blobs, seed):
    """Whatever is asked twice because an answer was lost: a stream has every sample once, as without a queue."""
    dice = random.Random(seed)
    calm = threading.Event()

    def fault(number, direction, data):
        return None if not calm.is_set() and dice.random() < 0.04 else data
    body = {"text": TEXT * 3, "ref_audio": SHORT, "seed": 7, "stream": True, "response_format": "pcm"}
    with Server() as alone:
        expected = alone.post(API + "/voice-clone", body).body
    with Redis() as redis:
        proxy = Proxy(redis.socket, fault)
        url = f"redis://127.0.0.1:{proxy.port}"
        calm.set()
        with front(url, "--blobs", blobs) as server, Worker(url, "--blobs", blobs):
            calm.clear()
            for _ in range(6):
                answer = server.post(API + "/voice-clone", body)
                assert answer.status == 200, answer
                assert answer.body == expected
            calm.set()
        proxy.close()


@pytest.fixture(scope="module")
def bucket():
    with bucket_server() as keys:
        yield keys


def test_bucket(redis, bucket):
    """--blobs s3://...: jobs, requests and voices with their bytes in a bucket, from which everything goes again."""
    blobs = ("--blobs", "s3://sounds/timbre/", "--lease", 1)
    with front(redis.url, *blobs, environment=bucket) as server, Worker(redis.url, *blobs, environment=bucket):
        server.add_voice("ben", ref_text="hello")
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}, {"text": "Hi.", "voice": "ben"}])
        assert server.wait_job(job)["done"] == 2
        for item in server.get(f"{API}/queue/results/{job}").json()["items"]:
            assert server.get(item["url"]).body == base64.b64decode(item["audio_base64"])
        names = objects(bucket)
        assert len(names) >= 4 and all(re.fullmatch("timbre/[0-9a-f]{64}", name) for name in names)
        server.delete(f"{API}/queue/{job}")
        server.delete(API + "/voices/ben")
        wait_for(lambda: objects(bucket) == [], PATIENCE)


def test_bucket_that_cannot_be_asked(redis, bucket, tmp_path):
    arguments = [TIMBRE, "worker", "--queue", redis.url, "--engine", "preview", "--state-dir", str(tmp_path)]
    for blobs, environment, status, message in (
            ("s3://", bucket, 2, "s3://BUCKET"), ("s3://a/../b", bucket, 2, "s3://BUCKET"),
            ("s3://key:secret@sounds", bucket, 2, "--blobs s3://***@sounds: it is s3://BUCKET"),
            ("s3://sounds", {**bucket, "AWS_SECRET_ACCESS_KEY": ""}, 2, "AWS_SECRET_ACCESS_KEY"),
            ("s3://sounds", {**bucket, "AWS_ENDPOINT_URL": "http://key:secret@127.0.0.1:1"}, 2, "without a user"),
            ("s3://sounds", {**bucket, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 1, "cannot be asked")):
        result = subprocess.run([*arguments, "--blobs", blobs], env={**os.environ, **environment}, capture_output=True,
                                text=True)
        assert result.returncode == status and message in result.stderr, (blobs, result)
        assert "secret" not in result.stderr, result
