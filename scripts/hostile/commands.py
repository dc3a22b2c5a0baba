"""Runs the corpus in this process: what takes long is importing, and that happens once."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from scripts.hostile.calls import Call
from scripts.hostile.corpus import Case
from scripts.hostile.files import NAMES

_NOBODY = 65534
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")


def run_commands(cases: Sequence[Case], report: Callable[[str], None]) -> list[str]:
    """Runs command lines in the current folder.

    Args:
        cases: the command lines.
        report: called with a line for each.

    Returns:
        What was not as expected.
    """
    # Those that need another user come last: by then everything that they import has been read.
    return _problems([(case.words, partial(_wrong, case)) for case in sorted(cases, key=_closed)], report)


def run_calls(calls: Sequence[Call], report: Callable[[str], None]) -> list[str]:
    """Calls from Python, likewise."""
    tries = [(f"call {number}: {call.says}", partial(_unlike, call)) for number, call in enumerate(calls)]
    return _problems(tries, report)


def _problems(tries: Sequence[tuple[str, Callable[[], str | None]]], report: Callable[[str], None]) -> list[str]:
    found = []
    for name, attempt in tries:
        wrong = attempt()
        report(f"{'WRONG' if wrong else 'ok':5}  {name}")
        if wrong:
            found.append(f"{name}\n    {wrong}")
    return found


def _closed(case: Case) -> bool:
    return case.closed


def _wrong(case: Case) -> str | None:
    """What is not as expected of a command line, if anything."""
    words = shlex.split(case.words)
    for name, value in NAMES.items():
        words = [word.replace(name, value) for word in words]
    with _as_nobody() if case.closed else contextlib.nullcontext():
        code, out, err = run_command(words, case.stdin)
    text = " ".join((out + err).split())
    scored = sum(line[:1].isdigit() for line in out.splitlines()) if case.rows is not None else None
    checks = {
        f"exit code {code}, not {case.code}": code == case.code,
        "a traceback": "Traceback" not in err,
        f"not said: {case.says}": re.search(case.says, text) is not None,
        f"{scored} scored rows, not {case.rows}": scored == case.rows,
        "control characters": _STEERING.search(out + err) is None,
        "an access token": NAMES["$TOKEN"] not in out + err,
        "no hint of what to do": code != 1 or "→" in err or case.rows == 0,
    }
    failed = [what for what, right in checks.items() if not right]
    return f"{'; '.join(failed)}: {err.strip()[-600:]}" if failed else None


def _unlike(call: Call) -> str | None:
    from hf_emms.errors import EmmsError

    try:
        result = call.call()
    except EmmsError as error:
        return None if re.search(call.says, error.message) else f"not said: {call.says}: {error.message}"
    except Exception:  # noqa: BLE001 (what is looked for)
        return traceback.format_exc()[-600:]
    return f"it gave {str(result)[:100]}"


def run_command(words: Sequence[str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Runs ``hf-emms WORDS`` in this process: exit code, stdout, stderr."""
    from hf_emms.cli import main

    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, sys.stdin)
    sys.argv, sys.stdin = ["hf-emms", *words], io.TextIOWrapper(io.BytesIO(stdin))
    code: int | str | None = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 (what is looked for)
        err.write(traceback.format_exc())
        code = 99
    finally:
        sys.argv, sys.stdin = before
    return int(code or 0), out.getvalue(), err.getvalue()


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Whatever is inside runs as a user whom permissions stop."""
    user = os.geteuid()
    try:
        if user == 0:
            for path in (Path(os.environ["HF_HOME"]), *Path(os.environ["HF_HOME"]).rglob("*")):
                path.chmod(0o777)
            os.seteuid(_NOBODY)
        yield
    finally:
        os.seteuid(user)
