"""``python -m hf_emms`` is the command ``hf-emms``."""

import signal
import sys
from typing import Any

from hf_emms.errors import STOPPED, TERMINATED, exit_code, interruptions


def main() -> None:
    """Import and run the command line. SIGTERM stops it as Ctrl-C does, neither with a traceback, however early."""
    try:
        signal.signal(signal.SIGTERM, _stop)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background
            signal.signal(signal.SIGINT, _stop)
        from hf_emms.cli import main

        main()
    except (KeyboardInterrupt, Exception) as stop:
        if not (interruptions or isinstance(stop, KeyboardInterrupt)):
            raise
        print(STOPPED, file=sys.stderr)
        sys.exit(exit_code(stop))


def _stop(number: int, frame: Any) -> None:
    interruptions.append(KeyboardInterrupt(TERMINATED) if number == signal.SIGTERM else KeyboardInterrupt())
    raise interruptions[-1]


if __name__ == "__main__":
    main()
