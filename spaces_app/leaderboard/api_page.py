"""The tab Use via API: the endpoints, and how programs and agents call them."""

from __future__ import annotations

import inspect
from functools import cache

from markupsafe import Markup

from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.markup import draw


@cache
def page() -> Markup:
    """Render the tab."""
    return draw("api.html", endpoints=[_described(name) for name in ENDPOINTS])


def _described(name: str) -> tuple[str, str, list[str]]:
    """Return name, summary and parameters of an endpoint."""
    function = getattr(Endpoints, name)
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    return name, (inspect.getdoc(function) or "").partition("\n\n")[0], parameters
