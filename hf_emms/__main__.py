"""``python -m hf_emms`` is the command ``hf-emms``."""

import signal
import sys
from typing import Any

from hf_emms.errors import STOPPED, TERMINATED, exit_code


def main() -> None:
    """Imports and runs the command line. SIGTERM stops it as Ctrl-C does, neither with a traceback, however early."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from hf_emms.cli import main

        main()
    except KeyboardInterrupt as stop:
        print(STOPPED, file=sys.stderr)
        sys.exit(exit_code(stop))


def _terminate(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(TERMINATED)


if __name__ == "__main__":
    main()
