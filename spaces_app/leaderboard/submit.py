"""The tab Submit: check a ranking as files of a folder are checked, and show the command that publishes it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.ranking import Ranking, is_commit
from hf_emms.ranking.merge import JSON_FOLDER, path_of
from leaderboard import checks
from leaderboard.checks import Checked
from leaderboard.markup import HUB, Link, draw, is_id

MAX_BYTES = 3_000_000
MAX_ROWS = 2_000
_SHIPPED_TASKS = Path(__file__).with_name("tasks.txt")


class SubmissionError(ValueError):
    """The ranking was rejected; the message is for its author."""


def checked(content: bytes | str) -> Checked:
    """Parse and check a submitted ranking.

    Raises:
        SubmissionError: The ranking is invalid.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if not data.strip():
        raise SubmissionError("the submission is empty: choose a file or paste a ranking")
    if len(data) > MAX_BYTES:
        raise SubmissionError(f"the ranking exceeds the limit of {MAX_BYTES / 1e6:.0f} MB")
    try:
        accepted = checks.read(data)
    except EmmsError as error:
        raise SubmissionError(error.message) from error
    rows = len(accepted.ranking.rows)
    if rows > MAX_ROWS:
        raise SubmissionError(f"the ranking has {rows:,} checkpoints; the limit is {MAX_ROWS:,}")
    return Checked(accepted.ranking, (*accepted.remarks, *_remarks(accepted.ranking)))


def form(pasted: str = "", result: Markup | str = "") -> Markup:
    """Render the form, with the content of its text field and the HTML of the last result."""
    return draw("submit.html", pasted=pasted, result=result, megabytes=MAX_BYTES // 1_000_000, most=MAX_ROWS)


def checked_in_words(content: bytes | str, repo_id: str) -> Markup:
    """Check a ranking, and render the result with the command that opens a pull request on the results dataset."""
    try:
        accepted = checked(content)
    except SubmissionError as error:
        return refused(str(error))
    address = f"{HUB}/datasets/{repo_id}" if is_id(repo_id) else None
    command = _command(accepted.ranking, repo_id) if repo_id else ""
    return draw("submitted.html", accepted=accepted, dataset=Link(repo_id, address=address), command_text=command)


def refused(text: str) -> Markup:
    """Render the reason why a submission was rejected."""
    return draw("submitted.html", accepted=None, text=text[:1].upper() + text[1:])


def _command(ranking: Ranking, repo_id: str) -> str:
    """Return the command that opens a pull request."""
    file = f"{JSON_FOLDER}/{path_of(ranking)}.json"
    return f"hf upload {repo_id} ranking.json {file} --repo-type dataset --create-pr"


def _known_tasks() -> list[str]:
    """Return the ids of the tasks of hf_emms, from the list that a published Space has in place of the package."""
    if _SHIPPED_TASKS.is_file():
        return _SHIPPED_TASKS.read_text(encoding="utf-8").split()
    from hf_emms.tasks import list_tasks

    return list_tasks()


def _remarks(ranking: Ranking) -> tuple[str, ...]:
    local = sum(not is_commit(row.revision) for row in ranking.rows if row.error is None)
    failed = sum(row.error is not None for row in ranking.rows)
    remarks = []
    if ranking.task not in _known_tasks():
        remarks.append(f"the task {ranking.task} is unknown: check its spelling")
    if not is_commit(ranking.dataset_revision):
        remarks.append("the dataset is not from the Hub: others cannot repeat this ranking")
    if local:
        remarks.append(f"{pluralize(local, 'checkpoint')} not from the Hub will not be linked")
    if failed:
        remarks.append(f"{pluralize(failed, 'checkpoint')} failed and will be shown without a rank")
    return tuple(remarks)
