"""Show the progress of a ranking on stderr: bars on a terminal, else one line per checkpoint."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hf_emms.errors import check_type
from hf_emms.formatting import format_duration
from hf_emms.ranking import EMMS, Row, explained
from hf_emms.ranking.columns import EXPLAINED, estimator_named
from hf_emms.ranking.progress import LOADING, noted_while
from hf_emms.ranking.progress import Progress as EventReceiver
from hf_emms.texts import printable


class _Count(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class StderrProgress(EventReceiver):
    """Show events on stderr. The context manager removes the bars at the end, also after an error."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._draws_bars,
        )
        self._stage = self._bars.add_task("", total=None, visible=False)
        self._expected = 0
        self._done = 0
        self._all: TaskID | None = None
        self._running: dict[str, tuple[TaskID, float]] = {}

    @property
    def _draws_bars(self) -> bool:
        """Whether there are bars: on a terminal, and in a notebook with ipywidgets."""
        console = self._console
        return find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal

    @property
    def is_watched(self) -> bool:
        """Whether stderr is a terminal or a notebook."""
        return self._console.is_terminal or self._console.is_jupyter

    def __enter__(self) -> StderrProgress:
        with ExitStack() as stack:
            self._bars.start()
            stack.callback(self._bars.stop)
            stack.enter_context(noted_while(self, LOADING))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def expect(self, count: int, what: str) -> None:
        """Show from now on how many of `count` are finished, and the remaining time."""
        self._expected, self._done = count, 0
        if self._all is not None:
            self._bars.remove_task(self._all)
        self._all = self._bars.add_task(what, total=count)

    def started(self, checkpoint: str, inputs: int) -> None:
        bar = self._bars.add_task(printable(checkpoint), total=inputs, visible=inputs > 0)
        self._running[checkpoint] = (bar, time.perf_counter())
        self._bars.update(self._stage, visible=False)

    def advanced(self, checkpoint: str, inputs: int) -> None:
        bar, _ = self._running[checkpoint]
        self._bars.advance(bar, inputs)
        if next(task for task in self._bars.tasks if task.id == bar).finished:
            self._bars.update(bar, visible=False)

    def finished(self, row: Row) -> None:
        self._done += 1
        if self._all is not None:
            self._bars.advance(self._all)
        since = self._drop(row.checkpoint)
        took = "from the cache" if row.cached == "row" else f"{time.perf_counter() - since:.1f} s"
        result = _leading_number(row) if row.error is None else f"failed: {row.error}"
        self.noted(f"[{self._done}/{self._expected}] {row.checkpoint}: {result} ({took})")

    def noted(self, message: str) -> None:
        self._bars.update(self._stage, visible=False)
        self._console.print(Text(printable(message)))

    def working(self, what: str, seconds: float) -> None:
        """Show the activity as a line, or among the bars."""
        bar = self._bar_of(what)
        if not self._draws_bars:
            done = f"{bar.completed:,.0f} of {bar.total:,.0f}, " if bar is not None and bar.completed else ""
            self.noted(f"{what}: {done}{format_duration(seconds)} so far")
        elif bar is None or bar.finished or not bar.visible:
            self._bars.update(self._stage, description=f"{printable(what)}: {format_duration(seconds)}", visible=True)
        else:
            self._bars.update(self._stage, visible=False)

    def _bar_of(self, name: str) -> Task | None:
        id, _ = self._running.get(name, (None, 0.0))
        return next((task for task in self._bars.tasks if task.id == id), None)

    def _drop(self, checkpoint: str) -> float:
        """Remove the bar of a checkpoint, and return its start time, or now."""
        bar, since = self._running.pop(checkpoint, (None, time.perf_counter()))
        if bar is not None:
            self._bars.remove_task(bar)
        return since


@contextmanager
def reporting(progress: EventReceiver | bool | None) -> Iterator[EventReceiver]:
    """Yield the receiver of events that the user's argument `progress` selects.

    True shows lines and bars on stderr, False nothing. None is True if stderr is a terminal or a notebook.
    """
    check_type("progress", progress, EventReceiver, bool, type(None))
    if isinstance(progress, EventReceiver):
        with noted_while(progress, LOADING):
            yield progress
        return
    bars = StderrProgress()
    if progress or (progress is None and bars.is_watched):
        with bars:
            yield bars
    else:
        yield EventReceiver()


def _leading_number(row: Row) -> str:
    name, score = next(iter(row.scores.items()))
    r2 = explained(score) if name in EMMS else None
    if r2 is not None:
        return f"{EXPLAINED} {r2.value:z.2f}"
    estimator = estimator_named(name)
    quantity = estimator.quantity
    return f"{estimator.title} {quantity.value(score.value):z.{quantity.decimals}f}{quantity.in_words}"
