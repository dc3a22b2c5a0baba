"""Draw scores against truth as an image, which requires matplotlib (the extra plot)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_emms.cache.files import atomic_file
from hf_emms.errors import EmmsError, install_command, setting_ref
from hf_emms.evaluation.validate import TargetResult, Validation
from hf_emms.ranking.columns import single_line, title_of
from hf_emms.ranking.plot import SUFFIXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_INCHES = (5.2, 4.2)


def check_figure(path: Path) -> None:
    """Raise an `EmmsError` if the suffix is not supported or matplotlib is not installed."""
    if path.suffix.lower() not in SUFFIXES:
        raise EmmsError(
            f"{path}: images with the suffix {path.suffix!r} are not supported.",
            f"Use one of: {', '.join(SUFFIXES)}",
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EmmsError("Drawing requires matplotlib, which is not installed.", install_command("plot")) from error


def write_figure(validation: Validation, path: Path, names: Sequence[str]) -> None:
    """Write a figure with a panel per target and named estimator or control."""
    check_figure(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = [
        (target, name)
        for target in validation.targets
        for name in names
        if any(name in point.scores for point in target.points)
    ]
    if not panels:
        raise EmmsError(
            f"No ranking has scores of {', '.join(names)}.",
            "Name other estimators: " + setting_ref("estimators", ...),
        )
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(_INCHES[0] * columns, _INCHES[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (target, name) in zip(axes, panels, strict=False):
        _panel(axis, target, name, validation)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    try:
        # No date and a fixed salt: the same numbers make the same file.
        with rc_context({"svg.hashsalt": "hf-emms", "svg.fonttype": "none"}), atomic_file(path) as file:
            suffix = path.suffix.lower()
            figure.savefig(file, format=suffix[1:], dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
    except OSError as error:
        raise EmmsError(f"Cannot write {path}: {error.strerror or error}", "Name another file.") from error


def _panel(axis: Axes, target: TargetResult, name: str, validation: Validation) -> None:
    points = [point for point in target.points if name in point.scores]
    line = next(line for line in target.lines if line.name == name)
    axis.scatter([point.scores[name] for point in points], [point.truth for point in points], s=28, zorder=3)
    for point in points:
        place = point.scores[name], point.truth
        axis.annotate(_short(point.checkpoint), place, (5, 4), textcoords="offset points", fontsize=7)
    value = line.values.get("weighted_tau")
    tau = "" if value is None else f"   weighted τ {value:.2f}"
    axis.set_title(f"{target.dataset}: {title_of(name)}{tau}", fontsize=10)
    axis.set_xlabel(f"{title_of(name)} (higher is better)")
    axis.set_ylabel(validation.metric + (" (lower is better)" if validation.lower_is_better else ""))
    if validation.lower_is_better:
        axis.invert_yaxis()
    axis.margins(0.16, 0.14)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _short(checkpoint: str) -> str:
    name = single_line(checkpoint).rstrip("/").rpartition("/")[2]
    return name if len(name) <= 32 else f"{name[:15]}…{name[-16:]}"
