"""Test sweeps: each dataset is ranked and stored, and a dataset that fails does not stop the others."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hf_emms
from hf_emms.options import DEFAULT_MAX_SAMPLES, RunOptions
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.run.sweep import Sweep, _store, sweep_options
from hf_emms.scoring import Score
from tests.helpers.cli import Cli, cli
from tests.helpers.errors import raises_code
from tests.helpers.quick_python import python
from tests.helpers.rankings import example

__all__ = ["cli"]

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"
ENCODER = "emms-demo/encoder-minilm-static"
FEW: dict[str, Any] = {"max_samples": 60, "encoders": ENCODER, "estimators": ["emms"]}
IMAGES = ["demo_fashion", "demo_captions"]


def stored(folder: Path) -> dict[str, list[str]]:
    """Dataset → checkpoints of the rankings in a folder."""
    rankings = [Ranking.load(file) for file in folder.rglob("*.json")]
    return {ranking.dataset: sorted(row.checkpoint for row in ranking) for ranking in rankings}


def test_a_sweep_ranks_and_stores_each_dataset_and_goes_on_after_a_failure(emms_cache: Path, tmp_path: Path) -> None:
    broken = {"dataset": "demo_captions", "split": "nothing"}
    found = hf_emms.sweep(["demo_fashion", broken, "demo_captions"], [GOOD, POOR], output=tmp_path / "results", **FEW)
    assert list(found.rankings) == IMAGES
    assert "nothing" in found.failed["demo_captions nothing"]
    for name in IMAGES:
        alone = hf_emms.rank(name, [GOOD, POOR], **FEW)
        assert [(row.checkpoint, row.scores) for row in found.rankings[name]] == [
            (row.checkpoint, row.scores) for row in alone
        ]
    assert stored(tmp_path / "results") == {name: [GOOD, POOR] for name in IMAGES}
    again = hf_emms.sweep(IMAGES, POOR, output=tmp_path / "results", **FEW)
    assert [ranking[0].cached for ranking in again.rankings.values()] == ["row", "row"]
    assert stored(tmp_path / "results") == {name: [GOOD, POOR] for name in IMAGES}  # earlier rows stay


def test_sweeps_into_one_folder_at_once_lose_no_row(tmp_path: Path) -> None:
    names = [f"org/checkpoint-{number}" for number in range(12)]
    rankings = [msgspec.structs.replace(example(), rows=(Row(name, error="it failed"),)) for name in names]
    with ThreadPoolExecutor(len(rankings)) as pool:
        list(pool.map(lambda ranking: _store(Sweep({}, {}), "x", ranking, tmp_path, RunOptions()), rankings))
    assert stored(tmp_path) == {example().dataset: sorted(names)}


def test_a_ranking_that_cannot_be_stored_is_in_the_sweep(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "vanished"
    folder.symlink_to("/dev/full")
    words = ["sweep", "--datasets", ",".join(IMAGES), "-c", GOOD, "--max-samples", 60, "-e", ENCODER]
    done = cli(*words, "--estimator", "emms", "-o", folder)
    assert done.code == 1
    assert GOOD in done.out
    assert all(f"{name}: " in done.err for name in IMAGES)


KILLED = """
import os, signal
import hf_emms
from hf_emms.ranking.progress import Progress

class Killer(Progress):
    rows = 0

    def finished(self, row):
        self.rows += 1
        if self.rows == 4:  # the second of the second dataset
            os.kill(os.getpid(), signal.SIGKILL)

hf_emms.sweep({datasets}, {checkpoints}, output="results", progress=Killer(), **{few})
"""


def test_a_killed_sweep_continues(emms_cache: Path, tmp_path: Path) -> None:
    code = KILLED.format(datasets=IMAGES, checkpoints=[GOOD, POOR], few=FEW)
    killed = subprocess.run([*python(), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert stored(tmp_path / "results") == {IMAGES[0]: [GOOD, POOR]}
    found = hf_emms.sweep(IMAGES, [GOOD, POOR], output=tmp_path / "results", **FEW)
    first, second = ([row.cached for row in found.rankings[name]] for name in IMAGES)
    assert (first, "row" in second) == (["row", "row"], True)
    assert stored(tmp_path / "results") == {name: [GOOD, POOR] for name in IMAGES}


def logme(**scores: float | None) -> Ranking:
    """Checkpoints by their scores, or None if one failed."""
    rows = [
        Row(name, error="it fails") if score is None else Row(name, scores={"logme": Score(score)})
        for name, score in scores.items()
    ]
    return example(rows=ranked(rows, "logme"), estimators=("logme",))


def test_the_sweep_table_is_ordered_by_firsts() -> None:
    first, second = logme(a=3, b=2, c=2, d=None), logme(b=2, a=1)
    swept = Sweep({"1": first, "2": second, "3": logme(d=1, f=None)}, {"4": "it is gone"})
    assert swept.table() == (
        ("checkpoint", "1", "2", "3"),
        [
            ("a", "1", "2", ""),
            ("b", "=2", "1", ""),
            ("d", "failed", "", "1"),
            ("c", "=2", "", ""),
            ("f", "", "", "failed"),
        ],
    )


def test_settings_of_a_dataset_precede_those_of_the_call_and_of_the_file(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("folds: 3\nseed: 1\nmax_samples: 0\ndatasets: [a, {dataset: b, seed: 3, text_column: x}]\n")
    first, second = sweep_options(plan, {"seed": 2}).values()
    settings = [(each.scoring.folds, each.scoring.seed, each.sample.max_samples) for each in (first, second)]
    assert settings == [(3, 2, None), (3, 3, None)]
    assert second.sample.columns == {"text": "x"}
    (alone,) = sweep_options([Path("a")], {"group_column": "who"}).values()
    sample = alone.sample
    assert (sample.dataset, sample.group_column, sample.max_samples) == ("a", "who", DEFAULT_MAX_SAMPLES)


def test_the_command_reads_a_sweep_file_and_prints_one_table(cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"checkpoints: [{GOOD}, {POOR}]\nencoders: {ENCODER}\nestimators: [emms]\nmax_samples: 60\n"
        "datasets:\n  - demo_fashion\n  - {dataset: demo_captions, max_samples: 40}\n"
    )
    done = cli("sweep", plan, "-o", tmp_path / "results", "-c", POOR, "--format", "csv")
    assert (done.code, done.out) == (0, f"checkpoint,demo_fashion,demo_captions\n{POOR},1,1\n")
    assert "dataset 2 of 2: demo_captions" in done.err
    assert f"[1/1] {POOR}" in done.err
    assert f"\nResults: {tmp_path / 'results'}\n" in done.err
    assert {Ranking.load(file).n for file in (tmp_path / "results").rglob("*.json")} == {60, 40}
    datasets = f"{tmp_path / 'nowhere.csv'},demo_fashion"
    failed = cli("sweep", "--datasets", datasets, "-o", tmp_path / "others", "-c", POOR, "-e", ENCODER)
    assert failed.code == 1
    assert "1 dataset could not be ranked or saved" in failed.err


def bomb() -> str:
    """Nine lists of nine lists of nine lists …: a few lines that expand to 43 million words."""
    lines = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 8)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *lines, "datasets: [*l7]"])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("data: [demo_fashion]", "cannot-read"),
        ("demo_fashion", "cannot-read"),
        ("[" * 3000, "cannot-read"),
        (bomb(), "malformed-sweep"),
        ("datasets: [{task: x}]", "malformed-sweep"),
        ("datasets: [{dataset: a, colour: red}]", "unknown-argument"),
        ("{datasets: [a], confirm: 3}", "unknown-argument"),
        ("datasets: [{dataset: a, engine: jobs}]", "unknown-argument"),
        ("{datasets: [a], folds: many}", "wrong-type"),
        ("{datasets: [a], max_samples: false}", "wrong-type"),
    ],
    ids=lambda value: value[:40],
)
def test_an_invalid_sweep_file_raises_an_error(tmp_path: Path, content: str, code: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(content)
    with raises_code(code) as raised:
        sweep_options(plan, {})
    assert len(str(raised.value)) < 600
