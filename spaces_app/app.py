"""The leaderboard: every ranking JSON of a folder as a table.

The folder is EMMS_RESULTS, or `results` beside this file. Nothing here needs torch, transformers or hf_emms itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gradio as gr

SCHEMA_VERSION = 1
HEADERS = ["rank", "checkpoint", "EMMS", "±", "R²", "LogME", "k-NN", "parameters", "width", "seconds"]
TYPES = ["str", "str", *["number"] * 8]
CAVEAT = (
    "Higher is better **within one table**: a score depends on the dataset, the sample, the seed and the label "
    "encoders. Checkpoints that share a rank (=) are not told apart by their fold errors."
)


def load_rankings(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Rankings by title, and a line for every file that is not one."""
    rankings, problems = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            ranking = json.loads(path.read_text())
            if ranking["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {ranking['schema_version']}, this app reads {SCHEMA_VERSION}")
            rankings[f"{ranking['dataset']} · {ranking['task']}"] = {**ranking, "table": table(ranking)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"`{path.name}` was skipped: {error!r}")
    return rankings, problems


def table(ranking: dict[str, Any]) -> list[list[Any]]:
    """One list a checkpoint, in the order of HEADERS; what is not known is empty."""
    return [
        [
            rank_text(row),
            row["checkpoint"],
            number(row, "emms", "value"),
            number(row, "emms", "stderr"),
            rounded(row["scores"].get("emms", {}).get("details", {}).get("r2")),
            number(row, "logme", "value"),
            number(row, "knn", "value"),
            row["parameters"],
            row["width"],
            round(row["seconds"]["features"] + row["seconds"]["scoring"], 2),
        ]
        for row in ranking["rows"]
    ]


def rank_text(row: dict[str, Any]) -> str:
    if row["rank"] is None:
        return "failed"
    return f"{row['rank']}{' =' if row['tied'] else ''}"


def number(row: dict[str, Any], estimator: str, part: str) -> float | None:
    return rounded(row["scores"].get(estimator, {}).get(part))


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def how_measured(ranking: dict[str, Any]) -> str:
    encoders = ", ".join(f"`{encoder['id']}`" for encoder in ranking["encoders"])
    return (
        f"`{ranking['dataset']}` split `{ranking['split']}` at `{ranking['dataset_revision']}` · "
        f"{ranking['n']:,} rows · seed {ranking['seed']} · label encoders {encoders} · {ranking['created'][:10]}"
    )


def build(folder: Path) -> gr.Blocks:
    """The page for the rankings of a folder."""
    rankings, problems = load_rankings(folder)
    titles = list(rankings)
    first = rankings[titles[0]] if titles else None
    with gr.Blocks(title="EMMS leaderboard") as page:
        gr.Markdown("# Which checkpoint should I fine-tune?\nRanked by EMMS, without fine-tuning any of them.")
        choice = gr.Dropdown(titles, value=titles[0] if titles else None, label="Dataset and task")
        rows = gr.Dataframe(
            first["table"] if first else [],
            headers=HEADERS,
            datatype=TYPES,
            interactive=False,
            show_search="filter",
            pinned_columns=2,
            buttons=["copy", "fullscreen"],
            label="Ranking",
        )
        measured = gr.Markdown(how_measured(first) if first else f"No ranking in `{folder}` yet.")
        gr.Markdown(CAVEAT)
        if problems:
            gr.Markdown("**About the data:** " + "; ".join(problems))
        choice.change(
            lambda title: (rankings[title]["table"], how_measured(rankings[title])),
            choice,
            [rows, measured],
            api_name="ranking",
        )
    return page


if __name__ == "__main__":
    build(Path(os.environ.get("EMMS_RESULTS", Path(__file__).parent / "results"))).launch()
