"""hf-emms validate: options and output."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hf_emms.errors import MISSING
from hf_emms.evaluation.validate import format_regret
from hf_emms.ranking import Ranking, Row, ranked
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


def table(tmp_path: Path, text: str, name: str = "truth.csv") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def lines_of(done: Result) -> dict[tuple[str, str], dict[str, str]]:
    assert done.code == 0, done.err
    return {(row["target"], row["scores"]): row for row in csv.DictReader(io.StringIO(done.out), delimiter="\t")}


def validated(cli: Cli, ranking: Path, truth: Path, *words: object, format: str = "tsv") -> Result:
    return cli("validate", "--format", format, "--ranking", ranking, "--truth", truth, *words)


def test_estimators_and_controls_are_measured(cli: Cli, kept: Path, tmp_path: Path) -> None:
    truth = table(tmp_path, GOOD + "org/elsewhere,5\n")
    done = validated(cli, kept, truth, format="md")
    assert done.out.splitlines()[4:] == [
        "| EMMS | 1.00 | 1.00…1.00 | 1.00 | 0.98 | 0.00 | 0.00…0.00 | yes | 4 | org/a |",
        "| k-NN | -1.00 | -1.00…-1.00 | -1.00 | -0.98 | 30.00 | 5.00…30.00 | no | 4 | org/d |",
        "| parameters \\* | -1.00 | -1.00…-1.00 | -1.00 | -0.98 | 30.00 | 5.00…30.00 | no | 4 | org/d |",
        "| random \\* | – | – | – | – | 13.75 | – | 75% | 4 | – |",
    ]
    assert "beans: not in the ranking: org/elsewhere" in done.err
    assert "every pick is in the top" not in done.err
    named = table(tmp_path, GOOD.replace("checkpoint,", "dataset,checkpoint,").replace("org", "beans,org"))
    lines = lines_of(validated(cli, kept, named, "--estimator", "knn"))
    assert [name for _, name in lines] == ["knn", "parameters", "random"]
    assert [line["control"] for line in lines.values()] == ["False", "True", "True"]
    assert lines["beans", "random"]["regret_high"] == lines["beans", "random"]["picks"] == ""


def test_the_table_lists_missing_checkpoints(cli: Cli, tmp_path: Path) -> None:
    ties = saved(tmp_path / "ties.json", ranking(scores=(-0.1, -0.1, -0.3, -0.4)))
    truth = table(tmp_path, GOOD.replace("org/d,60\n", "org/d,\n"))
    done = validated(cli, ties, truth, "--ranking", ties, format="md")
    emms = "| EMMS | 0.77 | 0.77…1.00 | 0.82 | 0.76 | 5.00 | 0.00…6.67 | yes | 3 | org/a (ties with 1 more) |"
    assert [line for line in done.out.splitlines() if line.startswith(("**", "| EMMS"))] == [
        *("**beans #1 (3 checkpoints)**", emms, "**beans #2 (3 checkpoints)**", emms, "**mean over 2 targets**"),
        "| EMMS | 0.77 | 0.77…0.77 | 0.82 | 0.76 | 5.00 | 5.00…5.00 | yes | 2 |",
    ]
    assert "No number in column 'score': org/d" in done.err
    for name in ("beans #1", "beans #2"):
        assert f"{name}: no truth for: org/d" in done.err
        assert f"{name}: with 3 checkpoints every pick is in the top 3" in done.err


def test_regrets_of_shares_have_more_digits() -> None:
    values = (None, 0.0, 0.01234, 0.0949, 0.1234, 13.75)
    assert list(map(format_regret, values)) == [MISSING, "0.00", "0.0123", "0.0949", "0.12", "13.75"]


def test_json_is_complete_and_has_no_nan(cli: Cli, kept: Path, tmp_path: Path) -> None:
    same = table(tmp_path, "checkpoint,score\norg/a,1\norg/b,1\norg/c,1\n")
    done = validated(cli, kept, same, format="json")
    target = json.loads(done.out)["targets"][0]
    assert done.out == json.dumps(json.loads(done.out), indent=2) + "\n"
    assert target["lines"][0]["values"]["weighted_tau"] is None
    assert target["lines"][0]["intervals"]["weighted_tau"] == [None, None]
    assert target["points"][0]["scores"]["emms"] == pytest.approx(-0.1)
    codes = [note["code"] for note in json.loads(done.out)["notes"]]
    assert codes.count("equal-values") == 3, "of emms, knn and the number of parameters"


def test_several_targets_have_means_and_a_blind_control(cli: Cli, tmp_path: Path) -> None:
    named = []
    for dataset, scores in (("org/x", (4.0, 3, 2, 1)), ("org/y", (1.0, 4, 3, 2))):
        file = tmp_path / f"{dataset[-1]}.json"
        named += ["--ranking", saved(file, ranking(scores=scores, dataset=dataset, dataset_id=dataset))]
    rows = [f"org/{name},{data},{value}" for data in ("x", "org/y") for name, value in zip(NAMES, "4321", strict=True)]
    run = ("validate", *named, "--truth", table(tmp_path, "\n".join(["model,dataset,acc", *rows])))
    lines = lines_of(cli(*run, "--format", "tsv"))
    assert float(lines["org/y", "dataset-blind"]["weighted_tau"]) == pytest.approx(1)
    taus = [float(lines[target, "emms"]["weighted_tau"]) for target in ("org/x", "org/y")]
    mean = lines["mean", "emms"]
    assert float(mean["weighted_tau"]) == pytest.approx(sum(taus) / 2)
    assert min(taus) <= float(mean["weighted_tau_low"]) <= float(mean["weighted_tau_high"]) <= max(taus)
    assert mean["n"] == "2"
    nameless = table(tmp_path, GOOD, "nameless.csv")
    told(cli("validate", *named, "--truth", nameless), "2 datasets", "Add a column dataset")


def test_ranks_on_other_datasets_and_published_values_are_controls(cli: Cli, tmp_path: Path) -> None:
    def known(row: Row) -> Row:  # the reverse of the truth; of one checkpoint nothing is known
        place = NAMES.index(row.checkpoint[-1])
        elsewhere = None if place == 3 else (7 - 2 * place) / 8
        return msgspec.structs.replace(row, mean_rank_elsewhere=elsewhere, static=float(place))

    made = ranking()
    errors = {"rows": tuple(map(known, made.rows)), "static_table": PUBLIC_TABLES["wer"]}  # lower is better
    file = saved(tmp_path / "known.json", msgspec.structs.replace(made, **errors))
    lines = lines_of(validated(cli, file, table(tmp_path, GOOD)))
    line = lines["beans", "mean_rank_elsewhere"]
    assert (line["n"], float(line["weighted_tau"])) == ("3", pytest.approx(-1))
    line = lines["beans", "static"]
    assert (line["n"], float(line["weighted_tau"])) == ("4", pytest.approx(1))


def test_missing_scores_of_an_estimator_are_reported(cli: Cli, tmp_path: Path) -> None:
    truth = table(tmp_path, "checkpoint,score\norg/best,3\norg/close,2\norg/worse,1\norg/broken,9\n")
    done = validated(cli, saved(tmp_path / "example.json", example()), truth)
    lines = lines_of(done)
    assert (lines["beans", "knn"]["n"], lines["beans", "knn"]["weighted_tau"]) == ("2", "")
    assert float(lines["beans", "emms"]["weighted_tau"]) == pytest.approx(1)
    assert "knn has no score for org/worse" in done.err
    assert "failed in the ranking: org/broken" in done.err


def test_lower_can_be_better(cli: Cli, kept: Path, tmp_path: Path) -> None:
    truth = table(tmp_path, GOOD.replace("score", "eval_loss"))
    assert "--lower-is-better reverses this" in validated(cli, kept, truth).err
    lines = lines_of(validated(cli, kept, truth, "--lower-is-better"))
    assert float(lines["beans", "emms"]["weighted_tau"]) == pytest.approx(-1)
    assert float(lines["beans", "emms"]["regret"]) == 30


def test_a_plot_names_every_checkpoint(cli: Cli, kept: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    long = {"org/c": f"org/{'c' * 32}", "org/d": f"org/{'d' * 16}{'e' * 17}"}
    truth = GOOD
    for short, name in long.items():
        kept.write_text(kept.read_text().replace(short, name))
        truth = truth.replace(short, name)
    drawn = []
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xm"), ("svg", b"<?xm")):
        plot = tmp_path / "new" / f"plot.{suffix}"
        estimators = ("--estimator", "emms", "--estimator", "knn")
        done = validated(cli, kept, table(tmp_path, truth), "--plot", plot, *estimators, "--ranking", kept)
        assert done.code == 0, done.err
        drawn.append(plot.read_bytes())
        assert drawn[-1].startswith(start)
    size = np.frombuffer(drawn[0][16:24], ">u4") / 150  # of four panels, in inches
    assert size == pytest.approx([15.6, 8.4])
    assert drawn[-1] == drawn[-2]
    for name in ("a", "b", "c" * 32, f"{'d' * 15}…{'e' * 16}", "beans #1: EMMS   weighted τ 1.00"):
        assert f">{name}</text>".encode() in drawn[-1]
    assert b"(lower is better)" not in drawn[-1]
    validated(cli, kept, table(tmp_path, truth), "--plot", plot, "--lower-is-better")
    assert b"(lower is better)" in plot.read_bytes()
    told(validated(cli, kept, table(tmp_path, truth), "--plot", kept / "plot.svg"), "Cannot write", "plot.svg")


def test_without_matplotlib_a_plot_is_refused_before_the_work(
    cli: Cli, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as good as not installed, to the import system
    told(validated(cli, kept, tmp_path / "none.csv", "--plot", "x.png"), "hf-emms[plot]")


def test_unusable_input_is_refused_at_once(cli: Cli, kept: Path, tmp_path: Path) -> None:
    run = ("validate", "--ranking", kept, "--truth")
    told(cli(*run, tmp_path / "none.csv"), "none.csv", "No such file")
    told(cli(*run, tmp_path / "truth.xlsx"), ".xlsx", ".csv")
    told(cli(*run, table(tmp_path, GOOD), "--plot", "plot.bmp"), ".bmp", ".png")
    told(cli(*run, table(tmp_path, GOOD), "--estimator", "logme"), "'logme'", "emms, knn")
    others = "checkpoint,score\norg/a,1\norg/b,2\nORG/C,3\nx,4\ny,5\nz,6\n"
    told(cli(*run, table(tmp_path, others)), "share 2", "the truth has org/a, org/b, ORG/C, x, y and 1 more")
    for words in (("--seed", "-1"), ("--resamples", "1000000000")):
        assert cli(*run, table(tmp_path, GOOD), *words).code == 2
    (tmp_path / "broken.json").write_text(kept.read_text().replace('"n_inputs": ', '"n_inputs": 1' + "0" * 400))
    told(cli("compare", kept, tmp_path / "broken.json"), "broken.json: this is not a ranking", "n_inputs")
    elsewhere = GOOD.replace("checkpoint,", "dataset,checkpoint,").replace("org", "z,org")
    told(cli(*run, table(tmp_path, elsewhere)), "no scores for 'beans'", "z")
    told(cli(*run, table(tmp_path, elsewhere + ",org/a,1\n")), "Some rows of")


def test_checkpoints_that_a_race_stopped_are_reported(cli: Cli, tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, n=200 if row.rank == 4 else None) for row in ranking().rows]
    file = saved(tmp_path / "race.json", ranking(race=3, rows=ranked(rows, "emms")))
    assert "a race stopped org/d" in validated(cli, file, table(tmp_path, GOOD)).err
