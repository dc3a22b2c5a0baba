"""Pictures of a view: a badge for cards, and the preview of a link."""

from __future__ import annotations

import textwrap
from io import BytesIO

from leaderboard import render
from leaderboard.markup import draw
from leaderboard.selection import from_query, resolved
from leaderboard.store import Snapshot

_CHARACTER = 6.2  # pixels in a badge
_PREVIEW = (1200, 630)
_MARGIN = 70
_QUESTION = "Which checkpoint should I fine-tune?"


def badge(query: str, snapshot: Snapshot) -> str | None:
    """Return an SVG with the rank of a view's checkpoint in the view's ranking; None if it has no rank there."""
    view, entry = resolved(from_query(query), snapshot)
    rows = entry.ranking.rows if entry else ()
    row = next((row for row in rows if row.checkpoint == view.checkpoint and row.rank is not None), None)
    if entry is None or row is None:
        return None
    ranked = sum(row.rank is not None for row in rows)
    text = f"{'tied for ' if row.tied else ''}rank {row.rank} of {ranked:,} on {entry.ranking.dataset}"
    label = "EMMS estimate"
    left, right = (round(_CHARACTER * len(words)) + 12 for words in (label, text))
    return draw("badge.svg", label=label, text=text, left=left, right=right)


def preview(query: str, snapshot: Snapshot) -> bytes:
    """Return a PNG with the title and the answer of a view."""
    from PIL import Image, ImageDraw, ImageFont

    shown = render.show(from_query(query), snapshot)
    image = Image.new("RGB", _PREVIEW, "white")
    pen = ImageDraw.Draw(image)
    top = _MARGIN
    for text, size, colour in ((shown.title, 34, "#666"), (shown.description or _QUESTION, 50, "#111")):
        font = ImageFont.load_default(size)
        lines = textwrap.wrap(text, int((_PREVIEW[0] - 2 * _MARGIN) / (0.5 * size)), max_lines=6, placeholder=" …")
        pen.multiline_text((_MARGIN, top), "\n".join(lines), colour, font, spacing=0.35 * size)
        top += int(1.35 * size * len(lines)) + _MARGIN // 2
    content = BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
