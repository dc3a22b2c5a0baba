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
@cloup.option("--require-all", is_flag=True, help="Write nothing if a part is missing.")
@format_option(FORMATS)
def merge(files: tuple[Path, ...], target: Path, require_all: bool) -> None:
    """Merge rankings of the same dataset, sample and settings, such as those of --part, and print them.

    The last line below a table names the parts that are missing.
    """
    from hf_emms.ranking import Ranking
    from hf_emms.ranking.merge import merged, path_of
    from hf_emms.ranking.text import missing_text

    rankings: dict[str, Ranking] = {}
    for file in files:
        for part in sorted(file.rglob("*.json")) if file.is_dir() else [file]:
            ranking = Ranking.load(part)
            rankings[path_of(ranking)] = merged(rankings.get(path_of(ranking)), ranking)
    if not rankings or (target.suffix and len(rankings) > 1):
        problem = f"the files contain {pluralize(len(rankings), 'ranking')} that cannot be merged into one"
        raise EmmsError("not-mergeable", problem, f"--output {target.with_suffix('')} for a file per ranking")
    missing = [f"{ranking.dataset}: {text}" for ranking in rankings.values() if (text := missing_text(ranking))]
    if require_all and missing:
        raise EmmsError("parts-missing", "; ".join(missing), "run these parts, then merge again")
    for path, ranking in rankings.items():
        write_ranking(ranking, target if target.suffix else target / f"{path}.json")
        out.ranking(ranking)
    out.message("\n".join([*missing, f"results: {target}"]))
