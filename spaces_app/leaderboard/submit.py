"""The tab Submit: check a ranking as files of a folder are checked, and show the command that publishes it."""

from __future__ import annotations

from markupsafe import Markup

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.ranking import Ranking, is_commit
from leaderboard import checks
from leaderboard.checks import Checked
from leaderboard.home import task_names
from leaderboard.markup import HUB, Link, draw, is_id

MAX_BYTES = 3_000_000
MAX_ROWS = 2_000


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
    command = f"hf-emms publish results --repo-id {repo_id} --ranking ranking.json --create-pr" if repo_id else ""
    return draw("submitted.html", accepted=accepted, dataset=Link(repo_id, address=address), command_text=command)


def refused(text: str) -> Markup:
    """Render the reason why a submission was rejected."""
    return draw("submitted.html", accepted=None, text=text[:1].upper() + text[1:])


def _remarks(ranking: Ranking) -> tuple[str, ...]:
    local = sum(not is_commit(row.revision) for row in ranking.rows if row.error is None)
    failed = sum(row.error is not None for row in ranking.rows)
    remarks = []
    if ranking.task not in task_names():
        remarks.append(f"the task {ranking.task} is unknown: check its spelling")
    if not is_commit(ranking.dataset_revision):
        remarks.append("the dataset is not from the Hub: others cannot repeat this ranking")
    if local:
        remarks.append(f"{pluralize(local, 'checkpoint')} not from the Hub will not be linked")
    if failed:
        remarks.append(f"{pluralize(failed, 'checkpoint')} failed and will be shown without a rank")
    return tuple(remarks)
