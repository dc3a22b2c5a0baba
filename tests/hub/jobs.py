"""Jobs of the stand-in Hub: each runs the hf-emms command of this checkout in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .store import now

ROOT = Path(__file__).parents[2]
HARDWARE = {
    "cpu-basic": {"prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB", "unitCostMicroUSD": 167},
    "a10g-small": {
        "prettyName": "Nvidia A10G - small",
        "cpu": "4 vCPU",
        "ram": "15 GB",
        "unitCostMicroUSD": 16667,
        "accelerator": {"type": "gpu", "model": "A10G", "quantity": "1", "vram": "24 GB", "manufacturer": "Nvidia"},
    },
}
_KEPT = ("PATH", "PYTHONPATH", "LANG", "OMP_NUM_THREADS")


@dataclass
class Job:
    """One job.

    Attributes:
        id: 24 hex digits.
        namespace: whose it is.
        spec: as it was posted, with the values of its secrets.
        folder: its home folder; a job starts with nothing in it.
        stage: as huggingface_hub names them.
        message: what the Hub says to it.
        log: time and text of each line.
    """

    id: str
    namespace: str
    spec: dict[str, Any]
    folder: Path
    stage: str = "SCHEDULING"
    message: str | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    created: str = field(default_factory=now)
    process: subprocess.Popen[str] | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, and nothing more will be logged."""
        return self.stage not in ("SCHEDULING", "RUNNING")

    def start(self, endpoint: str) -> None:
        """Runs ``… hf-emms ARGUMENTS``, whatever would install it."""
        words = self.spec["command"]
        arguments = words[len(words) - words[::-1].index("hf-emms") :] if "hf-emms" in words else []
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(self.folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= self.spec.get("environment", {}) | self.spec.get("secrets", {})
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from hf_emms.cli import main; main()", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.stage = "RUNNING"
        self.log.append((now(), f"===== Job started at {self.created} ====="))
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self, stage: str, message: str) -> None:
        """Ends it before its time."""
        self.stage, self.message = stage, message
        if self.process is not None:
            self.process.kill()

    def _watch(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        overtime = None
        if "timeoutSeconds" in self.spec:
            overtime = threading.Timer(self.spec["timeoutSeconds"], self.end, ("ERROR", "Job timeout"))
            overtime.start()
        for line in self.process.stdout:
            self.log.append((now(), line.rstrip("\n")))
        code = self.process.wait()
        if overtime is not None:
            overtime.cancel()
        if self.stage == "RUNNING":
            self.stage, self.message = ("COMPLETED", None) if code == 0 else ("ERROR", f"Exit code: {code}")
