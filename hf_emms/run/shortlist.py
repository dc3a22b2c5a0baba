"""Choose candidates from the whole Hub: list it, and order the checkpoints by what is known without the data."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import weight_files
from hf_emms.hub import HubModel, Repo, find_models, leaderboard_ids, listing
from hf_emms.inputs import hash64
from hf_emms.ranking.public_results import PUBLIC_TABLES, published_value
from hf_emms.ranking.records import FunnelStage
from hf_emms.run.search import described
from hf_emms.tasks import Task

MAX_LISTED = 5000
OPEN, ANY = "open", "any"
# Licenses of the Open Source Initiative or of open data, by their ids on the Hub.
_OPEN_LICENSES = (
    *("afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc0-1.0"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cdla-permissive-2.0", "ecl-2.0", "epl-2.0", "isc"),
    *("eupl-1.2", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "ncsa"),
    *("odc-by", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib"),
)
# At most this many candidates have the same publisher and architecture, or the same base model.
_PER_GROUP = 2
# One candidate in this many is drawn at random.
DRAWN_EVERY = 5
# The constant of reciprocal rank fusion, see `by_prior`.
_RANK_OFFSET = 60
# The number of leaderboards of the Hub to read: those with the most listed checkpoints.
_MAX_LEADERBOARDS = 10


@dataclass(frozen=True)
class Filters:
    """Which checkpoints of the Hub are listed.

    Attributes:
        licenses: "open", "any" or ids of licenses.
        language: A language code such as "en"; None for all.
        library: "transformers", "timm", "sentence-transformers", …; None for all.
        gated: Whether to list gated checkpoints, if the user is logged in.
        max_parameters: Their maximum number of parameters; None for any number.
    """

    licenses: tuple[str, ...] = (OPEN,)
    language: str | None = None
    library: str | None = None
    gated: bool = False
    max_parameters: int | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that all checkpoints have on the Hub."""
        return tuple(filter(None, (self.language, self.library)))

    def usable(self, model: HubModel, task: Task) -> HubModel:
        """Return a checkpoint with its architecture.

        Raises:
            EmmsError: The checkpoint is left out; the code is the reason.
        """
        relation, base_model = model.base_model or ("", "")
        if "quantization_config" in model.config:
            relation = "quantized"
        if relation == "quantized":
            raise EmmsError("quantized-copy", f"quantized copy of {base_model or 'another checkpoint'}")
        if relation == "adapter":
            raise EmmsError("adapter", f"adapter of {base_model}")
        if model.gated and not self.gated:
            raise EmmsError("gated", "its owner restricts access")
        if model.license is None and ANY not in self.licenses:
            raise EmmsError("no-license", "the card names no license")
        is_open = OPEN in self.licenses and model.license in _OPEN_LICENSES
        if ANY not in self.licenses and model.license not in self.licenses and not is_open:
            raise EmmsError("other-license", f"license {model.license}")
        return described(model, task, self.max_parameters, by_request=False)


class Candidate(msgspec.Struct, frozen=True):
    """A checkpoint of the Hub at a revision, with the Hub's facts; `is_drawn` if it was drawn at random."""

    id: str
    revision: str
    is_drawn: bool
    downloads: int | None = None
    library: str | None = None
    license: str | None = None

    @property
    def pinned(self) -> str:
        """The name with its revision."""
        return f"{self.id}@{self.revision}"


class Shortlist(msgspec.Struct, frozen=True):
    """The candidates of a recommendation, and the stages that chose them."""

    candidates: tuple[Candidate, ...]
    stages: tuple[FunnelStage, ...]
    created: str


def make_shortlist(task: Task, filters: Filters, count: int, seed: int) -> Shortlist:
    """List the Hub, and return at most `count` candidates.

    Raises:
        EmmsError: The Hub cannot be searched, or no checkpoint passes the filters.
    """
    started = time.monotonic()
    models, left_out = list_checkpoints(task, filters)
    stages = [_stage("list", started, len(models), left_out)]
    if not models:
        reasons = ", ".join(f"{reason} {number}" for reason, number in stages[0].left_out.items())
        hint = "relax the filters of license, language, library, gated checkpoints and parameters"
        raise EmmsError("no-checkpoint-listed", f"the Hub lists no usable checkpoint for {task.id} ({reasons})", hint)
    started = time.monotonic()
    candidates, copies = choose(by_prior(models, task), count, seed)
    others = len(models) - len(candidates) - copies
    left_out = Counter({"copy": copies, "behind-others": others})
    stages.append(_stage("prior", started, len(candidates), left_out))
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return Shortlist(tuple(candidates), tuple(stages), created)


def _stage(name: str, started: float, kept: int, left_out: Counter[str]) -> FunnelStage:
    reasons = {reason.replace("-", " "): number for reason, number in left_out.most_common() if number}
    return FunnelStage(name, kept + left_out.total(), kept, time.monotonic() - started, left_out=reasons)


def list_checkpoints(task: Task, filters: Filters) -> tuple[list[HubModel], Counter[str]]:
    """Return the usable checkpoints among the most downloaded for a task, and reason → number of the others."""
    models, left_out = [], Counter[str]()
    listed = find_models(pipeline_tags=task.pipeline_tags, tags=filters.tags)
    for model in itertools.islice(listed, MAX_LISTED):
        try:
            models.append(filters.usable(model, task))
        except EmmsError as error:
            left_out[error.code] += 1
    return models, left_out


def by_prior(models: Sequence[HubModel], task: Task) -> list[HubModel]:
    """Order checkpoints by what is known without the data, the best first.

    Fuses the orders by downloads, by the public tables of the task, and by the leaderboards of the Hub: the reciprocal
    rank fusion of Cormack et al. (2009, doi:10.1145/1571941.1572114), for orders that lack some of the checkpoints.
    """
    scores = defaultdict[str, float](float)
    for order in _orders(models, task):
        for rank, id in enumerate(order, 1):
            scores[id] += 1 / (_RANK_OFFSET + rank)
    return sorted(models, key=lambda model: (-scores[model.id], model.id))


def _orders(models: Sequence[HubModel], task: Task) -> Iterator[Iterable[str]]:
    ids = {model.id for model in models}
    yield (model.id for model in sorted(models, key=lambda model: (-model.downloads, model.id)))
    for name, table in PUBLIC_TABLES.items():
        if task.id in table.tasks:
            values = {id: entry.value for id in ids if (entry := published_value(name, id)) is not None}
            sign = 1 if table.lower_is_better else -1
            yield sorted(values, key=lambda id: (sign * values[id], id))
    benchmarks = Counter(benchmark for model in models for benchmark in model.benchmarks)
    for benchmark, _ in sorted(benchmarks.items(), key=lambda item: (-item[1], item[0]))[:_MAX_LEADERBOARDS]:
        try:
            yield [id for id in dict.fromkeys(leaderboard_ids(benchmark)) if id in ids]
        except EmmsError:  # results are published without a leaderboard
            continue


def choose(ordered: Sequence[HubModel], count: int, seed: int) -> tuple[list[Candidate], int]:
    """Return at most `count` candidates, and the number of copies among the checkpoints that were considered.

    At most two have the same family or base model, except for one in five, which is drawn from all others. Any prefix
    of the list has these properties.
    """
    salt = str(seed).encode()
    by_chance = iter(sorted(ordered, key=lambda model: hash64(salt, model.id.encode())))
    by_order, groups, copies = iter(ordered), Counter[str](), _Copies()
    chosen: dict[str, Candidate] = {}
    while len(chosen) < count:
        is_drawn = len(chosen) % DRAWN_EVERY == DRAWN_EVERY - 1
        model = None if is_drawn else _next(by_order, chosen, copies, groups)
        if model is None:
            model, is_drawn = _next(by_chance, chosen, copies), True
        if model is None:
            break
        groups.update(_groups(model))
        facts = (model.downloads, model.library, model.license)
        chosen[model.id] = Candidate(model.id, model.revision, is_drawn, *facts)
    return [*chosen.values()], len(copies.ids)


def _next(
    models: Iterator[HubModel], chosen: Iterable[str], copies: _Copies, groups: Counter[str] | None = None
) -> HubModel | None:
    for model in models:
        if model.id in chosen or (groups and any(groups[group] >= _PER_GROUP for group in _groups(model))):
            continue
        if not copies.add(model):
            return model
    return None


def _groups(model: HubModel) -> tuple[str, str]:
    """Return the family of a checkpoint, by publisher and architecture, and its base model."""
    publisher, _, name = model.id.rpartition("/")
    family = model.architecture or ""
    if model.library == "timm":  # its checkpoints share one architecture of transformers
        family = "".join(re.findall(r"\A[a-z]+", name.lower()))
    _, base_model = model.base_model or ("", model.id)
    return f"family {publisher} {family}", f"base {base_model}"


class _Copies:
    """Finds checkpoints with the same weights as an earlier one.

    Only checkpoints with equal metadata of their safetensors are compared by their files, which takes a request.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._alike: dict[object, list[HubModel]] = {}

    def add(self, model: HubModel) -> bool:
        """Return whether a checkpoint is a copy of one that was added before."""
        alike = self._alike.setdefault((model.architecture, model.dtypes or model.id), [])
        if any(_digests(model.id, model.revision) & _digests(other.id, other.revision) for other in alike):
            self.ids.add(model.id)
        else:
            alike.append(model)
        return model.id in self.ids


@lru_cache
def _digests(id: str, revision: str) -> frozenset[str]:
    """Return the digests of the weights of a checkpoint; none if its files cannot be listed, so that its row fails."""
    try:
        files = listing(Repo(id, "model", revision))
    except EmmsError:
        return frozenset()
    return frozenset(filter(None, (files[path].sha256 for path in weight_files(files))))
