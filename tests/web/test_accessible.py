"""axe-core over the page in all its states and over /docs, in light and dark, on a desktop and a phone."""
import axe_playwright_python.sync_playwright as axe
import pytest
from page_support import chromium, has_voice, opened, speak
from support import Server, wav

KEY = "0123456789abcdef"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 700}}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with Server("--keys-file", keys) as running:
        yield running


def enter_key(page):
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", KEY)
    page.click("#key-dialog button[value=ok]")


def serious(page):
    """What axe-core says of the page as it is, without what it calls moderate or minor."""
    found = axe.Axe().run(page).response["violations"]
    return [
        (rule["id"], [node["target"] for node in rule["nodes"]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(browser, server, scheme, size):
    with opened(browser, server.url, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce") as page:
        page.wait_for_selector("#key-dialog[open]")
        assert serious(page) == []
        enter_key(page)
        page.wait_for_selector("#queue-empty:not([hidden])")
        page.fill("#text", "Hello there.")
        page.click("#go")
        assert page.is_visible("#voice-error") and serious(page) == []
        has_voice(page, wav(4.0))
        speak(page)
        page.click("#compare")
        page.wait_for_selector("#result-player [data-side=before]")
        page.click("#enqueue")
        page.wait_for_selector("#queue tbody tr:has-text('finished')")
        assert page.is_visible("#visit") and serious(page) == []
        page.goto(server.url + "/docs")
        page.wait_for_selector("text=/voice-clone-enhanced-file")
        assert serious(page) == []
