"""Uploads, downloads, /enhance, stored voices."""
import array
import base64
import math
import os
import pathlib
import shutil
import struct
import subprocess

import pytest
from support import API, REFERENCE, Server, data_uri, wav, wav_format, wav_rate, wav_seconds


def test_upload_and_get(server):
    answer = server.post(API + "/files/upload", form={"file": ("my ref.wav", REFERENCE)})
    assert answer.status == 201
    info = answer.json()
    assert info["bytes"] == len(REFERENCE) and info["sample_rate"] == 24000 and info["duration"] == 2.0
    assert info["name"] == "my ref.wav" and info["content_type"] == "audio/wav"
    assert info["expires"] - info["created"] == pytest.approx(86400)
    got = server.get(info["url"])
    assert got.status == 200 and got.body == REFERENCE
    assert got.headers["ETag"] == f'"{info["id"]}"' and got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_length_that_no_head_says(server):
    """ADTS has no head with a length: what is kept of it is counted, and a part that is damaged is found at once."""
    adts = subprocess.run(["ffmpeg", "-v", "error", "-i", "-", "-c:a", "aac", "-f", "adts", "-"], input=REFERENCE,
                          stdout=subprocess.PIPE, check=True).stdout
    info = server.post(f"{API}/files/upload", form={"audio": ("a.aac", adts)}).json()
    assert 2 <= info["duration"] < 2.2
    voice = server.post(f"{API}/voices", form={"name": "from-a-phone", "audio": ("a.aac", adts)})
    assert voice.status == 201 and 2 <= voice.json()["duration"] < 2.2, voice
    assert server.delete(f"{API}/voices/from-a-phone").status == 204
    answer = server.post(f"{API}/files/upload", form={"audio": ("a.aac", adts[:len(adts) // 2])})
    assert answer.status == 400 and "damaged or cut short" in answer.detail, answer


def test_upload_without_form(server):
    answer = server.post(API + "/files/upload", body=REFERENCE, headers={"Content-Type": "audio/wav"})
    assert answer.status == 201 and server.get(answer.json()["url"]).body == REFERENCE


def test_ids_differ(server):
    ids = {server.upload() for _ in range(20)}
    assert len(ids) == 20 and all(len(i) == 32 for i in ids)


@pytest.mark.parametrize(
    "name,kept",
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\x\\\\evil.wav", "evil.wav"),
        ("a\tb.wav", "a_b.wav"),
        ("grüße.wav", "grüße.wav"),
        ("", ""),
    ],
)
def test_names_are_made_harmless(server, name, kept):
    answer = server.post(API + "/files/upload", form={"file": (name, REFERENCE)})
    assert answer.status == 201 and answer.json()["name"] == kept


@pytest.mark.parametrize(
    "header,status,start,end",
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, None),
        ("bytes=-10", 206, -10, None),
        ("bytes=0-99999999", 206, 0, None),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-4", 200, 0, None),
        ("bytes=a-b", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("items=0-1", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=" + "9" * 40 + "-", 200, 0, None),
    ],
)
def test_ranges(server, ref, header, status, start, end):
    answer = server.get(f"{API}/files/{ref}", headers={"Range": header})
    assert answer.status == status and answer.body == REFERENCE[start:end]
    if status == 206:
        first = start if start >= 0 else len(REFERENCE) + start
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(REFERENCE)}"


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0"])
def test_range_outside(server, ref, header):
    answer = server.get(f"{API}/files/{ref}", headers={"Range": header})
    assert answer.status == 416 and answer.headers["Content-Range"] == f"bytes */{len(REFERENCE)}"


def test_etag(server, ref):
    tag = f'"{ref}"'
    assert server.get(f"{API}/files/{ref}", headers={"If-None-Match": tag}).status == 304
    assert server.get(f"{API}/files/{ref}", headers={"If-None-Match": f'"x", W/{tag}'}).status == 304
    assert server.get(f"{API}/files/{ref}", headers={"If-None-Match": '"x"'}).status == 200
    ranged = {"Range": "bytes=0-3"}
    assert server.get(f"{API}/files/{ref}", headers={**ranged, "If-Range": tag}).status == 206
    assert server.get(f"{API}/files/{ref}", headers={**ranged, "If-Range": '"x"'}).status == 200


def test_head(server, ref):
    answer = server.request("HEAD", f"{API}/files/{ref}")
    assert answer.status == 200 and answer.body == b"" and int(answer.headers["Content-Length"]) == len(REFERENCE)


def test_delete(server):
    file = server.upload()
    assert server.delete(f"{API}/files/{file}").status == 204
    assert server.get(f"{API}/files/{file}").status == 404
    assert server.delete(f"{API}/files/{file}").status == 404


@pytest.mark.parametrize(
    "path", ["0" * 32, "nothing", "..%2F..%2Fetc%2Fpasswd", "%2e%2e", "A" * 32, "0" * 31, "0" * 33]
)
def test_no_such_file(server, path):
    assert server.get(f"{API}/files/{path}").status == 404
    assert server.delete(f"{API}/files/{path}").status == 404


@pytest.mark.parametrize(
    "field,form",
    [
        ("file", {}),
        ("other", {"other": "x"}),
        ("file", {"file": ("a.wav", b"")}),
        ("file", {"file": ("a.wav", b"no audio here" * 20)}),
        ("file", {"file": ("a.wav", b"RIFF")}),
    ],
)
def test_bad_upload(server, field, form):
    answer = server.post(API + "/files/upload", form=form)
    assert answer.status == 400 and answer.detail.startswith(f"Invalid Input: {field}: "), answer


def test_nothing_is_left_of_a_bad_upload(server):
    before = sorted(p.name for p in server.state.rglob("*") if p.parent.name in ("files", "tmp"))
    server.post(API + "/files/upload", form={"file": ("a.wav", b"no audio" * 1000)})
    assert sorted(p.name for p in server.state.rglob("*") if p.parent.name in ("files", "tmp")) == before


def test_files_expire():
    with Server("--keep-files", "1") as server:
        file = server.upload()
        assert server.get(f"{API}/files/{file}").status == 200
        import time
        time.sleep(1.3)
        assert server.get(f"{API}/files/{file}").status == 404


# ---- enhance

def test_enhance(server):
    answer = server.post(API + "/enhance", form={"audio": ("ref.wav", REFERENCE)})
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "audio/wav"
    assert wav_rate(answer.body) == 48000 and wav_seconds(answer.body) == pytest.approx(2.0, abs=0.001)


def test_enhance_raw_body(server):
    answer = server.post(
        API + "/enhance?response_format=flac&sample_rate=16000", body=REFERENCE, headers={"Content-Type": "audio/wav"}
    )
    assert answer.status == 200 and answer.body[:4] == b"fLaC" and answer.headers["Content-Type"] == "audio/flac"


def test_enhance_is_the_same_as_a_form(server):
    one = server.post(API + "/enhance", form={"audio": ("ref.wav", REFERENCE), "attenuation_limit_db": "12"})
    other = server.post(
        API + "/enhance?attenuation_limit_db=12", body=REFERENCE, headers={"Content-Type": "application/octet-stream"}
    )
    assert one.body == other.body


def test_enhance_stereo(server):
    answer = server.post(API + "/enhance", form={"audio": ("s.wav", wav(1.0, 44100, channels=2)), "encoding": "s16"})
    assert answer.status == 200 and wav_format(answer.body)[0] == 2


def test_enhance_zero_limit_changes_nothing(server):
    source = wav(1.0, 48000)
    answer = server.post(API + "/enhance", form={"audio": ("s.wav", source), "attenuation_limit_db": "0"})
    assert answer.status == 200 and wav_seconds(answer.body) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    "name,start", [("mp3", None), ("opus", b"OggS"), ("ogg", b"OggS"), ("flac", b"fLaC"), ("pcm", None)]
)
def test_enhance_formats(server, name, start):
    answer = server.post(API + "/enhance", form={"audio": ("s.wav", wav(1.0)), "response_format": name})
    assert answer.status == 200 and (start is None or answer.body.startswith(start))
    if name == "pcm":
        assert answer.headers["Content-Type"] == "audio/pcm;rate=48000;channels=1" and len(answer.body) == 96000


@pytest.mark.parametrize("field,form", [
    ("audio", {}), ("audio", {"audio": ("a.wav", b"")}), ("audio", {"audio": ("a.wav", b"x" * 100)}),
    ("sample_rate", {"audio": ("a.wav", REFERENCE), "sample_rate": "1"}),
    ("sample_rate", {"audio": ("a.wav", REFERENCE), "sample_rate": "high"}),
    ("encoding", {"audio": ("a.wav", REFERENCE), "encoding": "s8"}),
    ("response_format", {"audio": ("a.wav", REFERENCE), "response_format": "aiff"}),
    ("attenuation_limit_db", {"audio": ("a.wav", REFERENCE), "attenuation_limit_db": "101"}),
    ("post_filter_beta", {"audio": ("a.wav", REFERENCE), "post_filter_beta": "-1"})])
def test_bad_enhance(server, field, form):
    answer = server.post(API + "/enhance", form=form)
    assert answer.status == 400 and answer.detail.startswith(f"Invalid Input: {field}: "), answer


@pytest.mark.parametrize(
    "query,field",
    [
        ("sample_rate=1", "sample_rate"),
        ("encoding=x", "encoding"),
        ("sample_rate=%zz", "query"),
        ("sample_rate=48000&sample_rate=48000", "sample_rate"),
    ],
)
def test_bad_enhance_query(server, query, field):
    answer = server.post(f"{API}/enhance?{query}", body=REFERENCE, headers={"Content-Type": "audio/wav"})
    assert answer.status == 400 and answer.detail.startswith(f"Invalid Input: {field}: "), answer


# ---- voices

def test_voice_life(server):
    answer = server.post(
        API + "/voices",
        form={"name": "berta", "ref_audio": ("r.wav", REFERENCE), "ref_text": "hallo", "language": "de"},
    )
    assert answer.status == 201, answer
    voice = answer.json()
    assert (
        voice["name"] == "berta"
        and voice["ref_text"] == "hallo"
        and voice["language"] == "de"
        and voice["duration"] == 2.0
    )
    assert server.get(API + "/voices/berta").json() == voice
    assert server.get(voice["url"]).body == REFERENCE
    assert [v["name"] for v in server.get(API + "/voices").json()["voices"]] == ["berta"]
    assert server.get("/v1/audio/voices").json() == {"voices": [{"id": "berta", "name": "berta"}]}
    again = server.post(API + "/voices", form={"name": "berta", "ref_audio": ("r.wav", REFERENCE)})
    assert again.status == 409
    assert server.clone("Hallo.", voice="berta").status == 200
    assert server.delete(API + "/voices/berta").status == 204
    assert server.delete(API + "/voices/berta").status == 404
    assert server.clone("Hallo.", voice="berta").status == 400


def test_voice_from_json(server, ref):
    for name, source in (("carl", ref), ("dora", data_uri())):
        assert server.post(API + "/voices", {"name": name, "ref_audio": source, "ref_text": None}).status == 201
        assert server.get(f"{API}/voices/{name}/audio").body == REFERENCE
        assert server.delete(f"{API}/voices/{name}").status == 204


@pytest.mark.parametrize("name", ["", "../x", "a/b", " ab", "-a", ".hidden", "x" * 65, "ü/"])
def test_bad_voice_name(server, name):
    answer = server.post(API + "/voices", form={"name": name, "ref_audio": ("r.wav", REFERENCE)})
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: name: "), answer


@pytest.mark.parametrize(
    "field,body",
    [
        ("name", {}),
        ("ref_audio", {"name": "x"}),
        ("ref_audio", {"name": "x", "ref_audio": "0" * 32}),
        ("language", {"name": "x", "ref_audio": "y", "language": "?"}),
        ("extra", {"name": "x", "ref_audio": "y", "extra": 1}),
    ],
)
def test_bad_voice(server, field, body):
    answer = server.post(API + "/voices", body)
    assert answer.status == 400 and answer.detail.startswith(f"Invalid Input: {field}: "), answer


def float_wav(samples):
    body = array.array("f", samples).tobytes()
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 3, 1, 48000, 192000, 4, 32)
        + b"data"
        + struct.pack("<I", len(body))
        + body
    )


def test_quiet_speech_is_kept_like_any_other(server):
    """Cleaned through the API, the same recording 20 and 40 dB quieter keeps as much."""
    clip = (pathlib.Path(os.environ["TIMBRE_GOLDEN"]) / "dfn" / "fr_noise_snr5.in.npy").read_bytes()
    samples = array.array("h", clip[10 + struct.unpack_from("<H", clip, 8)[0]:])

    def kept(quieter, level):
        audio = float_wav(s / 32768 * 10 ** (-quieter / 20) for s in samples)
        answer = server.post(
            f"{API}/enhance?encoding=float&level={level}", body=audio, headers={"Content-Type": "audio/wav"}
        )
        assert answer.status == 200, answer.body
        out = array.array("f", answer.body[answer.body.index(b"data") + 8:][:4 * len(samples)])
        return 10 * math.log10(sum(s * s for s in out) / len(out)) + quieter

    usual = kept(0, "off")
    assert kept(0, "auto") == usual
    for quieter in (20, 40):
        assert abs(kept(quieter, "auto") - usual) < 3
    assert kept(40, "off") < usual - 10
    assert server.post(API + "/enhance?level=loud", body=float_wav([0.1] * 480),
                       headers={"Content-Type": "audio/wav"}).status in (400, 422)


def silent(seconds=3):
    """A recording with nothing in it."""
    body = bytes(48000 * seconds)
    head = wav(seconds)[:44]
    return head + body


def test_a_voice_shows_what_was_measured_of_its_reference(server):
    voice = server.post(
        API + "/voices", form={"name": "measured", "ref_audio": ("r.wav", REFERENCE), "ref_text": "hm " * 60}
    ).json()
    try:
        assert voice["reference"]["verdict"] == "doubtful"
        assert voice["warnings"] == voice["reference"]["warnings"]
        assert [w.split(":")[0] for w in voice["warnings"]] == ["short", "noisy", "the transcript is too long"]
        assert server.get(API + "/voices/measured").json() == voice
    finally:
        server.delete(API + "/voices/measured")


def test_a_reference_without_speech_is_refused_everywhere(server):
    audio = silent()
    uri = "data:audio/wav;base64," + base64.b64encode(audio).decode()
    answers = [server.post(API + "/voices", form={"name": "nobody", "ref_audio": ("r.wav", audio)}),
               server.post(API + "/voices", {"name": "nobody", "ref_audio": uri}),
               server.post("/v1/audio/voices", form={"name": "nobody", "audio_sample": ("r.wav", audio)}),
               server.clone("Hello.", ref_audio=uri), server.clone("Hello.", "/voice-clone-enhanced", ref_audio=uri),
               server.post(API + "/voice-clone-enhanced-file", form={"text": "Hello.", "ref_audio": ("r.wav", audio)})]
    for answer in answers:
        assert answer.status == 400, answer.body
        assert b"there is no speech in the reference" in answer.body, answer.body
    assert server.get(API + "/voices/nobody").status == 404


def test_clipped_samples_are_told(server):
    audio = float_wav(30 * math.sin(0.03 * i) * (1 + math.sin(0.0005 * i)) for i in range(48000))
    answer = server.post(API + "/enhance?attenuation_limit_db=0", body=audio, headers={"Content-Type": "audio/wav"})
    assert answer.status == 200 and int(answer.headers["X-Clipped"]) > 10000
    floats = server.post(
        API + "/enhance?attenuation_limit_db=0&encoding=float", body=audio, headers={"Content-Type": "audio/wav"}
    )
    assert floats.headers["X-Clipped"] == "0"


def test_voices_survive_a_restart():
    with Server() as server:
        server.add_voice("emil", ref_text="hello")
        file = server.upload()
        server.stop()
        server.start()
        assert [v["name"] for v in server.get(API + "/voices").json()["voices"]] == ["emil"]
        assert server.get(f"{API}/files/{file}").body == REFERENCE


def test_still_alive(server, alive):
    pass
