"""Test that checkpoints are resolved in parallel and downloaded ahead, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.hub import CANCELLED, Repo
from hf_emms.presets import demo
from hf_emms.run import engine
from hf_emms.run.engine import Prefetch
from tests.helpers.errors import raises_code
from tests.helpers.progress import RecordedProgress
from tests.helpers.waiting import PATIENCE, eventually
from tests.hub import Hub
from tests.hub.fixtures import run_client

NAMES = [f"org/model-{number}" for number in range(6)]


def prefetch(bring: Callable[[str], object], folder: Path | None = None) -> Prefetch:
    """A `Prefetch` that calls a function instead of downloading."""
    specs = {name: SimpleNamespace(repo=Repo(name, "model", "0" * 40, folder)) for name in NAMES}
    inputs: Any = SimpleNamespace(checkpoints=specs, progress=RecordedProgress())
    return Prefetch(inputs, lambda spec, inputs: bring(spec.repo.id))


def test_prefetch_downloads_a_limited_number_ahead() -> None:
    brought: dict[str, int] = {}
    with prefetch(lambda name: brought.update({name: threading.get_ident()})) as ahead:
        for place, name in enumerate(NAMES):
            eventually(lambda place=place: len(brought) == min(place + 2, len(NAMES)))
            time.sleep(0.05)
            assert list(brought) == NAMES[: place + 2]
            ahead.wait_for(name)
    assert len(set(brought.values())) == 1  # one after the other


def test_an_error_of_prefetch_is_raised_in_its_turn() -> None:
    def bring(name: str) -> None:
        if name == NAMES[1]:
            raise EmmsError("broken", "broken")

    with prefetch(bring) as ahead:
        ahead.wait_for(NAMES[0])
        with raises_code("broken"):
            ahead.wait_for(NAMES[1])
        ahead.wait_for(NAMES[2])


def test_waiting_is_no_stall_and_local_folders_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WAIT_SECONDS", 0.01)
    slow = threading.Event()
    with prefetch(lambda name: slow.wait()) as ahead:
        threading.Timer(0.2, slow.set).start()
        ahead.wait_for(NAMES[0])
        assert NAMES[0] in ahead._inputs.progress.inputs
    with prefetch(lambda name: pytest.fail("it is here"), tmp_path) as local:
        local.wait_for(NAMES[0])


def test_leaving_the_block_cancels_downloads() -> None:
    called_off: list[threading.Event | None] = []
    with prefetch(lambda name: called_off.append(CANCELLED.get())):
        eventually(lambda: called_off)
    assert called_off[0] is not None
    assert called_off[0].is_set()


@pytest.mark.slow
def test_checkpoints_are_resolved_in_parallel_and_downloaded_ahead(hub: Hub, tmp_path: Path) -> None:
    """The weights of the second were asked for before the features of the first were finished."""
    folder = demo.folder_of("emms-demo/vit-random")
    assert folder is not None
    for number in (0, 1, 3):
        hub.store.put_files(f"org/model-{number}", {path.name: path for path in folder.iterdir()})
    together = threading.Barrier(3, timeout=PATIENCE)
    hub.fail("GET /api/models/*", "call", times=3, call=together.wait)
    code = """
        import json, time
        from hf_emms.ranking.progress import Progress
        from hf_emms.hub import listing
        from hf_emms.run.execute import execute_plan
        from hf_emms.run.plan import make_plan
        from hf_emms.options import Options

        class Slow(Progress):
            seen = [False]
            def advanced(self, checkpoint, inputs):
                until = time.monotonic() + 240
                while not all(self.seen) and time.monotonic() < until:  # a checkpoint that takes long
                    self.seen = [files["model.safetensors"].cached for files in map(listing, repos)]

        ids = tuple(f"org/model-{number}" for number in range(4))
        slow = Slow()
        planned = make_plan(Options.of("demo_captions", checkpoints=ids, max_samples=40, estimators=("emms",),
                               encoders=("emms-demo/encoder-minilm-static",)), slow)
        repos = [checkpoint.repo for checkpoint in planned.checkpoints if checkpoint.repo]
        errors = [row.checkpoint for row in execute_plan(planned).rows if row.error]
        print(json.dumps([[checkpoint.id for checkpoint in planned.checkpoints], slow.seen, errors]))
        """
    ids, seen, errors = run_client(hub, code, tmp_path)
    assert not together.broken  # three requests waited for each other
    assert ids == [f"org/model-{number}" for number in range(4)]
    assert (seen, errors) == ([True, True, True], ["org/model-2"])
