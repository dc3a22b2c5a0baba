"""What a user hears of work that takes long."""

from __future__ import annotations

import threading

import pytest

from hf_emms.ranking.progress import LOADING, Silent, noted_while
from hf_emms.ranking.progress_bars import StderrProgress, reporting
from tests.helpers.waiting import eventually


class Listening(Silent):
    """A `Progress` that keeps what is going on."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def working(self, what: str, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(what)


def test_long_work_gives_signs_of_life_until_it_ends_of_nested_blocks_the_innermost() -> None:
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


def test_each_thread_tells_what_it_does() -> None:
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


def test_a_run_tells_from_its_start_that_libraries_load(
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


def test_a_line_says_how_far_a_checkpoint_is(capsys: pytest.CaptureFixture[str]) -> None:
    with StderrProgress() as progress:
        progress.started("org/a", 2000)
        progress.working("org/a", 4)
        progress.advanced("org/a", 1200)
        progress.working("org/a", 9)
    assert capsys.readouterr().err.splitlines() == ["org/a: 4s so far", "org/a: 1,200 of 2,000, 9s so far"]
