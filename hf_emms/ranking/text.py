"""A ranking as text: all numbers for programs, a rounded table for people, and advice where the first rank is shared.

The leaderboard Space is published with this module.
"""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from hf_emms.errors import printable
from hf_emms.formatting import MISSING, format_count
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.ranking.records import EMMS, TIE_WIDTH, FineTuned, Ranking, Row, Score, gain_and_stderr


def title_of(estimator: str) -> str:
    """What people call an estimator; its name where no installed package has it."""
    return ESTIMATORS[estimator].title if estimator in ESTIMATORS else estimator


def to_csv(ranking: Ranking) -> str:
    """Comma-separated values with a header line."""
    rows = ranking.records()
    return csv_text([[*rows[0]], *([*row.values()] for row in rows)])


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Lines of values as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def to_tsv(ranking: Ranking) -> str:
    """Tab-separated values with a header line; whitespace inside a value becomes one space."""
    rows = ranking.records()
    lines = ["\t".join(rows[0])]
    lines += ["\t".join(one_line(value) for value in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def to_markdown(ranking: Ranking, *, top: int | None = None) -> str:
    """The rounded table in Markdown, failed rows below it; with `top`, the first few rows only."""
    header, rows = cells(ranking, top=top)
    lines = markdown_table(header, rows, left=("checkpoint",))
    failed = [f"- {escaped(name)}: {escaped(error)}" for name, error in failures(ranking)] if top is None else []
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


def to_html(ranking: Ranking) -> str:
    """The rounded table in HTML, failed rows below it."""
    header, rows = cells(ranking)
    lines = ["<table>", f"<thead>{_html_row('th', header)}</thead>", "<tbody>"]
    lines += [_html_row("td", row) for row in rows]
    lines += ["</tbody>", "</table>"]
    lines += [f"<p>failed: {html.escape(f'{name}: {error}')}</p>" for name, error in failures(ranking)]
    return "\n".join(lines)


def _html_row(tag: str, row: Sequence[str]) -> str:
    aligned = ["left" if place == 1 else "right" for place in range(len(row))]
    made = (
        f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>' for side, cell in zip(aligned, row, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"


def to_text(ranking: Ranking) -> str:
    """The rounded table in plain aligned text, failed rows below it."""
    header, rows = cells(ranking)
    lines = aligned(header, rows, left=("checkpoint",))
    lines += [f"failed: {name}: {error}" for name, error in failures(ranking)]
    return "\n".join(lines) + "\n"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> list[str]:
    """Lines of a plain table; columns are aligned to the right but for those named in `left`."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if title in left else cell.rjust(width)
            for title, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in [header, ["-" * width for width in widths], *rows]
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> list[str]:
    """Lines of a table in Markdown; columns are aligned to the right but for those named in `left`."""
    rule = [":---" if title in left else "---:" for title in header]
    return ["| " + " | ".join(line) + " |" for line in [header, rule, *[[*map(escaped, row)] for row in rows]]]


def cells(ranking: Ranking, *, top: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the rounded table: the standard error of the first score, "=" before a shared rank."""
    header = ["rank", "checkpoint"]
    for estimator in ranking.estimators:
        header += [title_of(estimator), *(["R²"] if estimator == _explaining(ranking) else [])]
    header += ["elsewhere"] if ranking.has_elsewhere else []
    header += ["fine-tuned"] if ranking.fine_tuned else []
    header += ["layer"] if ranking.settings.get("layers") else []
    header += [*(["rows"] if _raced(ranking) else []), "params", "width", "seconds"]
    return header, [_cells(ranking, row) for row in ranking.rows[:top]]


def settings_text(ranking: Ranking) -> str:
    """The settings that have a value, on one line: "max_samples 5000, seed 0"."""
    shown = (
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in ranking.settings.items()
        if value is not None and value != []
    )
    return one_line(", ".join(shown))


def failures(ranking: Ranking) -> list[tuple[str, str]]:
    """Checkpoint and error of every failed row, each on one line; of every one whose fine-tuning failed, too."""
    failed = [(row.checkpoint, row.error) for row in ranking.rows if row.error is not None]
    failed += [
        (row.checkpoint, f"fine-tuning: {row.fine_tuned.error}")
        for row in ranking.rows
        if row.fine_tuned is not None and row.fine_tuned.error is not None
    ]
    return [(one_line(name), one_line(error)) for name, error in failed]


def rank_of(row: Row) -> str:
    """A rank for people: "=2" where it is shared."""
    if row.rank is None:
        return MISSING
    return f"={row.rank}" if row.tied else str(row.rank)


def number(value: float | None) -> str:
    """A score with four decimals, or four digits where it is large."""
    if value is None:
        return MISSING
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def with_error(score: Score | None) -> str:
    """A score with its standard error, where it has one."""
    if score is None:
        return MISSING
    return number(score.value) + (f" ± {score.stderr:.4f}" if score.stderr is not None else "")


def one_line(value: Any) -> str:
    """A value on one line; what could steer a terminal is shown escaped."""
    return "" if value is None else printable(" ".join(str(value).split()))


def _cells(ranking: Ranking, row: Row) -> list[str]:
    line = [rank_of(row), one_line(row.checkpoint)]
    for place, estimator in enumerate(ranking.estimators):
        score = row.scores.get(estimator)
        line.append(number(score.value) if score and place else with_error(score))
        if estimator == _explaining(ranking):
            line.append(number(score.details.get("r2")) if score else MISSING)
    line += [percent(row.elsewhere)] if ranking.has_elsewhere else []
    line += [with_spread(row.fine_tuned)] if ranking.fine_tuned else []
    line += [row.layer or MISSING] if ranking.settings.get("layers") else []
    seconds = f"{row.seconds.features + row.seconds.scoring:.1f}" if row.error is None else MISSING
    if _raced(ranking):
        line.append(MISSING if row.error is not None else f"{row.n or ranking.n:,}")
    return [*line, format_count(row.parameters), str(row.width or MISSING), seconds]


def points(value: float | None) -> str:
    """A share in points: 0.912 is "91.2"."""
    return MISSING if value is None else f"{100 * value:.1f}"


def percent(value: float | None) -> str:
    """A share in per cent: 0.125 is "12%"."""
    return MISSING if value is None else f"{value:.0%}"


def with_spread(found: FineTuned | None) -> str:
    """What fine-tuning measured, in points, with its spread."""
    if found is None or found.value is None:
        return MISSING if found is None else "failed"
    return points(found.value) + (f" ± {points(found.spread)}" if found.spread is not None else "")


def _explaining(ranking: Ranking) -> str | None:
    """The estimator whose R² is shown."""
    return next((name for name in EMMS if name in ranking.estimators), None)


def _raced(ranking: Ranking) -> bool:
    """Whether rows may have seen different numbers of rows; of merged rankings, the latest may be no race."""
    return ranking.settings.get("race") is not None or any(row.n is not None for row in ranking.rows)


def escaped(text: str) -> str:
    """Text escaped for a cell of a Markdown table."""
    for char in "\\|`*_<>[]":
        text = text.replace(char, "\\" + char)
    return text


_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def measured_in_words(ranking: Ranking) -> str | None:
    """What fine-tuning found, in one sentence; None where nothing was fine-tuned.

    "swin-tiny: accuracy 91.2 (resnet-50: 89.9; dinov2-small: 89.4), up to 5 epochs; the estimate's first was second."
    """
    rows = ranking.fine_tuned
    found = [row.fine_tuned for row in rows if row.fine_tuned is not None]
    if not found:
        return None
    best = found[0]
    others = "; ".join(f"{row.checkpoint}: {points(one.value)}" for row, one in zip(rows[1:], found[1:], strict=True))
    sentence = f"{rows[0].checkpoint}: {best.metric} {points(best.value)}" + (f" ({others})" if others else "")
    recipe = best.recipe
    budget = f"{recipe['steps']:,} steps" if recipe.get("steps") else f"up to {recipe.get('epochs')} epochs"
    sentence += f", after {budget}" + (" (a quick budget)" if recipe.get("budget") else "")
    if len(found) > 1:
        place = next((place for place, row in enumerate(rows) if row.rank == 1), None)
        shared = (
            "one of the estimate's first" if any(row.tied and row.rank == 1 for row in rows) else "the estimate's first"
        )
        if place is not None:
            where = "is the best" if place == 0 else f"was {_ORDINALS[min(place, len(_ORDINALS) - 1)]}"
            sentence += f"; {shared} {where}"
        if _within_noise(best, found[1]):
            sentence += "; the first two differ by less than the noise of the test rows"
    return sentence + "."


def _within_noise(first: FineTuned, second: FineTuned) -> bool:
    if first.value is None or second.value is None or first.spread is None or second.spread is None:
        return False
    return abs(first.value - second.value) < TIE_WIDTH * math.hypot(first.spread, second.spread)


def answer(ranking: Ranking) -> str:
    """Which checkpoint to fine-tune, in one sentence: by fine-tuning where that was measured, else by the estimate."""
    if measured := measured_in_words(ranking):
        return f"Confirmed by fine-tuning: {measured}"
    scored = [row for row in ranking.rows if row.rank is not None]
    if not scored:
        return "No checkpoint has a score here."
    best, others = scored[0], scored[1:]
    equal = [row for row in scored if row.rank == best.rank]
    if len(equal) > 1:
        smallest = smallest_of(equal)
        small = f"; {sized(smallest)} is the smallest" if smallest.parameters is not None else ""
        return f"{_in_a_row(equal)} cannot be told apart{small}."
    if not others:
        return f"Only {sized(best)} has a score."
    return f"Fine-tune {sized(best)}: {_lead(best, others[0], ranking.estimators[0])}."


def _lead(best: Row, second: Row, estimator: str) -> str:
    if best.n != second.n:
        return f"a race stopped {second.checkpoint} and all others before it"
    gain, stderr = gain_and_stderr(best.scores[estimator], second.scores[estimator])
    if stderr == 0:
        return f"its {title_of(estimator)} is {number(best.scores[estimator].value)}, that of {second.checkpoint} " + (
            f"{number(second.scores[estimator].value)}"
        )
    return f"ahead of {second.checkpoint} by {gain / stderr:.1f} standard errors"


def smallest_of(rows: Sequence[Row]) -> Row:
    """The row with the fewest parameters; one where they are not known only if they are known of none."""
    return min(rows, key=lambda row: math.inf if row.parameters is None else row.parameters)


def sized(row: Row) -> str:
    """A checkpoint with its number of parameters, where that is known."""
    return row.checkpoint + (f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else "")


def _in_a_row(rows: Sequence[Row]) -> str:
    names = [row.checkpoint for row in rows[:_NAMED]]
    more = len(rows) - len(names)
    return f"{', '.join(names)} and {more} more" if more else f"{', '.join(names[:-1])} and {names[-1]}"


_NAMED = 3
# An estimate from a handful of folds is too rough to name more rows than so many times those that were used.
_TOO_MANY = 20


def unresolved(ranking: Ranking) -> str | None:
    """Which checkpoints share the first rank, and whether more rows would tell them apart, in words.

    Returns:
        One line; None where the first rank isn't shared, a race stopped its checkpoints, or the first estimator has no
        folds, whose ties are equal values.
    """
    leaders = [row for row in ranking.rows if row.rank == 1]
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if len(leaders) < 2 or leaders[0].n is not None or any(len(score.folds) < 2 for score in scores):
        return None
    shared = _in_a_row(leaders)
    needed = max(_rows_to_resolve(_drawn(ranking), *gain_and_stderr(scores[0], other)) for other in scores[1:])
    obstacle = _obstacle(ranking, needed)
    if obstacle is None:
        rows = min(_rounded_up(needed), ranking.available or math.inf)
        return f"{shared} share the first rank: about {rows:,} rows may tell them apart, --max-samples {rows}"
    choice = "either is a good choice, or fine-tune both" if len(leaders) == 2 else "each is a good choice"
    return f"{shared} share the first rank: more rows will hardly tell them apart ({obstacle}); {choice}"


def with_advice(ranking: Ranking) -> Ranking:
    """The ranking with its advice as the last of its notes, where there is some."""
    advice = unresolved(ranking)
    return ranking if advice is None else msgspec.structs.replace(ranking, notes=(*ranking.notes, advice))


def without_advice(ranking: Ranking) -> Ranking:
    """The ranking without what `with_advice` adds: other rows call for other advice."""
    advice = unresolved(ranking)
    return msgspec.structs.replace(ranking, notes=tuple(note for note in ranking.notes if note != advice))


def _drawn(ranking: Ranking) -> int:
    """Rows as --max-samples counts them: the spans of one question are one."""
    return ranking.n_inputs if ranking.settings.get("label_form") == "spans" else ranking.n


def _rows_to_resolve(n: int, gain: float, stderr: float) -> float:
    """Rows on which a difference that stays as it is would count: the standard error falls as 1/√n."""
    return n * (TIE_WIDTH * stderr / gain) ** 2 if gain > 0 else math.inf


def _obstacle(ranking: Ranking, needed: float) -> str | None:
    """Why more rows do not help; None where they may."""
    drawn = _drawn(ranking)
    if ranking.available is not None and drawn >= ranking.available:
        return f"all {drawn:,} were used"
    if math.isinf(needed):
        return "their scores are equal"
    estimate = f"it would take about {_rounded_up(needed):,}"
    if ranking.available is not None and needed > ranking.available:
        return f"{estimate}, the split has {ranking.available:,}"
    return estimate if needed > _TOO_MANY * drawn else None


def _rounded_up(rows: float) -> int:
    """At least so many rows, in two digits."""
    whole = math.ceil(round(rows, 6))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return -(-whole // unit) * unit
