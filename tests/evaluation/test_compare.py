"""hf-emms compare: how two rankings differ."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.scoring import Score
from tests.helpers.cli import Cli, Result, cli
from tests.helpers.rankings import NAMES, emms_score, example, ranking

__all__ = ["cli"]


def compared(cli: Cli, tmp_path: Path, first: Ranking, second: Ranking, format: str = "json") -> Result:
    for name, side in (("a.json", first), ("b.json", second)):
        (tmp_path / name).write_text(side.to_json())
    return cli("compare", tmp_path / "a.json", tmp_path / "b.json", "--format", format)


MOVED = """\
| A | B | move | checkpoint |
| ---: | ---: | ---: | :--- |
| 1 | 2 | ↓1 | org/a |
| 2 | 1 | ↑1 | org/b |
| 3 | 3 |  | org/c |
| 4 | 4 |  | org/d |

- 2 of 4 common checkpoints moved beyond what their ranks share
- weighted τ 0.520, τ 0.667, 100% of A's first three are among B's
- different picks: org/a and org/b

**settings that differ**

| setting | A | B |
| :--- | :--- | :--- |
| columns | image=image, label=labels | image=img, label=labels |
| seed | 0 | 7 |
| version of hf\\_emms | 0.1.0 | – |
| version of torch | 2.13.0 | 3.0 |
| version of transformers | 5.24.0 | – |
"""


def test_moves_settings_and_agreement_of_two_rankings(cli: Cli, tmp_path: Path) -> None:
    columns = {"image": "img", "label": "labels"}
    other = ranking(scores=(-0.2, -0.1, -0.3, -0.4), seed=7, versions={"torch": "3.0"}, columns=columns)
    done = compared(cli, tmp_path, ranking(), other)
    assert done.out == json.dumps(json.loads(done.out), indent=2) + "\n"
    assert compared(cli, tmp_path, ranking(), other, "md").out == MOVED
    tsv = compared(cli, tmp_path, ranking(), other, "tsv").out.splitlines()
    assert tsv[1].split("\t") == ["org/a", "1", "2", "-1", "both"]


def test_a_ranking_agrees_with_itself(cli: Cli, tmp_path: Path) -> None:
    found = json.loads(compared(cli, tmp_path, example(), example()).out)
    assert not found["settings"]
    assert not found["warnings"]
    assert found["same_pick"] == "yes"
    assert found["agreement"] == {"weighted_tau": 1, "kendall_tau": 1, "top_overlap": 1}
    assert [move["up"] for move in found["moves"]] == [0, 0, 0]
    assert found["failed_first"] == found["failed_second"] == ["org/broken"]
    text = compared(cli, tmp_path, example(), example(), "table").out
    assert "0 of 3 common checkpoints moved beyond what their ranks share" in text
    assert "weighted τ 1.000, τ 1.000, 100% of A's first three are among B's" in text
    assert "the same pick: org/best" in text
    assert "failed in A: org/broken" in text


def test_a_change_within_shared_ranks_is_not_a_move(cli: Cli, tmp_path: Path) -> None:
    def noisy(first: float, second: float, noise: float = 0.05) -> Ranking:
        rows = [
            Row("org/x", scores={"emms": emms_score(first - noise, first + noise, first)}),
            Row("org/y", scores={"emms": emms_score(second + noise, second - noise, second)}),
            Row("org/z", scores={"emms": emms_score(-0.9, -0.91, -0.92)}),
        ]
        return example(rows=ranked(rows, "emms"), estimators=("emms",))

    found = json.loads(compared(cli, tmp_path, noisy(-0.30, -0.31), noisy(-0.31, -0.30)).out)
    assert [one["up"] for one in found["moves"]] == [0, 0, 0]
    assert found["same_pick"] == "within ties"
    text = cli("compare", tmp_path / "a.json", tmp_path / "b.json", "--format", "table").out
    assert "picks that tie" in text
    assert "=1" in text
    found = json.loads(compared(cli, tmp_path, noisy(-0.30, -0.31), noisy(-0.30, -0.31, noise=0.0)).out)
    assert [(one["first"], one["second"], one["up"]) for one in found["moves"]] == [(1, 1, 0), (1, 2, 0), (3, 3, 0)]
    found = json.loads(compared(cli, tmp_path, noisy(-0.30, -0.31, noise=0.0), noisy(-0.30, -0.31)).out)
    assert [(one["first"], one["second"], one["up"]) for one in found["moves"]] == [(1, 1, 0), (2, 1, 0), (3, 3, 0)]


def test_one_more_checkpoint_moves_no_other(cli: Cli, tmp_path: Path) -> None:
    first = ranking()
    newcomer = Row("org/new", scores={"emms": emms_score(-0.01, -0.011, -0.012), "knn": Score(1.0)})
    second = ranking()
    second = example(rows=ranked([*second.rows, newcomer], "emms"), estimators=("emms", "knn"))
    found = json.loads(compared(cli, tmp_path, first, second).out)
    assert [one["up"] for one in found["moves"]] == [0, 0, 0, 0]
    assert (found["only_first"], found["only_second"]) == ([], ["org/new"])
    assert "only in A: org/new" in compared(cli, tmp_path, second, first, "table").out


def test_rankings_of_different_datasets_have_warnings(cli: Cli, tmp_path: Path) -> None:
    done = compared(cli, tmp_path, ranking(), ranking("else", dataset_id="org/food", task="text-classification"))
    assert done.code == 0
    found = json.loads(done.out)
    assert [warning["code"] for warning in found["warnings"]] == ["different-questions", "few-checkpoints"]
    assert done.err.count("Warning: ") == 2
    assert (found["agreement"]["weighted_tau"], found["picks"]) == (None, None)
    assert found["only_first"] == [f"org/{name}" for name in NAMES]
    same = compared(cli, tmp_path, ranking(), ranking(dataset_revision="9" * 40))
    assert "The revisions of the dataset differ" in same.err
    missing = cli("compare", tmp_path / "a.json", tmp_path / "none.json")
    assert (missing.code, missing.out) == (1, "")
    assert "none.json" in missing.err


def test_layers_label_forms_and_races_are_settings(cli: Cli, tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, layer="3", n=200 if row.rank == 4 else None) for row in ranking().rows]
    changed = ranking(layers=("3",), race=3, label_form="both", box_format="xyxy", rows=ranked(rows, "emms"))
    found = json.loads(compared(cli, tmp_path, ranking(), changed).out)
    settings = {one["name"]: one["second"] for one in found["settings"]}
    assert settings.pop("layer of org/a") == "3"
    assert {name: settings[name] for name in ("layers", "race", "label_form", "box_format")} == {
        "layers": ["3"],
        "race": 3,
        "label_form": "both",
        "box_format": "xyxy",
    }
    assert [warning["code"] for warning in found["warnings"]] == ["stopped-by-race"]
