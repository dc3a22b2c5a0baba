"""Memory of a run, as the system counts it: of many checkpoints, that of the largest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from tiny_checkpoints import tokenizer

RUN = """
import json, resource, sys
import hf_emms
ranking = hf_emms.rank("demo_glosses", sys.argv[1:], encoders="emms-demo/encoder-minilm-static", estimators="emms",
                       max_samples=60, cache=False, device="cpu")
errors = [row.error for row in ranking.rows if row.error]
print(json.dumps([errors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
LARGEST, SMALLER = 1_700, 1_200  # width of the inner layers: 110 and 78 MB of weights
MEGABYTES = 60  # what a run may need beside its largest checkpoint, however many there are


def checkpoint(folder: Path, inner: int) -> str:
    config = transformers.BertConfig(
        vocab_size=400,
        hidden_size=768,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=inner,
        max_position_embeddings=64,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer("bert").save_pretrained(folder)
    return str(folder)


def peak_of(checkpoints: list[str]) -> float:
    """MB resident at most in a process of its own that ranks these."""
    done = subprocess.run([sys.executable, "-c", RUN, *checkpoints], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors, megabytes = json.loads(done.stdout.splitlines()[-1])
    assert errors == []
    return megabytes


def test_six_checkpoints_need_the_memory_of_the_largest(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("large")
    names = [checkpoint(root / f"model-{i}", LARGEST if i == 2 else SMALLER) for i in range(6)]
    assert peak_of(names) < peak_of(names[2:3]) + MEGABYTES
