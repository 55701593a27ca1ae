"""Where settings come from, systemd, signals, the audio root, URLs."""
import http.server
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from support import API, REFERENCE, TIMBRE, Server, data_uri, run, wait_for, wav


def printed(*options, environment=None):
    result = run("serve", "--print-config", *options, environment=environment)
    assert result.returncode == 0, result.stderr
    values = {}
    for line in result.stdout.splitlines():
        if " = " in line and not line.startswith("#"):
            name, rest = line.split(" = ", 1)
            value, source = rest.rsplit(" # ", 1)
            values[name] = (value.strip('"'), source)
    return values, result


def test_defaults():
    values, _ = printed(environment={"XDG_STATE_HOME": "/tmp/xdg"})
    for name, value in {
        "host": "127.0.0.1",
        "max-json-bytes": str(32 << 20),
        "max-upload-bytes": str(25 << 20),
        "max-text": "4096",
        "max-references": "64",
        "max-reference-seconds": "600",
        "max-jobs": "64",
        "header-timeout": "10",
        "idle-timeout": "30",
        "job-deadline": "600",
        "drain-grace": "30",
        "stream-ahead": "5",
        "resample-workers": "3",
        "enhance-workers": "3",
        "cors-origin": "",
        "allow-ref-url": "",
    }.items():
        assert values[name] == (value, "default"), name
    assert values["state-dir"][0] == "/tmp/xdg/timbre"


def test_precedence(tmp_path):
    file = tmp_path / "serve.conf"
    file.write_text(
        "# comment\n[section]\nmax-text = 10\nmax_items = 11 # with underscore\nmax-jobs = 12\nhost ="
        " \"localhost\"\nallow_private_ref_url = yes\n"
    )
    environment = {"TIMBRE_MAX_TEXT": "20", "TIMBRE_MAX_ITEMS": "21"}
    values, _ = printed("--config", file, "--max-text", 30, environment=environment)
    assert values["max-text"] == ("30", "flag")
    assert values["max-items"] == ("21", "environment")
    assert values["max-jobs"] == ("12", "file")
    assert values["host"] == ("localhost", "file") and values["allow-private-ref-url"] == ("yes", "file")
    values, _ = printed(f"--config={file}", "--max-text=31")
    assert values["max-text"] == ("31", "flag") and values["max-items"] == ("11", "file")


def test_print_config_can_be_read_back(tmp_path):
    _, first = printed("--max-text", 77, "--keep-files", "2h", "--cors-origin", "https://a.example")
    file = tmp_path / "again.conf"
    file.write_text(first.stdout)
    values, _ = printed("--config", file)
    assert values["max-text"] == ("77", "file") and values["keep-files"] == ("7200", "file")
    assert values["cors-origin"] == ("https://a.example", "file")


def test_xdg_config(tmp_path):
    (tmp_path / "timbre").mkdir()
    (tmp_path / "timbre" / "serve.conf").write_text("max-text = 5\n")
    values, _ = printed(environment={"XDG_CONFIG_HOME": str(tmp_path)})
    assert values["max-text"] == ("5", "file")


def test_unknown_keys_warn(tmp_path):
    file = tmp_path / "c"
    file.write_text("max-text = 5\nmax-speed = 9\n")
    values, result = printed("--config", file)
    assert values["max-text"][0] == "5" and 'unknown key "max-speed"' in result.stderr and ":2:" in result.stderr


def test_systemd_folders(tmp_path):
    (tmp_path / "api-keys").write_text("0123456789abcdef\n")
    values, _ = printed(
        environment={"STATE_DIRECTORY": "/var/lib/timbre:/var/lib/other", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    )
    assert values["state-dir"] == ("/var/lib/timbre", "systemd") or values["state-dir"][0] == "/var/lib/timbre"
    assert values["keys-file"] == (str(tmp_path / "api-keys"), "systemd")


@pytest.mark.parametrize("value,seconds", [("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("1500ms", 1.5)])
def test_times(value, seconds):
    assert float(printed("--keep-files", value)[0]["keep-files"][0]) == seconds


@pytest.mark.parametrize(
    "value,size", [("65536", 65536), ("64K", 65536), ("1.5M", 3 << 19), ("1MiB", 1 << 20), ("1g", 1 << 30)]
)
def test_sizes(value, size):
    assert int(printed("--max-json-bytes", value)[0]["max-json-bytes"][0]) == size


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "70000"],
        ["--port", "x"],
        ["--port", "-1"],
        ["--port"],
        ["--nonsense", "1"],
        ["extra"],
        ["--engine", "llama"],
        ["--max-json-bytes", "1"],
        ["--max-json-bytes", "9Q"],
        ["--keep-files", "soon"],
        ["--header-timeout", "0"],
        ["--log-format", "xml"],
        ["--preload=perhaps"],
        ["--max-text", "1e3"],
        ["--max-text", "0x10"],
        ["--config", "/nonexistent/file"],
    ],
)
def test_bad_options(options, tmp_path):
    result = run("serve", "--state-dir", tmp_path / "s", *options)
    assert result.returncode == 2 and result.stderr.startswith("timbre serve: error: ") and result.stdout == "", result


@pytest.mark.parametrize(
    "options,words",
    [
        (["--prot", "1"], "unknown option --prot; did you mean --port?"),
        (["--stat-dir=x"], "unknown option --stat-dir; did you mean --state-dir?"),
        (["--xyzzy"], "unknown option --xyzzy; `timbre serve --help`"),
        (["--port", "x"], "error: --port: \"x\" is not a number from 0 to 65535"),
        (["--port"], "--port needs a value"),
        (["--engine", "llama"], "error: --engine: \"llama\" is not one of auto|"),
        (["--voice-alias", "x"], "--voice-alias: \"x\" is not NAME=VOICE"),
        (["--cors-origin", "a.b/"], "--cors-origin: \"a.b/\""),
    ],
)
def test_it_speaks_like_the_other_commands(options, words, tmp_path):
    result = run("serve", "--state-dir", tmp_path / "s", *options)
    assert result.returncode == 2 and words in result.stderr, result


def test_where_a_bad_value_came_from(tmp_path):
    result = run("serve", environment={"TIMBRE_PORT": "x"})
    assert result.returncode == 2 and "error: TIMBRE_PORT: \"x\"" in result.stderr, result
    (tmp_path / "conf").write_text("\nport = x\n")
    result = run("serve", "--config", tmp_path / "conf")
    assert result.returncode == 2 and f"{tmp_path}/conf:2: port: \"x\"" in result.stderr, result


def test_version():
    result = run("serve", "--version")
    assert result.returncode == 0 and result.stdout == run("--version").stdout, result


def test_help():
    result = run("serve", "--help")
    assert result.returncode == 0 and "--max-upload-bytes" in result.stdout and "--print-config" in result.stdout


def test_port_in_use():
    with Server() as server:
        result = run(
            "serve", "--port", server.port, "--state-dir", server.folder.name + "/other", "--engine", "preview"
        )
        assert result.returncode == 1 and "cannot listen" in result.stderr


def test_ipv6():
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with Server("--host", "::1", "--host", "127.0.0.1"):
        pass
    import http.client

    process = subprocess.Popen(
        [TIMBRE, "serve", "--host", "::1", "--port", "0", "--engine", "preview", "--state-dir", "/tmp/timbre-test-v6"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://[::1]:"), line
        connection = http.client.HTTPConnection("::1", int(line.rsplit(":", 1)[1]))
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        subprocess.run(["rm", "-rf", "/tmp/timbre-test-v6"], check=True)


@pytest.mark.parametrize("option, url, shown", [
    ("remote-url", "https://user:secret@host/v1", "https://***@host/v1"),
    ("remote-url", "http://a:80,https://u:p@secret@host,http://b", "http://a:80,https://***@host,http://b"),
    ("remote-url", "https://u:secret/secret@host", "https://***@host"),
    ("remote-url", "https://host/at@home", "https://host/at@home"),
    ("transcribe-url", "https://user:secret@host", "https://***@host"),
    ("queue", "redis://:secret@host:1/2", "redis://***@host:1/2"),
    ("blobs", "s3://user:secret@bucket/prefix", "s3://***@bucket/prefix"),
    ("blobs", "/folder/of:what@home", "/folder/of:what@home"),
    ("queue", "unix:user:secret@/tmp/socket", "unix:***@/tmp/socket"),
])
def test_no_password_is_shown(option, url, shown):
    text = run("serve", "--print-config", "--engine", "remote", "--queue", "redis://host", f"--{option}", url).stdout
    assert f'{option} = "{shown}" # flag' in text and "secret" not in text


@pytest.mark.parametrize("url", [
    "https://user:secret@host/v1?x=1", "ftp://user:secret@host", "user:secret@host", "https://u:secret@host#limit=no",
    "https://u:p@secret@host#limit=0",
])
def test_no_password_is_in_a_refusal(url):
    for option in ("remote-url", "transcribe-url", "queue"):
        done = run("serve", "--engine", "remote", "--remote-url", url, f"--{option}", url)
        assert done.returncode == 2 and "secret" not in done.stderr and "host" in done.stderr, (option, done)


# ---- signals and systemd

@pytest.mark.slow
def test_drain():
    """SIGTERM: what runs is finished, nothing new begins, the exit is clean."""
    with Server() as server:
        ref = server.upload()
        answers = []
        text = "A sentence that takes its time to be said. " * 40
        thread = threading.Thread(
            target=lambda: answers.append(server.clone(text, "/voice-clone-enhanced", ref_audio=ref, stream=True))
        )
        thread.start()
        wait_for(lambda: server.metric("timbre_batch_size") > 0)
        idle = server.raw()
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "finishing" in server.log())
        try:
            answer = server.get("/health/ready")
            assert answer.status == 503 and answer.headers["Connection"] == "close"
            answer = server.clone("New work.", ref_audio=ref)
            assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1
        except ConnectionError:
            assert not thread.is_alive()  # so quick that it is over
        thread.join()
        assert answers[0].status == 200 and answers[0].body[:4] == b"RIFF"
        assert server.process.wait(30) == 0
        idle.close()


def test_second_signal_ends_at_once():
    with Server("--drain-grace", "1h") as server:
        ref = server.upload()
        answers = []

        def ask():
            try:
                answers.append(
                    server.clone(
                        ["A long sentence to say, on and on. " * 60] * 50, "/voice-clone-enhanced", ref_audio=ref
                    )
                )
            except OSError as error:
                answers.append(error)
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: server.metric("timbre_batch_size") > 0)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "finishing" in server.log())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        thread.join()
        assert len(answers) == 1


def test_idle_keep_alive_does_not_hold_the_exit():
    with Server() as server:
        connection = server.connection()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        connection.close()


def test_notify(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(20)
        with Server(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}) as server:
            first = listener.recv(4096).decode()
            assert first.startswith("READY=1") and f"listening on http://127.0.0.1:{server.port}" in first
            seen = [listener.recv(4096).decode() for _ in range(3)]
            assert seen == ["WATCHDOG=1"] * 3
            server.process.send_signal(signal.SIGTERM)
            while not (message := listener.recv(4096).decode()).startswith("STOPPING=1"):
                assert message == "WATCHDOG=1"


def test_socket_activation(tmp_path):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    script = (
        f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "{TIMBRE}" serve --engine preview --state-dir "{tmp_path}/s"'
        f' 3<&{listener.fileno()}'
    )
    process = subprocess.Popen(
        ["bash", "-c", script],
        pass_fds=[listener.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    listener.close()
    try:
        assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}\n"
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def test_json_log():
    import json
    with Server("--log-format", "json") as server:
        server.get("/nothing\"quoted")
        wait_for(lambda: "/nothing" in server.log())
        for line in server.log().splitlines():
            assert set(json.loads(line)) == {"time", "level", "message"}


def test_log_lines_cannot_be_forged():
    with Server() as server:
        server.get("/x%0d%0a2026-01-01T00:00:00.000Z%20error%20forged")
        wait_for(lambda: "forged" in server.log())
        assert not any(line.startswith("2026-01-01") for line in server.log().splitlines())


# ---- files of the machine

@pytest.fixture(scope="module")
def rooted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    root = folder / "audio"
    (root / "sub").mkdir(parents=True)
    (root / "ref.wav").write_bytes(REFERENCE)
    (root / "sub" / "ref.wav").write_bytes(REFERENCE)
    (folder / "secret.wav").write_bytes(REFERENCE)
    (root / "link.wav").symlink_to(folder / "secret.wav")
    (root / "inner.wav").symlink_to("ref.wav")
    (root / "out").symlink_to(folder)
    os.mkfifo(root / "fifo")
    with Server("--audio-root", root) as server:
        server.root = root
        yield server


@pytest.mark.parametrize("path", ["ref.wav", "sub/ref.wav"])
def test_path_inside(rooted, path):
    assert rooted.clone("Hi.", ref_audio=path).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "../secret.wav",
        "sub/../../secret.wav",
        "link.wav",
        "inner.wav",
        "out/secret.wav",
        "/etc/passwd",
        "missing.wav",
        "sub",
        ".",
        "./ref.wav",
        "sub//ref.wav",
        "ref.wav/",
        "fifo",
        "ref.wav/x",
        "a" * 300,
        "%2e%2e/secret.wav",
        "..\\secret.wav",
        "sub/./ref.wav",
        "ABSOLUTE",
    ],
)
def test_path_outside(rooted, path):
    path = str(rooted.root / "ref.wav") if path == "ABSOLUTE" else path
    answer = rooted.clone("Hi.", ref_audio=path)
    # Always the same words: nobody learns what is there.
    assert answer.status == 400
    assert (
        answer.detail
        == "Invalid Input: ref_audio: must be a file id, a data: URI or a path of a file inside --audio-root"
    )


def test_path_in_a_job(rooted):
    assert rooted.wait_job(rooted.job([{"text": "Hi.", "ref_audio": "sub/ref.wav"}]))["done"] == 1


def test_missing_root(tmp_path):
    result = run(
        "serve", "--port", 0, "--state-dir", tmp_path / "s", "--audio-root", tmp_path / "none", "--engine", "preview"
    )
    assert result.returncode == 1 and "--audio-root" in result.stderr


# ---- URLs

class Audio(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/ref.wav")
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        else:
            body = REFERENCE if self.path == "/ref.wav" else wav(4.0, 48000)
            self.send_response(200)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Audio) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


def test_url_allowed(web):
    with Server(
        "--allow-ref-url", "example.org,127.0.0.1", "--allow-private-ref-url", "--max-upload-bytes", "200K"
    ) as server:
        assert server.clone("Hi.", ref_audio=f"http://127.0.0.1:{web}/ref.wav").status == 200
        for path, status, text in (
            ("redirect", 400, "redirects"),
            ("missing", 400, "could not be fetched"),
            ("large", 413, "too large"),
        ):
            answer = server.clone("Hi.", ref_audio=f"http://127.0.0.1:{web}/{path}")
            assert answer.status == status and text in answer.detail, answer
        assert (
            server.wait_job(server.job([{"text": "Hi.", "ref_audio": f"http://127.0.0.1:{web}/ref.wav"}]))["done"] == 1
        )
        for url in (
            f"http://user:pass@127.0.0.1:{web}/ref.wav",
            f"http://localhost:{web}/ref.wav",
            f"ftp://127.0.0.1:{web}/ref.wav",
            f"http://127.0.0.1.evil.example/ref.wav",
            f"http://evil.example@127.0.0.1:{web}/ref.wav",
            "http://[::1/x",
        ):
            assert server.clone("Hi.", ref_audio=url).status == 400
        assert server.clone("Hi.", ref_audio="http://127.0.0.1:1/closed").status == 400


def test_private_addresses_are_refused(web):
    with Server("--allow-ref-url", "127.0.0.1,localhost,0.0.0.0,169.254.169.254,2130706433") as server:
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "169.254.169.254", "2130706433"):
            answer = server.clone("Hi.", ref_audio=f"https://{host}:{web}/ref.wav")
            assert answer.status == 400 and answer.detail.startswith("Invalid Input: ref_audio: "), (host, answer)
            assert "private address" in answer.detail or "not allowed" in answer.detail, (host, answer)
        answer = server.clone("Hi.", ref_audio=f"http://127.0.0.1:{web}/ref.wav")
        assert answer.status == 400 and "only https" in answer.detail


def test_urls_are_off_by_default(web):
    with Server() as server:
        answer = server.clone("Hi.", ref_audio=f"http://127.0.0.1:{web}/ref.wav")
        assert answer.status == 400 and "URLs are not allowed" in answer.detail
