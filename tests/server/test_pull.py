"""Models over HTTP: what there is, and a download that the operator allows, against an emulation of the hub."""
import urllib.request

import pytest
from support import API, Server, empty_home, hub_of_models, wait_for

NAME = "qwen3-tts-0.6b"


@pytest.fixture(scope="module")
def hub():
    with hub_of_models() as url:
        yield url


def models(server):
    answer = server.get(API + "/models")
    assert answer.status == 200, answer
    return answer.json()


def state_of(server):
    return {model["name"]: model["state"] for model in models(server)["models"]}[NAME]


def test_the_page_downloads_and_the_next_start_clones(hub, tmp_path):
    server = Server("--allow-pull", engine="auto", environment=empty_home(tmp_path, hub), wait=False)
    with server.start():
        before = models(server)
        assert before["may_pull"] is True and before["pull"] is None and state_of(server) == "absent"
        assert server.get("/health/ready").json()["engine"] == "preview"
        answer = server.post(API + "/models/pull", {"name": "no such model"})
        assert answer.status == 400 and NAME in answer.detail
        answer = server.post(API + "/models/pull", {"name": NAME})
        assert answer.status == 202 and answer.json()["pull"]["name"] == NAME
        done = wait_for(lambda: (now := models(server)["pull"])["state"] != "running" and now)
        assert done["state"] == "done" and 0 < done["total"] == done["done"] and done["error"] is None, done
        assert state_of(server) == "complete"
        server.stop()
        server.start()
        assert server.get("/health/ready").json()["engine"] == "qwen3"


def test_half_a_model_changes_nobody_s_voice(hub, tmp_path):
    """A server that began with the preview voice goes on with it, while the model comes and when it is there."""
    def speaks(server):
        answer = server.clone("Good morning.")
        assert answer.status == 200, answer
        ready = server.get("/health/ready").json()
        return answer.headers["X-Engine"], ready["engine"], ready["is_clone"], ready["model"]

    preview = ("preview", "preview", False, "preview")
    # Models are unloaded at once, so that each request looks for one again.
    options = ("--allow-pull", "--idle-unload", "0.1")
    with Server(*options, engine="auto", environment=empty_home(tmp_path, hub, "held")) as server:
        assert server.post(API + "/models/pull", {"name": NAME}).status == 202
        wait_for(lambda: (models(server)["pull"]["done"] or 0) > 1 << 20)
        assert state_of(server) == "incomplete"
        assert speaks(server) == preview
        urllib.request.urlopen(f"{hub}/held/release").close()
        wait_for(lambda: models(server)["pull"]["state"] == "done")
        assert speaks(server) == preview and state_of(server) == "complete"
        server.stop()
        server.start()
        assert server.get("/health/ready").json()["engine"] == "qwen3"


def test_it_fails_and_is_stopped(hub, tmp_path):
    with Server("--allow-pull", engine="auto", environment=empty_home(tmp_path, hub, "missing")) as server:
        assert server.post(API + "/models/pull", {"name": NAME}).status == 202
        failed = wait_for(lambda: (now := models(server)["pull"])["state"] != "running" and now)
        assert failed["state"] == "failed" and failed["error"], failed
        assert server.clone("Still here.").status == 200
    # The hub asks to be left alone for some seconds, in which the download is stopped.
    with Server("--allow-pull", engine="auto", environment=empty_home(tmp_path, hub, "limit")) as server:
        assert server.post(API + "/models/pull", {"name": NAME}).status == 202
        assert server.post(API + "/models/pull", {"name": NAME}).status == 409
        assert server.delete(API + "/models/pull").status == 202
        assert wait_for(lambda: (now := models(server)["pull"])["state"] != "running" and now)["state"] == "stopped"
        # The same again, ended by the server's own end.
        assert server.post(API + "/models/pull", {"name": NAME}).status == 202


def test_only_if_the_operator_allows_it(hub, tmp_path):
    with Server(engine="auto", environment=empty_home(tmp_path, hub)) as server:
        assert models(server)["may_pull"] is False and models(server)["pull"] is None
        for answer in (server.post(API + "/models/pull", {"name": NAME}), server.delete(API + "/models/pull")):
            assert answer.status == 403 and "--allow-pull" in answer.detail
        assert state_of(server) == "absent"
