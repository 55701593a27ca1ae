"""schemathesis against /openapi.json: what the description says is what the server does."""
import os
import pathlib
import re
import subprocess
import sys

import pytest
import schemathesis  # noqa: F401  the program beside this Python is run; without the package nothing is tested
from support import API, FULL, REFERENCE, Server

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import humming_codec  # noqa: E402


def run(server, *options, headers=None):
    answer = server.post(API + "/files/upload", form={"file": ("ref.wav", REFERENCE)}, headers=headers)
    file = answer.json()["id"]
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    # The sense of a reference (is there such a file?) is not in its schema, so valid shapes may be refused.
    arguments = ["run", f"{server.url}/openapi.json", "--max-examples", "60" if FULL else "12", "--seed", "1",
                 "--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance",
                 "--suppress-health-check", "all", "--request-timeout", "60", "--no-color", *options]
    # What exists is named by the tests, so that the requests get past the door.
    hooks = pathlib.Path(__file__).parent / "schema_hooks.py"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=1500, cwd=server.folder.name,
                          env={**os.environ, "COLUMNS": "200", "SCHEMATHESIS_HOOKS": str(hooks), "TIMBRE_FILE": file})


@pytest.mark.slow
def test_schemathesis_finds_nothing():
    with Server() as server:
        result = run(server)
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
        assert re.search(r"\b(\d+) generated", result.stdout) or "No issues found" in result.stdout
        server.wait_idle()
        assert server.clone("Still here.").status == 200


@pytest.mark.slow
def test_with_every_kind_of_model(tmp_path):
    """The routes that need models of their own, with small ones of each kind; what the designing one says is speech."""
    golden = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden")) / "qwen"
    folders = {"base": golden / "sample-c/model", "speakers": golden / "sample-g/model",
               "design": humming_codec.humming(golden / "sample-i/model", tmp_path / "hums")}
    models = [f"--model={name}={folder}" for name, folder in folders.items()]
    with Server(*models, "--max-speech-seconds", "1", "--max-items", "3", "--max-reference-seconds", "5",
                engine="qwen3") as server:
        result = run(server, "--include-path-regex", "/(custom-voice|voice-design|voices/design)$")
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
        server.wait_idle()
        answer = server.post(API + "/custom-voice", {"text": "Still here.", "speaker": "mira"})
        assert answer.status == 200, answer
        # Random weights: with some seeds there is too little speech for a voice, and that is said.
        still = {"text": "Still here.", "instruct": "Calm."}
        designed = [server.post(API + "/voices/design", {"name": f"still here {seed}", "seed": seed, **still})
                    for seed in range(8)]
        assert {answer.status for answer in designed} <= {201, 400} and 201 in [answer.status for answer in designed]


@pytest.mark.slow
def test_with_keys(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with Server("--keys-file", keys, "--rate-limit", 0) as server:
        result = run(
            server,
            "-H",
            "x-api-key: 0123456789abcdef",
            "--include-path-regex",
            "/(voices|queue|files|models)",
            headers={"x-api-key": "0123456789abcdef"},
        )
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]


def test_every_field_is_described():
    with Server() as server:
        document = server.get("/openapi.json").json()
        for path, methods in document["paths"].items():
            for operation in methods.values():
                for content in operation.get("requestBody", {"content": {}})["content"].values():
                    for name, field in content["schema"].get("properties", {}).items():
                        assert field["description"], (path, name)
        assert set(document["paths"]) > {API + "/enhance"}
