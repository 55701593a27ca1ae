"""The calls of tests/golden/qwen/family_errors.json, at the edge of what the family of models does, as items for the
command and the server: what the official package says to each is in that file, what timbre says is here.

Where both differ timbre does more: codes of languages ("en") are understood, names of speakers are compared without
case on both sides, one text with two speakers is two items, and a speaker of several must be named. An empty text is
refused.
"""

import json
import pathlib
import shutil

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden/qwen"
REFERENCE = GOLDEN / "references/ref_en_short.wav"


def edit_capitals(config):
    talker = config["talker_config"]
    talker["spk_id"] = {"Test_Man": talker["spk_id"]["mira"]}
    talker["spk_is_dialect"] = {"Test_Man": False}


def edit_missing(config):
    del config["talker_config"]["spk_is_dialect"]["mira"]


def edit_unknown(config):
    del config["talker_config"]["codec_language_id"]["harbour_dialect"]


def edit_true(config):
    config["talker_config"]["spk_is_dialect"]["mira"] = True


def edit_null(config):
    config["talker_config"]["spk_is_dialect"]["mira"] = None


def edit_one(config):
    config["talker_config"]["spk_id"]["mira"] = [config["talker_config"]["spk_id"]["mira"]]


def edit_two(config):
    config["talker_config"]["spk_id"]["mira"] = [config["talker_config"]["spk_id"]["mira"]] * 2


def edit_beyond(config):
    config["talker_config"]["spk_id"]["mira"] = config["talker_config"]["vocab_size"]


SAMPLES = {"base": "sample-c", "speakers": "sample-g", "fine": "sample-h", "design": "sample-i"}
EDITS = {
    "capitals": edit_capitals,
    "missing": edit_missing,
    "unknown": edit_unknown,
    "true": edit_true,
    "null": edit_null,
    "one": edit_one,
}
BROKEN = {"two": edit_two, "beyond": edit_beyond}  # they cannot be loaded at all


def copy_model(sample, folder, edit=None):
    """A copy whose weights are links, with a configuration that was changed."""
    source = GOLDEN / sample / "model"
    shutil.copytree(source, folder, copy_function=lambda a, b: pathlib.Path(b).symlink_to(a))
    if edit is not None:
        config = json.loads((source / "config.json").read_text())
        edit(config)
        (folder / "config.json").unlink()
        (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False))
    return folder


def make_models(folder):
    """{name: folder} of everything that the calls speak with."""
    models = {name: GOLDEN / sample / "model" for name, sample in SAMPLES.items()}
    for name, edit in {**EDITS, **BROKEN}.items():
        models[name] = copy_model("sample-g", folder / name, edit)
    return models


class Call:
    def __init__(self, what, model, fields, refusal=None, kind=None):
        self.what, self.model, self.refusal = what, model, refusal
        self.fields = {"text": "Hi.", **fields}
        self.kind = kind or (
            "voice-clone" if "ref_audio" in fields else "voice-design" if model == "design" else "custom-voice"
        )


MIRA = {"speaker": "mira"}
CLONE = {"ref_audio": str(REFERENCE)}
CALLS = [
    Call("custom_voice model: generate_voice_clone", "speakers", CLONE, "CustomVoice model.*cannot clone"),
    Call(
        "custom_voice model: create_voice_clone_prompt",
        "speakers",
        {**CLONE, "x_vector_only": True},
        "CustomVoice model.*cannot clone",
    ),
    Call(
        "custom_voice model: generate_voice_design",
        "speakers",
        {"instruct": "A calm voice."},
        "name a speaker.*mira, old_tom, lin_bei.*VoiceDesign",
        "voice-design",
    ),
    Call(
        "voice_design model: generate_custom_voice",
        "design",
        MIRA,
        'VoiceDesign model.*no speaker "mira"',
        "custom-voice",
    ),
    Call("base model: generate_custom_voice", "base", MIRA, 'Base model.*no built-in speaker "mira"'),
    Call(
        "base model: generate_voice_design",
        "base",
        {"instruct": "A calm voice."},
        "Base model.*instruct",
        "voice-design",
    ),
    Call("speaker unknown", "speakers", {"speaker": "nobody"}, 'no speaker "nobody"; it has mira, old_tom, lin_bei'),
    Call("speaker unknown in a batch: none is spoken", "speakers", {"speaker": "nobody"}, 'no speaker "nobody"'),
    Call("speaker with spaces around", "speakers", {"speaker": " mira"}, 'no speaker " mira"'),
    Call("speaker None", "speakers", {}, "name a speaker, the model has mira, old_tom, lin_bei"),
    Call("speaker ''", "speakers", {"speaker": ""}),
    Call("speaker in other letters", "speakers", {"speaker": "MIRA"}),
    Call("language unknown", "speakers", {**MIRA, "language": "klingon"}, "klingon.*(chinese|zh)"),
    Call("language by code", "speakers", {**MIRA, "language": "en"}),
    Call("language is a dialect's name", "speakers", {**MIRA, "language": "harbour_dialect"}, "harbour_dialect"),
    Call("language None", "speakers", {**MIRA, "language": None}),
    Call("language [None]", "speakers", {**MIRA, "language": None}),
    Call("instruct [None, '']", "speakers", {**MIRA, "instruct": ""}),
    Call("instruct ' ' (not empty: it gets its rows)", "speakers", {**MIRA, "instruct": " "}),
    Call("max_new_tokens 1", "speakers", {**MIRA, "max_new_tokens": 1}, "max_new_tokens|max_frames|frame"),
    Call("empty text", "speakers", {**MIRA, "text": ""}, "text"),
    Call("empty text, streaming", "speakers", {**MIRA, "text": "", "streaming_text": True}, "text"),
    Call("voice_design without an instruction: ''", "design", {"instruct": ""}),
    Call("voice_design without an instruction: None", "design", {}),
    Call("0b6: an instruction is dropped without a word", "fine", {"speaker": "speaker_test", "instruct": "Whisper."}),
    Call("0b6: instructions of a wrong count too", "fine", {"speaker": "speaker_test", "instruct": "Whisper."}),
    Call("config names a speaker with capitals, asked for as written", "capitals", {"speaker": "Test_Man"}),
    Call("… asked for in small letters", "capitals", {"speaker": "test_man"}),
    Call("speaker missing in spk_is_dialect, language auto", "missing", MIRA, 'spk_is_dialect of "mira"'),
    Call("speaker missing in spk_is_dialect, language English", "missing", {**MIRA, "language": "English"}),
    Call("the dialect is not in codec_language_id", "unknown", {"speaker": "lin_bei"}, 'spk_is_dialect of "lin_bei"'),
    Call("spk_is_dialect true instead of a name", "true", MIRA, 'spk_is_dialect of "mira"'),
    Call("spk_is_dialect null", "null", MIRA, 'spk_is_dialect of "mira"'),
    Call("spk_id is a list of one", "one", MIRA),
    Call("spk_id is a list of two", "two", MIRA, "spk_id"),
    Call("spk_id beyond the vocabulary", "beyond", MIRA, "spk_id|vocab"),
]
# Lists whose lengths disagree are a matter of HTTP alone: (what, fields, the field to blame or the number of items).
COUNTS = [
    (
        "instruct of a wrong count",
        {"text": ["One.", "Two.", "Three."], "speaker": "mira", "instruct": ["A.", "B."]},
        "instruct",
    ),
    ("speakers of a wrong count", {"text": ["One.", "Two.", "Three."], "speaker": ["mira", "old_tom"]}, "speaker"),
    ("one text, two speakers", {"text": "One.", "speaker": ["mira", "old_tom"]}, 2),
]


def check_complete():
    known = {entry["what"] for entry in json.loads((GOLDEN / "family_errors.json").read_text())}
    here = {call.what for call in CALLS} | {what for what, _, _ in COUNTS}
    assert known == here, known ^ here
    assert len(CALLS) + len(COUNTS) == 39
