"""hf-emms score: arrays from a file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import format_option, out
from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    import numpy as np

_HINT = "write it with np.savez(FILE, features=X, label_embeddings=Z)"


@cloup.command(short_help="Score your own arrays.")
@cloup.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FEATURES.npz")
@cloup.option(
    "--estimator",
    default="emms_knn",
    show_default=True,
    metavar="NAME",
    help="emms_knn, emms, emms_exact, emms_one_pass, emms_alternating, logme, hscore or knn.",
)
@cloup.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of folds of the held-out score.",
)
@cloup.option("--seed", type=int, default=0, show_default=True, help="Seed of the folds.")
@format_option(("table", "json"))
def score(file: Path, estimator: str, folds: int, seed: int) -> None:
    """Score an .npz file with features and label embeddings.

    The file contains "features" (N, D1) and "label_embeddings" (N, D2) or (N, K, D2). For repeated labels, it contains
    "codes" (N,) and "table" (U, D2) instead. Rows with the same number in "groups" (N,) share a fold.
    """
    from hf_emms.run import from_arrays
    from hf_emms.scoring.labels import LabelTable

    arrays = _arrays(file)
    labels: Any = arrays.get("label_embeddings")
    if labels is None and {"codes", "table"} <= arrays.keys():
        labels = LabelTable(arrays["codes"], (arrays["table"],))
    if labels is None or "features" not in arrays:
        raise EmmsError(
            "arrays-missing",
            f"{file} has no features and label_embeddings, but: {', '.join(arrays) or 'nothing'}",
            _HINT,
        )
    x, groups = arrays["features"], arrays.get("groups")
    result = from_arrays.score(x, labels, estimator=estimator, groups=groups, folds=folds, seed=seed).to_dict()
    if out.format == "json":
        out.json(result)
    else:
        out.data("\n".join(_lines(result)))


def _arrays(file: Path) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it contains a single array without a name")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise EmmsError("cannot-read", f"cannot read {file}: {error}", _HINT) from error


def _lines(result: dict[str, Any]) -> list[str]:
    spread = f" ± {result['stderr']:.6f}" if result["stderr"] is not None else ""
    score = f"score    {result['score']:.6f}{spread}"
    if "weights" not in result:  # not EMMS
        return [score]
    weights = ", ".join(f"{weight:.3f}" for weight in result["weights"])
    ridge = [f"ridge    {result['ridge']:.3g}"] if result["ridge"] is not None else []
    return [
        score,
        f"R²       {result['r2']:.4f}",
        f"weights  {weights}",
        *ridge,
        f"n, d1    {result['n']}, {result['d1']}",
        *result["notes"],
    ]
