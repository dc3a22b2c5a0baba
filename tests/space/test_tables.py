"""What the tables, the heat map, the shortlist and the plot show of rankings."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import msgspec
import pytest
from leaderboard import across, compare, controls, cost, render, shortlist, table
from leaderboard.endpoints import Endpoints
from leaderboard.facts import Facts
from leaderboard.selection import COLUMNS, View, from_query, resolved
from leaderboard.training import why_seen
from leaderboard.wins import wins

from hf_emms.ranking import FineTuned, Row, Seconds, ranked
from hf_emms.scoring import Score
from tests.helpers.rankings import example
from tests.helpers.space import HOSTILE, hostile, of_rows, scored, snapshot_of, store_of, with_facts, write

# Choosing


def beans(shown):
    return shown.entries["image/beans"].ranking


def chosen(shown, **view):
    return [line.row.checkpoint for line in table.chosen(View(**view), beans(shown), shown)]


def test_filters_and_orders(shown):
    assert chosen(shown) == [row.checkpoint for row in example().rows]
    assert chosen(shown, q="ORG b") == ["org/best", "org/broken"]
    assert chosen(shown, q="close | org broken |") == ["org/close", "org/broken"]
    assert chosen(shown, at_least="1M") == ["org/close", "org/worse"]
    assert chosen(shown, at_most="100M", at_least="10M") == ["org/worse"]
    assert chosen(shown, sort="-knn") == ["org/best", "org/close", "org/worse", "org/broken"]
    assert chosen(shown, sort="parameters") == ["org/best", "org/worse", "org/close", "org/broken"]
    assert chosen(shown, license=("mit",)) == []


@pytest.mark.parametrize("estimator", ["short_run", "word_error_rate", "class_spread"])
def test_a_ranking_is_sorted_by_each_of_its_estimators_those_of_missing_packages_too(tmp_path, estimator):
    values = {"org/a": -0.3, "org/b": -0.1, "org/c": -0.2}
    rows = [Row(name, scores={estimator: Score(value), "logme": Score(-value)}) for name, value in values.items()]
    write(tmp_path, "x", example(estimators=(estimator, "logme"), rows=ranked(rows, estimator)))
    found = snapshot_of(tmp_path)
    view, entry = resolved(from_query(f"ranking=x&sort={estimator}"), found)
    assert [line.row.checkpoint for line in table.chosen(view, entry.ranking, found)] == ["org/a", "org/c", "org/b"]
    assert f"sort=-{estimator}" in table.table(View(task=view.task, ranking="x"), entry.ranking, found)
    endpoints = Endpoints(store_of(tmp_path))
    listed = endpoints.get_ranking("x", sort=f"-{estimator}")["rows"]
    assert [row["checkpoint"] for row in listed] == ["org/b", "org/c", "org/a"]
    assert resolved(from_query("ranking=x&sort=-knn"), found)[0].sort == "rank"
    with pytest.raises(ValueError, match=f"cannot sort by 'knn'; .*{estimator}, logme, "):
        endpoints.get_ranking("x", sort="knn")


def test_ranks_on_other_datasets_are_a_column_where_they_are_known(tmp_path, shown):
    shares = {"org/close": 0.125, "org/best": 0.5}
    rows = [msgspec.structs.replace(row, elsewhere=shares.get(row.checkpoint)) for row in example().rows]
    write(tmp_path / "own", "x", msgspec.structs.replace(example(), rows=tuple(rows)))
    found = snapshot_of(tmp_path / "own")
    ranking = found.entries["x"].ranking
    assert "Elsewhere" in table.table(View(columns=tuple(COLUMNS)), ranking, found)
    assert ">12%<" in table.table(View(columns=tuple(COLUMNS)), ranking, found)
    in_order = [line.row.checkpoint for line in table.chosen(View(sort="elsewhere"), ranking, found)]
    assert in_order[:2] == ["org/close", "org/best"]
    assert "0.125" in table.to_csv(View(columns=tuple(COLUMNS)), ranking, found)
    assert "Elsewhere" not in table.table(View(), beans(shown), shown)


def test_a_task_and_an_estimator_of_no_installed_package_are_shown(tmp_path):
    row = msgspec.structs.replace(scored("org/a", -0.1, 10), scores={"class-spread": Score(0.5)})
    rows = ranked([row], "class-spread")
    write(tmp_path, "x", example(task="gloss-topic", estimators=("class-spread",), rows=rows))
    page = render.show(View(task="gloss-topic"), snapshot_of(tmp_path))
    assert "org/</span><wbr>a" in page.answer
    assert "class-spread" in page.content
    assert ">0.5000<" in page.content


def test_a_filter_that_no_checkpoint_passes_yet_stays(shown):
    """What the Hub knows of checkpoints may arrive after the page."""
    wanted = View(ranking="image/beans", license=("apache-2.0",), library=("timm",))
    found = render.show(wanted, shown)
    assert (found.view.license, found.view.library) == (("apache-2.0",), ("timm",))
    assert "license=apache-2.0" in found.query
    assert "No checkpoint passes" in found.content


def test_what_files_know_of_licenses_filters(tmp_path):
    (tmp_path / "a.json").write_text(with_facts(example(), license="mit", library="timm", downloads=1200))
    found = snapshot_of(tmp_path)
    assert (found.licenses, found.libraries) == (("mit",), ("timm",))
    lines_ = table.chosen(View(license=("mit",), library=("timm",)), found.entries["a"].ranking, found)
    assert len(lines_) == 4
    assert "1k" in table.table(View(columns=tuple(COLUMNS)), found.entries["a"].ranking, found)


def test_languages_of_cards_filter_and_are_counted(shown):
    known = replace(shown, facts={"org/best": Facts(languages=("de", "en")), "org/close": Facts(languages=("en",))})
    entry = known.entries["image/beans"]
    lines_ = table.chosen(from_query("ranking=image/beans&language=de"), entry.ranking, known)
    assert [line.row.checkpoint for line in lines_] == ["org/best"]
    form = controls.form(View(task=entry.ranking.task, ranking=entry.id, language=("fr",)), known)
    assert [f"{code} ({count})" in form for code, count in (("en", 2), ("de", 1), ("fr", 0))] == [True] * 3


def test_inputs_a_second_are_shown_where_they_were_measured(shown):
    ranking = beans(shown)
    assert all(f">{speed}<" in table.table(View(), ranking, shown) for speed in ("Inputs/s", "1,030", "343", "412"))
    unmeasured = tuple(msgspec.structs.replace(row, seconds=Seconds()) for row in ranking.rows)
    assert "Inputs/s" not in table.table(View(), msgspec.structs.replace(ranking, rows=unmeasured), shown)


def _boxes(drawing, kind):
    """Left, top, right and bottom of the names or of the circles of a drawing."""
    if kind == "label":
        found = re.findall(r'<text class="label" x="(.*?)" y="(.*?)" aria-hidden="true">(.*?)</text>', drawing)
        return [(float(x), float(y) - 11, float(x) + 7 * len(name), float(y)) for x, y, name in found]
    return [
        (float(x) - 6, float(y) - 6, float(x) + 6, float(y) + 6)
        for x, y in re.findall(r'<circle cx="(.*?)" cy="(.*?)"', drawing)
    ]


def test_names_in_a_chart_cover_no_point_and_no_other_name(tmp_path):
    rows = [scored(f"org/model-{number:02}", -0.5 + number / 60, 1000 * 2 ** (number // 3)) for number in range(24)]
    write(tmp_path, "x", of_rows("x", *rows))
    found = snapshot_of(tmp_path)
    for drawing in cost.plot(View(), found.entries["x"].ranking, found).split("<svg")[1:]:
        names, points = _boxes(drawing, "label"), _boxes(drawing, "circle")
        assert len(names) >= 3
        for place, one in enumerate(names):
            for other in (*points, *names[:place]):
                assert not (one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])


def test_who_has_seen_the_dataset_is_marked_and_can_be_left_out(shown):
    facts = {"org/best": Facts(datasets=("beans",)), "org/close": Facts(datasets=("other/beans", "imagenet"))}
    known = replace(shown, facts=facts)
    page = render.show(View(ranking="image/beans"), known).content
    assert page.count(">seen<") == 1
    left = render.show(View(ranking="image/beans", trained="unseen"), known)
    assert "org/best" not in left.content
    assert "trained=unseen" in left.query
    assert "3 of 4 checkpoints pass the filters" in left.answer
    assert "Trained on</dt><dd>other/beans, imagenet" in render.show(View(checkpoint="org/close"), known).content


def test_who_has_seen_the_dataset_is_known_from_what_cards_say_in_words():
    says = why_seen("microsoft/git-base-coco@main", Facts(), "jxie/coco_captions")
    assert says == 'its card says "fine-tuned on COCO"'
    assert not why_seen("microsoft/git-base-coco", Facts(), "org/beans")
    assert not why_seen("org/best", Facts(), "jxie/coco_captions")


def test_a_dataset_of_the_hub_has_its_license_and_a_citation(shown):
    known = replace(shown, dataset_facts={"AI-Lab-Makerere/beans": Facts(downloads=2000, license="mit")})
    page = render.show(View(ranking="image/beans"), known).content
    assert "license mit · 2k downloads" in page
    assert f"https://huggingface.co/datasets/AI-Lab-Makerere/beans/tree/{'e' * 40}" in page
    assert "@misc" not in table.described(example(dataset_revision="local-1"))


def test_the_samples_of_each_row_are_shown_where_a_race_stopped_some(tmp_path):
    rows = scored("org/winner", -0.1, 10), scored("org/stopped", -0.2, 10)
    for name, second in (("full", rows[1]), ("race", msgspec.structs.replace(rows[1], n=250))):
        write(tmp_path / name, "beans.json", of_rows("beans", rows[0], second))
        snapshot = snapshot_of(tmp_path / name)
        (entry,) = snapshot.entries.values()
        page = table.table(View(), entry.ranking, snapshot)
        assert ("Samples" in page, ">250<" in page) == ((True, True) if name == "race" else (False, False))


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


def test_a_checkpoint_has_a_page_with_its_place_in_every_ranking(shown):
    found = render.show(View(checkpoint="org/close"), shown)
    assert found.view.checkpoint == "org/close"
    assert "checkpoint=org%2Fclose" in found.query
    assert "=1 of 3" in found.content
    assert "1 of 4" in found.content
    assert "not told apart" in found.content
    assert "https://huggingface.co/org/close" in found.content
    assert "No ranking here has the checkpoint org/none" in render.show(View(checkpoint="org/none"), shown).content
    for name in HOSTILE:
        assert "<img" not in render.show(View(checkpoint=name), shown).content


def test_the_page_of_a_checkpoint_has_what_fine_tuning_measured_beside_the_estimate(tmp_path):
    def measured(name, score, **found):
        return msgspec.structs.replace(scored(name, score, 10), fine_tuned=FineTuned("accuracy", **found))

    rows = [
        measured("org/a", -0.1, value=0.812, spread=0.004, validation=0.8),
        measured("org/b", -0.2, value=0.836, validation=0.85),
        measured("org/c", -0.3, error="<b>no memory"),
    ]
    write(tmp_path, "x", of_rows("x", *rows, scored("org/d", -0.4, 10)))
    write(tmp_path, "y", of_rows("y", scored("org/a", -0.1, 10)))
    found = snapshot_of(tmp_path)
    pages = {name: render.show(View(checkpoint=f"org/{name}"), found).content for name in "abcd"}
    assert '<th scope="col">Score</th><th scope="col">Fine-tuned</th>' in pages["a"]
    assert "<td>accuracy 81.2 ± 0.4, 2 of 2</td>" in pages["a"]
    assert "<td>accuracy 83.6, 1 of 2</td>" in pages["b"]
    assert "<td>failed: &lt;b&gt;no memory</td>" in pages["c"]
    assert "Fine-tuned" not in pages["d"]


def test_the_page_of_a_checkpoint_has_the_command_that_makes_the_section_of_its_card(shown):
    page = render.show(View(checkpoint="org/close"), replace(shown, origin="ada/emms-results")).content
    assert (
        "hf download ada/emms-results rankings/image/beans.json rankings/image/food.json --repo-type dataset "
        "--local-dir emms-results\nhf-emms card --repo-id org/close --checkpoint org/close \\\n"
        "  --ranking emms-results/rankings/image/beans.json \\\n  --ranking emms-results/rankings/image/food.json"
    ) in page
    for name, origin in (("org/close", "folder"), ("org/broken", "ada/emms-results"), (HOSTILE[3], "ada/emms-results")):
        assert "hf-emms card" not in render.show(View(checkpoint=name), replace(shown, origin=origin)).content


def test_layers_are_on_the_page_of_a_checkpoint(tmp_path):
    layered = msgspec.structs.replace(
        scored("org/a", -0.1, 10), layer="h.2", layers={"h.1": {"emms": -0.123}, "h.2": {}}
    )
    write(tmp_path, "x", of_rows("x", layered))
    page = render.show(View(checkpoint="org/a"), snapshot_of(tmp_path)).content
    assert "h.1" in page
    assert "-0.1230" in page
    assert "h.2 (ranked by)" in page


def test_two_checkpoints_are_told_apart_by_their_folds(shown):
    ranking = shown.entries["image/beans"].ranking
    found = {
        (one.first.checkpoint, one.second.checkpoint): one.told_apart
        for one in compare.pairs(ranking, list(ranking.rows))
    }
    assert found == {
        ("org/best", "org/close"): False,
        ("org/best", "org/worse"): True,
        ("org/close", "org/worse"): True,
    }
    view = View(ranking="image/beans", compare=("org/best", "org/close", "org/broken"))
    page = render.show(view, shown)
    assert "with=org%2Fbest&with=org%2Fclose" in page.query
    assert ">no<" in page.content
    assert ">yes<" not in page.content
    assert "Pick 2 to 5" in render.show(View(ranking="image/beans", compare=("org/best",)), shown).content


def test_checkpoints_that_never_met_are_not_compared(tmp_path):
    found = wins([{"a": 1, "b": 2, "c": 3}, {"c": 1, "d": 2}, {"x": 1, "y": 2}])
    assert [name for name, won in found.items() if won.group == 1] == ["x", "y"] == list(found)[-2:]
    write(
        tmp_path,
        "one",
        of_rows("one", *(scored(f"org/{name}", -value, 10) for name, value in [("a", 0.1), ("b", 0.2), ("c", 0.3)])),
    )
    write(
        tmp_path,
        "two",
        of_rows("two", *(scored(f"org/{name}", -value, 10) for name, value in [("x", 0.1), ("y", 0.3)])),
    )
    page = across.heat_map(View(tab="across", task="image-classification"), snapshot_of(tmp_path))
    assert re.search('<tr class="band"><th scope="row" class="checkpoint"><a href="[^"]*org%2Fx', page)
    assert page.count('class="band"') == 1


def test_a_shortlist_begins_with_a_sentence(shown):
    page = render.show(View(tab="choose", task="image-classification"), shown)
    text = re.sub("<[^>]*>", "", page.answer)
    assert re.fullmatch(
        r"Begin with org/close \(1.3B parameters\): in 2 rankings for image-classification it wins \d+% \(\d+%–\d+%\), "
        "not told apart from org/best and 2 more of the shortlist.",
        text,
    ), text
    assert re.search(r'\d+% <span class="error">\d+%–\d+%</span>', page.content)


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
    view = View(task="feature-extraction", data="x; rm -rf ~")
    found = shortlist.shortlist(view, shown, length=20)
    assert len(found) == len(HOSTILE)
    command = shortlist.command(view, found)
    assert command == "hf-emms rank --dataset 'x; rm -rf ~' --task feature-extraction"


def test_the_front_is_what_nothing_cheaper_beats(shown):
    ranking = shown.entries["image/food"].ranking
    found = cost.points(View(), ranking, shown)
    assert [point.line.row.checkpoint for point in found] == ["org/small", "org/best", "org/worse", "org/close"]
    assert [point.line.row.checkpoint for point in cost.front(found)] == ["org/small", "org/best", "org/close"]
