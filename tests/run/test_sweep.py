"""Test sweeps: checkpoints are loaded once, and only missing cells run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.hub import resolve
from hf_emms.inputs import Modality
from hf_emms.options import DEFAULT_MAX_SAMPLES
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.run.engines import local
from hf_emms.run.engines.extraction import weight_bytes
from hf_emms.run.sweep import Sweep, SweepPlan, summary
from hf_emms.scoring import Score
from tests.helpers.cli import Cli, cli
from tests.helpers.counting import counted_calls
from tests.helpers.progress import RecordedProgress
from tests.helpers.rankings import example
from tests.helpers.tiny_checkpoints import build
from tests.run.test_hostile_checkpoints import with_weights

__all__ = ["cli"]

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"
TEXT = "emms-demo/bert-distilled"
ENCODER = "emms-demo/encoder-minilm-static"
FEW: dict[str, Any] = {"max_samples": 60, "encoders": ENCODER, "estimators": ["emms"]}
IMAGES = ["demo_fashion", "demo_captions"]


def swept(folder: Path, datasets: Any = IMAGES, checkpoints: Any = (GOOD, POOR), **settings: Any) -> Any:
    return hf_emms.sweep(datasets, checkpoints, output=folder, **{**FEW, **settings})


def scores(ranking: Ranking) -> list[object]:
    return [(row.checkpoint, row.rank, row.scores, row.error) for row in ranking.rows]


@pytest.mark.parametrize("spare", [0, -1])
def test_a_sweep_loads_each_model_once_and_equals_single_rankings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    """Also with a few bytes too few for both checkpoints in memory; then they do not take turns."""
    loaded_bytes = sum(2 * weight_bytes(resolve(name, "model")) for name in (GOOD, POOR))
    monkeypatch.setattr(local, "MAX_IDLE_BYTES", loaded_bytes + spare)
    names, cells = [*IMAGES, "demo_fashion test"][: 3 + spare], RecordedProgress()
    test_split = {"dataset": "demo_fashion", "split": "test", "max_samples": 40}
    with counted_calls(Modality.load_extractor, lambda frame: frame.f_locals["spec"].repo.id) as loaded:
        found = swept(tmp_path, [*IMAGES, test_split][: 3 + spare], cache=False, progress=cells)
    assert Counter(loaded) == {GOOD: 1, POOR: 1, ENCODER: 1}
    assert list(found.rankings) == names
    in_turn = [f"{checkpoint} on {name}" for name in names for checkpoint in (GOOD, POOR)]
    one_by_one = [f"{checkpoint} on {name}" for checkpoint in (GOOD, POOR) for name in names]
    assert cells.finished_names == (one_by_one if spare else in_turn)
    for name in IMAGES:
        alone = hf_emms.rank(name, [GOOD, POOR], cache=False, **FEW)
        assert scores(found.rankings[name]) == scores(alone)
        assert found.rankings[name].encoders == alone.encoders
    stored = [Ranking.from_json(file.read_bytes()) for file in tmp_path.rglob("*.json")]
    assert sorted(map(scores, stored), key=repr) == sorted(map(scores, found.rankings.values()), key=repr)


def write_texts(path: Path, count: int) -> None:
    rows = [f"{number} {word},{word}" for number in range(count // 2) for word in ("apples", "boats")]
    path.write_text("\n".join(["text,label", *rows]))


def test_a_sweep_runs_missing_and_outdated_cells_only(emms_cache: Path, tmp_path: Path) -> None:
    data, tiny = tmp_path / "texts.csv", build(tmp_path, "bert")
    write_texts(data, 24)

    def run(*checkpoints: str) -> list[str]:
        cells = RecordedProgress()
        swept(tmp_path / "results", ["demo_glosses", str(data)], checkpoints, cache=False, progress=cells)
        return [cell.replace(str(data), "data").replace(str(tiny), "tiny") for cell in cells.finished_names]

    assert run(str(tiny)) == ["tiny on demo_glosses", "tiny on data"]
    assert run(str(tiny)) == []
    assert run(str(tiny), TEXT) == [f"{TEXT} on demo_glosses", f"{TEXT} on data"]
    write_texts(data, 28)
    assert run(str(tiny), TEXT) == ["tiny on data", f"{TEXT} on data"]
    (tiny / "README.md").write_text("another revision")
    assert run(str(tiny), TEXT) == ["tiny on demo_glosses", "tiny on data"]


def test_a_failed_cell_is_a_failed_row_that_runs_again(emms_cache: Path, tmp_path: Path) -> None:
    """A checkpoint of texts on pictures, and one that is nowhere."""
    datasets, checkpoints = ["demo_fashion", "demo_glosses"], [POOR, TEXT, "./nowhere"]
    found = swept(tmp_path, datasets, checkpoints)
    again = RecordedProgress()
    swept(tmp_path, datasets, checkpoints, progress=again)
    assert again.finished_names == []  # that they cannot be run is seen before anything runs
    refused = [note.partition(": ")[::2] for note in again.notes if ", not " in note]
    assert [(dataset, reason.partition(":")[0]) for dataset, reason in refused] == [
        ("demo_fashion", TEXT),
        ("demo_glosses", POOR),
    ]
    header, lines = found.table()
    assert header == ("checkpoint", *datasets)
    assert {line[0]: line[1:] for line in lines} == {
        POOR: ("1", "failed"),
        TEXT: ("failed", "1"),
        "./nowhere": ("failed", "failed"),
    }


def logme(**scores: float | None) -> Ranking:
    """Checkpoints by their scores, or None if one failed."""
    rows = [
        Row(name, error="it fails") if score is None else Row(name, scores={"logme": Score(score)})
        for name, score in scores.items()
    ]
    return example(rows=ranked(rows, "logme"), estimators=("logme",))


def test_the_sweep_table_is_ordered_by_firsts_and_shares() -> None:
    first, second = logme(a=3, b=2, c=2, d=None), logme(b=2, a=1, e=0)
    swept = Sweep({"1": first, "2": second, "3": logme(d=1, f=None), "4": logme(d=1, h=0)}, {"5": "it is gone"})
    assert swept.table() == (
        ("checkpoint", "1", "2", "3", "4"),
        [
            ("d", "failed", "", "1", "1"),
            ("b", "=2", "1", "", ""),
            ("a", "1", "2", "", ""),
            ("c", "=2", "", "", ""),
            ("h", "", "", "", "2"),
            ("e", "", "3", "", ""),
            ("f", "", "", "failed", ""),
        ],
    )
    done = summary(swept, SweepPlan({}, {}, {}, {}, done=3))
    assert done == "4 datasets: 0 cells run, 3 there already, 2 failed, 1 dataset not usable"


def test_a_sweep_of_all_rows_takes_all_rows(emms_cache: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", 30)
    (tmp_path / "plan.yaml").write_text(f"datasets: [{tmp_path / 'texts.csv'}]\nmax_samples: 0\n")
    for datasets, settings, most in (
        ([tmp_path / "texts.csv"], {}, DEFAULT_MAX_SAMPLES),
        ([tmp_path / "texts.csv"], {"max_samples": None}, None),
        (tmp_path / "plan.yaml", {}, None),
    ):
        found = hf_emms.sweep(datasets, TEXT, output=tmp_path, encoders=ENCODER, estimators="emms", **settings)
        (ranking,) = found.rankings.values()
        assert (ranking.n, ranking.settings["max_samples"]) == (30, most)


def test_an_unusable_dataset_does_not_stop_a_sweep(emms_cache: Path, tmp_path: Path) -> None:
    broken = {"dataset": "demo_captions", "split": "nothing"}
    with_weights(0.0)(build(tmp_path, "bert"))
    encoders = {"demo_glosses": POOR, "demo_words": str(tmp_path / "bert")}
    others = [{"dataset": name, "encoders": encoder} for name, encoder in encoders.items()]
    found = swept(tmp_path, ["demo_fashion", broken, *others], [POOR])
    assert list(found.rankings) == ["demo_fashion"]
    assert "nothing" in found.failed["demo_captions nothing"]
    assert POOR in found.failed["demo_glosses"]
    assert "the same embedding for all" in found.failed["demo_words"]
    with pytest.raises(EmmsError, match=r"^'emms-demo/emoji-captions' has no split"):
        swept(tmp_path, [broken], [POOR])
    with pytest.raises(EmmsError, match=r"^no dataset of the sweep can be used; demo_captions nothing: .* no split"):
        swept(tmp_path, [broken, {"dataset": "demo_glosses", "split": "nothing"}], [POOR])


@pytest.mark.slow
def test_a_killed_sweep_continues(tmp_path: Path, emms_cache: Path) -> None:
    words = ["sweep", "--datasets", ",".join(IMAGES), "-c", POOR, "-c", GOOD, "-o", "results", "--no-cache"]
    words += ["--max-samples", "60", "-e", ENCODER, "--estimator", "emms"]
    # A fresh interpreter: the process that forks others for the tests would notice the kill a moment later.
    command = [sys.executable, "-m", "hf_emms", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/4]"):
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
    cells = RecordedProgress()
    swept(tmp_path / "results", checkpoints=[POOR, GOOD], cache=False, progress=cells)
    assert 2 <= len(cells.finished_names) <= 3
    rankings = [Ranking.from_json(file.read_bytes()) for file in (tmp_path / "results").rglob("*.json")]
    assert [len(ranking.rows) for ranking in rankings] == [2, 2]


def test_the_command_reads_a_sweep_file_and_prints_one_table(cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"checkpoints: [{GOOD}, {POOR}]\nencoders: {ENCODER}\nestimators: [emms]\nmax_samples: 60\n"
        "datasets:\n  - demo_fashion\n  - {dataset: demo_captions, max_samples: 40}\n"
    )
    dry = cli("sweep", plan, "-o", tmp_path / "results", "--dry-run", "--format", "csv")
    assert dry.code == 0
    assert re.fullmatch(rf"{GOOD},2,0,\d+\.\d,", dry.out.splitlines()[1])
    assert re.search(r"2 datasets: 4 cells to run, 0 there already; 0 B to download, about 0\.\d\d hours", dry.err)
    assert not (tmp_path / "results").exists()
    done = cli("sweep", plan, "-o", tmp_path / "results", "-c", POOR, "--format", "csv")
    assert (done.code, done.out) == (0, f"checkpoint,demo_fashion,demo_captions\n{POOR},1,1\n")
    assert f"[2/2] {POOR} on demo_captions" in done.err
    assert f"\nResults: {tmp_path / 'results'}\n" in done.err
    whole = cli("sweep", plan, "-o", tmp_path / "results")
    assert "2 datasets: 2 cells run, 2 there already" in whole.err
    cached = cli("sweep", plan, "-o", tmp_path / "elsewhere", "-c", GOOD, "-c", "./nowhere", "--dry-run")
    assert "2 datasets: 0 cells to run, 2 there already" in cached.err
    # The folder contains other results, too; the table has only the requested ones.
    other = cli("sweep", plan, "-o", tmp_path / "results", "-c", GOOD, "--format", "csv")
    assert other.out == f"checkpoint,demo_fashion,demo_captions\n{GOOD},1,1\n"
    assert {Ranking.from_json(file.read_bytes()).n for file in (tmp_path / "results").rglob("*.json")} == {60, 40}


def bomb() -> str:
    """Nine lists of nine lists of nine lists …: a few lines that expand to 43 million words."""
    lines = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 8)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *lines, "datasets: [*l7]"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("datasets: demo_fashion", "has no list `datasets`"),
        ("datasets: [", "cannot be read"),
        ("[" * 3000, "cannot be read"),
        (bomb(), "has no name"),
        ("datasets: []", "has no dataset"),
        ("datasets: [{task: x}]", "has no name"),
        ("datasets: [demo_fashion, demo_fashion]", "demo_fashion is listed twice"),
        ("datasets: [{dataset: a, colour: red}]", "a: unknown setting 'colour'"),
        ("{datasets: [a], confirm: 3}", "confirm is not a setting"),
        ("datasets: [{dataset: a, engine: jobs}]", "engine must be"),
        ("{datasets: [a], folds: many}", "folds is 'many'"),
        ("{datasets: [a], max_samples: false}", "max_samples is False"),
    ],
    ids=lambda value: value[:40],
)
def test_an_invalid_sweep_file_raises_an_error(cli: Cli, tmp_path: Path, content: str, message: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(content)
    done = cli("sweep", plan)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert len(done.err) < 600


def test_a_sweep_needs_either_a_file_or_datasets(cli: Cli, tmp_path: Path) -> None:
    assert cli("sweep").code == cli("sweep", "plan.yaml", "--datasets", "a").code == 2
    assert cli("sweep", "demo_fashion").code == 1
