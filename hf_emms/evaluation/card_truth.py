"""Which name of a table means which checkpoint, or dataset, of a ranking, and whose scores compare.

Truth from the candidates' own model cards: what their authors say they reach on the dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hf_emms.errors import EmmsError
from hf_emms.evaluation.truth import Truth
from hf_emms.formatting import pluralize
from hf_emms.hub import Evaluation, Repo, evaluations, resolve
from hf_emms.ranking import Ranking, Row
from hf_emms.views import one_line

_SHORTEST_SHA = 7


def matched(rows: Sequence[Row], names: Iterable[str]) -> dict[str, str]:
    """Pairs checkpoints of a ranking with the names of a table.

    The same text always means the same checkpoint. Otherwise ``ORG/NAME`` means ``ORG/NAME@REVISION`` where only one
    state of it is there on either side, and two revisions have to agree, be it by the commit of the row. Upper and
    lower case differ, as they do on the Hub's pages.

    Returns:
        checkpoint → name.
    """
    free = dict.fromkeys(names)
    pairs = {}
    for row in rows:
        if row.checkpoint in free:
            pairs[row.checkpoint] = row.checkpoint
            del free[row.checkpoint]
    left = [row for row in rows if row.checkpoint not in pairs]
    for row in left:
        alike = [name for name in free if _means(name, row)]
        rivals = [other for other in left if any(_means(name, other) for name in alike)]
        if len(alike) == 1 and len(rivals) == 1:
            pairs[row.checkpoint] = alike[0]
    return pairs


def stopped_early(rows: Iterable[Row]) -> str | None:
    """Whose scores are of part of the rows, because a race stopped them; None where all saw all."""
    names = [row.checkpoint for row in rows if row.n is not None]
    many = "scores are of fewer rows, which compare roughly at most"
    return f"{', '.join(names)} stopped early in a race: their {many}" if names else None


def dataset_of(ranking: Ranking, names: Iterable[str | None]) -> str | None:
    """The name that a table has for a ranking's dataset; None in a table that names none.

    Raises:
        EmmsError: the table has other datasets only.
    """
    known = list(names)
    if known == [None]:
        return None
    for wanted in (ranking.dataset, ranking.dataset_id):
        if wanted in known:
            return wanted
    ours = {_loose(ranking.dataset), _loose(ranking.dataset_id)}
    alike = [name for name in known if name is not None and _loose(name) in ours]
    if len(alike) == 1:
        return alike[0]
    raise EmmsError(
        f"the truth has nothing on {ranking.dataset!r} ({ranking.dataset_id})",
        f"it has: {', '.join(map(str, known))}",
    )


def _means(name: str, row: Row) -> bool:
    ours, _, our_revision = _path(row.checkpoint).partition("@")
    theirs, _, their_revision = _path(name).partition("@")
    if ours != theirs:
        return False
    if not their_revision or their_revision == our_revision:
        return True
    if len(their_revision) >= _SHORTEST_SHA and (row.revision or "").startswith(their_revision):
        return True
    return not our_revision and not _is_sha(their_revision)


def _is_sha(revision: str) -> bool:
    return len(revision) >= _SHORTEST_SHA and all(digit in "0123456789abcdef" for digit in revision)


def _path(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _loose(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().replace("-", "_")


_SPLITS = ("test", "validation", "valid", "dev")
_SHARES = ("accuracy", "f1", "precision", "recall", "exact_match", "top-1 accuracy", "top-5 accuracy")

_CAUTION = (
    "a card tells of a checkpoint that was trained on this dataset, often with a recipe of its own; "
    "your own fine-tuning results are the better truth"
)


def truth_from_cards(rankings: Sequence[Ranking], *, metric: str | None = None, lower_is_better: bool = False) -> Truth:
    """Reads the evaluation results for each ranking's dataset from the cards of its checkpoints.

    Args:
        rankings: whose rows and datasets are looked for.
        metric: the type of the metric; where it is None, the one that most of the cards tell of.
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
        notes += [_told(id, repo, one, id in rescaled) for id, (repo, one) in table.items()]
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


def _told(id: str, repo: Repo, one: Evaluation, rescaled: bool) -> str:
    where = f"{one.dataset}{f', {one.config}' if one.config else ''}{f', {one.split}' if one.split else ''}"
    times = " (taken as a share: × 100)" if rescaled else ""
    return f"{id}: {one.metric} {one.value:g}{times} on {where}, from {one.file} at {repo.revision[:12]}"
