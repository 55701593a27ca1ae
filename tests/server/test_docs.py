"""The commands in the documents are run as they stand, against a server of our own."""
import pathlib
import re
import subprocess
import wave

import pytest
from support import API, TIMBRE, Server, Transcriber, says, wav_rate, wav_seconds

ROOT = pathlib.Path(__file__).parent.parent.parent


def blocks(document):
    """Shell blocks that call curl, in order: [(line, text)]"""
    text = (ROOT / document).read_text()
    return [(text[:match.start()].count("\n") + 1, match.group(1))
            for match in re.finditer(r"^```sh\n(.*?)^```", text, re.M | re.S) if "curl" in match.group(1)]


def recording(folder, kind):
    """What people have: a short WAV of good quality, and a long file in another format. Both are of somebody who
    speaks."""
    subprocess.run(
        [TIMBRE, "resample", ROOT / "examples/audio/noisy.flac", "-r", "48000", "-o", folder / "me.wav"],
        check=True,
        timeout=60,
    )
    with wave.open(str(folder / "me.wav")) as file:
        parameters, frames = file.getparams(), file.readframes(file.getnframes())
    size = (5 if kind == "wav" else 30) * parameters.framerate * parameters.sampwidth * parameters.nchannels
    with wave.open(str(folder / "me.wav"), "wb") as file:
        file.setparams(parameters)
        file.writeframes((frames * (size // len(frames) + 1))[:size])
    if kind == "flac":
        subprocess.run(
            [TIMBRE, "resample", "me.wav", "-r", "44100", "-o", "me.flac"], cwd=folder, check=True, timeout=60
        )
        (folder / "me.flac").rename(folder / "me.wav")


@pytest.mark.parametrize(
    "document,kind", [("docs/http-api.md", "wav"), pytest.param("docs/http-api.md", "flac", marks=pytest.mark.slow)]
)
def test_examples(document, kind, tmp_path):
    recording(tmp_path, kind)
    examples = blocks(document)
    assert len(examples) >= 10
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with Transcriber() as service, Server("--keys-file", keys, "--transcribe-url", service.url) as server:
        service.answers(says("What I say in me.wav."))
        script = ["set -euo pipefail", "curl() { command curl --fail-with-body --silent --show-error \"$@\"; }",
                  f"export TIMBRE_URL={server.url} TIMBRE_KEY=0123456789abcdef"]
        for line, text in examples:
            script += [f"echo '== {document}:{line}' >&2", text]
        result = subprocess.run(
            ["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        service.shutdown()
        assert result.returncode == 0, result.stderr[-3000:] + result.stdout[-1000:]
    for name in ("speech.wav", "clean.wav", "speech.mp3", "streamed.wav"):
        assert (tmp_path / name).stat().st_size > 1000, name


def test_readme(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ((_, command),) = blocks("README.md")
    with Server() as server:
        assert "http://127.0.0.1:8077" in command
        command = command.replace("http://127.0.0.1:8077", server.url).replace(
            "curl ", "curl --fail-with-body --silent ", 1
        )
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    audio = (tmp_path / "speech.wav").read_bytes()
    assert wav_rate(audio) == 48000 and wav_seconds(audio) > 0.3


def properties(server, path):
    body = server.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]
    return set(body["application/json"]["schema"]["properties"])


def named(text):
    return set(re.findall(r"`([a-z_]+)`", text))


def test_every_field_is_documented():
    text = (ROOT / "docs/http-api.md").read_text()
    table = "\n".join(re.findall(r"^\| (.*?) \|", text, re.M))
    models = (ROOT / "docs/models.md").read_text()
    rows = re.findall(r"^\| `?-?-?.*? \| (`.*?`) \| .*\|$", models, re.M)
    assert len(rows) >= 10, rows
    with Server() as server:
        fields = properties(server, API + "/voice-clone-enhanced")
        assert fields <= named(table), fields - named(table)
        for route in ("/custom-voice", "/voice-design"):
            own = properties(server, API + route)
            assert own <= named(table), own - named(table)
            fields |= own
        for row in rows:
            assert named(row) <= fields, row
