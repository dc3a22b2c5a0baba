"""Closed and full output streams, signals, and tokens in the output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emms.cli.interrupts import STOPPED
from hf_emms.ranking import Ranking
from tests.helpers.cli import Cli, cli, program
from tests.helpers.quick_python import python

__all__ = ["cli"]

FRESH = f"{sys.executable} -m hf_emms"
RANK = (
    "rank --dataset demo_captions --max-samples 60 -e emms-demo/encoder-minilm-static --estimator emms "
    "-c emms-demo/vit-random -c emms-demo/resnet-distilled"
)
# Prints a line as soon as the program is about to import the command line.
STOPPABLE = """
import signal, sys
import hf_emms.cli as program
install, sys.argv[0] = signal.signal, "hf-emms"
program.signal.signal = lambda *words: (install(*words), print("up", flush=True))
program.main()
"""
TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz12345678"


Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the rows of `RANK`."""
    folder = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"HF_EMMS_CACHE": str(folder)}
    subprocess.run(program(*RANK.split()), env=environment, capture_output=True, check=True)
    return folder


@pytest.fixture
def shell(cache: Path, tmp_path: Path) -> Shell:
    """Runs a line of bash in an empty folder; the exit code comes from the first command of the line."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        script = f"{line}; exit ${{PIPESTATUS[0]}}"
        environment = os.environ | {"HF_EMMS_CACHE": str(cache)}
        return subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    return run


@pytest.mark.parametrize(("streams", "code"), [("| true", 0), ("> /dev/full", 1)])
def test_closed_or_full_stdout_loses_no_file(shell: Shell, tmp_path: Path, streams: str, code: int) -> None:
    done = shell(f"{FRESH} {RANK} -o ranking.json {streams}")
    ranking = Ranking.from_json((tmp_path / "ranking.json").read_text())
    assert [row.error for row in ranking.rows] == [None, None]
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if streams == "> /dev/full":
        assert "No space left on device" in done.stderr


def test_ranking_that_cannot_be_written_is_printed_and_cached(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    # The file system refuses the file after the run only: the limit is on the size of files.
    done = shell(f"(ulimit -f 1; {FRESH} {RANK} -o folder/ranking.json --format csv)")
    assert done.returncode == 1
    assert "emms-demo/resnet-distilled" in done.stdout
    assert "cannot write folder/ranking.json" in done.stderr
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    "output", ["folder.json", "file/ranking.json", "data.csv", "linked.csv", "/proc/ranking.csv", "ranking.xlsx"]
)
def test_invalid_output_is_refused_before_the_work(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    content = "text,label\n" + "".join(f"text {number},{number % 2}\n" for number in range(20))
    (tmp_path / "data.csv").write_text(content)
    (tmp_path / "linked.csv").symlink_to("data.csv")
    done = cli("rank", "--dataset", "data.csv", "-e", "emms-demo/encoder-minilm-static", "-o", output)
    assert (done.code, done.out) == (1, "")
    assert f"--output {output}" in done.err
    assert "[1/" not in done.err
    assert (tmp_path / "data.csv").read_text() == content


@pytest.mark.parametrize(
    ("how", "after", "code"), [(signal.SIGINT, 0.0, 130), (signal.SIGTERM, 0.1, 143), (signal.SIGINT, 0.5, 130)]
)
def test_signals_are_handled_from_the_start(emms_cache: Path, how: signal.Signals, after: float, code: int) -> None:
    line = [sys.executable, "-c", STOPPABLE, *RANK.split()]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(how)
    _, err = process.communicate()
    assert err.strip().endswith("run the same command again to continue.")
    assert "Traceback" not in err
    assert process.returncode == code


INTERRUPTED = """
import os, signal, sys
import hf_emms.cli as program, hf_emms.cli.app as cli

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    str()  # the signal is handled here

class Closing:
    def __del__(self):
        interrupt()

def in_a_destructor():
    Closing()
    print("It goes on.", file=sys.stderr)

def as_another_error():  # as CPython's own `from _ssl import RAND_egd` does where the signal comes within it
    try:
        interrupt()
    except KeyboardInterrupt:
        raise TypeError("expected a message argument") from None

def again_as_it_unwinds():
    try:
        interrupt()
    finally:
        Closing()

cli.app.main = lambda **settings: globals()[sys.argv[1]]()
program.main()
"""


@pytest.mark.parametrize("place", ["in_a_destructor", "as_another_error", "again_as_it_unwinds"])
def test_interrupts_print_one_line(emms_cache: Path, place: str) -> None:
    done = subprocess.run([*python(), "-c", INTERRUPTED, place], capture_output=True, text=True, check=False)
    assert (done.stderr.splitlines(), done.returncode) == ([STOPPED], 130)


def test_system_errors_are_one_line(emms_cache: Path) -> None:
    code = """
import resource
import hf_emms.cli as program
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # no file can be opened
program.main()
"""
    line = [sys.executable, "-c", code, *RANK.split()]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Too many open files" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        f"rank --dataset demo_captions --max-samples 60 -e emms-demo/encoder-minilm-static -c {TOKEN}",
        f"rank --dataset org/name@{TOKEN}",
        "rank --dataset org/name --engine jobs --results-repo https://me:pass1word@host/a --dry-run",
        f"{TOKEN}",
    ],
)
def test_token_in_an_argument_is_never_printed(cli: Cli, words: str) -> None:
    done = cli("--debug", *words.split())
    assert TOKEN not in done.out + done.err
    assert "pass1word" not in done.out + done.err
