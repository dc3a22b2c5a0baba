"""The pools of micro checkpoints: an interrupted run continues, and the funnel is replayed as `recommend` runs it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.demo import sources, texts
from scripts.demo.training import NO_DROPOUT, new_model, transformer
from scripts.quality.funnel_checkpoints import Modality
from scripts.quality.funnel_pool import FunnelPool
from scripts.quality.funnel_report import Measured, by_prior
from scripts.quality.rows import Split


def pool(file: Path, last_use: int | None) -> FunnelPool:
    """A pool of random text checkpoints on two targets, which is interrupted when it makes a checkpoint or a target."""
    uses = itertools.count(1)

    def use(*_: object) -> None:
        if next(uses) == last_use:
            raise KeyboardInterrupt

    def table() -> dict[str, Split]:
        use()
        words = ["a dog that barks", "a plant with leaves"]
        rows = {"train": range(60), "validation": range(60, 80), "test": range(80, 110)}
        return {
            name: Split({"text": [f"{words[n % 2]} {n}" for n in places], "label": [n % 2 for n in places]}, ("a", "b"))
            for name, places in rows.items()
        }

    def build(size: int) -> object:
        shape = transformer(8 * size, 1, vocab_size=texts.VOCABULARY, max_position_embeddings=64, **NO_DROPOUT)
        return new_model("bert", shape, add_pooling_layer=False)

    def save_tokenizer(folder: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(sources.DEMO / "checkpoints" / "bert-random" / name, folder)

    modality = Modality("text", {"bert": (build, 1e-3)}, {"nothing": lambda: ((), None)}, use, save_tokenizer)
    return FunnelPool(modality, {"kinds": ("dev", table), "more": ("held", table)}, file)


@pytest.mark.slow
def test_a_pool_continues_after_interruptions_on_other_machines_with_the_same_results(tmp_path, monkeypatch):
    def run(file: Path, *last_uses: int | None) -> str:
        for number, last_use in enumerate(last_uses):
            folder = tmp_path / f"{file.stem}-{number}"
            monkeypatch.setenv("HF_EMMS_QUALITY", str(folder))
            monkeypatch.setenv("HF_EMMS_CACHE", str(folder / "cache"))
            of_machine = pool(file, last_use)
            names = of_machine.modality.names()[:2]
            if last_use is None:
                of_machine.run(names)
            else:
                with pytest.raises(KeyboardInterrupt):
                    of_machine.run(names)
        assert [*of_machine.read()["checkpoints"]] == names
        return file.read_text(encoding="utf-8")

    # after the choice of the rate, and after the first checkpoint
    interrupted = run(tmp_path / "interrupted.json", 4, 4, None)
    assert interrupted == run(tmp_path / "whole.json", None)


def test_the_funnel_counts_row_passes_and_picks_among_those_that_may_be_the_best():
    few, every, tests = [0.9, 0.8, 0.79, 0.1], [0.5, 0.6, 0.7, 0.9], [90.0, 70.0, 80.0, 95.0]
    record = {
        str(place): {
            "targets": {
                "t": {
                    "rows": 1_000,
                    "scores": {"300": {"emms_knn": few[place]}, "all": {"emms_knn": every[place]}},
                    "folds": [few[place] - 0.02 * (place == 2), few[place] + 0.02 * (place == 2)],
                    "runs": [[1e-3, 0, 50.0, tests[place]]],
                }
            }
        }
        for place in range(4)
    }
    target = Measured("t", "held", record, np.array([4.0, 3.0, 2.0, 1.0]))
    assert target.funnel(np.array([3, 0, 1, 2])) == (15.0, 4 * 300 + 3 * 1_000)
    assert target.funnel(np.array([0, 1])) == (25.0, 2 * 300 + 2 * 1_000)
    assert target.lost([0, 1]) == 5.0


def test_one_candidate_in_five_is_drawn_at_random_and_the_others_are_first_by_the_prior():
    target = Measured("t", "held", {}, -np.arange(50.0))
    orders = [by_prior(target, np.random.default_rng(seed)) for seed in range(20)]
    assert all(sorted(order) == [*range(50)] for order in orders)
    assert all(np.isin(range(8), order[:10]).all() for order in orders)
    assert len({order[4] for order in orders}) > 10
    assert [*by_prior(target, np.random.default_rng(0), drawn=False)] == [*range(50)]
