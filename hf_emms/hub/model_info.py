"""Checkpoints as the Hub describes them: search, sizes, configurations, how they were evaluated; what is remembered."""

from __future__ import annotations

import functools
import heapq
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from hf_emms.cache import Cache, default_cache
from hf_emms.errors import EmmsError, use
from hf_emms.hub.client import page, request
from hf_emms.hub.repos import Repo, fetch, license_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Sort = Literal["downloads", "likes", "trending_score", "created_at", "last_modified"]
SORTS: tuple[str, ...] = get_args(Sort)

_EXPANDED = ("sha", "config", "siblings", "safetensors", "downloads", "likes", "library_name", "gated", "tags")
_SORT_FIELDS = {"trending_score": "trendingScore", "created_at": "createdAt", "last_modified": "lastModified"}
_DEFAULT_BYTES = 4.0
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F4": 0.5} | dict.fromkeys(
    ("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1
)
_CARD = "README.md"
_MAX_REASON = 200
_RESULTS_FOLDER = ".eval_results"
_BENCHMARKS = "https://huggingface.co/datasets?benchmark=benchmark:official"


@dataclass(frozen=True)
class HubModel:
    """A checkpoint as the Hub's API describes it."""

    id: str  # "ORG/NAME"
    revision: str  # the sha of its main branch
    config: dict[str, Any]  # the Hub's summary of config.json; empty where there is none
    files: tuple[str, ...]  # all paths
    dtypes: dict[str, int]  # type → parameters, from its safetensors headers; empty where nobody has read them
    downloads: int  # in the last 30 days
    likes: int
    library: str | None  # e.g. "transformers", "timm"
    gated: bool
    tags: tuple[str, ...] = ()
    # The family in `features.architectures`, "NAME (fallback)" for one that has no row there; None: nobody has looked.
    architecture: str | None = None

    @property
    def parameters(self) -> int | None:
        return sum(self.dtypes.values()) or None

    @property
    def memory(self) -> int | None:
        """Bytes of the weights in the precision of their files."""
        return round(sum(count * _BYTES.get(dtype, _DEFAULT_BYTES) for dtype, count in self.dtypes.items())) or None

    @property
    def license(self) -> str | None:
        return license_of(self.tags)

    @property
    def base_model(self) -> str | None:
        """The checkpoint that it was made from, as its card names it."""
        bases = (tag.removeprefix("base_model:") for tag in self.tags if tag.startswith("base_model:"))
        return next((id for id in bases if ":" not in id), None)


def find_models(
    *,
    pipeline_tags: Sequence[str],
    author: str | None = None,
    text: str | None = None,
    tags: Sequence[str] = (),
    sort: Sort = "downloads",
) -> Iterator[HubModel]:
    """Lists checkpoints with one of the pipeline tags and all other tags; pages are asked for as they are needed."""

    def sort_key(model: Any) -> tuple[bool, Any]:
        value = getattr(model, sort)
        return value is not None, value

    models: Iterator[Any] | None = None
    expand: Any = [*_EXPANDED, *([_SORT_FIELDS[sort]] if sort in _SORT_FIELDS else [])]

    def next_model(api: HfApi) -> HubModel | None:
        nonlocal models
        if models is None:
            filters: Any = {"author": author, "search": text, "filter": list(tags) or None, "sort": sort}
            lists = [api.list_models(pipeline_tag=tag, expand=expand, **filters) for tag in pipeline_tags]
            models = heapq.merge(*lists, key=sort_key, reverse=True)
        model = next(models, None)
        if model is not None and (model.sha is None or model.siblings is None):  # some servers list ids alone
            model = api.model_info(model.id)
        return None if model is None else _hub_model(model)

    # A generator that has failed cannot go on; the client itself asks for a page again.
    while (model := request(next_model, "a search of the Hub", tries=1)) is not None:
        yield model


def describe_model(id: str) -> HubModel:
    """One checkpoint, as `find_models` lists it."""
    expand: Any = [*_EXPANDED]
    return _hub_model(request(lambda api: api.model_info(id, expand=expand), id, "model"))


def weight_hashes(model: HubModel, paths: Sequence[str]) -> frozenset[str]:
    """Hashes of some files of a checkpoint, by which copies are recognised."""
    from huggingface_hub.hf_api import RepoFile

    infos = request(lambda api: api.get_paths_info(model.id, list(paths), revision=model.revision), model.id, "model")
    files = [info for info in infos if isinstance(info, RepoFile)]
    return frozenset(file.lfs.sha256 if file.lfs else file.blob_id for file in files)


def weight_dtypes(model: HubModel) -> dict[str, int]:
    """Type → parameters, in the headers of a checkpoint's safetensors files; nothing where one has no such header."""
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    try:
        metadata = request(
            lambda api: api.get_safetensors_metadata(model.id, revision=model.revision), model.id, "model"
        )
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        return {}
    return {str(dtype): count for dtype, count in metadata.parameter_count.items()}


def read_config(model: HubModel) -> dict[str, Any]:
    """config.json of a checkpoint, where the Hub's own summary is not enough."""
    path = request(lambda api: api.hf_hub_download(model.id, "config.json", revision=model.revision), model.id, "model")
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise EmmsError(f"config.json of {model.id} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise EmmsError(f"config.json of {model.id} is no JSON object")
    return config


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


@dataclass(frozen=True)
class BenchmarkEntry:
    """A checkpoint on the leaderboard of a benchmark: a dataset whose page lists results of checkpoints."""

    id: str  # "ORG/NAME"
    value: float  # what was measured, in the benchmark's own unit
    verified: bool  # whether the Hub vouches for the run


def leaderboard(id: str) -> list[BenchmarkEntry]:
    """The entries of a benchmark, the first rank first; some are fine-tunings of others."""
    hint = f"benchmarks are listed at {_BENCHMARKS}"
    entries = request(
        lambda api: api.get_dataset_leaderboard(id, base_model_only=False), id, "dataset", hints={400: hint, 404: hint}
    )
    return [BenchmarkEntry(entry.model_id, float(entry.value), bool(entry.verified)) for entry in entries]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation result of a checkpoint's repository."""

    dataset: str  # its Hub id, as written there
    config: str | None  # of the dataset
    split: str | None  # of the dataset
    metric: str  # its type, e.g. "accuracy"; in .eval_results the task of the benchmark
    value: float
    file: str  # the path in the repository


def evaluations(repo: Repo) -> list[Evaluation]:
    """The results in the model-index of a card and in .eval_results that have a number, a metric and a dataset."""
    import yaml
    from huggingface_hub import constants

    folder = fetch(repo, [_CARD, f"{_RESULTS_FOLDER}/*.yaml"])
    if repo.folder is None and constants.HF_HUB_OFFLINE and not (folder / _CARD).is_file():
        raise EmmsError(
            f"the card of {repo.id!r} is not in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE and run once online, or name a file of the " + use("truth"),
        )
    results: list[Evaluation] = []
    for file in [folder / _CARD, *sorted((folder / _RESULTS_FOLDER).glob("*.yaml"))]:
        if not file.is_file():
            continue
        path = file.relative_to(folder).as_posix()
        try:
            results += (_in_card if path == _CARD else _in_results_file)(file.read_text(encoding="utf-8-sig"), path)
        except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:_MAX_REASON]
            problem = f"the evaluation results in {path} of {repo.id!r} cannot be read: {reason}"
            raise EmmsError(problem, page(repo.id, "model")) from error
    return [result for result in results if result.dataset and result.metric and math.isfinite(result.value)]


def _in_card(text: str, path: str) -> Iterator[Evaluation]:
    from huggingface_hub import ModelCard

    for result in ModelCard(text).data.get("eval_results") or []:
        yield Evaluation(
            str(result.dataset_type or ""),
            result.dataset_config,
            result.dataset_split,
            str(result.metric_type or ""),
            _number(result.metric_value),
            path,
        )


def _in_results_file(text: str, path: str) -> Iterator[Evaluation]:
    import yaml
    from huggingface_hub import parse_eval_result_entries

    for entry in parse_eval_result_entries(yaml.safe_load(text) or []):
        yield Evaluation(str(entry.dataset_id or ""), None, None, str(entry.task_id or ""), _number(entry.value), path)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class KnownModel:
    """What this machine has learned about a checkpoint; None where it has not. Lists show it next time."""

    parameters: int | None = None  # of what was loaded, or of the whole checkpoint by the Hub
    bytes: int | None = None  # of the weights that are downloaded
    license: str | None = None  # as its card names it


def remember(id: str, learned: KnownModel, cache: Cache | None = None) -> None:
    """Adds to what is known of a checkpoint ("ORG/NAME[@REVISION]"); what is None stays as it was."""
    cache = cache or default_cache(True)
    before = asdict(recall(id, cache))
    after = before | {name: value for name, value in asdict(learned).items() if value is not None}
    if after != before:
        cache.put_json("models", {"id": id.partition("@")[0]}, after)


def recall(id: str, cache: Cache | None = None) -> KnownModel:
    """What is known of a checkpoint ("ORG/NAME[@REVISION]")."""
    read = functools.partial(msgspec.convert, type=KnownModel)
    return (cache or default_cache(True)).get_json("models", {"id": id.partition("@")[0]}, read) or KnownModel()
