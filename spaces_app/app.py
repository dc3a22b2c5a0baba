"""The leaderboard Space.

The environment has the settings. EMMS_RESULTS_REPO is the results dataset, "ORG/NAME". EMMS_RESULTS is a folder to read
instead. EMMS_REFRESH_SECONDS is the time between two refreshes.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from gradio.utils import get_space
from leaderboard.endpoints import as_json
from leaderboard.facts import HubFacts
from leaderboard.server import Pages, serve
from leaderboard.store import Store

from hf_emms.errors import PLAIN, hint_style

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # type: ignore[import-not-found]

    @spaces.GPU
    def unused() -> None:
        """Do nothing. ZeroGPU stops Spaces without a GPU function, and this page needs no GPU."""


HERE = Path(__file__).parent
REFRESH_SECONDS = 300.0


def store_of(environment: dict[str, str]) -> tuple[Store, str]:
    """Create the store from the environment; also return the results dataset for submissions ("" for none)."""
    repo_id = environment.get("EMMS_RESULTS_REPO", "")
    named = environment.get("EMMS_RESULTS", "")
    if named or not repo_id:
        folder = Path(named or HERE / "results")
        return Store(folder, folder.name), repo_id

    def download() -> Path:
        from huggingface_hub import HfApi, errors, snapshot_download

        try:  # without this check snapshot_download would silently return its last copy
            revision = HfApi().dataset_info(repo_id).sha
        except errors.HTTPError as error:
            raise ConnectionError(f"the Hub cannot be reached: {type(error).__name__}") from error
        return Path(
            snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns="rankings/*.json")
        )

    return Store(download, repo_id, HubFacts()), repo_id


def main() -> None:
    store, repo_id = store_of(dict(os.environ))
    every = float(os.environ.get("EMMS_REFRESH_SECONDS") or REFRESH_SECONDS)
    if not store.is_local:
        store.keep_fresh(every)
    sign_in = get_space() is not None and "OAUTH_CLIENT_ID" in os.environ
    server = serve(Pages(store, repo_id, sign_in=sign_in, every=every))
    server.launch(
        mcp_server=importlib.util.find_spec("mcp") is not None,
        show_error=True,
        ssr_mode=False,
        run_history=False,
        prevent_thread_lock=True,
    )
    blocks = server.get_blocks()
    if blocks.mcp_server_obj is not None:
        blocks.mcp_server_obj.postprocess_output_data = as_json  # Gradio's own function writes Python's repr
    blocks.block_thread()


if __name__ == "__main__":
    with hint_style(PLAIN):
        main()
