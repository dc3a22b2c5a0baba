"""The Space under test: its modules, rankings, and a running server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hf_emms.cache.files import write_atomic
from hf_emms.errors import Note
from hf_emms.ranking import Ranking, Row, Seconds, ranked
from hf_emms.scoring import Score
from tests import ROOT
from tests.helpers.rankings import emms_score, example

SPACE = ROOT / "spaces_app"
BEANS = "task=image-classification&ranking=image%2Fbeans"

HOSTILE = (
    "<img src=x onerror=\"window.ran='img'\">",
    "</td></table><script>window.ran='script'</script>",
    "[click](javascript:window.ran='markdown')",
    "javascript:window.ran='link'//org/name",
    "${window.ran='template'}{{constructor.constructor('window.ran=1')()}}",
    "org/name\" onmouseover=\"window.ran='attribute'",
    '=HYPERLINK("http://localhost","x")',
)


@dataclass(frozen=True)
class Running:
    """A server of the Space, and the folder of its rankings."""

    url: str
    results: Path


def write(folder: Path, name: str, ranking: Ranking) -> None:
    write_atomic(folder / f"{name}.json", ranking.to_json())


def scored(checkpoint: str, score: float, parameters: int, seconds: float = 1.0, commit: str = "a") -> Row:
    """Return a row whose fold scores are close to one value."""
    folds = (score - 0.001, score, score + 0.001)
    scores = {"emms": emms_score(*folds), "logme": Score(score - 1), "knn": Score(1 + score)}
    return Row(checkpoint, commit * 40, scores=scores, parameters=parameters, width=64, seconds=Seconds(seconds, 0.1))


def of_rows(dataset: str, *rows: Row, **changes: object) -> Ranking:
    fields = {"dataset": dataset, "dataset_id": f"org/{dataset}", "rows": ranked(rows, "emms")}
    return example(**(fields | changes))


def with_clear_order(dataset: str, *names: str, **changes: object) -> Ranking:
    """Return a ranking with clear differences, the best checkpoint first."""
    return of_rows(dataset, *(scored(name, -place / 10, 10) for place, name in enumerate(names)), **changes)


def hostile() -> Ranking:
    """Return a ranking with failed and scored rows, whose names would be dangerous as code."""
    rows = [
        msgspec.structs.replace(scored(name, -0.1 - place / 10, 1000 * (place + 1)), revision="local-1")
        for place, name in enumerate(HOSTILE)
    ]
    failed = Row("org/failed", "b" * 40, error="<b onclick=\"window.ran='error'\">broken</b>")
    return of_rows(
        HOSTILE[0],
        *rows,
        failed,
        dataset_id=HOSTILE[1],
        dataset_revision="local-1",
        split=HOSTILE[4],
        notes=tuple(Note("hostile", name) for name in HOSTILE),
        task="feature-extraction",
    )


def fill(folder: Path) -> None:
    """Write rankings for different tasks: some similar or long, one with hostile names, and one broken file."""
    write(folder, "image/beans", example())
    food = of_rows(
        "food",
        scored("org/best", -0.4, 309_248),
        scored("org/close", -0.3, 1_300_000_000),
        scored("org/worse", -0.6, 85_000_000),
        scored("org/small", -0.7, 9_000),
    )
    write(folder, "image/food", food)
    write(folder, "text/news", of_rows("news", scored("org/bert", -0.2, 110_000_000), task="text-classification"))
    write(folder, "hostile", hostile())
    rows = [scored(f"org/long-{number:03}", -number / 1000, 1000 + number) for number in range(1, 151)]
    for name in ("long", "long2"):
        write(folder, name, of_rows(name, *rows, task="object-detection"))
    (folder / "broken.json").write_text('{"schema_version": 1, "rows": [')


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The running Space over `fill`, shared by the session. It looks for new files every second."""
    from tests.helpers.browser import served

    results = tmp_path_factory.mktemp("space") / "results"
    fill(results)
    settings = {"EMMS_RESULTS": str(results), "EMMS_RESULTS_REPO": "org/emms-results", "EMMS_REFRESH_SECONDS": "1"}
    with served(SPACE / "app.py", **settings) as url:
        yield Running(url, results)


def store_of(folder: Path) -> Any:
    """Return the store of the Space for a folder."""
    from leaderboard.store import Store

    store = Store(folder, folder.name)
    store.refresh()
    return store


def snapshot_of(folder: Path) -> Any:
    """Return the Space's snapshot of a folder."""
    return store_of(folder).snapshot


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The snapshot of `fill`."""
    folder = tmp_path_factory.mktemp("shown")
    fill(folder)
    return snapshot_of(folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client of the pages of `fill`, in this process."""
    folder = tmp_path_factory.mktemp("pages") / "results"
    fill(folder)
    return client_of(folder, "org/emms-results")


def client_of(folder: Path, repo_id: str = "") -> Any:
    """Return an HTTP client of the pages for a folder, without a browser."""
    from leaderboard.server import Pages, app
    from starlette.testclient import TestClient

    return TestClient(app(Pages(store_of(folder), repo_id)))


@pytest.fixture
def show(space: Running, open_page: Any) -> Any:
    """Open a view of the Space in a new context."""
    return lambda query="", **options: open_page(f"{space.url}/?{query}", **options)


@pytest.fixture
def visit(space: Running, open_page: Any) -> Any:
    """Open one view of the Space after the other in the same page."""
    pages: list[Any] = []

    def visited(query: str) -> Any:
        address = f"{space.url}/?{query}"
        if pages:
            pages[0].goto(address)
        else:
            pages.append(open_page(address))
        return pages[0]

    return visited


def checkpoints(page: Any) -> Any:
    """Return the names in the visible rows of the table."""
    return page.locator("table.board:visible tbody tr:not([hidden]) th .name")


def expect(locator: Any) -> Any:
    """Return Playwright's assertions, which wait. Imported on use, because Playwright may be missing."""
    from playwright.sync_api import expect

    return expect(locator)


def choose(page: Any, label: str, option: str) -> None:
    """Choose an option by its text, which the number of hits follows."""
    select = page.get_by_label(label, exact=True)
    texts = select.locator("option").all_text_contents()
    select.select_option(label=next(text for text in texts if text.partition(" (")[0] == option))
