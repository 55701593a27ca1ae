"""A client that openapi-python-client makes from /openapi.json, and what it can do."""
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys

import openapi_python_client  # noqa: F401  the program beside this Python is run; without the package nothing is tested
import pytest
from support import REFERENCE, Server, data_uri


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def generated(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_bytes(server.get("/openapi.json").body)
    # No formatter runs over what is only imported.
    (folder / "config.yaml").write_text(
        "package_name_override: timbre_client\nproject_name_override: timbre-client\npost_hooks: []\n"
    )
    program = pathlib.Path(sys.executable).parent / "openapi-python-client"
    result = subprocess.run(
        [
            program,
            "generate",
            "--path",
            "openapi.json",
            "--meta",
            "none",
            "--output-path",
            "timbre_client",
            "--config",
            "config.yaml",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("timbre_client"), result.stdout + result.stderr
    sys.path.remove(str(folder))


def test_nothing_is_left_out(generated):
    _, output = generated
    assert "unable to" not in output.lower() and "error" not in output.lower(), output


def test_it_clones(server, generated):
    client = generated[0].Client(base_url=server.url, timeout=60)
    call = importlib.import_module("timbre_client.api.clone.voice_clone_enhanced")
    models = importlib.import_module("timbre_client.models")
    body = call.sync.__annotations__["body"]
    body = getattr(models, body if isinstance(body, str) else body.__name__)(
        text="Good morning.", ref_audio=data_uri(), language="en", seed=3
    )
    answer = call.sync(client=client, body=body)
    assert answer.items[0].audio_base64 and answer.items[0].is_clone is False and answer.items[0].seed == 3, answer
    assert call.sync(client=client, body=type(body)(text="Hi.")).detail.startswith("Invalid Input: ref_audio")


def test_it_sends_files(server, generated):
    client = generated[0].Client(base_url=server.url, timeout=60)
    types = importlib.import_module("timbre_client.types")
    call = importlib.import_module("timbre_client.api.files.upload_file")
    models = importlib.import_module("timbre_client.models")
    form = models.UploadFileBody if hasattr(models, "UploadFileBody") else models.UploadFileFilesBody
    stored = call.sync(
        client=client,
        body=form(file=types.File(payload=io.BytesIO(REFERENCE), file_name="a.wav", mime_type="audio/wav")),
    )
    assert stored.sample_rate == 24000, stored
    ready = importlib.import_module("timbre_client.api.service.ready").sync(client=client)
    assert ready.engine == "preview" and ready.is_clone is False


def enums(node, path=""):
    if isinstance(node, dict):
        if isinstance(node.get("enum"), list):
            yield path, node["enum"]
        for name, member in node.items():
            yield from enums(member, f"{path}/{name}")
    elif isinstance(node, list):
        for number, member in enumerate(node):
            yield from enums(member, f"{path}/{number}")


def test_enums_have_no_twins_and_audio_is_binary(server):
    document = json.loads(server.get("/openapi.json").body)
    for path, values in enums(document):
        names = [str(value).lower() for value in values]
        assert len(set(names)) == len(names), path
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    schema = content["schema"]
                    if kind.startswith("audio/") or kind == "application/octet-stream":
                        assert schema == {"type": "string", "format": "binary"}, (path, method, status, kind)
                    assert schema, (path, method, status, kind)
