"""The page with voices of the models: a fine-tuned one, speakers that follow a style, and a voice that is described."""

import pathlib

import pytest
from test_page import browser, give_file, page, speak, until  # noqa: F401  fixtures
from test_page import sys  # noqa: F401  with the path to the server's helpers

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import family_calls  # noqa: E402
from support import Server  # noqa: E402

NAME = "Änne Weiß II 安妮"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    def rename(config):
        talker = config["talker_config"]
        talker["spk_id"] = {NAME: talker["spk_id"]["speaker_test"]}
        talker["spk_is_dialect"] = {NAME: False}

    tuned = family_calls.copy_model("sample-h", tmp_path_factory.mktemp("models") / "Meine Stimme – Ü", rename)
    models = [
        f"speakers={family_calls.GOLDEN / 'sample-g/model'}",
        tuned,
        f"base={family_calls.GOLDEN / 'sample-c/model'}",
        f"design={family_calls.GOLDEN / 'sample-i/model'}",
    ]
    options = [option for model in models for option in ("--model", model)]
    with Server(*options, "--max-speech-seconds", "1", engine="qwen3") as running:
        yield running


def asked(page, route):
    return [url for url in page.asked if url.endswith(route)]


def test_speakers(page):
    # The server's answer fills the page.
    page.wait_for_selector("#speaker option:nth-child(6)", state="attached")
    labels = page.eval_on_selector_all("#speaker option", "all => all.map(one => one.textContent)")
    assert labels == [
        "none",
        "mira (speakers)",
        "old_tom (speakers)",
        "lin_bei (speakers)",
        f"{NAME} (Meine Stimme – Ü)",
        "one that I describe",
    ]
    page.select_option("#speaker", label="mira (speakers)")
    assert page.is_visible("#instruct") and "How to speak" in page.inner_text("#instruct-label")
    page.fill("#instruct", "Very happy.")
    speak(page)
    assert len(asked(page, "/custom-voice")) == 1
    assert "preview" not in page.inner_text("#result-facts")
    # The fine-tuned voice, under its own name; its size follows no style, so none is asked for.
    page.select_option("#speaker", label=f"{NAME} (Meine Stimme – Ü)")
    assert not page.is_visible("#instruct")
    speak(page)
    assert len(asked(page, "/custom-voice")) == 2
    assert page.problems == []


def test_a_described_voice(page):
    page.select_option("#speaker", label="one that I describe")
    page.fill("#text", "Hello.")
    page.click("#go")
    page.wait_for_selector("#voice-error:not([hidden])")
    assert "not described" in page.inner_text("#voice-error")
    page.fill("#instruct", "A calm voice.")
    speak(page)
    assert len(asked(page, "/voice-design")) == 1 and page.problems == []


def test_one_voice_at_a_time(page):
    page.select_option("#speaker", label="mira (speakers)")
    give_file(page)
    assert page.input_value("#speaker") == ""
    page.select_option("#speaker", label="mira (speakers)")
    assert page.is_hidden("#reference-player")
    page.fill("#text", "In the queue.")
    page.click("#enqueue")
    page.wait_for_selector("#queue tbody tr:has-text('finished')")
    page.click("#copy")
    until(page, "document.getElementById('copy').textContent === 'Copied'")
    assert "/api/v1/custom-voice" in page.evaluate("navigator.clipboard.readText()")
