"""What a plan will cost: files, bytes and seconds, before anything is downloaded or run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from hf_emms.cache import default_root
from hf_emms.errors import EmmsError
from hf_emms.features.architectures import FED
from hf_emms.features.files import needed_files, weight_files
from hf_emms.hub import Repo, RepoFile, listing
from hf_emms.plan import Plan, Request
from hf_emms.ranking import Ranking
from hf_emms.tasks import Modality, get_task
from hf_emms.words import counted

# Seconds for one input and one parameter, on one CPU core or two: two operations a parameter and token, 197 tokens a
# picture of 224 × 224, some 32 a text, 200 a pair of texts, 50 thousand million operations a second. Right within a
# factor of three or so.
CPU_SECONDS: dict[Modality, float] = {"image": 8e-9, "text": 1.3e-9, "image+text": 9e-9, "text+text": 8e-9}
GPU_SPEEDUP = 100
# Runs shorter than this tell how long loading takes, not how fast a checkpoint runs.
_TELLING_SECONDS = 5.0
_MOST_RANKINGS = 50
_BYTES_A_PARAMETER = 4


@dataclass(frozen=True)
class Cost:
    """What one checkpoint or encoder costs.

    Attributes:
        files: how many are needed.
        bytes: to download.
        cached: bytes that are on this machine already.
        seconds: for the features, by the rate of `rate`; None for an encoder, or without weights.
        problem: why nothing can be told.
    """

    files: int = 0
    bytes: int = 0
    cached: int = 0
    seconds: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Rate:
    """Seconds for one input and one parameter, and where the figure comes from."""

    seconds: float
    source: str


def rate(request: Request, modality: Modality) -> Rate:
    """How fast checkpoints run here: the median of earlier rankings on this device, or a rule of thumb."""
    measured = [
        row.seconds.features / (row.parameters * ranking.n_inputs)
        for ranking in _earlier_rankings()
        if ranking.device == request.device and _modality(ranking) == modality
        for row in ranking.rows
        if row.parameters and row.n is None and row.seconds.features >= _TELLING_SECONDS
    ]
    if measured:
        return Rate(median(measured), f"as fast as {counted(len(measured), 'checkpoint')} before")
    gpu = request.device.startswith(("cuda", "mps"))
    seconds = CPU_SECONDS[modality] / (GPU_SPEEDUP if gpu else 1)
    return Rate(seconds, f"rule of thumb: {seconds * 1e9:g} ns × parameters × {FED[modality]}")


def cost(repo: Repo, request: Request, inputs: int | None, rate: Rate) -> Cost:
    """What a checkpoint (or, without inputs, an encoder) will download and how long it will run."""
    try:
        files = listing(repo)
    except EmmsError as error:
        return Cost(problem=error.message)
    needed = needed_files(files, code=request.trust_remote_code, allow_pickle=request.allow_pickle)
    weights = weight_files(files, allow_pickle=request.allow_pickle)
    if not weights:
        return Cost(problem="no weights as safetensors")
    parameters = _total(files[path] for path in weights) / _BYTES_A_PARAMETER
    return Cost(
        len(needed),
        _total(files[path] for path in needed if not files[path].cached),
        _total(files[path] for path in needed if files[path].cached),
        parameters * inputs * rate.seconds if inputs is not None else None,
    )


def forecast(plan: Plan) -> tuple[dict[Repo, Cost], Rate]:
    """The cost of everything in a plan that is still to be done, encoders included."""
    speed = rate(plan.request, plan.target.task.modality)
    costs = {encoder: cost(encoder, plan.request, None, speed) for encoder in plan.encoders}
    for candidate in plan.candidates:
        if candidate.repo is not None and candidate.row is None:
            costs[candidate.repo] = cost(candidate.repo, plan.request, plan.target.n_read, speed)
    return costs, speed


def _modality(ranking: Ranking) -> Modality | None:
    try:
        return get_task(ranking.task).modality
    except EmmsError:  # the package that added the task is gone
        return None


def _total(files: Iterable[RepoFile]) -> int:
    return sum(file.bytes for file in files)


def _earlier_rankings() -> list[Ranking]:
    """The latest rankings that the command line has kept."""
    paths = sorted((default_root() / "rankings").glob("*.json"), key=lambda path: path.stat().st_mtime)
    rankings = []
    for path in paths[-_MOST_RANKINGS:]:
        try:
            rankings.append(Ranking.from_json(path.read_text(encoding="utf-8")))
        except (EmmsError, OSError):
            continue  # of another version, or gone meanwhile
    return rankings
