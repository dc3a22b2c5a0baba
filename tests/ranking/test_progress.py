"""Test the progress of long work."""

from __future__ import annotations

import re
import threading

import msgspec
import pytest

from hf_emms.ranking.progress import LOADING, Progress, noted_while
from hf_emms.ranking.progress_bars import StderrProgress, reporting
from hf_emms.scoring import Score
from tests.helpers.rankings import example
from tests.helpers.waiting import eventually


class Listening(Progress):
    """A `Progress` that keeps what is going on."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def working(self, what: str, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(what)


def test_long_work_is_reported_regularly_by_the_innermost_block() -> None:
    progress = Listening()
    with noted_while(progress, "ranking", first=0.01, every=0.01):
        eventually(lambda: progress.heard[-2:] == ["ranking", "ranking"])
        with noted_while(progress, "reading rows"):
            eventually(lambda: progress.heard[-2:] == ["reading rows", "reading rows"])
        eventually(lambda: progress.heard[-2:] == ["ranking", "ranking"])
    count = len(progress.heard)
    with noted_while(progress, "reading nothing"):
        pass
    assert len(progress.heard) == count


def test_each_thread_reports_its_own_work() -> None:
    first, second = Listening(), Listening()

    def work() -> None:
        with noted_while(second, "the second", first=0.01, every=0.01):
            eventually(lambda: len(second.heard) > 1)

    with noted_while(first, "the first", first=0.01, every=0.01):
        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: len(first.heard) > 1)
        thread.join()
    assert {*first.heard, *second.heard} == {"the first", "the second"}


def test_a_run_reports_loading_libraries_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(noted_while.__wrapped__, "__kwdefaults__", {"first": 0.01, "every": 0.01})
    progress, lines = Listening(), list[str]()

    def said() -> bool:
        lines.extend(capsys.readouterr().err.splitlines())
        return len(lines) > 1

    with reporting(progress):
        eventually(lambda: LOADING in progress.heard)
    with reporting(True):
        eventually(said)
    assert set(lines) == {f"{LOADING}: 0s so far"}


def test_lines_report_checkpoint_and_ranking_progress(capsys: pytest.CaptureFixture[str]) -> None:
    best, close, worse, broken = example().rows
    long_name = "org/" + 20 * "long-name-"
    with StderrProgress() as progress:
        progress.expect(4, "checkpoints")
        progress.started("org/[/b]est", 2000)
        progress.working("org/[/b]est", 4)
        progress.advanced("org/[/b]est", 1200)
        progress.working("org/[/b]est", 9)
        progress.finished(msgspec.structs.replace(best, cached="row"))
        progress.finished(msgspec.structs.replace(close, checkpoint=long_name))
        progress.finished(msgspec.structs.replace(worse, scores={"short_run": Score(-2.0)}))
        progress.finished(broken)
    assert re.sub(r"\d+\.\d s\)", "… s)", capsys.readouterr().err).splitlines() == [
        "org/[/b]est: 4s so far",
        "org/[/b]est: 1,200 of 2,000, 9s so far",
        "[1/4] org/best: explained 0.50 (from the cache)",
        f"[2/4] {long_name}: explained 0.48 (… s)",
        "[3/4] org/worse: Short run 2.00 bits per byte (lower is better) (… s)",
        "[4/4] org/broken: failed: the weights are truncated → download them again (… s)",
    ]


def test_a_terminal_shows_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)

    def shows(*words: str, without: str = "nothing") -> bool:
        text = capsys.readouterr().err
        return all(word in text for word in words) and without not in text

    with StderrProgress() as progress:
        progress.expect(2, "checkpoints")
        progress.started("org/a", 2000)
        for _ in range(2):
            progress.advanced("org/a", 600)
        eventually(lambda: shows("checkpoints", "0/2", "org/a", "1200/2000"))
        progress.working("org/[/b]", 4)
        eventually(lambda: shows("org/[/b]: 4s", "org/a"))
        progress.working("org/a", 5)
        eventually(lambda: shows("org/a", without="org/[/b]"))
        progress.advanced("org/a", 800)
        eventually(lambda: shows("0/2", without="org/a"))
        progress.working("org/a", 6)
        eventually(lambda: shows("0/2", "org/a: 6s"))
        for name in ("org/a", "org/[/b]"):
            progress.finished(msgspec.structs.replace(example().rows[0], checkpoint=name))
        eventually(lambda: shows("2/2", without="org/a: 6s"))
        capsys.readouterr()
    assert capsys.readouterr().err.endswith("\x1b[2K")  # the bars go at the end
