"""Test that a run needs only the memory of its largest checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from tests.helpers.tiny_checkpoints import tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc"),
]

# Prints JSON: MB resident at most while each of two things is done, in one process that imports once.
# Not the system's ru_maxrss, which starts at the memory of the process that started this one.
PROGRAM = """
import json, sys
from pathlib import Path
import hf_emms

def peak(checkpoints):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident
    rank(checkpoints)
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

def rank(checkpoints):
    ranking = hf_emms.rank("demo_glosses", checkpoints, encoders="emms-demo/encoder-minilm-static",
                           estimators="emms", max_samples=20, cache=False, device="cpu")
    assert [row.error for row in ranking.rows] == [None] * len(checkpoints), ranking.rows

checkpoints = sys.argv[1:]
largest = checkpoints[2:3]
rank(largest)
print(json.dumps([peak(largest), peak(checkpoints)]))
"""
LARGEST, SMALLER = 1_700, 1_200  # width of the inner layers: 114 and 95 MB of weights
MARGIN = 80  # MB that a run may need in addition to its largest checkpoint, however many checkpoints it has


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


def test_four_checkpoints_need_the_memory_of_the_largest(tmp_path: Path) -> None:
    checkpoints = [checkpoint(tmp_path / f"model-{i}", LARGEST if i == 2 else SMALLER) for i in range(4)]
    command = [sys.executable, "-c", PROGRAM, *checkpoints]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, together = json.loads(done.stdout.splitlines()[-1])
    assert together < alone + MARGIN
