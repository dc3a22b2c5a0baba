"""The same fine-tuning gives the same digits in processes with different hash seeds, whose sets have other orders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from hf_emms.ranking import Ranking
from tests import ROOT
from tests.finetune.make import PAIR_COLUMNS, colours, pairs, ranking, save
from tests.finetune.test_response_scorer import rows as prompts
from tests.finetune.test_search import searches
from tests.finetune.test_transcripts import rows as transcripts
from tests.helpers.sound import sound_checkpoint
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer

# Ranks again and confirms each ranking of a folder; prints what was measured, and the digest of the saved weights.
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


def _spans(count: int) -> datasets.Dataset:
    fruit = ["apple", "boats", "cat", "children", "dog"]
    contexts = [f"the road near the mat a red {fruit[row % 5]} on a road {row}" for row in range(count)]
    answers = [
        {"text": [fruit[row % 5]], "answer_start": [context.index("red ") + 4]} for row, context in enumerate(contexts)
    ]
    questions = [f"what is red in {row}" for row in range(count)]
    return datasets.Dataset.from_dict({"question": questions, "context": contexts, "answers": answers})


def _words(count: int) -> datasets.Dataset:
    tokens = [["the", "cat", "near", ["harbour", "mountain"][row % 2], str(row)] for row in range(count)]
    tags = [["O", "O", "O", ["B-PLACE", "O"][row % 2], "O"] for row in range(count)]
    return datasets.Dataset.from_dict({"tokens": tokens, "ner_tags": tags})


def _glosses(count: int) -> datasets.Dataset:
    texts = [f"the {'cat' if row % 2 else 'dog'} on the road {row}" for row in range(count)]
    return datasets.Dataset.from_dict({"text": texts, "label": ["cat" if row % 2 else "dog" for row in range(count)]})


def _captions(count: int) -> datasets.Dataset:
    texts = ["a red apple on the mat" if row % 2 else "the small cat near a dog" for row in range(count)]
    return colours(count).remove_columns("label").add_column("text", texts)


# Name → task, columns, data, and the checkpoint: one for each head, whose training needs random numbers.
HEADS: dict[str, tuple[str, dict[str, str], Callable[[int], datasets.Dataset], Callable[[Path], Path]]] = {
    "row": ("text-classification", {"text": "text", "label": "label"}, _glosses, lambda zoo: build(zoo, "bert")),
    "row-of-two": (
        "text-classification",
        {"text": "text", "label": "label"},
        _glosses,
        lambda zoo: build(zoo, "roberta"),
    ),
    "row-of-ours": (
        "image-classification",
        {"image": "image", "label": "label"},
        colours,
        lambda zoo: build(zoo, "clip"),
    ),
    "embedding": ("sentence-similarity", PAIR_COLUMNS, pairs, lambda zoo: build(zoo, "bert")),
    "search": ("text-retrieval", {"query": "query", "document": "positive"}, searches, lambda zoo: build(zoo, "bert")),
    "spans": ("question-answering", {"answer": "answers.text"}, _spans, lambda zoo: build(zoo, "bert")),
    "words": ("token-classification", {"tokens": "tokens", "tags": "ner_tags"}, _words, lambda zoo: build(zoo, "bert")),
    "caption": ("image-to-text", {"image": "image", "text": "text"}, _captions, lambda zoo: build(zoo, "resnet")),
    "response": (
        "text-generation",
        {"prompt": "question", "response": "answer"},
        prompts,
        lambda zoo: writer(zoo, "gpt2"),
    ),
    "transcript": (
        "automatic-speech-recognition",
        {"audio": "audio", "text": "text"},
        transcripts,
        lambda zoo: sound_checkpoint(zoo, "wav2vec2"),
    ),
}


@pytest.fixture(scope="module")
def rankings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ranking for each head."""
    root = tmp_path_factory.mktemp("hash-seeds")
    (root / "rankings").mkdir()
    for name, (task, columns, data, checkpoint) in HEADS.items():
        folder = save(data(40), root / "data" / name)
        made: Ranking = ranking(folder, task, columns, {str(checkpoint(root / "zoo")): -0.1})
        made.save(root / "rankings" / f"{name}.json")
    return root / "rankings"


@pytest.mark.slow
def test_scores_and_confirmations_do_not_depend_on_the_hash_seed(rankings: Path, tmp_path: Path) -> None:
    printed = {}
    for seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HF_EMMS_CACHE": str(tmp_path / f"cache-{seed}")}
        command = [sys.executable, "-c", CONFIRM, str(rankings), str(tmp_path / f"kept-{seed}")]
        child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert child.returncode == 0, child.stderr
        printed[seed] = child.stdout.splitlines()
        assert [line.partition(" ")[0] for line in printed[seed]] == sorted(HEADS, key="{}.json".format)
    for line in np.array(list(printed.values())).T:
        assert len(set(line.tolist())) == 1, line[0].partition(" ")[0]
