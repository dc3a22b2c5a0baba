"""Test that CONTRIBUTING.md says where new things go, by adding them to a copy of the package."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests import ROOT
from tests.helpers.quick_python import python

OPTION = """    warmup: int = setting(3, "Rows left out.", "Scoring", minimum=1, recorded=True)
"""
FUNCTION = """def _mean_square(inputs: ScoringInputs) -> Score:
    return Score(float((inputs.rows[0] ** 2).mean()))


"""
ESTIMATOR = """
    Estimator("mean_square", "mean square of features", _mean_square, needs={"rows"}, title="Mean square"),"""
COLUMN = """
    TableColumn(
        "letters",
        ("text", "file", "results", "dataset card", "page"),
        lambda ranking, row: len(row.checkpoint),
        type=int,
    ),"""
DATA_COLUMN = """
    TableColumn("bytes", ("text", "file", "results", "dataset card", "page"), type=int),"""
KIND = """from hf_emms.inputs.text import TEXT


class _Mirrored(type(TEXT)):
    '''Texts that are read from behind.'''

    def feature_reader(self, loaded, processors, layers, *, spans):
        reader = super().feature_reader(loaded, processors, layers, spans=spans)
        forward = reader.batches
        reader.batches = lambda texts, batch_size: forward([text[::-1] for text in texts], batch_size)
        return reader


MIRRORED = _Mirrored("mirrored", "mirrored text", "mirrored texts", sentence_settings=TEXT.sentence_settings)
"""
TASK = """from hf_emms.heads import Metric, RowHead, RowOutputs
from hf_emms.inputs import MIRRORED, TEXT
from hf_emms.tasks.task import Column, Task


def nearness(predictions, references):
    return sum(TONES.index(a) == TONES.index(b) for a, b in zip(predictions, references)) / len(references)


class StepHead(RowHead):
    '''An output for each step between two tones: whether a line is beyond it.'''

    def metrics(self, references):
        return (Metric("nearness", nearness),)

    def answers(self, sample, *, several):
        return sample.label_texts

    def outputs(self, references):
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        steps = range(len(TONES) - 1)
        return RowOutputs(
            len(steps),
            labels=lambda rows: torch.tensor([[float(TONES.index(row) > step) for step in steps] for row in rows]),
            loss=binary_cross_entropy_with_logits,
            predictions=lambda outputs: [TONES[int((row > 0).sum())] for row in outputs],
        )


TONES = ("calm", "glad")
TONE = Task(
    id="tone-classification",
    input=MIRRORED,
    inputs=(Column("line", ("line",), ("string",), TEXT),),
    label=Column("tone", ("tone",), ("string",)),
    categorical=True,
    label_text=str,
    head=StepHead(None, epochs=3),
)
"""
FIRST_COLUMN = '\n    TableColumn("minutes",'
# Addition → file, a text that occurs in it once (empty for a new file), and the text to insert before it.
EDITS = {
    "an option of a ranking": (
        ("options/__init__.py", "    folds: int = setting(", OPTION),
        ("run/rank.py", "    confirm: int | None = None,", "    warmup: int = 3,\n"),
        ("run/rank.py", "        confirm: Fine-tune this many", "        warmup: Rows to omit.\n"),
        ("run/rows.py", "*info.notes,", 'Note("warm-up", f"{inputs.scoring.warmup} rows are omitted"), '),
    ),
    "an estimator": (
        ("scoring/estimators.py", "ESTIMATORS: tuple[Estimator, ...] = (", FUNCTION),
        ("scoring/estimators.py", '\n    Estimator("emms",', ESTIMATOR),
    ),
    "a column of the tables": (("ranking/columns.py", FIRST_COLUMN, COLUMN),),
    "a column with new data": (
        ("ranking/records.py", "    layer: str | None = None\n", "    bytes: int = 0\n"),
        ("run/rows.py", "width=info.width or None,", "bytes=4 * info.width, "),
        ("ranking/columns.py", FIRST_COLUMN, DATA_COLUMN),
    ),
    "a task": (
        ("tasks/tone.py", "", TASK),
        ("tasks/__init__.py", "from hf_emms.tasks.visual", "from hf_emms.tasks.tone import TONE\n"),
        ("tasks/__init__.py", "    IMAGE_REGRESSION,\n", "    TONE,\n"),
    ),
    "a kind of input": (
        ("inputs/mirrored.py", "", KIND),
        ("inputs/__init__.py", "from hf_emms.inputs.prompt", "from hf_emms.inputs.mirrored import MIRRORED\n"),
        ("inputs/__init__.py", "PROMPT, AUDIO)", "MIRRORED, "),
        ("features/architectures.py", '"words": "words",', '"mirrored": "mirrored", '),
    ),
}
RANK = """rank --dataset lines.csv -e emms-demo/encoder-minilm-static --estimator emms --estimator mean_square
--warmup 7 -c emms-demo/bert-distilled -c emms-demo/bert-random -o ranking.json"""
CONFIRM = "confirm --ranking ranking.json --top 1 --epochs 3 --learning-rate 1e-2 --batch-size 8 --save-model best"
# Prints the copy's outputs for the ranking, as JSON.
PROBE = """
import csv
import json
from pathlib import Path

from click.testing import CliRunner
from leaderboard import table
from leaderboard.selection import View
from leaderboard.store import Store

import hf_emms
from hf_emms.cli.app import app
from hf_emms.features.device import gather_batches
from hf_emms.features.feature_spec import plan_extraction
from hf_emms.hub import resolve
from hf_emms.inputs import TEXT
from hf_emms.options import Options
from hf_emms.publish.card_entries import rank_command
from hf_emms.ranking.columns import flat_records
from hf_emms.ranking.text import to_csv
from hf_emms.run.sweep import sweep_options

ranking = hf_emms.Ranking.load("ranking.json")
ranking.save("results/lines.json")
store = Store(lambda: Path("results"), "results")
store.refresh()
(entry,) = store.snapshot.entries.values()
lines = [row["line"] for row in csv.DictReader(Path("lines.csv").open())]
inputs = [text for line in lines for text in (line, line[::-1])]
def features_of(id):
    spec = plan_extraction(resolve(id, "model"), TEXT, "a test", dtype="auto", trust_remote_code=False)
    extractor = TEXT.load_extractor(spec, device="cpu", layers=("spread",))
    return gather_batches(extractor.batches(inputs), len(inputs))


mean_squares = {row.checkpoint: (features_of(row.checkpoint) ** 2).mean(axis=1) for row in ranking}
sweep = sweep_options([{"dataset": "a", "warmup": 5}, "b"], {"warmup": 9})
print(json.dumps({
    "rank --help": CliRunner().invoke(app, ["rank", "--help"]).output,
    "sweep --help": CliRunner().invoke(app, ["sweep", "--help"]).output,
    "presets": CliRunner().invoke(app, ["presets", "--format", "csv"]).output,
    "command": rank_command(ranking, []),
    "job": Options("org/data", warmup=9).to_argv(),
    "cache key": Options("org/data").scoring.in_keys(),
    "sweep": [options.warmup for options in sweep.values()],
    "text": str(ranking),
    "mean squares": {name: values.reshape(-1, 2).tolist() for name, values in mean_squares.items()},
    "csv": to_csv(ranking),
    "records": flat_records(ranking),
    "dataset card": ranking.card(),
    "predicted": hf_emms.load_finetuned("best").predict(["what a day 200", "what no day 201"]),
    "leaderboard": table.table(View(columns="all"), entry.ranking, store.snapshot),
}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy with an option, an estimator, two columns, a kind of input and a task more makes of a ranking."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("hf_emms", "spaces_app", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, anchor, text in (edit for edits in EDITS.values() for edit in edits):
        file = folder / "hf_emms" / name
        content = file.read_text() if anchor else ""
        assert not anchor or content.count(anchor) == 1, (name, anchor)
        file.write_text(content.replace(anchor, text + anchor) if anchor else text)
    with (folder / "lines.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("line", "tone"))
        writer.writerows((f"what {'a' if n % 2 else 'no'} day {n}", ("glad", "calm")[n % 2]) for n in range(60))
    (folder / "results").mkdir()

    def run(*words: str) -> str:
        paths = os.pathsep.join(map(str, (folder, folder / "spaces_app")))
        environment = os.environ | {"PYTHONPATH": paths, "HF_EMMS_CACHE": str(folder / "cache")}
        command = [*python(), *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "hf_emms", *RANK.split())
    run("-m", "hf_emms", *CONFIRM.split())
    return json.loads(run("-c", PROBE)) | {"ranking": json.loads((folder / "ranking.json").read_text())}


@pytest.mark.parametrize("thing", EDITS)
def test_the_table_names_each_edited_file(thing: str) -> None:
    (row,) = (line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith(f"| {thing} |"))
    _, _, count, places, _ = row.split("|")
    touched = {f"hf_emms/{name}" for name, _, _ in EDITS[thing]}
    assert int(count) == len(touched)
    named = re.findall("`(hf_emms/[^`]*)`", places)
    unnamed = {file for file in touched if file not in named and f"{file.rpartition('/')[0]}/" not in named}
    assert unnamed == ({"hf_emms/run/rows.py"} if "where it acts" in places else set())


def test_an_option_is_in_help_settings_cache_keys_cards_jobs_and_sweeps(made: dict[str, Any]) -> None:
    assert "--warmup N" in made["rank --help"]
    assert "--warmup N" in made["sweep --help"]
    assert made["ranking"]["settings"]["warmup"] == 7
    assert all(row["notes"][0]["code"] == "warm-up" for row in made["ranking"]["rows"])
    assert made["cache key"]["warmup"] == 3
    assert "--warmup 7" in made["command"]
    assert made["job"] == ["--dataset", "org/data", "--warmup", "9"]
    assert made["sweep"] == [5, 9]


def test_an_estimator_is_listed_and_in_every_table(made: dict[str, Any]) -> None:
    assert "estimator,mean_square,,mean square of features" in made["presets"]
    assert [row["scores"]["mean_square"]["value"] > 0 for row in made["ranking"]["rows"]] == [True, True]
    assert "mean_square" in made["csv"].splitlines()[0].split(",")
    assert "mean_square" in made["records"][0]
    for name in ("text", "dataset card", "leaderboard"):
        assert "Mean square" in made[name], name


@pytest.mark.parametrize(
    ("column", "value"),
    [("letters", lambda row: len(row["checkpoint"])), ("bytes", lambda row: 4 * row["width"])],
    ids=["of what there is", "with new data"],
)
def test_a_column_is_in_every_table(made: dict[str, Any], column: str, value: Callable[[dict[str, Any]], int]) -> None:
    assert [row[column] for row in made["records"]] == [value(row) for row in made["ranking"]["rows"]]
    for name in ("text", "csv", "dataset card", "leaderboard"):
        assert column in made[name].lower(), name


def test_a_modality_uses_its_own_reader(made: dict[str, Any]) -> None:
    for row in made["ranking"]["rows"]:
        of_lines, value = made["mean squares"][row["checkpoint"]], row["scores"]["mean_square"]["value"]
        assert any(value == pytest.approx(from_behind, rel=1e-2) for _, from_behind in of_lines)
        assert not any(value == pytest.approx(from_front, rel=1e-3) for from_front, _ in of_lines)


def test_a_task_is_listed_and_inferred_from_the_columns(made: dict[str, Any]) -> None:
    assert 'task,tone-classification,tone-classification,"columns line, tone"' in made["presets"]
    assert made["ranking"]["task"] == "tone-classification"
    assert made["ranking"]["columns"] == {"line": "line", "tone": "tone"}


def test_a_head_is_trained_saved_and_loaded(made: dict[str, Any]) -> None:
    best = next(row["fine_tuned"] for row in made["ranking"]["rows"] if row["fine_tuned"])
    assert best["metric"] == "nearness"
    assert best["value"] > 0.8
    assert made["predicted"] == ["calm", "glad"]
