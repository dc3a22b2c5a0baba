"""Progress of a ranking on stderr: bars on a terminal, else a line for each checkpoint."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hf_emms.errors import printable
from hf_emms.ranking import EMMS, Row, explained
from hf_emms.ranking.columns import EXPLAINED, quantity_of, title_of

# A terminal has few lines, and a cluster may run many checkpoints at once.
_MAX_BARS = 12


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.speed if task.fields.get("rate", True) else None
        return Text(f"{speed:,.0f} samples/s" if speed else "", style="cyan")


class StderrProgress:
    """A `Progress` on stderr; silent when `quiet`. It is a context manager, so that bars never outlive an error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self.is_watched,
        )
        self._expected = 0
        self._done = 0
        self._all: TaskID | None = None
        self._running: dict[str, tuple[TaskID, float]] = {}

    @property
    def is_watched(self) -> bool:
        """Whether stderr is a terminal, or a cell of a notebook."""
        return self._console.is_terminal or self._console.is_jupyter

    def __enter__(self) -> StderrProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def expect(self, count: int, what: str) -> None:
        """Show from now on how many of `count` are finished, and how long the others will take."""
        self._expected = count
        self._all = self._bars.add_task(what, total=count, rate=False)

    def started(self, checkpoint: str, inputs: int) -> None:
        self._drop(checkpoint)  # a race starts a checkpoint once a round
        shown = sum(task.visible and not task.finished for task in self._bars.tasks)
        bar = self._bars.add_task(printable(checkpoint), total=inputs, visible=inputs > 0 and shown < _MAX_BARS)
        self._running[checkpoint] = (bar, time.perf_counter())

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
        if row.error is not None:
            result = f"failed: {row.error}"
        else:
            result = _leading_number(row)
            if row.n is not None:
                result += f", stopped after {row.n:,} rows"
        self.noted(f"[{self._done}/{self._expected}] {row.checkpoint}: {result} ({took})")

    def noted(self, message: str) -> None:
        self._console.print(Text(printable(message)))

    def _drop(self, checkpoint: str) -> float:
        """Remove the bar of a checkpoint, and return when it started, or now."""
        bar, since = self._running.pop(checkpoint, (None, time.perf_counter()))
        if bar is not None:
            self._bars.remove_task(bar)
        return since


def _leading_number(row: Row) -> str:
    name, score = next(iter(row.scores.items()))
    r2 = explained(score) if name in EMMS else None
    if r2 is not None:
        return f"{EXPLAINED} {r2.value:z.2f}"
    quantity = quantity_of(name)
    return f"{title_of(name)} {quantity.value(score.value):z.{quantity.decimals}f}{quantity.in_words}"
