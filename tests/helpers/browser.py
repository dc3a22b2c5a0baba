"""A real browser for tests of pages: one Chromium for the session, one fresh context a test, no error unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from scripts.docs import screenshots
from scripts.docs.screenshots import CHROMIUM_ARGUMENTS, chromium
from tests.helpers.quick_python import python
from tests.helpers.waiting import PATIENCE

# What pages cannot reach from here: fonts, and what Gradio asks the Hub about its own Space.
_OF_THE_NETWORK = ("net::ERR_", "Failed to load resource", "Space not found")


@contextmanager
def served(app: Path, **settings: Any) -> Iterator[str]:
    """The address of a running Gradio app; the test is skipped where there is no gradio, which only the app imports."""
    if find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    with screenshots.served(app, **{"python": python(), **settings}) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the tests are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("there is no Chromium here: install it, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE * 1000)
        running = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        yield running
        running.close()


def watched_page(browser: Any, problems: list[str], **options: Any) -> Any:
    """A page in a fresh context that adds the errors it logs to a list."""

    def console(message: Any) -> None:
        if message.type == "error" and not any(part in message.text for part in _OF_THE_NETWORK):
            problems.append(message.text)

    page = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.on("console", console)
    page.on("pageerror", lambda error: problems.append(error.stack or str(error)))
    return page


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens addresses in fresh contexts; afterwards no page may have logged an error."""
    pages, problems = [], []

    def opened(address: str, **options: Any) -> Any:
        page = watched_page(browser, problems, **options)
        pages.append(page)
        page.goto(address, wait_until="load")
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert not problems, problems


def violations(page: Any, scheme: str) -> list[tuple[str, str, str]]:
    """What axe complains about on a page; in the dark only the colours are others, and only contrasts are looked at."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options |= {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    found = axe.run(page, options=options).response["violations"]
    return [(each["id"], each["nodes"][0]["target"], each["nodes"][0]["failureSummary"]) for each in found]
