"""The Space reads, refreshes, selects and checks ranking files, without a server."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaderboard import markup, render, selection, static, store
from leaderboard.checks import recomputed
from leaderboard.selection import View
from leaderboard.store import Store

from hf_emms.ranking import Encoder, Row
from hf_emms.scoring import Score
from tests import ROOT
from tests.helpers.quick_python import python
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, SPACE, client_of, of_rows, scored, snapshot_of, write


def test_numbers_are_not_called_a_label_encoder(tmp_path):
    write(tmp_path, "x", example(encoders=(Encoder("box (numbers)", ""),)))
    text = " ".join(render.show(View(), snapshot_of(tmp_path)).content.split())
    assert "· labels as numbers: box </p>" in text
    assert "· label encoders" not in text


def test_a_folder_is_read_with_what_is_broken_named(shown):
    assert sorted(shown.entries) == ["hostile", "image/beans", "image/food", "long", "long2", "text/news"]
    assert [problem.partition(":")[0] for problem in shown.problems] == ["broken.json"]


def test_standard_errors_are_those_of_the_file_where_folds_do_not_give_them():
    score = Score(-1.0, 0.04, (-0.9, -1.1, -1.0))
    shown = recomputed(example(rows=(Row("org/a", scores={"emms": score, "short_run": score}),))).rows[0].scores
    assert shown["short_run"] == score
    assert shown["emms"].stderr == pytest.approx(0.1 / 3**0.5)


def test_a_results_dataset_has_its_rankings_in_a_folder(tmp_path):
    write(tmp_path, "other", example())
    write(tmp_path / "rankings", "beans", example())
    assert [*snapshot_of(tmp_path).entries] == ["beans"]


def test_a_refresh_reads_what_changed_and_keeps_what_pages_hold(tmp_path):
    write(tmp_path, "beans", example())
    write(tmp_path, "food", of_rows("food", scored("a/b", -0.1, 10)))
    store = Store(lambda: tmp_path, "here")
    store.refresh()
    before = store.snapshot
    store.refresh()
    assert store.snapshot is before
    write(tmp_path, "food", of_rows("food", scored("a/c", -0.1, 10)))
    os.utime(tmp_path / "food.json", (1, 1))
    store.refresh()
    after = store.snapshot
    assert after.version == before.version + 1
    assert before.entries["food"].ranking.rows[0].checkpoint == "a/b"
    assert after.entries["food"].ranking.rows[0].checkpoint == "a/c"
    assert after.entries["beans"].ranking is before.entries["beans"].ranking


def test_a_new_file_of_a_local_folder_is_in_the_next_snapshot(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOOK_SECONDS", 0)
    write(tmp_path, "beans", example())
    local = Store(tmp_path, "here")
    before = local.snapshot
    assert local.snapshot is before
    write(tmp_path, "food", of_rows("food", scored("a/b", -0.1, 10)))
    assert [*local.snapshot.entries] == ["beans", "food"]
    assert before.entries["beans"].ranking is local.snapshot.entries["beans"].ranking


def test_what_cannot_be_read_is_said_and_the_last_copy_shown(tmp_path):
    write(tmp_path / "full", "beans", example())
    (tmp_path / "empty").mkdir()

    def shown_of(*answers):
        """Return the view after a refresh for each answer: a folder, or None without network."""
        folders = iter(answers)

        def locate():
            folder = next(folders)
            if folder is None:
                raise OSError("no network")
            return tmp_path / folder

        store = Store(locate, "ORG/results")
        for _ in answers:
            store.refresh()
        return store.snapshot, render.show(View(), store.snapshot)

    snapshot, page = shown_of("full", None)
    assert "copy of 20" in render.about_the_data(snapshot, "")
    assert "org/best" in page.content
    age = r"ORG/results could not be read \(OSError\): showing the data of 20\d\d-\d\d-\d\d \d\d:\d\d UTC"
    assert re.search(age, page.notice)
    assert "reading the rankings in ORG/results" in shown_of()[1].content
    assert "ORG/results does not contain rankings." in shown_of("empty")[1].content
    assert "could not be read (OSError)" in shown_of(None)[1].content


TEXT = st.text(max_size=40).map(str.strip)
TEXTS = st.lists(TEXT.filter(bool), unique=True, max_size=3).map(tuple)


def either_way(names):
    return st.sampled_from([direction + name for name in names for direction in ("", "-")])


VIEWS = st.builds(
    View,
    **dict.fromkeys(("task", "ranking", "checkpoint", "q"), TEXT),
    **dict.fromkeys(("library", "license", "language"), TEXTS),
    max=st.sampled_from(["", *selection.SIZES]),
    tab=st.sampled_from(list(selection.TABS)),
    trained=st.sampled_from(list(selection.TRAINED)),
    columns=st.sampled_from(["", "all"]),
    sort=either_way(selection.sorts(example())),
    rows=st.integers(1, 999_999),
    cost=st.sampled_from(list(selection.COSTS)),
)


@given(VIEWS)
def test_every_view_is_a_link(view):
    assert selection.from_query(selection.to_query(view)) == view


@given(st.text())
def test_every_address_is_a_view(query):
    view = selection.from_query(query)
    assert selection.from_query(selection.to_query(view)) == view


@given(st.text())
def test_a_text_in_a_template_is_only_text(text):
    drawn = markup.draw("part.html", title=f"<{text}", main="")
    within = drawn.removeprefix('<!doctype html><meta charset="utf-8"><title>').removesuffix("</title>")
    assert not set(within) & set("<>\"'")
    assert all(char.isprintable() for char in within)


def test_no_python_file_writes_html():
    """All HTML comes from templates, which escape each text."""
    tag = re.compile(r"</?[a-z][a-z0-9]*[ >/]")
    written = [
        (path.name, node.lineno, node.value)
        for path in sorted(SPACE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and tag.search(node.value)
    ]
    assert not written


def test_links_lead_to_the_hub_that_the_space_reads():
    code = "from leaderboard.markup import hub_address; print(hub_address('org/name', 40 * '0'))"
    environment = {**os.environ, "HF_ENDPOINT": "https://hub.example.org/", "PYTHONPATH": f"{SPACE}:{ROOT}"}
    done = subprocess.run([*python(), "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "https://hub.example.org/org/name\n", done.stderr


def test_only_what_was_measured_on_the_hub_is_linked():
    commit = "0" * 40
    assert markup.hub_address("org/name@main", commit) == "https://huggingface.co/org/name"
    assert markup.hub_address("org/name", commit, "datasets/") == "https://huggingface.co/datasets/org/name"
    for name, revision in (("org/name", "local-12"), ("../x", commit), ("org/../x", commit), ("emms-demo/x", None)):
        assert markup.hub_address(name, revision) is None
    for name in HOSTILE:
        assert markup.hub_address(name, commit) is None
        assert not markup.is_id(name)


def test_a_ranking_that_cannot_be_rendered_is_left_out_and_stops_no_other(tmp_path):
    beaten = msgspec.structs.replace(scored("a constant", -0.5, 1), revision=None)
    odd = msgspec.structs.replace(beaten, scores=beaten.scores | {"unheard-of": Score(0.5)})
    write(tmp_path, "odd", example(baselines=(odd,)))
    write(tmp_path, "food", of_rows("food", scored("org/a", -0.1, 10)))
    client = client_of(tmp_path)
    assert [client.get(path).status_code for path in ("/", "/?ranking=odd", "/?ranking=food")] == [200, 404, 200]
    assert "unheard-of" in client.get("/?tab=about").text
    written = dict(static.files(snapshot_of(tmp_path), "org/results"))
    assert b"food" in written["index.html"]


def test_a_ranking_of_many_rows_is_sent_in_parts(tmp_path):
    write(tmp_path, "many", of_rows("many", *(scored(f"org/{number}", -number / 9000, 10) for number in range(3000))))
    page = client_of(tmp_path).get("/?ranking=many").text
    assert page.count("<tr ") == 200
    assert "show more" in page


def test_the_first_page_and_the_first_check_import_no_scipy(tmp_path):
    write(tmp_path, "beans", example())
    code = (
        "import sys; from pathlib import Path; from leaderboard import submit, render, selection, store\n"
        "folder = Path(sys.argv[1]); made = store.Store(folder, 'x'); made.refresh()\n"
        "render.show(selection.View(), made.snapshot); submit.checked((folder / 'beans.json').read_bytes())\n"
        "print([name for name in ('scipy', 'torch', 'transformers') if name in sys.modules])"
    )
    path = os.pathsep.join([str(SPACE), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n", done.stderr
