"""OpenAI's endpoints, with OpenAI's own client."""
import base64
import json
import shutil
import struct

import openai
import pytest
from support import REFERENCE, Server, data_uri, events, wav_rate, wav_seconds


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="not-needed", max_retries=0) as running:
        yield running


def test_models(client):
    ids = [model.id for model in client.models.list()]
    assert "tts-1" in ids and len(ids) == 3


def test_speech(client, voice):
    response = client.audio.speech.create(model="tts-1", voice=voice, input="Hello there.", response_format="wav")
    audio = response.read()
    assert wav_rate(audio) == 48000 and wav_seconds(audio) > 0.2
    assert response.response.headers["Content-Type"] == "audio/wav"


@pytest.mark.parametrize(
    "name,start,content_type",
    [
        ("mp3", None, "audio/mpeg"),
        ("opus", b"OggS", "audio/ogg;codecs=opus"),
        ("flac", b"fLaC", "audio/flac"),
        ("wav", b"RIFF", "audio/wav"),
        ("pcm", None, "audio/pcm;rate=24000;channels=1"),
    ],
)
def test_formats(client, voice, name, start, content_type):
    response = client.audio.speech.create(model="tts-1", voice=voice, input="Hello.", response_format=name)
    audio = response.read()
    assert len(audio) > 500 and (start is None or audio.startswith(start))
    assert response.response.headers["Content-Type"] == content_type


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_aac(client, voice):
    response = client.audio.speech.create(model="tts-1", voice=voice, input="Hello.", response_format="aac")
    audio = response.read()
    assert len(audio) > 500 and audio[0] == 0xff and audio[1] & 0xf6 == 0xf0
    assert response.response.headers["Content-Type"] == "audio/aac"


@pytest.mark.parametrize("why", ["turned off", "not installed"])
def test_without_ffmpeg(tmp_path, why):
    """What needs ffmpeg is refused with its reason: the container's image has none unless it is asked for."""
    (tmp_path / "espeak-ng").symlink_to(shutil.which("espeak-ng"))
    lacking = {} if why == "turned off" else {"environment": {"PATH": str(tmp_path)}}
    with Server(*(["--no-ffmpeg"] if why == "turned off" else []), **lacking) as running:
        for path, body in (
            ("/v1/audio/speech", {"input": "Hi.", "ref_audio": data_uri(REFERENCE), "response_format": "aac"}),
            ("/api/v1/voice-clone", {"text": "Hi.", "ref_audio": data_uri(REFERENCE), "response_format": "aac"}),
        ):
            answer = running.post(path, body)
            assert answer.status == 400 and f"{why} on this server".encode() in answer.body, answer
        # What only ffmpeg decodes is refused as well, and named.
        box = b"\0\0\0\x20ftypM4A " + bytes(20)
        adts = (b"\xff\xf1\x50\x80\x04\x1f\xfc" + bytes(25)) * 8
        for name, data, kind in (("a.m4a", box, "MP4"), ("a.aac", adts, "AAC")):
            for path in ("/api/v1/enhance", "/api/v1/files/upload", "/api/v1/voices"):
                form = {"audio": (name, data)} | ({"name": "anna"} if path.endswith("voices") else {})
                answer = running.post(path, form=form)
                assert answer.status == 400, (path, answer)
                assert why in answer.detail and kind in answer.detail and "WAV or FLAC" in answer.detail, answer
        assert b"anna" not in running.get("/api/v1/voices").body


@pytest.mark.parametrize("name", ["wav", "flac"])
def test_complete_audio_has_true_lengths(server, voice, name):
    answer = server.post(
        "/v1/audio/speech", {"voice": voice, "input": "Hello.", "response_format": name, "stream": False}
    )
    assert answer.status == 200 and int(answer.headers["Content-Length"]) == len(answer.body)
    if name == "wav":
        assert answer.body[12:16] == b"fmt " and answer.body[36:40] == b"data"
        assert struct.unpack_from("<I", answer.body, 4)[0] == len(answer.body) - 8
        assert struct.unpack_from("<I", answer.body, 40)[0] == len(answer.body) - 44
    assert server.post("/v1/audio/speech", {"voice": voice, "input": "Hello.", "response_format": name,
                                            "stream": False, "seed": 3}).body != b""


def test_salvage(server):
    cut = REFERENCE[:len(REFERENCE) // 2]
    answer = server.post("/api/v1/enhance", form={"audio": ("a.wav", cut)})
    assert answer.status == 400 and b"cut short" in answer.body
    answer = server.post("/api/v1/enhance", form={"audio": ("a.wav", cut), "salvage": "true"})
    assert answer.status == 200 and "is cut short: it promises" in answer.headers["X-Timbre-Warnings"]
    assert "X-Timbre-Warnings" not in server.post("/api/v1/enhance", form={"audio": ("a.wav", REFERENCE)}).headers


def test_salvaged_reference(server):
    """A cut recording is refused, or used with a warning that goes with its result, wherever a reference goes."""
    cut = REFERENCE[:len(REFERENCE) // 2]
    warned = "the file is cut short: it promises"
    fields = {"text": "Hello.", "ref_audio": data_uri(cut)}
    for path in ("/voice-clone", "/voice-clone-enhanced"):
        answer = server.post("/api/v1" + path, fields)
        assert answer.status == 400 and "cut short" in answer.detail, answer
        answer = server.post("/api/v1" + path, {**fields, "salvage": True})
        item = answer.json()["items"][0]
        assert answer.status == 200 and any(w.startswith(warned) for w in item["warnings"]), answer
        answer = server.post("/api/v1" + path + "-file", form={"text": "Hello.", "ref_audio": ("a.wav", cut)})
        assert answer.status == 400 and "cut short" in answer.detail, answer
        form = {"text": "Hello.", "ref_audio": ("a.wav", cut), "salvage": "true"}
        answer = server.post("/api/v1" + path + "-file", form=form, headers={"Accept": "audio/wav"})
        assert answer.status == 200 and warned in answer.headers["X-Timbre-Warnings"], answer.headers
    # The same samples without damage: nothing of the other file's warnings is kept with the voice.
    whole = struct.pack("<I", len(cut) - 8).join([cut[:4], cut[8:40]]) + struct.pack("<I", len(cut) - 44) + cut[44:]
    item = server.post("/api/v1/voice-clone", {"text": "Hello.", "ref_audio": data_uri(whole)}).json()["items"][0]
    assert not any(w.startswith("the file") for w in item["warnings"]), item
    assert server.post("/api/v1/queue/submit", {"items": [fields]}).status == 400
    item = server.wait_job(server.job([{**fields, "salvage": True}]))["items"][0]
    assert item["state"] == "done" and any(w.startswith(warned) for w in item["warnings"]), item


def test_default_is_mp3(server, voice):
    answer = server.post("/v1/audio/speech", {"model": "tts-1", "voice": voice, "input": "Hello."})
    assert answer.headers["Content-Type"] == "audio/mpeg" and (answer.body[:3] == b"ID3" or answer.body[0] == 0xFF)


def test_pcm_rate(server, voice):
    body = {"voice": voice, "input": "Hello there.", "response_format": "pcm", "seed": 1}
    low = server.post("/v1/audio/speech", body)
    high = server.post("/v1/audio/speech", {**body, "sample_rate": 48000})
    assert high.headers["Content-Type"] == "audio/pcm;rate=48000;channels=1"
    assert len(high.body) == pytest.approx(2 * len(low.body), abs=8)


def test_streaming(client, voice):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice, input="Hello there, this is streamed.", response_format="pcm"
    ) as response:
        blocks = list(response.iter_bytes(4096))
    assert len(b"".join(blocks)) > 10000


def test_sse(client, voice):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice, input="Hello there.", response_format="pcm", stream_format="sse"
    ) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        seen = [data for _, data in events(response.read())]
    assert [event["type"] for event in seen[-1:]] == ["speech.audio.done"]
    assert {event["type"] for event in seen[:-1]} == {"speech.audio.delta"}
    assert len(b"".join(base64.b64decode(event["audio"]) for event in seen[:-1])) > 5000


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.25, 2.0, 4.0])
def test_speed(client, server, voice, speed):
    text = "Hello there, this takes a little while to say."
    plain = server.post("/v1/audio/speech", {"voice": voice, "input": text, "response_format": "pcm", "seed": 1}).body

    def ask():
        return client.audio.speech.create(model="tts-1", voice=voice, input=text, response_format="pcm", speed=speed,
                                          extra_body={"seed": 1}).read()
    audio = ask()
    assert len(audio) == pytest.approx(len(plain) / speed, rel=0.02)
    # The pitch stays: the commonest distance between sign changes from below is a period's.
    assert pitch(audio) == pytest.approx(pitch(plain), rel=0.1)
    # How the audio was cut on its way changes nothing.
    assert ask() == audio


def pitch(audio):
    """Of 16-bit samples at 24 kHz, by the highest peak of the autocorrelation of the loudest second."""
    samples = [value / 32768 for (value,) in struct.iter_unpack("<h", audio)][::4]
    width = min(1500, len(samples) // 2)
    start = max(range(0, len(samples) - width, 300), key=lambda at: sum(x * x for x in samples[at:at + width]))
    part = samples[start:start + width]
    lag = max(range(15, 100), key=lambda lag: sum(a * b for a, b in zip(part, part[lag:])) / (len(part) - lag))
    return 6000 / lag


def test_voice_as_object(server, voice):
    assert server.post("/v1/audio/speech", {"voice": {"id": voice}, "input": "Hello."}).status == 200


def test_reference_of_the_request(server):
    answer = server.post(
        "/v1/audio/speech",
        {
            "voice": "alloy",
            "input": "Hello.",
            "ref_audio": data_uri(),
            "ref_text": "what it says",
            "language": "en",
            "seed": 4,
            "x_vector_only_mode": True,
            "response_format": "wav",
        },
    )
    assert answer.status == 200 and answer.headers["X-Seed"] == "4"


def test_instructions_are_ignored_and_it_says_so(server, voice):
    answer = server.post(
        "/v1/audio/speech", {"voice": voice, "input": "Hello.", "instructions": "Speak like a pirate."}
    )
    assert answer.status == 200 and answer.headers["X-Ignored"] == "instructions"


def test_unknown_fields_are_ignored(server, voice):
    assert (
        server.post("/v1/audio/speech", {"voice": voice, "input": "Hello.", "user": "me", "lang_code": "a"}).status
        == 200
    )


@pytest.mark.parametrize(
    "param,body",
    [
        ("input", {}),
        ("input", {"input": ""}),
        ("input", {"input": "x" * 4097}),
        ("input", {"input": ["a"]}),
        ("voice", {"input": "Hi.", "voice": "nobody"}),
        ("voice", {"input": "Hi.", "voice": "alloy"}),
        ("voice", {"input": "Hi.", "voice": "a/b"}),
        ("voice", {"input": "Hi.", "voice": {"name": "x"}}),
        ("voice", {"input": "Hi.", "voice": 1}),
        ("ref_audio", {"input": "Hi."}),
        ("ref_audio", {"input": "Hi.", "ref_audio": "nothing"}),
        ("response_format", {"input": "Hi.", "response_format": "aiff"}),
        ("speed", {"input": "Hi.", "speed": 5}),
        ("speed", {"input": "Hi.", "speed": 0.1}),
        ("speed", {"input": "Hi.", "speed": "fast"}),
        ("stream_format", {"input": "Hi.", "stream_format": "x"}),
        ("model", {"input": "Hi.", "model": 3}),
        ("sample_rate", {"input": "Hi.", "sample_rate": 96000}),
        ("instructions", {"input": "Hi.", "instructions": "x" * 4097}),
        ("seed", {"input": "Hi.", "seed": -1}),
    ],
)
def test_bad_speech(server, param, body):
    answer = server.post("/v1/audio/speech", body)
    assert answer.status == 400, answer
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and error["type"] == "invalid_request_error" and param in error["message"]


@pytest.mark.parametrize("voice", ["", "alloy", "Zoë's voice", "../x", {"id": "nobody"}, None])
def test_with_a_reference_any_voice_is_a_label(server, voice):
    answer = server.post("/v1/audio/speech", {"voice": voice, "input": "Hello.", "ref_audio": data_uri()})
    assert answer.status == 200, answer


def test_null_is_absent(server, voice):
    names = [
        "response_format",
        "speed",
        "seed",
        "language",
        "stream",
        "stream_format",
        "instructions",
        "task_type",
        "sample_rate",
        "ref_audio",
        "ref_text",
        "temperature",
        "top_p",
        "top_k",
        "model",
        "max_new_tokens",
        "x_vector_only_mode",
    ]
    answer = server.post("/v1/audio/speech", {"voice": voice, "input": "Hello.", **{name: None for name in names}})
    assert answer.status == 200 and "X-Ignored" not in answer.headers, answer


def test_what_is_ignored_is_named(server, voice):
    answer = server.post(
        "/v1/audio/speech",
        {
            "voice": voice,
            "input": "Hello.",
            "task_type": "CustomVoice",
            "user": "me",
            "lang_code": "a",
            "instructions": "Whisper.",
            "max_new_tokens": 100,
            "bad name": 1,
        },
    )
    assert answer.status == 200, answer
    assert set(answer.headers["X-Ignored"].split(", ")) == {"task_type", "user", "lang_code", "instructions"}
    answer = server.post(
        "/v1/audio/speech",
        {"voice": voice, "input": "Hello.", "task_type": "Base", "split_length": 40, "max_new_tokens": 100},
    )
    assert answer.status == 200 and "X-Ignored" not in answer.headers
    assert server.post("/v1/audio/speech", {"voice": voice, "input": "Hello.", "max_new_tokens": -1}).status == 400


def test_whole_audio_has_its_length(server, voice):
    body = {"voice": voice, "input": "Hello.", "response_format": "wav"}
    answer = server.post("/v1/audio/speech", {**body, "stream": False})
    assert answer.status == 200 and int(answer.headers["Content-Length"]) == len(answer.body)
    assert struct.unpack_from("<I", answer.body, 4)[0] == len(answer.body) - 8
    streamed = server.post("/v1/audio/speech", body)
    for one in (answer, streamed):
        assert one.headers["X-Engine"] == "preview" and one.headers["X-Is-Clone"] == "false"


def test_models_one_by_one(client, server):
    for model in client.models.list():
        assert client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    assert {"id": "tts-1", "name": "tts-1"} in server.get("/v1/audio/models").json()["models"]


@pytest.fixture(scope="module")
def shared():
    """A server for other people's clients."""
    with Server(
        "--default-voice", "anna", "--voice-alias", "nova=anna, Müller = Zoë Müller", "--voice-alias", "echo=nobody"
    ) as running:
        assert "no voice \"anna\" is stored" in running.log()
        running.add_voice("anna")
        running.add_voice("Zoe\u0308 Müller")
        yield running


@pytest.mark.parametrize(
    "voice,status",
    [
        (None, 200),
        ("anna", 200),
        ("nova", 200),
        ("alloy", 200),
        ("Alloy", 200),
        ("shimmer", 200),
        ("Müller", 200),
        ("Zoë Müller", 200),
        ("Zoe\u0308 Müller", 200),
        ("echo", 400),
        ("nobody", 400),
        ("an na", 400),
    ],
)
def test_default_and_alias_voices(shared, voice, status):
    answer = shared.post("/v1/audio/speech", {"input": "Hi.", "voice": voice})
    assert answer.status == status, answer
    assert shared.clone("Hi.", voice=voice).status == status
    answer = shared.post("/api/v1/queue/submit", {"items": [{"text": "Hi.", "voice": voice}]})
    assert answer.status == (202 if status == 200 else 400), answer


def test_aliases_are_listed(shared):
    names = [voice["id"] for voice in shared.get("/v1/audio/voices").json()["voices"]]
    assert names == ["Zoë Müller", "anna", "nova", "Müller", "echo"]
    assert shared.get("/v1/audio/voices?legacy=true").json()["voices"] == names


@pytest.mark.parametrize(
    "option,value,message",
    [
        ("--voice-alias", "alloy", "is not NAME=VOICE"),
        ("--voice-alias", "a=b,a=c", "comes twice"),
        ("--voice-alias", "a=b,b=c", "an alias itself"),
        ("--voice-alias", "a/b=c", "slash"),
        ("--voice-alias", "=c", "empty"),
        ("--voice-alias", "a=", "empty"),
        ("--default-voice", "a/b", "slash"),
    ],
)
def test_bad_aliases(option, value, message):
    from support import run
    with __import__("tempfile").TemporaryDirectory() as folder:
        answer = run("serve", "--port", 0, "--state-dir", folder, "--engine", "preview", option, value)
    assert answer.returncode == 2 and message in answer.stderr, answer


NAMES = [
    "Anna Smith",
    "über",
    "Zoë",
    "张伟",
    "Иван Петров",
    "やまだ 太郎",
    "अनिल",
    "محمد",
    "a.b-c_d",
    "O'Brien",
    "50% off?",
    "x" * 64,
    "é" * 64,
    "名" * 64,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script(server, name):
    import unicodedata
    from support import API, quote
    typed = unicodedata.normalize("NFD", name) if len(unicodedata.normalize("NFD", name)) <= 64 else name
    answer = server.post(API + "/voices", {"name": typed, "ref_audio": data_uri()})
    assert answer.status == 201 and answer.json()["name"] == unicodedata.normalize("NFC", name), answer
    assert server.post(API + "/voices", {"name": name, "ref_audio": data_uri()}).status == 409
    assert server.get(answer.json()["url"]).body == REFERENCE
    assert server.get(API + "/voices/" + quote(typed)).status == 200
    assert server.post("/v1/audio/speech", {"input": "Hi.", "voice": typed}).status == 200
    assert server.delete("/v1/audio/voices/" + quote(name)).status == 204
    assert all(file.name.isascii() for file in server.state.rglob("*"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        "a/b",
        "a\\b",
        "a\nb",
        "\u200b",
        "a\u202eb",
        "\u00a0a",
        "a\u3000",
        "x" * 65,
        "名" * 65,
        ".",
        "..",
        ".hidden",
        "-dash",
        "~a",
        "\ufffe",
        "a\x7f",
    ],
)
def test_bad_names(server, name):
    from support import API
    answer = server.post(API + "/voices", {"name": name, "ref_audio": data_uri()})
    assert answer.status == 400 and "name: " in answer.detail, answer


def test_client_sees_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="tts-1", voice="nobody", input="Hello.")
    assert caught.value.param == "voice" and "nobody" in caught.value.message


def test_wrong_key(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with Server("--keys-file", keys) as server:
        with (
            openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
        with openai.OpenAI(base_url=server.url + "/v1", api_key="0123456789abcdef", max_retries=0) as client:
            assert client.models.list().data


def test_voices(server):
    answer = server.post(
        "/v1/audio/voices", form={"name": "frida", "audio_sample": ("a.wav", REFERENCE), "consent": "c1"}
    )
    assert answer.status == 201 and answer.json()["id"] == "frida"
    assert {"id": "frida", "name": "frida"} in server.get("/v1/audio/voices").json()["voices"]
    assert server.post("/v1/audio/voices", form={"name": "frida", "audio_sample": ("a.wav", REFERENCE)}).status == 409
    assert server.post("/v1/audio/speech", {"voice": "frida", "input": "Hello."}).status == 200
    assert server.delete("/v1/audio/voices/frida").status == 204
    answer = server.delete("/v1/audio/voices/frida")
    assert answer.status == 404 and answer.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "param,form",
    [
        ("name", {"audio_sample": ("a.wav", REFERENCE)}),
        ("audio_sample", {"name": "x"}),
        ("audio_sample", {"name": "x", "audio_sample": ("a.wav", b"nothing")}),
        ("name", {"name": "a/b", "audio_sample": ("a.wav", REFERENCE)}),
    ],
)
def test_bad_voice(server, param, form):
    answer = server.post("/v1/audio/voices", form=form)
    assert answer.status == 400 and answer.json()["error"]["param"] == param, answer


def test_broken_json(server):
    answer = server.post("/v1/audio/speech", body=b"{", headers={"Content-Type": "application/json"})
    assert answer.status == 400 and answer.json()["error"]["param"] == "body"
    assert (
        server.post(
            "/v1/audio/speech", body=json.dumps({"input": "x"}).encode(), headers={"Content-Type": "text/plain"}
        ).status
        == 415
    )


def test_still_alive(server, alive):
    pass
