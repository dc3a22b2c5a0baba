"""hf-emms commands in one process, because imports take most of the time."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.quick_python import python
from tests.helpers.waiting import PATIENCE

_LOOP = """
import contextlib, io, json, os, sys, time, traceback
from hf_emms.cli.app import main

longest_pause, sleep = float(sys.argv[1]), time.sleep
time.sleep = lambda seconds: sleep(min(seconds, longest_pause))

answers = os.fdopen(os.dup(1), "w")
inherited = dict(os.environ)
for line in sys.stdin:
    asked = json.loads(line)
    os.environ.clear()
    os.environ.update(inherited | asked["environment"])
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["hf-emms", *asked["arguments"]]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
            code = 99
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Done:
    """A finished command: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


class CommandLine:
    """A process that runs one command after the other."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        interpreter: Sequence[str | Path] = (),
        longest_pause: float = math.inf,
    ) -> None:
        self.done: list[Done] = []
        self.folder = folder
        self._process = subprocess.Popen(
            [*(interpreter or python()), "-c", _LOOP, str(longest_pause)],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, token: str | None = None, **environment: str) -> Done:
        """Run ``hf-emms ARGUMENTS``."""
        if token is not None:
            environment["HF_TOKEN"] = token
        if test := os.environ.get("PYTEST_CURRENT_TEST"):
            environment["PYTEST_CURRENT_TEST"] = test
        asked = {"arguments": [str(argument) for argument in arguments], "environment": environment}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        done = Done(**json.loads(self._process.stdout.readline()))
        self.done.append(done)
        return done

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
