"""A short form of `make hostile`: mutated files and checkpoints, and bad days."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests import ROOT
from tests.helpers.quick_python import python


def run(*words: str) -> None:
    done = subprocess.run(
        [*python(), "-m", "scripts.hostile", *words, "--quiet"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "HF_EMMS_WORKER": "1"},
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert "not as expected: 0" in done.stdout


@pytest.mark.slow
def test_a_mutated_checkpoint_is_one_row_and_costs_no_other(daily_seed: int) -> None:
    run("mutations", "-n", "20", "--seed", str(daily_seed))


@pytest.mark.slow
def test_commands_on_mutated_files_end_without_a_traceback() -> None:
    run("files", "-n", "300")


@pytest.mark.slow
def test_bad_days_end_in_the_result_of_an_undisturbed_one() -> None:
    run("days", "-n", "20")
