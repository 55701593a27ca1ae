"""Built-in speakers, fine-tuned voices and voices from descriptions over HTTP, several models in one server."""

import base64
import json
import os
import pathlib
import re
import sys
import threading

import openai
import pytest
from support import API, Server, wait_for, wav_format, wav_rate, wav_samples

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import family_calls  # noqa: E402
import humming_codec  # noqa: E402

GOLDEN = pathlib.Path(os.environ.get("TIMBRE_GOLDEN", pathlib.Path(__file__).parent.parent / "golden")) / "qwen"
MODELS = {name: GOLDEN / sample / "model" for name, sample in family_calls.SAMPLES.items()}
REFERENCE = family_calls.REFERENCE.read_bytes()
SHORT = {"max_frames": 8}


def serve(models, *options):
    arguments = [option for name, folder in models.items() for option in ("--model", f"{name}={folder}")]
    return Server(*arguments, *options, engine="qwen3")


@pytest.fixture(scope="module")
def server():
    with serve(MODELS, "--precision", "f32") as running:
        yield running


def post(server, route, **fields):
    return server.post(f"{API}/{route}", {**SHORT, **fields})


def only(answer):
    assert answer.status == 200, answer
    (item,) = answer.json()["items"]
    return item


def audio(answer):
    return base64.b64decode(only(answer)["audio_base64"])


def test_speakers_and_descriptions(server):
    item = only(post(server, "custom-voice", text="Hi.", speaker="MIRA", seed=1))
    assert (item["model"], item["is_clone"], item["sample_rate"], item["engine"]) == ("speakers", False, 48000, "qwen3")
    assert wav_rate(base64.b64decode(item["audio_base64"])) == 48000
    item = only(post(server, "custom-voice", text="Hi.", speaker="speaker_test", run_post_processing=False))
    assert (item["model"], item["sample_rate"]) == ("fine", 24000)
    item = only(post(server, "voice-design", text="Hi.", instruct="A calm voice."))
    assert (item["model"], item["is_clone"]) == ("design", False)
    item = only(post(server, "voice-clone", text="Hi.", ref_audio=server.upload(REFERENCE)))
    assert (item["model"], item["is_clone"]) == ("base", True)


def test_as_the_command(server, tmp_path):
    """Codes are compared with the official ones by the command; here it counts that HTTP asks the same."""
    import subprocess

    from support import TIMBRE

    for fields, options, route in (
        ({"speaker": "mira", "instruct": "Slow."}, ("--speaker", "mira", "--instruct", "Slow."), "custom-voice"),
        (
            {"instruct": "A calm voice.", "streaming_text": True},
            ("--instruct", "A calm voice.", "--streaming-text"),
            "voice-design",
        ),
    ):
        samples = wav_samples(audio(post(server, route, text="Hello.", seed=5, run_post_processing=False, **fields)))
        out = tmp_path / "out.wav"
        model = MODELS["speakers" if "speaker" in fields else "design"]
        subprocess.run(
            [
                TIMBRE,
                "speak",
                "--model",
                model,
                "--precision",
                "f32",
                "--temperature",
                "1",
                "--seed",
                "5",
                "--text",
                "Hello.",
                "--max-frames",
                "8",
                "--no-post",
                "-q",
                "-o",
                out,
                *options,
            ],
            check=True,
        )
        assert wav_samples(out.read_bytes()) == samples


def test_lists_and_whole_audio(server):
    answer = post(server, "custom-voice", text=["One.", "Two."], speaker=["mira", "old_tom"], instruct=[None, "Slow."])
    assert [item.get("error") for item in answer.json()["items"]] == [None, None]
    answer = server.post(
        f"{API}/custom-voice",
        {"text": "Hi.", "speaker": "speaker_test", "instruct": "Low.", **SHORT},
        headers={"Accept": "audio/wav"},
    )
    assert answer.status == 200 and wav_format(answer.body) == (1, 48000)
    assert answer.headers["X-Ignored"] == "instruct" and answer.headers["X-Is-Clone"] == "false"
    item = only(post(server, "custom-voice", text="Hi.", speaker="speaker_test", instruct="Low."))
    assert "does not follow instructions" in item["warnings"][0]
    answer = server.post(f"{API}/voice-design", {"text": "Hi.", "instruct": "Low.", "stream": True, **SHORT})
    assert answer.status == 200 and len(wav_samples(answer.body)) > 0


def test_the_39_calls(tmp_path):
    models = family_calls.make_models(tmp_path)
    for broken in family_calls.BROKEN:
        with pytest.raises(RuntimeError, match="spk_id"):
            serve({"broken": models.pop(broken)}).__enter__()
    with serve(models) as server:
        calls = [call for call in family_calls.CALLS if call.model in models]
        for call in calls:
            fields = {**call.fields, "model": call.model}
            if "ref_audio" in fields:
                fields["ref_audio"] = server.upload(REFERENCE)
            answer = post(server, call.kind, **fields)
            if call.refusal is None:
                assert only(answer)["sample_rate"] == 48000, call.what
            else:
                assert answer.status == 400, (call.what, answer)
                assert re.search(call.refusal, answer.detail), (call.what, answer)
        for what, fields, outcome in family_calls.COUNTS:
            answer = post(server, "custom-voice", model="speakers", **fields)
            if isinstance(outcome, int):
                assert len(answer.json()["items"]) == outcome, what
            else:
                assert answer.status == 400 and outcome in answer.detail, (what, answer)
        # In one request only the item that is wrong fails.
        speaking = [
            c
            for c in calls
            if c.kind == "custom-voice"
            and c.model == "speakers"
            and c.fields["text"]
            and "max_new_tokens" not in c.fields
            and c.fields.get("language") != "klingon"
            and c.fields.get("language") != "harbour_dialect"
        ]
        answer = post(
            server,
            "custom-voice",
            model="speakers",
            text="Hi.",
            speaker=[c.fields.get("speaker") for c in speaking],
            instruct=[c.fields.get("instruct") for c in speaking],
            language=[c.fields.get("language") for c in speaking],
        )
        assert answer.status == 200, answer
        for call, item in zip(speaking, answer.json()["items"]):
            assert ("error" in item) is (call.refusal is not None), (call.what, item.get("error"))


def test_jobs(server):
    server.add_voice("anna", REFERENCE, ref_text="It says so.")
    items = [
        {"text": "One.", "speaker": "mira", **SHORT},
        {"text": "Two.", "instruct": "A calm voice.", **SHORT},
        {"text": "Three.", "voice": "anna", **SHORT},
        {"text": "Four.", "speaker": "nobody", **SHORT},
        {"text": "Five.", "speaker": "speaker_test", "instruct": "Low.", "model": "fine", **SHORT},
    ]
    job = server.post(f"{API}/queue/submit", {"items": items}).json()["id"]
    wait_for(lambda: server.get(f"{API}/queue/status/{job}").json()["state"] == "finished")
    results = server.get(f"{API}/queue/results/{job}?audio=url").json()["items"]
    assert [item.get("model") for item in results] == ["speakers", "design", "base", None, "fine"]
    assert "nobody" in results[3]["error"]
    assert "does not follow" in results[4]["warnings"][0]
    server.delete(f"{API}/voices/anna")


def test_listings(server):
    speakers = server.get(f"{API}/voices").json()["speakers"]
    assert [(s["name"], s["model"], s["language"], s["dialect"]) for s in speakers] == [
        ("mira", "speakers", "auto", None),
        ("old_tom", "speakers", "auto", None),
        ("lin_bei", "speakers", "chinese", "harbour_dialect"),
        ("speaker_test", "fine", "auto", None),
    ]
    voices = server.get("/v1/audio/voices").json()["voices"]
    assert {"id": "mira", "name": "mira", "model": "speakers", "language": "auto", "dialect": None} in voices
    assert "lin_bei" in server.get("/v1/audio/voices?legacy=true").json()["voices"]
    models = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
    assert list(models)[:4] == ["base", "speakers", "fine", "design"] and "tts-1" in models
    assert [models[name]["kind"] for name in MODELS] == ["base", "custom_voice", "custom_voice", "voice_design"]
    assert models["speakers"]["follows_instruct"] and not models["fine"]["follows_instruct"]
    assert server.get("/v1/models/fine").json()["speakers"][0]["name"] == "speaker_test"
    assert "german" in models["base"]["languages"]


def test_health_and_metrics(server):
    post(server, "custom-voice", text="Hi.", speaker="mira")
    models = {model["name"]: model for model in server.get("/health/ready").json()["models"]}
    assert list(models) == list(MODELS)
    assert models["speakers"]["kind"] == "custom_voice" and models["speakers"]["loads"] >= 1
    assert models["speakers"]["finished"] >= 1 and models["speakers"]["memory"] > 0
    text = server.get("/metrics").body.decode()
    assert re.search(r'timbre_speech_model_loads_total\{model="speakers"\} [1-9]', text)
    assert re.search(r'timbre_speech_model_items_total\{model="base"\} \d', text)


def test_openai(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0)
    speech = client.audio.speech
    extra = {"extra_body": {**SHORT, "seed": 3, "run_post_processing": False, "sample_rate": 24000}}
    said = {"input": "Hello.", "response_format": "wav"}

    def ask(**fields):
        answer = speech.with_raw_response.create(model=fields.pop("model", "tts-1"), **said, **fields, **extra)
        return answer.content, answer.headers

    plain, headers = ask(voice="mira")
    assert "X-Ignored" not in headers and headers["X-Is-Clone"] == "false"
    styled, headers = ask(voice="Mira", instructions="Very slow.")
    assert "X-Ignored" not in headers and styled != plain
    tuned, headers = ask(voice="speaker_test", instructions="Very slow.")
    assert headers["X-Ignored"] == "instructions"
    assert ask(voice="speaker_test", model="fine")[0] == tuned
    # A stored voice goes before a speaker of that name.
    server.add_voice("mira", REFERENCE, ref_text="It says so.")
    cloned, headers = ask(voice="mira", instructions="Very slow.")
    assert cloned != plain and headers["X-Is-Clone"] == "true" and headers["X-Ignored"] == "instructions"
    assert [v["id"] for v in server.get("/v1/audio/voices").json()["voices"]].count("mira") == 1
    speaker = {**extra["extra_body"], "task_type": "CustomVoice"}
    answer = speech.with_raw_response.create(model="tts-1", voice="mira", **said, extra_body=speaker)
    assert answer.content == plain
    server.delete(f"{API}/voices/mira")
    # A voice that nobody has, and a description: the description speaks.
    designed, headers = ask(voice="alloy", instructions="A calm voice.")
    assert "X-Ignored" not in headers and headers["X-Is-Clone"] == "false"
    described = {**extra["extra_body"], "task_type": "VoiceDesign"}
    answer = speech.with_raw_response.create(
        model="tts-1", voice="alloy", instructions="A calm voice.", **said, extra_body=described
    )
    assert answer.content == designed
    with pytest.raises(openai.BadRequestError, match="nobody"):
        ask(voice="nobody")
    assert {model.id for model in client.models.list()} >= set(MODELS)


def test_a_fine_tuned_folder(tmp_path):
    name = "Änne Weiß II 安妮"

    def rename(config):
        talker = config["talker_config"]
        talker["spk_id"] = {name: talker["spk_id"]["speaker_test"]}
        talker["spk_is_dialect"] = {name: False}

    folder = family_calls.copy_model("sample-h", tmp_path / "Meine Stimme – Ü", rename)
    with Server("--model", folder, engine="qwen3") as server:
        assert server.get("/health/live").json()["model"] == "Meine Stimme – Ü"
        first = audio(post(server, "custom-voice", text="Hi.", speaker=name, seed=1))
        for fields in ({}, {"speaker": "änne weiß ii 安妮"}, {"speaker": name, "model": "Meine Stimme – Ü"}):
            assert audio(post(server, "custom-voice", text="Hi.", seed=1, **fields)) == first
        answer = server.post("/v1/audio/speech", {"input": "Hi.", "voice": name, "response_format": "wav", **SHORT})
        assert answer.status == 200
        (model,) = [m for m in server.get("/v1/models").json()["data"] if "kind" in m]
        assert (model["id"], model["speakers"][0]["name"]) == ("Meine Stimme – Ü", name)
        answer = post(server, "custom-voice", text="Hi.", speaker="nobody")
        assert answer.status == 400 and name in answer.detail
        text = server.get("/metrics").body.decode()
        assert 'timbre_speech_model_items_total{model="Meine Stimme – Ü"}' in text


def test_sixty_requests_of_eight_clients_and_memory_for_one_model():
    names = ["base", "speakers", "design"]
    models = {name: MODELS[name] for name in names}
    with serve(models, "--precision", "int8", "--max-batch", 2) as server:
        file = server.upload(REFERENCE)
        bodies = {
            "base": ("voice-clone", {"ref_audio": file, "x_vector_only": True}),
            "speakers": ("custom-voice", {"speaker": "mira", "run_post_processing": False}),
            "design": ("voice-design", {"instruct": "Calm.", "run_post_processing": False}),
        }
        for name in names:
            route, fields = bodies[name]
            assert only(post(server, route, text="Hi.", **fields))["model"] == name
        largest = max(model["memory"] for model in server.get("/health/ready").json()["models"])
    budget = largest * 19 // 10  # a reference or sequences beside one model, never a second one of that size
    with serve(models, "--precision", "int8", "--max-batch", 2, "--memory", budget, "--threads", 1) as server:
        file = server.upload(REFERENCE)
        bodies["base"][1]["ref_audio"] = file
        answers = [None] * 60
        most = [0]

        def client(number):
            for n in range(number, 60, 8):
                route, fields = bodies[names[(n * 7 + n // 5) % 3]]
                answers[n] = post(server, route, text="One of sixty.", seed=n, **fields)
                most[0] = max(most[0], server.metric("timbre_memory_reserved_bytes"))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n, answer in enumerate(answers):
            assert only(answer)["model"] == names[(n * 7 + n // 5) % 3]
        assert most[0] <= budget
        report = server.get("/health/ready").json()["models"]
        assert sum(model["finished"] for model in report) == 60
        assert all(model["loads"] >= 1 for model in report) and sum(model["loads"] for model in report) <= 60
        print(json.dumps([(model["name"], model["loads"]) for model in report]))


def test_what_is_no_speech_makes_no_voice(server):
    """Random weights make steady noise: it is refused as such a recording would be, and nothing is stored."""
    answer = server.post(f"{API}/voices/design", {"name": "noise", "instruct": "A calm voice.", "text": "Hello.",
                                                  "seed": 11})
    assert answer.status == 400 and "speech" in answer.detail, answer
    assert server.get(f"{API}/voices/noise").status == 404
    for fields, words in (({"name": "x", "instruct": "y"}, "text"), ({"text": "x", "instruct": "y"}, "name")):
        answer = server.post(f"{API}/voices/design", fields)
        assert answer.status == 400 and words in answer.detail, answer


def test_designed_voices(tmp_path):
    """A design is stored, and its voice speaks as one made of the same clip by hand."""
    models = {"design": humming_codec.humming(MODELS["design"], tmp_path / "hums"), "base": MODELS["base"]}
    said = {"instruct": "A calm voice.", "text": "What the designed voice says at first.", "seed": 11}
    with serve(models, "--precision", "f32", "--max-reference-seconds", "10") as server:
        answer = server.post(f"{API}/voices/design", {"name": "grandpa", **said})
        assert answer.status == 201, answer
        voice = answer.json()
        assert (voice["name"], voice["ref_text"], voice["seed"]) == ("grandpa", said["text"], 11)
        assert voice["reference"]["verdict"] in ("good", "doubtful") and voice["reference"]["speech"] > 1, voice
        again = server.post(f"{API}/voices/design", {"name": "grandpa", **said})
        assert again.status == 409, again
        spoken = only(server.post(f"{API}/voice-design", {**said, "max_seconds": 10}))
        clip = base64.b64decode(spoken["audio_base64"])
        assert server.get(voice["url"]).body == clip
        answer = server.post(f"{API}/voices", form={"name": "by hand", "ref_text": said["text"],
                                                    "ref_audio": ("clip.wav", clip)})
        assert answer.status == 201, answer
        wishes = {"text": "And ever after.", "seed": 7}
        sounds = [audio(post(server, "voice-clone-enhanced", voice=name, **wishes)) for name in ("grandpa", "by hand")]
        assert sounds[0] == sounds[1] and len(sounds[0]) > 10000
        assert "grandpa" in [one["id"] for one in server.get("/v1/audio/voices").json()["voices"]]
        assert server.delete(f"{API}/voices/grandpa").status == 204


def test_a_design_needs_both_models():
    for models, words in (({"design": MODELS["design"]}, "clones voices"), ({"base": MODELS["base"]}, "Base model")):
        with serve(models) as server:
            answer = server.post(f"{API}/voices/design", {"name": "x", "text": "Hi.", "instruct": "Calm."})
            assert answer.status == 400 and words in answer.detail, answer
