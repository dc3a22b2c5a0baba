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
from pathlib import Path

from scripts.hostile.corpus import Case
from scripts.hostile.files import NAMES

_NOBODY = 65534
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")


def run_commands(cases: Sequence[Case], report: Callable[[str], None]) -> list[str]:
    """Run command lines in the current folder.

    Args:
        cases: the command lines.
        report: called with a line for each.

    Returns:
        What was not as expected.
    """
    problems = []
    # Those that need another user come last: by then everything that they import has been read.
    for case in sorted(cases, key=lambda case: case.closed):
        wrong = _wrong(case)
        report(f"{'WRONG' if wrong else 'ok':5}  {case.words}")
        if wrong:
            problems.append(f"{case.words}\n    {wrong}")
    return problems


def _wrong(case: Case) -> str | None:
    """What is not as expected of a command line, if anything."""
    words = shlex.split(case.words)
    for name, value in NAMES.items():
        words = [word.replace(name, value) for word in words]
    with _as_nobody() if case.closed else contextlib.nullcontext():
        code, out, err = run_command(words)
    scored = sum(line[:1].isdigit() for line in out.splitlines()) if case.rows is not None else None
    checks = {
        f"exit code {code}, not {case.code}": code == case.code,
        "a traceback": "Traceback" not in err,
        "nothing is said": bool(err.strip()) or code == 0,
        f"{scored} scored rows, not {case.rows}": scored == case.rows,
        "control characters": _STEERING.search(out + err) is None,
        "an access token": NAMES["$TOKEN"] not in out + err,
        "no hint of what to do": code != 1 or "→" in err or case.rows == 0,
    }
    failed = [what for what, right in checks.items() if not right]
    return f"{'; '.join(failed)}: {err.strip()[-600:]}" if failed else None


def run_command(words: Sequence[str]) -> tuple[int, str, str]:
    """Run ``hf-emms WORDS`` in this process: exit code, stdout, stderr."""
    from hf_emms.cli import main

    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, sys.stdin)
    sys.argv, sys.stdin = ["hf-emms", *words], io.TextIOWrapper(io.BytesIO())
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
