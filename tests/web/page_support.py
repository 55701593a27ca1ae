"""A browser, and the page of a server of our own in it."""

import contextlib
import os
import pathlib
import sys

import playwright.sync_api as sync_api

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "server"))
from support import REFERENCE, wait_for  # noqa: E402

CHROMIUM = os.environ.get("TIMBRE_CHROMIUM", "/usr/bin/chromium")


@contextlib.contextmanager
def chromium():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--autoplay-policy=no-user-gesture-required",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield running
        running.close()


@contextlib.contextmanager
def opened(browser, url, **options):
    """A page whose console and requests are kept in `problems` and `asked`."""
    options = {"viewport": {"width": 1100, "height": 1250}, "permissions": ["microphone"], **options}
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(60000)
    page.problems, page.asked = [], []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda asked: page.asked.append(asked))
    page.goto(url)
    yield page
    context.close()


def until(page, expression):
    """The page's policy forbids the eval that wait_for_function needs."""
    wait_for(lambda: page.evaluate(expression), 60)


def give_file(page, audio=REFERENCE, name="me.wav", kind="audio/wav"):
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": audio})


def has_voice(page, audio=REFERENCE, name="me.wav"):
    give_file(page, audio, name)
    page.wait_for_selector("#reference-player [data-side=after]")


def speak(page, text="Hello there."):
    page.fill("#text", text)
    page.click("#go")
    page.wait_for_selector("#result-actions:not([hidden])")


def in_view(page, selector):
    return page.evaluate(
        """selector => { const box = document.querySelector(selector).getBoundingClientRect();
        return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight; }""",
        selector,
    )
