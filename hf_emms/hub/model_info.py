"""Descriptions of checkpoints on the Hub: search, sizes, configurations, and leaderboards of benchmarks."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_emms.cache.files import read_limited
from hf_emms.errors import EmmsError
from hf_emms.hub.client import request
from hf_emms.hub.repos import license_of

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

Sort = Literal["downloads", "likes", "trending_score", "created_at", "last_modified"]
SORTS: tuple[str, ...] = get_args(Sort)

_EXPANDED = (
    *("sha", "config", "siblings", "safetensors", "downloads", "likes", "library_name", "gated", "tags"),
    "evalResults",
)
_BASE_MODEL = "base_model:"
_SORT_FIELDS = {"trending_score": "trendingScore", "created_at": "createdAt", "last_modified": "lastModified"}


@dataclass(frozen=True)
class HubModel:
    """The description of a checkpoint by the Hub's API."""

    id: str  # "ORG/NAME"
    revision: str  # the sha of its main branch
    config: dict[str, Any]  # the Hub's summary of config.json, or empty
    files: tuple[str, ...]  # all paths
    parameters: int | None  # from the safetensors headers, as `dtypes`
    downloads: int  # in the last 30 days
    likes: int
    library: str | None  # e.g. "transformers", "timm"
    gated: bool
    tags: tuple[str, ...] = ()
    dtypes: tuple[tuple[str, int], ...] = ()  # type of numbers → how many parameters have it, sorted
    benchmarks: tuple[str, ...] = ()  # the datasets with published results of the checkpoint
    # The family in `features.architectures`, "NAME (fallback)" for other families; None if not yet known.
    architecture: str | None = None

    @property
    def license(self) -> str | None:
        return license_of(self.tags)

    @property
    def base_model(self) -> tuple[str, str] | None:
        """The relation to the base model of the card: "finetune", "quantized", "adapter", "merge" or ""; and its id."""
        tags = [tag.removeprefix(_BASE_MODEL) for tag in self.tags if tag.startswith(_BASE_MODEL)]
        # The Hub repeats the tag of a base model with the relation.
        relation, _, id = max(tags, key=len, default="").rpartition(":")
        return (relation, id) if id else None


def find_models(
    *,
    pipeline_tags: Sequence[str],
    author: str | None = None,
    text: str | None = None,
    tags: Sequence[str] = (),
    sort: Sort = "downloads",
) -> Iterator[HubModel]:
    """Yield checkpoints with any of the pipeline tags and all other tags; request pages on demand.

    Raises:
        EmmsError: The Hub cannot be searched.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("offline", "HF_HUB_OFFLINE is set: the Hub cannot be searched", "unset HF_HUB_OFFLINE")

    def sort_key(model: Any) -> tuple[bool, Any]:
        value = getattr(model, sort)
        return value is not None, value

    models: Iterator[Any] | None = None
    expand: Any = [*_EXPANDED, *([_SORT_FIELDS[sort]] if sort in _SORT_FIELDS else [])]

    def next_model(api: Api) -> HubModel | None:
        nonlocal models
        if models is None:
            filters: Any = {"author": author, "search": text, "filter": list(tags) or None, "sort": sort}
            lists = [api.list_models(pipeline_tag=tag, expand=expand, **filters) for tag in pipeline_tags]
            models = heapq.merge(*lists, key=sort_key, reverse=True)
        model = next(models, None)
        return None if model is None else _hub_model(model)

    # One try: a failed generator cannot continue. huggingface_hub itself repeats requests for pages.
    while (model := request(next_model, "a search of the Hub", tries=1)) is not None:
        yield model


def leaderboard_ids(dataset: str) -> list[str]:
    """Return the ids on the Hub's leaderboard of a benchmark dataset, the best first.

    The Hub also lists results in open pull requests, which anyone can open for any checkpoint. They count only if the
    Hub verified them.

    Raises:
        EmmsError: The dataset has no leaderboard.
    """
    entries = request(lambda api: api.get_dataset_leaderboard(dataset, base_model_only=False), dataset, "dataset")
    accepted = [entry for entry in entries if entry.verified or entry.pull_request is None]
    return [entry.model_id for entry in sorted(accepted, key=lambda entry: entry.rank)]


def read_config(model: HubModel) -> dict[str, Any]:
    """Return the complete config.json of a checkpoint."""
    path = request(lambda api: api.hf_hub_download(model.id, "config.json", revision=model.revision), model.id, "model")
    try:
        config = json.loads(read_limited(Path(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise EmmsError("malformed-checkpoint", f"config.json of {model.id} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise EmmsError("malformed-checkpoint", f"config.json of {model.id} is not a JSON object")
    return config


def _hub_model(model: Any) -> HubModel:
    weights, results = model.safetensors, model.eval_results or ()
    return HubModel(
        id=model.id,
        revision=model.sha,
        config=model.config or {},
        files=tuple(sibling.rfilename for sibling in model.siblings),
        parameters=sum(weights.parameters.values()) if weights is not None else None,
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        library=model.library_name,
        gated=bool(model.gated),
        tags=tuple(model.tags or ()),
        dtypes=tuple(sorted(weights.parameters.items())) if weights is not None else (),
        benchmarks=tuple(dict.fromkeys(result.dataset_id for result in results)),
    )
