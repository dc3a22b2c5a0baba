"""Run the example of docs/trainer.md unchanged, on a tiny model."""

import re

import evaluate
import numpy as np
import pytest

from tests import ROOT

pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate: pip install accelerate")

DOCUMENT = ROOT / "docs" / "trainer.md"
CLASS_NAMES = ["cat", "dog", "bird"]


def samples(rows, seed):
    """Token ids that tell the class, in the form that a Trainer takes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    tokens = rng.integers(3, 40, (rows, 6))
    tokens[:, 1:4] = 40 + labels[:, None]
    return [{"input_ids": ids.tolist(), "labels": int(label)} for ids, label in zip(tokens, labels, strict=True)]


def test_the_documented_example_logs_scores(tmp_path, monkeypatch):
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    names = {
        "model": BertForSequenceClassification(config),
        "train_set": samples(96, 0),
        "eval_set": samples(90, 1),
        "class_names": CLASS_NAMES,
        "output_folder": str(tmp_path / "run"),
    }
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec("\n".join(blocks), names)

    scores = names["scores"]
    assert len(scores) == 3
    assert all(-1 < score <= 0 for score in scores)
    logged = [entry for entry in names["trainer"].state.log_history if "eval_emms" in entry]
    assert logged
    assert all({"eval_accuracy", "eval_emms_stderr", "eval_emms_r2"} <= set(entry) for entry in logged)
    # The tokens of the class are in every sample, so even untrained features know something of it.
    assert logged[0]["eval_emms_r2"] > 0.1
