"""Search of the Hub for checkpoints that can be ranked for a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import INPUT_NAMES, find_architecture, reads_other_inputs
from hf_emms.features.feature_plan import known_to_transformers, model_type_of
from hf_emms.features.files import weight_files
from hf_emms.formatting import pluralize
from hf_emms.hub import HubModel, Sort, count_parameters, find_models, logged_in, page, read_config
from hf_emms.known_models import KnownModel, remember
from hf_emms.tasks import Task

# A list is read no further than this, however few of it can be used.
MAX_LISTED = 2000


def search(
    task: Task,
    *,
    pipeline_tag: str | None = None,
    author: str | None = None,
    text: str | None = None,
    tags: Sequence[str] = (),
    max_parameters: int | None = None,
    min_downloads: int = 0,
    sort: Sort = "downloads",
    limit: int = 20,
    on_dropped: Callable[[str, str], None] = lambda id, reason: None,
) -> Iterator[HubModel]:
    """Finds checkpoints that can be ranked for a task. Downloads none: only their descriptions are read.

    Args:
        task: the task to rank them for.
        pipeline_tag: the task they are tagged with; `task` itself and its `sources` by default.
        author: a user or organisation.
        text: what the id contains.
        tags: tags that all of them have: libraries, languages, licences, "base_model:…".
        max_parameters: the most parameters.
        min_downloads: the fewest downloads in the last 30 days.
        sort: the order.
        limit: how many.
        on_dropped: called with the id of each that is left out, and the reason.

    Yields:
        Checkpoints with their architecture and, where a header names it, their size.

    Raises:
        EmmsError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: the Hub cannot be searched", "unset HF_HUB_OFFLINE")
    pipeline_tags = (pipeline_tag,) if pipeline_tag else (task.id, *task.sources)
    listed = find_models(pipeline_tags=pipeline_tags, author=author, text=text, tags=tags, sort=sort)
    count = 0
    for position, found in enumerate(listed):
        if count == limit:
            return
        if position == MAX_LISTED:
            on_dropped("…", f"the list is read no further than {MAX_LISTED:,} checkpoints")
            return
        if found.downloads < min_downloads:
            if sort == "downloads":
                return  # the next ones have still fewer
            on_dropped(found.id, pluralize(found.downloads, "download"))
            continue
        try:
            candidate = _candidate(found, task, max_parameters)
        except EmmsError as error:
            on_dropped(found.id, error.message)
            continue
        count += 1
        yield candidate


def _candidate(found: HubModel, task: Task, max_parameters: int | None) -> HubModel:
    """The checkpoint with its architecture and size.

    Raises:
        EmmsError: it cannot be ranked; the message is the reason.
    """
    if not weight_files(found.files):
        raise EmmsError("no weights for PyTorch")
    if found.gated and not logged_in():
        raise EmmsError(f"gated: accept its terms at {page(found.id, 'model')}, then hf auth login")
    architecture = _architecture(found, task)
    parameters = found.parameters
    if parameters is None:
        parameters = count_parameters(found)
    if max_parameters is not None and (parameters is None or parameters > max_parameters):
        raise EmmsError("unknown size" if parameters is None else f"{parameters:,} parameters")
    remember(found.id, KnownModel(parameters, licence=found.licence))
    return replace(found, architecture=architecture, parameters=parameters)


def _architecture(found: HubModel, task: Task) -> str:
    if "config.json" not in found.files:
        raise EmmsError("no config.json")
    model_type = model_type_of(found.config) or model_type_of(read_config(found))
    if model_type is None:
        raise EmmsError("its config.json names no model_type")
    row = find_architecture(model_type, task.modality)
    if row is not None:
        return row.family
    if reads_other_inputs(model_type, task.modality):
        raise EmmsError(f"{model_type} reads no {INPUT_NAMES[task.modality]}")
    if not known_to_transformers(model_type):
        raise EmmsError(f"the installed transformers does not know the architecture {model_type!r}")
    return f"{model_type} (fallback)"
