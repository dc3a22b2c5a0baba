"""The tab Use via API: the endpoints, and how programs and agents call them."""

from __future__ import annotations

import inspect
from functools import cache

from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.markup import command_box, escape

_PYTHON = """from gradio_client import Client

client = Client("ORG/NAME-OF-THIS-SPACE")  # or the address of this page
client.predict(task="image-classification", api_name="/list_rankings")
client.predict(ranking="ID", limit=5, api_name="/get_ranking")"""
_MCP = """{"mcpServers": {"emms": {"url": "https://ORG-NAME.hf.space/gradio_api/mcp/"}}}"""


@cache
def page() -> str:
    """Render the tab."""
    return (
        "<h2>Use via API</h2><p>This server offers these functions as API endpoints and as tools for agents (MCP).</p>"
        + command_box(_PYTHON, "In Python")
        + command_box(_MCP, "For an agent")
        + "".join(_described(name) for name in ENDPOINTS)
    )


def _described(name: str) -> str:
    function = getattr(Endpoints, name)
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    parameters = ", ".join(f"<code>{escape(name)}</code>" for name in names)
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return f"<h3><code>/{name}</code></h3><p>{escape(summary)}</p><p>Takes {parameters}.</p>"
