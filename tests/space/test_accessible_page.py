"""The leaderboard Space for everyone: axe finds nothing, in the dark, on a phone, by keyboard, without scripts."""

from __future__ import annotations

import pytest

from tests.helpers.browser import violations
from tests.helpers.space import BEANS, checkpoints, expect

TABS = ("rankings", "across", "choose", "cost", "submit", "about", "api")
VIEWS = (
    *(f"{BEANS}&tab={tab}" for tab in TABS),
    f"{BEANS}&tick=org%2Fbest&tick=org%2Fworse&q=best",
    "checkpoint=org%2Fbest",
    f"{BEANS}&with=org%2Fbest&with=org%2Fworse",
)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_to_complain_about(show, space, scheme):
    page = show("", color_scheme=scheme, bypass_csp=True)
    for view in VIEWS:
        page.goto(f"{space.url}/?{view}")
        assert not violations(page, scheme), view


@pytest.mark.parametrize("width", [320, 390, 640], ids=["zoomed to 400 %", "phone", "zoomed to 200 %"])
def test_narrow_windows_scroll_the_table_and_not_the_page(show, space, width):
    page = show(BEANS, viewport={"width": width, "height": 640}, has_touch=True)
    for view in VIEWS:
        page.goto(f"{space.url}/?{view}")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, view


def test_rows_begin_high_on_the_first_screen(show):
    page = show(BEANS, viewport={"width": 1280, "height": 720})
    assert page.locator("tbody tr").first.bounding_box()["y"] <= 300


# Every control that is shown gets a number; radio buttons of one name are one stop, as browsers have it.
NUMBERED = """() => {
    const controls = [...document.querySelectorAll(
        'a[href], button, input, select, textarea, summary, [tabindex="0"]')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.type !== 'hidden');
    controls.forEach((e, place) => { e.dataset.place = e.type === 'radio' ? e.name : place; });
    return [...new Set(controls.map(e => e.dataset.place))];
}"""
FOCUSED = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    return [e.dataset.place ?? '', style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
}"""


@pytest.mark.slow
def test_the_keyboard_reaches_every_control_and_shows_where_it_is(show, space):
    page = show("")
    for view in VIEWS:
        page.goto(f"{space.url}/?{view}")
        expected, reached = set(page.evaluate(NUMBERED)), {}
        for _ in range(len(expected) + 10):
            page.keyboard.press("Tab")
            place, is_shown = page.evaluate(FOCUSED)
            reached[place] = is_shown
        missed = [place for place in expected if not reached.get(place)]
        assert not [page.locator(f'[data-place="{place}"]').first.evaluate("e => e.outerHTML") for place in missed], (
            view
        )


def test_what_the_keyboard_ticks_is_compared(show):
    page = show(BEANS)
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "compare org/best":
            break
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Tick one more to compare")).to_be_visible()
    expect(page.get_by_label("compare org/best")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="org/best")).to_be_visible()
    expect(page.locator("#emms-view")).to_be_focused()
    assert page.evaluate(
        "[...document.querySelectorAll('input, textarea, button, select')].every("
        "e => e.type === 'hidden' || e.labels?.length || e.ariaLabel || e.textContent.trim())"
    )


def test_nothing_moves_where_motion_is_reduced(show):
    page = show(BEANS, reduced_motion="reduce")
    durations = page.evaluate(
        "[...document.querySelectorAll('*')].map(e => getComputedStyle(e))"
        ".filter(style => style.transitionDuration !== '0s' || style.animationName !== 'none').length"
    )
    assert durations == 0


def test_the_page_works_without_scripts(show):
    page = show(BEANS, java_script_enabled=False)
    page.get_by_label("Search").fill("org/b")
    page.get_by_role("button", name="Show").click()
    expect(checkpoints(page)).to_have_text(["org/best", "org/broken"])
    page.get_by_role("columnheader", name="Checkpoint").get_by_role("link").click()
    page.get_by_label("Dataset", exact=True).select_option("food")
    page.get_by_role("button", name="Show").click()
    expect(checkpoints(page)).to_have_text(["org/best"])
    page.get_by_role("link", name="Across datasets").click()
    expect(page.locator("table.heat")).to_be_visible()
    expect(page.get_by_role("button", name="Light or dark")).to_be_hidden()


@pytest.mark.parametrize(("tab", "box"), [("rankings", ".sideways"), ("cost", ".plots")])
def test_tables_and_charts_fill_the_screen_on_request(show, tab, box):
    page = show(f"{BEANS}&tab={tab}")
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator(f"{box}:fullscreen")).to_be_visible()


def test_what_changed_is_announced(visit):
    page = visit("tab=home")
    page.goto(page.url.partition("?")[0])
    page.get_by_role("searchbox").fill("news")
    expect(page.locator("#emms-said")).to_contain_text("1 dataset.")
    page = visit("task=image-classification&ranking=image%2Ffood")
    page.get_by_role("columnheader", name="Params").get_by_role("link").click()
    expect(page.locator("#emms-said")).to_contain_text("sorted by Params, ascending")
    page.get_by_role("searchbox").fill("small")
    expect(page.locator("#emms-said")).to_contain_text("1 of 4 checkpoints")


def test_focus_returns_to_the_link_that_was_followed(visit):
    page = visit(BEANS)
    link = page.get_by_role("row").get_by_role("link", name="org/best", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="org/best")).to_be_visible()
    page.go_back()
    expect(link).to_be_focused()


def test_escape_closes_the_tip_of_a_chart(visit):
    page = visit(f"{BEANS}&tab=cost")
    page.locator("svg.plot.wide a").first.focus()
    expect(page.locator("#emms-tip")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#emms-tip")).to_be_hidden()


def test_forced_colours_keep_shades_and_print_leaves_controls_out(show):
    page = show("tab=across&task=image-classification", forced_colors="active")
    shades = page.locator(".heat tbody td[class^=shade]")
    colours = shades.evaluate_all("cells => new Set(cells.map(cell => getComputedStyle(cell).backgroundColor)).size")
    assert colours > 1
    page.emulate_media(media="print", forced_colors="none")
    expect(page.get_by_role("navigation", name="Views")).to_be_hidden()
    expect(page.locator("table.heat")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["timm/eva02_large_patch14_448.mim_m38m_ft_in22k_in1k", "./" + 20 * "long-name_"])
def test_a_name_takes_at_most_two_lines_and_the_page_keeps_its_width(show, width, name):
    page = show(BEANS, viewport={"width": width, "height": 800})
    shown = page.locator("table.board tbody .name").first
    shown.evaluate("(element, name) => { element.textContent = name; }", name)
    lines, fits = shown.evaluate(
        """element => [
            element.offsetHeight / parseFloat(getComputedStyle(element).lineHeight),
            document.documentElement.scrollWidth <= innerWidth,
        ]"""
    )
    assert lines < 2.1
    assert fits
    if name.startswith("timm"):
        assert shown.evaluate("element => element.scrollHeight <= element.clientHeight + 1")  # nothing is cut
