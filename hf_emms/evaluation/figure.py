"""The scatter plot as an image; needs matplotlib (the extra plot)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError, install_command, use
from hf_emms.evaluation.validate import Point, TargetResult, Validation
from hf_emms.files import atomic_file
from hf_emms.ranking.columns import single_line, title_of
from hf_emms.ranking.plot import SUFFIXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_INCHES = (5.2, 4.2)
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (7, 19, 38, 60)  # in points of type
_DOT = 6  # half of a dot with some air, in pixels


def check_figure(path: Path) -> None:
    """Fails before the work, not after it, where the suffix cannot be drawn or matplotlib is not installed."""
    if path.suffix.lower() not in SUFFIXES:
        raise EmmsError(
            f"{path}: the suffix {path.suffix!r} says no format that hf-emms draws",
            f"use one of: {', '.join(SUFFIXES)}",
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EmmsError("drawing needs matplotlib, which is not installed", install_command("plot")) from error


def write_figure(validation: Validation, path: Path, names: Sequence[str]) -> None:
    """Draws one panel for each target and each of the estimators or controls named."""
    check_figure(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [
        (target, name)
        for target in validation.targets
        for name in names
        if any(name in point.scores for point in target.points)
    ]
    if not panels:
        raise EmmsError(
            f"there is nothing to draw of {', '.join(names)}", use("estimators") + " has to name what a ranking has"
        )
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(_INCHES[0] * columns, _INCHES[1] * rows), layout="constrained")
    renderer = FigureCanvasAgg(figure).get_renderer()  # labels are placed by their size in pixels
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (target, name) in zip(axes, panels, strict=False):
        _panel(axis, target, name, validation)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.draw_without_rendering()
    for axis, (target, name) in zip(axes, panels, strict=False):
        _label(axis, [point for point in target.points if name in point.scores], name, renderer)
    try:
        # No date and a fixed salt: the same numbers make the same file.
        with rc_context({"svg.hashsalt": "hf-emms", "svg.fonttype": "none"}), atomic_file(path) as file:
            suffix = path.suffix.lower()
            figure.savefig(file, format=suffix[1:], dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
    except OSError as error:
        raise EmmsError(f"cannot write {path}: {error.strerror or error}", "name another file") from error


def _panel(axis: Axes, target: TargetResult, name: str, validation: Validation) -> None:
    points = [point for point in target.points if name in point.scores]
    line = next(line for line in target.lines if line.name == name)
    axis.scatter([point.scores[name] for point in points], [point.truth for point in points], s=28, zorder=3)
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


def _label(axis: Axes, points: Sequence[Point], name: str, renderer: Any) -> None:
    """Writes each name at the first place around its point that is free; where none is, at the least crowded one."""
    from matplotlib.transforms import Bbox

    frame = axis.get_window_extent(renderer)
    dots = axis.transData.transform([(point.scores[name], point.truth) for point in points])
    taken = [Bbox.from_extents(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots]
    for point in points:
        crowds: dict[tuple[int, tuple[int, int]], float] = {}
        boxes: dict[tuple[int, tuple[int, int]], Any] = {}
        # Beside the point, above and below it; then the same farther away, with a line to the point.
        for place in itertools.product(_DISTANCES, _SIDES):
            note = _note(axis, point, name, *place)
            box = boxes[place] = note.get_window_extent(renderer)
            note.remove()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            shared = [Bbox.intersection(box, other) for other in taken]
            crowds[place] = sum(part.width * part.height for part in shared if part) + (not inside) * box.size.prod()
            if crowds[place] == 0:
                break
        far, side = min(crowds, key=lambda place: crowds[place])
        # The line is not part of the box: it may cross what is near the point.
        _note(axis, point, name, far, side, line=far > _DISTANCES[0])
        taken.append(boxes[far, side])


def _note(axis: Axes, point: Point, name: str, far: int, side: tuple[int, int], *, line: bool = False) -> Any:
    x, y = side
    return axis.annotate(
        _short(point.checkpoint),
        (point.scores[name], point.truth),
        (x * far, y * far),
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[x],
        va={1: "bottom", 0: "center", -1: "top"}[y],
        fontsize=7,
        arrowprops={"arrowstyle": "-", "color": "#888888", "lw": 0.6} if line else None,
    )


def _short(checkpoint: str) -> str:
    name = single_line(checkpoint).rstrip("/").rpartition("/")[2]
    return name if len(name) <= 32 else f"{name[:15]}…{name[-16:]}"
