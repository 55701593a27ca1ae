import pytest
from shared import Redis
from support import API, SANITIZED, Server


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not with sanitizers, where everything takes several times as long")


def pytest_collection_modifyitems(config, items):
    if SANITIZED:
        left_out = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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


@pytest.fixture(scope="module")
def redis_server():
    with Redis() as running:
        yield running


@pytest.fixture
def redis(redis_server):
    """Empty: what other tests left refers to contents in folders of theirs."""
    redis_server.cli("flushall")
    return redis_server
