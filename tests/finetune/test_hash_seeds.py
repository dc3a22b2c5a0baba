"""Fine-tuning returns equal results in processes with different hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from tests.finetune.make import ranking, save
from tests.finetune.task_rows import KINDS, Kind
from tests.finetune.test_response_scorer import rows as prompts
from tests.finetune.test_search import COLUMNS, searches
from tests.finetune.test_transcripts import transcripts
from tests.helpers.sound import sound_checkpoint
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer

# Ranks again and confirms each ranking of a folder; prints the results and the digest of the saved weights.
CONFIRM = """
import hashlib, json, sys
from pathlib import Path

import msgspec

import hf_emms

for path in sorted(Path(sys.argv[1]).glob("*.json")):
    kept = Path(sys.argv[2]) / path.stem
    ranking = hf_emms.Ranking.load(path)
    again = hf_emms.rank(
        ranking.dataset, ranking.rows[0].checkpoint, task=ranking.task, columns=ranking.columns, encoders="demo",
        device="cpu",
    )
    confirmed = hf_emms.confirm(
        ranking, top=1, epochs=1, learning_rates=["0.01"], batch_size=8, save_model=str(kept), device="cpu"
    )
    result = msgspec.to_builtins(confirmed.rows[0].fine_tuned)
    for run in result["runs"]:
        del run["seconds"]
    weights = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(kept.glob("*.safetensors"))]
    print(path.stem, json.dumps([msgspec.to_builtins(again.rows[0].scores), result, weights]))
"""


def bert(zoo: Path) -> Path:
    return build(zoo, "bert")


# Name → rows and checkpoint, for each head whose training uses random numbers.
HEADS: dict[str, tuple[Kind, Callable[[Path], Path]]] = {
    "row": (KINDS["classes"], bert),
    "row-of-two": (KINDS["classes"], lambda zoo: build(zoo, "roberta")),
    "row-of-ours": (KINDS["colours"], lambda zoo: build(zoo, "clip")),
    "embedding": (KINDS["similarity"], bert),
    "search": (Kind("text-retrieval", searches, (), COLUMNS), bert),
    "spans": (KINDS["answers"], bert),
    "words": (KINDS["tags"], bert),
    "caption": (KINDS["captions"], lambda zoo: build(zoo, "resnet")),
    "response": (Kind("text-generation", prompts, ()), lambda zoo: writer(zoo, "gpt2")),
    "transcript": (
        Kind("automatic-speech-recognition", transcripts, ()),
        lambda zoo: sound_checkpoint(zoo, "wav2vec2"),
    ),
}


@pytest.mark.slow
def test_scores_and_confirmations_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "rankings").mkdir()
    for name, (kind, checkpoint) in HEADS.items():
        folder = save(kind.rows(40), tmp_path / "data" / name)
        made = ranking(folder, kind.task, kind.columns, {str(checkpoint(tmp_path / "zoo")): -0.1})
        made.save(tmp_path / "rankings" / f"{name}.json")
    printed = {}
    for seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HF_EMMS_CACHE": str(tmp_path / f"cache-{seed}")}
        command = [sys.executable, "-c", CONFIRM, str(tmp_path / "rankings"), str(tmp_path / f"kept-{seed}")]
        child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert child.returncode == 0, child.stderr
        printed[seed] = child.stdout.splitlines()
        assert [line.partition(" ")[0] for line in printed[seed]] == sorted(HEADS, key="{}.json".format)
    for line in np.array(list(printed.values())).T:
        assert len(set(line.tolist())) == 1, line[0].partition(" ")[0]
