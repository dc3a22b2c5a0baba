"""The leaderboard without a server: published for a free account, a file for each view."""

from __future__ import annotations

import http.server
import threading
from functools import partial

import pytest
import yaml

from hf_emms.publish.space import static_files
from tests.helpers.browser import violations
from tests.helpers.rankings import example
from tests.helpers.space import BEANS, HOSTILE, checkpoints, expect, fill, of_rows, scored, snapshot_of
from tests.space.test_hub import command, put, results

__all__ = ["command", "results"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The files of `fill`, and their address."""
    folder = tmp_path_factory.mktemp("static")
    fill(folder / "results")
    files = static_files(folder / "results", "org/emms-results")
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield files, f"http://127.0.0.1:{server.server_port}/index.html", snapshot_of(folder / "results")
    server.shutdown()


@pytest.fixture
def show(board, open_page):
    def opened(query="", **options):
        return open_page(f"{board[1]}?{query}", **options)

    return opened


def test_a_free_account_publishes_it_and_an_update_shows_what_is_new(hub, command, results):
    arguments = ("publish", "space", "--static", "--repo-id", "ada/board", "--results", results)
    token = hub.token(user="ada")
    done = command(*arguments, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/spaces/ada/board\n"
    assert hub.store.repo("ada/board", "space").space.sdk == "static"
    paths = hub.store.paths("ada/board", "space")
    assert [path for path in paths if "/" not in path] == [".gitattributes", "README.md", "index.html"]
    views = [path for path in paths if path.startswith("views/")]
    assert len(views) == 3 + 2 + len(example().rows) + 2  # table and plots; heat maps; checkpoints; home, about
    card = yaml.safe_load(hub.store.read("ada/board", "README.md", "space").decode().split("---")[1])
    assert (card["sdk"], card["app_file"]) == ("static", "index.html")
    assert not {"sdk_version", "python_version", "hf_oauth"} & set(card)
    assert "org/best" in card["models"]
    put(hub, "one", of_rows("food", scored("org/new", -0.1, 10)))
    hub.store.put_files("org/best", {"README.md": b"---\nlicense: mit\n---\n"})
    assert command(*arguments, HF_TOKEN=token).returncode == 0
    assert b"org/</span><wbr>new" in hub.store.read("ada/board", "index.html", "space")
    assert len([path for path in hub.store.paths("ada/board", "space") if path.startswith("views/")]) == 3 + 2 + 1 + 2


def test_a_damaged_ranking_is_named_and_costs_no_other(hub, command, results):
    token = hub.token(user="ada")
    arguments = ("publish", "space", "--static", "--repo-id", "ada/board", "--results", results)
    hub.store.put_files(results, {"rankings/damaged.json": b'{"rows": ['}, "dataset")
    done = command(*arguments, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert "not shown: damaged: " in done.stderr
    paths = hub.store.paths(results, "dataset")
    broken = {path: b"{" for path in paths if path.startswith("rankings/")}
    hub.store.put_files(results, broken, "dataset")
    done = command(*arguments, HF_TOKEN=token)
    assert done.returncode == 1
    assert f"no ranking of {results} can be read: damaged: " in done.stderr


def test_publishing_results_draws_it_anew(hub, command, results, tmp_path):
    token = hub.token(user="ada")
    arguments = ("publish", "space", "--static", "--repo-id", "ada/board", "--results", results)
    assert command(*arguments, HF_TOKEN=token).returncode == 0
    file = tmp_path / "ranking.json"
    file.write_text(of_rows("food", scored("org/new", -0.1, 10), task="text-classification").to_json())
    publish = ("publish", "results", "--repo-id", results, "--ranking", str(file), "--space", "ada/board")
    done = command(*publish, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/spaces/ada/board shows it" in done.stderr
    assert b"food" in hub.store.read("ada/board", "index.html", "space")
    card = yaml.safe_load(hub.store.read(results, "README.md", "dataset").decode().split("---")[1])
    assert card["task_categories"] == ["text-classification"]
    done = command(*publish, "--create-pr", HF_TOKEN=token)
    assert done.returncode == 1
    assert "leave out --space" in done.stderr


def test_a_static_space_takes_the_place_of_a_gradio_one_and_back(hub, command, results):
    arguments = ("publish", "space", "--repo-id", "ada/board", "--results", results)
    token = hub.token(user="ada")
    for more, app, other in (
        ((), "app.py", "index.html"),
        (("--static",), "index.html", "app.py"),
        ((), "app.py", "index.html"),
    ):
        done = command(*arguments, *more, HF_TOKEN=token)
        assert done.returncode == 0, done.stderr
        paths = hub.store.paths("ada/board", "space")
        assert app in paths
        assert other not in paths
        assert any(path.startswith("views/") for path in paths) == bool(more)


def test_no_name_leaves_the_folder(board):
    files, _, snapshot = board
    assert all(name == "index.html" or (name[:6], name[-8:]) == ("views/", ".html.gz") for name in files)
    assert all(name.count("/") <= 1 and ".." not in name for name in files)
    assert len(files) > len(snapshot.entries)


def test_a_view_has_the_address_that_it_has_in_the_gradio_space(show, board):
    page = show(BEANS)
    ranking = board[2].entries["image/beans"].ranking
    expect(checkpoints(page)).to_have_text([row.checkpoint for row in ranking.rows])
    expect(page.locator(".answer")).to_be_visible()
    page.get_by_role("row").get_by_role("link", name="org/best", exact=True).click()
    expect(page.get_by_role("heading", name="org/best")).to_be_visible()
    assert "checkpoint=org%2Fbest" in page.url
    page.go_back()
    expect(page.locator("table.board caption")).to_contain_text("beans")
    page.get_by_label("Dataset").select_option("food")
    expect(page.locator("table.board caption")).to_contain_text("food")
    page.get_by_role("link", name="Score vs cost").click()
    expect(page.locator("svg.plot.wide")).to_be_visible()
    assert "ranking=image%2Ffood" in page.url


def test_rows_are_sorted_and_searched(show):
    page = show("task=image-classification&ranking=image%2Ffood")
    expect(checkpoints(page)).to_have_text(["org/close", "org/best", "org/worse", "org/small"])
    params = page.get_by_role("columnheader", name="Params")
    params.get_by_role("link").click()
    smallest_first = ["org/small", "org/best", "org/worse", "org/close"]
    expect(checkpoints(page)).to_have_text(smallest_first)
    expect(params).to_have_attribute("aria-sort", "ascending")
    params.get_by_role("link").click()
    expect(checkpoints(page)).to_have_text(smallest_first[::-1])
    page.get_by_role("searchbox").fill("small | best")
    expect(checkpoints(page).filter(visible=True)).to_have_text(["org/best", "org/small"])
    expect(page.locator("#emms-count")).to_have_text("2 of 4 checkpoints")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("small | best")
    expect(checkpoints(page).filter(visible=True)).to_have_text(["org/best", "org/small"])
    page.goto(f"{page.url.partition('?')[0]}?tab=across&task=image-classification&order=-checkpoint")
    expect(checkpoints(page)).to_have_text(["org/worse", "org/small", "org/close", "org/broken", "org/best"])


def test_a_search_and_the_filters_of_an_address_are_answered(show):
    page = show("task=image-classification&ranking=image%2Ffood")
    page.get_by_role("searchbox").fill("small | worse")
    answer = page.locator(".answer")
    expect(answer).to_have_text("Best of these: org/worse, rank 3 of all.")
    page.goto(f"{page.url.partition('?')[0]}?task=image-classification&ranking=image%2Ffood&max=1M&sort=parameters")
    expect(checkpoints(page).filter(visible=True)).to_have_text(["org/small", "org/best"])
    expect(answer).to_have_text("Best of these: org/best, rank 2 of all.")
    expect(page.locator("#emms-count")).to_contain_text("2 of 4 checkpoints pass the filters of this address")
    page.get_by_role("columnheader", name="Params").get_by_role("link").click()
    expect(checkpoints(page).filter(visible=True)).to_have_text(["org/best", "org/small"])
    page.get_by_role("link", name="clear filters").click()
    expect(checkpoints(page).filter(visible=True)).to_have_count(4)


def test_the_home_page_is_searched(show):
    page = show()
    page.get_by_role("searchbox").fill("text-class")
    expect(page.locator("#emms-count")).to_have_text("1 dataset.")
    expect(page.locator(".home tbody tr").filter(visible=True)).to_contain_text(["news"])
    page.reload()
    expect(page.locator("#emms-count")).to_have_text("1 dataset.")


def test_how_far_the_best_is_ahead_leads_nowhere_without_comparisons(show):
    page = show("checkpoint=org%2Fsmall")
    expect(page.get_by_role("cell", name="by 0.")).to_be_visible()
    assert page.locator('a[href*="with="]').count() == 0


def test_what_a_ranking_says_is_only_text(show):
    page = show("ranking=hostile")
    expect(checkpoints(page)).to_have_count(len(HOSTILE) + 1)
    assert page.evaluate("window.ran") is None
    for query in ("ranking=gone", "with=a&with=b", "checkpoint=org/gone", "tab=submit"):
        expect(show(query).get_by_text("This page has no such view")).to_be_visible()


@pytest.mark.parametrize("query", ["", f"{BEANS}&sort=-parameters", "tab=across", "tab=cost", "checkpoint=org%2Fbest"])
def test_axe_finds_nothing_to_complain_about(show, query):
    for scheme in ("light", "dark"):
        page = show(query, color_scheme=scheme, bypass_csp=True)
        expect(page.locator("main:not([aria-busy])")).to_be_visible()
        assert not violations(page, scheme)
