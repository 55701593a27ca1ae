"""The clone endpoints: what they make of good and of bad input."""
import base64
import json
import re

import pytest
from support import API, REFERENCE, data_uri, wav, wav_rate, wav_seconds

LONG = "This sentence is here to take a little while to say. "


def check_item(item, rate):
    audio = base64.b64decode(item["audio_base64"], validate=True)
    assert wav_rate(audio) == item["sample_rate"] == rate
    assert abs(wav_seconds(audio) - item["duration"]) < 0.002
    assert item["duration"] > 0.05
    assert item["engine"] == "preview" and item["is_clone"] is False
    assert item["finish_reason"] in ("stop", "length")
    assert item["timings"]["total"] >= item["timings"]["first_audio"] >= 0
    assert "error" not in item
    return audio


def test_one(server, ref):
    answer = server.clone("Hello.", ref_audio=ref, custom_id="mine")
    assert answer.status == 200
    result = answer.json()
    assert set(result) == {"items", "performance"} and result["performance"] > 0
    (item,) = result["items"]
    assert item["custom_id"] == "mine"
    audio = check_item(item, rate=item["sample_rate"])
    stored = server.get(item["url"])
    assert stored.status == 200 and stored.body == audio
    assert stored.headers["Content-Type"] == "audio/wav"


def test_enhanced_is_48k(server, ref):
    (item,) = server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref).json()["items"]
    check_item(item, 48000)
    assert item["timings"]["enhance_speech"] > 0


def test_without_post_processing(server, ref):
    (item,) = server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, run_post_processing=False,
                           run_pre_processing=False).json()["items"]
    assert item["timings"]["enhance_speech"] == 0 and item["timings"]["enhance_reference"] == 0


def test_order_of_many(server, ref):
    texts = ["One.", LONG, "Two.", LONG * 2, "Three."]
    result = server.clone(texts, ref_audio=ref, custom_id=[f"id{i}" for i in range(5)]).json()
    assert [item["custom_id"] for item in result["items"]] == [f"id{i}" for i in range(5)]
    durations = [item["duration"] for item in result["items"]]
    assert durations[3] > durations[1] > durations[0]


def test_lists_broadcast(server, ref):
    other = server.upload(wav(1.5, seed=2))
    result = server.clone(
        "Same text.", ref_audio=[ref, other], ref_text=[None, "what it says"], language=["en", "German"]
    ).json()
    assert len(result["items"]) == 2
    assert all("error" not in item for item in result["items"])


def test_list_of_one_serves_all(server, ref):
    assert len(server.clone(["One.", "Two."], ref_audio=[ref], language=["en"]).json()["items"]) == 2


def test_short_custom_id_is_padded(server, ref):
    result = server.clone(["One.", "Two.", "Three."], ref_audio=ref, custom_id=["first"]).json()
    assert [item["custom_id"] for item in result["items"]] == ["first", None, None]


def test_scalar_custom_id_serves_all(server, ref):
    result = server.clone(["One.", "Two."], ref_audio=ref, custom_id="same").json()
    assert [item["custom_id"] for item in result["items"]] == ["same", "same"]


def test_data_uri(server):
    assert server.clone("Hello.", ref_audio=data_uri()).status == 200


def test_voice(server, voice):
    assert server.clone("Hello.", voice=voice).status == 200


def test_seed_is_told_and_repeats(server, ref):
    first = server.clone("Hello.", ref_audio=ref)
    seed = first.json()["items"][0]["seed"]
    assert first.headers["X-Seed"] == str(seed)
    again = server.clone("Hello.", ref_audio=ref, seed=seed)
    assert again.json()["items"][0]["seed"] == seed
    assert again.json()["items"][0]["audio_base64"] == first.json()["items"][0]["audio_base64"]


@pytest.mark.parametrize("name,magic,content_type", [
    ("wav", b"RIFF", "audio/wav"), ("flac", b"fLaC", "audio/flac"), ("ogg", b"OggS", "audio/ogg"),
    ("opus", b"OggS", "audio/ogg;codecs=opus"), ("mp3", None, "audio/mpeg"), ("pcm", None, "audio/pcm")])
def test_formats(server, ref, name, magic, content_type):
    (item,) = server.clone("Hello.", "/voice-clone-enhanced", ref_audio=ref, response_format=name).json()["items"]
    audio = base64.b64decode(item["audio_base64"])
    assert magic is None or audio.startswith(magic)
    if name == "mp3":
        assert audio[:3] == b"ID3" or audio[0] == 0xFF
    if name == "pcm":
        assert len(audio) == pytest.approx(item["duration"] * item["sample_rate"] * 2, abs=100)
    assert server.get(item["url"]).headers["Content-Type"].startswith(content_type)


def test_max_seconds(server, ref):
    (item,) = server.clone(LONG * 4, ref_audio=ref, max_seconds=1.0).json()["items"]
    assert item["duration"] <= 1.2


def test_form(server):
    answer = server.post(API + "/voice-clone-file", form={
        "text": "Hello.", "ref_audio": ("ref.wav", REFERENCE), "ref_text": "what it says", "language": "en",
        "custom_id": "mine", "temperature": "0.7", "seed": "5"})
    assert answer.status == 200, answer
    (item,) = answer.json()["items"]
    assert item["custom_id"] == "mine" and item["seed"] == 5


def test_form_enhanced(server):
    answer = server.post(API + "/voice-clone-enhanced-file", form={
        "text": "Hello.", "ref_audio": ("ref.wav", REFERENCE), "run_pre_processing": "false"})
    assert answer.status == 200, answer
    assert answer.json()["items"][0]["sample_rate"] == 48000


def test_form_with_voice_and_an_empty_file_input(server, voice):
    answer = server.post(
        API + "/voice-clone-file",
        form={"text": "Hello.", "voice": voice, "ref_audio": ("", b"", "application/octet-stream")},
    )
    assert answer.status == 200, answer


def test_unicode_text(server, ref):
    result = server.clone(["Grüße aus Köln, 你好, \U0001F600!", "Hello."], ref_audio=ref).json()
    assert "error" not in result["items"][1]


def test_an_item_fails_alone(server, ref):
    # Fine by its head, broken inside: only the item that uses it fails.
    broken = bytearray(wav(1.0))
    broken[44 + 2000:] = b""
    answer = server.post(API + "/files/upload", form={"file": ("broken.wav", bytes(broken))})
    if answer.status == 400:  # seen at the door: as good
        assert answer.detail.startswith("Invalid Input: file: ")
        return
    result = server.clone(["One.", "Two."], ref_audio=[ref, answer.json()["id"]]).json()
    assert "error" not in result["items"][0]


BAD = [
    # field, body
    ("text", {}),
    ("text", {"text": None}),
    ("text", {"text": ""}),
    ("text", {"text": "  \n"}),
    ("text", {"text": 5}),
    ("text", {"text": []}),
    ("text", {"text": {"a": 1}}),
    ("text[1]", {"text": ["fine", ""]}),
    ("text[0]", {"text": [None]}),
    ("text[1]", {"text": ["fine", ["nested"]]}),
    ("text", {"text": "x" * 4097}),
    ("text", {"text": ["x"] * 129}),
    ("ref_audio", {"text": "Hi.", "ref_audio": None}),
    ("ref_audio", {"text": "Hi.", "ref_audio": ""}),
    ("ref_audio", {"text": "Hi.", "ref_audio": 7}),
    ("ref_audio", {"text": "Hi.", "ref_audio": []}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "0" * 32}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "/etc/passwd"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "../../etc/passwd"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "data:audio/wav;base64,!!!!"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "data:audio/wav;base64,AAA"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "data:audio/wav;base64,"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "data:audio/wav,plain"}),
    (
        "ref_audio",
        {"text": "Hi.", "ref_audio": "data:audio/wav;base64," + base64.b64encode(b"not audio at all, really").decode()},
    ),
    ("ref_audio", {"text": "Hi.", "ref_audio": "http://example.com/a.wav"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "https://127.0.0.1/a.wav"}),
    ("ref_audio", {"text": "Hi.", "ref_audio": "file:///etc/passwd"}),
    ("ref_text", {"text": "Hi.", "ref_text": 3}),
    ("ref_text[0]", {"text": "Hi.", "ref_text": [3]}),
    ("ref_text", {"text": "Hi.", "ref_text": "x" * 4097}),
    ("language", {"text": "Hi.", "language": "xx"}),
    ("language", {"text": "Hi.", "language": 1}),
    ("language", {"text": "Hi.", "language": "en-"}),
    ("language", {"text": "Hi.", "language": "x" * 40}),
    ("language[1]", {"text": ["Hi.", "Ho."], "language": ["en", "klingon"]}),
    ("max_frames", {"text": "Hi.", "max_new_tokens": -1}),
    ("x_vector_only", {"text": "Hi.", "x_vector_only_mode": "yes"}),
    ("x_vector_only", {"text": "Hi.", "x_vector_only": True, "x_vector_only_mode": True}),
    ("reference_silence", {"text": "Hi.", "reference_silence": 5.1}),
    ("split_length", {"text": "Hi.", "split_length": 1.5}),
    ("first_chunk_frames", {"text": "Hi.", "first_chunk_frames": 17}),
    ("subtalker_top_k", {"text": "Hi.", "subtalker_top_k": 1e6}),
    ("custom_id", {"text": "Hi.", "custom_id": 4}),
    ("custom_id", {"text": "Hi.", "custom_id": ["a", "b"]}),
    ("custom_id", {"text": "Hi.", "custom_id": "x" * 257}),
    ("temperature", {"text": "Hi.", "temperature": "1"}),
    ("temperature", {"text": "Hi.", "temperature": -0.1}),
    ("temperature", {"text": "Hi.", "temperature": 2.1}),
    ("temperature", {"text": "Hi.", "temperature": True}),
    ("temperature", {"text": "Hi.", "temperature": [1.0]}),
    ("top_p", {"text": "Hi.", "top_p": 0}),
    ("top_p", {"text": "Hi.", "top_p": 1.01}),
    ("top_k", {"text": "Hi.", "top_k": -1}),
    ("top_k", {"text": "Hi.", "top_k": 1.5}),
    ("top_k", {"text": "Hi.", "top_k": 100000}),
    ("repetition_penalty", {"text": "Hi.", "repetition_penalty": 0}),
    ("seed", {"text": "Hi.", "seed": -1}),
    ("seed", {"text": "Hi.", "seed": 1.5}),
    ("seed", {"text": "Hi.", "seed": 2**53}),
    ("seed", {"text": "Hi.", "seed": "1"}),
    ("max_seconds", {"text": "Hi.", "max_seconds": 0}),
    ("max_seconds", {"text": "Hi.", "max_seconds": 601}),
    ("x_vector_only", {"text": "Hi.", "x_vector_only": "yes"}),
    ("x_vector_only", {"text": "Hi.", "x_vector_only": 1}),
    ("run_pre_processing", {"text": "Hi.", "run_pre_processing": "true"}),
    ("response_format", {"text": "Hi.", "response_format": "aiff"}),
    ("response_format", {"text": "Hi.", "response_format": "exe"}),
    ("stream", {"text": "Hi.", "stream": "true"}),
    ("stream_format", {"text": "Hi.", "stream_format": "websocket"}),
    ("stream", {"text": ["Hi.", "There."], "stream": True}),
    ("voice", {"text": "Hi.", "voice": "nobody", "ref_audio": ...}),
    ("voice", {"text": "Hi.", "voice": "../../etc/passwd", "ref_audio": ...}),
    ("voice", {"text": "Hi.", "voice": 3, "ref_audio": ...}),
    ("nonsense", {"text": "Hi.", "nonsense": 1}),
    ("ref_audio", {"text": ["a", "b", "c"], "ref_audio": ["0" * 32, "0" * 32]}),
]


@pytest.mark.parametrize("field,body", BAD, ids=[f"{i}-{field}" for i, (field, _) in enumerate(BAD)])
def test_bad_field(server, ref, field, body):
    body = {"ref_audio": ref, **body}
    if body["ref_audio"] is ...:
        del body["ref_audio"]
    answer = server.post(API + "/voice-clone-enhanced", body)
    assert answer.status == 400, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.detail.startswith(f"Invalid Input: {field}: "), answer.detail
    assert set(answer.json()) == {"detail"}
    assert server.get("/health/ready").status == 200


# What is null, or empty where empty says nothing, is as if it were not there.
OPTIONAL = {
    "ref_text": "Words.",
    "language": "en",
    "custom_id": "a",
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 9,
    "repetition_penalty": 1.1,
    "seed": 1,
    "max_seconds": 3.0,
    "x_vector_only": True,
    "run_pre_processing": True,
    "run_post_processing": True,
    "response_format": "wav",
    "stream": False,
    "stream_format": "audio",
    "voice": "x",
    "model": "x",
    "level": "auto",
    "salvage": False,
    "greedy": True,
    "do_sample": False,
    "subtalker_dosample": False,
    "subtalker_temperature": 0.5,
    "subtalker_top_p": 0.5,
    "subtalker_top_k": 5,
    "max_frames": 50,
    "non_streaming_text": True,
    "streaming_text": False,
    "split_length": 9,
    "pauses": True,
    "guard_runaway": False,
    "first_chunk_frames": 2,
    "trim_reference": True,
    "reference_silence": 0.5,
}


def test_null_is_absent(server, ref):
    answer = server.clone("Hi.", "/voice-clone-enhanced", ref_audio=ref, **{name: None for name in OPTIONAL})
    assert answer.status == 200, answer
    assert (
        server.clone(
            ["Hi.", "Ho."], ref_audio=ref, language=[None, "de"], ref_text=[None, ""], custom_id=[None, "b"]
        ).status
        == 200
    )
    answer = server.clone("Hi.", ref_audio=ref, ref_text="", language="", voice="")
    assert answer.status == 200, answer
    form = {"text": "Hi.", "ref_audio": ("a.wav", REFERENCE), **{name: "" for name in OPTIONAL}}
    assert server.post(API + "/voice-clone-enhanced-file", form=form).status == 200


def test_every_field_is_taken(server, ref):
    fields = {name: value for name, value in OPTIONAL.items() if name not in ("voice", "model", "pauses")}
    answer = server.clone("Hi.", "/voice-clone-enhanced", ref_audio=ref, **fields)
    assert answer.status == 200, answer
    described = server.get("/openapi.json").json()["paths"][API + "/voice-clone-enhanced"]["post"]["requestBody"]
    properties = described["content"]["application/json"]["schema"]["properties"]
    assert set(properties) == set(OPTIONAL) | {"text", "ref_audio"}


def test_official_names(server, ref):
    answer = server.clone("Hello.", ref_audio=ref, ref_text="Words.", x_vector_only_mode=True, max_new_tokens=400,
                          non_streaming_mode=True, do_sample=True, subtalker_dosample=False, seed=1)
    assert answer.status == 200, answer


@pytest.mark.parametrize(
    "wrong,right",
    [("temprature", "temperature"), ("langauge", "language"), ("ref_adio", "ref_audio"), ("txet", "text")],
)
def test_did_you_mean(server, ref, wrong, right):
    answer = server.clone("Hi.", ref_audio=ref, **{wrong: "x"})
    assert answer.status == 400 and f'did you mean "{right}"?' in answer.detail, answer
    answer = server.post(API + "/voice-clone-file", form={"text": "Hi.", wrong: "x", "ref_audio": ("a.wav", REFERENCE)})
    assert answer.status == 400 and f'did you mean "{right}"?' in answer.detail, answer


def test_a_name_like_no_field_gets_those_that_there_are(server):
    answer = server.post("/api/v1/enhance", form={"sound": ("a.wav", REFERENCE)})
    assert answer.status == 400, answer
    assert re.search(r"sound: is not a field of this form: its fields are .*\baudio\b", answer.detail), answer
    answer = server.post("/api/v1/voice-clone", {"text": "Hi.", "zzzzzzzzz": 1})
    assert answer.status == 400, answer
    assert re.search(r"zzzzzzzzz: is not a field of this request: its fields are text, .*, …$", answer.detail), answer
    assert len(answer.detail) < 300


@pytest.mark.parametrize(
    "language",
    [
        "auto",
        "Auto",
        "EN",
        "en-US",
        "en_US",
        "zh-CN",
        "zh-Hans-CN",
        "ZH_TW",
        "pt-BR",
        "pt_BR",
        "English",
        "german",
        "de_DE.UTF-8",
        "cmn-Hans",
    ],
)
def test_languages(server, ref, language):
    answer = server.clone("Hi.", ref_audio=ref, language=language)
    assert answer.status == 200, answer


@pytest.mark.parametrize("language", ["xx", "nl", "klingon", "en US"])
def test_unknown_language_lists_codes(server, ref, language):
    detail = server.clone("Hi.", ref_audio=ref, language=language).detail
    assert detail.endswith("auto, en, zh, ja, ko, fr, de, es, ru, pt, it"), detail


def base64_spellings():
    plain = base64.b64encode(REFERENCE).decode()
    url = base64.urlsafe_b64encode(REFERENCE).decode()
    lines = "\r\n".join(plain[i:i + 76] for i in range(0, len(plain), 76))
    return {
        "bare": plain,
        "lines": lines,
        "no-padding": plain.rstrip("="),
        "url": url,
        "url-no-padding": url.rstrip("="),
        "uri-lines": "data:audio/wav;base64," + lines,
        "uri-no-padding": "data:audio/wav;base64," + plain.rstrip("="),
        "uri-url": "data:audio/wav;base64," + url,
        "uri-parameters": "data:audio/wav;codecs=1;rate=24000;base64," + plain,
        "uri-quoted": 'data:audio/wav;name="a, \\"b\\".wav";base64,' + plain,
        "uri-no-type": "data:;base64," + plain,
        "uri-upper": "DATA:AUDIO/WAV;BASE64," + plain,
        "uri-blank": "data:audio/wav; base64, " + plain,
        "uri-escaped": "data:audio/wav;base64," + plain.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    }


@pytest.mark.parametrize("spelling", sorted(base64_spellings()))
def test_base64(server, spelling):
    # A sample more, so that the plain spelling has padding.
    answer = server.clone("Hi.", ref_audio=base64_spellings()[spelling])
    assert answer.status == 200, answer
    job = server.job([{"text": "Hi.", "ref_audio": base64_spellings()[spelling]}])
    assert server.wait_job(job)["items"][0]["state"] == "done"


@pytest.mark.parametrize(
    "text",
    [
        "A" * 200,
        "data:audio/wav;base64," + "A" * 201,
        "data:audio/wav;base64,AAAA=AAA",
        "data:audio/wav;base64,%4",
        "A" * 99 + "!",
        "data:audio/wav;base64,=",
        "data:audio/wav;base64,%zz",
    ],
)
def test_bad_base64(server, text):
    answer = server.clone("Hi.", ref_audio=text)
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: ref_audio: "), answer


ACCEPTS = [
    ("audio/*", "audio/wav", b"RIFF"),
    ("audio/wav", "audio/wav", b"RIFF"),
    ("Audio/X-WAV", "audio/wav", b"RIFF"),
    ("audio/flac", "audio/flac", b"fLaC"),
    ("audio/ogg;q=0.9, */*;q=0.1", "audio/ogg", b"OggS"),
    ("application/json;q=0.5, audio/flac", "audio/flac", b"fLaC"),
]


@pytest.mark.parametrize(
    "path", ["/voice-clone", "/voice-clone-enhanced", "/voice-clone-file", "/voice-clone-enhanced-file"]
)
def test_accept_audio(server, ref, path):
    for accept, content_type, start in ACCEPTS if path == "/voice-clone" else ACCEPTS[:1]:
        body = (
            {"form": {"text": "Hi.", "ref_audio": ("a.wav", REFERENCE)}}
            if path.endswith("-file")
            else {"json_body": {"text": "Hi.", "ref_audio": ref}}
        )
        answer = server.post(API + path, headers={"Accept": accept}, **body)
        assert (
            answer.status == 200 and answer.headers["Content-Type"] == content_type and answer.body.startswith(start)
        ), answer
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        assert (
            answer.headers["X-Engine"] == "preview"
            and answer.headers["X-Is-Clone"] == "false"
            and answer.headers["X-Seed"]
        )
        if start == b"RIFF":
            import struct
            assert struct.unpack_from("<I", answer.body, 4)[0] == len(answer.body) - 8


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/json, audio/wav",
        "audio/wav;q=0",
        "audio/wav;q=0.3, application/json",
        "text/html",
    ],
)
def test_accept_json(server, ref, accept):
    answer = server.post(API + "/voice-clone", {"text": "Hi.", "ref_audio": ref}, headers={"Accept": accept})
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Engine"] == "preview"


def test_accept_audio_needs_one_item(server, ref):
    answer = server.post(
        API + "/voice-clone", {"text": ["Hi.", "Ho."], "ref_audio": ref}, headers={"Accept": "audio/wav"}
    )
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: text: one item"), answer
    # What the body says goes before the head.
    answer = server.post(
        API + "/voice-clone",
        {"text": "Hi.", "ref_audio": ref, "response_format": "flac"},
        headers={"Accept": "audio/wav"},
    )
    assert answer.status == 200 and answer.body.startswith(b"fLaC")


@pytest.mark.parametrize("name", ["ref_audio", "file", "audio", "audio_sample"])
def test_files_under_any_name(server, name):
    from urllib.parse import quote
    audio = ("a.wav", REFERENCE)
    assert server.post(API + "/voice-clone-file", form={"text": "Hi.", name: audio}).status == 200
    assert server.post(API + "/files/upload", form={name: audio}).status == 201
    assert server.post(API + "/enhance", form={name: audio}).status == 200
    assert server.post(API + "/voices", form={"name": f"v {name}", name: audio}).status == 201
    assert server.post("/v1/audio/voices", form={"name": f"o {name}", name: audio}).status == 201
    for voice in (f"v {name}", f"o {name}"):
        assert server.delete(API + "/voices/" + quote(voice)).status == 204


def test_both_voice_and_reference(server, ref, voice):
    answer = server.clone("Hi.", ref_audio=ref, voice=voice)
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: voice: ")


def test_unequal_lists(server, ref):
    answer = server.clone(["a", "b", "c"], ref_audio=[ref, ref])
    assert answer.status == 400 and answer.detail == "Invalid Input: ref_audio: has 2 elements but text has 3"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\"text\"",
        b"{\"text\": \"a\", \"text\": \"b\"}",
        b"{\"text\": \"\xff\"}",
        b"{\"text\": \"a\\u0000b\"}",
        b"{\"seed\": 1e999}",
        b"[" * 100000,
        b"{\"text\": NaN}",
        b"{\"text\": \"\\ud800\"}",
        b"{\"text\": \"a\"} trailing",
    ],
)
def test_bad_json(server, body):
    answer = server.post(API + "/voice-clone", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400, answer
    assert answer.detail.startswith("Invalid Input: body: "), answer.detail


def test_error_does_not_quote_the_body(server):
    answer = server.post(
        API + "/voice-clone", body=b"{\"text\": secretsecret}", headers={"Content-Type": "application/json"}
    )
    assert answer.status == 400 and b"secretsecret" not in answer.body


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_wrong_content_type(server, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = server.post(API + "/voice-clone", body=json.dumps({"text": "a"}).encode(), headers=headers)
    assert answer.status == 415, answer


def test_content_type_with_charset(server, ref):
    answer = server.post(
        API + "/voice-clone",
        {"text": "Hi.", "ref_audio": ref},
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.status == 200


BAD_FORMS = [
    ("text", {"ref_audio": ("a.wav", REFERENCE)}),
    ("text", {"text": "", "ref_audio": ("a.wav", REFERENCE)}),
    ("text", {"text": b"\xff\xfe", "ref_audio": ("a.wav", REFERENCE)}),
    ("text", {"text": b"a\0b", "ref_audio": ("a.wav", REFERENCE)}),
    ("ref_audio", {"text": "Hi."}),
    ("ref_audio", {"text": "Hi.", "ref_audio": ("a.wav", b"")}),
    ("ref_audio", {"text": "Hi.", "ref_audio": ("a.wav", b"this is not audio" * 10)}),
    ("temperature", {"text": "Hi.", "temperature": "warm", "ref_audio": ("a.wav", REFERENCE)}),
    ("temperature", {"text": "Hi.", "temperature": "9", "ref_audio": ("a.wav", REFERENCE)}),
    ("temperature", {"text": "Hi.", "temperature": "0x1", "ref_audio": ("a.wav", REFERENCE)}),
    ("temperature", {"text": "Hi.", "temperature": "nan", "ref_audio": ("a.wav", REFERENCE)}),
    ("stream", {"text": "Hi.", "stream": "maybe", "ref_audio": ("a.wav", REFERENCE)}),
    ("language", {"text": "Hi.", "language": "klingon", "ref_audio": ("a.wav", REFERENCE)}),
    ("extra", {"text": "Hi.", "extra": "1", "ref_audio": ("a.wav", REFERENCE)}),
]


@pytest.mark.parametrize("field,form", BAD_FORMS, ids=[f"{i}-{field}" for i, (field, _) in enumerate(BAD_FORMS)])
def test_bad_form(server, field, form):
    answer = server.post(API + "/voice-clone-file", form=form)
    assert answer.status == 400, answer
    assert answer.detail.startswith(f"Invalid Input: {field}: "), answer.detail


def test_form_part_twice(server):
    answer = server.post(
        API + "/voice-clone-file", form=[("text", "a"), ("text", "b"), ("ref_audio", ("a.wav", REFERENCE))]
    )
    assert answer.status == 400 and answer.detail == "Invalid Input: text: comes twice"


def test_form_without_boundary(server):
    answer = server.post(API + "/voice-clone-file", body=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status == 400


def test_form_cut_off(server):
    from support import multipart
    body, content_type = multipart({"text": "Hi.", "ref_audio": ("a.wav", REFERENCE)})
    answer = server.post(API + "/voice-clone-file", body=body[:-20], headers={"Content-Type": content_type})
    assert answer.status == 400, answer


def test_bad_input_starts_nothing(server, ref):
    before = server.metrics()
    assert server.clone(["fine"] * 5 + [""], ref_audio=ref).status == 400
    after = server.metrics()
    for result in ("ok", "cancelled", "internal"):
        name = f'timbre_items_total{{result="{result}"}}'
        assert before[name] == after[name]


def test_still_alive(server, alive):
    pass


def test_a_voice_is_no_reference_of_another_item(server):
    """Its name names the voice, and no recording."""
    server.add_voice("somebody")
    body = {"text": ["Hi.", "Hi."], "voice": ["somebody", None], "ref_audio": [None, "somebody"]}
    answer = server.post(API + "/voice-clone", body)
    assert answer.status == 400 and answer.detail.startswith("Invalid Input: ref_audio: "), answer
    server.delete(API + "/voices/somebody")
