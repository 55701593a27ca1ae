"""Where the bytes are says no, says nothing, breaks off or is full: an error that says so, and nothing lost."""
import contextlib
import http.client
import http.server
import signal
import subprocess
import threading

import pytest
from shared import Redis, Worker, blobs_of, bucket_server, front, need_redis, objects
from support import API, PATIENCE, REFERENCE, TIMBRE, data_uri, wait_for, wav

SHORT = data_uri(wav(1.0))
LARGE = wav(30.0)  # more than goes with a request
SLOW = "A sentence that takes a moment to say. " * 8


@pytest.fixture(scope="module", autouse=True)
def redis_is_there():
    need_redis()


@pytest.fixture(scope="module")
def redis_server():
    with Redis("--appendfsync", "everysec") as running:
        yield running


@pytest.fixture(scope="module")
def bucket_of_all():
    with bucket_server() as keys:
        yield keys


@pytest.fixture
def bucket(bucket_of_all):
    """Empty."""
    client = http.client.HTTPConnection(bucket_of_all["AWS_ENDPOINT_URL"].removeprefix("http://"))
    for method, path in (("POST", "/moto-api/reset"), ("PUT", "/sounds")):
        client.request(method, path)
        answer = client.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    assert objects(bucket_of_all) == []
    return bucket_of_all


class Gate(http.server.ThreadingHTTPServer):
    """Before a bucket: `fault(method)` is None, a status, or how the exchange breaks off. Unless `told` is False, there
    is none when it is asked which place it is."""
    daemon_threads = True

    def __init__(self, bucket):
        self.target = bucket["AWS_ENDPOINT_URL"].removeprefix("http://")
        self.fault = lambda method: None
        self.told = True
        self.asked = []
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Exchange)
        self.environment = {**bucket, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}"}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def first(self, what, count, *methods):
        """The fault for the first requests of each method."""
        seen = {}

        def fault(method):
            seen[method] = seen.get(method, 0) + 1
            return what if method in methods and seen[method] <= count else None
        self.fault = fault

    def always(self, what, *methods):
        self.fault = lambda method: what if method in methods else None

    def never(self):
        self.fault = lambda method: None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass


REASONS = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}


class Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def forward(self, body):
        client = http.client.HTTPConnection(self.server.target)
        client.request(self.command, self.path, body, dict(self.headers))
        response = client.getresponse()
        return response, response.read()

    def give(self, status, headers, body, part=None, drips=False):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        if not (self.command == "HEAD" and status == 200):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        while drips and not self.server.closing.wait(0.1) and sent + 100 < len(body):
            self.wfile.write(body[sent:sent + 100])
            sent += 100
        self.wfile.write(body[sent:part])

    def exchange(self):
        what = None
        if not (self.server.told and self.path.endswith("/identity")):
            self.server.asked.append(self.command)
            what = self.server.fault(self.command)
        length = int(self.headers.get("Content-Length", 0))
        if what == "cut" and self.command == "PUT":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if isinstance(what, int):
            text = f"<?xml version=\"1.0\"?><Error><Code>{REASONS[what]}</Code><Message>No.</Message></Error>".encode()
            self.give(what, [("Content-Type", "application/xml")], text)
        elif what == "silent":
            self.server.closing.wait(PATIENCE)
            self.close_connection = True
        elif what == "cut" and self.command != "GET":
            self.close_connection = True
        else:
            response, content = self.forward(body)
            self.close_connection = what in ("cut", "lost")
            if what != "lost":
                self.give(response.status, response.getheaders(), content, len(content) // 2 if what == "cut" else None,
                          what == "drips")

    do_GET = do_HEAD = do_PUT = do_DELETE = exchange


def store(server, audio=REFERENCE):
    return server.request("POST", API + "/files/upload", form={"file": ("ref.wav", audio)})


def nothing_stays(redis, names):
    """Everything that was put there is gone, by the sweep at the latest."""
    wait_for(lambda: names() == [] and redis.cli("zcard", "{timbre}:arriving").strip() == "0", 2 * PATIENCE)


@pytest.mark.parametrize("what", [500, 503, "cut", "lost"])
def test_bucket_that_fails_for_a_moment(redis, bucket, what):
    """Asked again, it answers: nobody notices, and nothing is there twice or left."""
    with Gate(bucket) as gate:
        blobs = ("--blobs", "s3://sounds", "--lease", 1)
        with front(redis.url, *blobs, environment=gate.environment) as server, \
                Worker(redis.url, *blobs, environment=gate.environment):
            gate.first(what, 2, "GET", "HEAD", "PUT", "DELETE")
            answer = store(server, LARGE)
            assert answer.status == 201, answer
            file = answer.json()["id"]
            gate.first(what, 2, "GET", "HEAD", "PUT")
            job = server.job([{"text": "Hi.", "ref_audio": file}])
            assert server.wait_job(job)["done"] == 1
            gate.first(what, 2, "GET")
            url = server.get(f"{API}/queue/results/{job}?audio=url").json()["items"][0]["url"]
            assert server.get(url).body[:4] == b"RIFF"
            assert len(objects(bucket)) == 2
            gate.never()
            server.delete(f"{API}/queue/{job}")
            server.delete(f"{API}/files/{file}")
            nothing_stays(redis, lambda: objects(bucket))


def test_bucket_that_refuses(redis, bucket):
    """403: a server says what it cannot do and its log what to look at; later it can."""
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", "--lease", 1,
                                     environment=gate.environment) as server:
        gate.always(403, "PUT")
        refused = store(server)
        assert refused.status == 500 and "cannot be stored or read" in refused.json()["detail"], refused
        assert "HTTP status 403 (AccessDenied)" in server.log() and "AWS_ACCESS_KEY_ID" in server.log()
        gate.always(403, "HEAD")  # has no body, so no reason
        assert store(server).status == 500
        gate.never()
        file = store(server).json()["id"]
        gate.always(403, "GET")
        read = server.get(f"{API}/files/{file}")
        assert read.status == 500 and "cannot be stored or read" in read.json()["detail"], read
        gate.never()
        assert server.get(f"{API}/files/{file}").body == REFERENCE
        server.delete(f"{API}/files/{file}")
        nothing_stays(redis, lambda: objects(bucket))


def test_reference_that_cannot_be_stored(redis, bucket):
    """A request's own reference: who asks again for what never passes is told so, as with an upload."""
    request = {"text": "Hi.", "ref_audio": data_uri(wav(3.0))}
    with front(redis.url) as server:
        # Some bytes more than Redis takes, whatever they are.
        large = server.post(API + "/voice-clone", {**request, "ref_audio": data_uri(REFERENCE + bytes(16 << 20))})
        assert large.status == 507 and "no room left" in large.json()["detail"], large
        assert "Retry-After" not in large.headers and "is too large to be in Redis" in server.log()
        redis.cli("acl", "setuser", "default", "-zadd")
        try:
            assert server.post(API + "/voice-clone", request).status == 500
        finally:
            redis.cli("acl", "setuser", "default", "+@all")
    redis.cli("flushall")
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", environment=gate.environment) as server:
        gate.always(403, "PUT")
        refused = server.post(API + "/voice-clone", request)
        assert refused.status == 500 and "Retry-After" not in refused.headers, refused
        assert "HTTP status 403 (AccessDenied)" in server.log()
        redis.cli("acl", "setuser", "default", "-incr")
        gate.never()
        try: # the reference is stored, the call is not
            assert server.post(API + "/voice-clone", request).status == 500
        finally:
            redis.cli("acl", "setuser", "default", "+@all")
        nothing_stays(redis, lambda: objects(bucket))


def test_bucket_that_does_not_say_which_it_is(redis, bucket):
    """Without it nothing starts, and the next one need not wait; it is asked a few times."""
    def start(gate, told):
        gate.told = told
        return front(redis.url, "--blobs", "s3://sounds", environment=gate.environment)

    with Gate(bucket) as gate:
        for method in ("GET", "PUT"):
            gate.always(403, method)
            with pytest.raises(RuntimeError, match="HTTP status 403"):
                start(gate, False)
            assert redis.keys("plac*") == []
        gate.first("lost", 2, "GET", "PUT")
        with start(gate, False) as server:
            assert store(server).status == 201
        gate.always(403, "GET")
        with pytest.raises(RuntimeError, match="cannot be asked"):
            start(gate, False)


def test_bucket_that_stays_away(redis, bucket):
    """503 all the time: 503 and a time to come back, for uploads and for requests; work that is there waits for it."""
    with Gate(bucket) as gate:
        blobs = ("--blobs", "s3://sounds", "--lease", 1)
        with front(redis.url, *blobs, environment=gate.environment) as server:
            file = store(server).json()["id"]
            gate.always(503, "HEAD", "PUT", "GET")
            request = {"text": "Hi.", "ref_audio": data_uri(LARGE)}
            for answer in (store(server, LARGE), server.post(API + "/voice-clone", request)):
                assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0, answer
            assert "HTTP status 503" in server.log()
            gate.always(503, "PUT")
            assert store(server, LARGE).status == 503 and "HTTP status 503 (SlowDown)" in server.log()
            gate.never()
            job = server.job([{"text": "Hi.", "ref_audio": file}])
            gate.always(503, "GET")
            with Worker(redis.url, *blobs, "--max-deliveries", 1, environment=gate.environment) as worker:
                wait_for(lambda: worker.log().count("HTTP status 503") >= 1, PATIENCE)
                gate.never()
                assert server.wait_job(job)["done"] == 1
            server.delete(f"{API}/queue/{job}")
            server.delete(f"{API}/files/{file}")
            nothing_stays(redis, lambda: objects(bucket))


def test_bucket_that_says_nothing(redis, bucket):
    """No answer at all: an end within the deadlines, and a server that can be stopped."""
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", environment=gate.environment) as server:
        gate.always("silent", "HEAD", "PUT", "GET", "DELETE")
        answer = store(server)
        assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0, answer
        assert "--blobs http://" in server.log()
        server.stop()


def test_expiry_that_waits_for_the_bucket(redis, bucket):
    """What has expired is removed beside the thread that hears signals and tells systemd that the server lives."""
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", "--keep-files", 1,
                                     environment=gate.environment) as server:
        assert store(server).status == 201
        gate.always("silent", "DELETE")
        wait_for(lambda: "DELETE" in gate.asked, PATIENCE)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "finishing: no new work" in server.log(), PATIENCE)
        assert "--blobs http://" not in server.log().split("finishing: no new work")[0]
        gate.closing.set()
        assert server.process.wait(PATIENCE) == 0


def test_health_beside_results_that_do_not_come(redis, bucket):
    """Results whose files do not come keep no thread from other clients."""
    with Gate(bucket) as gate:
        blobs = ("--blobs", "s3://sounds")
        with front(redis.url, *blobs, "--http-threads", 1, environment=gate.environment) as server, \
                Worker(redis.url, *blobs, environment=bucket):
            jobs = [server.job([{"text": "Hi.", "ref_audio": SHORT}]) for _ in range(3)]
            assert all(server.wait_job(job)["done"] == 1 for job in jobs)
            gate.always("drips", "GET")  # a minute each
            ended = []
            asking = [threading.Thread(target=lambda job=job: ended.append(server.get(f"{API}/queue/results/{job}")))
                      for job in jobs]
            for thread in asking:
                thread.start()
            wait_for(lambda: "GET" in gate.asked)
            assert server.get("/health/live").status == 200 and not ended
            gate.closing.set()
            for thread in asking:
                thread.join()
            assert all(answer.json()["items"][0]["audio_base64"] for answer in ended), ended


def test_worker_without_access(redis, bucket):
    """What one worker may not read, another does; if none may, the item says so after its deliveries."""
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", environment=bucket) as server:
        file = store(server).json()["id"]
        options = ("--blobs", "s3://sounds", "--max-deliveries", 3)
        gate.always(403, "GET")
        with Worker(redis.url, *options, environment=gate.environment) as poor:
            failed = server.job([{"text": "Hi.", "ref_audio": file}])
            assert server.wait_job(failed)["failed"] == 1
            (item,) = server.get(f"{API}/queue/results/{failed}?audio=url").json()["items"]
            assert item["error"].startswith("ref_audio: The file cannot be stored or read"), item
            assert gate.asked.count("GET") == 3
            with Worker(redis.url, *options, environment=bucket):
                jobs = [server.job([{"text": f"Hi {i}.", "ref_audio": file}]) for i in range(4)]
                assert all(server.wait_job(job)["done"] == 1 for job in jobs)
            assert "AccessDenied" in poor.log()
        for job in (failed, *jobs):
            server.delete(f"{API}/queue/{job}")
        server.delete(f"{API}/files/{file}")
        nothing_stays(redis, lambda: objects(bucket))


@pytest.mark.parametrize("lasts", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_worker_that_cannot_store(redis, bucket, lasts):
    """A result waits for a while for a place that does not take it; then its item says so."""
    with Gate(bucket) as gate, front(redis.url, "--blobs", "s3://sounds", "--lease", 1, environment=bucket) as server:
        gate.always(403, "PUT")
        with Worker(redis.url, "--blobs", "s3://sounds", environment=gate.environment) as worker:
            job = server.job([{"text": "Hi.", "ref_audio": SHORT}])
            wait_for(lambda: "is tried again" in worker.log(), PATIENCE)
            if not lasts:
                gate.never()
            status = server.wait_job(job)
            (item,) = server.get(f"{API}/queue/results/{job}?audio=url").json()["items"]
            assert status["failed"] == lasts and ("cannot be stored" in item["error"] if lasts else "error" not in item)
        server.delete(f"{API}/queue/{job}")
        nothing_stays(redis, lambda: objects(bucket))


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own, so that it can be full and read-only."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "timbre", folder], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_folder_that_is_full(redis, tmp_path):
    """507 and a line that names the folder; a result waits for room."""
    with small_disk(tmp_path / "blobs", "512k") as folder:
        blobs = ("--blobs", folder, "--lease", 1)
        with front(redis.url, *blobs) as server:
            file = store(server).json()["id"]
            answer = store(server, LARGE)
            assert answer.status == 507 and "no room left for the file" in answer.json()["detail"], answer
            assert f"--blobs {folder}: No space left on device" in server.log()
            assert not list(folder.glob("tmp/*"))
            (folder / "ballast").write_bytes(bytes(380000))
            job = server.job([{"text": "This is longer than what is left. " * 3, "ref_audio": file}])
            with Worker(redis.url, *blobs) as worker:
                wait_for(lambda: "is tried again" in worker.log(), PATIENCE)
                remount(folder, "size=8m")
                assert server.wait_job(job)["done"] == 1
            assert store(server, wav(30.0, seed=2)).status == 201
            server.delete(f"{API}/queue/{job}")


def test_folder_that_is_read_only(redis, tmp_path):
    with small_disk(tmp_path / "blobs", "8m") as folder:
        blobs = ("--blobs", folder, "--lease", 1)
        with front(redis.url, *blobs) as server:
            file = store(server).json()["id"]
            with Worker(redis.url, *blobs) as worker:
                remount(folder, "ro")
                answer = store(server, wav(3.0))
                assert answer.status == 500 and "cannot be stored or read" in answer.json()["detail"], answer
                assert f"--blobs {folder}: every server and worker must be able to write there" in server.log()
                # What is there can be read.
                assert server.get(f"{API}/files/{file}").body == REFERENCE
                job = server.job([{"text": "Hi.", "ref_audio": file}])
                wait_for(lambda: "is tried again" in worker.log(), PATIENCE)
                remount(folder, "rw")
                assert server.wait_job(job)["done"] == 1
            server.delete(f"{API}/queue/{job}")
            server.delete(f"{API}/files/{file}")
            nothing_stays(redis, lambda: blobs_of(folder))


def test_worker_that_may_not_read(redis, bucket):
    """It leaves what it cannot run to a worker that can, however busy that is, and does not take it again and again."""
    blobs = ("--blobs", "s3://sounds")
    with Gate(bucket) as gate, front(redis.url, *blobs, environment=bucket) as server:
        file = store(server, LARGE).json()["id"]
        gate.always(403, "GET")
        with Worker(redis.url, *blobs, environment=gate.environment) as poor, \
                Worker(redis.url, *blobs, "--max-batch", 1, environment=bucket):
            job = server.job([{"text": SLOW, "ref_audio": file}] * 20)
            results = server.wait_job(job)
            assert (results["done"], results["failed"]) == (20, 0), poor.log()[-2000:]
            assert "GET" in gate.asked


ODD = ["a b", "a:b", "jobs:x", "*", "[a-z]?", "münchen 東京", "@" + "0" * 32, "%d%s", "x" * 3000, "{timbre}", "'\"\\"]


def test_odd_needs(redis, tmp_path):
    """Labels and models are parts of streams' names: an item goes to who has it and nobody else."""
    (tmp_path / "blobs").mkdir()
    blobs = ("--blobs", tmp_path / "blobs")
    with contextlib.ExitStack() as stack:
        none = stack.enter_context(Worker(redis.url, *blobs))
        fronts = [stack.enter_context(front(redis.url, *blobs, "--need", need)) for need in ODD]
        jobs = [server.job([{"text": "Hi.", "ref_audio": SHORT}]) for server in fronts]
        wait_for(lambda: none.log().count("are left to other workers") == len(ODD), PATIENCE)
        for server, need, job in zip(fronts, ODD, jobs):
            assert server.get(f"{API}/queue/status/{job}").json()["queued"] == 1, need
            with Worker(redis.url, *blobs, "--label", need):
                assert server.wait_job(job)["done"] == 1, need
        # A name of a model that nobody has.
        for name in ODD[:8]:
            item = {"text": "Hi.", "ref_audio": SHORT, "model": name}
            answer = fronts[0].post(API + "/queue/submit", {"items": [item]})
            assert answer.status == 202, (name, answer)
        assert fronts[0].get(API + "/queue").status == 200


@pytest.mark.parametrize("queue", ["", " ", "unix:" + "x" * 200, "unix:/nöwhere/a *", "redis://*", "redis://a:b:c",
                                   "redis://" + "x" * 5000])
def test_odd_queues(tmp_path, queue):
    """A queue that cannot be is told at the start, by name if it can be one: another may have a password in it."""
    result = subprocess.run([TIMBRE, "worker", "--queue", queue, "--engine", "preview", "--state-dir", str(tmp_path)],
                            capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode in (1, 2) and ("--queue" in result.stderr or f"{queue}:" in result.stderr), result


def test_folder_with_an_odd_name(redis, tmp_path):
    folder = tmp_path / " [a-z]*:%s 東京 "
    with front(redis.url, "--blobs", folder) as server, Worker(redis.url, "--blobs", folder):
        job = server.job([{"text": "Hi.", "ref_audio": SHORT}])
        assert server.wait_job(job)["done"] == 1
        assert blobs_of(folder)
