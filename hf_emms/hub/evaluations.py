"""The evaluation results that a checkpoint's repository tells of itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.hub.connection import page
from hf_emms.hub.read import Repo, fetch

_CARD = "README.md"
_FOLDER = ".eval_results"


@dataclass(frozen=True)
class Evaluation:
    """One number of a repository.

    Attributes:
        dataset: its Hub id, as written there.
        config: of the dataset, where it is said.
        split: of the dataset, where it is said.
        metric: its type, e.g. "accuracy"; in .eval_results the task of the benchmark.
        value: the number.
        file: where it stands in the repository.
    """

    dataset: str
    config: str | None
    split: str | None
    metric: str
    value: float
    file: str


def evaluations(repo: Repo) -> list[Evaluation]:
    """What the model-index of a card and the files in .eval_results say, in their order.

    What is no number, or says not of which metric on which dataset, is left out.

    Raises:
        EmmsError: the files cannot be had, or are not what they should be.
    """
    from huggingface_hub import constants

    folder = fetch(repo, [_CARD, f"{_FOLDER}/*.yaml"])
    card = folder / _CARD
    if repo.folder is None and constants.HF_HUB_OFFLINE and not card.is_file():
        raise EmmsError(
            f"the card of {repo.id!r} is not in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE and run once online, or pass --truth FILE",
        )
    found = []
    for file in [card, *sorted((folder / _FOLDER).glob("*.yaml"))]:
        if file.is_file():
            path = file.relative_to(folder).as_posix()
            found += list(_of_card(repo, file) if file == card else _of_results(repo, file, path))
    return [one for one in found if one.dataset and one.metric and math.isfinite(one.value)]


def _of_card(repo: Repo, file: Path) -> Iterator[Evaluation]:
    import yaml
    from huggingface_hub import ModelCard

    try:
        results = ModelCard(file.read_text(encoding="utf-8-sig")).data.get("eval_results") or []
    except (ValueError, yaml.YAMLError) as error:
        raise _unreadable(repo, _CARD, error) from error
    for one in results:
        value = _number(one.metric_value)
        dataset, metric = _text(one.dataset_type), _text(one.metric_type)
        yield Evaluation(dataset, one.dataset_config, one.dataset_split, metric, value, _CARD)


def _of_results(repo: Repo, file: Path, path: str) -> Iterator[Evaluation]:
    import yaml
    from huggingface_hub import parse_eval_result_entries

    try:
        results = parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8-sig")) or [])
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise _unreadable(repo, path, error) from error
    for one in results:
        yield Evaluation(_text(one.dataset_id), None, None, _text(one.task_id), _number(one.value), path)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _unreadable(repo: Repo, path: str, error: BaseException) -> EmmsError:
    reason = " ".join(str(error).split())[:200]
    return EmmsError(
        f"the evaluation results in {path} of {repo.id!r} cannot be read: {reason}", page(repo.id, "model")
    )
