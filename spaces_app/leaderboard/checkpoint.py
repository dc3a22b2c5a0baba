"""The page of a checkpoint: facts, and its rank in every ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from markupsafe import Markup

from hf_emms.formatting import MISSING, format_count, pluralize
from hf_emms.ranking import Row
from hf_emms.ranking.columns import (
    ScoreFormatter,
    format_finetuned,
    format_measured,
    format_number,
    format_rank,
    metric_title,
    single_line,
    title_of,
)
from hf_emms.ranking.verdict import verdict
from leaderboard import answer, markup
from leaderboard.compare import noise_in_words
from leaderboard.home import task_name
from leaderboard.lines import Line, places
from leaderboard.markup import Link, Parts
from leaderboard.selection import View, checkpoint_link, label, ranking_link, to_query
from leaderboard.store import Entry, Snapshot

_MAX_NAMED = 3


def page(view: View, snapshot: Snapshot, *, is_static: bool = False) -> Markup:
    """Render the page: how good the checkpoint is, its rankings with the best rank first, code and facts."""
    best_first = sorted(places(snapshot).get(view.checkpoint, []), key=_share)
    back = to_query(replace(view, checkpoint=""))
    if not best_first:
        return markup.draw("checkpoint.html", checkpoint=view.checkpoint, rankings=None, back=back)
    newest = max(best_first, key=lambda place: place[0].ranking.created)[1]
    entry, line = next((place for place in best_first if place[0].id == view.ranking), best_first[0])
    cells = [_place(entry, line) for entry, line in best_first]
    titles = [title for title in cells[0] if any(row[title] != MISSING for row in cells)]
    rows = [
        ((ranking_link(entry, snapshot), task_name(entry.ranking.task)), *(row[title] for title in titles))
        for (entry, _), row in zip(best_first, cells, strict=True)
    ]
    return markup.draw(
        "checkpoint.html",
        checkpoint=view.checkpoint,
        back=back,
        name=markup.hub_link(view.checkpoint, newest.row.revision),
        strengths=_strengths(best_first, entry.ranking.task, snapshot),
        why=_why(entry, line, snapshot, is_static=is_static),
        facts=dict(_facts(newest)),
        code=answer.code(entry.ranking, line.row, line.facts),
        notes=[single_line(note) for note in newest.row.notes],
        layers=[_layers(entry, line, snapshot) for entry, line in best_first if line.row.layers],
        heads=["Dataset", *titles],
        rankings=rows,
    )


def _share(place: tuple[Entry, Line]) -> float:
    """Return the checkpoint's rank as a share of the ranked checkpoints; beyond 1 without a rank."""
    entry, line = place
    return line.row.rank / _count_ranked(entry) if line.row.rank is not None else 2.0


def _count_ranked(entry: Entry) -> int:
    return sum(row.rank is not None for row in entry.ranking.rows)


def _strengths(best_first: Sequence[tuple[Entry, Line]], task: str, snapshot: Snapshot) -> Parts:
    """Return how often the checkpoint beats the others of a task, and in which rankings it is first or best."""
    first = [entry for entry, line in best_first if line.row.rank == 1]
    entry, line = best_first[0]
    won = snapshot.wins[task].get(line.row.checkpoint)
    start = ""
    if won is not None:
        start = f"{task_name(task)}: wins {won.share:.0%} (95 % interval: {won.low:.0%} to {won.high:.0%}). "
    if first:
        names: list[str | Link] = [f"{start}First in {len(first)} of {pluralize(len(best_first), 'ranking')}: "]
        for place, entry in enumerate(first[:_MAX_NAMED]):
            names += [", "] * (place > 0) + [ranking_link(entry, snapshot)]
        return [*names, f" and {len(first) - _MAX_NAMED} more." if len(first) > _MAX_NAMED else "."]
    if line.row.rank is None:
        return "It failed in all of its rankings."
    return [
        f"{start}Highest rank on ",
        ranking_link(entry, snapshot),
        f": {format_rank(line.row)} of {_count_ranked(entry)}.",
    ]


def _why(entry: Entry, line: Line, snapshot: Snapshot, *, is_static: bool) -> Parts:
    """Return how the checkpoint differs from the first one of a ranking: score, noise, size and training data."""
    ranking, row, estimator = entry.ranking, line.row, entry.ranking.estimators[0]
    score, first = line.score(estimator), ranking.rows[0]
    if score is None:
        return ""
    shown, best = ScoreFormatter(ranking, estimator), first.scores[estimator]
    start: list[str | Link] = ["On ", ranking_link(entry, snapshot), f": {shown.title} {shown.text(score)}"]
    trained = f"trained on this dataset: {line.seen}" if line.seen else "not known to be trained on this dataset"
    if row is first:
        return [*start, f", {format_count(row.parameters)} parameters, {trained}."]
    comparison = View(tab="across", task=ranking.task, compare=(row.checkpoint, first.checkpoint))
    links = [] if is_static else [" ", Link("Compare them on every dataset", to_query(comparison))]
    noise = noise_in_words(best, score)
    return [
        *start,
        "; the first, ",
        checkpoint_link(first.checkpoint, View(task=ranking.task, ranking=entry.id)),
        f", has {shown.text(best)}. The difference of {shown.difference(best, score)} is {noise}. "
        f"{format_count(row.parameters)} parameters, the first {format_count(first.parameters)}; {trained}.",
        *links,
    ]


def _facts(line: Line) -> Iterator[tuple[str, str | Link]]:
    row = line.row
    yield "Revision", row.revision or MISSING
    yield "Parameters", format_count(row.parameters)
    yield "Features", f"{row.width or MISSING} wide, {row.pooling or MISSING}"
    yield "Architecture", row.architecture or MISSING
    yield "Library", line.facts.library or MISSING
    yield "License", line.facts.license or MISSING
    if line.facts.datasets:
        yield "Trained on", ", ".join(line.facts.datasets)
    if line.facts.downloads is not None:
        yield "Downloads", format_count(line.facts.downloads)
    if address := markup.hub_address(row.checkpoint, row.revision):
        yield "Model card", Link("on the Hub", address=address)


def _place(entry: Entry, line: Line) -> dict[str, str]:
    """Return column → cell for a ranking of the checkpoint."""
    ranking, row = entry.ranking, line.row
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    score, first = line.score(ranking.estimators[0]), ranking.rows[0].scores.get(ranking.estimators[0])
    decision = verdict(ranking)
    chosen = "this one" if decision.checkpoint == row.checkpoint else decision.checkpoint or "none"
    return {
        "Rank": f"failed: {row.error}" if row.error else f"{format_rank(row)} of {_count_ranked(entry)}",
        "Score": MISSING if score is None else f"{shown.title} {shown.text(score)} (first: {shown.text(first)})",
        "Fine-tuned": _fine_tuned(row),
        "Validation score while fine-tuning": _learning_curve(row),
        "Expected points behind the first": _expected_gap(line),
        "To fine-tune": "; ".join([f"{chosen}: {decision.certainty}", *answer.doubts(decision)]),
        "Seconds": MISSING if line.seconds is None else markup.seconds(line.seconds),
    }


def _fine_tuned(row: Row) -> str:
    result = row.fine_tuned
    if result is None:
        return MISSING
    if result.value is None:
        return f"failed: {result.error or MISSING}"
    return f"{metric_title(result.metric)} {format_finetuned(result)}"


def _learning_curve(row: Row) -> str:
    """Return the validation score at each evaluation: "12.0, 54.3, 61.0"."""
    result = row.fine_tuned
    if result is None or not result.learning_curve:
        return MISSING
    return ", ".join(format_measured(result.metric, score) for score in result.learning_curve)


def _expected_gap(line: Line) -> str:
    """Return the expected gap in accuracy after fine-tuning, with its 80 % interval: "0.4 (-4.0 to 4.1)"."""
    gap = line.gap
    return MISSING if gap is None else f"{gap.points:z.1f} ({gap.low:z.1f} to {gap.high:z.1f})"


def _layers(entry: Entry, line: Line, snapshot: Snapshot) -> tuple[str, list[str], list[list[str]]]:
    """Return the name of a ranking, and the scores of the checkpoint's layers in it: titles and rows."""
    estimators = entry.ranking.estimators
    rows = [
        [
            layer + (" (ranked by)" if layer == line.row.layer else ""),
            *(format_number(scores.get(name)) for name in estimators),
        ]
        for layer, scores in line.row.layers.items()
    ]
    return label(entry, snapshot), ["Layer", *map(title_of, estimators)], rows
