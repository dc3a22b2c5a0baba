"""The leaderboard Space in a real browser: the page agrees with its address after any actions."""

from __future__ import annotations

import re

from tests.helpers.browser import served
from tests.helpers.space import BEANS, HOSTILE, SPACE, checkpoints, choose, expect, with_clear_order, write


def has_query(page, text):
    expect(page).to_have_url(re.compile(re.escape(text)))


def test_what_was_opened_in_one_tab_is_closed_in_another(visit):
    page = visit("tab=about")
    expect(page.locator("details[open] summary")).to_contain_text(["Skipped: 1 file"])
    page.get_by_role("link", name="Rankings", exact=True).click()
    expect(page.locator("table.board")).to_be_visible()
    expect(page.locator("#emms-view details[open]")).to_have_count(0)


def test_what_is_asked_while_an_answer_is_on_its_way_is_added_to_it(visit):
    """Faults of an earlier page: a pick undone by a sort, letters eaten by a pick, a table of another dataset."""
    page = visit(BEANS)
    session = page.context.new_cdp_session(page)
    network = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1, "latency": 400}
    session.send("Network.emulateNetworkConditions", network)
    choose(page, "Dataset", "food")
    page.get_by_role("columnheader", name="Params").get_by_role("link").click()
    page.get_by_label("Search").press_sequentially("org")
    page.get_by_role("link", name="Across datasets").click()
    expect(page).to_have_title("image-classification · Across datasets · EMMS leaderboard")
    has_query(page, "sort=parameters")
    page.get_by_role("link", name="Rankings", exact=True).click()
    expect(checkpoints(page)).to_have_text(["org/small", "org/best", "org/worse", "org/close"])
    expect(page.get_by_label("Search")).to_have_value("org")
    expect(page.get_by_label("Dataset", exact=True)).to_have_value("image/food")


def test_an_answer_that_fails_leaves_no_other_table_under_the_address(visit):
    page = visit(BEANS)
    page.route("**/view?*", lambda route: route.fulfill(status=503), times=1)
    choose(page, "Dataset", "food")
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded (the server answered 503)")
    expect(checkpoints(page)).to_have_count(0)
    has_query(page, "ranking=image%2Ffood")
    page.get_by_role("link", name="Try again").click()
    expect(checkpoints(page)).to_have_count(4)
    expect(page).to_have_title("food · Rankings · EMMS leaderboard")


def test_an_address_without_a_task_is_sorted_and_filtered_without_the_server(visit):
    page = visit("ranking=image%2Fbeans")
    page.route("**/view?*", lambda route: route.fulfill(status=503))
    page.get_by_role("columnheader", name="Params").get_by_role("link").click()
    has_query(page, "sort=parameters")
    expect(checkpoints(page)).to_have_text(["org/best", "org/worse", "org/close", "org/broken"])
    page.get_by_label("Search").press_sequentially("worse")
    expect(checkpoints(page)).to_have_text(["org/worse"])


def test_focus_scrolling_and_what_is_open_stay(visit):
    page = visit("task=object-detection&ranking=long")
    page.get_by_text("Filters", exact=True).click()
    header = page.get_by_role("columnheader", name="Params").get_by_role("link")
    header.focus()
    page.keyboard.press("Enter")
    has_query(page, "sort=parameters")
    # The first row is the same before and after: until the new view arrives, a header keeps its old state.
    expect(page.get_by_role("columnheader", name="Params")).to_have_attribute("aria-sort", "ascending")
    expect(header).to_be_focused()
    expect(page.get_by_label("Parameters, at most")).to_be_visible()
    page.keyboard.press("Enter")
    expect(checkpoints(page).first).to_have_text("org/long-150")
    page.get_by_label("Search").press_sequentially("long-1")
    expect(checkpoints(page)).to_have_count(51)
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page.locator("#emms-said")).to_contain_text("long · Rankings · EMMS leaderboard. 51 of 150 checkpoints")


def test_the_header_of_a_long_table_stays_in_view(show):
    page = show("task=object-detection&ranking=long")
    for size in ({"width": 1280, "height": 720}, {"width": 390, "height": 700}):
        page.set_viewport_size(size)
        page.locator("tbody tr").nth(100).scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(page.get_by_role("columnheader", name="Checkpoint")).to_be_in_viewport(ratio=0.9)


def test_checkpoints_are_chosen_by_checkboxes_and_the_address_keeps_them(show):
    page = show("task=image-classification&tab=across")
    for name in ("org/close", "org/worse"):
        page.get_by_label(f"Compare {name}").check()
        has_query(page, f"compare={name.replace('/', '%2F')}")
    expect(page.locator("#emms-compare tbody tr")).to_have_count(2)
    page.reload()
    expect(page.locator("#emms-compare tbody tr")).to_have_count(2)
    page.get_by_label("Compare org/close").uncheck()
    expect(page.locator("#emms-compare")).to_have_count(0)
    expect(page.get_by_label("Compare org/worse")).to_be_checked()


def test_the_first_row_is_on_the_first_screen_of_a_phone_with_a_filter(show):
    page = show(f"{BEANS}&max=100M", viewport={"width": 390, "height": 844})
    expect(checkpoints(page).first).to_be_in_viewport()
    expect(page.get_by_label("Parameters, at most")).not_to_be_visible()


def test_thirteen_datasets_fit_a_laptop(open_page, tmp_path):
    for number in range(13):
        names = ("facebook/dinov2-with-registers-small-imagenet1k", "org/b")
        write(tmp_path, f"d{number}", with_clear_order(f"describable-textures-{number}", *names))
    with served(SPACE / "app.py", EMMS_RESULTS=str(tmp_path)) as url:
        page = open_page(f"{url}/?tab=across", viewport={"width": 1280, "height": 900})
        widths = page.evaluate(
            "(() => { const box = document.querySelector('.sideways'); return [box.scrollWidth, box.clientWidth] })()"
        )
    assert widths[0] == widths[1]


def test_back_and_forward_restore_what_was_shown(visit):
    page = visit(BEANS)
    choose(page, "Dataset", "food")
    expect(page).to_have_title(re.compile("^food"))
    page.get_by_role("link", name="Across datasets").click()
    expect(page.locator("table.heat")).to_be_visible()
    page.go_back()
    expect(checkpoints(page)).to_contain_text(["org/small"])
    expect(page).to_have_title(re.compile("^food · Rankings"))
    page.go_back()
    expect(page.get_by_label("Dataset", exact=True)).to_have_value("image/beans")
    expect(page.locator("table.board")).to_contain_text("org/broken")
    page.go_forward()
    expect(page).to_have_title(re.compile("^food"))


def test_the_theme_follows_the_system_and_a_switch(show):
    def is_dark():
        return page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(24, 24, 27)"

    page = show(BEANS, color_scheme="dark")
    assert is_dark()
    page.get_by_role("button", name="Light or dark").click()
    assert not is_dark()
    page.reload()
    assert not is_dark()
    page.goto(f"{page.url}&__theme=dark")
    assert is_dark()
    page.get_by_role("link", name="Across datasets").click()
    has_query(page, "__theme=dark")


def test_hostile_names_do_not_run(visit):
    expect(checkpoints(visit("ranking=hostile"))).to_have_text([*HOSTILE, "org/failed"])
    for tab in ("rankings", "across"):
        page = visit(f"task=feature-extraction&ranking=hostile&tab={tab}")
        page.get_by_label("Search").press_sequentially("o")
        has_query(page, "q=o")
        expect(page.locator("main:not([aria-busy])")).to_be_visible()
        assert page.evaluate("window.ran") is None, tab
        assert page.locator("main").locator("img, script, iframe, [onclick], [onmouseover]").count() == 0


def test_a_link_in_a_new_tab_keeps_the_filter(visit):
    page = visit(BEANS)
    page.get_by_label("Search").press_sequentially("best")
    expect(checkpoints(page)).to_have_text(["org/best"])
    with page.context.expect_page() as opened:
        page.get_by_role("rowheader").get_by_role("link", name="org/best", exact=True).click(modifiers=["Control"])
    has_query(opened.value, "q=best")
    has_query(opened.value, "checkpoint=org%2Fbest")
