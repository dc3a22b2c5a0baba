"""Show what a command writes to the Hub, and ask before it writes."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click
import cloup

from hf_emms.cli.output import Decorator
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes

OUTCOMES = {
    "unchanged": "nothing to change in",
    "pushed": "committed to",
    "opened": "opened a pull request at",
    "updated": "updated the pull request at",
    "declined": "the owner closed our pull request at",
}


def yes_option() -> Decorator:
    """Return the flag --yes."""
    return cloup.option("--yes", "-y", is_flag=True, help="Write without asking, as scripts require.")


def dry_run_option() -> Decorator:
    """Return the flag --dry-run."""
    return cloup.option("--dry-run", is_flag=True, help="List the files without publishing them.")


def file_list(files: Mapping[str, bytes | None]) -> str:
    """Return the files that a command writes or deletes (None), one per line."""
    return "\n".join(
        f"{path}  {'deleted' if content is None else format_bytes(len(content))}" for path, content in files.items()
    )


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is written, unless the user passed --yes.

    Raises:
        EmmsError: The user declined, or cannot be asked because stdin is not a terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise EmmsError(
            "not-confirmed", f"nothing was written, because there is no terminal to ask: {question}", "--yes"
        )
    if not click.confirm(question, err=True):
        raise EmmsError("not-confirmed", "nothing was written")


def ask_before_work(results_repo: str | None, model: str | None = None, *, on_hub: bool = False, yes: bool) -> None:
    """Ask before long work about everything that it will write to the Hub; without a repository, do nothing.

    Args:
        results_repo: The dataset for the rankings.
        model: The repository for the best fine-tuned model.
        on_hub: Whether a job does the work. It checks the rights itself.
        yes: Whether the user passed --yes.

    Raises:
        EmmsError: The account may not write to the dataset, or the user does not agree.
    """
    if results_repo is not None:
        if not on_hub:
            from hf_emms.run.delivery import require_results_repo

            require_results_repo(results_repo)
        ask(f"Publish the results in the dataset {results_repo}?", yes=yes)
    if model is not None:
        ask(f"Upload the best fine-tuned model, its preprocessor and its card to {model}?", yes=yes)
