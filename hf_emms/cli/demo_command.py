"""hf-emms demo: the pipeline on datasets and checkpoints that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cloup

from hf_emms.cache.files import write_atomic
from hf_emms.cli.output import out, results_folder_option, stdout_for_data_only, write_ranking
from hf_emms.cli.rank_commands import RELATIVE
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize

if TYPE_CHECKING:
    from hf_emms.ranking import Ranking

_DATASETS = {
    "captions": "demo_captions",
    "fashion": "demo_fashion",
    "glosses": "demo_glosses",
    "questions": "demo_vqa",
    "spans": "demo_spans",
    "boxes": "demo_boxes",
    "pairs": "demo_pairs",
    "words": "demo_words",
    "sounds": "demo_sounds",
    "definitions": "demo_definitions",
    "preferences": "demo_preferences",
    "search": "demo_search",
}


@cloup.command(short_help="Rank the embedded demo checkpoints; needs no network.")
@results_folder_option("Folder for the files.", default="hf_emms_demo")
def demo(folder: Path) -> None:
    """Rank small checkpoints on twelve small datasets, one per task; everything ships with hf-emms.

    Prints a table per dataset. Writes the rankings and a model-card section to a folder.
    """
    rankings = {}
    for name, ranking in write_rankings(folder):
        rankings[name] = ranking
        labels = pluralize(ranking.n_labels, "label text")
        out.data(f"{ranking.dataset}: {ranking.task}, {pluralize(ranking.n, 'row')}, {labels}\n")
        out.ranking(ranking)
        out.data("")
    captions = rankings["captions"]
    if captions.best is None:
        raise EmmsError("no-score", "no demo checkpoint could be scored", "hf-emms --debug demo shows the tracebacks")
    section = folder / f"card-{captions.best.checkpoint.rpartition('/')[2]}.md"
    write_atomic(section, captions.card(captions.best.checkpoint))
    out.message(
        f"{RELATIVE}\n\n"
        f"Rankings:           {folder}/{{{','.join(rankings)}}}.json\n"
        f"Model-card section: {section}\n\n"
        "Next, your own data or a dataset of the Hub:\n"
        "  hf-emms rank --dataset ./FOLDER\n"
        "  hf-emms rank --dataset beans --max-samples 500\n"
        "  hf-emms presets\n\n"
        "The rankings in your browser:\n"
        f"  hf-emms leaderboard --results {folder}"
    )


def write_rankings(folder: Path) -> Iterator[tuple[str, Ranking]]:
    """Rank the datasets of the demo, and yield the name and ranking of each after writing it to the folder.

    Skips datasets that need a package that is not installed.
    """
    out.message(f"Ranking {len(_DATASETS)} datasets …")
    from hf_emms.presets import dataset_presets
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.rank import rank
    from hf_emms.tasks import get_task

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmmsError(
            "cannot-write", f"cannot write to {folder}: {error.strerror or error}", "--output DIR"
        ) from error
    for name, preset in _DATASETS.items():
        try:
            get_task(dataset_presets()[preset].task).input.check_installed()
        except EmmsError as error:
            out.message(f"skipped {preset}: {error.message}; {error.hint}")
            continue
        with StderrProgress() as progress, stdout_for_data_only():
            ranking = rank(preset, progress=progress)
        write_ranking(ranking, folder / f"{name}.json")
        yield name, ranking
