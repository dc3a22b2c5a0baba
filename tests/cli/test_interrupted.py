"""A killed or interrupted ranking continues."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from hf_emms.ranking import Ranking
from tests.helpers.cli import GOOD, POOR, Cli, cli, encoder, program
from tests.helpers.waiting import eventually

__all__ = ["cli", "encoder"]


def _stopped(words: list[str], emms_cache: Path, how: signal.Signals) -> tuple[int, str]:
    """Exit code and stderr of a run that gets a signal when it has finished a checkpoint more."""
    before = {*emms_cache.glob("rows/*.json")}
    process = subprocess.Popen(program(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: {*emms_cache.glob("rows/*.json")} > before or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(how)
    out, err = process.communicate()
    assert out == ""
    return process.returncode, err


def test_killed_and_interrupted_run_continues(cli: Cli, encoder: Path, emms_cache: Path) -> None:
    # Slow enough to be hit in the middle: one picture a batch.
    words = ["rank", "--dataset", "demo_captions", "--max-samples", "80", "--batch-size", "1"]
    words += ["-e", str(encoder), "--estimator", "emms"]
    checkpoints = (POOR, "emms-demo/regnet-random", GOOD, "emms-demo/resnet-fashion", "emms-demo/resnet-drawings")
    for checkpoint in checkpoints:
        words += ["-c", checkpoint]
    code, _ = _stopped(words, emms_cache, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, err = _stopped(words, emms_cache, signal.SIGINT)
    assert code == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    finished = {path: path.read_bytes() for path in emms_cache.glob("rows/*.json")}
    assert 2 <= len(finished) < len(checkpoints)

    ranking = Ranking.from_json(cli(*words, "--format", "json").out)
    assert sum(row.cached == "row" for row in ranking.rows) == len(finished)
    assert [row.error for row in ranking.rows] == [None] * len(checkpoints)
    assert {path: path.read_bytes() for path in finished} == finished
