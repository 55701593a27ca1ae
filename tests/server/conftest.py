import pytest
from support import API, Server


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def ref(server):
    return server.upload()


@pytest.fixture
def alive(server):
    """After the test the server still does its work."""
    yield
    assert server.get("/health/live").status == 200
    answer = server.clone("Still here.")
    assert answer.status == 200, answer
    assert answer.json()["items"][0]["audio_base64"]


@pytest.fixture(scope="module")
def voice(server):
    server.add_voice("anna", ref_text="hello")
    yield "anna"
    server.delete(API + "/voices/anna")
