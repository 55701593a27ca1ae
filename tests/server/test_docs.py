"""The commands in the documents are run as they stand, against a server of our own."""
import pathlib
import re
import subprocess

import pytest
from support import REFERENCE, Server, wav_rate, wav_seconds

ROOT = pathlib.Path(__file__).parent.parent.parent


def blocks(document):
    """Shell blocks that call curl, in order: [(line, text)]"""
    text = (ROOT / document).read_text()
    return [(text[:match.start()].count("\n") + 1, match.group(1))
            for match in re.finditer(r"^```sh\n(.*?)^```", text, re.M | re.S) if "curl" in match.group(1)]


@pytest.mark.parametrize("document", ["docs/http-api.md"])
def test_examples(document, tmp_path):
    (tmp_path / "me.wav").write_bytes(REFERENCE)
    examples = blocks(document)
    assert len(examples) >= 10
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with Server("--keys-file", keys) as server:
        script = ["set -euo pipefail", "curl() { command curl --fail-with-body --silent --show-error \"$@\"; }",
                  f"export TIMBRE_URL={server.url} TIMBRE_KEY=0123456789abcdef"]
        for line, text in examples:
            script += [f"echo '== {document}:{line}' >&2", text]
        result = subprocess.run(["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr[-3000:] + result.stdout[-1000:]
    for name in ("speech.wav", "clean.wav", "speech.mp3", "streamed.wav"):
        assert (tmp_path / name).stat().st_size > 1000, name


def test_readme(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ((_, command),) = blocks("README.md")
    with Server() as server:
        assert "http://127.0.0.1:8077" in command
        command = command.replace("http://127.0.0.1:8077", server.url).replace("curl ", "curl --fail-with-body --silent ", 1)
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    audio = (tmp_path / "speech.wav").read_bytes()
    assert wav_rate(audio) == 48000 and wav_seconds(audio) > 0.3
