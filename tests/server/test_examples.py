"""The clients in examples/http do what their first comments say."""
import array
import os
import pathlib
import subprocess
import sys

import pytest
from support import REFERENCE, Server, wav_rate, wav_samples

CLIENTS = {
    "c": [os.environ["TIMBRE_HTTP_EXAMPLE"]],
    "python": [sys.executable, pathlib.Path(__file__).parents[2] / "examples/http/clone.py"],
}


@pytest.fixture
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "ref.wav"
    path.write_bytes(REFERENCE)
    return path


def ask(client, *arguments, **environment):
    return subprocess.run(
        [*CLIENTS[client], *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_speech_is_in_the_file(server, recording, tmp_path, client):
    out = tmp_path / "out.wav"
    done = ask(client, server.url, recording, "Good morning.", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out.stat().st_size} bytes")
    speech = out.read_bytes()
    assert wav_rate(speech) == 48000
    samples = array.array("h", wav_samples(speech))
    assert len(samples) > 0.3 * 48000 and max(samples) > 300


@pytest.mark.parametrize("client", CLIENTS)
def test_what_the_server_says_is_told(server, recording, tmp_path, client):
    done = ask(client, server.url, recording, "", tmp_path / "out.wav")
    assert done.returncode == 1 and "text" in done.stderr
    done = ask(client, "http://127.0.0.1:9", recording, "Good morning.", tmp_path / "out.wav")
    assert done.returncode == 1 and done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("client", CLIENTS)
def test_key(recording, tmp_path, client):
    keys = tmp_path / "keys"
    keys.write_text("anna 0123456789abcdef0123\n")
    keys.chmod(0o600)
    out = tmp_path / "out.wav"
    with Server("--keys-file", keys) as server:
        assert ask(client, server.url, recording, "Good morning.", out).returncode == 1
        key = "0123456789abcdef0123"
        assert ask(client, server.url, recording, "Good morning.", out, TIMBRE_KEY=key).returncode == 0
    assert out.exists()
