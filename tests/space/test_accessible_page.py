"""The leaderboard Space for everyone: axe finds nothing, in the dark, on a phone, by keyboard."""

from __future__ import annotations

import pytest

from tests.helpers.space import BEANS, expect, go, settle

TABS = ("rankings", "across", "choose", "cost", "submit", "about")
VIEWS = (
    *(f"{BEANS}&tab={tab}" for tab in TABS),
    "checkpoint=org%2Fbest",
    f"{BEANS}&with=org%2Fbest&with=org%2Fworse",
)
# The mean of red, green and blue of a property of a cell of the table, 0 to 255; NaN before there is a table.
BRIGHTNESS = (
    "(name => { const cell = document.querySelector('table.board td');"
    " const channels = cell ? getComputedStyle(cell)[name].match(/[\\d.]+/g).slice(0, 3).map(Number) : [NaN];"
    " return channels.reduce((a, b) => a + b) / channels.length; })"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(show, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = show(f"{BEANS}&__theme={scheme}")
    bright, dim = ("backgroundColor", "color") if scheme == "light" else ("color", "backgroundColor")
    settle(page, f"{BRIGHTNESS}('{bright}') > 170 && {BRIGHTNESS}('{dim}') < 60")
    rules = {"type": "tag", "values": ["wcag2a", "wcag2aa"]}
    if scheme == "dark":  # only the colours are others
        rules = {"type": "rule", "values": ["color-contrast"]}
    for view in VIEWS:
        go(page, view)
        found = axe.run(page, options={"runOnly": rules, "resultTypes": ["violations"]}).response["violations"]
        assert not [(one["id"], one["nodes"][0]["target"], one["nodes"][0]["failureSummary"]) for one in found], view
    settle(page, f"location.search.includes('__theme={scheme}')")


@pytest.mark.parametrize("width", [390, 640], ids=["phone", "zoomed to 200 %"])
def test_narrow_windows_scroll_the_table_and_not_the_page(show, width):
    page = show(BEANS, viewport={"width": width, "height": 640}, has_touch=True)
    for view in VIEWS:
        go(page, view)
        page.locator("table.board:visible, svg.plot:visible, #emms-file:visible, .prose h2:visible").first.wait_for()
        settle(page, f"document.scrollingElement.scrollWidth <= {width}")


def test_text_and_headings_have_one_font_which_is_the_system_s(show):
    page = show(f"{BEANS}&tab=choose")
    fonts = page.evaluate(
        "[...document.querySelectorAll('h1, h2, table.board, label, button')]"
        ".map(one => getComputedStyle(one).fontFamily)"
    )
    assert set(fonts) == {"system-ui, sans-serif"}
    assert page.evaluate("[...document.fonts].filter(font => font.status !== 'unloaded').length") == 0


def test_the_keyboard_reaches_the_table(visit):
    page = visit(BEANS)
    page.get_by_role("link", name="Explained").focus()
    page.keyboard.press("Enter")
    settle(page, "location.search.includes('sort=-emms')")
    expect(page.get_by_role("region", name="Ranking")).to_have_attribute("tabindex", "0")
    settle(
        page,
        "![...document.querySelectorAll('input, textarea, button, select')].some(e => e.offsetParent !== null"
        " && !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim() && !e.title)",
    )


@pytest.mark.parametrize(("tab", "box"), [("rankings", "Ranking"), ("across", "Ranks across datasets"), ("cost", None)])
def test_tables_and_charts_fill_the_screen_on_request(visit, tab, box):
    page = visit(f"{BEANS}&tab={tab}")
    page.locator("button.emms-full:visible").click()
    shown = f"getAttribute('aria-label') === '{box}'" if box else "classList.contains('plots')"
    settle(page, f"document.fullscreenElement?.{shown}")
    page.evaluate("document.exitFullscreen()")
    settle(page, "!document.fullscreenElement")
