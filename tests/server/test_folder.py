"""--voices: recordings of a folder that are stored voices from the start."""
import os
import pathlib
import unicodedata

from shared import Redis, Worker, front, need_redis
from support import API, REFERENCE, Server, run, wav

ROOT = pathlib.Path(__file__).parent.parent.parent


def put(folder, name, audio=REFERENCE, text="What I say in it."):
    (folder / f"{name}.wav").write_bytes(audio)
    if text is not None:
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


def voices(server):
    return {voice["name"]: voice for voice in server.get(API + "/voices").json()["voices"]}


def test_files_become_voices(tmp_path):
    put(tmp_path, "anna", text="\ufeff  What I say.\n\n")
    put(tmp_path, "Анна Смит")
    put(tmp_path, unicodedata.normalize("NFD", "Zoë"))
    put(tmp_path, "静香", text="")
    put(tmp_path, "no-transcript", text=None)
    put(tmp_path, "no-audio", audio=b"this is no sound at all")
    put(tmp_path, "no-text", text=b"\xff\xfe")
    (tmp_path / "README.md").write_text("Not a voice.")
    (tmp_path / "folder.wav").mkdir()
    with Server("--voices", tmp_path) as server:
        found = voices(server)
        assert sorted(found) == sorted(["anna", "Анна Смит", "Zoë", "静香"])
        assert found["anna"]["ref_text"] == "What I say." and found["anna"]["x_vector_only"] is False
        assert found["静香"]["ref_text"] is None and found["静香"]["x_vector_only"] is True
        assert server.clone("Hello.", voice="Анна Смит").status == 200
        assert server.get(API + "/voices/anna/audio").body == REFERENCE
        assert "no-audio.wav" in server.log() and "no-text.wav" in server.log()


def test_the_next_start_sees_what_has_changed(tmp_path):
    folder, state = tmp_path / "voices", tmp_path / "state"
    folder.mkdir()
    for name in ("same", "changed", "other-words", "gone"):
        put(folder, name)
    with Server("--voices", folder, state=state) as server:
        before = voices(server)
        server.add_voice("mine", wav(2.0, seed=7))
    put(folder, "changed", wav(2.0, seed=8))
    put(folder, "other-words", text="Something else.")
    put(folder, "mine")
    put(folder, "new")
    (folder / "gone.wav").unlink()
    with Server("--voices", folder, state=state) as server:
        after = voices(server)
        assert sorted(after) == ["changed", "mine", "new", "other-words", "same"]
        assert after["same"]["created"] == before["same"]["created"]
        assert after["changed"]["created"] != before["changed"]["created"]
        assert after["other-words"]["ref_text"] == "Something else."
        assert server.get(API + "/voices/changed/audio").body == wav(2.0, seed=8)
        assert server.get(API + "/voices/mine/audio").body == wav(2.0, seed=7)
        assert "mine.wav: there is a voice of this name from elsewhere" in server.log()
        assert server.delete(API + "/voices/new").status == 204
    # Without the folder its voices go, and what a client stored stays.
    with Server("--voices", "", state=state) as server:
        assert sorted(voices(server)) == ["mine"]


def test_servers_at_one_queue(tmp_path):
    """Each has its folder's voices come and go, and leaves those of others alone; workers leave all alone."""
    need_redis()
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, name in ((first, "anna"), (first, "gone"), (second, "bert"), (second, "anna")):
        folder.mkdir(exist_ok=True)
        put(folder, name)
    with Redis() as redis, front(redis.url, "--voices", first) as server:
        assert sorted(voices(server)) == ["anna", "gone"]
        with front(redis.url, "--voices", second) as other, front(redis.url, "--voices", ""), Worker(redis.url):
            assert sorted(voices(server)) == ["anna", "bert", "gone"]
            assert "anna.wav: there is a voice of this name from elsewhere" in other.log()
        (first / "gone.wav").unlink()
        with front(redis.url, "--voices", first):
            assert sorted(voices(server)) == ["anna", "bert"]


def test_voices_of_an_older_version(tmp_path):
    """It knew one folder in a shared store: what a server's folder has of its voices is that folder's."""
    need_redis()
    folder = tmp_path / "voices"
    folder.mkdir()
    for name in ("same", "changed"):
        put(folder, name)
    with Redis() as redis:
        with front(redis.url, "--voices", folder) as server:
            before = voices(server)
        for key in redis.cli("--raw", "keys", "{timbre}:prepared:*").split():
            (origin,) = redis.cli("--raw", "hkeys", key).split()
            redis.cli("hset", key, "folder", redis.cli("--raw", "hget", key, origin).strip())
            redis.cli("hdel", key, origin)
        put(folder, "changed", wav(2.0, seed=8))
        for kept in (["changed", "same"], ["changed"]):
            with front(redis.url, "--voices", folder) as server:
                assert sorted(voices(server)) == kept
                assert server.get(API + "/voices/changed/audio").body == wav(2.0, seed=8)
                assert kept == ["changed"] or voices(server)["same"]["created"] == before["same"]["created"]
                assert "from elsewhere" not in server.log()
            (folder / "same.wav").unlink(missing_ok=True)


def test_what_the_operator_wrote(tmp_path):
    folder = tmp_path / "no"
    done = run("serve", "--engine", "preview", "--port", "0", "--state-dir", tmp_path / "state", "--voices", folder)
    assert done.returncode == 1 and "--voices" in done.stderr and str(folder) in done.stderr, done
    # The default need not be there.
    with Server(environment={**os.environ}) as server:
        assert server.get(API + "/voices").status == 200


def test_the_voice_that_comes_with_timbre():
    with Server("--voices", ROOT / "examples/voices", "--default-voice", "english") as server:
        (voice,) = voices(server).values()
        assert voice["name"] == "english" and 7 < voice["duration"] < 10 and "ill-disposed" in voice["ref_text"]
        answer = server.post("/v1/audio/speech", {"input": "Hello.", "voice": "alloy", "response_format": "wav"})
        assert answer.status == 200, answer
