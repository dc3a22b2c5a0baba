"""The tables, the heat map and the plot of rankings."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest
from leaderboard import across, checkpoint, compare, controls, cost, home, render, table
from leaderboard.answer import MOST_CHARACTERS, answer
from leaderboard.endpoints import Endpoints
from leaderboard.facts import Facts
from leaderboard.lines import lines
from leaderboard.selection import View, from_query, resolved
from leaderboard.training import why_seen
from leaderboard.wins import wins

from hf_emms.ranking import FineTuned, Ranking, Row, Seconds, TrainingRun, ranked
from hf_emms.ranking.public_results import PUBLIC_TABLES
from hf_emms.ranking.records import FunnelStage
from hf_emms.scoring import Score
from tests.helpers.rankings import calibrated, example
from tests.helpers.space import HOSTILE, of_rows, scored, snapshot_of, store_of, write


@pytest.fixture
def snapshot(tmp_path):
    """Return a function that makes a snapshot of rankings by their names."""

    def made(**rankings):
        for name, ranking in rankings.items():
            write(tmp_path, name, ranking)
        return snapshot_of(tmp_path)

    return made


def ranking_of(shown, name="image/beans"):
    return shown.entries[name].ranking


def content(snapshot, **view):
    return render.show(View(**view), snapshot).content


def names(some_lines):
    return [line.row.checkpoint for line in some_lines]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ({}, "best close worse broken"),
        ({"q": "ORG b"}, "best broken"),
        ({"q": "close | org broken |"}, "close broken"),
        ({"max": "100M"}, "best worse"),
        ({"sort": "-knn"}, "best close worse broken"),
        ({"sort": "parameters"}, "best worse close broken"),
        ({"license": ("mit",)}, ""),
    ],
)
def test_filters_and_orders(shown, view, expected):
    chosen = table.chosen(View(**view), ranking_of(shown), shown)
    assert names(chosen) == [f"org/{name}" for name in expected.split()]


@pytest.mark.parametrize("estimator", ["short_run", "word_error_rate", "class_spread"])
def test_a_ranking_is_sorted_by_each_of_its_estimators_those_of_missing_packages_too(tmp_path, estimator):
    values = {"org/a": -0.3, "org/b": -0.1, "org/c": -0.2}
    rows = [Row(name, scores={estimator: Score(value), "logme": Score(-value)}) for name, value in values.items()]
    write(tmp_path, "x", example(estimators=(estimator, "logme"), rows=ranked(rows, estimator)))
    found = snapshot_of(tmp_path)
    view, entry = resolved(from_query(f"ranking=x&sort={estimator}"), found)
    assert names(table.chosen(view, entry.ranking, found)) == ["org/a", "org/c", "org/b"]
    assert f"sort=-{estimator}" in table.table(View(task=view.task, ranking="x"), entry.ranking, found)
    endpoints = Endpoints(store_of(tmp_path))
    listed = endpoints.get_ranking("x", sort=f"-{estimator}")["rows"]
    assert [row["checkpoint"] for row in listed] == ["org/b", "org/c", "org/a"]
    assert resolved(from_query("ranking=x&sort=-knn"), found)[0].sort == "rank"
    with pytest.raises(ValueError, match=f"cannot sort by 'knn'; .*{estimator}, logme, "):
        endpoints.get_ranking("x", sort="knn")


@pytest.mark.parametrize(
    ("title", "view", "known", "cell"),
    [
        ("Inputs/s", {}, {"seconds": Seconds(9.0, 0.1, loading=6.0)}, ">343<"),
    ],
)
def test_a_column_is_shown_where_a_checkpoint_has_a_value(snapshot, title, view, known, cell):
    first, second = (scored(f"org/{name}", -place / 10, 10, seconds=0) for place, name in enumerate("ab"))
    page = content(snapshot(x=of_rows("x", first, msgspec.structs.replace(second, **known))), **view)
    assert title in page
    assert cell in page
    assert title not in content(snapshot(x=of_rows("x", first, second)), **view)


def test_the_published_order_is_a_column_whose_tooltip_names_the_table(snapshot):
    published = {"published": 9.1, "published_trained_on": 2}
    rows = [msgspec.structs.replace(scored(f"org/{name}", -0.1, 10), **published) for name in "ab"]
    ranking = of_rows("x", *rows)
    page = content(snapshot(x=msgspec.structs.replace(ranking, published_table=PUBLIC_TABLES["wer"])))
    assert ">9.1 (2)<" in page
    assert f"{PUBLIC_TABLES['wer'].title}, lower is better, {PUBLIC_TABLES['wer'].source}" in page
    assert "sort=-published" in page


def test_seconds_and_speed_leave_loading_and_features_from_the_cache_out(snapshot):
    rows = [
        msgspec.structs.replace(
            scored(f"org/{number}", -0.1, 10),
            seconds=Seconds(9.0, 0.5, loading=8.0),
            cached=cached,
            machine=machine,
        )
        for number, (cached, machine) in enumerate([("none", "cpu"), ("features", None), ("row", "cpu"), ("row", None)])
    ]
    shown = snapshot(x=of_rows("x", *rows))
    found = lines(ranking_of(shown, "x"), shown)
    assert {(line.row.cached, line.row.machine): (line.seconds, line.speed) for line in found} == {
        ("none", "cpu"): (1.5, 1030.0),
        ("features", None): (1.5, None),
        ("row", "cpu"): (1.5, 1030.0),
        ("row", None): (1.5, None),
    }


def test_unknown_task_and_estimator_are_shown(snapshot):
    row = msgspec.structs.replace(scored("org/a", -0.1, 10), scores={"class-spread": Score(0.5)})
    rows = ranked([row], "class-spread")
    found = snapshot(x=example(task="gloss-topic", estimators=("class-spread",), rows=rows))
    page = render.show(View(task="gloss-topic"), found)
    assert "org/</span><wbr>a" in page.answer
    assert "class-spread" in page.content
    assert ">0.5000<" in page.content


def test_what_is_known_of_checkpoints_filters_them_and_is_counted(shown):
    facts = {
        "org/best": Facts(library="timm", license="mit", languages=("de", "en"), downloads=1200, datasets=("beans",)),
        "org/close": Facts(languages=("en",), datasets=("other/beans", "imagenet")),
    }
    known = replace(shown, facts=facts)
    of_rows = [known.facts_of(row) for row in ranking_of(known).rows]
    values = zip(*((each.license, each.library) for each in of_rows), strict=True)
    assert [{*value} - {None} for value in values] == [{"mit"}, {"timm"}]
    for query in ("license=mit&library=timm", "language=de", "language=de&q=org"):
        chosen = table.chosen(from_query(f"ranking=image/beans&{query}"), ranking_of(known), known)
        assert names(chosen) == ["org/best"]
    form = controls.form(View(task="image-classification", ranking="image/beans", language=("fr",)), known)
    assert form["facts"]["language"] == {"en": 2, "de": 1, "fr": 0}
    assert ">1k<" in content(known, ranking="image/beans", columns="all")
    assert content(known, ranking="image/beans").count(">seen<") == 1
    unseen = render.show(View(ranking="image/beans", trained="unseen"), known)
    assert re.findall('<tr data-row="0"[^>]* hidden>', unseen.content)
    assert "trained=unseen" in unseen.query
    assert ">3</span> of 4 checkpoints pass the filters" in unseen.answer
    assert "Trained on</dt><dd>other/beans, imagenet" in content(known, checkpoint="org/close")


def test_who_has_seen_the_dataset_is_known_from_what_cards_say_in_words():
    says = why_seen("microsoft/git-base-coco@main", Facts(), "jxie/coco_captions")
    assert says == 'its card says "fine-tuned on COCO"'
    assert not why_seen("microsoft/git-base-coco", Facts(), "org/beans")
    assert not why_seen("org/best", Facts(), "jxie/coco_captions")


def test_the_settings_of_a_ranking_are_listed(snapshot):
    settings = {"max_samples": 77, "label_template": None, "layers": ["1", "2"], "columns": []}
    page = content(snapshot(x=example(dataset_revision="local-1", settings=settings)), ranking="x")
    assert ">settings: max_samples 77, layers 1, 2<" in page


def test_the_funnel_of_a_ranking_is_shown(snapshot):
    funnel = (FunnelStage("list", 5000, 40, 9.0, left_out={"<b>": 4960}), FunnelStage("first pass", 40, 8, 60.0, 300))
    shown = snapshot(x=example(dataset_revision="local-1", funnel=funnel), y=example(dataset_revision="local-2"))
    page = content(shown, ranking="x")
    assert "list: 5,000 checkpoints in 9s, 40 kept; left out: &lt;b&gt; 4,960" in page
    assert "first pass: 40 checkpoints on 300 rows in 1m, 8 kept" in page
    assert "first pass" not in content(shown, ranking="y")


def test_the_name_of_an_estimator_is_only_text(snapshot):
    name = 'x"><h2 style="position:fixed">'
    rows = ranked([msgspec.structs.replace(scored("org/a", -0.1, 10), scores={name: Score(0.5)})], name)
    page = content(snapshot(x=example(estimators=(name,), rows=rows)), ranking="x", columns="all")
    assert "<h2" not in page
    assert 'data-column="x&#34;&gt;&lt;h2' in page


def test_tied_rows_are_not_looked_up_one_by_one(snapshot, monkeypatch):
    """A look-up visits all rows; a page with 30,000 tied rows took a minute."""
    looked_up = []
    row = Ranking.row
    monkeypatch.setattr(Ranking, "row", lambda ranking, name: looked_up.append(name) or row(ranking, name))
    found = snapshot(x=of_rows("x", *(scored(f"org/{number}", -0.1, number) for number in range(1, 101))))
    assert "could also win" in render.show(View(ranking="x"), found).answer
    assert len(looked_up) < 10


def test_a_checkpoint_has_a_page_with_its_place_in_every_ranking(shown):
    found = render.show(View(checkpoint="org/close"), shown)
    assert found.view.checkpoint == "org/close"
    assert "checkpoint=org%2Fclose" in found.query
    assert "wins 75% (95 % interval: 26% to 96%). First in 2 of 2 rankings" in found.content
    for text in ("=1 of 3", "1 of 4", "https://huggingface.co/org/close"):
        assert text in found.content
    assert "No ranking contains the checkpoint org/none" in content(shown, checkpoint="org/none")
    for name in HOSTILE:
        assert "<img" not in content(shown, checkpoint=name)


def test_the_page_of_a_checkpoint_has_what_fine_tuning_measured_beside_the_estimate_and_its_layers(snapshot):
    def measured(name, score, **found):
        return msgspec.structs.replace(scored(name, score, 10), fine_tuned=FineTuned("accuracy", **found))

    runs = (TrainingRun(0.1, 0, 0.85, curve=(0.5, 0.85)),)
    layered = {"layer": "h.2", "layers": {"h.1": {"emms": -0.123}, "h.2": {}}}
    rows = [
        measured("org/a", -0.1, value=0.812, spread=0.004, validation=0.8),
        measured("org/b", -0.2, value=0.836, validation=0.85, learning_rate=0.1, runs=runs),
        measured("org/c", -0.3, error="<b>no memory"),
        msgspec.structs.replace(scored("org/d", -0.4, 10), **layered),
    ]
    found = snapshot(x=of_rows("x", *rows), y=of_rows("y", scored("org/a", -0.1, 10)))
    pages = {name: content(found, checkpoint=f"org/{name}") for name in "abcd"}
    assert '<th scope="col" class="text">Score</th><th scope="col" class="text">Fine-tuned</th>' in pages["a"]
    assert ">accuracy 81.2 ± 0.4</td>" in pages["a"]
    assert ">accuracy 83.6</td>" in pages["b"]
    assert ">50.0, 85.0</td>" in pages["b"]
    assert ">failed: &lt;b&gt;no memory</td>" in pages["c"]
    assert "Fine-tuned" not in pages["d"]
    for text in ("h.1", "-0.1230", "h.2 (ranked by)"):
        assert text in pages["d"]
    gaps = snapshot(gaps=calibrated(-0.3, -0.32))
    shown = content(gaps, checkpoint="org/b", ranking="gaps")
    assert ">1.3 (-3.6 to 5.8)</td>" in shown
    assert "best estimate; org/b could also win" in shown
    assert " (first: " in shown


def test_the_front_is_what_nothing_cheaper_beats(shown):
    points = cost.points(View(), ranking_of(shown, "image/food"), shown)
    assert names(point.line for point in points) == ["org/small", "org/best", "org/worse", "org/close"]
    assert names(point.line for point in cost.front(points)) == ["org/small", "org/best", "org/close"]


@pytest.mark.parametrize(
    ("axis", "order", "first"),
    [
        ("parameters", "abc", "1k parameters"),
        ("memory", "bca", "8.0 kB"),  # the last was measured
        ("seconds", "bca", "0.60 s"),
        ("hours_per_million", "cab", "0.139 hours per million"),
        ("documents_per_second", "cab", "2,000 documents/s"),  # more is better
    ],
)
def test_costs_are_axes(tmp_path, axis, order, first):
    rows = [
        msgspec.structs.replace(
            scored(f"org/{name}", -0.1, 1000 * place, seconds),
            **{"documents_per_second": speed, "memory": memory, "machine": "GPU X"},
        )
        for place, (name, seconds, speed, memory) in enumerate(
            [("a", 3.0, 1000.0, 5 * 10**9), ("b", 0.5, 500.0, None), ("c", 1.0, 2000.0, None)], 1
        )
    ]
    write(tmp_path, "x", of_rows("x", *rows))
    store = store_of(tmp_path)
    shown, ranking = store.snapshot, ranking_of(store.snapshot, "x")
    view = View(task="image-classification", ranking="x", cost=axis)
    found = cost.points(view, ranking, shown)
    assert [point.line.row.checkpoint[-1] for point in found] == list(order)
    assert found[0].cost_text == first
    assert "Measured on: GPU X." in cost.plot(view, ranking, shown)
    assert "bytes_per_million" not in cost.known_costs(ranking, shown)
    records = {row["checkpoint"]: row for row in Endpoints(store).get_ranking("x")["rows"]}
    assert [records[f"org/{name}"]["memory_is_measured"] for name in "abc"] == [True, False, False]


@pytest.mark.parametrize(
    ("costs", "labels"),
    [
        ((1_000, 10_000_000), ["1k", "10k", "100k", "1M", "10M"]),
        ((10_000, 100_000), ["10k", "20k", "50k", "100k"]),
        ((10_000, 20_000), ["10k", "15k", "20k"]),
    ],
)
def test_axes_of_costs_have_ticks_at_round_numbers(tmp_path, costs, labels):
    write(tmp_path, "x", of_rows("x", *(scored(f"org/{cost}", -0.1, cost) for cost in costs)))
    snapshot = snapshot_of(tmp_path)
    page = cost.plot(View(cost="parameters"), ranking_of(snapshot, "x"), snapshot)
    ticks = re.findall(r'<text x="([\d.]+%)" y="100%" dy="16" text-anchor="middle">(.+?)</text>', page)
    assert [label for _, label in ticks] == labels
    assert f'<circle cx="{ticks[0][0]}"' in page  # of the cheapest checkpoint


def test_wins_are_the_share_of_others_that_a_checkpoint_beats_and_one_even_ranking():
    found = wins([{"a": 1, "b": 2, "c": 2}, {"a": 1, "d": 2}, {"a": 1}])
    assert {name: (each.share, each.rankings) for name, each in found.items()} == {
        "a": (pytest.approx(2.5 / 3), 2),
        "b": (pytest.approx(0.75 / 2), 1),
        "c": (pytest.approx(0.75 / 2), 1),
        "d": (0.25, 1),
    }
    assert [*found] == ["a", "b", "c", "d"]
    assert (round(found["a"].low, 3), round(found["a"].high, 3)) == (0.31, 0.982)  # Wilson's interval of 2.5 of 3
    assert wins([{"a": 1}]) == {}


def test_the_map_is_ordered_by_wins_and_filled_at_the_top_left(shown):
    cells = across.grid(View(task="image-classification"), shown)
    assert list(cells.rows) == ["org/close", "org/best", "org/worse", "org/small", "org/broken"]
    page = across.heat_map(View(task="image-classification"), shown)
    assert "2 of 2" in page
    assert "1 of 2" in page


def in_words(html):
    """Return the visible text of HTML."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_chosen_checkpoints_are_compared_on_the_datasets_of_one_task(snapshot):
    clear = of_rows("clear", scored("org/a", -0.1, 10), scored("org/b", -0.2, 20))
    tied = of_rows("tied", *example().rows[:2], scored("org/a", -0.31, 10), scored("org/b", -0.31, 20))
    other = of_rows("other", scored("org/b", -0.1, 10), scored("org/a", -0.2, 20), task="image-regression")
    made = snapshot(clear=clear, tied=tied, other=other)
    view = View(tab="across", task="image-classification", compare=("org/a", "org/b"))
    said = in_words(compare.table(view, made))
    assert "org/ a on 1 dataset; org/ b on 0 datasets; nobody on 1 dataset" in said
    assert "rank 1, explained 0.839 ± 0.001 best of these" in said
    assert "rank 2, explained 0.677 ± 0.001 0.161 behind, more than the noise" in said
    assert "within the noise" in said
    assert "other" not in said
    assert compare.table(replace(view, compare=("org/a",)), made) == ""
    assert from_query("tab=across&compare=org%2Fa&compare=org%2Fb").compare == ("org/a", "org/b")


def test_a_checkpoint_page_says_what_separates_it_from_the_first(shown):
    said = in_words(checkpoint.page(View(ranking="image/food", checkpoint="org/worse"), shown))
    assert "On food : explained 0.032 ± 0.001; the first, org/ close , has 0.516 ± 0.001." in said.replace("  ", " ")
    assert "The difference of 0.484 is more than the noise. 85.0M parameters, the first 1.3B" in said
    html = checkpoint.page(View(ranking="image/food", checkpoint="org/worse"), shown)
    assert "tab=across&amp;task=image-classification&amp;compare=org%2Fworse&amp;compare=org%2Fclose" in html


def test_an_answer_has_at_most_300_characters_and_the_rest_folds(snapshot):
    names = [f"{'o' * 96}/{letter * 96}" for letter in "ab"]
    rows = [msgspec.structs.replace(scored(name, -0.1, 10), license="l" * 90) for name in names]
    made = snapshot(long=of_rows("long", *rows, task="image-classification"))
    html = answer(View(), made.entries["long"].ranking, made)
    shown, _, folded = html.partition("<details>")
    assert len(in_words(shown)) <= MOST_CHARACTERS
    assert all(text in in_words(folded) for text in ("l" * 90, "could also win"))


def test_a_search_of_the_home_page_names_the_checkpoints_first(shown):
    html = in_words(home.page(View(tab="home", q="BEST"), shown))
    assert html.startswith("Checkpoints: org/ best ")
    assert html.index("org/ best") < html.index("beans")
