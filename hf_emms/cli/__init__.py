"""The command line. Importing it is quick: `main` handles signals before it imports the commands."""

import gc
import os
import signal
import sys
from typing import Any

from hf_emms.cli.interrupts import STOPPED, TERMINATED, exit_code, interruptions, system_error


def main() -> None:
    """Run the command line and exit. SIGTERM stops it as Ctrl-C does, neither with a traceback.

    A second signal ends the process at once.
    """
    try:
        signal.signal(signal.SIGTERM, _stop)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # background jobs ignore it
            signal.signal(signal.SIGINT, _stop)
        sys.unraisablehook = _unraisable
        from hf_emms.cli.app import main

        main()
    except (KeyboardInterrupt, Exception) as stop:
        if interruptions or isinstance(stop, KeyboardInterrupt):
            print(STOPPED, file=sys.stderr)
            sys.exit(exit_code(stop))
        if not isinstance(stop, (OSError, MemoryError)):
            raise
        print(system_error(stop), file=sys.stderr)
        sys.exit(1)
    finally:
        # Python would print an exception that is raised while it exits.
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is _stop:
                signal.signal(number, _leave)
        # Without a last search for cycles among the objects of torch and transformers, Python exits seconds earlier.
        gc.freeze()


def _stop(number: int, frame: Any) -> None:
    if interruptions:
        os.write(2, f"{STOPPED}\n".encode())
        _leave(number, frame)
    interruptions.append(_interrupt(number))
    raise interruptions[0]


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Stop for an interrupt that came in a destructor or callback, where Python would print it and go on."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        os.write(2, f"{STOPPED}\n".encode())
        os._exit(exit_code(unraisable.exc_value))
    sys.__unraisablehook__(unraisable)


def _leave(number: int, frame: Any) -> None:
    os._exit(exit_code(_interrupt(number)))


def _interrupt(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt(TERMINATED) if number == signal.SIGTERM else KeyboardInterrupt()
