"""What is written beside a fine-tuned model: a card with its recipe and scores, and results that the Hub reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import yaml

from hf_emms.errors import EmmsError, redacted
from hf_emms.hub import read_file
from hf_emms.options import Options
from hf_emms.publish.card_text import rendered_template
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit

# What makes a dataset a benchmark: https://huggingface.co/docs/hub/eval-results
_BENCHMARK, _RESULTS = "eval.yaml", ".eval_results"
_DEFAULT_CONFIG, _DEFAULT_SPLIT = "default", "test"


def evaluation_results(
    ranking: Ranking, row: Row, run: TrainingRun, split: str | None, on_note: Callable[[str], None]
) -> dict[str, str]:
    """What the Hub lists as a model's evaluation result: path → content; nothing where no benchmark has the test rows.

    Args:
        ranking: whose dataset it is.
        row: of the checkpoint.
        run: whose test score it is.
        split: the split that the test rows are all of; None where they are part of one.
        on_note: receives why the benchmark could not be looked up.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found = row.fine_tuned
    if found is None or split is None or not is_commit(ranking.dataset_revision):
        return {}
    try:
        content = read_file(ranking.dataset_id, "dataset", _BENCHMARK)
    except EmmsError as error:
        on_note(f"no evaluation result is written for the Hub: {error.message}")
        return {}
    tasks = [one for one in _tasks(content) if _place(one) == (ranking.config or _DEFAULT_CONFIG, split)]
    if len(tasks) != 1:
        return {}
    entry = EvalResultEntry(
        ranking.dataset_id,
        str(tasks[0]["id"]),
        round(run.scores[found.metric], 6),
        dataset_revision=ranking.dataset_revision,
        date=datetime.now(UTC).date().isoformat(),
        notes=f"{found.metric}; fine-tuned on {found.rows['train']}",
    )
    results = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return {f"{_RESULTS}/{ranking.dataset_id.rpartition('/')[2]}.yaml": results}


def _tasks(content: bytes | None) -> list[dict[str, Any]]:
    """The tasks that a dataset's eval.yaml lists; none where it has none or is of another form."""
    try:
        tasks = yaml.safe_load(content or b"")["tasks"]
        return [one for one in tasks if isinstance(one, dict) and one.get("id")]
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        return []


def _place(task: dict[str, Any]) -> tuple[Any, Any]:
    """Configuration and split of a benchmark's task."""
    return task.get("config") or _DEFAULT_CONFIG, task.get("split") or _DEFAULT_SPLIT


def model_card(ranking: Ranking, row: Row, run: TrainingRun, options: Options) -> str:
    """README.md of a fine-tuned model: where it comes from, its scores as model-index, and its recipe.

    Args:
        ranking: that it was the best of.
        row: of its checkpoint.
        run: whose model it is.
        options: how it was fine-tuned, and where it is uploaded.
    """
    found = row.fine_tuned
    assert found is not None
    recipe = {name: value for name, value in found.recipe.items() if value is not None}
    recipe |= {"learning_rates": None, "seeds": None, "learning_rate": run.learning_rate, "seed": run.seed}
    name = (options.push_to_hub or f"{row.checkpoint.partition('@')[0].rstrip('/')}-fine-tuned").rpartition("/")[2]
    metadata = yaml.safe_dump(_metadata(name, ranking, row, found, run), sort_keys=False, allow_unicode=True).strip()
    return rendered_template(
        "fine_tuned_card.md.jinja",
        metadata=redacted(metadata),
        ranking=ranking,
        row=row,
        run=run,
        rows=found.rows,
        compared=len(ranking.fine_tuned),
        recipe={name: value for name, value in recipe.items() if value is not None},
        command=_command(options, ranking, row, found, run),
    )


def _metadata(name: str, ranking: Ranking, row: Row, found: FineTuned, run: TrainingRun) -> dict[str, Any]:
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
        **({"base_model": row.checkpoint.partition("@")[0], "base_model_relation": "finetune"} if on_hub else {}),
        **({"datasets": [ranking.dataset_id]} if is_commit(ranking.dataset_revision) else {}),
        "model-index": [{"name": name, "results": [result]}],
    }


def _command(options: Options, ranking: Ranking, row: Row, found: FineTuned, run: TrainingRun) -> str:
    """The command that trains it again."""
    checkpoint = f"{row.checkpoint.partition('@')[0]}@{row.revision}" if is_commit(row.revision) else row.checkpoint
    again = replace(
        options,
        dataset=options.dataset if isinstance(options.dataset, str) else ranking.dataset,
        checkpoints=(checkpoint,),
        race=None,
        confirm=1,
        method=found.recipe["method"],
        epochs=found.recipe.get("epochs"),
        learning_rates=(f"{run.learning_rate:g}",),
        time_limit=None,
        push_to_hub=None,
        resume=True,
        cache=True,
    )
    return shlex.join(["hf-emms", "rank", *again.to_argv()])
