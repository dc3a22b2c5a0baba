"""``python -m tests.hub``: serves the embedded demo on loopback until interrupted."""

from __future__ import annotations

import argparse
import contextlib
import threading

from .seed import ORG
from .server import running_hub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port (default: any free one)")
    options = parser.parse_args()
    with running_hub(port=options.port, demo=True) as hub:
        token = hub.token(user="emms-user", role="write", orgs=[ORG])
        print(f"HF_ENDPOINT={hub.url}\nHF_TOKEN={token}\nHF_HUB_DISABLE_XET=1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
