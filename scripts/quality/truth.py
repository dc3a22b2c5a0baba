"""The ground truth: every fine-tuning of the plan, one line of a JSONL file each; a run continues where one ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from hf_emms.errors import EmmsError
from scripts.quality.protocol import (
    EPOCHS,
    MORE_SEEDS,
    RESULTS,
    SEEDS,
    TARGETS,
    UNSTEADY,
    Candidate,
    Target,
    candidates_of,
    work,
)

# what no run of this machine has measured yet is guessed
GUESS_SECONDS = 15.0


@dataclass(frozen=True)
class Job:
    """One fine-tuning."""

    target: Target
    candidate: Candidate
    rate: float
    seed: int

    @property
    def key(self) -> tuple:
        return (self.target.name, self.candidate.name, self.rate, self.seed)


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
    newest = {(record["target"], record["candidate"]): record["revision"] for record in records}
    current = [record for record in records if newest[record["target"], record["candidate"]] == record["revision"]]
    return list({key_of(record): record for record in current}.values())


def committed_runs() -> list[dict]:
    """The runs of results.json as lines of the log."""
    if not RESULTS.exists():
        return []
    names = ("rate", "seed", "validation", "test", "seconds")
    return [
        {"target": name, "candidate": candidate, "revision": revision} | dict(zip(names, run, strict=True))
        for name, target in json.loads(RESULTS.read_text(encoding="utf-8"))["targets"].items()
        for candidate, revision in zip(target["candidates"], target["revisions"], strict=True)
        for run in target["runs"][candidate]
    ]


def key_of(record: dict) -> tuple:
    """What identifies a fine-tuning."""
    return (record["target"], record["candidate"], record["rate"], record["seed"])


def jobs() -> Iterator[Job]:
    """The whole plan: the first seed of all targets comes first."""
    for seed in SEEDS:
        for target in TARGETS:
            for candidate in candidates_of(target):
                for rate in candidate.rates:
                    yield Job(target, candidate, rate, seed)


def more_jobs(done: list[dict]) -> Iterator[Job]:
    """Further seeds of unsteady targets, at the rate whose mean validation score was best."""
    for seed in MORE_SEEDS:
        for target in TARGETS:
            for candidate in candidates_of(target) if target.name in UNSTEADY else ():
                own = [r for r in done if (r["target"], r["candidate"]) == (target.name, candidate.name)]
                planned = [r for r in own if r["seed"] in SEEDS]
                if len(planned) == len(SEEDS) * len(candidate.rates):
                    yield Job(target, candidate, _best_rate(planned), seed)


def _best_rate(records: list[dict]) -> float:
    rates = {record["rate"] for record in records}
    return max(rates, key=lambda rate: sum(record["validation"] for record in records if record["rate"] == rate))


def run(names: set[str] | None = None, again: bool = False) -> None:
    """Run what is missing, with an estimate of the time left after every fine-tuning.

    Args:
        names: targets; all by default.
        again: also what the committed results have.
    """
    import torch

    torch.set_num_threads(1)
    done = finished(again)
    keys = {key_of(record) for record in done}
    for plan in (jobs, partial(more_jobs, done)):
        _run([job for job in plan() if job.key not in keys and (names is None or job.target.name in names)], done)


def _run(waiting: list[Job], done: list[dict]) -> None:
    while waiting:
        job = _next(waiting, done)
        waiting.remove(job)
        start = time.perf_counter()
        try:
            record = _fine_tuned(job)
        except EmmsError as error:
            print(f"{job.target.name:15s} {job.candidate.name:27s} left out: {error.message}", flush=True)
            continue
        record["wall"] = round(time.perf_counter() - start, 2)
        with log_path().open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        done.append(record)
        left = sum(_expected(other, done) for other in waiting)
        print(
            f"{job.target.name:15s} {job.candidate.name:27s} rate {job.rate:.0e} seed {job.seed}  "
            f"validation {record['validation']:5.1f}  test {record['test']:5.1f}  {record['wall']:5.1f} s  "
            f"{len(waiting)} left, about {left / 60:.0f} min",
            flush=True,
        )


def _expected(job: Job, done: list[dict]) -> float:
    same = [r for r in done if r["candidate"] == job.candidate.name]
    here = [r for r in same if r["target"] == job.target.name]
    walls = [r.get("wall", r["seconds"]) for r in here or same]
    return sum(walls) / len(walls) if walls else GUESS_SECONDS


def _next(waiting: list[Job], done: list[dict]) -> Job:
    """The job that a run cut short would miss most, see `phase`."""
    best: dict[tuple, tuple[float, float]] = {}
    for record in done:
        place = (record["target"], record["candidate"])
        best[place] = max(best.get(place, (float("-inf"), 0.0)), (record["validation"], record["rate"]))

    def phase(job: Job) -> int:
        """One fine-tuning of every candidate, the cheap ones first; the other rates; the other seeds."""
        if job.seed == SEEDS[0]:
            return job.candidate.cost + (0 if job.rate == job.candidate.rates[0] else 3)
        chosen = best.get((job.target.name, job.candidate.name))
        return 6 + job.candidate.cost + (0 if chosen is None or chosen[1] == job.rate else 3)

    return min(waiting, key=phase)


def _fine_tuned(job: Job) -> dict:
    from scripts.quality.candidates import load
    from scripts.quality.fine_tuning import fine_tune
    from scripts.quality.problems import problem

    backbone = load(job.candidate, job.target.task)
    ready = problem(job.target, backbone)
    outcome = fine_tune(
        backbone,
        ready.make_head,
        ready.parts["train"],
        ready.parts["validation"],
        ready.parts["test"],
        epochs=EPOCHS[job.target.task],
        rate=job.rate,
        seed=job.seed,
    )
    return {
        "target": job.target.name,
        "candidate": job.candidate.name,
        "rate": job.rate,
        "seed": job.seed,
        "revision": backbone.revision,
        **{name: round(value, 4) for name, value in asdict(outcome).items()},
    }
