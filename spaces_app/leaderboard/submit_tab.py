"""The Submit tab: check a ranking, then a pull request or the command that opens one."""

from __future__ import annotations

import gradio as gr

from hf_emms.formatting import pluralize
from hf_emms.ranking.merge import path_of
from leaderboard import submit
from leaderboard.markup import HUB, command_box, escape, is_id
from leaderboard.store import Snapshot, Store
from leaderboard.submit import MAX_BYTES, MAX_ROWS, Checked, SubmissionError

_PRIVATE = {"api_visibility": "private"}


def submit_tab(store: Store, repo_id: str, sign_in: bool) -> None:
    """Makes the tab's components inside the tab that is open.

    Args:
        store: what is published.
        repo_id: the results dataset; "" where there is none to submit to.
        sign_in: whether users can sign in to the Hub here.
    """
    gr.Markdown(
        "Rank checkpoints on a dataset of the Hub with `hf-emms rank --dataset ORG/NAME --output ranking.json`, and "
        f"add the file here: at most {MAX_BYTES // 1_000_000} MB and {MAX_ROWS:,} checkpoints."
    )
    with gr.Row():
        file = gr.File(label="Ranking file", file_types=[".json"], type="binary", height=180, elem_id="emms-file")
        pasted = gr.Textbox(
            label="or its content", lines=7, max_lines=7, max_length=MAX_BYTES + 1, elem_id="emms-pasted"
        )
    with gr.Row():
        check = gr.Button("Check", variant="primary", elem_id="emms-check")
        if sign_in and repo_id:
            gr.LoginButton()
            send = gr.Button("Open a pull request", elem_id="emms-send")
    answer = gr.HTML(elem_id="emms-answer")

    def checked(file: bytes | None, pasted: str) -> str:
        return checked_in_words(file, pasted, store.snapshot, repo_id)

    check.click(checked, [file, pasted], answer, **_PRIVATE)
    if sign_in and repo_id:

        def propose(file: bytes | None, pasted: str, token: gr.OAuthToken | None) -> str:
            return proposed(file, pasted, repo_id, token.token if token else None)

        send.click(propose, [file, pasted], answer, **_PRIVATE)


def checked_in_words(file: bytes | None, pasted: str, snapshot: Snapshot, repo_id: str) -> str:
    """The result as HTML, with the command that opens a pull request."""
    try:
        found = submit.checked(file if file is not None else pasted or "")
    except SubmissionError as error:
        return message(str(error))
    settings = path_of(found.ranking)
    published = next((entry.ranking for entry in snapshot.entries.values() if entry.settings == settings), None)
    return _accepted(found, submit.change(found.ranking, published), repo_id)


def proposed(file: bytes | None, pasted: str, repo_id: str, token: str | None) -> str:
    """Checks and submits; the result as HTML."""
    try:
        found = submit.checked(file if file is not None else pasted or "")
        if token is None:
            raise SubmissionError("sign in first: the pull request is opened in your name")
        address = escape(submit.open_pull_request(found.ranking, repo_id, token))
    except SubmissionError as error:
        return message(str(error))
    return message(
        f'Thank you. <a href="{address}" target="_blank" rel="noopener">Your pull request</a> is open.', good=True
    )


def message(text: str, *, good: bool = False, more: str = "") -> str:
    """A message as HTML; of an error `text` is text, else HTML, as is `more`, which follows it."""
    content = text if good else escape(text[:1].upper() + text[1:])
    css, role = ("good", "status") if good else ("bad", "alert")
    return f'<div class="emms-view emms-answer"><p class="{css}" role="{role}">{content}</p>{more}</div>'


def _accepted(found: Checked, change: str, repo_id: str) -> str:
    ranking = found.ranking
    text = (
        f"This is a ranking of {pluralize(len(ranking.rows), 'checkpoint')} for {escape(ranking.dataset)}, "
        f"{escape(ranking.task)}; {change}."
    )
    text += "".join(f" Note: {escape(remark)}." for remark in found.remarks)
    if not repo_id:
        return message(f"{text} This leaderboard shows a folder: put the file there.", good=True)
    where = escape(repo_id)
    if is_id(repo_id):
        where = f'<a href="{HUB}/datasets/{where}" target="_blank" rel="noopener">{where}</a>'
    command = command_box(submit.command(repo_id), "Open a pull request from a command line")
    return message(f"{text} It can go to {where} as a pull request.", good=True, more=command)
