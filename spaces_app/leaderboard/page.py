"""A view as a complete HTML page, and the part of the page that changes with the view.

The page works without scripts. With scripts, page.js fetches the part of the next view and replaces the current one.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from pathlib import Path

from leaderboard import controls
from leaderboard.markup import HUB, escape, view_link
from leaderboard.render import Shown
from leaderboard.selection import TABS, WITHOUT_SELECTION, View, to_query
from leaderboard.store import Snapshot

HERE = Path(__file__).parent
STYLE = (HERE / "style.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8").replace("https://huggingface.co", HUB)
QUESTION = "Which checkpoint should I fine-tune?"
_DESCRIPTION = "Pretrained checkpoints, ranked for a dataset without fine-tuning any"
_EXPORTS = {"csv": "Download CSV", "json": "Download JSON"}
# Runs before the first paint: marks that scripts run, and sets the theme of the address or of an earlier visit.
_START = (
    "{const root=document.documentElement;root.classList.add('has-scripts');let kept=null;"
    "try{kept=localStorage.getItem('emms-theme')}catch{}"
    "const theme=new URLSearchParams(location.search).get('__theme')||kept;"
    "if(theme==='dark'||theme==='light')root.dataset.theme=theme}"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">{policy}
<title>{title}</title><meta name="description" content="{description}">
<meta property="og:title" content="{title}"><meta property="og:description" content="{description}">
<script>{start}</script><style>{style}</style></head>
<body><a class="skip" href="#emms-view">Skip to the table</a>
<header><h1>{question}</h1><button type="button" id="emms-theme" class="scripted">Light or dark</button></header>
<p id="emms-news" role="status" hidden></p><p id="emms-said" role="status" class="unseen"></p>
{main}
<div class="tip" id="emms-tip" hidden></div>{more}<script>{script}</script></body></html>
"""


def page(shown: Shown, main: str, *, script: str = SCRIPT, more: str = "") -> str:
    """Render the page.

    Args:
        shown: The view.
        main: HTML of the part that changes with the view.
        script: The script at the end of the page.
        more: HTML before the script.
    """
    words = " ".join(re.sub("<[^>]*>", "", shown.answer.replace("</p>", " ")).split())
    return _PAGE.format(
        policy=f'<meta http-equiv="Content-Security-Policy" content="{policy(script)}">',
        title=escape(shown.title),
        description=html.escape(html.unescape(words)) or _DESCRIPTION,
        start=_START,
        style=STYLE,
        question=QUESTION,
        main=main,
        more=more,
        script=script,
    )


def policy(script: str) -> str:
    """Return the content security policy: the page runs two scripts, and fetches from its own address."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_START, script))
    scripts = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'"
    )


def main_part(shown: Shown, snapshot: Snapshot, *, content: str = "", every: float = 0.0) -> str:
    """Render the part of the page that changes with the view.

    Args:
        shown: The view.
        snapshot: The data.
        content: HTML that replaces the view's own content.
        every: Seconds between two requests of the browser for newer data.
    """
    view = shown.view
    has_controls = view.tab not in WITHOUT_SELECTION and not view.checkpoint and not view.compare
    name, drawn = TABS[view.tab], content or shown.content
    return (
        f'<main id="emms" data-query="{html.escape(shown.query)}" data-version="{snapshot.version}" '
        f'data-every="{every:g}">'
        f'<div class="tabs"><nav aria-label="Views">{tabs(view)}</nav>{_tools(shown)}</div>'
        f'<div id="emms-bar">{controls.form(view, snapshot) if has_controls else ""}</div>'
        f'<div class="notice">{shown.notice}</div>'
        f'<div id="emms-answer">{shown.answer}</div>'
        f'<section id="emms-view" tabindex="-1" aria-label="{name}">{drawn}</section></main>'
    )


def tabs(view: View) -> str:
    """Render links to the same selection in each tab."""
    # The home page searches datasets, all others checkpoints.
    selection = replace(view, checkpoint="", compare=(), rows=View.rows)
    other = replace(selection, q="")
    links = {
        name: view_link(to_query(replace(other if "home" in (name, view.tab) else selection, tab=name)), title)
        for name, title in TABS.items()
    }
    links[view.tab] = links[view.tab].replace("<a ", '<a aria-current="page" ', 1)
    return "".join(links.values())


def _tools(shown: Shown) -> str:
    """Render the links and the button that export a table."""
    view = shown.view
    if view.tab != "rankings" or view.checkpoint or view.compare or shown.entry is None:
        return ""
    query = html.escape(shown.query)
    links = "".join(f'<a href="export?{query}&amp;kind={kind}" download>{text}</a>' for kind, text in _EXPORTS.items())
    return f'<div class="tools">{links}<button type="button" class="scripted" id="emms-copy">Copy table</button></div>'
