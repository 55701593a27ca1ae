"""The button that downloads a missing model: what it will cost, how far it is, how it ends; against an emulated hub."""

import contextlib
import urllib.request

import axe_playwright_python.sync_playwright as axe
import pytest
from page_support import chromium, has_voice, in_view, opened, speak, until
from support import API, Server, empty_home, hub_of_models

PHONE = {"width": 390, "height": 700}
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def hub():
    with hub_of_models() as url:
        yield url


def server_at(folder, hub, scenario, *options):
    return Server(*options, engine="auto", environment=empty_home(folder, hub, scenario))


def text_of(page, element):
    return f"document.getElementById('{element}').textContent"


@contextlib.contextmanager
def offered(browser, url, size):
    with opened(browser, url, viewport=size) as page:
        page.wait_for_selector("#model:not([hidden])")
        yield page


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_button_downloads(browser, hub, tmp_path, size):
    with server_at(tmp_path, hub, "held", "--allow-pull") as server:
        with offered(browser, server.url, size) as page:
            offer = page.inner_text("#model-offer")
            assert "Qwen3-TTS" in offer and "GB" in offer and "licence Apache-2.0" in offer, offer
            assert in_view(page, "#pull") and page.is_hidden("#pull-stop") and page.is_hidden("#pull-progress")
            page.click("#pull")
            # The hub holds the second half back: the bar stands between nothing and all.
            page.wait_for_selector("#pull-stop:not([hidden])")
            until(page, "document.getElementById('pull-progress').value > 0.1")
            assert page.evaluate("document.getElementById('pull-progress').value < 1")
            assert page.is_hidden("#pull") and in_view(page, "#pull-progress")
            assert "Downloading: " in page.inner_text("#pull-status") and "MB of " in page.inner_text("#pull-status")
            found = axe.Axe().run(page).response["violations"]
            assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
            # It goes on while the page is left, and the page can speak meanwhile.
            page.reload()
            until(page, "document.getElementById('pull-progress').value > 0.1")
            has_voice(page)
            speak(page)
            urllib.request.urlopen(f"{hub}/held/release").close()
            until(page, text_of(page, "pull-status") + ".startsWith('Downloaded')")
            assert page.is_hidden("#pull") and page.is_hidden("#pull-stop") and page.is_hidden("#pull-progress")
            assert page.problems == []
        server.stop()
        server.start()
        assert server.get("/health/ready").json()["engine"] == "qwen3"
        with opened(browser, server.url, viewport=size) as page:
            until(page, "document.getElementById('server').textContent !== ''")
            assert page.is_hidden("#model") and "not yours" not in page.inner_text("#server")


def test_it_is_stopped_and_begun_again_by_keys(browser, hub, tmp_path):
    with server_at(tmp_path, hub, "held", "--allow-pull") as server, offered(browser, server.url, DESKTOP) as page:
        page.focus("#pull")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('pull-progress').value > 0.1")
        page.focus("#pull-stop")
        page.keyboard.press("Space")
        until(page, text_of(page, "pull-status") + ".startsWith('Stopped')")
        assert page.is_hidden("#pull-progress") and in_view(page, "#pull")
        urllib.request.urlopen(f"{hub}/held/release").close()
        page.focus("#pull")
        page.keyboard.press("Enter")
        until(page, text_of(page, "pull-status") + ".startsWith('Downloaded')")


def test_it_fails_in_view(browser, hub, tmp_path):
    with server_at(tmp_path, hub, "missing", "--allow-pull") as server, offered(browser, server.url, PHONE) as page:
        page.click("#pull")
        page.wait_for_selector("#pull-error:not([hidden])")
        assert in_view(page, "#pull-error") and "failed" in page.inner_text("#pull-error")
        assert in_view(page, "#pull") and page.inner_text("#pull-status") == ""


def test_without_permission_there_is_a_command(browser, hub, tmp_path):
    with server_at(tmp_path, hub, "good") as server, offered(browser, server.url, DESKTOP) as page:
        assert page.is_hidden("#pull") and page.is_hidden("#pull-progress")
        assert "timbre pull qwen3-tts-0.6b" in page.inner_text("#model-offer")
        assert [asked.url for asked in page.asked if API + "/models/pull" in asked.url] == []
