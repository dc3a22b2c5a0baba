"""The tab Use via API: the endpoints, and how programs and agents call them."""

from __future__ import annotations

import inspect
from functools import cache

from markupsafe import Markup

from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.markup import draw

_PYTHON = """from gradio_client import Client

client = Client("ORG/NAME-OF-THIS-SPACE")  # or the address of this page
client.predict(task="image-classification", api_name="/list_rankings")
client.predict(ranking="ID", limit=5, api_name="/get_ranking")"""
_MCP = """{"mcpServers": {"emms": {"url": "https://ORG-NAME.hf.space/gradio_api/mcp/"}}}"""


@cache
def page() -> Markup:
    """Render the tab."""
    return draw("api.html", python=_PYTHON, mcp=_MCP, endpoints=[_described(name) for name in ENDPOINTS])


def _described(name: str) -> tuple[str, str, list[str]]:
    """Return name, summary and parameters of an endpoint."""
    function = getattr(Endpoints, name)
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    return name, (inspect.getdoc(function) or "").partition("\n\n")[0], parameters
