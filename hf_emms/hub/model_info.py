"""Checkpoints as the Hub describes them: search, sizes, configurations, and the evaluation results in their cards."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_emms.errors import EmmsError
from hf_emms.hub.client import request
from hf_emms.hub.repos import Repo, fetch, licence_of
from hf_emms.hub.session import page

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Sort = Literal["downloads", "likes", "trending_score", "created_at", "last_modified"]
SORTS: tuple[str, ...] = get_args(Sort)

_EXPANDED = ("sha", "config", "siblings", "safetensors", "downloads", "likes", "library_name", "gated", "tags")
_DEFAULT_BYTES = 4.0
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F4": 0.5} | dict.fromkeys(
    ("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1
)
_FIELDS = {"trending_score": "trendingScore", "created_at": "createdAt", "last_modified": "lastModified"}


@dataclass(frozen=True)
class HubModel:
    """A checkpoint as the Hub's API describes it.

    Attributes:
        id: "ORG/NAME".
        revision: the sha of its main branch.
        config: the Hub's summary of config.json (architectures, model_type); empty where there is none.
        files: paths of all files.
        dtypes: type → how many parameters, from the headers of its safetensors files; empty where nobody has read them.
        downloads: in the last 30 days.
        likes: how many users like it.
        library: e.g. "transformers", "timm".
        gated: whether its owner wants to know who uses it.
        tags: of the Hub.
        architecture: the family in `features.architectures`, "NAME (fallback)" for one that has no row there; None
            where nobody has looked.
    """

    id: str
    revision: str
    config: dict[str, Any]
    files: tuple[str, ...]
    dtypes: dict[str, int]
    downloads: int
    likes: int
    library: str | None
    gated: bool
    tags: tuple[str, ...] = ()
    architecture: str | None = None

    @property
    def parameters(self) -> int | None:
        """How many there are, where its headers are known."""
        return sum(self.dtypes.values()) or None

    @property
    def memory(self) -> int | None:
        """Bytes of the weights in the precision of their files."""
        return round(sum(count * _BYTES.get(dtype, _DEFAULT_BYTES) for dtype, count in self.dtypes.items())) or None

    @property
    def licence(self) -> str | None:
        """As its card names it."""
        return licence_of(self.tags)

    @property
    def base_model(self) -> str | None:
        """The checkpoint that it was made from, as its card names it."""
        named = (tag.removeprefix("base_model:") for tag in self.tags if tag.startswith("base_model:"))
        return next((id for id in named if ":" not in id), None)


def find_models(
    *,
    pipeline_tags: Sequence[str],
    author: str | None = None,
    text: str | None = None,
    tags: Sequence[str] = (),
    sort: Sort = "downloads",
) -> Iterator[HubModel]:
    """Lists checkpoints, the first by `sort` first; pages are asked for as they are needed.

    Args:
        pipeline_tags: Hub tasks; a checkpoint is tagged with one of them.
        author: a user or organisation.
        text: what an id contains.
        tags: tags that a checkpoint has: libraries, languages, licences, "base_model:…".
        sort: the order.

    Raises:
        EmmsError: the Hub cannot be reached, or refuses.
    """

    def listed(api: HfApi) -> Iterator[Any]:
        lists = [
            api.list_models(
                pipeline_tag=pipeline_tag,
                author=author,
                search=text,
                filter=list(tags) or None,
                sort=sort,
                expand=[*_EXPANDED, *([_FIELDS[sort]] if sort in _FIELDS else [])],  # type: ignore[list-item]
            )
            for pipeline_tag in pipeline_tags
        ]
        return heapq.merge(*lists, key=lambda model: _orderable(getattr(model, sort)), reverse=True)

    merged: Iterator[Any] | None = None

    def described(api: HfApi) -> HubModel | None:
        nonlocal merged
        going_on = merged or listed(api)
        found = next(going_on, None)
        merged = going_on
        if found is not None and (found.sha is None or found.siblings is None):  # some servers list ids alone
            found = api.model_info(found.id)
        return _hub_model(found) if found is not None else None

    # An interrupted generator cannot go on: only the first page is asked for again, but by the client itself.
    while (model := request(described, "a search of the Hub", tries=1 if merged else None)) is not None:
        yield model


def describe_model(id: str) -> HubModel:
    """One checkpoint, as `find_models` lists it.

    Raises:
        EmmsError: there is none, or the Hub cannot be reached.
    """
    expand: Any = [*_EXPANDED]
    return _hub_model(request(lambda api: api.model_info(id, expand=expand), id, "model"))


def weight_hashes(model: HubModel, paths: Sequence[str]) -> frozenset[str]:
    """Hashes of some files of a checkpoint, by which copies are known.

    Raises:
        EmmsError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub.hf_api import RepoFile

    found = request(lambda api: api.get_paths_info(model.id, list(paths), revision=model.revision), model.id, "model")
    files = [one for one in found if isinstance(one, RepoFile)]
    return frozenset(file.lfs.sha256 if file.lfs else file.blob_id for file in files)


def weight_dtypes(model: HubModel) -> dict[str, int]:
    """Type → parameters, in the headers of a checkpoint's safetensors files: a few KB each, no weights.

    Returns:
        Nothing where a header is not that of a safetensors file.

    Raises:
        EmmsError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    try:
        metadata = request(
            lambda api: api.get_safetensors_metadata(model.id, revision=model.revision), model.id, "model"
        )
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        return {}
    return {str(dtype): count for dtype, count in metadata.parameter_count.items()}


def read_config(model: HubModel) -> dict[str, Any]:
    """config.json of a checkpoint, where the Hub's own summary is not enough.

    Raises:
        EmmsError: it cannot be downloaded, or is no JSON object.
    """
    path = request(lambda api: api.hf_hub_download(model.id, "config.json", revision=model.revision), model.id, "model")
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise EmmsError(f"config.json of {model.id} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise EmmsError(f"config.json of {model.id} is no JSON object")
    return config


def _orderable(value: Any) -> tuple[bool, Any]:
    """A key by which models whose answer lacks a value come last."""
    return value is not None, value


def _hub_model(model: Any) -> HubModel:
    weights = model.safetensors
    return HubModel(
        id=model.id,
        revision=model.sha,
        config=model.config or {},
        files=tuple(sibling.rfilename for sibling in model.siblings),
        dtypes={str(dtype): count for dtype, count in weights.parameters.items()} if weights is not None else {},
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        library=model.library_name,
        gated=bool(model.gated),
        tags=tuple(model.tags or ()),
    )


_CARD = "README.md"
_FOLDER = ".eval_results"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation result of a checkpoint's repository.

    Attributes:
        dataset: its Hub id, as written there.
        config: of the dataset, where it is given.
        split: of the dataset, where it is given.
        metric: its type, e.g. "accuracy"; in .eval_results the task of the benchmark.
        value: the number.
        file: the path in the repository.
    """

    dataset: str
    config: str | None
    split: str | None
    metric: str
    value: float
    file: str


def evaluations(repo: Repo) -> list[Evaluation]:
    """The results in the model-index of a card and in the files in .eval_results, in their order.

    Entries without a number, a metric or a dataset are left out.

    Raises:
        EmmsError: the files cannot be downloaded or parsed.
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
