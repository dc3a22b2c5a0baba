"""A view as a complete HTML page, and the part of the page that changes with the view.

The page works without scripts. With scripts, page.js fetches the part of the next view and replaces the current one.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from leaderboard import controls
from leaderboard.cost import known_costs
from leaderboard.markup import HUB, draw
from leaderboard.render import Shown
from leaderboard.selection import STATIC_TABS, TABS, WITHOUT_SELECTION, View, to_query
from leaderboard.store import Snapshot

HERE = Path(__file__).parent
STYLE = (HERE / "style.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8").replace("https://huggingface.co", HUB)
_DESCRIPTION = "Pretrained checkpoints, ranked for a dataset without fine-tuning any"
_EXPORTS = {"csv": "Download CSV", "json": "Download JSON"}
# Runs before the first paint: marks that scripts run, and sets the theme of the address or of an earlier visit.
_START = (
    "{const root=document.documentElement;root.classList.add('has-scripts');let kept=null;"
    "try{kept=localStorage.getItem('emms-theme')}catch{}"
    "const theme=new URLSearchParams(location.search).get('__theme')||kept;"
    "if(theme==='dark'||theme==='light')root.dataset.theme=theme}"
)
_HASHES = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_START, SCRIPT)]
_SCRIPTS = " ".join(f"'sha256-{digest}'" for digest in _HASHES)
# The page runs two scripts, and fetches from its own address.
POLICY = (
    f"default-src 'none'; script-src {_SCRIPTS}; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'"
)


def page(shown: Shown, main: Markup) -> str:
    """Render the page; `main` is the part that changes with the view."""
    return draw(
        "page.html",
        policy=POLICY,
        title=shown.title,
        description=shown.description or _DESCRIPTION,
        start=Markup(_START),
        style=Markup(STYLE),
        main=main,
        script=Markup(SCRIPT),
    )


def main_part(shown: Shown, snapshot: Snapshot, *, content: Markup | str = "", origin: str = "") -> Markup:
    """Render the part of the page that changes with the view.

    Args:
        shown: The view.
        snapshot: The data.
        content: HTML that replaces the view's own content.
        origin: The results dataset of a page without a server; empty for a page with one.
    """
    view = shown.view
    has_controls = view.tab not in WITHOUT_SELECTION and not view.checkpoint
    has_table = view.tab == "rankings" and has_controls and shown.entry is not None
    return draw(
        "main.html",
        shown=shown,
        view=view,
        origin=origin,
        tabs=[(name, TABS[name], query) for name, query in _tabs(view).items() if not origin or name in STATIC_TABS],
        tab=TABS[view.tab],
        exports=_EXPORTS if has_table and not origin else {},
        form=controls.form(view, snapshot) if has_controls else None,
        costs=known_costs(shown.entry.ranking, snapshot) if has_table and shown.entry else {},
        content=content or shown.content,
    )


def _tabs(view: View) -> dict[str, str]:
    """Return the queries of the same selection in each tab."""
    # The home page searches datasets, all others checkpoints.
    selection = replace(view, checkpoint="", rows=View.rows)
    other = replace(selection, q="")
    return {name: to_query(replace(other if "home" in (name, view.tab) else selection, tab=name)) for name in TABS}
