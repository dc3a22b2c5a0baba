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


@cloup.command(short_help="Score your own arrays.")
@cloup.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FEATURES.npz")
@cloup.option_group(
    "Arrays",
    cloup.option("--features-key", default="features", show_default=True, help="Array (N, D1)."),
    cloup.option(
        "--labels-key",
        "labels_keys",
        multiple=True,
        help="Array (N, D2) or (N, K, D2); repeat for F-labels of different widths.  [default: label_embeddings]",
    ),
    cloup.option("--codes-key", default="codes", show_default=True, help="Integers (N,): indices of table rows."),
    cloup.option("--table-key", "table_keys", multiple=True, help="Array (U, D2) of an F-label.  [default: table]"),
    cloup.option("--groups-key", help="Array (N,): rows of a group share a fold.  [default: groups, if present]"),
)
@cloup.option_group(
    "Scoring",
    cloup.option(
        "--method",
        default="emms_knn",
        show_default=True,
        help="emms_knn, emms, emms_exact, emms_one_pass or emms_alternating.",
    ),
    cloup.option(
        "--folds",
        type=click.IntRange(min=2),
        default=5,
        show_default=True,
        help="Number of folds of the held-out score.",
    ),
    cloup.option("--seed", type=int, default=0, show_default=True, help="Seed of the folds."),
)
@cloup.option_group("Output", format_option(("table", "json")))
def score(
    file: Path,
    features_key: str,
    labels_keys: tuple[str, ...],
    codes_key: str,
    table_keys: tuple[str, ...],
    groups_key: str | None,
    method: str,
    folds: int,
    seed: int,
) -> None:
    """Score an .npz file with features and label embeddings.

    The file contains "features" (N, D1) and "label_embeddings" (N, D2) or (N, K, D2). For repeated labels, it contains
    "codes" (N,) and "table" (U, D2) instead.
    """
    from hf_emms.run.from_arrays import emms

    arrays = _arrays(file)
    features = _named(arrays, features_key, file, "--features-key")
    labels = _labels(arrays, file, labels_keys, codes_key, table_keys)
    groups = _named(arrays, groups_key, file, "--groups-key") if groups_key else arrays.get("groups")
    result = emms(features, labels, method=method, groups=groups, folds=folds, seed=seed).to_dict()
    if out.format == "json":
        out.json(result)
    else:
        out.data("\n".join(_lines(result)))


def _arrays(file: Path) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        with file.open("rb") as content:
            if not content.read(6).startswith((b"PK", b"\x93NUMPY")):
                raise ValueError("it is not an .npz archive")
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it contains a single array without a name")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise EmmsError(
            f"cannot read {file}: {error}", "write it with np.savez(FILE, features=X, label_embeddings=Z)"
        ) from error


def _labels(
    arrays: dict[str, np.ndarray],
    file: Path,
    labels_keys: tuple[str, ...],
    codes_key: str,
    table_keys: tuple[str, ...],
) -> Any:
    from hf_emms.scoring.labels import LabelTable

    if not labels_keys and (table_keys or ("label_embeddings" not in arrays and codes_key in arrays)):
        codes = _named(arrays, codes_key, file, "--codes-key")
        tables = tuple(_named(arrays, key, file, "--table-key") for key in table_keys or ("table",))
        return LabelTable(codes, tables)
    blocks = [_named(arrays, key, file, "--labels-key") for key in labels_keys or ("label_embeddings",)]
    return blocks if len(blocks) > 1 else blocks[0]


def _named(arrays: dict[str, np.ndarray], key: str, file: Path, option: str) -> np.ndarray:
    if key not in arrays:
        held = ", ".join(arrays) or "nothing"
        raise EmmsError(f"{file} has no array {key!r}", f"{option} names one of: {held}")
    return arrays[key]


def _lines(result: dict[str, Any]) -> list[str]:
    spread = f" ± {result['stderr']:.6f}" if result["stderr"] is not None else ""
    weights = ", ".join(f"{weight:.3f}" for weight in result["weights"])
    ridge = [f"ridge    {result['ridge']:.3g}"] if result["ridge"] is not None else []
    return [
        f"score    {result['score']:.6f}{spread}",
        f"R²       {result['r2']:.4f}",
        f"weights  {weights}",
        *ridge,
        f"n, d1    {result['n']}, {result['d1']}",
        *result["notes"],
    ]
