"""Truth from the candidates' own model cards: the results on the dataset that their authors report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hf_emms.errors import EmmsError
from hf_emms.evaluation.truth import Truth
from hf_emms.formatting import pluralize
from hf_emms.hub import Evaluation, Repo, evaluations, resolve
from hf_emms.ranking import Ranking
from hf_emms.views import one_line

_SPLITS = ("test", "validation", "valid", "dev")
_SHARES = ("accuracy", "f1", "precision", "recall", "exact_match", "top-1 accuracy", "top-5 accuracy")

_CAUTION = (
    "a card reports a checkpoint that was trained on this dataset, often with a recipe of its own; "
    "your own fine-tuning results are the better truth"
)


def truth_from_cards(rankings: Sequence[Ranking], *, metric: str | None = None, lower_is_better: bool = False) -> Truth:
    """Reads the evaluation results for each ranking's dataset from the cards of its checkpoints.

    Args:
        rankings: whose rows and datasets are looked for.
        metric: the type of the metric; where it is None, the one that most of the cards report.
        lower_is_better: whether a small value is a good one.

    Returns:
        The values, under the dataset's id, and a note on each: which number came from which card.

    Raises:
        EmmsError: no card can be had, or none has a result, or two metrics are equally common.
    """
    scores: dict[str | None, dict[str, float]] = {}
    names, notes = [], []
    for ranking in rankings:
        found, problems = _found(ranking)
        notes += problems
        chosen = metric or _commonest(ranking, found)
        table = {}
        for id, (repo, all) in found.items():
            fitting = [one for one in all if one.metric.lower() == chosen.lower()]
            if fitting:
                table[id] = repo, min(fitting, key=_preference)
        if not table:
            known = dict.fromkeys(one.metric for _, all in found.values() for one in all)
            raise EmmsError(
                f"no card has {chosen!r} on {ranking.dataset_id}",
                f"the cards have: {', '.join(known)}" if known else "pass --truth FILE with your own results",
            )
        values, rescaled = _on_one_scale(chosen, {id: one.value for id, (_, one) in table.items()})
        scores[ranking.dataset_id] = values
        names.append(chosen)
        notes += [_in_words(id, repo, one, id in rescaled) for id, (repo, one) in table.items()]
    metrics = ", ".join(dict.fromkeys(names))
    return Truth("model cards", metrics, scores, lower_is_better, tuple(map(one_line, [*notes, _CAUTION])))


def _found(ranking: Ranking) -> tuple[dict[str, tuple[Repo, list[Evaluation]]], list[str]]:
    """Results on the ranking's dataset, by checkpoint; and what could not be read."""
    found, problems = {}, []
    rows = [row for row in ranking.rows if row.error is None]
    failures = []
    for row in rows:
        try:
            repo = resolve(row.checkpoint, "model")
            fitting = [one for one in evaluations(repo) if _same_dataset(one, ranking)]
        except EmmsError as error:
            failures.append(error)
            problems.append(f"{row.checkpoint}: {error.message}")
            continue
        if fitting:
            found[row.checkpoint] = repo, fitting
    if rows and len(failures) == len(rows):
        raise EmmsError(f"no model card can be read: {failures[0].message}", failures[0].hint)
    return found, problems


def _same_dataset(one: Evaluation, ranking: Ranking) -> bool:
    theirs, ours = one.dataset.lower(), ranking.dataset_id.lower()
    # Old cards name datasets as they were called before they had an owner.
    same = theirs == ours or (("/" in theirs) != ("/" in ours) and theirs.split("/")[-1] == ours.split("/")[-1])
    return same and (one.config is None or ranking.config is None or one.config == ranking.config)


def _commonest(ranking: Ranking, found: dict[str, tuple[Repo, list[Evaluation]]]) -> str:
    counts = Counter(name for _, all in found.values() for name in {one.metric.lower() for one in all})
    if not counts:
        raise EmmsError(
            f"no card of the ranked checkpoints has a result on {ranking.dataset_id}",
            "pass --truth FILE with your own fine-tuning results",
        )
    most = max(counts.values())
    common = sorted(name for name, count in counts.items() if count == most)
    if len(common) > 1:
        raise EmmsError(
            f"results of several metrics on {ranking.dataset_id} are in {pluralize(most, 'card')}: {', '.join(common)}",
            f"--metric {common[0]}",
        )
    return common[0]


def _preference(one: Evaluation) -> int:
    return _SPLITS.index(one.split) if one.split in _SPLITS else len(_SPLITS)


def _on_one_scale(metric: str, values: dict[str, float]) -> tuple[dict[str, float], set[str]]:
    """Some cards write 0.98 and others 98.0: where both occur, shares become per cent."""
    if metric.lower() not in _SHARES or max(values.values()) <= 1:
        return values, set()
    shares = {id for id, value in values.items() if value <= 1}
    return {id: 100 * value if id in shares else value for id, value in values.items()}, shares


def _in_words(id: str, repo: Repo, one: Evaluation, rescaled: bool) -> str:
    where = f"{one.dataset}{f', {one.config}' if one.config else ''}{f', {one.split}' if one.split else ''}"
    times = " (taken as a share: × 100)" if rescaled else ""
    return f"{id}: {one.metric} {one.value:g}{times} on {where}, from {one.file} at {repo.revision[:12]}"
