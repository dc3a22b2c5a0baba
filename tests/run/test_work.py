"""Test how much work a run does: forwards, decoded images, embedded label texts and multiplications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

import hf_emms
from hf_emms import score
from hf_emms.features import feature_spec
from hf_emms.inputs import image
from hf_emms.options import Options
from hf_emms.ranking.progress import Progress
from hf_emms.run.execute import execute_plan
from hf_emms.run.plan import make_plan
from hf_emms.scoring.cross_validation import _cholesky
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.sums import Sums
from tests.helpers.counting import counted_calls
from tests.helpers.extracting import load
from tests.helpers.tiny_checkpoints import TEXTS, build

# Three families with the same image processor.
CHECKPOINTS = ("emms-demo/resnet-distilled", "emms-demo/vit-drawings", "emms-demo/convnext-distilled-short")
ENCODER = "emms-demo/encoder-minilm-static"
PROBE = 1  # the input that tells a feature's width


@contextmanager
def counted_forwards() -> Iterator[Counter[str]]:
    """Rows that go through each family of models, by torch's own hooks."""
    rows: Counter[str] = Counter()
    running: list[PreTrainedModel] = []

    def before(module: torch.nn.Module, arguments: Any) -> None:
        if isinstance(module, PreTrainedModel):
            running.append(module)

    def after(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(module, PreTrainedModel):
            running.pop()
            if not running:  # some families have such models inside them
                rows[module.config.model_type] += len(output.last_hidden_state)

    handles = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def ranked(checkpoints: tuple[str, ...] = CHECKPOINTS, **options: Any) -> Any:
    return hf_emms.rank("demo_captions", checkpoints, encoders=ENCODER, max_samples=60, **options)


def test_each_input_and_label_text_is_computed_once(emms_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: Counter[str] = Counter()
    read = feature_spec._architecture

    def counted(repo: Any, *arguments: Any, **options: Any) -> Any:
        planned[repo.id] += 1
        return read(repo, *arguments, **options)

    monkeypatch.setattr(feature_spec, "_architecture", counted)  # in several threads
    with counted_forwards() as rows:
        first = ranked(estimators="emms")
        assert planned == dict.fromkeys((*CHECKPOINTS, ENCODER), 1)  # how features are made is decided once
        assert rows == dict.fromkeys(("resnet", "vit", "convnext"), first.n_inputs + PROBE) | {
            "bert": first.n_labels + PROBE
        }
        rows.clear()
        ranked(estimators="emms")
        assert not rows  # the rows of the ranking are kept
        ranked(estimators=("emms", "logme", "knn"))
        assert not rows  # the features are
        ranked(("emms-demo/regnet-random",), estimators="emms")
        assert rows == {"regnet": first.n_inputs + PROBE}  # and the label embeddings, for other checkpoints too


@pytest.mark.parametrize("processors", [1, 2])
def test_images_are_decoded_once_per_processor(
    emms_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    decoded: list[int] = []
    as_rgb = image.as_rgb
    names = CHECKPOINTS[:2] if processors == 1 else (*CHECKPOINTS, str(build(tmp_path, "vit")))
    planned = make_plan(
        Options.of("demo_captions", checkpoints=names, encoders=(ENCODER,), estimators=("emms",)), Progress()
    )
    monkeypatch.setattr(image, "as_rgb", lambda picture: decoded.append(1) or as_rgb(picture))
    inputs = planned.sample.inputs
    rows = execute_plan(planned).rows
    assert [row.error for row in rows] == [None] * len(names)
    most = processors * len(inputs) + len(rows) * PROBE
    assert len(decoded) == most


def test_sorted_batches_contain_little_padding(tmp_path: Path) -> None:
    """Sorting leaves little padding: counted are the multiplications of every matrix product of the model."""
    words = TEXTS[2].split()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size)) for size in np.clip(rng.lognormal(2, 0.7, 150), 1, 30).astype(int)]
    extractor = load(build(tmp_path, "bert"), "text")

    def multiplications(batch_size: int | None) -> int:
        with FlopCounterMode(display=False) as counter:
            assert sum(len(rows) for _, rows in extractor.batches(texts, batch_size=batch_size)) == len(texts)
        return counter.get_total_flops()

    assert multiplications(None) < 1.1 * multiplications(1)  # unsorted batches take twice as many


def test_rows_are_multiplied_once_in_large_blocks() -> None:
    moments, rows = Moments(16, [8]), 10_000
    values = np.random.default_rng(0).normal(size=(rows, 24)).astype(np.float32)
    with counted_calls(Sums.add_rows, lambda frame: len(frame.f_locals["rows"])) as sizes:
        for start in range(0, rows, 8):
            batch = values[start : start + 8]
            moments.update(batch[:, :16], batch[:, 16:], groups=range(start, start + len(batch)))
        moments.sums()
        moments.sums()
    assert sum(sizes) == rows
    assert len(sizes) <= rows / moments.capacity + 1


def test_the_ridge_search_factorises_few_matrices() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_300, 520)).astype(np.float32)
    z = x[:, :30] + 5 * rng.normal(size=(1_300, 30)).astype(np.float32)
    with counted_calls(_cholesky, lambda frame: 1) as factors:
        score(x, z, estimator="emms")
    search = 5 + 2 * 2  # ridges that the first fold tries, and two more folds at the best one and next to it
    assert len(factors) <= search + 5
