"""Workers whose engine is out of order, servers that go while somebody works for them, clocks that are wrong."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from shared import Worker, front, need_redis, worker_on_a_port
from support import API, PATIENCE, SANITIZED, data_uri, wait_for, wav

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from speech_server import SpeechServer  # noqa: E402

TEXT = "A sentence that takes a moment to say. "
SHORT = data_uri(wav(1.0))


@pytest.fixture(scope="module", autouse=True)
def redis_is_there():
    need_redis()


def asks(url):
    return "--engine", "remote", "--remote-url", url


def test_speech_server_that_comes_later(redis):
    """What a worker's speech server cannot be asked waits for it."""
    with contextlib.closing(SpeechServer(listens=False)) as speech, front(redis.url) as server, \
            Worker(redis.url, *asks(speech.url("good"))) as worker:
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}] * 20)
        wait_for(lambda: "Failed to connect" in worker.log() or "Could not connect" in worker.log() or
                 server.job_state(job)["failed"] > 0)
        speech.listen()
        results = server.wait_job(job)
        assert (results["done"], results["failed"]) == (20, 0), results


@pytest.mark.parametrize("scenario", ["broken", "secret", "hang_up", "full"])
def test_speech_server_out_of_order(redis, scenario):
    """A worker whose speech server says no to everything leaves the items to others; it has not lost them."""
    with contextlib.closing(SpeechServer()) as speech, front(redis.url) as server, \
            Worker(redis.url, *asks(speech.url(scenario))), Worker(redis.url, "--max-batch", 1):
        job = server.job([{"text": TEXT * 5, "ref_audio": SHORT}] * 12)
        results = server.wait_job(job)
        assert (results["done"], results["failed"]) == (12, 0), results
        assert speech.requests


def test_text_that_breaks_the_speech_server(redis):
    """An item that fails wherever it is tried fails in the end."""
    with contextlib.closing(SpeechServer()) as speech, front(redis.url) as server, \
            Worker(redis.url, *asks(speech.url("broken"))):
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}])
        assert server.wait_job(job)["failed"] == 1


def begin_stream(server, text):
    """The connection of a stream whose first audio has come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # what is not read is not on its way
    body = {"text": text, "ref_audio": SHORT, "stream": True, "response_format": "pcm"}
    connection.request("POST", API + "/voice-clone", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200 and response.read(1)
    connection.response = response
    return connection


def calls(port):
    """Requests that wait and that run, as a worker at this port says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return [float(re.search(rf"^timbre_queue_calls_{name} (.*)$", text, re.M)[1]) for name in ("queued", "running")]


@contextlib.contextmanager
def doomed_front(redis, *options):
    """A server that is killed; what it leaves is removed."""
    server = front(redis.url, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
        server.log_file.close()
        server.folder.cleanup()


def kill_amid_a_stream(redis, port):
    with doomed_front(redis) as server, contextlib.closing(begin_stream(server, TEXT * 100)):
        assert calls(port) == [0, 1]
        server.process.send_signal(signal.SIGSTOP)  # it reads nothing more
        server.kill()


def test_server_that_dies_amid_a_stream(redis):
    """Nobody reads any more: the worker ends its speech and has its place for others."""
    with worker_on_a_port(redis.url, "--max-batch", 1) as (worker, port):
        kill_amid_a_stream(redis, port)
        wait_for(lambda: calls(port) == [0, 0])
        with front(redis.url) as server:
            assert server.clone("Hello.").status == 200
        worker.stop()


def test_client_that_pauses(redis):
    """Its server says that it listens, although it waits for the client: the stream goes on where it was."""
    with front(redis.url, "--idle-timeout", 600) as server, worker_on_a_port(redis.url) as (worker, port), \
            contextlib.closing(begin_stream(server, TEXT * 100)) as stream:
        (live,) = wait_for(lambda: redis.keys("live:*"))
        # Now the worker waits, too; or all is spoken, in a few long pieces if writing to the disk takes long. That is
        # more than the connection's buffers take.
        wait_for(lambda: int(redis.cli("xlen", live)) > 64 or calls(port)[1] == 0, 4 * PATIENCE)
        heard = live.replace("live:", "heard:")
        redis.cli("del", heard)
        wait_for(lambda: redis.keys("heard:*") == [heard])
        assert len(stream.response.read()) > 5000000
        worker.stop()


def test_worker_that_ends_while_nobody_reads(redis):
    with worker_on_a_port(redis.url, "--drain-grace", 1) as (worker, port):
        kill_amid_a_stream(redis, port)
        worker.stop()


@contextlib.contextmanager
def asking(server):
    """What a request that no worker has yet comes to, in a list, at the end."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.clone("Hello.")))
    thread.start()
    yield answers
    thread.join()


def queued_call(redis):
    (job,) = wait_for(lambda: redis.keys("job:*"))
    return job.removeprefix("{timbre}:job:")


def test_call_of_a_server_that_is_gone(redis):
    """It is not spoken: the worker drops it, and goes on with those that somebody waits for."""
    with doomed_front(redis) as server:
        connection = server.raw()
        body = json.dumps({"text": "Hello.", "ref_audio": SHORT}).encode()
        connection.sendall(b"POST /api/v1/voice-clone HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        gone = queued_call(redis)
        server.kill()
        connection.close()
    redis.cli("del", "{timbre}:heard:" + gone)  # as it is by and by
    with front(redis.url) as server, Worker(redis.url):
        assert server.clone("Hello.").status == 200
        wait_for(lambda: redis.keys("job:*") == [])
        assert server.metric("timbre_queue_deliveries_total") == 1
        assert server.metric("timbre_queue_calls_queued") == 0


def test_call_whose_server_is_there(redis):
    """What says that somebody listens is not on Redis' disk; it is said again."""
    with front(redis.url) as server, asking(server) as answers:
        call = queued_call(redis)
        redis.cli("del", "{timbre}:heard:" + call)
        with Worker(redis.url):
            wait_for(lambda: answers)
            assert answers[0].status == 200, answers


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's library must come first")
def test_clock_that_is_wrong(redis):
    """A deadline is the queue's: the worker's time of day has no part in it."""
    environment = {"LD_PRELOAD": os.environ["TIMBRE_SHIFTED_CLOCK"], "SHIFTED_SECONDS": "3600"}
    with front(redis.url, "--job-deadline", 30) as server, Worker(redis.url, environment=environment) as worker:
        assert server.clone("Hello.").status == 200
        now = subprocess.run(["date", "+%s"], env=worker.environment, capture_output=True).stdout
        assert int(now) > time.time() + 3000
