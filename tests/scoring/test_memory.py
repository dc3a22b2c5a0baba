"""What scoring says it will take of memory is about what it takes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hf_emms.ranking.estimators import get_estimators
from hf_emms.run.engines.extraction import memory_note
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import needed_bytes

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from hf_emms import emms
from hf_emms.scoring.labels import LabelTable

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

rows, width, texts = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
emms(rng.normal(size=(50, 4)), rng.normal(size=(50, 3)), method="emms")  # libraries loaded, threads started
x = rng.normal(size=(rows, width)).astype(np.float32)
labels = LabelTable(rng.integers(0, texts, rows), (rng.normal(size=(texts, 32)),))
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before = status("VmRSS")
emms(x, labels, method="emms")
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.parametrize(("rows", "width"), [(4000, 1500), (6000, 1000)])
def test_the_estimate_is_near_the_peak(rows: int, width: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(rows), str(width), "20"]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak / 2 < needed_bytes(rows, width, 20, 5) < 2 * peak


def test_only_much_memory_is_announced() -> None:
    labels = LabelTable(np.arange(10) % 2, (np.eye(2, dtype=np.float32),))
    sums, neighbours = 8 * 5 * 4 * (4 + 2) + 4 * 12 * 4**2, 4 * (5 * 4 * 2 + 10 * (4 + 2))
    assert [needed_bytes(10, 4, 2, 5, keep_fits=keep) for keep in (False, True)] == [sums, sums + neighbours]
    assert memory_note(20_000, 512, labels, 5, get_estimators(["emms"])) is None
    told = memory_note(20_000, 8192, labels, 5, get_estimators(["emms"]))
    assert told == "scoring 8,192 features takes about 5.9 GB of memory"
