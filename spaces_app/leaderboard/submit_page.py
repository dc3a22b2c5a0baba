"""The tab Submit: a form that checks a ranking and opens a pull request, or shows the command for it."""

from __future__ import annotations

from hf_emms.errors import pluralize
from leaderboard import submit
from leaderboard.checks import Checked
from leaderboard.markup import HUB, command_box, escape, is_id
from leaderboard.submit import MAX_BYTES, MAX_ROWS, SubmissionError


def form(repo_id: str, *, sign_in: bool, user: str | None, pasted: str = "", result: str = "") -> str:
    """Render the form.

    Args:
        repo_id: The results dataset; "" if there is none.
        sign_in: Whether users can sign in to the Hub.
        user: The name of the signed-in user.
        pasted: Content of the text field.
        result: HTML of the result of the last submission.
    """
    propose = ""
    if sign_in and repo_id:
        signed = (
            f'<span class="small">Signed in as {escape(user)}</span>'
            if user
            else '<a class="button plain" href="login/huggingface?_target_url=%2F%3Ftab%3Dsubmit" target="_blank">'
            "Sign in with Hugging Face</a>"
        )
        propose = f'<button name="propose" value="yes">Open a pull request</button> {signed}'
    return (
        "<h2>Submit a ranking</h2>"
        "<p>Rank checkpoints on a dataset of the Hub with <code>hf-emms rank --dataset ORG/NAME --output ranking.json"
        f"</code>, and add the file here: at most {MAX_BYTES // 1_000_000} MB and {MAX_ROWS:,} checkpoints.</p>"
        f'<div id="emms-result">{result}</div>'
        '<form id="emms-submit" method="post" action="?tab=submit" enctype="multipart/form-data">'
        '<label>Ranking file <input type="file" name="file" accept=".json,application/json"></label>'
        f'<label>or its content <textarea name="pasted" rows="7" spellcheck="false">{escape_lines(pasted)}</textarea>'
        f'</label><p><button class="main">Check</button> {propose}</p></form>'
    )


def escape_lines(text: str) -> str:
    """Escape text, and keep its lines."""
    return "\n".join(escape(line) for line in text.splitlines())


def checked_in_words(content: bytes | str, repo_id: str) -> str:
    """Check a ranking, and render the result with the command that opens a pull request."""
    try:
        accepted = submit.checked(content)
    except SubmissionError as error:
        return message(str(error))
    return _accepted(accepted, repo_id)


def proposed(content: bytes | str, repo_id: str, token: str | None) -> str:
    """Check and submit a ranking, and render the result."""
    try:
        accepted = submit.checked(content)
        if token is None:
            raise SubmissionError("sign in first: you are the author of the pull request")
        address = escape(submit.open_pull_request(accepted.ranking, repo_id, token))
    except SubmissionError as error:
        return message(str(error))
    return message(
        f'Thank you. <a href="{address}" target="_blank" rel="noopener">Your pull request</a> is open.', good=True
    )


def message(text: str, *, good: bool = False, more: str = "") -> str:
    """Render a message; `text` is HTML if `good`, else plain text; `more` is HTML that follows."""
    content = text if good else escape(text[:1].upper() + text[1:])
    css, role = ("good", "status") if good else ("bad", "alert")
    return f'<p class="{css}" role="{role}">{content}</p>{more}'


def _accepted(accepted: Checked, repo_id: str) -> str:
    ranking = accepted.ranking
    text = (
        f"This is a ranking of {pluralize(len(ranking.rows), 'checkpoint')} for {escape(ranking.dataset)}, "
        f"{escape(ranking.task)}."
    )
    text += "".join(f" Note: {escape(remark)}." for remark in accepted.remarks)
    if not repo_id:
        return message(f"{text} This leaderboard shows a folder: put the file into it.", good=True)
    where = escape(repo_id)
    if is_id(repo_id):
        where = f'<a href="{HUB}/datasets/{where}" target="_blank" rel="noopener">{where}</a>'
    command = command_box(submit.command(repo_id), "Open a pull request from a command line")
    return message(f"{text} You can add it to {where} by a pull request.", good=True, more=command)
