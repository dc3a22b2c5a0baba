"""The leaderboard Space in a real browser: each tab does its job, every view is a link, nothing hostile runs."""

from __future__ import annotations

import csv
import io
import re
import urllib.request

from leaderboard.checks import recomputed

from hf_emms.ranking import Ranking
from scripts.bench.space import view_call
from tests.helpers.rankings import example
from tests.helpers.space import BEANS, HOSTILE, checkpoints, choose, expect, of_rows, scored, settle, write

ANYTHING = re.compile(".*")


def ranked_beans():
    return [row.checkpoint for row in example().rows]


def test_a_ranking_shows_ties_errors_failures_and_what_is_missing(visit):
    page = visit(BEANS)
    expect(checkpoints(page)).to_contain_text(ranked_beans())
    rows = page.locator("table.board:visible tbody tr")
    expect(rows.nth(0).locator("td").first).to_have_text("=1")
    expect(rows.nth(1).locator("td").first).to_have_text("=1")
    expect(rows.nth(0)).to_contain_text("0.50 ± 0.01")
    expect(rows.nth(3)).to_contain_text("failed: the weights are truncated")
    expect(rows.nth(0).locator(".bar.best b")).to_have_count(1)
    expect(rows.nth(2)).to_contain_text("–")
    expect(rows.nth(0).locator("th a.hub")).to_have_attribute("href", "https://huggingface.co/org/best")
    expect(rows.nth(0).locator("th a").first).to_have_attribute("href", "?checkpoint=org%2Fbest")
    settle(page, "document.title.includes('beans · Rankings')")


def test_the_answer_is_on_top_and_follows_the_filters(visit):
    page = visit(BEANS)
    answer = page.locator(".answer")
    expect(answer).to_have_text(
        "org/best and org/close are not told apart: take the smallest, org/best (309k parameters)."
    )
    assert answer.bounding_box()["y"] < page.locator("table.board:visible").bounding_box()["y"] < 500
    page.get_by_label("Search").fill("worse")
    expect(answer).to_have_text("Only org/worse (85.0M parameters) has a score.")
    page.get_by_role("link", name="clear filters").click()
    expect(checkpoints(page)).to_have_count(4)
    expect(page.get_by_label("Search")).to_have_value("")
    settle(page, "!location.search.includes('q=')")


def test_the_header_of_a_long_table_stays_in_view(visit):
    for tab in ("rankings", "across"):
        page = visit(f"task=object-detection&ranking=long&tab={tab}")
        page.locator("table.board:visible").hover()
        page.mouse.wheel(0, 3000)
        settle(
            page,
            "(([box, head]) => box.scrollTop > 2000 && head.getBoundingClientRect().top >= 0"
            " && head.getBoundingClientRect().top >= box.getBoundingClientRect().top - 1"
            " && head.getBoundingClientRect().bottom <= innerHeight)"
            "(['.sideways', '.sideways thead th'].map(one => "
            "[...document.querySelectorAll(one)].find(e => e.offsetParent)))",
        )


def test_another_task_brings_its_datasets_and_forgets_the_words_of_the_search(visit):
    page = visit(f"{BEANS}&q=best")
    choose(page, "Task", "text-classification")
    settle(page, "location.search.includes('ranking=text%2Fnews')")
    expect(checkpoints(page)).to_have_text(["org/bert"])
    expect(page.get_by_label("Search")).to_have_value("")
    settle(page, "!location.search.includes('q=')")


def test_ticked_checkpoints_are_compared(show, visit):
    page = visit(BEANS)
    page.get_by_label("compare org/best").check()
    page.get_by_label("compare org/worse").check()
    page.get_by_role("link", name="Compare 2 checkpoints").click()
    pairs = page.get_by_role("region", name="Pairs")
    expect(pairs).to_contain_text("yes")
    settle(page, "location.search.includes('with=org%2Fbest&with=org%2Fworse')")
    again = show(page.url.partition("?")[2])
    expect(again.get_by_role("region", name="Pairs")).to_contain_text("yes")
    again.get_by_role("link", name="details").first.click()
    settle(again, "location.search.includes('checkpoint=org%2Fbest')")
    expect(again.get_by_role("region", name="Its rankings")).to_contain_text("food")
    again.get_by_role("link", name="beans", exact=True).click()
    expect(checkpoints(again)).to_have_count(4)


def test_the_first_html_holds_the_answer_the_rows_and_the_words_of_link_previews(space):
    with urllib.request.urlopen(f"{space.url}/?{BEANS}") as answer:
        html = answer.read().decode()
    assert html.count("og:title") == 1
    assert '<meta property="og:title" content="beans · Rankings · EMMS leaderboard">' in html
    assert 'og:description" content="org/best and org/close are not told apart' in html
    assert html.index("org/broken") < html.index("<gradio-app")
    with urllib.request.urlopen(f"{space.url}/?q=%3Cimg%20src%3Dx%3E%22&ranking=hostile") as answer:
        first = answer.read().decode().partition("<gradio-app")[0]
    assert "<img" not in first.partition("emms-first")[2]


def test_search_filter_and_sort_live_in_the_address(show, visit):
    page = visit(BEANS)
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
    expect(page.locator("th[aria-sort=descending]:visible")).to_contain_text("Params")
    again = show(page.url.partition("?")[2])
    expect(checkpoints(again)).to_have_text(["org/worse", "org/best"])
    expect(again.get_by_label("Parameters, at most", exact=True)).to_have_value("100M")


def test_back_and_forward_restore_what_was_shown(visit):
    page = visit(BEANS)
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


def test_of_two_links_followed_at_once_the_last_is_shown(visit):
    page = visit(f"{BEANS}&tab=across")
    page.evaluate(
        "['food', 'beans'].map(name => [...document.querySelectorAll('a[data-view]')].find("
        "one => one.offsetParent && one.textContent === name)).forEach(link => link.click())"
    )
    settle(page, "document.title.startsWith('beans')")
    page.go_back()
    settle(page, "document.title.startsWith('food')")


def test_a_page_works_on_after_the_server_has_forgotten_its_session(visit, space):
    from app import SESSIONS

    page = visit(BEANS)
    call = view_call(space.url)
    for number in range(SESSIONS + 1):
        call(number)
    choose(page, "Dataset", "food")
    expect(page.locator("table.board:visible")).to_contain_text("org/small")
    page.get_by_role("button", name="Filters and columns").click()
    choose(page, "Parameters, at most", "100M")
    expect(checkpoints(page)).to_have_count(3)


def test_downloads_hold_what_is_shown(visit):
    page = visit(f"{BEANS}&q=org%2F&max=100M&sort=-parameters")
    expect(checkpoints(page)).to_have_text(["org/worse", "org/best"])
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(caught.value.path().read_text())))
    expected = {row.checkpoint: row for row in recomputed(example()).rows}
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
    # It says so for a moment only, and a busy machine may miss a moment.
    page.evaluate(
        "(window.said = [], new MutationObserver(changes => changes.forEach(one => window.said.push("
        "one.target.textContent))).observe(document.getElementById('emms-copy'), {childList: true}))"
    )
    page.get_by_role("button", name="Copy table").click()
    settle(page, "window.said.includes('Copied')")
    header, row = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["checkpoint"] == "org/best"


def test_the_shortlist_keeps_to_the_limits_and_gives_the_command(visit):
    page = visit(f"{BEANS}&tab=choose")
    expect(checkpoints(page).first).to_have_text("org/close")
    choose(page, "Parameters, at most", "100M")
    expect(checkpoints(page).first).to_have_text("org/best")
    page.get_by_label("Your dataset").fill("./my photos")
    command = page.locator(".command code:visible")
    expect(command).to_contain_text("hf-emms rank --dataset './my photos' --task image-classification")
    expect(command).to_contain_text("--checkpoint org/best")
    expect(command).not_to_contain_text("org/close")
    settle(page, "location.search.includes('data=.%2Fmy+photos')")


def test_submitting_tells_good_from_bad(visit, tmp_path):
    page = visit("tab=submit")
    page.get_by_label("or its content").fill('{"schema_version": 1, "dataset": 3}')
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is not a ranking: dataset should be a text, but is a whole number").wait_for()
    page.get_by_label("or its content").fill("")
    good = tmp_path / "ranking.json"
    good.write_text(example().to_json())
    page.locator("#emms-file input[type=file]").set_input_files(good)
    page.locator("#emms-file .file-preview").get_by_text("ranking").first.wait_for()
    page.get_by_role("button", name="Check").click()
    page.get_by_text("This is a ranking of 4 checkpoints for beans, image-classification; of the published").wait_for()
    expect(page.locator(".command code:visible")).to_contain_text(
        "hf-emms publish results --repo-id org/emms-results --ranking ranking.json --create-pr"
    )


def test_hostile_names_are_only_text(visit):
    for tab in ("rankings", "across", "choose", "cost"):
        page = visit(f"task=feature-extraction&ranking=hostile&tab={tab}")
        page.locator("table.board:visible, svg.plot:visible").first.wait_for()
        if tab == "rankings":
            for name in HOSTILE:
                expect(checkpoints(page).filter(has_text=name).first).to_be_visible()
        # What was about to run has run when the page has drawn itself twice.
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
        assert page.evaluate("window.ran") is None, tab
        links = page.evaluate("[...document.querySelectorAll('.emms-view a, svg a')].map(a => a.getAttribute('href'))")
        allowed = ("https://huggingface.co/", "?")
        assert all(href.startswith(allowed) for href in links), links


def test_new_results_arrive_under_a_page_without_taking_it_away(visit, space):
    page = visit(f"{BEANS}&q=best")
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
