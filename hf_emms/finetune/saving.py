"""The best fine-tuned model as a folder: a normal checkpoint, with a card that has its recipe and scores."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hf_emms.atomic_files import write_atomic
from hf_emms.cards.render import rendered_template
from hf_emms.errors import EmmsError, redacted
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit

# Folder, inside the one that is asked for, of the models of finished runs; the best one is left at the end.
_UNFINISHED = ".unfinished"
_SCORE = "validation.json"


class ModelKeeper:
    """Keeps the model of the best run so far.

    Args:
        folder: where the best model will be.

    Raises:
        EmmsError: the folder holds other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / _UNFINISHED
        other = [path.name for path in folder.iterdir() if path != self._runs] if folder.is_dir() else []
        if other:
            raise EmmsError(f"--save-model {folder} is not empty: it holds {other[0]}", "--save-model NEW_FOLDER")

    def path(self, name: str) -> Path:
        """Where the model of a run is written."""
        return self._runs / name

    def finished(self, name: str, run: TrainingRun) -> None:
        """Keeps the model of a run if no other has as good a validation score, and removes the others then."""
        write_atomic(self.path(name) / _SCORE, json.dumps(run.validation))
        found = {path: json.loads((path / _SCORE).read_text()) for path in self._runs.iterdir() if self._whole(path)}
        best = max(found, key=lambda path: (float(found[path]), path.name != name))
        for path in self._runs.iterdir():
            if path != best:
                shutil.rmtree(path)

    def finish(self, name: str, card: str, train: Callable[[], Any]) -> None:
        """Leaves one run's model in the folder, with its card.

        Args:
            name: of the run.
            card: README.md.
            train: trains and writes it again, where its model was not kept: an earlier process finished the run, or
                another run of the best checkpoint was better than it.
        """
        if not self._whole(self.path(name)):
            shutil.rmtree(self._runs, ignore_errors=True)
            train()
        for path in sorted(self.path(name).iterdir()):
            if path.name != _SCORE:
                path.rename(self.folder / path.name)
        write_atomic(self.folder / "README.md", card)
        shutil.rmtree(self._runs)

    def _whole(self, path: Path) -> bool:
        return (path / _SCORE).is_file()


def model_card(ranking: Ranking, row: Row, run: TrainingRun) -> str:
    """README.md of a fine-tuned model: where it comes from, its scores as model-index, and its recipe."""
    found = row.fine_tuned
    assert found is not None
    recipe = {name: value for name, value in found.recipe.items() if value is not None}
    recipe |= {"learning_rates": None, "seeds": None, "learning_rate": run.learning_rate, "seed": run.seed}
    metadata = yaml.safe_dump(_metadata(ranking, row, found, run), sort_keys=False, allow_unicode=True).strip()
    return rendered_template(
        "fine_tuned_card.md.jinja",
        metadata=redacted(metadata),
        ranking=ranking,
        row=row,
        run=run,
        rows=found.rows,
        compared=len(ranking.fine_tuned),
        recipe={name: value for name, value in recipe.items() if value is not None},
        command=_command(ranking, row, found, run),
    )


def _metadata(ranking: Ranking, row: Row, found: FineTuned, run: TrainingRun) -> dict[str, Any]:
    base = row.checkpoint.partition("@")[0]
    dataset = {"name": ranking.dataset, "type": ranking.dataset_id, "revision": ranking.dataset_revision}
    dataset |= {"config": ranking.config} if ranking.config else {}
    split = re.search(r"split (\S+)", found.rows["test"])
    dataset |= {"split": split[1]} if split else {}
    metrics = [{"type": name, "value": round(value, 6)} for name, value in run.scores.items()]
    result = {"task": {"type": ranking.task}, "dataset": dataset, "metrics": metrics}
    on_hub = is_commit(row.revision)
    return {
        "library_name": "transformers",
        "pipeline_tag": ranking.task,
        "tags": ["hf-emms"],
        **({"base_model": base, "base_model_relation": "finetune"} if on_hub else {}),
        **({"datasets": [ranking.dataset_id]} if is_commit(ranking.dataset_revision) else {}),
        "model-index": [{"name": f"{base.rstrip('/').rpartition('/')[2]}-fine-tuned", "results": [result]}],
    }


def _command(ranking: Ranking, row: Row, found: FineTuned, run: TrainingRun) -> str:
    """The command that trains it again."""
    recipe = found.recipe
    words = ["hf-emms rank", f"--dataset {ranking.dataset}", f"--task {ranking.task}", f"-c {row.checkpoint}"]
    words += [f"--config {ranking.config}"] if ranking.config else []
    words += [f"--split {ranking.split}", "--confirm 1", f"--method {recipe['method']}"]
    words += [f"--{name} {recipe[name]}" for name in ("epochs", "steps") if recipe.get(name)]
    words += [f"--budget {recipe['budget']}"] if recipe.get("budget") else []
    return " ".join([*words, f"--learning-rate {run.learning_rate:g}", f"--seed {run.seed}"])
