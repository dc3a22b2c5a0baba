"""The metric in separate processes: two that share a computation, and one with measured memory."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.metric import IMPORT_EVALUATE
from tests.helpers.quick_python import python

# Separate processes need not look for the Hub either.
ALONE = {**os.environ, "HF_EVALUATE_OFFLINE": "1"}
PROCESS = """
import sys, numpy as np, hf_emms
process, cache, dtype = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rng = np.random.default_rng(0)
x, z = rng.normal(size=(90, 4)).astype("f4"), rng.normal(size=(90, 2)).astype("f4")
metric = evaluate.load("emms", num_process=2, process_id=process, experiment_id="e", cache_dir=cache, timeout=100)
part = slice(process, None, 2)
metric.add_batch(predictions=x[part].astype(dtype if process else "f4"), references=z[part])
try:
    result = metric.compute()
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
alone = evaluate.load("emms", cache_dir=cache).compute(predictions=x, references=z)
print(result is None if process else abs(result["score"] - alone["score"]) < 1e-6 and result["n"] == 90)
"""


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_two_processes(tmp_path, dtype):
    command = [*python(), "-c", IMPORT_EVALUATE + PROCESS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ALONE}
    running = [subprocess.Popen([*command, str(i), str(tmp_path), dtype], **pipes) for i in range(2)]
    ended = [process.communicate() for process in running]
    if dtype == "f4":
        assert [out.strip() for out, _ in ended] == ["True"] * 2, ended
    else:
        assert "EmmsError: the processes added rows of different types" in ended[0][1], ended


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_memory_does_not_grow_with_rows(tmp_path):
    script = """
import sys, numpy as np, hf_emms
metric, rng = evaluate.load("emms", cache_dir=sys.argv[2]), np.random.default_rng(0)
for start in range(0, int(sys.argv[1]), 5000):
    x = rng.normal(size=(5000, 64)).astype("f4")
    metric.add_batch(predictions=x, references=x[:, :32] + rng.normal(size=(5000, 32)).astype("f4"))
assert metric.compute(estimators="emms")["n"] == int(sys.argv[1])
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""
    peaks = []
    for count in (50_000, 200_000):
        command = [*python(), "-c", IMPORT_EVALUATE + script, str(count), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=ALONE)
        peaks.append(int(done.stdout) / 1024)
    # The rows themselves are 77 MB at 200,000 and 19 MB at 50,000.
    assert peaks[1] - peaks[0] < 25, peaks
