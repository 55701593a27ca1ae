"""All servers and workers of a queue have their audio in the same place: who has another one is refused."""
import http.client
import os
import shutil
import subprocess

import pytest
from shared import Worker, blobs_of, bucket_server, front, need_redis, objects
from support import API, PATIENCE, REFERENCE, TIMBRE, data_uri, wait_for, wav

SHORT = data_uri(wav(1.0))


@pytest.fixture(scope="module", autouse=True)
def redis_is_there():
    need_redis()


@pytest.fixture(scope="module")
def bucket():
    with bucket_server() as keys:
        yield keys


def start(redis, folder, *options, environment=None):
    """A worker that is to end by itself."""
    command = [TIMBRE, "worker", "--queue", redis.url, "--engine", "preview", "--state-dir", str(folder / "state")]
    return subprocess.Popen([*command, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **(environment or {})})


def refused(redis, folder, *options, environment=None, status=2):
    with start(redis, folder, *options, environment=environment) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == status and out == "", (process.returncode, out, err)
    return err


def speak(server):
    job = server.job([{"text": "Hi.", "ref_audio": SHORT}])
    assert server.wait_job(job)["done"] == 1
    (item,) = server.get(f"{API}/queue/results/{job}").json()["items"]
    return server.get(item["url"]).body


def test_another_folder(redis, tmp_path):
    """One that is not there is not made, and in one that is nothing is."""
    mine, other, absent = tmp_path / "mine", tmp_path / "other", tmp_path / "absent"
    other.mkdir()
    with front(redis.url, "--blobs", mine) as server:
        for blobs in (["--blobs", other], ["--blobs", absent], []):
            text = refused(redis, tmp_path, *blobs)
            assert "the audio of this queue is elsewhere" in text and f"called --blobs {mine};" in text, text
        assert list(other.iterdir()) == [] and not absent.exists()
        with Worker(redis.url, "--blobs", mine):
            assert speak(server)[:4] == b"RIFF"
    # It is somebody else's as well.
    redis.cli("flushall")
    with front(redis.url, "--blobs", other):
        assert f"called --blobs {other};" in refused(redis, tmp_path, "--blobs", mine)


def test_none_and_a_folder(redis, tmp_path):
    with front(redis.url) as server:
        text = refused(redis, tmp_path, "--blobs", tmp_path / "blobs")
        assert "in Redis itself, without --blobs" in text and not (tmp_path / "blobs").exists()
        with Worker(redis.url):
            assert speak(server)[:4] == b"RIFF"


def test_folder_that_is_not_mounted(redis, tmp_path):
    blobs = tmp_path / "blobs"
    with front(redis.url, "--blobs", blobs):
        pass
    blobs.rename(tmp_path / "elsewhere")
    blobs.mkdir()
    assert "may not be mounted here" in refused(redis, tmp_path, "--blobs", blobs)
    blobs.rmdir()
    (tmp_path / "elsewhere").rename(blobs)
    with Worker(redis.url, "--blobs", blobs):
        pass


def test_another_bucket(redis, bucket, tmp_path):
    with front(redis.url, "--blobs", "s3://sounds/a", environment=bucket) as server:
        others = ("s3://sounds/b", "s3://sounds/a/b", tmp_path / "blobs")
        for blobs in (*(("--blobs", other) for other in others), ()):
            text = refused(redis, tmp_path, *blobs, environment=bucket)
            assert "called --blobs s3://sounds/a;" in text, text
        client = http.client.HTTPConnection(bucket["AWS_ENDPOINT_URL"].removeprefix("http://"))
        client.request("GET", "/sounds?list-type=2")
        assert client.getresponse().read().count(b"<Key>") == 1
        with Worker(redis.url, "--blobs", "s3://sounds/a/", environment=bucket):
            assert speak(server)[:4] == b"RIFF"
        assert objects(bucket)


def test_move_on_purpose(redis, tmp_path):
    """A copy of the place is the same place, and what forgets the place begins with a new one."""
    old, new = tmp_path / "old", tmp_path / "new"
    with front(redis.url, "--blobs", old) as server:
        file = server.upload()
    shutil.copytree(old, new)
    shutil.rmtree(old)
    with front(redis.url, "--blobs", new) as server:
        assert server.get(f"{API}/files/{file}").body == REFERENCE
        assert "is elsewhere" in refused(redis, tmp_path, "--blobs", old)
    redis.cli("del", "{timbre}:place")
    with front(redis.url) as server:
        assert server.get(f"{API}/files/{file}").status == 500
        assert "is elsewhere" in refused(redis, tmp_path, "--blobs", new)


def test_sweep_leaves_the_identity(redis, tmp_path):
    blobs = tmp_path / "blobs"
    with front(redis.url, "--blobs", blobs, "--keep-files", 1) as server:
        identity = (blobs / "identity").read_bytes()
        assert len(identity) == 32
        server.upload()
        os.utime(blobs / "identity", (0, 0))
        wait_for(lambda: blobs_of(blobs) == [], PATIENCE)
    # Redis lost everything: what is there has its identity still.
    redis.cli("flushall")
    with Worker(redis.url, "--blobs", blobs):
        assert (blobs / "identity").read_bytes() == identity
        assert redis.cli("hget", "{timbre}:place", "identity").strip() == identity.decode()


@pytest.mark.parametrize("same", [True, False])
def test_many_at_once(redis, tmp_path, same):
    """Whoever is first says it, for all."""
    folders = [tmp_path / ("blobs" if same else f"blobs-{i}") for i in range(6)]
    processes = [start(redis, tmp_path / str(i), "--blobs", folder) for i, folder in enumerate(folders)]
    lines = [process.stdout.readline() for process in processes]  # one that starts says so, one that ends does not
    for process, line in zip(processes, lines):
        if line:
            process.terminate()
        process.communicate(timeout=PATIENCE)
    assert sorted(process.returncode for process in processes) == ([0] * 6 if same else [0] + [2] * 5)
    assert sum(folder.exists() for folder in set(folders)) == 1
    assert redis.keys("plac*") == ["{timbre}:place"]


def test_one_that_does_not_say_it(redis, tmp_path):
    """One that cannot use its place lets the next one say where it is; for one that died, others wait."""
    (tmp_path / "file").touch()
    assert "--blobs" in refused(redis, tmp_path, "--blobs", tmp_path / "file", status=1)
    assert redis.keys("plac*") == []
    redis.cli("set", "{timbre}:placing", "somebody", "px", "1500")
    with Worker(redis.url, "--blobs", tmp_path / "blobs"):
        assert redis.keys("plac*") == ["{timbre}:place"]


def test_identity_that_is_none(redis, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for text in ("", "x" * 32, "a" * 33):
        (blobs / "identity").write_text(text)
        assert "identity is not what timbre wrote there" in refused(redis, tmp_path, "--blobs", blobs, status=1)
        assert redis.keys("plac*") == [] and os.listdir(blobs) == ["identity"]


def test_letters_need_no_place(redis, tmp_path):
    """`timbre queue` is not told about it, and says nothing about it."""
    command = [TIMBRE, "queue", "dead", "--queue", redis.url]
    assert subprocess.run(command).returncode == 0
    assert redis.keys("plac*") == []
    with front(redis.url, "--blobs", tmp_path / "blobs"):
        assert subprocess.run(command).returncode == 0
