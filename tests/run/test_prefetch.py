"""Test that checkpoints are resolved in parallel and downloaded ahead, in order."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hf_emms.errors import EmmsError
from hf_emms.hub import CANCELLED, Repo
from hf_emms.presets import demo
from hf_emms.run.engines.local import Prefetch
from tests.helpers.waiting import PATIENCE, eventually
from tests.hub import Hub
from tests.hub.fixtures import run_client

REPOS = [Repo(f"org/model-{number}", "model", "0" * 40) for number in range(6)]


def test_prefetch_downloads_a_limited_number_ahead() -> None:
    brought: dict[Repo, int] = {}
    with Prefetch(REPOS, lambda repo: brought.update({repo: threading.get_ident()})) as prefetch:
        for place, repo in enumerate(REPOS):
            eventually(lambda place=place: len(brought) == min(place + 2, len(REPOS)))
            time.sleep(0.05)
            assert list(brought) == REPOS[: place + 2]
            prefetch.wait_for(repo)
    assert len(set(brought.values())) == 1  # one after the other


def test_an_error_of_prefetch_is_raised_in_its_turn() -> None:
    def bring(repo: Repo) -> None:
        if repo is REPOS[1]:
            raise EmmsError("broken")

    with Prefetch(REPOS[:3], bring) as prefetch:
        prefetch.wait_for(REPOS[0])
        with pytest.raises(EmmsError, match="broken"):
            prefetch.wait_for(REPOS[1])
        prefetch.wait_for(REPOS[2])


def test_waiting_is_reported_and_local_folders_do_not_wait(tmp_path: Path) -> None:
    local = Repo("./folder", "model", "local-0", tmp_path)
    slow, told = threading.Event(), []
    with Prefetch([local, REPOS[0]], lambda repo: slow.wait() and None, told.append) as prefetch:
        prefetch.wait_for(local)
        threading.Timer(1.5, slow.set).start()
        prefetch.wait_for(REPOS[0])
    assert told == ["org/model-0"]


def test_leaving_the_block_cancels_downloads() -> None:
    called_off: list[threading.Event | None] = []
    with Prefetch(REPOS, lambda repo: called_off.append(CANCELLED.get())):
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
        from hf_emms.run.rank import execute_plan
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
        planned = make_plan(Options("demo_captions", ids, max_samples=40, estimators=("emms",),
                               encoders=("emms-demo/encoder-minilm-static",)), slow)
        repos = [candidate.repo for candidate in planned.candidates if candidate.repo]
        errors = [row.checkpoint for row in execute_plan(planned).rows if row.error]
        print(json.dumps([[candidate.id for candidate in planned.candidates], slow.seen, errors]))
        """
    ids, seen, errors = run_client(hub, code, tmp_path)
    assert not together.broken  # three requests waited for each other
    assert ids == [f"org/model-{number}" for number in range(4)]
    assert (seen, errors) == ([True, True, True], ["org/model-2"])
