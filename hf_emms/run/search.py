"""Search the Hub for checkpoints that can be ranked for a task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import SupportsIndex

from hf_emms.errors import EmmsError, check_type
from hf_emms.features.architectures import find_architecture, other_inputs
from hf_emms.features.checkpoint_files import weight_files
from hf_emms.features.feature_spec import TIMM, known_to_transformers, model_type_of
from hf_emms.formatting import parse_count
from hf_emms.hub import (
    HubModel,
    Sort,
    find_models,
    logged_in,
    read_config,
    repo_url,
)
from hf_emms.hub.model_info import SORTS
from hf_emms.options.calls import checked_call
from hf_emms.tasks import Task, get_task

# The maximum number of models to look at.
MAX_LISTED = 2000
# LOOKED_AT × limit models are scanned for different architectures.
LOOKED_AT = 3


@checked_call
def search(
    task: str,
    *,
    author: str | None = None,
    text: str | None = None,
    tags: str | Iterable[str] = (),
    max_params: int | str | None = None,
    sort: Sort = "downloads",
    limit: int = 20,
    on_dropped: Callable[[str, str], None] = lambda id, reason: None,
) -> list[HubModel]:
    """Return checkpoints of the Hub that can be ranked for a task. Only their descriptions are downloaded.

    Different architectures come first.

    Args:
        task: The task to rank them for.
        author: A user or organization.
        text: A part of the id.
        tags: Tags that all checkpoints have on the Hub, such as "timm", "en", "dataset:ORG/NAME" or
            "license:apache-2.0".
        max_params: The maximum number of parameters, 100_000_000 or "100M".
        sort: "downloads", "likes", "trending_score", "created_at" or "last_modified", in descending order.
        limit: The maximum number of checkpoints.
        on_dropped: Called with the id and the reason for each omitted checkpoint.

    Raises:
        EmmsError: An argument is invalid, or the Hub cannot be searched.

    Examples:
        >>> models = hf_emms.search("text-classification", max_params="100M", limit=5)  # doctest: +SKIP
        >>> hf_emms.rank("my_texts.csv", [model.id for model in models])  # doctest: +SKIP
    """
    check_type("task", task, str)
    check_type("limit", limit, SupportsIndex)
    if sort not in SORTS:
        raise EmmsError("invalid-value", f"sort is {sort!r}", f"choose from {', '.join(SORTS)}")
    tags = (tags,) if isinstance(tags, str) else tuple(tags)
    searched_task = get_task(task)
    max_parameters = parse_count(max_params) if isinstance(max_params, str) else max_params
    listed = find_models(pipeline_tags=searched_task.pipeline_tags, author=author, text=text, tags=tags, sort=sort)
    families: dict[str | None, HubModel] = {}
    others = []
    for found_model in itertools.islice(_usable(listed, searched_task, max_parameters, on_dropped), LOOKED_AT * limit):
        if found_model.architecture in families:
            others.append(found_model)
        else:
            families[found_model.architecture] = found_model
            if len(families) == limit:
                break
    return [*families.values(), *others][:limit]


def _usable(
    listed: Iterable[HubModel], task: Task, max_parameters: int | None, on_dropped: Callable[[str, str], None]
) -> Iterator[HubModel]:
    """Yield the checkpoints that can be ranked, with their architecture."""
    for position, model in enumerate(listed):
        if position == MAX_LISTED:
            on_dropped("…", f"only the first {MAX_LISTED:,} checkpoints of the list are read")
            return
        try:
            yield described(model, task, max_parameters)
        except EmmsError as error:
            on_dropped(model.id, error.message)


def described(model: HubModel, task: Task, max_parameters: int | None, *, by_request: bool = True) -> HubModel:
    """Return a checkpoint with its architecture. If the Hub's list lacks it, read the configuration `by_request`.

    Raises:
        EmmsError: The checkpoint cannot be ranked, or is too large.
    """
    if not weight_files(model.files):
        raise EmmsError("no-weights", "no weights for PyTorch")
    if model.gated and not logged_in():
        raise EmmsError("gated", f"gated: accept its terms at {repo_url(model.id, 'model')}, then hf auth login")
    model = replace(model, architecture=_architecture(model, task, by_request=by_request))
    if max_parameters is not None:
        if model.parameters is None:
            raise EmmsError("unknown-size", "unknown size")
        if model.parameters > max_parameters:
            raise EmmsError("too-large", f"{model.parameters:,} parameters")
    return model


def _architecture(model: HubModel, task: Task, *, by_request: bool) -> str:
    if "config.json" not in model.files:
        raise EmmsError("no-config", "no config.json")
    model_type = model_type_of(model.config)
    if model_type is None and model.library == "timm":
        model_type = TIMM
    if model_type is None and by_request:
        model_type = model_type_of(read_config(model))
    if model_type is None:
        raise EmmsError("no-model-type", "config.json does not contain model_type")
    row = find_architecture(model_type, task.input.name)
    if row is not None:
        return row.family
    if other_inputs(model_type, task.input.name):
        raise EmmsError("other-inputs", f"{model_type} does not read {task.input.plural}")
    if not known_to_transformers(model_type):
        raise EmmsError(
            "unknown-architecture", f"the installed transformers does not know the architecture {model_type!r}"
        )
    return f"{model_type} (fallback)"
