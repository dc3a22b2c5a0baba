"""A real browser for tests of pages: one Chromium per session and a new context per test. Page errors fail a test."""

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

# Errors because pages cannot reach the network here: fonts, and Gradio's requests for its own Space.
_NETWORK_ERRORS = ("net::ERR_", "Failed to load resource", "Space not found")


@contextmanager
def served(app: Path, **settings: Any) -> Iterator[str]:
    """Run a Gradio app and return its address. Skip the test if gradio is not installed, which only the app imports."""
    if find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    with screenshots.served(app, **{"python": python(), **settings}) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium. Without it, the tests are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("Chromium is not installed; install it, or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE * 1000)
        running = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        yield running
        running.close()


def watched_page(browser: Any, problems: list[str], **options: Any) -> Any:
    """Open a page in a new context that appends its logged errors to a list."""

    def console(message: Any) -> None:
        if message.type == "error" and not any(part in message.text for part in _NETWORK_ERRORS):
            problems.append(message.text)

    page = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.on("console", console)
    page.on("pageerror", lambda error: problems.append(error.stack or str(error)))
    return page


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Open addresses in new contexts. Fail the test if a page logs an error."""
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
    """Return the accessibility violations that axe finds. For the dark scheme, check only the colour contrast."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    if scheme == "dark":
        options |= {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    found = axe.run(page, options=options).response["violations"]
    return [(each["id"], each["nodes"][0]["target"], each["nodes"][0]["failureSummary"]) for each in found]
