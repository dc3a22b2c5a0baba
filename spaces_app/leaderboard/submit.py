"""Submit a ranking: check it as files of a folder are checked, then open a pull request on the results dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_emms.errors import EmmsError, pluralize
from hf_emms.ranking import Ranking, is_commit
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of
from leaderboard import checks
from leaderboard.checks import Checked

if TYPE_CHECKING:
    from huggingface_hub import HfApi

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


def file_of(ranking: Ranking) -> str:
    """Return the path of a ranking in a results dataset, the same as that of `hf-emms publish results`."""
    return f"{JSON_FOLDER}/{path_of(ranking)}.json"


def open_pull_request(ranking: Ranking, repo_id: str, token: str) -> str:
    """Open a pull request on the results dataset as the user of the token; return its address.

    Raises:
        SubmissionError: The Hub refused, or cannot be reached. The message does not contain the token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    api, path = HfApi(token=token), file_of(ranking)
    try:
        head = api.repo_info(repo_id, repo_type="dataset").sha
        published = _published(api, repo_id, path, head)
        whole = merged(published, ranking)
        if whole is published:
            raise SubmissionError("the dataset already contains this ranking")
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(path, whole.to_json().encode())],
            commit_message=f"Add ranking: {ranking.dataset_id}, {ranking.task}"[:120],
            commit_description=f"{pluralize(len(ranking.rows), 'checkpoint')}, n {ranking.n}.",
            repo_type="dataset",
            create_pr=True,
            parent_commit=head,
        )
    except EmmsError as error:
        raise SubmissionError(f"{path} in the dataset cannot be merged with: {error.message}") from error
    except errors.RepositoryNotFoundError as error:
        raise SubmissionError(f"the dataset {repo_id} does not exist, or you cannot read it") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        hint = {401: "sign in again", 403: "your account cannot open pull requests there"}.get(
            status, "try again later"
        )
        raise SubmissionError(f"the Hub answered {status}: {hint}") from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise SubmissionError("the Hub cannot be reached: try again later") from error
    return str(commit.pr_url)


def command(ranking: Ranking, repo_id: str) -> str:
    """Return the command that opens the same pull request."""
    return f"hf upload {repo_id} ranking.json {file_of(ranking)} --repo-type dataset --create-pr"


def _published(api: HfApi, repo_id: str, path: str, revision: str | None) -> Ranking | None:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Ranking.from_json(
            Path(api.hf_hub_download(repo_id, path, repo_type="dataset", revision=revision)).read_bytes()
        )
    except EntryNotFoundError:
        return None


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
