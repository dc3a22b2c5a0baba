"""A ranking that is killed or interrupted goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from hf_emms.ranking import Ranking
from tests.helpers.cli import GOOD, POOR, Cli, cli, encoder, program
from tests.helpers.quick_python import python
from tests.helpers.waiting import eventually

__all__ = ["cli", "encoder"]


def _started(words: list[str], emms_cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"HF_EMMS_CACHE": str(emms_cache)}
    return subprocess.Popen(program(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for_a_row(process: subprocess.Popen[str], emms_cache: Path) -> None:
    eventually(lambda: list(emms_cache.glob("rows/*.json")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_a_killed_run_goes_on_where_it_stopped(cli: Cli, encoder: Path, emms_cache: Path, how: signal.Signals) -> None:
    # Slow enough to be hit in the middle: one picture a batch.
    words = ["rank", "--dataset", "demo_captions", "--max-samples", "120", "--batch-size", "1"]
    words += ["-e", str(encoder), "--estimator", "emms"]
    for checkpoint in (POOR, "emms-demo/regnet-random", GOOD, "emms-demo/resnet-fashion"):
        words += ["-c", checkpoint]
    process = _started(words, emms_cache)
    _wait_for_a_row(process, emms_cache)
    process.send_signal(how)
    out, err = process.communicate()
    assert out == ""
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command again" in err
        assert "Traceback" not in err
    else:
        assert process.returncode == -signal.SIGKILL
    finished = {path: path.read_bytes() for path in emms_cache.glob("rows/*.json")}
    assert 1 <= len(finished) < 4

    ranking = Ranking.from_json(cli(*words, "--format", "json").out)
    assert sum(row.cached == "row" for row in ranking.rows) == len(finished)
    assert [row.error for row in ranking.rows] == [None] * 4
    assert {path: path.read_bytes() for path in finished} == finished


STOPPED_IN_A_DESTRUCTOR = """
import os, signal
import hf_emms.cli
from hf_emms.__main__ import main

class Stopped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        str()  # the signal is handled here

hf_emms.cli.main = lambda: [Stopped() for _ in range(1)].clear()
main()
"""


def test_an_interrupt_where_python_ignores_exceptions_prints_none() -> None:
    command = [*python(), "-c", STOPPED_IN_A_DESTRUCTOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" not in done.stderr
    assert "Traceback" not in done.stderr
