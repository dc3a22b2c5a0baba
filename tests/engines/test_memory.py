"""Memory of a run, as the system counts it: that of the largest checkpoint, and of what a race lets wait."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from tests.helpers.tiny_checkpoints import tokenizer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")

# Not the system's ru_maxrss, which starts at the memory of the process that started this one.
PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return int(status.read().partition("VmHWM:")[2].split()[0]) / 1024
"""

RUN = """
import json, sys
import hf_emms
ranking = hf_emms.rank("demo_glosses", sys.argv[1:], encoders="emms-demo/encoder-minilm-static", estimators="emms",
                       max_samples=20, cache=False, device="cpu")
errors = [row.error for row in ranking.rows if row.error]
print(json.dumps([errors, peak()]))
"""
LARGEST, SMALLER = 1_700, 1_200  # width of the inner layers: 110 and 78 MB of weights
MEGABYTES = 80  # what a run may need beside its largest checkpoint, however many there are


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
    done = subprocess.run([sys.executable, "-c", PEAK + RUN, *checkpoints], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors, megabytes = json.loads(done.stdout.splitlines()[-1])
    assert errors == []
    return megabytes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Four checkpoints, the third of which is the largest."""
    root = tmp_path_factory.mktemp("large")
    return [checkpoint(root / f"model-{i}", LARGEST if i == 2 else SMALLER) for i in range(4)]


def test_four_checkpoints_need_the_memory_of_the_largest(large: list[str]) -> None:
    assert peak_of(large) < peak_of(large[2:3]) + MEGABYTES


KEEP = """
import json, sys
from pathlib import Path
from hf_emms.engines.race import ExtractorPool
from hf_emms.features.load import load_extractor
from hf_emms.hub import resolve
loaded = ExtractorPool(int(sys.argv[1]))
for name in sys.argv[2:]:
    load = lambda: load_extractor(resolve(name, "model"), "text", "text-classification", device="cpu")
    with loaded.use(name, load) as extractor:
        for _ in extractor.batches(["a text"] * 8):
            pass
        weights = extractor.weight_bytes / 2**20
    loaded.retain(sys.argv[2:])
print(json.dumps([weights, peak()]))
"""


def peak(most: int, checkpoints: list[str]) -> tuple[float, float]:
    """MB of the weights of the last one, and MB resident at most in a process that keeps so many bytes of them."""
    command = [sys.executable, "-c", PEAK + KEEP, str(most), *checkpoints]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    weights, resident = json.loads(done.stdout.splitlines()[-1])
    return weights, resident


def test_memory_is_that_of_the_largest_and_of_what_may_wait(large: list[str]) -> None:
    weights, alone = peak(0, large[2:3])
    assert 100 < weights < 250
    bound = int(2.5 * weights)
    _, resident = peak(bound * 2**20, large)
    assert alone + weights < resident < alone + bound + MEGABYTES  # two wait
