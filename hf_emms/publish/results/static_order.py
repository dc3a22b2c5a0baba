"""How checkpoints rank on other datasets: what is known of them without looking at a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.evaluation.measures import mean_shares, rank_shares
from hf_emms.formatting import pluralize
from hf_emms.publish.results.repository import rankings_of
from hf_emms.ranking.records import Ranking, Row, is_commit

_HINT = "--results ORG/emms-results, or a folder that hf-emms rank … --output DIR/NAME.json put rankings in"


@dataclass(frozen=True)
class KnownRankings:
    """The rankings of a results dataset, or those in a folder.

    Attributes:
        repo: the dataset or the folder, at its exact state.
        rankings: those that could be read.
        notes: what could not be read, in words.
    """

    repo: hub.Repo
    rankings: tuple[Ranking, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, place: str) -> Self:
        """Reads them.

        Args:
            place: "ORG/NAME[@REVISION]" or a folder.

        Raises:
            EmmsError: there is no such dataset or folder, no ranking in it can be read, or the Hub cannot be reached.
        """
        repo = hub.resolve(place, "dataset")
        found, problems = rankings_of(repo)
        if not found:
            reason = f"; the first file: {problems[0]}" if problems else ""
            raise EmmsError(f"{repo.id} has no ranking that can be read{reason}", _HINT)
        left_out = f"{pluralize(len(problems), 'file')} of {repo.id} left out"
        return cls(repo, tuple(found.values()), (f"{left_out}, the first: {problems[0]}",) if problems else ())

    def elsewhere(self, task_id: str, dataset_id: str, config: str | None) -> tuple[dict[str, float], tuple[str, ...]]:
        """The mean ranks of checkpoints on all other datasets of a task, and notes on where they are from.

        Args:
            task_id: of the rankings that count.
            dataset_id: with `config`, the dataset whose rankings don't count, at whatever revision.
            config: the dataset's configuration.

        Returns:
            `checkpoint_key` → mean rank as a share of what was ranked, see `mean_ranks`; and the notes.
        """
        others = [one for one in self.rankings if one.task == task_id and _dataset(one) != (dataset_id, config)]
        if not others:
            return {}, (*self.notes, f"{self.repo.id} has no ranking of another dataset for {task_id}")
        where = f"{pluralize(len({*map(_dataset, others)}), 'other dataset')} in {self.repo.id}"
        note = f"elsewhere: mean rank on {where}, in per cent of the checkpoints there; low is good"
        return mean_ranks(others), (*self.notes, note)


def checkpoint_key(row: Row) -> str:
    """What two rows of the same checkpoint have in common: the Hub id at any revision; of a folder, its content."""
    return row.checkpoint.partition("@")[0] if is_commit(row.revision) else row.revision or row.checkpoint


def mean_ranks(rankings: Iterable[Ranking]) -> dict[str, float]:
    """The mean ranks of checkpoints over datasets, as shares of what was ranked (`rank_shares`).

    Every dataset counts once: rankings of the same dataset and configuration are averaged first. What fine-tuning
    measured counts before the estimate: the checkpoints that it measured exchange their places in a ranking.

    Returns:
        `checkpoint_key` → mean rank in (0, 1), low is good.
    """
    of_dataset: dict[tuple[str, str | None], list[Ranking]] = {}
    for ranking in rankings:
        of_dataset.setdefault(_dataset(ranking), []).append(ranking)
    shares = [mean_shares([rank_shares(_places(one)) for one in same]) for same in of_dataset.values()]
    return {key: float(share) for key, share in mean_shares(shares).items()}


def static_order(rankings: Iterable[Ranking], task_id: str) -> list[str]:
    """The checkpoints of the Hub in the rankings of a task, those with the best mean rank first."""
    of_task = [ranking for ranking in rankings if ranking.task == task_id]
    on_hub = {checkpoint_key(row) for ranking in of_task for row in ranking.rows if is_commit(row.revision)}
    means = mean_ranks(of_task)
    return [key for key in sorted(means, key=means.__getitem__) if key in on_hub]


def _dataset(ranking: Ranking) -> tuple[str, str | None]:
    return ranking.dataset_id, ranking.config


def _places(ranking: Ranking) -> dict[str, float]:
    """`checkpoint_key` → minus the place among those with a rank; a shared rank is the mean of its places."""
    rows = sorted((row for row in ranking.rows if row.rank is not None), key=lambda row: row.rank or 0)
    ranks = [row.rank or 0 for row in rows]
    places = {row.checkpoint: rank + (ranks.count(rank) - 1) / 2 for row, rank in zip(rows, ranks, strict=True)}
    measured = [row for row in ranking.fine_tuned if row.rank is not None]
    held = sorted(rows.index(row) + 1 for row in measured)
    places |= {row.checkpoint: place for row, place in zip(measured, held, strict=True)}
    # Of two revisions of a checkpoint the better one.
    best_last = sorted(rows, key=lambda row: -places[row.checkpoint])
    return {checkpoint_key(row): -places[row.checkpoint] for row in best_last}
