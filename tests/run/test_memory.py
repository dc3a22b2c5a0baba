"""Memory of a run, as the system counts it: that of the largest checkpoint, and of what a race lets wait."""

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

# Prints JSON: MB resident at most while each of several things is done, all in one process that imports once.
# Not the system's ru_maxrss, which starts at the memory of the process that started this one.
PROGRAM = """
import json, sys
from pathlib import Path
import hf_emms
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.extractor import ExtractorPool
from hf_emms.hub import resolve
from hf_emms.inputs import TEXT

def peak(act, *arguments):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident
    act(*arguments)
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

def rank(checkpoints):
    ranking = hf_emms.rank("demo_glosses", checkpoints, encoders="emms-demo/encoder-minilm-static",
                           estimators="emms", max_samples=20, cache=False, device="cpu")
    assert [row.error for row in ranking.rows] == [None] * len(checkpoints), ranking.rows

def extract(most, checkpoints):
    pool = ExtractorPool(most)
    for name in checkpoints:
        plan = plan_extraction(resolve(name, "model"), TEXT, "test")
        load = lambda: TEXT.load_extractor(plan, device="cpu")
        with pool.use(name, load) as extractor:
            for _ in extractor.batches(["a text"] * 8):
                pass
        pool.retain(checkpoints)

checkpoints = sys.argv[1:]
largest = checkpoints[2:3]
weights = Path(*largest, "model.safetensors").stat().st_size / 2**20
bound = 2.5 * weights
rank(largest)
print(json.dumps({
    "weights": weights,
    "bound": bound,
    "ranked alone": peak(rank, largest),
    "ranked together": peak(rank, checkpoints),
    "extracted alone": peak(extract, 0, largest),
    "extracted together": peak(extract, int(bound * 2**20), checkpoints),
}))
"""
LARGEST, SMALLER = 1_700, 1_200  # width of the inner layers: 114 and 95 MB of weights
MARGIN = 80  # MB that a run may need beside its largest checkpoint, however many there are


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


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """MB, see `PROGRAM`; the third of four checkpoints is the largest."""
    root = tmp_path_factory.mktemp("large")
    checkpoints = [checkpoint(root / f"model-{i}", LARGEST if i == 2 else SMALLER) for i in range(4)]
    command = [sys.executable, "-c", PROGRAM, *checkpoints]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_four_checkpoints_need_the_memory_of_the_largest(peaks: dict[str, float]) -> None:
    assert peaks["ranked together"] < peaks["ranked alone"] + MARGIN


def test_memory_is_that_of_the_largest_and_of_what_may_wait(peaks: dict[str, float]) -> None:
    alone = peaks["extracted alone"]
    assert 100 < peaks["weights"] < 250
    assert alone + peaks["weights"] < peaks["extracted together"] < alone + peaks["bound"] + MARGIN  # two wait
