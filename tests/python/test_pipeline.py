"""Cloning: one, many, streams, voices; the same samples as the command's."""

import os
import pathlib
import pickle
import threading

import numpy
import pytest
import timbre
from conftest import NOISY, QWEN

REFERENCE = sorted((QWEN / "references").glob("*.wav"))[0]


def test_a_clone_is_the_commands(tmp_path, command, pipeline):
    command(
        "clone",
        "--engine",
        "preview",
        "--ref",
        NOISY,
        "--text",
        "Good morning, all of you.",
        "--seed",
        3,
        "--encoding",
        "float",
        "-o",
        tmp_path / "command.wav",
    )
    expected, rate = timbre.read(tmp_path / "command.wav")
    for reference in (NOISY, str(NOISY), NOISY.read_bytes(), timbre.read(NOISY)):
        speech = pipeline.clone("Good morning, all of you.", ref_audio=reference, seed=3)
        assert (speech.rate, speech.engine, speech.is_clone, speech.seed) == (rate, "preview", False, 3)
        assert numpy.array_equal(speech.samples, expected)
    assert speech.duration == pytest.approx(len(expected) / rate) and speech.finish_reason == "stop"
    assert speech.reference["verdict"] == "good" and speech.warnings == []
    assert speech.timings["total"] >= speech.timings["first_audio"] > 0 and "speech" in speech.timings
    assert speech.save(tmp_path / "python.wav", encoding="float") == 0
    assert (tmp_path / "python.wav").read_bytes() == (tmp_path / "command.wav").read_bytes()
    assert speech.to_bytes("wav", encoding="float") == (tmp_path / "command.wav").read_bytes()


def test_a_clone_by_a_model_is_the_commands(tmp_path, command, qwen):
    common = [
        "--model",
        QWEN / "sample-c" / "model",
        "--precision",
        "f32",
        "--threads",
        1,
        "--ref",
        REFERENCE,
        "--text",
        "One two.",
        "--language",
        "english",
        "--seed",
        11,
        "--max-frames",
        20,
        "--encoding",
        "float",
    ]
    for arguments, options in (
        ([], {}),
        (["--no-post", "--no-pre"], {"run_post_processing": False, "run_pre_processing": False}),
        (["--ref-text", "Hello there."], {"ref_text": "Hello there."}),
    ):
        command("clone", *common, *arguments, "-o", tmp_path / "command.wav")
        expected, rate = timbre.read(tmp_path / "command.wav")
        speech = qwen.clone("One two.", ref_audio=REFERENCE, language="english", seed=11, max_frames=20, **options)
        assert numpy.array_equal(speech.samples, expected) and speech.rate == rate and speech.is_clone


def test_two_channels_as_samples_are_the_files(tmp_path, recording, pipeline):
    samples, rate = recording
    both = numpy.stack([samples, samples * 0.5], axis=1)
    timbre.write(tmp_path / "both.wav", both, rate, encoding="float")
    one = pipeline.clone("Hello.", ref_audio=(both, rate))
    other = pipeline.clone("Hello.", ref_audio=tmp_path / "both.wav")
    assert one.reference == other.reference


@pytest.mark.parametrize(
    "reference", [b"", bytearray(), "", (numpy.zeros(0, "f4"), 48000), (numpy.zeros((0, 2)), 48000)], ids=repr
)
def test_a_reference_without_a_sample_is_called_so(pipeline, reference):
    """It was given: that there is none would send its caller looking elsewhere."""
    with pytest.raises(ValueError, match="^ref_audio (is empty|has no samples)$"):
        pipeline.clone("Hello.", ref_audio=reference)


def test_a_batch_comes_as_it_ends(qwen):
    items = [
        {
            "text": "One.",
            "ref_audio": REFERENCE,
            "custom_id": f"item {i}",
            "max_frames": 40 if i == 0 else 4,
            "seed": i,
            "repetition_penalty": 1.05,
        }
        for i in range(12)
    ]
    order = []
    stages = []
    for speech in qwen.clone_batch(iter(items), progress=lambda index, stage, fraction: stages.append((index, stage))):
        assert speech.custom_id == f"item {speech.index}"
        order.append(speech.index)
    assert sorted(order) == list(range(12)) and {index for index, _ in stages} == set(range(12))
    assert "done" in {stage for _, stage in stages}
    alone = qwen.clone(**items[5])
    again = {speech.index: speech for speech in qwen.clone_batch(items[4:7])}
    assert numpy.array_equal(again[1].samples, alone.samples)


def test_items_fail_alone(pipeline):
    items = [
        {"text": "Hello.", "ref_audio": "/absent.wav", "custom_id": "a"},
        {"text": "Hello.", "ref_audio": NOISY},
        {"text": 3, "ref_audio": NOISY},
        {"text": "Hello.", "ref_audio": NOISY, "colour": "red"},
        {"text": "Hello."},
        {"text": "Hello.", "ref_audio": NOISY, "temperature": 99.0},
    ]
    good = []
    with pytest.raises(timbre.BatchError, match="and 4 more") as caught:
        for speech in pipeline.clone_batch(items):
            good.append(speech.index)
    assert good == [1]
    errors = {error.index: error for error in caught.value.errors}
    assert sorted(errors) == [0, 2, 3, 4, 5]
    assert isinstance(errors[0], FileNotFoundError) and errors[0].custom_id == "a"
    assert errors[5].field == "temperature" and errors[5].status == "argument"
    both = list(pipeline.clone_batch(items, return_exceptions=True))
    assert sum(isinstance(one, timbre.Error) for one in both) == 5 and len(both) == 6
    for again in (pickle.loads(pickle.dumps(errors[0])), pickle.loads(pickle.dumps(caught.value)).errors[0]):
        assert again.status == errors[again.index].status and again.field == errors[again.index].field
    assert list(pipeline.clone_batch([])) == []
    with pytest.raises(TypeError, match="mapping"):
        list(pipeline.clone_batch(["Hello."]))


def test_more_items_than_the_queue_holds():
    with timbre.Pipeline(engine="preview", max_queued=2) as pipeline:
        taken = []

        def items():
            for i in range(7):
                taken.append(i)
                yield {"text": "Hi.", "ref_audio": NOISY}

        indices = [speech.index for speech in pipeline.clone_batch(items())]
        assert sorted(indices) == list(range(7)) == taken


def test_a_batch_that_is_left_is_cancelled(qwen):
    batch = qwen.clone_batch(
        {"text": "One.", "ref_audio": REFERENCE, "max_frames": 4 + 400 * (i > 0)} for i in range(6)
    )
    next(batch)
    before = qwen.statistics()["cancelled_items"]
    batch.close()
    qwen.wait()
    assert qwen.statistics()["cancelled_items"] > before


def test_a_stream(qwen):
    whole = qwen.clone("One two.", ref_audio=REFERENCE, seed=5, max_frames=30)
    with qwen.stream("One two.", ref_audio=REFERENCE, seed=5, max_frames=30) as stream:
        pieces = [piece for piece in stream]
        assert stream.rate == 48000
    assert len(pieces) > 1 and numpy.array_equal(numpy.concatenate(pieces), whole.samples)
    assert stream.info.duration == whole.duration and stream.info.seed == 5
    with pytest.raises(StopIteration):
        next(stream)
    stream = qwen.stream("One two.", ref_audio=REFERENCE, seed=5, max_frames=3000)
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
    qwen.wait()


def test_streams_that_fail(pipeline):
    with pytest.raises(FileNotFoundError):
        list(pipeline.stream("Hello.", ref_audio="/absent.wav"))
    with pytest.raises(timbre.ArgumentError):
        pipeline.stream("Hello.", ref_audio=NOISY, top_k=-4)


def test_what_a_callback_raises_cancels(pipeline):
    def progress(stage, fraction):
        raise KeyError(stage)

    with pytest.raises(KeyError):
        pipeline.clone("Hello.", ref_audio=NOISY, progress=progress)
    pipeline.wait()


@pytest.mark.parametrize(
    "options, error, word",
    [
        ({"temperature": "hot"}, TypeError, "temperature"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1 << 64}, ValueError, "seed"),
        ({"greedy": 1}, TypeError, "greedy"),
        ({"top_k": True}, TypeError, "top_k"),
        ({"text": "a\0b"}, ValueError, "null"),
        ({"text": 5}, TypeError, "text"),
        ({"colour": 1}, TypeError, "colour"),
        ({"language": "klingon"}, ValueError, "language"),
        ({"ref_audio": 5}, TypeError, "ref_audio"),
        ({"ref_audio": (1, 2, 3)}, TypeError, "pair"),
        ({"ref_audio": (numpy.zeros(10), 48000)}, ValueError, "speech"),
        ({"ref_audio": (numpy.zeros(10), 1)}, ValueError, "rate"),
        ({"pre": 5}, TypeError, "cleaning"),
        ({"ref_audio": b"RIFF"}, ValueError, "audio"),
        ({"post": {"attenuation_limit_db": 1000}}, ValueError, "attenuation"),
        ({"post": {"x": 1}}, TypeError, "x"),
    ],
)
def test_arguments_that_are_wrong(pipeline, options, error, word):
    with pytest.raises(error, match=word):
        pipeline.clone(**{"text": "Hello.", "ref_audio": NOISY, **options})


def test_none_means_left_out(pipeline):
    assert (
        pipeline.clone(
            "Hello.", ref_audio=NOISY, temperature=None, seed=None, ref_text=None, language=None, pre=None
        ).duration
        > 0
    )


def test_aliases_of_the_official_package(qwen):
    one = qwen.clone("One.", ref_audio=REFERENCE, seed=1, max_frames=8, x_vector_only=True)
    other = qwen.clone("One.", ref_audio=REFERENCE, seed=1, max_new_tokens=8, x_vector_only_mode=True)
    assert numpy.array_equal(one.samples, other.samples)


def test_voices(tmp_path, command, qwen, pipeline):
    voice = timbre.Voice.create(qwen, REFERENCE, "Hello there.")
    assert voice.transcript == "Hello there." and voice.in_context and voice.seconds > 0 and voice.reference["verdict"]
    voice.save(tmp_path / "voice")
    loaded = timbre.Voice.load(tmp_path / "voice")
    assert (loaded.model, loaded.transcript, loaded.seconds) == (voice.model, voice.transcript, voice.seconds)
    expected = qwen.clone("One.", ref_audio=REFERENCE, ref_text="Hello there.", seed=2, max_frames=10).samples
    for options in (
        {"ref_audio": voice},
        {"voice": loaded},
        {"voice": tmp_path / "voice"},
        {"voice": str(tmp_path / "voice")},
    ):
        assert numpy.array_equal(qwen.clone("One.", seed=2, max_frames=10, **options).samples, expected)
    command(
        "clone",
        "--model",
        QWEN / "sample-c" / "model",
        "--precision",
        "f32",
        "--threads",
        1,
        "--voice",
        tmp_path / "voice",
        "--text",
        "One.",
        "--seed",
        2,
        "--max-frames",
        10,
        "--encoding",
        "float",
        "-o",
        tmp_path / "command.wav",
    )
    assert numpy.array_equal(timbre.read(tmp_path / "command.wav")[0], expected)
    path = voice.path
    del voice, options
    assert not os.path.exists(path)
    (tmp_path / "bad").write_bytes(b"no voice")
    with pytest.raises(timbre.FormatError, match="bad"):
        timbre.Voice.load(tmp_path / "bad")
    with pytest.raises(timbre.UnsupportedError, match="qwen3"):
        timbre.Voice.create(pipeline, NOISY)


DESIGNED = {"models": {"designs": QWEN / "sample-i" / "model", "clones": QWEN / "sample-c" / "model"}}
SAID = "What the designed voice says at first."


def test_a_voice_is_designed(tmp_path, command, monkeypatch):
    """What random weights say is never taken for speech: the refusal is that of the steps by hand, of the same clip."""
    with timbre.Pipeline(**DESIGNED, threads=1) as pipeline:
        with pytest.raises(timbre.FormatError) as refused:
            timbre.Voice.design(pipeline, "A calm voice.", SAID, seed=5, max_frames=40)
        clip = pipeline.speak(SAID, instruct="A calm voice.", seed=5, max_frames=40)
        assert clip.model == "designs"
        clip.save(tmp_path / "clip.wav", encoding="s16")
        with pytest.raises(timbre.FormatError) as by_hand:
            timbre.Voice.create(pipeline, tmp_path / "clip.wav", SAID)
        assert str(refused.value).split(": ", 1)[1] == str(by_hand.value).split(": ", 1)[1]
        # The command's clip is the same.
        models = [word for folder in DESIGNED["models"].values() for word in ("--model", folder)]
        spoken = tmp_path / "spoken.wav"
        command("speak", *models, "--threads", 1, "--instruct", "A calm voice.", "--text", SAID, "--seed", 5,
                "--max-frames", 40, "-o", spoken)  # fmt: skip
        assert spoken.read_bytes() == (tmp_path / "clip.wav").read_bytes()
        # A clip that is speech becomes a voice that is cloned.
        spoken = pipeline.clone("One.", ref_audio=REFERENCE, seed=1, max_frames=2)
        spoken.samples, spoken.rate = timbre.read(REFERENCE)
        monkeypatch.setattr(pipeline, "speak", lambda *arguments, **fields: spoken)
        voice = timbre.Voice.design(pipeline, "A calm voice.", SAID)
        assert voice.clip is spoken and voice.transcript == SAID and voice.reference["verdict"]
        spoken.save(tmp_path / "said.wav")
        created = timbre.Voice.create(pipeline, tmp_path / "said.wav", SAID)
        fields = {"model": "clones", "seed": 2, "max_frames": 8}
        one, other = (pipeline.clone("Two.", voice=each, **fields).samples for each in (voice, created))
        assert numpy.array_equal(one, other)
        for instruct in ("", None):
            with pytest.raises(timbre.ArgumentError, match="instruct"):
                timbre.Voice.design(pipeline, instruct, SAID)
    for missing in ("designs", "clones"):
        folders = {name: folder for name, folder in DESIGNED["models"].items() if name != missing}
        with timbre.Pipeline(models=folders, threads=1) as pipeline, pytest.raises(timbre.Error):
            timbre.Voice.design(pipeline, "A calm voice.", SAID, seed=5, max_frames=40)


def test_a_damaged_voice_gives_way_to_its_recording(tmp_path, qwen):
    (tmp_path / "bad").write_bytes(b"no voice")
    speech = qwen.clone("One.", ref_audio=REFERENCE, voice=tmp_path / "bad", max_frames=6)
    assert any("recording was used" in line for line in speech.warnings)


def test_the_models_own_voices():
    custom = next(
        path.parent for path in sorted(QWEN.glob("*/model/config.json")) if "custom_voice" in path.read_text()
    )
    with timbre.Pipeline(custom, precision="f32", threads=1) as pipeline:
        (model,) = pipeline.models()
        assert model["kind"] == "custom_voice" and model["speakers"]
        speech = pipeline.speak("One.", speaker=model["speakers"][0], seed=4, max_frames=8)
        assert speech.duration > 0 and not speech.is_clone
        assert numpy.array_equal(
            pipeline.clone("One.", speaker=model["speakers"][0], seed=4, max_frames=8).samples, speech.samples
        )
        with pytest.raises(timbre.ArgumentError, match="speaker"):
            pipeline.speak("One.", speaker="Nobody of that name")


def test_several_models(recording):
    folders = {"small": QWEN / "sample-c" / "model", "other": QWEN / "sample-d" / "model"}
    with timbre.Pipeline(models=folders, precision="f32", threads=1, memory="4G") as pipeline:
        assert [model["name"] for model in pipeline.models()] == ["small", "other"]
        speech = pipeline.clone("One.", ref_audio=REFERENCE, model="other", max_frames=6)
        assert speech.model == "other"
        assert pipeline.statistics()["memory_budget"] == 4 << 30


@pytest.mark.parametrize(
    "options, error",
    [
        ({"engine": "festival"}, timbre.ArgumentError),
        ({"precision": "f64"}, timbre.ArgumentError),
        ({"memory": "lots"}, ValueError),
        ({"memory": -1}, ValueError),
        ({"memory": 1.5}, TypeError),
        ({"threads": "many"}, TypeError),
        ({"model": "a", "models": []}, TypeError),
    ],
)
def test_options_that_are_wrong(options, error):
    with pytest.raises(error):
        timbre.Pipeline(**options)


@pytest.mark.parametrize(
    "size, expected", [(5, 5), ("8G", 8 << 30), ("512 MiB", 512 << 20), ("1.5k", 1536), ("100", 100), ("2gb", 2 << 30)]
)
def test_sizes(size, expected):
    from timbre._pipeline import bytes_of

    assert bytes_of(size) == expected


def test_a_model_that_is_missing(tmp_path):
    with timbre.Pipeline(tmp_path / "nothing") as pipeline, pytest.raises(timbre.ModelError) as caught:
        pipeline.clone("Hello.", ref_audio=NOISY)
    assert caught.value.status == "model"
    with timbre.Pipeline(preview=False) as pipeline, pytest.raises(timbre.ModelError, match="timbre pull"):
        pipeline.engine


def test_speech_servers_that_are_away():
    servers = ["http://127.0.0.1:9", "http://127.0.0.1:10"]
    with timbre.Pipeline(engine="remote", remote_url=servers, remote_hedge=1.5) as pipeline:
        with pytest.raises(timbre.Error) as caught:
            pipeline.clone("Hello.", ref_audio=NOISY)
        assert "127.0.0.1" in str(caught.value)
    with pytest.raises(timbre.ArgumentError):
        timbre.Pipeline(engine="preview", overflow=True)


def test_measure(pipeline):
    assert pipeline.measure(NOISY)["verdict"] == "good" and pipeline.engine == "preview"


def test_a_closed_pipeline():
    pipeline = timbre.Pipeline(engine="preview")
    stream = pipeline.stream("Hello.", ref_audio=NOISY)
    pipeline.close()
    pipeline.close()
    with pytest.raises(ValueError, match="closed"):
        pipeline.clone("Hello.", ref_audio=NOISY)
    with pytest.raises(timbre.CancelledError):
        list(stream)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(pipeline)


def test_many_threads_share_a_pipeline(qwen):
    expected = [qwen.clone("One.", ref_audio=REFERENCE, seed=i, max_frames=6).samples for i in range(4)]
    wrong = []

    def work(i):
        speech = qwen.clone("One.", ref_audio=REFERENCE, seed=i % 4, max_frames=6)
        if not numpy.array_equal(speech.samples, expected[i % 4]):
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_while_others_clone():
    pipeline = timbre.Pipeline(engine="preview")
    came = []

    def work():
        try:
            came.append(pipeline.clone("Hello, this is a longer text.", ref_audio=NOISY))
        except (timbre.CancelledError, ValueError) as error:
            came.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    pipeline.close()
    for thread in threads:
        thread.join()
    assert len(came) == 4


def test_the_fields_are_the_librarys():
    """Every field of the one table is typed here."""
    from timbre import _core

    source = (pathlib.Path(timbre.__file__).parent / "_request.py").read_text()
    typed = source[source.index("class CloneOptions") : source.index("class SpeakOptions")]
    for name, aliases, *_ in _core.fields():
        for word in (name, *filter(None, aliases)):
            if word not in ("text", "response_format", "stream", "want_codes", "want_samples"):
                assert f"        {word}:" in typed, word


def test_the_device_is_the_librarys():
    with pytest.raises(timbre.ArgumentError, match="abacus"):
        timbre.Pipeline(QWEN / "sample-c" / "model", device="abacus")
    with timbre.Pipeline(QWEN / "sample-c" / "model", device="cpu", gpu_memory="1G") as pipeline:
        assert pipeline.clone("Hi.", ref_audio=REFERENCE, max_frames=6).samples.size > 0
