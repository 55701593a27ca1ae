"""/docs in a real browser: contents, examples, copying and trying, on a desk and on a phone."""
import os
import pathlib
import subprocess
import sys

import playwright.sync_api as sync_api
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "server"))
from support import REFERENCE, Server, wait_for  # noqa: E402

CHROMIUM = os.environ.get("TIMBRE_CHROMIUM", "/usr/bin/chromium")
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with Server("--keys-file", keys, "--rate-limit", 0) as running:
        running.post(
            "/api/v1/voices", form={"name": "anna", "ref_audio": ("a.wav", REFERENCE)}, headers={"x-api-key": KEY}
        )
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def page(browser, server, request):
    width, height = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, permissions=["clipboard-read", "clipboard-write"]
    )
    opened = context.new_page()
    opened.set_default_timeout(60000)
    opened.problems = []
    opened.on("console", lambda message: opened.problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.goto(server.url + "/docs")
    opened.wait_for_selector("article")
    yield opened
    context.close()


def operation(page, name):
    return page.locator(f"#{name}")


def test_contents_lead_everywhere(page, server):
    paths = server.get("/openapi.json").json()["paths"]
    names = {described["operationId"] for methods in paths.values() for described in methods.values()}
    links = page.evaluate("[...document.querySelectorAll('#contents a')].map(link => link.hash.slice(1))")
    assert set(links) == names and len(links) == len(names)
    assert page.evaluate("[...document.querySelectorAll('article')].map(one => one.id)") == links
    assert page.problems == []


def test_nothing_is_wider_than_the_page(page):
    for details in page.locator("details.folded > summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    # No word of a list of fields is broken or cut.
    wide = page.evaluate(
        "[...document.querySelectorAll('.fields > div, .fields dt, .fields dd, .fields code')]"
        ".filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')"
        ".map(one => one.textContent)"
    )
    assert wide == []
    assert page.problems == []


def test_examples_run(page, server, tmp_path):
    (tmp_path / "me.wav").write_bytes(REFERENCE)
    block = operation(page, "voiceCloneEnhancedFile")
    block.get_by_role("button", name="Copy").click()
    command = wait_for(lambda: page.evaluate("navigator.clipboard.readText()"))
    assert command.startswith("curl ") and "TIMBRE_KEY" in command
    subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --fail-with-body --silent ", 1)],
        cwd=tmp_path,
        check=True,
        timeout=60,
        env={**os.environ, "TIMBRE_KEY": KEY},
    )
    assert (tmp_path / "speech.wav").read_bytes().startswith(b"RIFF")
    for language, word in (("Python", "requests.post("), ("JavaScript", "await fetch(")):
        block.get_by_role("tab", name=language).click()
        text = block.locator("pre").first.inner_text()
        assert word in text and "/api/v1/voice-clone-enhanced-file" in text
        if language == "Python":
            compile(text, "example", "exec")


def test_it_can_be_tried(page):
    block = operation(page, "voiceCloneEnhanced")
    block.locator("details.try > summary").click()
    block.get_by_role("button", name="Send").click()
    block.get_by_text("401").first.wait_for()
    block.get_by_label("API key").fill(KEY)
    block.get_by_role("button", name="Send").click()
    block.locator("audio").wait_for()
    assert "X-Engine: preview" in block.locator(".try form").inner_text()
    block = operation(page, "listVoices")
    block.locator("details.try > summary").click()
    block.get_by_label("API key").fill(KEY)
    block.get_by_role("button", name="Send").click()
    block.locator(".try pre").wait_for()
    assert '"anna"' in block.locator(".try pre").inner_text()
    # The 401 was asked for.
    assert [problem for problem in page.problems if "401" not in problem] == []
