"""The page in a real browser: a file goes in, audio comes out and plays, errors show."""
import os
import pathlib
import struct
import sys

import playwright.sync_api as sync_api
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "server"))
from support import API, REFERENCE, Server, wait_for, wav  # noqa: E402

RECORDING = (pathlib.Path(__file__).parent.parent.parent / "examples/audio/noisy.flac").read_bytes()

CHROMIUM = os.environ.get("TIMBRE_CHROMIUM", "/usr/bin/chromium")
# Where a screenshot is wanted, for the README.
SCREENSHOTS = os.environ.get("TIMBRE_SCREENSHOTS")


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream"])
        yield running
        running.close()


@pytest.fixture
def page(browser, server, request):
    options = getattr(request, "param", {})
    context = browser.new_context(viewport={"width": 1100, "height": 1250}, accept_downloads=True,
                                  permissions=["microphone", "clipboard-read", "clipboard-write"], **options)
    opened = context.new_page()
    opened.set_default_timeout(60000)
    opened.problems, opened.asked = [], []
    opened.on("console", lambda message: opened.problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("request", lambda asked: opened.asked.append(asked.url))
    opened.goto(server.url)
    until(opened, "document.getElementById('server').textContent !== ''")
    yield opened
    context.close()


def until(page, expression):
    """The page's policy forbids the eval that wait_for_function needs."""
    wait_for(lambda: page.evaluate(expression), 60)


def give_file(page, audio=REFERENCE, name="me.wav"):
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": audio})
    page.wait_for_selector("#reference-player [data-side=after]")


def speak(page, text="Hello there."):
    page.fill("#text", text)
    page.click("#go")
    page.wait_for_selector("#result-actions:not([hidden])")


def test_file_in_audio_out(page, server):
    give_file(page, RECORDING, "noisy.flac")
    speak(page, "Hello there, this is the page speaking.")
    assert "Done in" in page.inner_text("#progress")
    assert "48 kHz" in page.inner_text("#result-facts")
    # It was spoken once; the other side is made when it is asked for, and the A/B switch keeps the position.
    assert len([url for url in page.asked if url.endswith("/voice-clone-enhanced")]) == 1
    page.click("#compare")
    page.wait_for_selector("#result-player [data-side=before]")
    page.evaluate("state.resultPlayer.seek(0.3)")
    page.click("#result-player [data-side=before]")
    assert page.evaluate("state.resultPlayer.position") == pytest.approx(0.3, abs=0.01)
    assert page.get_attribute("#result-player [data-side=before]", "aria-pressed") == "true"
    # It plays: the position moves.
    page.evaluate("state.resultPlayer.seek(0)")
    page.click("#result-player [data-role=play]")
    until(page, "state.resultPlayer.position > 0.1")
    # The spectrogram is not one color.
    colors = page.evaluate(
        """() => { const c = document.querySelector('#result-player canvas');
        return new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size; }"""
    )
    assert colors > 100
    with page.expect_download() as download:
        page.click("#download")
    assert pathlib.Path(download.value.path()).read_bytes()[:4] == b"RIFF"
    assert page.problems == []
    assert all(url.startswith((server.url, "blob:", "data:")) for url in page.asked)
    if SCREENSHOTS:
        page.evaluate("state.resultPlayer.halt()")
        page.click("#result-player [data-side=after]")
        page.evaluate("state.resultPlayer.seek(0)")
        page.screenshot(path=f"{SCREENSHOTS}/page.png", full_page=True)


def test_stages_are_shown(page):
    give_file(page)
    speak(page)
    assert page.eval_on_selector_all("#stages li", "items => items.map(i => i.dataset.state)") == ["done"] * 5
    page.uncheck("#pre")
    page.uncheck("#post")
    speak(page)
    assert page.eval_on_selector_all("#stages li", "items => items.map(i => i.dataset.stage)") == ["speech"]


def test_errors_show(page):
    page.click("#go")
    assert "no text" in page.inner_text("#error")
    page.fill("#text", "Hello.")
    page.click("#go")
    assert "no voice" in page.inner_text("#voice-error") and page.is_hidden("#error")
    page.set_input_files("#file", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"this is no sound at all" * 10})
    until(page, "document.getElementById('voice-error').textContent.includes('Invalid Input: file')")
    assert page.get_attribute("#voice-error", "role") == "alert"


def in_view(page, selector):
    return page.evaluate("""selector => { const box = document.querySelector(selector).getBoundingClientRect();
        return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight; }""", selector)


def test_a_failed_file_leaves_no_voice(page):
    """What was there before must not speak for a file that could not be used."""
    give_file(page)
    page.set_input_files("#file", {"name": "README.md", "mimeType": "text/markdown", "buffer": b"# not a sound\n" * 20})
    page.wait_for_selector("#voice-error:not([hidden])")
    assert page.evaluate("state.file") is None and page.is_hidden("#reference-player") and page.is_hidden("#store-row")
    page.fill("#text", "Hello.")
    page.click("#go")
    assert "no voice" in page.inner_text("#voice-error")
    assert not [url for url in page.asked if "voice-clone" in url]


def test_nothing_is_spoken_while_a_file_is_on_its_way(page):
    give_file(page)
    first = page.evaluate("state.file.id")
    page.fill("#text", "Hello.")
    held = []
    page.route("**/files/upload", lambda route: held.append(route))
    page.set_input_files("#file", {"name": "b.wav", "mimeType": "audio/wav", "buffer": RECORDING})
    wait_for(lambda: page.evaluate("1") and held, 60)  # evaluating lets the browser's events through
    for button in ("#go", "#enqueue", "#copy"):
        assert page.is_disabled(button)
    assert page.evaluate("state.file") is None
    held[0].continue_()
    page.wait_for_selector("#go:not([disabled])")
    assert page.evaluate("state.file.id") != first


def test_errors_are_in_view(page):
    page.set_viewport_size({"width": 390, "height": 700})
    page.evaluate("""() => { navigator.mediaDevices.getUserMedia =
        () => Promise.reject(new DOMException('', 'NotAllowedError')); }""")
    page.click("#record")
    page.wait_for_selector("#voice-error:not([hidden])")
    assert "not allowed" in page.inner_text("#voice-error") and in_view(page, "#voice-error")
    page.fill("#text", "Hello.")
    page.click("#go")
    assert in_view(page, "#voice-error")


def test_a_part_of_a_recording(page):
    give_file(page, wav(6.0))
    page.fill("#cut-from", "1")
    page.fill("#cut-to", "4,5")
    page.click("#cut")
    until(page, "state.file && Math.abs(state.file.duration - 3.5) < 0.02")
    page.fill("#cut-from", "9")
    page.click("#cut")
    assert "begins before it ends" in page.inner_text("#voice-error")


def repeated(audio, times):
    """The same second again and again, which is quicker to make than a long one."""
    samples = audio[44:] * times
    return audio[:4] + struct.pack("<I", 36 + len(samples)) + audio[8:40] + struct.pack("<I", len(samples)) + samples


def test_a_long_recording_is_offered_to_be_cut(page):
    page.set_input_files(
        "#file", {"name": "long.wav", "mimeType": "audio/wav", "buffer": repeated(wav(2.0, rate=8000), 310)}
    )
    page.wait_for_selector("#voice-error:not([hidden])")
    assert "10.3 minutes" in page.inner_text("#voice-error") and page.is_visible("#cut")
    assert not [url for url in page.asked if "upload" in url]
    page.click("#cut")
    until(page, "state.file && state.file.duration === 30")


def test_control_enter_speaks(page):
    give_file(page)
    page.fill("#text", "Hello.")
    page.focus("#text")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result-actions:not([hidden])")
    assert in_view(page, "#download")


def test_other_formats_are_decoded_in_the_page(page, server):
    audio = server.post(
        API + "/enhance?response_format=opus", body=REFERENCE, headers={"Content-Type": "audio/wav"}
    ).body
    give_file(page, audio, "me.opus")
    assert page.evaluate("state.file.content_type") == "audio/wav" and page.evaluate("state.file.sample_rate") == 48000


def test_pictures_have_the_page_s_colours(page):
    """The figures at the axes are dark on light and light on dark, also if that changes while the page is open."""
    give_file(page)
    page.wait_for_selector("#reference-player [data-side=after]")
    ink = """() => { const c = document.querySelector('#reference-player canvas');
        const dots = c.getContext('2d').getImageData(0, c.height - 18, c.width, 18).data;
        const seen = [];
        for (let i = 0; i < dots.length; i += 4) if (dots[i + 3] > 200) seen.push(dots[i + 1]);
        return seen.length > 20 ? seen.reduce((sum, one) => sum + one, 0) / seen.length : -1; }"""
    page.emulate_media(color_scheme="light")
    until(page, f"0 <= ({ink})() && ({ink})() < 90")
    page.emulate_media(color_scheme="dark")
    until(page, f"({ink})() > 180")
    # As many dots as the screen has, so that the figures are sharp and none is stretched.
    page.set_viewport_size({"width": 390, "height": 700})
    until(
        page,
        """[...document.querySelectorAll('#reference-player canvas')].every(
        c => Math.abs(c.width - c.clientWidth * devicePixelRatio) <= 1)""",
    )


def test_one_sound_is_compared_with_nothing(page):
    page.uncheck("#pre")
    page.set_input_files("#file", {"name": "me.wav", "mimeType": "audio/wav", "buffer": wav(2.0)})
    page.wait_for_selector("#reference-player canvas")
    until(page, "document.querySelectorAll('#reference-player .sides button').length === 1")
    assert page.is_hidden("#reference-player .sides button")


def test_a_phone_shows_jobs_as_cards(page):
    page.set_viewport_size({"width": 390, "height": 700})
    give_file(page)
    page.wait_for_selector("#enqueue:not([disabled])")
    page.fill("#text", "Later.")
    page.click("#enqueue")
    page.wait_for_selector("#queue tbody tr")
    style = page.evaluate(
        """() => { const made = getComputedStyle(document.querySelector('#queue tbody tr'));
        return [made.display, made.borderTopWidth, made.paddingTop]; }"""
    )
    assert style[0] == "block" and style[1] == "1px" and style[2] != "0px", style
    page.wait_for_selector("#queue tbody tr:has-text('finished')")
    page.click("#queue tbody button:has-text('Remove')")
    page.wait_for_selector("#queue-empty:not([hidden])")


def test_recording(page):
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    until(page, "document.getElementById('record-hint').textContent.startsWith('1 s')")
    page.click("#record")
    page.wait_for_selector("#reference-player canvas")
    assert page.evaluate("state.file.sample_rate") == 48000 and page.evaluate("state.file.duration") > 0.3


def test_voices(page, server):
    give_file(page)
    page.fill("#voice-name", "gerda")
    page.click("#voice-store")
    page.wait_for_selector("#voice option[value=gerda]", state="attached")
    page.select_option("#voice", "gerda")
    page.wait_for_selector("#reference-player canvas")
    speak(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#voice-delete")
    page.wait_for_selector("#voice option[value=gerda]", state="detached")
    assert server.get(API + "/voices/gerda").status == 404


def test_bad_voice_name_shows(page):
    give_file(page)
    page.fill("#voice-name", "a/b")
    page.click("#voice-store")
    until(page, "document.getElementById('voice-error').textContent.includes('Invalid Input: name')")


def test_queue(page):
    give_file(page)
    page.fill("#text", "A job of the queue.")
    page.click("#enqueue")
    page.wait_for_selector("#queue tbody tr:has-text('finished')")
    with page.expect_download() as download:
        page.click("#queue tbody tr:has-text('A job of the queue.') button:has-text('Download')")
    assert pathlib.Path(download.value.path()).stat().st_size > 1000
    page.click("#queue tbody tr:has-text('A job of the queue.') button:has-text('Remove')")
    page.wait_for_selector("#queue-empty:not([hidden])")


def test_stop(page, server):
    give_file(page)
    page.fill("#text", "This goes on and on for quite some time. " * 80)
    page.click("#go")
    until(page, "document.getElementById('progress').textContent !== 'waiting'")
    page.click("#stop")
    until(page, "document.getElementById('progress').textContent === 'stopped'")
    server.wait_idle()
    assert page.is_hidden("#error")


def test_copy_as_curl(page, server, tmp_path):
    import subprocess
    give_file(page)
    page.fill("#text", "It's \"quoted\".")
    page.click("#copy")
    page.wait_for_selector("#copy:has-text('Copied')")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("curl ")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "speech.wav").read_bytes()[:4] == b"RIFF"


def test_keyboard(page):
    """Everything can be reached with Tab, in the order of the page."""
    give_file(page)
    seen = []
    page.evaluate("document.body.focus()")
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.dataset.role || document.activeElement.tagName"
            )
        )
    order = [
        name
        for name in (
            "file",
            "record",
            "voice",
            "ref-text",
            "voice-name",
            "text",
            "language",
            "pre",
            "post",
            "go",
            "enqueue",
            "copy",
        )
    ]
    positions = [seen.index(name) for name in order]
    assert positions == sorted(positions)
    page.focus("#text")
    page.keyboard.type("Hello.")
    page.focus("#go")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result-actions:not([hidden])")


def test_names_for_screen_readers(page):
    give_file(page)
    speak(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, canvas, meter, a')]
        .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))
        .map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert page.get_attribute("html", "lang") == "en"
    levels = page.eval_on_selector_all("h1, h2, h3", "items => items.map(i => +i.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True)
def test_dark(page):
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in background[4:-1].split(",")) < 150
    if SCREENSHOTS:
        give_file(page)
        page.screenshot(path=f"{SCREENSHOTS}/page-dark.png")


def test_phone_width(page):
    page.set_viewport_size({"width": 360, "height": 740})
    give_file(page)
    speak(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll('button')]
        .filter(b => b.offsetParent && b.getBoundingClientRect().height < 40)
        .map(b => b.textContent)"""
    )
    assert small == []
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/page-phone.png")


def test_docs(page, server):
    page.goto(server.url + "/docs")
    page.wait_for_selector("text=/voice-clone-enhanced-file")
    assert page.locator(".operation").count() >= 25
    assert page.problems == []


def test_key_is_asked_for(browser, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with Server("--keys-file", keys) as guarded:
        opened = browser.new_page()
        opened.goto(guarded.url)
        opened.wait_for_selector("#key-dialog[open]")
        opened.fill("#key", "0123456789abcdef")
        opened.click("#key-dialog button[value=ok]")
        opened.wait_for_selector("#queue-empty:not([hidden])")
        assert opened.is_hidden("#error")
        give_file(opened)
        opened.close()


def test_server_away(browser):
    with Server() as short:
        opened = browser.new_page()
        opened.goto(short.url)
        until(opened, "document.getElementById('server').textContent !== ''")
        give_file(opened)
        opened.fill("#text", "Hello.")
        short.stop()
        opened.click("#go")
        until(opened, "document.getElementById('error').textContent.includes('cannot be reached')")
        short.start()
        opened.close()
