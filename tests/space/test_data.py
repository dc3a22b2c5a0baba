"""What the Space makes of ranking files and addresses, without a server: reading, refreshing, choosing, checking."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaderboard import markup, render, selection, table
from leaderboard.checks import recomputed
from leaderboard.selection import View
from leaderboard.store import Store

from hf_emms.publish import results
from hf_emms.ranking import Encoder, Row
from hf_emms.ranking.merge import path_of
from hf_emms.scoring import Score
from tests import ROOT
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, SPACE, of_rows, scored, snapshot_of, write

# Reading


def test_numbers_are_not_called_a_label_encoder():
    text = table.described(example(encoders=(Encoder("box (numbers)", ""),)))
    assert "· labels as numbers: box<" in text
    assert "encoder" not in text


def test_a_folder_is_read_with_what_is_broken_named(tmp_path, shown):
    assert sorted(shown.entries) == ["hostile", "image/beans", "image/food", "long", "long2", "text/news"]
    assert [problem.partition(":")[0] for problem in shown.problems] == ["broken.json"]


def test_standard_errors_are_those_of_the_file_where_folds_do_not_give_them():
    score = Score(-1.0, 0.04, (-0.9, -1.1, -1.0))
    row = example(rows=(Row("org/a", scores={"emms": score, "short_run": score}),))
    shown = recomputed(row).rows[0].scores
    assert shown["short_run"] == score
    assert shown["emms"].stderr == pytest.approx(0.1 / 3**0.5)


def test_parquet_is_read_and_the_rows_of_a_results_dataset_are_left_to_its_json(tmp_path):
    example().save(tmp_path / "alone.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "alone.parquet").read_bytes()[:100])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "data.parquet").write_bytes(results.parquet_rows(example(), "x"))
    found = snapshot_of(tmp_path)
    assert list(found.entries) == ["alone"]
    assert found.entries["alone"].ranking == recomputed(example())
    assert sorted(problem.partition(":")[0] for problem in found.problems) == ["cut.parquet", "other.parquet"]


def test_a_results_dataset_is_read_from_its_folder_of_rankings(tmp_path):
    path = path_of(example())
    write(tmp_path / "rankings", path, example())
    (tmp_path / "other.json").write_text("{}")
    assert list(snapshot_of(tmp_path).entries) == [path]


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


def test_when_the_source_fails_the_last_copy_is_shown(tmp_path):
    write(tmp_path, "beans", example())
    answers = [tmp_path, OSError("no network")]

    def locate():
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    store = Store(locate, "ORG/results")
    store.refresh()
    store.refresh()
    assert list(store.snapshot.entries) == ["beans"]
    assert store.snapshot.failure == "ORG/results could not be read (OSError)"
    assert "UTC is shown" in render.about_the_data(store.snapshot, "")
    shown = render.show(View(), store.snapshot)
    assert "org/best" in shown.content
    age = r"could not be read \(OSError\): the data are those of 20\d\d-\d\d-\d\d \d\d:\d\d UTC"
    assert re.search(age, shown.notice)


def test_a_page_without_rankings_says_why(tmp_path):
    def unreachable():
        raise OSError("no route")

    reading, empty, cut_off = (Store(locate, "ORG/results") for locate in (unreachable, lambda: tmp_path, unreachable))
    empty.refresh()
    cut_off.refresh()
    assert "ORG/results are being read" in render.show(View(), reading.snapshot).content
    assert "There are no rankings in ORG/results." in render.show(View(), empty.snapshot).content
    assert "could not be read (OSError)" in render.show(View(), cut_off.snapshot).content


# Addresses


TEXT = st.text(max_size=40).map(str.strip)
TEXTS = st.lists(TEXT.filter(bool), unique=True, max_size=3).map(tuple)


VIEWS = st.builds(
    View,
    tab=st.sampled_from(list(selection.TABS)),
    task=TEXT,
    ranking=TEXT,
    checkpoint=TEXT,
    compare=TEXTS,
    ticked=TEXTS,
    q=TEXT,
    at_least=st.sampled_from(["", *selection.SIZES]),
    at_most=st.sampled_from(["", *selection.SIZES]),
    library=TEXTS,
    license=TEXTS,
    language=TEXTS,
    trained=st.sampled_from(list(selection.TRAINED)),
    columns=st.sets(st.sampled_from(list(selection.COLUMNS))).map(
        lambda chosen: tuple(name for name in selection.COLUMNS if name in chosen)
    ),
    sort=st.sampled_from(selection.sorts(example())).flatmap(lambda name: st.sampled_from([name, f"-{name}"])),
    order=st.sampled_from(list(selection.ORDERS)).flatmap(lambda name: st.sampled_from([name, f"-{name}"])),
    rows=st.integers(1, 999_999),
    scope=st.sampled_from(list(selection.SCOPES)),
    cost=st.sampled_from(list(selection.COSTS)),
    data=TEXT,
)


@given(VIEWS)
def test_every_view_is_a_link(view):
    assert selection.from_query(selection.to_query(view)) == view


@given(st.text())
def test_every_address_is_a_view(query):
    view = selection.from_query(query)
    assert selection.from_query(selection.to_query(view)) == view


# Markup


@given(st.text())
def test_escaped_text_is_only_text(text):
    escaped = markup.escape(text)
    assert not set(escaped) & set("<>\"'")


@pytest.mark.parametrize("name", HOSTILE)
def test_only_what_was_measured_on_the_hub_is_linked(name):
    assert markup.hub_address(name, "a" * 40) is None
    assert not markup.is_id(name)


def test_links_lead_to_the_hub_that_the_space_reads():
    code = "from leaderboard.markup import hub_address; print(hub_address('org/name', 40 * '0'))"
    environment = {**os.environ, "HF_ENDPOINT": "https://hub.example.org/", "PYTHONPATH": f"{SPACE}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "https://hub.example.org/org/name\n", done.stderr


def test_links_lead_to_the_hub():
    commit = "0" * 40
    assert markup.hub_address("org/name@main", commit) == "https://huggingface.co/org/name"
    assert markup.hub_address("org/name", commit, "datasets/") == "https://huggingface.co/datasets/org/name"
    for name, revision in (("org/name", "local-12"), ("../x", commit), ("org/../x", commit), ("emms-demo/x", None)):
        assert markup.hub_address(name, revision) is None
