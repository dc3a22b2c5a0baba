"""The leaderboard Space for everyone: axe finds nothing, in the dark, on a phone, by keyboard."""

from __future__ import annotations

import pytest

from tests.helpers.space import BEANS, expect, settle


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "query",
    [
        *(f"tab={name}" for name in ("rankings", "across", "choose", "cost", "submit", "about")),
        "checkpoint=org%2Fbest",
        "with=org%2Fbest&with=org%2Fworse",
    ],
)
def test_axe_finds_nothing_to_complain_about(show, query, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = show(f"{BEANS}&{query}&__theme={scheme}")
    settle(page, "!document.getElementById('emms-first')")
    found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    assert not [(one["id"], one["nodes"][0]["target"], one["nodes"][0]["failureSummary"]) for one in found]


# The mean of red, green and blue of a property of a cell of the table, 0 to 255; NaN before there is a table.
BRIGHTNESS = (
    "(name => { const cell = document.querySelector('table.board td');"
    " const channels = cell ? getComputedStyle(cell)[name].match(/[\\d.]+/g).slice(0, 3).map(Number) : [NaN];"
    " return channels.reduce((a, b) => a + b) / channels.length; })"
)


def test_dark_mode_is_readable(show):
    page = show(f"{BEANS}&__theme=dark")
    settle(page, f"{BRIGHTNESS}('color') > 170 && {BRIGHTNESS}('backgroundColor') < 60")
    settle(page, "location.search.includes('__theme=dark')")


@pytest.mark.parametrize("tab", ["rankings", "across", "choose", "cost", "submit", "about"])
def test_a_phone_scrolls_the_table_and_not_the_page(show, tab):
    page = show(f"{BEANS}&tab={tab}", viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("table.board:visible, svg.plot:visible, #emms-file, .prose h2").first.wait_for()
    settle(page, "document.scrollingElement.scrollWidth <= 390")


def test_the_keyboard_reaches_the_table(show):
    page = show(BEANS)
    page.get_by_role("link", name="EMMS").focus()
    page.keyboard.press("Enter")
    settle(page, "location.search.includes('sort=-emms')")
    expect(page.get_by_role("region", name="Ranking")).to_have_attribute("tabindex", "0")
    settle(
        page,
        "![...document.querySelectorAll('input, textarea, button, select')].some(e => e.offsetParent !== null"
        " && !e.labels?.length && !e.getAttribute('aria-label') && !e.innerText.trim() && !e.title)",
    )


def test_a_table_fills_the_screen_on_request(show):
    page = show(BEANS)
    page.get_by_role("button", name="Full screen").click()
    settle(page, "document.fullscreenElement?.getAttribute('aria-label') === 'Ranking'")
