"""Functions in forked children of this process, which have imported everything already: importing takes longest."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def in_child(run: Callable[[], int], out: Path, err: Path) -> int:
    """Starts a child that runs a function, prints into two files and ends with its exit code; the child's id."""
    for file in (out, err):  # a child that is killed at once has printed nothing
        file.write_bytes(b"")
    # Ctrl-C waits until the child has reached the function: before that it is this program which would end.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return child
    code = 1
    try:
        for number, file in ((1, out), (2, err)):
            os.dup2(os.open(file, os.O_WRONLY), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            code = run()
        except KeyboardInterrupt:
            print("stopped before it began, or behind the command", file=sys.stderr)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
    finally:  # a child never goes on as this program, whose folder it would remove
        os._exit(code)


def exit_code_of(main: Callable[[], object]) -> int:
    """Runs the main function of a command; its exit code."""
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def import_all(names: Iterable[str]) -> None:
    """Imports modules, so that the children of this process have them already."""
    for name in names:
        with suppress(Exception):  # some are made by others, and cannot be imported by their name
            import_module(name)
