"""The leaderboard without a server: published for a free account, a file for each view."""

from __future__ import annotations

import gzip
import http.server
import random
import threading
from functools import partial
from urllib.parse import urlencode

import pytest

from hf_emms.publish.space import static_files
from tests.helpers.errors import raises_code
from tests.helpers.rankings import example
from tests.helpers.space import BEANS, HOSTILE, checkpoints, choose, expect, fill, of_rows, scored, snapshot_of
from tests.space.test_hub import command, front_matter, publish, results

__all__ = ["command", "publish", "results"]


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


def views(hub):
    return [path for path in hub.store.paths("ada/board", "space") if path.startswith("views/")]


def test_a_free_account_publishes_it_and_new_results_draw_it_anew(hub, command, publish, results, tmp_path):
    hub.store.put_files(results, {"rankings/damaged.json": b'{"rows": ['}, "dataset")
    card = b"---\nlicense: artistic-2.0\nlibrary_name: paddlenlp\n---\n"
    hub.store.put_files("org/best", {"README.md": card}, sha=example().row("org/best").revision)
    done = publish("--static")
    assert "not shown: damaged: " in done.err  # and costs no other
    assert hub.store.repo("ada/board", "space").space.sdk == "static"
    loose = [path for path in hub.store.paths("ada/board", "space") if "/" not in path]
    assert loose == [".gitattributes", "README.md", "index.html"]
    assert len(views(hub)) == 3 + 4 + 2 + len(example().rows) + 3  # tables; plots; heat maps; checkpoints; others
    drawn = [gzip.decompress(hub.store.read("ada/board", path, "space")).decode() for path in views(hub)]
    assert any("artistic-2.0" in page and "paddlenlp" in page for page in drawn)  # of the card
    card = front_matter(hub, "ada/board", "space")
    assert (card["sdk"], card["app_file"]) == ("static", "index.html")
    assert not {"sdk_version", "python_version"} & set(card)
    assert "org/best" in card["models"]
    file = of_rows("food", scored("org/new", -0.1, 10), task="text-classification").save(tmp_path / "ranking.json")
    done = command("publish", "results", "--yes", "--repo-id", results, "--ranking", file, token=hub.token(user="ada"))
    assert done.code == 0, done.err
    publish("--static")
    assert b"org/</span><wbr>new" in hub.store.read("ada/board", "index.html", "space")


def test_a_static_space_and_a_gradio_one_take_each_others_place(hub, command, publish, results):
    for words, app, other in (
        ((), "app.py", "index.html"),
        (("--static",), "index.html", "app.py"),
        ((), "app.py", "index.html"),
    ):
        publish(*words)
        paths = hub.store.paths("ada/board", "space")
        assert app in paths
        assert other not in paths
        assert bool(views(hub)) == bool(words)
    broken = {path: b"{" for path in hub.store.paths(results, "dataset") if path.startswith("rankings/")}
    hub.store.put_files(results, broken, "dataset")
    words = ("publish", "space", "--yes", "--static", "--repo-id", "ada/board", "--results", results)
    done = command(*words, token=hub.token(user="ada"))
    assert done.code == 1
    assert f"no ranking of {results} can be read: one: " in done.err


def test_pages_that_cannot_be_drawn_say_why(tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("raise ImportError('msgspec is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with raises_code("package-missing", "org/results", "msgspec is broken"):
        static_files(tmp_path, "org/results")


def test_no_name_leaves_the_folder(board):
    files, _, snapshot = board
    assert all(name == "index.html" or (name[:6], name[-8:]) == ("views/", ".html.gz") for name in files)
    assert all(name.count("/") <= 1 and ".." not in name for name in files)
    assert len(files) > len(snapshot.entries)


def test_a_view_has_the_address_that_it_has_in_the_gradio_space(show, board):
    page = show(BEANS)
    ranking = board[2].entries["image/beans"].ranking
    expect(checkpoints(page)).to_have_text([row.checkpoint for row in ranking.rows])
    expect(page.locator(".answer")).to_contain_text("Fine-tune org/best: tie")
    page.get_by_role("row").get_by_role("link", name="org/best", exact=True).click()
    expect(page.get_by_role("heading", name="org/best")).to_be_visible()
    assert "checkpoint=org%2Fbest" in page.url
    page.go_back()
    expect(page.locator("table.board caption")).to_contain_text("beans")
    page.get_by_label("Dataset").select_option("food")
    expect(page.locator("table.board caption")).to_contain_text("food")
    points = page.locator("svg.plot [data-point]")
    expect(points).to_have_count(4)
    page.get_by_label("Search").fill("small | worse")
    expect(page.locator(".answer")).to_contain_text("Fine-tune org/worse")
    expect(points).to_have_count(2)
    expect(page.locator("tr.pick .name")).to_have_text("org/worse")
    expect(page.locator(".pick circle")).to_have_count(1)
    page.get_by_text("Filters", exact=True).click()
    choose(page, "Plot against", "Seconds")
    expect(page.locator("p.axis")).to_contain_text("against seconds")


def test_the_home_page_is_searched_and_finds_every_checkpoint(show):
    page = show()
    datasets = page.locator("table.board tbody tr").filter(visible=True)
    for words, found in (("text classes", "news"), ("org/long-077 long2", "long2"), ("org/bert | nothing", "news")):
        page.get_by_role("searchbox").fill(words)
        expect(page.locator("#emms-count")).to_contain_text(" of 6 datasets.")
        expect(datasets.last).to_contain_text(found)
    expect(datasets).to_have_count(1)
    expect(page.locator("#emms-named a")).to_have_text(["org/bert"])
    page.reload()
    expect(datasets).to_have_count(1)


STATE = """() => {
    const text = (selector) => document.querySelector(selector)?.innerText;
    const rows = [...document.querySelectorAll("table.board tbody tr:not([hidden])")];
    return {
        rows: rows.map((row) => [row.querySelector(".name").textContent, row.classList.contains("band")]),
        pick: text("tr.pick .name"), point: document.querySelector(".pick[data-point]")?.dataset.point,
        count: text("#emms-count"), sorted: text("th[aria-sort]"),
    };
}"""
GO = """query => {
    window.asked = 0;
    const fetched = window.fetch;
    window.fetch = (...what) => { window.asked += 1; return fetched(...what); };
    history.pushState(null, "", "?" + query);
    dispatchEvent(new PopStateEvent("popstate", { state: null }));
}"""
SEARCHES = ("org", "best | small", "o s", "long-1", "x y")


def filters(rng):
    """Return random filters and an order."""
    columns = ("checkpoint", "parameters", "emms", "knn", "speed")
    chosen = {
        "q": rng.choice(SEARCHES),
        "max": rng.choice(["1M", "100M", "31M"]),
        "sort": rng.choice(["-", ""]) + rng.choice(columns),
        "trained": "unseen",
    }
    return {name: value for name, value in chosen.items() if rng.random() < 0.5}


@pytest.mark.slow
def test_server_browser_and_static_page_agree_for_sixty_combinations_of_filters(show, board, space, open_page):
    rng, served, static = random.Random(0), open_page(space.url), show()
    for _ in range(60):
        base = f"ranking={rng.choice(['image%2Fbeans', 'image%2Ffood', 'long', 'hostile'])}"
        query = "&".join([base, urlencode(filters(rng))])
        served.goto(f"{space.url}/?{query}")
        expected = served.evaluate(STATE)
        served.goto(f"{space.url}/?{base}")
        served.evaluate(GO, query)
        served.wait_for_load_state("networkidle")
        assert served.evaluate(STATE) == expected, query
        assert served.evaluate("window.asked") <= 1, query  # the answer and the plot
        static.goto(f"{board[1]}?{query}")
        static.locator("main:not([aria-busy])").wait_for()
        static.wait_for_load_state("networkidle")
        assert static.evaluate(STATE) == expected, query


def test_what_a_ranking_says_is_only_text(show):
    page = show("ranking=hostile")
    expect(checkpoints(page)).to_have_count(len(HOSTILE) + 1)
    assert page.evaluate("window.ran") is None
    for query in ("ranking=gone", "task=nope", "checkpoint=org/gone", "tab=submit"):
        page.goto(f"{page.url.partition('?')[0]}?{query}")
        expect(page.get_by_text("This page has no such view")).to_be_visible()
