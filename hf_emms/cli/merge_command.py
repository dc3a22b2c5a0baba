"""hf-emms merge: the rankings of parts become whole rankings."""

from __future__ import annotations

from pathlib import Path

import click
import cloup

from hf_emms.cli.output import FORMATS, format_option, out, write_ranking
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize


@cloup.command(short_help="Merge the rankings of parts.")
@cloup.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR...")
@cloup.option(
    "--output",
    "-o",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="File of the ranking, or a folder for rankings of several datasets.",
)
@format_option(FORMATS)
def merge(files: tuple[Path, ...], target: Path) -> None:
    """Merge rankings of the same dataset, sample and settings, such as those of --part, and print them."""
    from hf_emms.ranking import Ranking
    from hf_emms.ranking.merge import merged, path_of

    rankings: dict[str, Ranking] = {}
    for file in files:
        for part in sorted(file.rglob("*.json")) if file.is_dir() else [file]:
            ranking = Ranking.load(part)
            rankings[path_of(ranking)] = merged(rankings.get(path_of(ranking)), ranking)
    if not rankings or (target.suffix and len(rankings) > 1):
        problem = f"the files contain {pluralize(len(rankings), 'ranking')} that cannot be merged into one"
        raise EmmsError("not-mergeable", problem, f"--output {target.with_suffix('')} for a file per ranking")
    for path, ranking in rankings.items():
        write_ranking(ranking, target if target.suffix else target / f"{path}.json")
        out.ranking(ranking)
    out.message(f"results: {target}")
