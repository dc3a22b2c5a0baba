"""The leaderboard on this machine."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from hf_emms.errors import EmmsError


def source_folder() -> Path:
    """Return the folder of the Space's files: inside the installed package, or next to it in a checkout."""
    package = Path(str(resources.files("hf_emms")))
    for folder in (package / "spaces_app", package.parent / "spaces_app"):
        if (folder / "app.py").is_file():
            return folder
    raise EmmsError(
        "broken-installation", "this installation lacks the files of the leaderboard", "install hf-emms again"
    )


def serve(environment: Mapping[str, str], listener: socket.socket, hosts: Sequence[str] = ()) -> None:
    """Serve the leaderboard on this machine until Ctrl-C.

    Args:
        environment: The results, as the README of the Space describes.
        listener: A bound socket.
        hosts: Host names that requests may use, besides the listener's address and localhost. Others are refused: a
            web page could otherwise read local rankings by a name that it resolves to this machine.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small: threads would wait for each other
    sys.path.insert(0, str(source_folder()))
    import uvicorn
    from leaderboard.server import app, pages_of  # type: ignore[import-not-found]
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # Browsers keep connections open, so the server does not wait for their end.
    allowed = [listener.getsockname()[0], "localhost", *hosts]
    pages = TrustedHostMiddleware(app(pages_of(environment)), allowed, www_redirect=False)
    config = uvicorn.Config(pages, ws="none", log_config=None, timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])
