"""How much a race loads and keeps: each checkpoint once, and never more than a bound of weights that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.features.extractor import Extractor, ExtractorPool
from hf_emms.inputs import InputKind
from hf_emms.ranking.progress import Silent
from hf_emms.run.engines import extraction
from tests.helpers.counting import counted_calls
from tests.helpers.extracting import load_repo
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of

ENCODER = "emms-demo/encoder-minilm-static"
GLOSSES = "demo_glosses"


class Fed(Silent):
    """Keeps how many inputs each checkpoint is given a round, and notes."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def noted(self, message: str) -> None:
        self.notes.append(message)

    def started(self, checkpoint: str, inputs: int) -> None:
        self.rounds.setdefault(checkpoint, []).append(inputs)


def test_a_race_loads_each_checkpoint_once_and_who_is_left_sees_the_rest_at_once() -> None:
    fed = Fed()
    with counted_calls(InputKind.load_extractor, lambda frame: frame.f_locals["plan"].repo.id) as loads:
        options = {"encoders": ENCODER, "estimators": "emms", "cache": False}
        ranking = hf_emms.rank(GLOSSES, race=2, progress=fed, **options)  # type: ignore[arg-type]
    assert Counter(loads) == Counter([ENCODER, *(row.checkpoint for row in ranking.rows)])
    best = [row for row in ranking.rows if row.n is None]
    assert len(best) == 2  # else this dataset no longer tells what is to be seen here
    assert all(len(fed.rounds[row.checkpoint]) < 5 for row in best)  # 125, 250, 500, 1,000 and 2,000 glosses
    assert all(sum(fed.rounds[row.checkpoint]) == ranking.n for row in best)


def test_as_many_checkpoints_as_may_win_are_run_whole() -> None:
    fed = Fed()
    names = ("emms-demo/bert-distilled", "emms-demo/bert-random")
    hf_emms.rank(GLOSSES, names, race=2, max_samples=400, encoders=ENCODER, cache=False, progress=fed)
    assert fed.rounds == {name: [400] for name in names}


def test_what_a_race_says_of_cut_texts_is_true_of_all_rounds(tmp_path: Path) -> None:
    names = [str(build(tmp_path, "bert")), "emms-demo/bert-distilled", "emms-demo/bert-random"]
    options = {"encoders": ENCODER, "estimators": "emms", "cache": False, "max_samples": 800}
    full = hf_emms.rank(GLOSSES, names, **options)  # type: ignore[arg-type]
    race = hf_emms.rank(GLOSSES, names, race=2, **options)  # type: ignore[arg-type]
    (cut,) = (note for note in full.row(names[0]).notes if "cut" in note)
    assert race.row(names[0]).n is None
    assert cut in race.row(names[0]).notes


@pytest.mark.parametrize("race", [None, 1])
def test_scoring_that_takes_much_memory_is_noted_once_for_each_checkpoint(
    monkeypatch: pytest.MonkeyPatch, race: int | None
) -> None:
    names, fed = ("emms-demo/bert-distilled", "emms-demo/bert-random"), Fed()
    options = {"max_samples": 400, "encoders": ENCODER, "estimators": "emms", "cache": False, "layers": "last"}
    hf_emms.rank(GLOSSES, names, race=race, progress=fed, **options)  # type: ignore[arg-type]
    assert not [note for note in fed.notes if ": scoring " in note]
    monkeypatch.setattr(extraction, "NOTED_BYTES", 0)
    hf_emms.rank(GLOSSES, names, race=race, progress=fed, **options)  # type: ignore[arg-type]
    noted = [note.partition(": scoring ") for note in fed.notes]
    assert sorted(name for name, scoring, _ in noted if scoring) == [*names]


# ---- what waits for the next round ------------------------------------------------------------------------------


@pytest.fixture
def extractors(tmp_path: Path) -> Iterator[dict[str, Extractor]]:
    repo = repo_of(build(tmp_path, "bert"))
    made = {name: load_repo(repo, "text") for name in "abc"}
    yield made
    for extractor in made.values():
        extractor.close()


def lend(loaded: ExtractorPool, name: str, extractors: dict[str, Extractor]) -> None:
    with loaded.use(name, lambda: extractors[name]) as lent:
        assert lent is extractors[name]


def waits(extractor: Extractor) -> bool:
    """Whether it can still be run."""
    try:
        return len(list(extractor.batches(TEXTS[:1]))) == 1
    except EmmsError:
        return False


def test_the_first_that_fit_wait_and_the_others_are_closed(extractors: dict[str, Extractor]) -> None:
    each = extractors["a"].weight_bytes
    loaded = ExtractorPool(2 * each)
    for name in "abc":
        lend(loaded, name, extractors)
    loaded.retain(["c", "a", "b"])
    assert {name: waits(extractor) for name, extractor in extractors.items()} == {"a": True, "b": False, "c": True}
    loaded.retain(["c"])
    assert not waits(extractors["a"])
    with loaded.use("c", lambda: pytest.fail("loaded again")):
        pass
    loaded.close()
    assert not waits(extractors["c"])


def test_one_that_fails_does_not_wait(extractors: dict[str, Extractor]) -> None:
    loaded = ExtractorPool()
    with pytest.raises(EmmsError, match="an odd input"), loaded.use("a", lambda: extractors["a"]):
        raise EmmsError("an odd input")
    assert not waits(extractors["a"])
    lend(loaded, "b", extractors)
    with loaded.use("a", lambda: extractors["c"]) as lent:
        assert lent is extractors["c"]
