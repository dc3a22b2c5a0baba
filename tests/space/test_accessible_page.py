"""Accessibility of the leaderboard Space: axe, dark theme, phone, keyboard, without scripts."""

from __future__ import annotations

import pytest

from tests.helpers.browser import violations
from tests.helpers.space import BEANS, checkpoints, expect

TABS = ("rankings", "across", "submit", "about", "api")
VIEWS = (
    *(f"{BEANS}&tab={tab}" for tab in TABS),
    f"{BEANS}&columns=all&q=best",
    "checkpoint=org%2Fbest",
)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_to_complain_about(show, space, scheme):
    page = show("", color_scheme=scheme, bypass_csp=True)
    for view in VIEWS:
        page.goto(f"{space.url}/?{view}")
        assert not violations(page, scheme), view


# After two frames the page has heard of its new size.
SCROLLED_WIDTH = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
    () => done(document.scrollingElement.scrollWidth))))"""


def test_narrow_windows_scroll_the_table_and_not_the_page(show, space):
    """On a phone of 390 pixels, and at a zoom of 200 % and 400 %."""
    page = show("", has_touch=True)
    for view in VIEWS:
        page.goto(f"{space.url}/?{view}")
        for width in (640, 390, 320):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate(SCROLLED_WIDTH) <= width, (view, width)


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


def test_rows_begin_high_on_the_first_screen_and_nothing_moves_where_motion_is_reduced(show):
    page = show(BEANS, viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
    assert page.locator("tbody tr").first.bounding_box()["y"] <= 620
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].map(e => getComputedStyle(e))"
        ".filter(style => style.transitionDuration !== '0s' || style.animationName !== 'none').length"
    )
    assert moving == 0


def test_the_page_works_without_scripts(show):
    """The form sends all that was chosen before."""
    page = show(f"{BEANS}&sort=-parameters", java_script_enabled=False)
    send = page.get_by_role("button", name="Show")
    expect(checkpoints(page)).to_have_text(["org/close", "org/worse", "org/best", "org/broken"])
    page.get_by_label("Search").fill("org/b")
    send.click()
    expect(checkpoints(page)).to_have_text(["org/best", "org/broken"])
    page.get_by_role("columnheader", name="Checkpoint").get_by_role("link").click()
    page.get_by_label("Search").fill("")
    page.get_by_label("Dataset", exact=True).select_option("food")
    send.click()
    expect(checkpoints(page)).to_have_text(["org/best", "org/close", "org/small", "org/worse"])
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Parameters, at most").select_option("1M")
    send.click()
    expect(checkpoints(page)).to_have_text(["org/best", "org/small"])
    page.get_by_label("Task").select_option("text-classification")
    send.click()
    expect(page.get_by_label("Dataset", exact=True)).to_have_value("text/news")
    expect(page.get_by_role("button", name="Light or dark")).to_be_hidden()


def test_what_changed_is_announced(visit):
    page = visit("")
    page.get_by_role("searchbox").fill("news")
    expect(page.locator("#emms-said")).to_contain_text("1 of 6 datasets.")
    page = visit("task=image-classification&ranking=image%2Ffood")
    page.get_by_role("columnheader", name="Params").get_by_role("link").click()
    expect(page.locator("#emms-said")).to_contain_text("sorted by Params, ascending")
    page.get_by_role("searchbox").fill("small")
    expect(page.locator("#emms-said")).to_contain_text("1 of 4 checkpoints")


def test_forced_colours_keep_shades(show):
    page = show("tab=across&task=image-classification", forced_colors="active", color_scheme="dark")
    shades = page.locator(".heat tbody td[class*=shade]")
    colours = shades.evaluate_all("cells => new Set(cells.map(cell => getComputedStyle(cell).backgroundColor)).size")
    assert colours > 1
