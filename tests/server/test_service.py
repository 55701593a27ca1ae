"""Health, metrics, the description, headers, methods, keys, origins."""
import hashlib
import http.client
import json
import re
import signal

import pytest
from support import API, REFERENCE, Server, data_uri, run, wait_for

KEY, OTHER = "k-0123456789abcdef0123", "another-key-0123456789"


def test_health(server):
    assert server.get("/health/live").json()["status"] == "ok"
    ready = server.get("/health/ready").json()
    assert ready["status"] == "ready" and ready["engine"] == "preview"
    assert server.get("/health").status == 200 and server.get("/ready").status == 200


def test_metrics(server):
    server.clone("Hello.")
    answer = server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    for name in ("timbre_requests_total", "timbre_stage_seconds_bucket", "timbre_queue_depth", "timbre_batch_size",
                 "timbre_memory_reserved_bytes", "timbre_real_time_factor_bucket", "timbre_first_audio_seconds_sum"):
        assert name in text
    for line in text.splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) timbre_\w+ .+|timbre_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+0-9.e]+', line
        ), line
    helped = re.findall(r"^# TYPE (\w+)", text, re.M)
    assert len(helped) == len(set(helped))
    buckets = [float(v) for v in re.findall(r'timbre_item_seconds_bucket\{le="[^"]+"\} (\d+)', text)]
    assert buckets == sorted(buckets) and buckets[-1] == server.metric("timbre_item_seconds_count") > 0


def test_openapi(server):
    document = server.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    for path, methods in {
        "/voice-clone-enhanced": {"post"},
        "/voice-clone": {"post"},
        "/voice-clone-file": {"post"},
        "/voice-clone-enhanced-file": {"post"},
        "/files/upload": {"post"},
        "/files/{id}": {"get", "delete"},
        "/enhance": {"post"},
        "/voices": {"get", "post"},
        "/voices/{name}": {"get", "delete"},
        "/queue/submit": {"post"},
        "/queue/status/{id}": {"get"},
        "/queue/results/{id}": {"get"},
        "/queue/{id}": {"delete"},
    }.items():
        assert set(paths[API + path]) == methods
    assert {"/v1/audio/speech", "/v1/models", "/v1/audio/voices", "/health/live", "/health/ready", "/metrics"} <= set(
        paths
    )
    body = paths[API + "/voice-clone-enhanced"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["text"] and body["additionalProperties"] is False
    assert body["properties"]["temperature"]["default"] == 1.0
    assert body["properties"]["seed"]["maximum"] == 2**53 - 1

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)
    for reference in references(document):
        assert reference.rpartition("/")[2] in document["components"]["schemas"]


@pytest.mark.parametrize("path", ["/", "/docs", "/app.js", "/audio.js", "/style.css", "/docs.js", "/icon.svg"])
def test_page(server, path):
    answer = server.get(path)
    assert answer.status == 200 and answer.body
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert server.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status == 304


@pytest.mark.parametrize("path", ["/", "/docs", "/app.js", "/audio.js", "/style.css", "/docs.js"])
def test_page_asks_nobody_else(server, path):
    for address in re.findall(rb"https?://[^\s\"'<>)]+", server.get(path).body):
        assert address.startswith((b"http://www.w3.org/", b"http://localhost", b"http://127.0.0.1")), address


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api/v1",
        "/api/v1/",
        "/api/v1/voices/",
        "/API/v1/voices",
        "/api/v1/files/a/b",
        "//",
        "/api/v1/../v1/voices",
        "/v1/nothing",
    ],
)
def test_not_found(server, path):
    answer = server.get(path)
    assert answer.status == 404
    assert answer.json() == ({"error": {"message": "Not Found", "type": "not_found_error", "param": None, "code": None}}
                             if path.startswith("/v1/") else {"detail": "Not Found"})


@pytest.mark.parametrize("method,path,allow", [
    ("GET", API + "/voice-clone", "OPTIONS, POST"), ("PUT", API + "/voices", "OPTIONS, GET, HEAD, POST"),
    ("PATCH", "/health/live", "OPTIONS, GET, HEAD"), ("DELETE", API + "/voices", "OPTIONS, GET, HEAD, POST"),
    ("POST", "/metrics", "OPTIONS, GET, HEAD"), ("BREW", "/", "OPTIONS, GET, HEAD")])
def test_wrong_method(server, method, path, allow):
    answer = server.request(method, path)
    assert answer.status == 405 and answer.headers["Allow"] == allow
    answer = server.request("OPTIONS", path)
    assert (
        answer.status == 204
        and answer.headers["Allow"] == allow
        and "Access-Control-Allow-Origin" not in answer.headers
    )


@pytest.mark.parametrize("path", ["/health%00/live", "/health/live%00", "/%zz", "/%", "/%4"])
def test_broken_escape(server, path):
    assert server.get(path).status == 400


def test_escaped_path(server):
    assert server.get("/health/%6cive").status == 200


def test_every_answer_has_an_id(server):
    ids = {server.get(path).headers["X-Request-Id"] for path in ("/health/live", "/nothing", "/metrics", "/")}
    assert len(ids) == 4 and None not in ids


def test_keep_alive(server):
    connection = server.connection()
    for _ in range(3):
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
    connection.request("POST", API + "/voice-clone", b"{}", {"Content-Type": "application/json"})
    assert connection.getresponse().read()
    connection.request("GET", "/health/live")
    response = connection.getresponse()
    assert response.status == 200 and response.read()
    connection.close()


def test_pipelined_requests(server):
    with server.raw() as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2 +
                       b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = b""
        while part := client.recv(65536):
            data += part
    assert data.count(b"HTTP/1.1 200") == 3


# ---- keys

@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# the keys\nteam {KEY}\n\nsha256:{hashlib.sha256(OTHER.encode()).hexdigest()}\n")
    with Server("--keys-file", keys) as running:
        running.keys = keys
        yield running


PROTECTED = [
    ("GET", API + "/voices"),
    ("POST", API + "/voices"),
    ("POST", API + "/voice-clone"),
    ("POST", API + "/voice-clone-enhanced"),
    ("POST", API + "/voice-clone-file"),
    ("POST", API + "/voice-clone-enhanced-file"),
    ("POST", API + "/enhance"),
    ("POST", API + "/files/upload"),
    ("GET", f"{API}/files/{'0' * 32}"),
    ("DELETE", f"{API}/files/{'0' * 32}"),
    ("DELETE", API + "/voices/x"),
    ("GET", API + "/queue"),
    ("POST", API + "/queue/submit"),
    ("GET", f"{API}/queue/status/{'0' * 32}"),
    ("GET", f"{API}/queue/results/{'0' * 32}"),
    ("DELETE", f"{API}/queue/{'0' * 32}"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/models"),
    ("GET", "/v1/audio/voices"),
    ("POST", "/v1/audio/voices"),
    ("DELETE", "/v1/audio/voices/x"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize("method,path", PROTECTED)
def test_key_needed(guarded, method, path):
    for headers in (
        {},
        {"x-api-key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + KEY},
        {"x-api-key": ""},
    ):
        answer = guarded.request(method, path, headers=headers)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer"), (headers, answer)
    for headers in ({"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {OTHER}"}):
        assert guarded.request(method, path, headers=headers).status != 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health/live", "/health/ready"])
def test_open_without_key(guarded, path):
    assert guarded.get(path).status == 200


def test_prefix_of_a_key_is_no_key(guarded):
    for key in (KEY[:-1], KEY + "x", KEY.upper(), hashlib.sha256(KEY.encode()).hexdigest()):
        assert guarded.get(API + "/voices", headers={"x-api-key": key}).status == 401


def test_keys_are_read_again(guarded):
    new = "fresh-key-9876543210"
    assert guarded.get(API + "/voices", headers={"x-api-key": new}).status == 401
    before = guarded.keys.read_text()
    guarded.keys.write_text(f"{new}\n")
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: guarded.get(API + "/voices", headers={"x-api-key": new}).status == 200)
    assert guarded.get(API + "/voices", headers={"x-api-key": KEY}).status == 401
    guarded.keys.write_text("short\n")  # broken: the last good ones stay
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old keys stay" in guarded.log())
    assert guarded.get(API + "/voices", headers={"x-api-key": new}).status == 200
    guarded.keys.write_text(before)
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: guarded.get(API + "/voices", headers={"x-api-key": KEY}).status == 200)


def test_log_has_no_keys_or_texts(guarded):
    guarded.post(
        API + "/voice-clone",
        {"text": "a very private sentence", "ref_audio": "data:audio/wav;base64,QUJD"},
        headers={"x-api-key": KEY},
    )
    guarded.get(API + "/voices?x-api-key=" + KEY, headers={"x-api-key": "wrong-secret-key"})
    log = guarded.log()
    assert "key=team" in log
    for secret in (KEY, OTHER, "wrong-secret-key", "private sentence", "QUJD"):
        assert secret not in log


def test_rate_limit(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OTHER}\n")
    with Server("--keys-file", keys, "--rate-limit", 5) as server:
        answers = [server.get(API + "/voices", headers={"x-api-key": KEY}) for _ in range(8)]
        assert [a.status for a in answers] == [200] * 5 + [429] * 3
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 12
        assert server.get(API + "/voices", headers={"x-api-key": OTHER}).status == 200
        assert server.get("/v1/models", headers={"x-api-key": KEY}).json()["error"]["type"] == "rate_limit_error"
        assert server.get("/health/ready").status == 200


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "has no key"),
        ("# nothing\n", "has no key"),
        ("short\n", "less than 16 characters"),
        ("sha256:abc\n", "64 hexadecimal"),
        ("bad/name " + KEY, "name"),
    ],
)
def test_bad_keys_file(tmp_path, text, message):
    keys = tmp_path / "keys"
    keys.write_text(text)
    result = run("serve", "--port", 0, "--state-dir", tmp_path / "s", "--keys-file", keys, "--engine", "preview")
    assert result.returncode == 1 and message in result.stderr and KEY not in result.stderr


def test_public_address_needs_keys(tmp_path):
    result = run("serve", "--host", "0.0.0.0", "--port", 0, "--state-dir", tmp_path / "s", "--engine", "preview")
    assert result.returncode == 2 and "--keys-file" in result.stderr


# ---- origins

def test_foreign_host_is_refused(server):
    answer = server.get("/health/live", headers={"Host": "evil.example"})
    assert answer.status == 403
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", f"127.0.0.1:{server.port}", "[::1]:1"):
        assert server.get("/health/live", headers={"Host": host}).status == 200


def test_foreign_origin_is_refused(server):
    assert (
        server.post(
            API + "/files/upload", form={"file": ("a.wav", REFERENCE)}, headers={"Origin": "http://evil.example"}
        ).status
        == 403
    )
    assert server.get(API + "/voices", headers={"Origin": "null"}).status == 403
    own = f"http://127.0.0.1:{server.port}"
    assert server.get(API + "/voices", headers={"Origin": own}).status == 200


def test_cors():
    with Server("--cors-origin", "https://app.example") as server:
        headers = {"Origin": "https://app.example"}
        answer = server.get(API + "/voices", headers=headers)
        assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        answer = server.request(
            "OPTIONS", API + "/voice-clone", headers={**headers, "Access-Control-Request-Method": "POST"}
        )
        assert answer.status == 204 and "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert server.get(API + "/voices", headers={"Origin": "https://other.example"}).status == 403


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with Server("--keys-file", keys, "--cors-origin", "*", "--open-listing", "--rate-limit", 0) as server:
        yield server


@pytest.mark.parametrize(
    "header,value",
    [
        ("x-api-key", KEY),
        ("X-API-Key", KEY),
        ("xi-api-key", KEY),
        ("Xi-Api-Key", KEY),
        ("Authorization", "Bearer " + KEY),
        ("Authorization", "bearer " + KEY),
        ("Authorization", "BEARER  " + KEY),
        ("Authorization", "Token " + KEY),
        ("Authorization", "token " + KEY),
    ],
)
def test_key_headers(keyed, header, value):
    assert keyed.get(API + "/voices", headers={header: value}).status == 200
    assert keyed.get(API + "/voices", headers={header: value + " \t"}).status == 200
    assert keyed.get(API + "/voices", headers={header: value + "x"}).status == 401


@pytest.mark.parametrize("value", [KEY, "Basic " + KEY, "Bearer" + KEY, "Bearer", "Token", "Key " + KEY, ""])
def test_no_key(keyed, value):
    assert keyed.get(API + "/voices", headers={"Authorization": value}).status == 401


def test_open_listing(keyed, tmp_path):
    for path in (
        "/v1/models",
        "/v1/models/tts-1",
        "/v1/audio/models",
        "/v1/audio/voices",
        "/v1/audio/voices?legacy=true",
    ):
        assert keyed.get(path).status == 200, path
    for path in (API + "/voices", API + "/queue", "/metrics"):
        assert keyed.get(path).status == 401, path
    assert keyed.post("/v1/audio/voices", form={"name": "x", "audio_sample": ("a.wav", REFERENCE)}).status == 401
    keys = tmp_path / "keys"
    keys.write_text(KEY + "\n")
    with Server("--keys-file", keys) as closed:
        assert closed.get("/v1/models").status == 401 and closed.get("/v1/audio/voices").status == 401


def preflight(server, origin, headers="x-stainless-os, x-stainless-retry-count,content-type", private=False):
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    if private:
        asked["Access-Control-Request-Private-Network"] = "true"
    return server.request("OPTIONS", "/v1/audio/speech", headers=asked)


def test_cors_with_any_origin(keyed):
    answer = preflight(keyed, "https://any.example")
    assert answer.status == 204 and answer.headers["Access-Control-Allow-Origin"] == "https://any.example"
    answer = keyed.get("/v1/models", headers={"Origin": "http://localhost:3000"})
    assert (
        answer.status == 200
        and answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        and answer.headers["Vary"] == "Origin"
    )
    assert preflight(keyed, "null").headers["Access-Control-Allow-Origin"] is None


def test_cors_with_several_origins():
    with Server(
        "--cors-origin", "https://a.example, http://localhost:3000", "--cors-origin", "https://B.example:443"
    ) as server:
        for origin in ("https://a.example", "http://localhost:3000", "https://b.example"):
            answer = preflight(server, origin, private=True)
            assert answer.status == 204 and answer.headers["Access-Control-Allow-Origin"] == origin
            assert (
                answer.headers["Access-Control-Allow-Headers"] == "x-stainless-os, x-stainless-retry-count,content-type"
            )
            assert (
                answer.headers["Access-Control-Allow-Private-Network"] == "true"
                and "POST" in answer.headers["Access-Control-Allow-Methods"]
            )
            answer = server.clone("Hi.", path="/voice-clone")
            answer = server.post(
                API + "/voice-clone", {"text": "Hi.", "ref_audio": data_uri()}, headers={"Origin": origin}
            )
            exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
            assert answer.status == 200 and {"X-Request-Id", "X-Seed", "X-Engine", "X-Is-Clone", "X-Ignored"} <= set(
                exposed
            )
            # Whatever of ours an answer carries, the page may read it.
            assert {
                name for name in answer.headers if name.lower().startswith("x-") and name != "X-Content-Type-Options"
            } <= set(exposed)
        for origin in (
            "https://c.example",
            "http://a.example",
            "https://a.example.evil.example",
            "https://a.example:8443",
            "null",
            "https://a.example/",
        ):
            assert preflight(server, origin).headers["Access-Control-Allow-Origin"] is None
            assert server.get(API + "/voices", headers={"Origin": origin}).status == 403


@pytest.mark.parametrize(
    "origin,message",
    [
        ("a.b/", "no origin"),
        ("a.example", "no origin"),
        ("https://a.example/", "last slash"),
        ("https://", "no origin"),
        ("https://a.example/path", "last slash"),
        ("https://a b", "no origin"),
        ("*", "without keys"),
        ("https://a.example:99999", "no origin"),
        ("https://a.example,b", "no origin"),
        ("https://*.example", "no origin"),
        ("://a", "no origin"),
        ("https://[::1", "no origin"),
        ("https://user@a.example", "no origin"),
        ("null", "no origin"),
        (" , ", "names no origin"),
    ],
)
def test_origins_that_cannot_work(tmp_path, origin, message):
    answer = run("serve", "--port", 0, "--state-dir", tmp_path, "--engine", "preview", "--cors-origin", origin)
    assert answer.returncode == 2 and message in answer.stderr and "cors-origin" in answer.stderr, answer


# ---- ready means ready

NOTHING = {
    "HF_HOME": "/nonexistent",
    "HF_HUB_CACHE": "/nonexistent/hub",
    "HF_HUB_OFFLINE": "1",
    "TIMBRE_SYSTEM_MODELS": "/nonexistent",
}


@pytest.mark.parametrize(
    "options,message",
    [
        (("--model", "0.6b"), "timbre pull qwen3-tts-0.6b"),
        (("--model", "1.7b"), "timbre pull qwen3-tts-1.7b"),
        (("--engine", "qwen3"), "timbre pull"),
        (("--model", "/nonexistent"), "/nonexistent"),
        (("--denoiser", "/nope"), "/nope"),
        (("--no-preview",), "timbre pull"),
    ],
)
def test_what_is_missing_ends_the_start(tmp_path, options, message):
    answer = run("serve", "--port", 0, "--state-dir", tmp_path, *options, environment=NOTHING)
    assert answer.returncode == 4 and message in answer.stderr and "listening" not in answer.stdout, answer


def test_preview_is_refused_by_name(tmp_path):
    answer = run(
        "serve", "--port", 0, "--state-dir", tmp_path, "--no-preview", "--engine", "preview", environment=NOTHING
    )
    assert answer.returncode == 2 and "preview" in answer.stderr, answer


def test_without_espeak(tmp_path):
    answer = run(
        "serve", "--port", 0, "--state-dir", tmp_path, "--engine", "preview", environment={"PATH": str(tmp_path)}
    )
    assert answer.returncode == 4 and "espeak-ng" in answer.stderr, answer


def test_who_speaks_is_told():
    with Server(engine=None, environment=NOTHING) as server:
        line = server.process.stdout.readline()
        assert "preview" in line and "no clone" in line and "timbre pull" in line, line
        for path in ("/health/live", "/health/ready", "/health", "/ready"):
            state = server.get(path).json()
            assert state["engine"] == "preview" and state["is_clone"] is False, state
        for body in ({}, {"stream": True}, {"stream": True, "stream_format": "sse"}):
            answer = server.clone("Hi.", **body)
            assert answer.headers["X-Engine"] == "preview" and answer.headers["X-Is-Clone"] == "false", body


def test_still_alive(server, alive):
    pass
