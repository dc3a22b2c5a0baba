"""The ground truth: every fine-tuning of the plan, one line of a JSONL file each; a run continues where one ended.

What trains is `hf_emms.finetune`, the code of `hf_emms.confirm`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.finetune.fine_tune import plan_for
from hf_emms.finetune.recipe import TrainingJob, default_rates, head_of, max_rows, recipe_for
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.finetune.training import run_job
from hf_emms.hub import resolve
from hf_emms.options import Options
from scripts.demo import sources
from scripts.quality import pair_targets, real_targets, sound_targets, targets
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import FULL, POOLS, QUICK, ROLES, Budget, Candidate, Pool, Target, made, work
from scripts.quality.rows import write

MAKERS = {**targets.MAKERS, **real_targets.MAKERS, **pair_targets.MAKERS, **sound_targets.MAKERS}
# what no run of this machine has measured yet is guessed
GUESS_SECONDS = 60.0
FIELDS = ("rate", "seed", "validation", "test", "seconds", "steps", "loss", "curve")


@dataclass(frozen=True)
class Job:
    """One fine-tuning."""

    pool: Pool
    target: Target
    budget: Budget
    candidate: Candidate
    rate: float
    seed: int

    @property
    def key(self) -> tuple:
        return (self.pool.name, self.target.name, self.budget.name, self.candidate.name, self.rate, self.seed)


def key_of(record: dict) -> tuple:
    """What identifies a fine-tuning."""
    return tuple(record[name] for name in ("pool", "target", "budget", "candidate", "rate", "seed"))


def log_path() -> Path:
    """The JSONL of finished fine-tunings."""
    return work() / "fine_tunings.jsonl"


def finished(again: bool = False) -> list[dict]:
    """The fine-tunings that are done: those of the committed results, then those of the work folder.

    Args:
        again: leave the committed ones out.
    """
    records = [] if again else committed_runs()
    if log_path().exists():
        # a line without its end is what an interrupted run left
        lines = log_path().read_text(encoding="utf-8").splitlines()
        records += [json.loads(line) for line in lines if line.endswith("}")]
    # of a candidate that was made anew only the new runs count
    newest = {place_of(record): record["revision"] for record in records}
    current = [record for record in records if newest[place_of(record)] == record["revision"]]
    return list({key_of(record): record for record in current}.values())


def tuned(pool: Pool, names: set[str] | None = None) -> Iterator[tuple[Target, list[Candidate]]]:
    """The targets of a pool, all or those with these names, and which of their candidates have fine-tunings."""
    done = {(one["target"], one["candidate"]) for one in finished()}
    for target in pool.targets:
        if names is None or target.name in names:
            yield target, [one for one in pool.candidates_of(target) if (target.name, one.name) in done]


def place_of(record: dict) -> tuple:
    """What the runs of one candidate on one target at one budget share."""
    return key_of(record)[:4]


def committed_runs() -> list[dict]:
    """The runs of the committed results as lines of the log."""
    return [
        {"pool": pool.name, "target": name, "budget": budget, "candidate": candidate, "revision": revision}
        | dict(zip(FIELDS, run, strict=False))
        for pool in POOLS.values()
        if pool.results.exists()
        for name, target in json.loads(pool.results.read_text(encoding="utf-8"))["targets"].items()
        for budget, runs in target["runs"].items()
        for candidate, revision in zip(target["candidates"], target["revisions"], strict=True)
        for run in runs.get(candidate, ())
    ]


def jobs(pool: Pool, names: set[str] | None = None) -> list[Job]:
    """All rates of the first seed; further seeds are in `more_jobs`."""
    return [
        Job(pool, target, budget, candidate, rate, budget.seeds[0])
        for budget in pool.budgets
        for target in pool.targets
        if names is None or target.name in names
        for candidate in pool.candidates_of(target)
        for rate in rates_of(candidate, target)
    ]


def more_jobs(pool: Pool, done: list[dict], names: set[str] | None = None) -> Iterator[Job]:
    """Further seeds, at the rate whose validation score was best with the first one."""
    for job in jobs(pool, names):
        same = [one for one in done if place_of(one) == job.key[:4] and one["seed"] == job.seed]
        if len({one["rate"] for one in same}) < len(rates_of(job.candidate, job.target)):
            continue
        if max(same, key=lambda one: one["validation"])["rate"] == job.rate:
            for seed in job.budget.seeds[1:]:
                yield Job(job.pool, job.target, job.budget, job.candidate, job.rate, seed)


@cache
def rates_of(candidate: Candidate, target: Target) -> tuple[float, ...]:
    """The rates that are tried: its own, or those that users get for a checkpoint of its size."""
    if candidate.rates:
        return candidate.rates
    return default_rates(parameters_of(candidate, target))


@cache
def parameters_of(candidate: Candidate, target: Target) -> int:
    """Parameters of a checkpoint, from the headers of its weights."""
    from safetensors import safe_open

    folder = resolve(checkpoint(candidate.name, target.side), "model").folder
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                size = 1
                for length in weights.get_slice(name).get_shape():
                    size *= length
                count += size
    return count


def run(
    pool: Pool,
    names: set[str] | None = None,
    budgets: set[str] | None = None,
    *,
    candidates: set[str] | None = None,
    again: bool = False,
    share: tuple[int, int] = (0, 1),
    first_seed: bool = False,
) -> None:
    """Run what is missing, with an estimate of the time left after every fine-tuning.

    Args:
        pool: whose targets.
        names: of targets; all by default.
        budgets: names of budgets; all by default.
        candidates: names of candidates; all by default.
        again: also what the committed results have.
        share: this process's number, and how many processes share the work.
        first_seed: leave further seeds out.
    """
    import torch

    torch.set_num_threads(1)
    done = finished(again)
    for more in (False, True)[: 1 if first_seed else 2]:
        plan = list(more_jobs(pool, done, names)) if more else jobs(pool, names)
        keys = {key_of(record) for record in done}
        waiting = [job for job in plan if job.key not in keys and (budgets is None or job.budget.name in budgets)]
        waiting = [job for job in waiting if candidates is None or job.candidate.name in candidates]
        # A candidate's runs on a target stay in one process, also when it starts again.
        mine = [job for job in waiting if sum(map(ord, job.target.name + job.candidate.name)) % share[1] == share[0]]
        _run(mine, done)


def _run(waiting: list[Job], done: list[dict]) -> None:
    while waiting:
        job = _next(waiting, done)
        waiting.remove(job)
        start = time.perf_counter()
        try:
            record = _fine_tuned(job)
        except EmmsError as error:
            print(f"{job.target.name:18s} {job.candidate.name:27s} left out: {error.message}", flush=True)
            continue
        record["wall"] = round(time.perf_counter() - start, 2)
        with log_path().open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        done.append(record)
        left = sum(_expected(other, done) for other in waiting)
        print(
            f"{job.target.name:18s} {job.budget.name:6s} {job.candidate.name:27s} rate {job.rate:.0e} seed {job.seed}  "
            f"validation {record['validation']:5.1f}  test {record['test']:5.1f}  {record['wall']:5.1f} s  "
            f"{len(waiting)} left, about {left / 60:.0f} min",
            flush=True,
        )


def _next(waiting: list[Job], done: list[dict]) -> Job:
    """The job that a run cut short would miss most: target by target, the shorter budget first, then the rates that
    validated best there; other rates at the longer budget come last.
    """
    best: dict[tuple, dict] = {}
    for one in done:
        place = (one["pool"], one["target"], one["candidate"])
        if one["budget"] == QUICK.name and one["validation"] > best.get(place, {"validation": -1})["validation"]:
            best[place] = one

    def order(job: Job) -> tuple:
        likely = best.get((job.pool.name, job.target.name, job.candidate.name), {"rate": job.rate})["rate"] == job.rate
        place = job.pool.targets.index(job.target)
        full = job.budget.name == FULL.name
        return (full and not likely, place, full, job.candidate.cost)

    return min(waiting, key=order)


def _expected(job: Job, done: list[dict]) -> float:
    same = [one for one in done if one["candidate"] == job.candidate.name and one["budget"] == job.budget.name]
    here = [one for one in same if one["target"] == job.target.name]
    walls = [one.get("wall", one["seconds"]) for one in here or same]
    return sum(walls) / len(walls) if walls else GUESS_SECONDS


def folder_of(target: Target) -> Path:
    """A target's dataset folder, written on first use."""

    def make(folder: Path) -> None:
        if target.name not in {**pair_targets.MAKERS, **sound_targets.MAKERS}:
            sources.fetch()
        write(folder, MAKERS[target.name]())

    return made(work() / "targets" / target.name, make)


def options_of(target: Target, budget: Budget) -> Options:
    """What a user would type."""
    epochs = budget.epochs.get(target.task)
    return Options(
        str(folder_of(target)),
        task=target.task,
        split="train",
        columns=ROLES[target.task],
        device="cpu",
        confirm=1,
        epochs=epochs,
        **budget.settings,
    )


@cache
def splits_of(target: Target, budget: Budget) -> Splits:
    """The rows of a fine-tuning: the target's own parts; all its test rows at every budget."""
    options = options_of(target, budget)
    splits = load_splits(options)
    if max_rows(options):
        every = replace(options, budget=None, confirm_samples=None)
        splits = replace(splits, test=load_splits(every).test)
    return splits.with_images_in_memory()


def _fine_tuned(job: Job) -> dict[str, Any]:
    """One run, as `hf_emms.confirm` makes it.

    Raises:
        EmmsError: it failed.
    """
    name = checkpoint(job.candidate.name, job.target.side)
    repo = resolve(name, "model")
    splits, options = splits_of(job.target, job.budget), options_of(job.target, job.budget)
    recipe = recipe_for(options, head_of(splits.task), None)
    run = TrainingJob(name, plan_for(repo, splits.task, options), None, recipe, job.rate, job.seed)
    with tempfile.TemporaryDirectory(dir=work()) as folder:
        found = run_job(run, splits, options, Path(folder) / "run")
    if found.error is not None:
        raise EmmsError(found.error)
    return {
        "pool": job.pool.name,
        "target": job.target.name,
        "budget": job.budget.name,
        "candidate": job.candidate.name,
        "rate": job.rate,
        "seed": job.seed,
        "revision": repo.revision,
        "validation": round(100 * (found.validation or 0.0), 4),
        "test": round(100 * next(iter(found.scores.values())), 4),
        "loss": None if found.loss is None else round(found.loss, 5),
        "seconds": round(found.seconds, 2),
        "steps": found.steps,
        "curve": [round(100 * value, 2) for value in found.curve],
    }
