"""What the Space makes of ranking files and addresses, without a server: reading, refreshing, choosing, checking."""

from __future__ import annotations

import csv
import io
import json
import os

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaderboard import across, cost, markup, render, selection, shortlist, submit, table
from leaderboard.checks import recomputed
from leaderboard.selection import View
from leaderboard.store import Folder, Store
from leaderboard.wins import wins

from hf_emms import results
from hf_emms.ranking import Encoder, Score
from tests import ROOT
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, fill, hostile, of_rows, scored, with_facts, write


def snapshot_of(folder):
    store = Store(lambda: folder, folder.name)
    store.refresh()
    return store.snapshot


@pytest.fixture
def shown(tmp_path):
    fill(tmp_path)
    return snapshot_of(tmp_path)


# Reading


def test_numbers_are_not_called_a_label_encoder():
    text = table.described(example(encoders=(Encoder("box (numbers)", ""),)))
    assert "· labels as numbers: box ·" in text
    assert "encoder" not in text


def test_every_setting_of_a_ranking_is_shown():
    shown_settings = table.described(example(settings=example().settings | {"new_option": ["<b>", 7], "prompt": None}))
    assert "seed 0, folds 3" in shown_settings
    assert "new_option &lt;b&gt;, 7" in shown_settings
    assert "prompt" not in shown_settings


def test_files_of_schema_version_1_are_read(tmp_path):
    (tmp_path / "old.json").write_bytes((ROOT / "tests" / "golden" / "ranking_v1.json").read_bytes())
    found = snapshot_of(tmp_path)
    assert not found.problems
    assert "seed 3, folds 5" in table.table(View(), found.entries["old"].ranking, found)


def test_a_folder_is_read_with_what_is_broken_named(tmp_path, shown):
    assert sorted(shown.entries) == ["hostile", "image/beans", "image/food", "text/news"]
    assert [problem.partition(":")[0] for problem in shown.problems] == ["broken.json"]


def test_parquet_is_read_and_the_rows_of_a_results_dataset_are_left_to_its_json(tmp_path):
    example().to_parquet(tmp_path / "alone.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "alone.parquet").read_bytes()[:100])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "data.parquet").write_bytes(results.parquet(example(), "x"))
    found = snapshot_of(tmp_path)
    assert list(found.entries) == ["alone"]
    assert found.entries["alone"].ranking == recomputed(example())
    assert sorted(problem.partition(":")[0] for problem in found.problems) == ["cut.parquet", "other.parquet"]


def test_a_results_dataset_is_read_from_its_folder_of_rankings(tmp_path):
    path = results.path_of(example())
    write(tmp_path / "rankings", path, example())
    (tmp_path / "other.json").write_text("{}")
    assert list(snapshot_of(tmp_path).entries) == [path]


def test_a_file_beyond_the_limit_is_skipped(tmp_path, monkeypatch):
    write(tmp_path, "big", example())
    monkeypatch.setattr("leaderboard.store.MAX_FILE_BYTES", 100)
    found = snapshot_of(tmp_path)
    assert not found.entries
    assert "more than" in found.problems[0]


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
    assert "the last copy is shown" in render.about_the_data(store.snapshot, "")
    assert "org/best" in render.show(View(), store.snapshot).content


def test_a_page_without_rankings_says_why(tmp_path):
    def unreachable():
        raise OSError("no route")

    reading, empty, cut_off = (Store(locate, "ORG/results") for locate in (unreachable, lambda: tmp_path, unreachable))
    empty.refresh()
    cut_off.refresh()
    assert "ORG/results are being read" in render.show(View(), reading.snapshot).content
    assert "There are no rankings in ORG/results." in render.show(View(), empty.snapshot).content
    assert "could not be read (OSError)" in render.show(View(), cut_off.snapshot).content
    assert render.newer('{"version": 0}', "", empty.snapshot)


def test_a_notice_of_new_results_that_arrives_after_they_are_shown_goes_away(tmp_path):
    store = Store(lambda: tmp_path, "here")
    old = json.dumps({"version": store.snapshot.version, "query": ""})
    store.refresh()
    now = json.dumps({"version": store.snapshot.version, "query": ""})
    late = render.newer(old, "", store.snapshot)
    assert "New results have arrived" in late
    assert render.newer(now, late, store.snapshot) == ""
    assert render.newer(now, "Another notice", store.snapshot) is None


def test_a_missing_folder_is_no_rankings(tmp_path):
    entries, problems = Folder(tmp_path / "none").read()
    assert not entries
    assert problems == ("there is no folder none",)


# Addresses

TEXT = st.text(max_size=40).map(str.strip)
VIEWS = st.builds(
    View,
    tab=st.sampled_from(list(selection.TABS)),
    task=TEXT,
    ranking=TEXT,
    q=TEXT,
    at_least=st.sampled_from(["", *selection.SIZES]),
    at_most=st.sampled_from(["", *selection.SIZES]),
    library=st.lists(TEXT, unique=True, max_size=3).map(tuple),
    licence=st.lists(TEXT, unique=True, max_size=3).map(tuple),
    columns=st.sets(st.sampled_from(list(selection.COLUMNS))).map(
        lambda chosen: tuple(name for name in selection.COLUMNS if name in chosen)
    ),
    sort=st.sampled_from(selection.SORTS).flatmap(lambda name: st.sampled_from([name, f"-{name}"])),
    order=st.sampled_from(list(selection.ORDERS)).flatmap(lambda name: st.sampled_from([name, f"-{name}"])),
    rows=st.integers(1, 999_999),
    scope=st.sampled_from(list(selection.SCOPES)),
    cost=st.sampled_from(list(selection.COSTS)),
    own=TEXT,
)


@given(VIEWS)
def test_every_view_is_a_link(view):
    assert selection.from_query(selection.to_query(view)) == view


@given(st.text())
def test_every_address_is_a_view(query):
    view = selection.from_query(query)
    assert selection.from_query(selection.to_query(view)) == view


def test_a_view_goes_to_the_ranking_it_names_or_to_none(shown):
    view, entry = selection.resolved(View(ranking="image/food"), shown)
    assert (view.task, entry.id) == ("image-classification", "image/food")
    assert selection.resolved(View(task="text-classification"), shown)[1].id == "text/news"
    assert selection.resolved(View(ranking="gone"), shown) == (View(ranking="gone"), None)


# Markup


@given(st.text())
def test_escaped_text_is_only_text(text):
    escaped = markup.escape(text)
    assert not set(escaped) & set("<>\"'{}$`")


@pytest.mark.parametrize("name", HOSTILE)
def test_only_what_was_measured_on_the_hub_is_linked(name):
    assert markup.hub_address(name, "a" * 40) is None
    assert not markup.is_id(name)


def test_links_lead_to_the_hub():
    commit = "0" * 40
    assert markup.hub_address("org/name@main", commit) == "https://huggingface.co/org/name"
    assert markup.hub_address("org/name", commit, "datasets/") == "https://huggingface.co/datasets/org/name"
    for name, revision in (("org/name", "local-12"), ("../x", commit), ("org/../x", commit), ("emms-demo/x", None)):
        assert markup.hub_address(name, revision) is None


# Choosing


def beans(shown):
    return shown.entries["image/beans"].ranking


def chosen(shown, **view):
    return [line.row.checkpoint for line in table.chosen(View(**view), beans(shown), shown)]


def test_filters_and_orders(shown):
    assert chosen(shown) == [row.checkpoint for row in example().rows]
    assert chosen(shown, q="ORG b") == ["org/best", "org/broken"]
    assert chosen(shown, at_least="1M") == ["org/close", "org/worse"]
    assert chosen(shown, at_most="100M", at_least="10M") == ["org/worse"]
    assert chosen(shown, sort="-knn") == ["org/best", "org/close", "org/worse", "org/broken"]
    assert chosen(shown, sort="parameters") == ["org/best", "org/worse", "org/close", "org/broken"]
    assert chosen(shown, licence=("mit",)) == []


def test_a_filter_that_no_checkpoint_passes_yet_stays(shown):
    """What the Hub knows of checkpoints may arrive after the page."""
    wanted = View(ranking="image/beans", licence=("apache-2.0",), library=("timm",))
    found = render.show(wanted, shown)
    assert (found.view.licence, found.view.library) == (("apache-2.0",), ("timm",))
    assert "license=apache-2.0" in found.address
    assert "No checkpoint passes" in found.content


def test_what_files_know_of_licences_filters(tmp_path):
    (tmp_path / "a.json").write_text(with_facts(example(), license="mit", library="timm", downloads=1200))
    found = snapshot_of(tmp_path)
    assert (found.licences, found.libraries) == (("mit",), ("timm",))
    lines_ = table.chosen(View(licence=("mit",), library=("timm",)), found.entries["a"].ranking, found)
    assert len(lines_) == 4
    assert "1k" in table.table(View(), found.entries["a"].ranking, found)


def test_a_click_on_a_header_turns_the_order():
    assert markup.turned("rank", "emms") == "-emms"
    assert markup.turned("-emms", "emms") == "emms"
    assert markup.turned("emms", "emms") == "-emms"
    assert markup.turned("-emms", "parameters") == "parameters"
    assert markup.turned("parameters", "parameters") == "-parameters"


def test_long_tables_are_drawn_in_parts(tmp_path):
    write(tmp_path, "long", of_rows("long", *(scored(f"org/c{i}", -i / 1000, 1000 + i) for i in range(250))))
    found = snapshot_of(tmp_path)
    ranking = found.entries["long"].ranking
    short = table.table(View(), ranking, found)
    assert short.count("<tr") == 201
    assert "the first 200 drawn" in short
    assert table.table(View(rows=1200), ranking, found).count("<tr") == 251


def test_the_samples_of_each_row_are_shown_where_a_race_stopped_some(tmp_path):
    rows = scored("org/winner", -0.1, 10), scored("org/stopped", -0.2, 10)
    for name, second in (("full", rows[1]), ("race", msgspec.structs.replace(rows[1], n=250))):
        write(tmp_path / name, "beans.json", of_rows("beans", rows[0], second))
        snapshot = snapshot_of(tmp_path / name)
        (entry,) = snapshot.entries.values()
        page = table.table(View(), entry.ranking, snapshot)
        assert ("Samples" in page, "250" in page) == ((True, True) if name == "race" else (False, False))


def test_csv_holds_numbers_as_they_are_and_no_formulas(tmp_path):
    write(tmp_path, "hostile", hostile())
    found = snapshot_of(tmp_path)
    ranking = found.entries["hostile"].ranking
    rows = list(csv.DictReader(io.StringIO(table.to_csv(View(), ranking, found))))
    assert len(rows) == len(HOSTILE) + 1
    assert not [row["checkpoint"] for row in rows if row["checkpoint"].startswith(("=", "+", "-", "@"))]
    assert float(rows[0]["emms"]) == ranking.rows[0].scores["emms"].value


def test_wins_across_datasets_come_from_the_pairs_that_share_a_ranking(shown):
    cells = across.grid(View(task="image-classification"), shown)
    assert list(cells.rows) == ["org/close", "org/best", "org/worse", "org/small", "org/broken"]
    assert cells.wins["org/close"].share > cells.wins["org/best"].share > 0.5 > cells.wins["org/worse"].share
    assert [cells.wins[name].rankings for name in ("org/close", "org/small")] == [2, 1]
    assert all(one.low < one.share < one.high for one in cells.wins.values())
    page = across.heat_map(View(task="image-classification"), shown)
    assert "2 of 2" in page
    assert "1 of 2" in page


def test_a_ranking_of_other_checkpoints_leaves_the_order_as_it_was(shown, tmp_path):
    before = across.grid(View(task="image-classification"), shown)
    others = [scored(f"other/{name}", -0.1 * place, 10) for place, name in enumerate("abcdef", 1)]
    write(tmp_path, "image/zoo", of_rows("zoo", *others))
    after = across.grid(View(task="image-classification"), snapshot_of(tmp_path))
    assert [name for name in after.rows if name in before.rows] == list(before.rows)
    assert [name for name in after.rows if name.startswith("other")] == [row.checkpoint for row in others]
    assert after.wins["org/close"].share == pytest.approx(before.wins["org/close"].share, abs=0.05)


def test_the_heat_map_sorts_by_what_its_headers_say(shown):
    names = {
        order: list(across.grid(View(task="image-classification", order=order), shown).rows)
        for order in ("wins", "-wins", "-rankings", "checkpoint", "-checkpoint")
    }
    assert names["-wins"][0] == names["wins"][-1] == "org/close"
    assert names["-rankings"][-2:] == ["org/small", "org/broken"]
    assert names["checkpoint"] == sorted(names["wins"]) == names["-checkpoint"][::-1]
    page = across.heat_map(View(task="image-classification"), shown)
    assert 'aria-sort="descending"><a data-view href="?tab=across' in page or "order=wins" in page


def test_who_always_wins_is_first_however_few_share_a_ranking():
    chain = [{"a": 1, "b": 2}, {"b": 1, "c": 2}, {"c": 1, "d": 2}] * 4
    found = wins(chain)
    assert list(found) == ["a", "b", "c", "d"]
    assert wins([{"a": 1}]) == {}
    even = wins([{"a": 1, "b": 1}] * 3)["a"]
    assert even.share == pytest.approx(0.5)
    assert even.high - even.low > found["a"].high - found["a"].low


def test_the_shortlist_weighs_the_number_of_rankings(shown):
    found = shortlist.shortlist(View(task="image-classification"), shown)
    assert [one.row.checkpoint for one in found] == ["org/close", "org/best", "org/worse", "org/small"]
    small = shortlist.shortlist(View(task="image-classification", at_most="1M"), shown)
    assert [one.row.checkpoint for one in small] == ["org/best", "org/small"]


def test_no_hostile_name_gets_into_the_command(shown):
    view = View(task="feature-extraction", own="x; rm -rf ~")
    found = shortlist.shortlist(view, shown, length=20)
    assert len(found) == len(HOSTILE)
    command = shortlist.command(view, found)
    assert command == "hf-emms rank --dataset 'x; rm -rf ~' --task feature-extraction"


def test_the_front_is_what_nothing_cheaper_beats(shown):
    ranking = shown.entries["image/food"].ranking
    found = cost.points(View(), ranking, shown)
    assert [point.line.row.checkpoint for point in found] == ["org/small", "org/best", "org/worse", "org/close"]
    assert [point.line.row.checkpoint for point in cost.front(found)] == ["org/small", "org/best", "org/close"]


@pytest.mark.parametrize("values", [[(1, -0.5)], [(1, -0.5), (1, -0.5)], [(1, 0.0), (10**12, 1e6)]])
def test_the_plot_can_draw_extremes(tmp_path, values):
    rows = [scored(f"org/{place}", score, size) for place, (size, score) in enumerate(values)]
    write(tmp_path, "x", of_rows("x", *rows))
    found = snapshot_of(tmp_path)
    drawn = cost.plot(View(tab="cost"), found.entries["x"].ranking, found)
    assert drawn.count("<circle") == len(values)
    assert "nan" not in drawn


# Submitting


def changed(**changes):
    return json.dumps(json.loads(example().to_json()) | changes)


def test_a_good_ranking_may_be_submitted():
    found = submit.checked(example().to_json())
    assert found.ranking == recomputed(example())
    assert found.remarks == ("1 checkpoint failed and will be shown without a rank",)


def test_ranks_and_errors_follow_from_the_folds(tmp_path):
    rows = [msgspec.structs.replace(row, rank=1, tied=False) for row in example().rows[2::-1]]
    score = Score(-0.31, 9.0, (-0.30, -0.32, -0.31))
    rows[-1] = msgspec.structs.replace(rows[-1], scores={"emms": score})
    write(tmp_path, "beans", example(rows=tuple(rows)))
    for ranking in (submit.checked(example(rows=tuple(rows)).to_json()).ranking, beans_of(tmp_path)):
        assert [(row.checkpoint, row.rank) for row in ranking.rows] == [
            ("org/best", 1),
            ("org/close", 1),
            ("org/worse", 3),
        ]
        assert ranking.rows[0].scores["emms"].stderr == pytest.approx(0.01 / 3**0.5)


def beans_of(folder):
    return snapshot_of(folder).entries["beans"].ranking


def test_files_with_the_same_settings_are_one_ranking(tmp_path):
    """They would be one in a results dataset; a checkpoint must not count twice across datasets."""
    write(tmp_path, "beans", example())
    again = of_rows("beans", scored("org/new", -0.2, 10), scored("org/best", -0.31, 10), created="2026-11-26T00:00:00")
    write(tmp_path, "copy", msgspec.structs.replace(again, dataset_id=example().dataset_id))
    entries = snapshot_of(tmp_path).entries
    assert list(entries) == ["beans"]
    assert {row.checkpoint for row in entries["beans"].ranking.rows} == {
        *(row.checkpoint for row in example().rows),
        "org/new",
    }


def test_what_a_submission_changes_is_named():
    published = example()
    new = of_rows("beans", scored("org/new", -0.2, 10), scored("org/best", -0.31, 10), created="2027-01-01T00:00:00")
    assert submit.change(new, None) == "it is the first with these settings"
    assert submit.change(new, published) == (
        "of the published ranking with these settings it keeps 3 checkpoints, replaces 1 and adds 1"
    )
    assert submit.change(published, published).endswith("keeps 4 checkpoints, replaces 0 and adds 0")


def test_it_goes_where_the_command_line_would_put_it():
    other = example(config="a b", seed=3, prompt="a photo of {}", sampling="balanced")
    for ranking in (example(), other):
        assert submit.file_of(ranking) == f"rankings/{results.path_of(ranking)}.json"


def first_rows(**changes):
    """A file with changes of its first row."""
    rows = json.loads(example().to_json())["rows"]
    return changed(rows=[rows[0] | changes, *rows[1:]])


BAD = {
    "nothing": (" ", "nothing in it"),
    "no ranking": ("[]", "this is not a ranking: the file should be an object"),
    "too large": ("x" * (submit.MAX_BYTES + 1), "at most 3 MB"),
    "too long a name": (changed(dataset="x" * 300), "dataset should have 1 to 200"),
    "a time": (changed(created="yesterday"), "created should be a time"),
    "twice": (changed(rows=json.loads(example().to_json())["rows"][:1] * 2), "in the list twice"),
    "twice by revision": (first_rows(checkpoint="org/close@main", revision="d" * 40), "is that of rows"),
    "a score above 0": (first_rows(scores={"emms": {"value": 5, "folds": [5, 5, 5]}}), "should be 0 or less"),
    "a score beyond its folds": (
        first_rows(scores={"emms": {"value": -0.1, "folds": [-0.3, -0.4, -0.5]}}),
        "rows.0..scores.emms.value should be a mean of its folds, between -0.5 and -0.3",
    ),
    "an accuracy of 2": (first_rows(scores={"emms": {"value": -1}, "knn": {"value": 2}}), "at most 1"),
    "negative parameters": (first_rows(parameters=-5), "rows.0..parameters should be at least"),
    "no parameters": (first_rows(parameters=0), "rows.0..parameters should be at least 1, but is 0"),
    "negative seconds": (first_rows(seconds={"features": -1}), "seconds.features should be at least 0"),
    "more rows than there are": (first_rows(n=5000), "at most the 1,034 rows"),
    "other folds": (first_rows(scores={"emms": {"value": -0.3, "folds": [-0.2, -0.4]}}), "should have the same folds"),
    "no id": (first_rows(checkpoint="org/../name"), "is no id of the Hub"),
    "no dataset": (changed(dataset_id="a b/c"), "dataset_id has a commit of the Hub, but is no id"),
    "the future": (changed(created="2999-01-01T00:00:00+00:00"), "created is in the future"),
    "no rows": (changed(n=0), "n should be at least 1"),
    "many": (
        example(rows=[msgspec.structs.replace(scored(f"a/{i}", -0.1, 1), rank=1) for i in range(submit.MAX_ROWS + 1)])
        .to_json(indent=None)
        .replace('"notes":[]', '"notes": []'),
        "at most",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_submission_is_told_why(case):
    content, message = BAD[case]
    with pytest.raises(submit.SubmissionError, match=message):
        submit.checked(content)
