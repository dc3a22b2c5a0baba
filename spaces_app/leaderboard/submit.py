"""Submitting a ranking: checked against the schema, then a pull request on the results dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.merging import JSON_FOLDER, path_of
from hf_emms.ranking import Ranking, is_commit

MAX_BYTES = 3_000_000
MAX_ROWS = 2_000
_LONGEST_NAME = 200


class SubmissionError(ValueError):
    """The ranking was not taken; the message is for its author."""


@dataclass(frozen=True)
class Checked:
    """A ranking that may be submitted, and what should be known about it."""

    ranking: Ranking
    remarks: tuple[str, ...]


def checked(content: bytes | str) -> Checked:
    """A ranking that may be submitted.

    Raises:
        SubmissionError: in plain words what is wrong with it.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if not data.strip():
        raise SubmissionError("there is nothing in it: choose a file or paste a ranking")
    if len(data) > MAX_BYTES:
        raise SubmissionError(f"it has {len(data) / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are taken")
    try:
        ranking = Ranking.from_json(data)
    except EmmsError as error:
        raise SubmissionError(error.message) from error
    if len(ranking.rows) > MAX_ROWS:
        raise SubmissionError(f"it has {len(ranking.rows):,} checkpoints; at most {MAX_ROWS:,} are taken")
    _check_names(ranking)
    _check_order(ranking)
    return Checked(ranking, _remarks(ranking))


def file_of(ranking: Ranking) -> str:
    """The file of a ranking in a results dataset, as `hf-emms publish results` names it."""
    return f"{JSON_FOLDER}/{path_of(ranking)}.json"


def open_pull_request(ranking: Ranking, repo_id: str, token: str) -> str:
    """Opens a pull request on the results dataset in the name of the token's user.

    Returns:
        The address of the pull request.

    Raises:
        SubmissionError: the Hub refused it, or cannot be reached; the message never holds the token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    api, path = HfApi(token=token), file_of(ranking)
    content = ranking.to_json().encode()
    try:
        if api.file_exists(repo_id, path, repo_type="dataset"):
            # It holds checkpoints of others, which must not be replaced.
            path = f"{path.removesuffix('.json')}-{hashlib.sha256(content).hexdigest()[:8]}.json"
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(path, content)],
            commit_message=f"Add ranking: {ranking.dataset_id}, {ranking.task}"[:120],
            commit_description=f"{pluralize(len(ranking.rows), 'checkpoint')}, n {ranking.n}.",
            repo_type="dataset",
            create_pr=True,
        )
    except errors.RepositoryNotFoundError as error:
        raise SubmissionError(f"there is no dataset {repo_id}, or you may not see it") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        hint = {401: "sign in again", 403: "your account may not open pull requests there"}.get(
            status, "try again later"
        )
        raise SubmissionError(f"the Hub answered {status}: {hint}") from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise SubmissionError("the Hub cannot be reached: try again later") from error
    if not commit.pr_url:
        raise SubmissionError("the dataset has exactly this ranking already")
    return str(commit.pr_url)


def command(ranking: Ranking, repo_id: str) -> str:
    """What opens the same pull request from a command line."""
    return f"hf upload {repo_id} ranking.json {file_of(ranking)} --repo-type dataset --create-pr"


def _check_names(ranking: Ranking) -> None:
    for place, row in enumerate(ranking.rows):
        if not row.checkpoint.strip() or len(row.checkpoint) > _LONGEST_NAME:
            raise SubmissionError(f"rows[{place}].checkpoint should have 1 to {_LONGEST_NAME} characters")
    names = [row.checkpoint for row in ranking.rows]
    if twice := next((place for place, name in enumerate(names) if name in names[:place]), None):
        raise SubmissionError(f"rows[{twice}].checkpoint is in the list twice")
    for name in ("dataset", "dataset_id", "task", "split"):
        if not 0 < len(getattr(ranking, name)) <= _LONGEST_NAME:
            raise SubmissionError(f"{name} should have 1 to {_LONGEST_NAME} characters")
    try:
        datetime.fromisoformat(ranking.created)
    except ValueError:
        raise SubmissionError("created should be a time such as 2026-11-25T12:00:00+00:00") from None


def _check_order(ranking: Ranking) -> None:
    first = ranking.estimators[0]
    scored = [(place, row) for place, row in enumerate(ranking.rows) if row.error is None]
    for (_, above), (place, row) in pairwise(scored):
        if row.scores[first].value > above.scores[first].value or (row.rank or 0) < (above.rank or 0):
            raise SubmissionError(f"rows[{place}] is below a row with a lower {first} score or a higher rank")


def _remarks(ranking: Ranking) -> tuple[str, ...]:
    local = sum(not is_commit(row.revision) for row in ranking.rows if row.error is None)
    failed = sum(row.error is not None for row in ranking.rows)
    remarks = []
    if not is_commit(ranking.dataset_revision):
        remarks.append("the dataset has no commit of the Hub: others cannot repeat this")
    if local:
        remarks.append(f"{pluralize(local, 'checkpoint')} without a commit of the Hub will not be linked")
    if failed:
        remarks.append(f"{pluralize(failed, 'checkpoint')} failed and will be shown without a rank")
    return tuple(remarks)
