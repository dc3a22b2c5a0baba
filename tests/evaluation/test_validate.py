"""hf-emms validate: options and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hf_emms.evaluation.validate import format_regret
from hf_emms.formatting import MISSING
from hf_emms.ranking import Ranking
from hf_emms.ranking.public_results import PUBLIC_TABLES
from tests.helpers.cards import told
from tests.helpers.cli import Cli, Result, cli
from tests.helpers.rankings import NAMES, example, ranking

__all__ = ["cli"]

GOOD = "checkpoint,score\norg/a,90\norg/b,80\norg/c,75\norg/d,60\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return saved(tmp_path / "ranking.json", ranking())


def saved(file: Path, ranking: Ranking) -> Path:
    file.write_text(ranking.to_json())
    return file


def table(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "truth.csv"
    file.write_text(text, encoding="utf-8")
    return file


def validated(cli: Cli, ranking: Path, truth: Path, *words: object, format: str = "json") -> Result:
    return cli("validate", "--format", format, "--ranking", ranking, "--truth", truth, *words)


def lines_of(done: Result) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the lines of JSON by target and name; the means have the target "mean"."""
    assert done.code == 0, done.err
    assert done.out == json.dumps(json.loads(done.out), indent=2) + "\n", "it contains no NaN"
    content = json.loads(done.out)
    lines = [(target["dataset"], line) for target in content["targets"] for line in target["lines"]]
    return {(target, line["name"]): line for target, line in [*lines, *(("mean", line) for line in content["means"])]}


def test_estimators_and_controls_are_measured(cli: Cli, kept: Path, tmp_path: Path) -> None:
    truth = table(tmp_path, GOOD + "org/elsewhere,5\n")
    done = validated(cli, kept, truth, format="table")
    assert [" ".join(line.split()) for line in done.out.splitlines()[3:]] == [
        "EMMS 1.00 1.00…1.00 1.00 0.98 0.00 0.00…0.00 yes 4 org/a",
        "k-NN -1.00 -1.00…-1.00 -1.00 -0.98 30.00 5.00…30.00 no 4 org/d",
        "parameters * -1.00 -1.00…-1.00 -1.00 -0.98 30.00 5.00…30.00 no 4 org/d",
        "random * – – – – 13.75 – 75% 4 –",
    ]
    assert "beans: not in the ranking: org/elsewhere" in done.err
    assert "every pick is in the top" not in done.err
    named = table(tmp_path, GOOD.replace("checkpoint,", "dataset,checkpoint,").replace("org", "beans,org"))
    lines = lines_of(validated(cli, kept, named))
    assert [line["control"] for line in lines.values()] == [False, False, True, True]


def test_the_table_lists_ties_and_missing_checkpoints(cli: Cli, tmp_path: Path) -> None:
    ties = saved(tmp_path / "ties.json", ranking(scores=(-0.1, -0.1, -0.3, -0.4)))
    truth = table(tmp_path, GOOD.replace("org/d,60\n", "org/d,\n"))
    done = validated(cli, ties, truth, "--ranking", ties, format="table")
    emms = "EMMS 0.77 0.77…1.00 0.82 0.76 5.00 0.00…6.67 yes 3 org/a (ties with 1 more)"
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert [line for line in lines if line.startswith(("beans", "mean", "EMMS"))] == [
        *["beans (3 checkpoints)", emms] * 2,
        "mean over 2 targets",
        "EMMS 0.77 0.77…0.77 0.82 0.76 5.00 5.00…5.00 yes 2",
    ]
    assert "beans: no truth for: org/d" in done.err
    assert "beans: with 3 checkpoints every pick is in the top 3" in done.err


def test_regrets_of_shares_have_more_digits() -> None:
    values = (None, 0.0, 0.01234, 0.0949, 0.1234, 13.75)
    assert list(map(format_regret, values)) == [MISSING, "0.00", "0.0123", "0.0949", "0.12", "13.75"]


def test_equal_truths_have_no_tau(cli: Cli, kept: Path, tmp_path: Path) -> None:
    done = validated(cli, kept, table(tmp_path, "checkpoint,score\norg/a,1\norg/b,1\norg/c,1\n"))
    line = lines_of(done)["beans", "emms"]
    assert line["values"]["weighted_tau"] is None
    assert line["intervals"]["weighted_tau"] == [None, None]
    codes = [note["code"] for note in json.loads(done.out)["notes"]]
    assert codes.count("equal-values") == 3, "of emms, knn and the number of parameters"


def test_several_targets_have_means_and_a_blind_control(cli: Cli, tmp_path: Path) -> None:
    named = []
    for dataset, scores in (("org/x", (4.0, 3, 2, 1)), ("org/y", (1.0, 4, 3, 2))):
        file = tmp_path / f"{dataset[-1]}.json"
        named += ["--ranking", saved(file, ranking(scores=scores, dataset=dataset, dataset_id=dataset))]
    rows = [f"org/{name},{data},{v}" for data in ("org/x", "org/y") for name, v in zip(NAMES, "4321", strict=True)]
    truth = table(tmp_path, "\n".join(["checkpoint,dataset,score", *rows]))
    lines = lines_of(cli("validate", *named, "--truth", truth, "--format", "json"))
    assert lines["org/y", "dataset-blind"]["values"]["weighted_tau"] == pytest.approx(1)
    taus = [lines[target, "emms"]["values"]["weighted_tau"] for target in ("org/x", "org/y")]
    mean = lines["mean", "emms"]
    assert mean["values"]["weighted_tau"] == pytest.approx(sum(taus) / 2)
    low, high = mean["intervals"]["weighted_tau"]
    assert min(taus) <= low <= mean["values"]["weighted_tau"] <= high <= max(taus)
    assert mean["n"] == 2
    told(cli("validate", *named, "--truth", table(tmp_path, GOOD)), "rows without a dataset", "column dataset")


def test_published_values_are_a_control(cli: Cli, tmp_path: Path) -> None:
    made = ranking()
    rows = tuple(msgspec.structs.replace(row, published=float(NAMES.index(row.checkpoint[-1]))) for row in made.rows)
    known = msgspec.structs.replace(made, rows=rows, published_table=PUBLIC_TABLES["wer"])  # lower is better
    line = lines_of(validated(cli, saved(tmp_path / "known.json", known), table(tmp_path, GOOD)))["beans", "published"]
    assert (line["n"], line["values"]["weighted_tau"]) == (4, pytest.approx(1))


def test_missing_scores_of_an_estimator_are_reported(cli: Cli, tmp_path: Path) -> None:
    truth = table(tmp_path, "checkpoint,score\norg/best,3\norg/close,2\norg/worse,1\norg/broken,9\n")
    done = validated(cli, saved(tmp_path / "example.json", example()), truth)
    lines = lines_of(done)
    assert (lines["beans", "knn"]["n"], lines["beans", "knn"]["values"]) == (2, {})
    assert lines["beans", "emms"]["values"]["weighted_tau"] == pytest.approx(1)
    assert "knn has no score for org/worse" in done.err
    assert "failed in the ranking: org/broken" in done.err


def test_lower_can_be_better(cli: Cli, kept: Path, tmp_path: Path) -> None:
    values = lines_of(validated(cli, kept, table(tmp_path, GOOD), "--lower-is-better"))["beans", "emms"]["values"]
    assert (values["weighted_tau"], values["regret"]) == (pytest.approx(-1), 30)


def test_unusable_input_is_refused_at_once(cli: Cli, kept: Path, tmp_path: Path) -> None:
    told(validated(cli, kept, tmp_path / "none.csv"), "none.csv", "No such file")
    others = "checkpoint,score\norg/a,1\norg/b,2\nORG/C,3\nx,4\ny,5\nz,6\n"
    told(validated(cli, kept, table(tmp_path, others)), "share 2", "the truth has org/a, org/b, ORG/C, x, y and 1 more")
    (tmp_path / "broken.json").write_text(kept.read_text().replace('"n_inputs": ', '"n_inputs": 1' + "0" * 400))
    broken = validated(cli, tmp_path / "broken.json", table(tmp_path, GOOD))
    told(broken, "broken.json: this is not a ranking", "n_inputs")
    elsewhere = GOOD.replace("checkpoint,", "dataset,checkpoint,").replace("org", "z,org")
    told(validated(cli, kept, table(tmp_path, elsewhere)), "no scores for 'beans'", "z")
