"""The leaderboard Space in a real browser: each tab does its job, every view is a link, nothing hostile runs."""

from __future__ import annotations

import csv
import io

import pytest

from hf_emms.ranking import Ranking
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, of_rows, scored, space, write
from tests.helpers.waiting import eventually

__all__ = ["space"]

BEANS = "task=image-classification&ranking=image%2Fbeans"


@pytest.fixture
def show(space, open_page):
    """Opens a view of the Space, and waits until it is there: its title comes last."""

    def shown(query="", **options):
        page = open_page(f"{space.url}/?{query}", **options)
        settle(page, "document.title.includes(' · ')")
        return page

    return shown


def checkpoints(page):
    return page.locator("table.board:visible tbody th")


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def settle(page, expression):
    page.wait_for_function(expression)


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def ranked_beans():
    return [row.checkpoint for row in example().rows]


def test_the_first_page_shows_a_ranking_and_its_address_says_which(show):
    page = show()
    expect(checkpoints(page)).not_to_have_count(0)
    settle(page, "location.search.includes('ranking=')")
    assert "EMMS leaderboard" in page.title()


def test_a_ranking_shows_ties_errors_failures_and_what_is_missing(show):
    page = show(BEANS)
    expect(checkpoints(page)).to_contain_text(ranked_beans())
    rows = page.locator("table.board:visible tbody tr")
    assert rows.nth(0).locator("td").first.inner_text() == "=1"
    assert rows.nth(1).locator("td").first.inner_text() == "=1"
    assert "± 0.0058" in rows.nth(0).inner_text()
    assert "failed: the weights are truncated" in rows.nth(3).inner_text()
    assert rows.nth(0).locator(".bar.best b").count() == 1
    assert "–" in rows.nth(0).inner_text()
    link = rows.nth(0).locator("th a")
    assert link.get_attribute("href") == "https://huggingface.co/org/best"
    assert "beans · Rankings" in page.title()


def test_search_filter_and_sort_live_in_the_address(show):
    page = show(BEANS)
    page.get_by_label("Search").fill("b")
    expect(checkpoints(page)).to_have_count(2)
    settle(page, "location.search.includes('q=b')")
    page.get_by_role("button", name="Filters and columns").click()
    choose(page, "Parameters, at most", "100M")
    expect(checkpoints(page)).to_have_count(1)
    page.get_by_label("Search").fill("")
    expect(checkpoints(page)).to_have_count(2)
    page.get_by_role("link", name="Params").click()
    settle(page, "location.search.includes('sort=parameters')")
    expect(checkpoints(page)).to_have_text(["org/best", "org/worse"])
    page.get_by_role("link", name="Params").click()
    settle(page, "location.search.includes('sort=-parameters')")
    expect(checkpoints(page)).to_have_text(["org/worse", "org/best"])
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Params")
    again = show(page.url.partition("?")[2])
    expect(checkpoints(again)).to_have_text(["org/worse", "org/best"])
    expect(again.get_by_label("Parameters, at most", exact=True)).to_have_value("100M")


def test_back_and_forward_restore_what_was_shown(show):
    page = show(BEANS)
    choose(page, "Dataset", "food")
    settle(page, "document.title.startsWith('food')")
    page.get_by_role("tab", name="Across datasets").click()
    page.locator("table.heat:visible").wait_for()
    settle(page, "location.search.includes('tab=across')")
    page.go_back()
    settle(page, "document.title.startsWith('food · Rankings')")
    expect(page.locator("table.board:visible")).to_contain_text("org/small")
    page.go_back()
    settle(page, "document.title.startsWith('beans')")
    expect(page.get_by_label("Dataset", exact=True)).to_have_value("beans")
    expect(page.locator("table.board:visible")).to_contain_text("org/broken")
    page.go_forward()
    settle(page, "document.title.startsWith('food')")
    page.go_forward()
    page.locator("table.heat:visible").wait_for()


def test_another_task_brings_its_datasets(show):
    page = show(BEANS)
    choose(page, "Task", "text-classification")
    settle(page, "location.search.includes('ranking=text%2Fnews')")
    expect(checkpoints(page)).to_have_text(["org/bert"])


def test_columns_are_chosen(show):
    page = show(f"{BEANS}&columns=width")
    expect(page.locator("table.board:visible thead th")).to_have_text(["Rank▲", "Checkpoint", "EMMS", "Width"])
    page.get_by_role("button", name="Filters and columns").click()
    page.get_by_label("R²").check()
    settle(page, "location.search.includes('columns=r2%2Cwidth')")
    expect(page.locator("table.board:visible thead")).to_contain_text("R²")


def test_downloads_hold_what_is_shown(show):
    page = show(f"{BEANS}&q=org%2F&max=100M&sort=-parameters")
    expect(checkpoints(page)).to_have_text(["org/worse", "org/best"])
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(caught.value.path().read_text())))
    expected = {row.checkpoint: row for row in example().rows}
    assert [row["checkpoint"] for row in rows] == ["org/worse", "org/best"]
    assert float(rows[0]["emms"]) == expected["org/worse"].scores["emms"].value
    assert float(rows[1]["emms_stderr"]) == expected["org/best"].scores["emms"].stderr
    assert rows[0]["knn"] == ""
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download JSON").click()
    ranking = Ranking.from_json(caught.value.path().read_bytes())
    assert list(ranking.rows) == [expected["org/worse"], expected["org/best"]]


def test_copying_puts_the_table_on_the_clipboard(show):
    page = show(f"{BEANS}&q=best", permissions=["clipboard-read", "clipboard-write"])
    expect(checkpoints(page)).to_have_text(["org/best"])
    page.get_by_role("button", name="Copy table").click()
    page.get_by_role("button", name="Copied").wait_for()
    header, row = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["checkpoint"] == "org/best"


def test_across_datasets_shows_ranks_wins_and_coverage(show):
    page = show(f"{BEANS}&tab=across")
    page.locator("table.heat:visible").wait_for()
    lines = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in page.locator("table.heat:visible tbody tr").all()
    }
    # beans: best and close share rank 1, worse is 3rd; food: close, best, worse, small.
    assert list(lines)[:3] == ["org/close", "org/best", "org/worse"]
    assert lines["org/close"][1:] == ["2 of 2", "=1", "1"]
    assert lines["org/best"][1:] == ["2 of 2", "=1", "2"]
    assert lines["org/small"][1] == "1 of 2"
    assert lines["org/broken"][2] == "failed"
    page.get_by_role("link", name="Checkpoint").click()
    settle(page, "location.search.includes('order=checkpoint')")
    expect(page.locator("table.heat:visible tbody th")).to_have_text(sorted(lines))
    page.get_by_role("link", name="food").click()
    settle(page, "document.title.startsWith('food · Rankings')")
    expect(page.locator("table.board:visible")).to_contain_text("org/small")


def test_the_shortlist_keeps_to_the_limits_and_gives_the_command(show):
    page = show(f"{BEANS}&tab=choose")
    expect(checkpoints(page).first).to_have_text("org/close")
    choose(page, "Parameters, at most", "100M")
    expect(checkpoints(page).first).to_have_text("org/best")
    page.get_by_label("Your dataset").fill("./my photos")
    command = page.locator(".cm-content")
    expect(command).to_contain_text("hf-emms rank --dataset './my photos' --task image-classification")
    expect(command).to_contain_text("--checkpoint org/best")
    expect(command).not_to_contain_text("org/close")
    settle(page, "location.search.includes('data=.%2Fmy+photos')")


def test_score_against_cost_marks_the_front(show):
    page = show("task=image-classification&ranking=image%2Ffood&tab=cost")
    page.locator("svg.plot").wait_for()
    labels = [one.get_attribute("aria-label") for one in page.locator("svg.plot a").all()]
    assert len(labels) == 4
    best = [one.text_content().split(":")[0] for one in page.locator("svg.plot .point.best title").all()]
    assert set(best) == {"org/small", "org/best", "org/close"}
    assert page.locator("svg.plot a").first.get_attribute("href").startswith("https://huggingface.co/org/")
    page.get_by_label("Seconds").check()
    settle(page, "location.search.includes('cost=seconds')")
    expect(page.locator("svg.plot")).to_contain_text("Seconds (log scale)")


def test_submitting_tells_good_from_bad(show, tmp_path):
    page = show("tab=submit")
    page.get_by_label("or its content").fill('{"schema_version": 1, "dataset": 3}')
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is not a ranking: dataset should be a text, but is a whole number").wait_for()
    page.get_by_label("or its content").fill("")
    good = tmp_path / "ranking.json"
    good.write_text(example().to_json())
    page.locator("#emms-file input[type=file]").set_input_files(good)
    page.locator("#emms-file").get_by_text("ranking").first.wait_for()
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is a ranking of 4 checkpoints for beans, image-classification; of the published").wait_for()
    expect(page.locator(".cm-content")).to_contain_text(
        "hf-emms publish results --repo-id org/emms-results --ranking ranking.json --create-pr"
    )


def test_about_says_what_the_score_does_not_say(show):
    page = show("tab=about")
    page.get_by_role("heading", name="What it does not mean").wait_for()
    assert page.get_by_text("meng2023foundation").is_visible()
    assert page.title().startswith("About")


def test_a_broken_file_is_named_and_costs_nothing_else(show):
    page = show(BEANS)
    about = page.get_by_text("About the data:").locator("..")
    expect(about).to_contain_text("broken.json: this is not a ranking: it is not JSON")


def test_hostile_names_are_only_text(show):
    for tab in ("rankings", "across", "choose", "cost"):
        page = show(f"task=feature-extraction&ranking=hostile&tab={tab}")
        page.locator("table.board:visible, svg.plot").first.wait_for()
        if tab == "rankings":
            shown = "\n".join(checkpoints(page).all_inner_texts())
            assert all(name in shown for name in HOSTILE), shown
        page.wait_for_timeout(300)
        assert page.evaluate("window.ran") is None, tab
        links = page.evaluate("[...document.querySelectorAll('.emms-view a, svg a')].map(a => a.getAttribute('href'))")
        allowed = ("https://huggingface.co/", "?")
        assert all(href.startswith(allowed) for href in links), links


def test_hostile_addresses_are_only_text(show):
    query = (
        "task=<img src=x onerror=window.ran=1>&ranking=<script>window.ran=2</script>&q=%00&sort=x&columns=../&rows=-1"
    )
    page = show(query)
    page.get_by_text("There is no ranking <script>").wait_for()
    assert page.evaluate("window.ran") is None


def test_new_results_arrive_under_a_page_without_taking_it_away(show, space):
    page = show(f"{BEANS}&q=best")
    expect(checkpoints(page)).to_have_text(["org/best"])
    write(space.results, "image/zoo", of_rows("zoo", scored("org/new", -0.1, 1000)))
    page.get_by_text("New results have arrived").wait_for()
    expect(checkpoints(page)).to_have_text(["org/best"])
    expect(page.get_by_label("Search")).to_have_value("best")
    page.get_by_role("link", name="Show them").click()
    page.get_by_text("New results have arrived").wait_for(state="hidden")
    expect(checkpoints(page)).to_have_text(["org/best"])
    page.get_by_label("Dataset", exact=True).click()
    page.get_by_role("option", name="zoo").wait_for()
    (space.results / "image" / "zoo.json").unlink()


def test_dark_mode_is_readable(show):
    page = show(f"{BEANS}&__theme=dark")
    eventually(lambda: brightness(page, "color") > 170 and brightness(page, "backgroundColor") < 60)
    settle(page, "location.search.includes('__theme=dark')")


def brightness(page, property):
    """The mean of red, green and blue in a cell of the table, 0 to 255."""
    color = page.evaluate(f"getComputedStyle(document.querySelector('table.board td')).{property}")
    numbers = [float(one) for one in color.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(numbers) / 3


@pytest.mark.parametrize("tab", ["rankings", "across", "choose", "cost", "submit", "about"])
def test_a_phone_scrolls_the_table_and_not_the_page(show, tab):
    page = show(f"{BEANS}&tab={tab}", viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("table.board:visible, svg.plot, #emms-file, .prose h2").first.wait_for()
    settle(page, "document.scrollingElement.scrollWidth <= 390")


def test_the_keyboard_reaches_the_table(show):
    page = show(BEANS)
    page.get_by_role("link", name="EMMS").focus()
    page.keyboard.press("Enter")
    settle(page, "location.search.includes('sort=-emms')")
    assert page.get_by_role("region", name="Ranking").get_attribute("tabindex") == "0"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, button, select')].filter(e => e.offsetParent !== null"
        " && !e.labels?.length && !e.getAttribute('aria-label') && !e.innerText.trim() && !e.title).length"
    )
    assert unnamed == 0
