"""The leaderboard Space: its pages on Gradio's server, with Gradio's API and MCP server.

The environment has the settings, see `leaderboard.server.pages_of` and README.md.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from gradio import Server
from leaderboard.endpoints import ENDPOINTS, Endpoints, as_json
from leaderboard.server import MIDDLEWARE, Pages, pages_of

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer

INSTRUCTIONS = """\
Rankings of pretrained checkpoints by how well they should fine-tune on a dataset, estimated without training.
Call list_rankings for the datasets of a task. Call get_ranking for the checkpoints of one dataset, and report its
answer and verdict: tied checkpoints differ by less than the noise. For a dataset that is not listed, call
compare_datasets for the checkpoints that win most over all rankings of its task. Scores of different rankings are not
comparable.
"""

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # type: ignore[import-not-found]

    @spaces.GPU
    def unused() -> None:
        """Do nothing. ZeroGPU stops Spaces without a GPU function, and this page needs no GPU."""


def server_of(pages: Pages) -> Server:
    """Return Gradio's server with the pages; `launch` starts it."""
    server = Server(title="EMMS leaderboard", docs_url=None, redoc_url=None, openapi_url=None)
    for middleware in MIDDLEWARE:
        server.add_middleware(middleware.cls, **middleware.kwargs)
    endpoints = Endpoints(pages.store)
    for name in ENDPOINTS:
        server.api(getattr(endpoints, name), name=name, queue=False)
    server.router.routes.extend(pages.routes())
    return server


def main() -> None:
    server = server_of(pages_of(os.environ))
    server.launch(
        mcp_server=importlib.util.find_spec("mcp") is not None,
        show_error=True,
        ssr_mode=False,
        run_history=False,
        prevent_thread_lock=True,
    )
    blocks = server.get_blocks()
    # Gradio polls its queue every millisecond, which takes 5 % of a core. Only /gradio_api/call/ uses the queue.
    blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = 0.1
    if blocks.mcp_server_obj is not None:
        describe(blocks.mcp_server_obj)
    blocks.block_thread()


def describe(mcp_server: GradioMCPServer) -> None:
    """Name and describe the MCP server, mark its tools as read-only, and let them answer in JSON."""
    from mcp.types import ListToolsRequest, ListToolsResult, ToolAnnotations

    server = mcp_server.mcp_server
    server.name, server.instructions = "EMMS leaderboard", INSTRUCTIONS
    list_tools = server.request_handlers[ListToolsRequest]

    async def listed(request: ListToolsRequest) -> ListToolsResult:
        result = await list_tools(request)
        for tool in result.root.tools:
            tool.annotations = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
        return result

    server.request_handlers[ListToolsRequest] = listed
    mcp_server.postprocess_output_data = as_json  # Gradio's own function writes Python's repr


if __name__ == "__main__":
    main()
