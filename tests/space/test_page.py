"""The leaderboard Space in a real browser: each tab does its job, every view is a link, nothing hostile runs."""

from __future__ import annotations

import csv
import io

import pytest

from hf_emms.ranking import Ranking
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, of_rows, scored, space, write

__all__ = ["space"]

BEANS = "task=image-classification&ranking=image%2Fbeans"


def names(page):
    page.locator("table.board").first.wait_for()
    return page.locator("table.board tbody th").all_inner_texts()


def settle(page, expression, argument=None):
    page.wait_for_function(expression, arg=argument, timeout=15_000)


def shows(page, checkpoints):
    """Waits until the table has these checkpoints in this order."""
    rows = "[...document.querySelectorAll('table.board tbody th')].map(one => one.innerText.split('\\n')[0])"
    settle(page, f"wanted => JSON.stringify({rows}) === JSON.stringify(wanted)", checkpoints)


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def ranked_beans():
    return [row.checkpoint for row in example().rows]


def test_the_first_page_shows_a_ranking_and_its_address_says_which(space, open_page):
    page = open_page(space.url)
    assert names(page)
    settle(page, "location.search.includes('ranking=')")
    assert "EMMS leaderboard" in page.title()


def test_a_ranking_shows_ties_errors_failures_and_what_is_missing(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    text = names(page)
    assert [one.split("\n")[0] for one in text] == ranked_beans()
    rows = page.locator("table.board tbody tr")
    assert rows.nth(0).locator("td").first.inner_text() == "=1"
    assert rows.nth(1).locator("td").first.inner_text() == "=1"
    assert "± 0.0020" in rows.nth(0).inner_text()
    assert "failed: the weights are truncated" in rows.nth(3).inner_text()
    assert rows.nth(0).locator(".bar.best b").count() == 1
    assert "–" in rows.nth(0).inner_text()
    link = rows.nth(0).locator("th a")
    assert link.get_attribute("href") == "https://huggingface.co/org/best"
    assert "beans · Rankings" in page.title()


def test_search_filter_and_sort_live_in_the_address(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    names(page)
    page.get_by_label("Search").fill("b")
    settle(page, "document.querySelectorAll('table.board tbody tr').length === 2")
    settle(page, "location.search.includes('q=b')")
    page.get_by_role("button", name="Filters and columns").click()
    choose(page, "Parameters, at most", "100M")
    settle(page, "document.querySelectorAll('table.board tbody tr').length === 1")
    page.get_by_label("Search").fill("")
    settle(page, "document.querySelectorAll('table.board tbody tr').length === 2")
    page.get_by_role("link", name="Params").click()
    settle(page, "location.search.includes('sort=parameters')")
    shows(page, ["org/best", "org/worse"])
    page.get_by_role("link", name="Params").click()
    settle(page, "location.search.includes('sort=-parameters')")
    shows(page, ["org/worse", "org/best"])
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Params")
    again = open_page(page.url)
    shows(again, ["org/worse", "org/best"])
    assert again.get_by_label("Parameters, at most", exact=True).input_value() == "100M"


def test_back_and_forward_restore_what_was_shown(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    names(page)
    choose(page, "Dataset", "food")
    settle(page, "document.title.startsWith('food')")
    page.get_by_role("tab", name="Across datasets").click()
    page.locator("table.heat").wait_for()
    settle(page, "location.search.includes('tab=across')")
    page.go_back()
    settle(page, "document.title.startsWith('food · Rankings')")
    assert "org/small" in names(page)
    page.go_back()
    settle(page, "document.title.startsWith('beans')")
    assert page.get_by_label("Dataset", exact=True).input_value() == "beans"
    settle(page, "document.querySelector('table.board').innerText.includes('org/broken')")
    page.go_forward()
    settle(page, "document.title.startsWith('food')")
    page.go_forward()
    page.locator("table.heat").wait_for()


def test_another_task_brings_its_datasets(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    names(page)
    choose(page, "Task", "text-classification")
    settle(page, "location.search.includes('ranking=text%2Fnews')")
    assert names(page) == ["org/bert"]


def test_columns_are_chosen(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&columns=width")
    names(page)
    assert page.locator("table.board thead th").all_inner_texts() == ["Rank▲", "Checkpoint", "EMMS", "Width"]
    page.get_by_role("button", name="Filters and columns").click()
    page.get_by_label("R²").check()
    settle(page, "location.search.includes('columns=r2%2Cwidth')")
    settle(page, "document.querySelector('table.board thead').innerText.includes('R²')")


def test_downloads_hold_what_is_shown(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&q=org%2F&max=100M&sort=-parameters")
    shows(page, ["org/worse", "org/best"])
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


def test_copying_puts_the_table_on_the_clipboard(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&q=best", permissions=["clipboard-read", "clipboard-write"])
    assert names(page) == ["org/best"]
    page.get_by_role("button", name="Copy table").click()
    page.get_by_role("button", name="Copied").wait_for()
    header, row = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["checkpoint"] == "org/best"


def test_across_datasets_shows_ranks_and_the_mean_over_what_is_shared(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&tab=across")
    page.locator("table.heat").wait_for()
    lines = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in page.locator("table.heat tbody tr").all()
    }
    # beans: best and close share rank 1, worse is 3rd; food: close, best, worse, small.
    assert lines["org/close"] == ["1.00", "=1", "1"]
    assert lines["org/best"] == ["1.50", "=1", "2"]
    assert lines["org/worse"] == ["3.00", "3", "3"]
    assert lines["org/small"][0] == "–"
    assert lines["org/small"][1].endswith("–")
    assert lines["org/broken"][1] == "failed"
    page.get_by_role("link", name="food").click()
    settle(page, "document.title.startsWith('food · Rankings')")
    assert "org/small" in names(page)


def test_the_shortlist_keeps_to_the_limits_and_gives_the_command(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&tab=choose")
    assert names(page)[0] == "org/close"
    choose(page, "Parameters, at most", "100M")
    settle(page, "document.querySelector('table.board tbody th').innerText === 'org/best'")
    page.get_by_label("Your dataset").fill("./my photos")
    settle(page, "document.querySelector('.cm-content')?.innerText.includes('my photos')")
    command = page.locator(".cm-content").inner_text()
    assert "hf-emms rank --dataset './my photos' --task image-classification" in command
    assert "--checkpoint org/best" in command
    assert "org/close" not in command
    assert "data=.%2Fmy+photos" in page.url


def test_score_against_cost_marks_the_front(space, open_page):
    page = open_page(f"{space.url}/?task=image-classification&ranking=image%2Ffood&tab=cost")
    page.locator("svg.plot").wait_for()
    labels = [one.get_attribute("aria-label") for one in page.locator("svg.plot a").all()]
    assert len(labels) == 4
    best = [one.text_content().split(":")[0] for one in page.locator("svg.plot .point.best title").all()]
    assert set(best) == {"org/small", "org/best", "org/close"}
    assert page.locator("svg.plot a").first.get_attribute("href").startswith("https://huggingface.co/org/")
    page.get_by_label("Seconds").check()
    settle(page, "location.search.includes('cost=seconds')")
    settle(page, "document.querySelector('svg.plot').innerHTML.includes('Seconds (log scale)')")


def test_submitting_tells_good_from_bad(space, open_page, tmp_path):
    page = open_page(f"{space.url}/?tab=submit")
    page.get_by_label("or its content").fill('{"schema_version": 1, "dataset": 3}')
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is not a ranking: dataset should be a text, but is a whole number").wait_for()
    page.get_by_label("or its content").fill("")
    good = tmp_path / "ranking.json"
    good.write_text(example().to_json())
    page.locator("#emms-file input[type=file]").set_input_files(good)
    page.locator("#emms-file").get_by_text("ranking").first.wait_for()
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is a ranking of 4 checkpoints for beans, image-classification").wait_for()
    settle(page, "document.querySelector('.cm-content')?.innerText.includes('hf upload org/emms-results ranking.json')")


def test_about_says_what_the_score_does_not_say(space, open_page):
    page = open_page(f"{space.url}/?tab=about")
    page.get_by_role("heading", name="What it does not mean").wait_for()
    assert page.get_by_text("meng2023foundation").is_visible()
    assert page.title().startswith("About")


def test_a_broken_file_is_named_and_costs_nothing_else(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    names(page)
    about = page.get_by_text("About the data:").locator("..").inner_text()
    assert "broken.json: this is not a ranking: it is not JSON" in about


def test_hostile_names_are_only_text(space, open_page):
    for tab in ("rankings", "across", "choose", "cost"):
        page = open_page(f"{space.url}/?task=feature-extraction&ranking=hostile&tab={tab}")
        page.locator("table.board, svg.plot").first.wait_for()
        if tab == "rankings":
            shown = "\n".join(names(page))
            assert all(name in shown for name in HOSTILE), shown
        page.wait_for_timeout(300)
        assert page.evaluate("window.ran") is None, tab
        links = page.evaluate("[...document.querySelectorAll('.emms-view a, svg a')].map(a => a.getAttribute('href'))")
        allowed = ("https://huggingface.co/", "?")
        assert all(href.startswith(allowed) for href in links), links


def test_hostile_addresses_are_only_text(space, open_page):
    query = (
        "task=<img src=x onerror=window.ran=1>&ranking=<script>window.ran=2</script>&q=%00&sort=x&columns=../&rows=-1"
    )
    page = open_page(f"{space.url}/?{query}")
    page.get_by_text("There is no ranking <script>").wait_for()
    assert page.evaluate("window.ran") is None


def test_new_results_arrive_under_a_page_without_taking_it_away(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&q=best")
    assert names(page) == ["org/best"]
    write(space.results, "image/zoo", of_rows("zoo", scored("org/new", -0.1, 1000)))
    page.get_by_text("New results have arrived").wait_for()
    assert names(page) == ["org/best"]
    assert page.get_by_label("Search").input_value() == "best"
    page.get_by_role("link", name="Show them").click()
    page.get_by_text("New results have arrived").wait_for(state="hidden")
    assert names(page) == ["org/best"]
    page.get_by_label("Dataset", exact=True).click()
    page.get_by_role("option", name="zoo").wait_for()
    (space.results / "image" / "zoo.json").unlink()


def test_dark_mode_is_readable(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}&__theme=dark")
    names(page)
    colors = page.evaluate(
        "(() => { const style = getComputedStyle(document.querySelector('table.board td'));"
        " return [style.color, style.backgroundColor] })()"
    )
    light, dark = (brightness(color) for color in colors)
    assert light > 170
    assert dark < 60
    settle(page, "location.search.includes('__theme=dark')")


def brightness(color):
    numbers = [float(one) for one in color.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(numbers) / 3


@pytest.mark.parametrize("tab", ["rankings", "across", "choose", "cost", "submit", "about"])
def test_a_phone_scrolls_the_table_and_not_the_page(space, open_page, tab):
    page = open_page(f"{space.url}/?{BEANS}&tab={tab}", viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("table.board, svg.plot, #emms-file, .prose h2").first.wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_the_keyboard_reaches_the_table(space, open_page):
    page = open_page(f"{space.url}/?{BEANS}")
    names(page)
    page.get_by_role("link", name="EMMS").focus()
    page.keyboard.press("Enter")
    settle(page, "location.search.includes('sort=-emms')")
    assert page.get_by_role("region", name="Ranking").get_attribute("tabindex") == "0"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, button, select')].filter(e => e.offsetParent !== null"
        " && !e.labels?.length && !e.getAttribute('aria-label') && !e.innerText.trim() && !e.title).length"
    )
    assert unnamed == 0
