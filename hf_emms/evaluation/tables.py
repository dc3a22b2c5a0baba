"""Validations and comparisons as text: records for programs, tables and a scatter plot for people."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from hf_emms.evaluation.compare import Comparison, Move
from hf_emms.evaluation.validate import EstimatorResult, TargetResult, Validation
from hf_emms.formatting import MISSING, pluralize
from hf_emms.ranking.formats import format_finetuned, format_number, single_line, title_of

_WIDTH, _HEIGHT = 64, 14
_SEVERAL, _MANY = "+", "•"


def scatter(target: TargetResult, name: str, metric: str, lower_is_better: bool = False, width: int = 80) -> str:
    """Checkpoints as letters, the truth upwards and the score to the right; below it the names of the letters.

    Args:
        target: what was compared.
        name: the estimator or control on the axis to the right.
        metric: what the truth is, for the heading.
        lower_is_better: turns the truth's axis round, so that good is always up.
        width: columns to stay within.
    """
    shown = [(point.checkpoint, point.scores[name], point.truth) for point in target.points if name in point.scores]
    scores, truths = [score for _, score, _ in shown], [truth for _, _, truth in shown]
    top, bottom = (min(truths), max(truths)) if lower_is_better else (max(truths), min(truths))
    high, low = _digits(top), _digits(bottom)
    margin = max(len(high), len(low))
    columns = min(_WIDTH, width - margin - 3)
    marks = ascii_letters if len(shown) <= len(ascii_letters) else _MANY * len(shown)
    grid = _grid(scores, [abs(truth - bottom) for truth in truths], marks, columns)
    lines = [f"{' ' * margin}  {metric} ({'down' if lower_is_better else 'up'} is more, good is up)"]
    for place, cells in enumerate(grid):
        label = high if place == 0 else low if place == _HEIGHT - 1 else ""
        lines.append(f"{label:>{margin}} │{cells}".rstrip())
    left, right = format_number(min(scores)), format_number(max(scores))
    middle = title_of(name).center(max(columns - len(left) - len(right), 2))
    lines += [f"{' ' * margin} └{'─' * columns}", f"{' ' * margin}  {left}{middle}{right}"]
    if len(shown) <= len(ascii_letters):
        lines += ["", *_legend(shown, marks, width)]
    return "\n".join(lines)


def _grid(scores: Sequence[float], heights: Sequence[float], marks: str, columns: int) -> list[str]:
    cells = [[" "] * columns for _ in range(_HEIGHT)]
    for score, height, mark in zip(scores, heights, marks, strict=False):
        column = _place(score - min(scores), max(scores) - min(scores), columns)
        row = _HEIGHT - 1 - _place(height, max(heights), _HEIGHT)
        cells[row][column] = mark if cells[row][column] in (" ", mark) else _SEVERAL
    return ["".join(line) for line in cells]


def _place(offset: float, reach: float, places: int) -> int:
    return round(offset / reach * (places - 1)) if reach > 0 else (places - 1) // 2


def _legend(shown: Sequence[tuple[str, float, float]], marks: str, width: int) -> list[str]:
    """The name of each letter, the truly best first; long names lose their middle."""
    columns = width - max(len(_digits(truth)) for _, _, truth in shown) - 6
    names = [single_line(name) for name, _, _ in shown]
    half = columns // 2
    names = [name if len(name) <= columns else f"{name[: half - 1]}…{name[half - columns :]}" for name in names]
    widest = max(map(len, names))
    return [
        f"  {mark}  {name:<{widest}}  {_digits(truth)}"
        for mark, name, (_, _, truth) in zip(marks, names, shown, strict=False)
    ]


def _digits(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


MEANS = "mean"
# Columns that a narrow terminal leaves out, the first one first.
DISPENSABLE = ("n", "τ", "Pearson", "95 % of regret")


def records(validation: Validation) -> list[dict[str, Any]]:
    """One flat record a line: of each target, then of the means; numbers unrounded."""
    flat = []
    for target, lines in _tables(validation):
        for line in lines:
            record: dict[str, Any] = {"target": target, "scores": line.name, "control": line.control, "n": line.n}
            for name in _measures(validation):
                record[name] = line.values.get(name)
                if any(name in other.intervals for _, others in _tables(validation) for other in others):
                    record[f"{name}_low"], record[f"{name}_high"] = line.intervals.get(name, (None, None))
            flat.append(record | {"picks": " ".join(line.picks)})
    return flat


def cells(lines: Sequence[EstimatorResult]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of one table for people; controls come last."""
    picked = any(line.picks for line in lines)
    header = ["scores", "weighted τ", "95 %", "τ", "Pearson", "regret", "95 % of regret", "top 3", "n"]
    return header + ["pick"] * picked, [_cells(line, picked) for line in lines]


def tables(validation: Validation) -> list[tuple[str, tuple[EstimatorResult, ...]]]:
    """A heading and its lines: each target, then the means where there are any."""
    titles = {target.dataset: f"{target.dataset} ({len(target.points)} checkpoints)" for target in validation.targets}
    titles[MEANS] = f"mean over {pluralize(len(validation.targets), 'target')}"
    return [(titles[name], lines) for name, lines in _tables(validation)]


def move_columns(comparison: Comparison) -> list[str]:
    """Names of what `moves` has; what fine-tuning measured, a share, only where anything was fine-tuned."""
    measured = ("fine_tuned", "fine_tuned_spread", "fine_tuned_metric") if _fine_tuned(comparison) else ()
    return [
        *("checkpoint", "rank_a", "rank_b", "up"),
        *(f"{name}_{side}" for side in "ab" for name in measured),
        "state",
    ]


def moves(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat record a checkpoint: the common ones in the first ranking's order, then what only one of them has."""
    empty = dict.fromkeys(move_columns(comparison))
    found: list[dict[str, Any]] = []
    for one in comparison.moves:
        record = {"checkpoint": one.checkpoint, "rank_a": one.first, "rank_b": one.second, "up": one.up}
        for side, measured in (("a", one.first_fine_tuned), ("b", one.second_fine_tuned)):
            if measured is not None:
                record[f"fine_tuned_{side}"] = measured.value
                record[f"fine_tuned_spread_{side}"] = measured.spread
                record[f"fine_tuned_metric_{side}"] = measured.metric
        found.append(empty | record | {"state": "both"})
    rest = (
        ("only in A", comparison.only_first),
        ("only in B", comparison.only_second),
        ("failed in A", comparison.failed_first),
        ("failed in B", comparison.failed_second),
    )
    return found + [empty | {"checkpoint": name, "state": state} for state, names in rest for name in names]


def move_cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the moves for people: "=" before a shared rank, an arrow before a move.

    Where anything was fine-tuned, a column a ranking has what that measured, in points.
    """
    measured = _fine_tuned(comparison)
    header = ["A", "B", "move", "checkpoint", *(["fine-tuned in A", "fine-tuned in B"] if measured else [])]
    rows = []
    for one in comparison.moves:
        ranks = [_rank(one.first, one.first_tied), _rank(one.second, one.second_tied)]
        values = [format_finetuned(one.first_fine_tuned), format_finetuned(one.second_fine_tuned)] if measured else []
        rows.append([*ranks, _arrow(one), single_line(one.checkpoint), *values])
    return header, rows


def _fine_tuned(comparison: Comparison) -> bool:
    return any(one.first_fine_tuned or one.second_fine_tuned for one in comparison.moves)


def summary(comparison: Comparison) -> list[str]:
    """The comparison in words, one sentence a line."""
    moved = [one for one in comparison.moves if one.up]
    count = len(comparison.moves)
    lines = [f"{len(moved)} of {count} common checkpoints moved beyond what their ranks share"]
    agreement = comparison.agreement
    if agreement["weighted_tau"] is not None:
        lines.append(
            f"weighted τ {agreement['weighted_tau']:.3f}, τ {agreement['kendall_tau']:.3f}, "
            f"{agreement['top_overlap']:.0%} of A's first three are among B's"
        )
    if comparison.picks is not None:
        ours, theirs = map(single_line, comparison.picks)
        if comparison.same_pick == "yes":
            lines.append(f"the same pick: {ours}")
        else:
            how = "picks that tie" if comparison.same_pick == "within ties" else "different picks"
            lines.append(f"{how}: {ours} and {theirs}")
    for record in moves(comparison)[count:]:
        lines.append(f"{record['state']}: {single_line(record['checkpoint'])}")
    return lines


def setting_rows(comparison: Comparison) -> list[list[str]]:
    """Name and both values of the settings that differ."""
    return [[one["name"], _value(one["first"]), _value(one["second"])] for one in comparison.settings]


def _tables(validation: Validation) -> list[tuple[str, tuple[EstimatorResult, ...]]]:
    means = [(MEANS, validation.means)] if validation.means else []
    return [*((target.dataset, target.lines) for target in validation.targets), *means]


def _measures(validation: Validation) -> tuple[str, ...]:
    lines = [line for _, lines in _tables(validation) for line in lines]
    return tuple(dict.fromkeys(name for line in lines for name in line.values))


def _cells(line: EstimatorResult, picked: bool) -> list[str]:
    value, ends = line.values, line.intervals
    shown = [
        title_of(line.name) + (" *" if line.control else ""),
        _signed(value.get("weighted_tau")),
        _ends(ends.get("weighted_tau"), _signed),
        _signed(value.get("kendall_tau")),
        _signed(value.get("pearson")),
        points(value.get("regret")),
        _ends(ends.get("regret"), points),
        _chance(value.get("pick_in_top")),
        str(line.n),
    ]
    return shown + [_pick(line.picks)] * picked


def points(value: float | None) -> str:
    """A difference of truths: two decimals, more digits where the truth is a share of one."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value == 0 or value >= 1 else f"{value:.3g}" if value < 0.095 else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-0.00", "0.00")


def _ends(ends: tuple[float | None, float | None] | None, text: Any) -> str:
    return f"{text(ends[0])}…{text(ends[1])}" if ends is not None and ends[0] is not None else MISSING


def _chance(value: float | None) -> str:
    if value is None:
        return MISSING
    return {0.0: "no", 1.0: "yes"}.get(value, f"{value:.0%}")


def _pick(picks: Sequence[str]) -> str:
    if not picks:
        return MISSING
    more = f" (ties with {len(picks) - 1} more)" if len(picks) > 1 else ""
    return single_line(picks[0]) + more


def _rank(rank: int, tied: bool) -> str:
    return f"={rank}" if tied else str(rank)


def _arrow(move: Move) -> str:
    return "" if not move.up else f"↑{move.up}" if move.up > 0 else f"↓{-move.up}"


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else single_line(value)
