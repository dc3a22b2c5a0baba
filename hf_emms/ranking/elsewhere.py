"""How checkpoints rank on other datasets: what can be said of them without looking at a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from hf_emms.ranking.records import RankingData, Row, is_commit


def checkpoint_key(row: Row) -> str:
    """What two rows of the same checkpoint have in common: the Hub id at any revision; of a folder, its content."""
    return row.checkpoint.partition("@")[0] if is_commit(row.revision) else row.revision or row.checkpoint


def mean_ranks(rankings: Iterable[RankingData]) -> dict[str, float]:
    """The mean ranks of checkpoints over datasets, as shares of what was ranked (`rank_shares`).

    Every dataset counts once: rankings of the same dataset and configuration are averaged first. What fine-tuning
    measured counts before the estimate: the checkpoints that it measured exchange their places in a ranking.

    Returns:
        `checkpoint_key` → mean rank in (0, 1), low is good.
    """
    by_dataset: dict[tuple[str, str | None], list[RankingData]] = {}
    for ranking in rankings:
        by_dataset.setdefault((ranking.dataset_id, ranking.config), []).append(ranking)
    shares = [mean_shares([rank_shares(_places(ranking)) for ranking in same]) for same in by_dataset.values()]
    return {key: float(share) for key, share in mean_shares(shares).items()}


def static_order(rankings: Iterable[RankingData], task_id: str) -> list[str]:
    """The checkpoints of the Hub in the rankings of a task, those with the best mean rank first."""
    of_task = [ranking for ranking in rankings if ranking.task == task_id]
    on_hub = {checkpoint_key(row) for ranking in of_task for row in ranking.rows if is_commit(row.revision)}
    means = mean_ranks(of_task)
    return [key for key in sorted(means, key=means.__getitem__) if key in on_hub]


def rank_shares(values: Mapping[str, float]) -> dict[str, Fraction]:
    """Ranks as shares of what is ranked: (rank - ½) / n, the best of four is 1/8; equal values share a rank.

    Args:
        values: name → value, higher is better.
    """
    from scipy.stats import rankdata

    # Exact fractions: rounding errors would break ties, and move a tau by a hundredth.
    ranks = rankdata([-value for value in values.values()])
    return {name: Fraction(int(2 * rank - 1), 2 * len(values)) for name, rank in zip(values, ranks, strict=True)}


def mean_shares(tables: Sequence[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    """The mean of each name over the tables that have it."""
    names = dict.fromkeys(name for table in tables for name in table)
    shares_by_name = {name: [table[name] for table in tables if name in table] for name in names}
    return {name: sum(shares, Fraction(0)) / len(shares) for name, shares in shares_by_name.items()}


def _places(ranking: RankingData) -> dict[str, float]:
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
