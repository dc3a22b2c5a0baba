"""One contestant of a benchmark: a process that has loaded, and says how long what it is asked to do takes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Any

# Each library reads a variable of its own.
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Side:
    """A process that answers a first line by itself, and then each line it is sent; answers are lines of JSON.

    Attributes:
        about: the first answer, given once it is ready.
    """

    def __init__(self, command: Sequence[str], threads: int, path: str | None = None) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = inherited | dict.fromkeys(_COUNTS, str(threads)) | {"HF_HUB_OFFLINE": "1"}
        if path is not None:
            environment["PYTHONPATH"] = path
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.about: Any = self._answer()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def seconds(self, request: object) -> dict[str, float]:
        """Elapsed ("wall") and CPU ("cpu") seconds of what is asked for."""
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{' '.join(self._process.args)} ended with {self._process.wait()}")
        return json.loads(line)
