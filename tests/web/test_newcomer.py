"""Somebody who opens the page for the first time and does everything wrong once: each message is in view, and no voice
but the one that was given last ever speaks. Then the words that the server hears, and what was spoken in this
visit."""

import json

import pytest
from page_support import chromium, give_file, has_voice, in_view, opened, speak, until
from support import REFERENCE, Server, Transcriber, says, wait_for, wav

KEY = "0123456789abcdef"
SAID = "What I say in it."
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 700}}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(KEY + "\n")
    return path


@pytest.fixture(scope="module")
def service():
    with Transcriber() as running:
        running.answers(says(SAID))
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def server(keys):
    with Server("--keys-file", keys) as running:
        yield running


@pytest.fixture(scope="module")
def hearing(service):
    with Server("--transcribe-url", service.url) as running:
        yield running


def enter_key(page, key):
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", key)
    page.click("#key-dialog button[value=ok]")


def sent(page):
    """The bodies of requests to speak."""
    return [json.loads(asked.post_data) for asked in page.asked if asked.url.endswith("/voice-clone-enhanced")]


@pytest.mark.parametrize("size", SIZES)
def test_everything_goes_wrong_once(browser, server, size):
    with opened(browser, server.url, viewport=SIZES[size]) as page:
        # A key that is none: said in the dialog, which stays.
        enter_key(page, "no such key")
        page.wait_for_selector("#key-error:not([hidden])")
        assert "not accepted" in page.inner_text("#key-error") and in_view(page, "#key-error")
        assert page.evaluate("document.getElementById('key-dialog').open")
        enter_key(page, KEY)
        page.wait_for_selector("#queue-empty:not([hidden])")
        # Nothing to say, then nobody to say it.
        page.click("#go")
        assert "no text" in page.inner_text("#error") and in_view(page, "#error")
        page.fill("#text", "Hello there.")
        page.click("#go")
        assert "no voice" in page.inner_text("#voice-error") and in_view(page, "#voice-error")
        assert page.is_hidden("#error")
        # The microphone is denied.
        page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
            () => Promise.reject(new DOMException('', 'NotAllowedError')); }"""
        )
        page.click("#record")
        until(page, "document.getElementById('voice-error').textContent.includes('not allowed')")
        assert in_view(page, "#voice-error")
        # A good file, then a wrong one: from then on there is no voice.
        has_voice(page)
        first = page.evaluate("state.file.id")
        assert page.is_hidden("#voice-error")
        give_file(page, b"# not a sound\n" * 20, "README.md", "text/markdown")
        page.wait_for_selector("#voice-error:not([hidden])")
        assert in_view(page, "#voice-error") and page.evaluate("state.file") is None
        page.click("#go")
        assert "no voice" in page.inner_text("#voice-error") and sent(page) == []
        # Two uploads that are slow: nothing is spoken meanwhile, and the second file counts, whichever comes last.
        held = []
        page.route("**/files/upload", lambda route: held.append(route))
        give_file(page, wav(2.5), "slow.wav")
        wait_for(lambda: page.evaluate("1") and len(held) == 1, 60)
        give_file(page, wav(2.0, seed=2), "slower.wav")
        wait_for(lambda: page.evaluate("1") and len(held) == 2, 60)
        assert page.is_disabled("#go") and page.is_disabled("#enqueue") and page.evaluate("state.file") is None
        held[1].continue_()
        until(page, "state.file !== null")
        second = page.evaluate("state.file.id")
        assert second != first and page.evaluate("state.file.duration") == 2
        held[0].continue_()
        page.wait_for_selector("#go:not([disabled])")
        page.unroute("**/files/upload")
        assert page.evaluate("state.file.id") == second and "slower.wav" in page.inner_text("#reference-status")
        # At last.
        page.click("#go")
        page.wait_for_selector("#result-actions:not([hidden])")
        assert in_view(page, "#download") and page.is_hidden("#error") and page.is_hidden("#voice-error")
        assert [body["ref_audio"] for body in sent(page)] == [second]
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]


def press_to(page, wanted, most=60):
    """Tab until the element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == wanted:
            return
    raise AssertionError(f"{wanted} cannot be reached")


def test_with_the_keyboard_alone(browser, server):
    with opened(browser, server.url, viewport=SIZES["desktop"]) as page:
        page.wait_for_selector("#key-dialog[open]")
        press_to(page, "key")
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-dialog", state="hidden")
        # The listener comes before anything else is asked of the page: choosers are intercepted from the answer on.
        choosers = []
        page.on("filechooser", lambda chooser: choosers.append(chooser))
        press_to(page, "file")
        page.keyboard.press("Enter")
        wait_for(lambda: page.evaluate("1") and choosers, 60)
        choosers[0].set_files({"name": "me.wav", "mimeType": "audio/wav", "buffer": REFERENCE})
        page.wait_for_selector("#reference-player [data-side=after]")
        press_to(page, "text")
        page.keyboard.type("Hello there.")
        press_to(page, "go")
        page.keyboard.press("Space")
        page.wait_for_selector("#result-actions:not([hidden])")
        press_to(page, "download")
        assert in_view(page, "#download")


def test_words_are_heard_shown_and_corrected(browser, hearing, service):
    service.answers(says(SAID))
    with opened(browser, hearing.url) as page:
        until(page, "state.transcribes")
        has_voice(page)
        until(page, f"document.getElementById('ref-text').value === {json.dumps(SAID)}")
        assert "correct" in page.inner_text("#ref-text-note")
        speak(page)
        page.fill("#ref-text", "What I really say.")
        speak(page)
        assert [body["ref_text"] for body in sent(page)] == [SAID, "What I really say."]
        # The words of one recording are not those of the next.
        service.answers((500, b""))
        has_voice(page, wav(2.2))
        until(page, "document.getElementById('ref-text-note').textContent.includes('could not be written down')")
        assert page.input_value("#ref-text") == "" and page.is_hidden("#voice-error")
        speak(page)
        assert sent(page)[-1]["ref_text"] is None
        # What was typed is better than what is heard.
        service.answers(says(SAID))
        page.fill("#ref-text", "My own words.")
        # A kept voice shows what was kept with it.
        page.fill("#voice-name", "anna")
        page.click("#voice-store")
        until(page, "document.getElementById('voice').value === 'anna'")
        assert (
            page.input_value("#ref-text") == "My own words." and page.get_attribute("#ref-text", "readonly") is not None
        )
        page.select_option("#voice", "")
        assert page.input_value("#ref-text") == "" and page.get_attribute("#ref-text", "readonly") is None
        page.select_option("#voice", "anna")
        until(page, "document.getElementById('ref-text').value === 'My own words.'")


def test_a_server_that_hears_nothing_is_not_asked(browser, server):
    with opened(browser, server.url) as page:
        enter_key(page, KEY)
        page.fill("#ref-text", "Typed before there was a file.")
        has_voice(page)
        assert page.input_value("#ref-text") == "Typed before there was a file."
        assert not [asked for asked in page.asked if asked.url.endswith("/transcribe")]
        has_voice(page, wav(2.1))
        assert page.input_value("#ref-text") == ""


def test_what_was_spoken_in_this_visit(browser, hearing):
    with opened(browser, hearing.url) as page:
        assert page.is_hidden("#visit")
        has_voice(page)
        for text in ("The first text.", "The second text."):
            speak(page, text)
        items = page.locator("#visit-list li")
        assert items.count() == 2 and "The second text." in items.nth(0).inner_text()
        assert "me.wav" in items.nth(1).inner_text()
        with page.expect_download() as download:
            items.nth(1).locator("a").click()
        with open(download.value.path(), "rb") as file:
            assert file.read(4) == b"RIFF"
        page.evaluate("document.querySelector('#visit-list audio').play()")
        until(page, "document.querySelector('#visit-list audio').currentTime > 0.05")
        items.nth(1).locator("button").click()
        assert page.input_value("#text") == "The first text." and page.input_value("#seed") != ""
        speak(page, page.input_value("#text"))
        assert page.evaluate("visit[0].seed === visit[2].seed && visit[0].seconds === visit[2].seconds")
