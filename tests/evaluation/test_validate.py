"""hf-emms validate: what users type, and what comes back."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from hf_emms.ranking import Row, ranked
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.quick_python import python
from tests.helpers.rankings import NAMES, example, ranking

__all__ = ["cli", "home", "hub"]


def told(done: Done, *texts: str) -> None:
    assert done.code == 1, done
    assert done.err.count("Error: ") == 1
    assert done.out == ""
    for text in texts:
        assert text in done.err


def lines_of(done: Done) -> dict[tuple[str, str], dict[str, str]]:
    assert done.code == 0, done.err
    return {(row["target"], row["scores"]): row for row in csv.DictReader(io.StringIO(done.out), delimiter="\t")}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "ranking.json"
    file.write_text(ranking().to_json())
    return file


def table(tmp_path: Path, text: str, name: str = "truth.csv") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


GOOD = "checkpoint,score\norg/a,90\norg/b,80\norg/c,75\norg/d,60\n"


def test_estimators_and_controls_are_measured(cli: CommandLine, kept: Path, tmp_path: Path) -> None:
    done = cli.run(
        "validate", "--format", "tsv", "--ranking", kept, "--truth", table(tmp_path, GOOD + "org/elsewhere,5\n")
    )
    lines = lines_of(done)
    assert [name for _, name in lines] == ["emms", "knn", "parameters", "random"]
    emms, knn, parameters, coin = lines.values()
    assert [float(emms[name]) for name in ("weighted_tau", "pick_in_top", "top_recall")] == pytest.approx([1, 1, 1])
    assert (emms["picks"], emms["regret"], emms["n"]) == ("org/a", "0.0", "4")
    truth = table(tmp_path, GOOD)
    alone = cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", truth, "--estimator", "knn")
    assert [name for _, name in lines_of(alone)] == ["knn", "parameters", "random"]
    assert [float(line["weighted_tau"]) for line in (knn, parameters)] == pytest.approx([-1, -1])
    assert (knn["picks"], knn["regret"]) == ("org/d", "30.0")
    assert (coin["weighted_tau"], float(coin["regret"]), coin["control"]) == ("", 13.75, "True")
    assert "beans: not in the ranking: org/elsewhere" in done.err
    assert float(emms["regret_high"]) >= 0


def test_the_table_for_people_says_who_is_missing(cli: CommandLine, kept: Path, tmp_path: Path) -> None:
    truth = table(tmp_path, GOOD.replace("org/d,60\n", "org/d,\n"))
    done = cli.run(
        "validate", "--format", "tsv", "--ranking", kept, "--truth", truth, "--format", "table", COLUMNS="80"
    )
    assert done.code == 0, done.err
    assert "beans (3 checkpoints)" in done.out
    assert "parameters *" in done.out
    assert "beans: no truth for: org/d" in done.err
    assert "no number in column 'score': org/d" in done.err
    assert "every pick is in the top 3" in done.err


def test_json_keeps_everything_and_has_no_nan(cli: CommandLine, kept: Path, tmp_path: Path) -> None:
    same = table(tmp_path, "checkpoint,score\norg/a,1\norg/b,1\norg/c,1\n")
    done = cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", same, "--format", "json")
    target = json.loads(done.out)["targets"][0]
    assert target["lines"][0]["values"]["weighted_tau"] is None
    assert target["lines"][0]["intervals"]["weighted_tau"] == [None, None]
    assert target["points"][0]["scores"]["emms"] == pytest.approx(-0.1)
    assert "equal values only" in done.err


def test_several_targets_have_means_and_a_blind_control(cli: CommandLine, tmp_path: Path) -> None:
    files = []
    for dataset, scores in (("org/x", (4.0, 3, 2, 1)), ("org/y", (1.0, 4, 3, 2))):
        files.append(tmp_path / f"{dataset[-1]}.json")
        files[-1].write_text(ranking(scores=scores, dataset=dataset, dataset_id=dataset).to_json())
    rows = [f"org/{name},{data},{value}" for data in ("x", "org/y") for name, value in zip(NAMES, "4321", strict=True)]
    truth = table(tmp_path, "\n".join(["model,dataset,acc", *rows]))
    named = [part for file in files for part in ("--ranking", file)]
    lines = lines_of(cli.run("validate", "--format", "tsv", *named, "--truth", truth))
    assert float(lines["org/y", "dataset-blind"]["weighted_tau"]) == pytest.approx(1)
    taus = [float(lines[target, "emms"]["weighted_tau"]) for target in ("org/x", "org/y")]
    mean = lines["mean", "emms"]
    assert float(mean["weighted_tau"]) == pytest.approx(sum(taus) / 2)
    assert min(taus) <= float(mean["weighted_tau_low"]) <= float(mean["weighted_tau_high"]) <= max(taus)
    assert mean["n"] == "2"
    nameless = table(tmp_path, GOOD, "nameless.csv")
    told(cli.run("validate", *named, "--truth", nameless), "2 datasets", "add a column dataset")
    shown = cli.run("validate", *named, "--truth", truth, "--format", "md")
    assert "**mean over 2 targets**" in shown.out


def test_ranks_on_other_datasets_are_a_control(cli: CommandLine, tmp_path: Path) -> None:
    def known(row: Row) -> Row:  # the reverse of the truth; of one checkpoint nothing is known
        place = NAMES.index(row.checkpoint[-1])
        return msgspec.structs.replace(row, elsewhere=None if place == 3 else (7 - 2 * place) / 8)

    made = ranking()
    file = tmp_path / "known.json"
    file.write_text(msgspec.structs.replace(made, rows=tuple(map(known, made.rows))).to_json())
    line = lines_of(cli.run("validate", "--format", "tsv", "--ranking", file, "--truth", table(tmp_path, GOOD)))[
        "beans", "elsewhere"
    ]
    assert (line["n"], float(line["weighted_tau"])) == ("3", pytest.approx(-1))


def test_an_estimator_without_all_scores_says_so(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "example.json"
    file.write_text(example().to_json())
    truth = table(tmp_path, "checkpoint,score\norg/best,3\norg/close,2\norg/worse,1\norg/broken,9\n")
    done = cli.run("validate", "--format", "tsv", "--ranking", file, "--truth", truth)
    lines = lines_of(done)
    assert (lines["beans", "knn"]["n"], lines["beans", "knn"]["weighted_tau"]) == ("2", "")
    assert float(lines["beans", "emms"]["weighted_tau"]) == pytest.approx(1)
    assert "knn has no score for org/worse" in done.err
    assert "failed in the ranking: org/broken" in done.err


def test_lower_can_be_better(cli: CommandLine, kept: Path, tmp_path: Path) -> None:
    truth = table(tmp_path, GOOD.replace("score", "eval_loss"))
    plain = cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", truth)
    assert "--lower-is-better turns it round" in plain.err
    lines = lines_of(cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", truth, "--lower-is-better"))
    assert float(lines["beans", "emms"]["weighted_tau"]) == pytest.approx(-1)
    assert float(lines["beans", "emms"]["regret"]) == 30


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_plot_names_every_checkpoint(cli: CommandLine, kept: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    truth, plot = table(tmp_path, GOOD), tmp_path / "new" / f"plot.{suffix}"
    done = cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", truth, "--plot", plot)
    assert done.code == 0, done.err
    content = plot.read_bytes()
    assert content[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    if suffix == "svg":
        assert all(f">{name}</text>".encode() in content for name in NAMES)
        cli.run("validate", "--format", "tsv", "--ranking", kept, "--truth", truth, "--plot", plot)
        assert plot.read_bytes() == content


def test_what_cannot_be_used_is_said_at_once(cli: CommandLine, kept: Path, tmp_path: Path) -> None:
    run = ("validate", "--ranking", kept, "--truth")
    told(cli.run(*run, tmp_path / "none.csv"), "none.csv", "No such file")
    told(cli.run(*run, tmp_path / "truth.xlsx"), ".xlsx", ".csv")
    told(cli.run(*run, table(tmp_path, GOOD), "--plot", "plot.bmp"), ".bmp", ".png")
    told(cli.run(*run, table(tmp_path, GOOD), "--estimator", "logme"), "'logme'", "emms, knn")
    told(cli.run(*run, table(tmp_path, "checkpoint,score\norg/a,1\norg/b,2\nORG/C,3\n")), "share 2", "ORG/C")
    for words in (("--seed", "-1"), ("--resamples", "1000000000")):
        assert cli.run(*run, table(tmp_path, GOOD), *words).code == 2
    (tmp_path / "broken.json").write_text(kept.read_text().replace('"n_inputs": ', '"n_inputs": 1' + "0" * 400))
    told(cli.run("compare", kept, tmp_path / "broken.json"), "broken.json: this is not a ranking", "n_inputs")
    told(
        cli.run(*run, table(tmp_path, GOOD.replace("checkpoint,", "dataset,checkpoint,").replace("org", "z,org"))), "z"
    )


def test_without_matplotlib_a_plot_is_refused_before_the_work(kept: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from hf_emms.cli import main; main()"
    words = ["validate", "--ranking", str(kept), "--truth", str(tmp_path / "none.csv"), "--plot", "x.png"]
    done = subprocess.run([*python(), "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "hf-emms[plot]" in done.stderr


def test_scores_of_a_race_that_are_of_fewer_rows_are_told(cli: CommandLine, tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, n=200 if row.rank == 4 else None) for row in ranking().rows]
    (tmp_path / "race.json").write_text(ranking(race=3, rows=ranked(rows, "emms")).to_json())
    done = cli.run("validate", "--format", "tsv", "--ranking", tmp_path / "race.json", "--truth", table(tmp_path, GOOD))
    assert "org/d stopped early in a race" in done.err
