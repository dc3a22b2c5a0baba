"""The tab Submit: a form that checks a ranking and opens a pull request, or shows the command for it."""

from __future__ import annotations

from markupsafe import Markup

from leaderboard import submit
from leaderboard.markup import HUB, Link, draw, is_id
from leaderboard.submit import MAX_BYTES, MAX_ROWS, SubmissionError


def form(repo_id: str, *, sign_in: bool, user: str | None, pasted: str = "", result: Markup | str = "") -> Markup:
    """Render the form.

    Args:
        repo_id: The results dataset; "" if there is none.
        sign_in: Whether users can sign in to the Hub.
        user: The name of the signed-in user.
        pasted: Content of the text field.
        result: HTML of the result of the last submission.
    """
    return draw(
        "submit.html",
        can_propose=sign_in and bool(repo_id),
        user=user,
        pasted=pasted,
        result=result,
        megabytes=MAX_BYTES // 1_000_000,
        most=MAX_ROWS,
    )


def checked_in_words(content: bytes | str, repo_id: str) -> Markup:
    """Check a ranking, and render the result with the command that opens a pull request."""
    try:
        accepted = submit.checked(content)
    except SubmissionError as error:
        return refused(str(error))
    address = f"{HUB}/datasets/{repo_id}" if is_id(repo_id) else None
    command = submit.command(accepted.ranking, repo_id) if repo_id else ""
    return draw(
        "submitted.html",
        kind="accepted",
        accepted=accepted,
        dataset=Link(repo_id, address=address),
        command_text=command,
    )


def proposed(content: bytes | str, repo_id: str, token: str | None) -> Markup:
    """Check and submit a ranking, and render the result."""
    try:
        accepted = submit.checked(content)
        if token is None:
            raise SubmissionError("sign in first: you are the author of the pull request")
        address = submit.open_pull_request(accepted.ranking, repo_id, token)
    except SubmissionError as error:
        return refused(str(error))
    return draw("submitted.html", kind="proposed", request=Link("Your pull request", address=address))


def refused(text: str) -> Markup:
    """Render the reason why a submission was rejected."""
    return draw("submitted.html", kind="refused", text=text[:1].upper() + text[1:])
