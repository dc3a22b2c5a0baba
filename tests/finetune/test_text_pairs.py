"""Fine-tuning for two texts: the pair classifier and regressor of transformers, or a head of ours."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

import hf_emms
from hf_emms.tasks.text_pair_classification import pair_metrics
from tests.finetune.make import FAST, ranking, save
from tests.helpers.tiny_checkpoints import build

WORDS = ["apple", "boats", "cat", "children", "dog", "harbour", "mat", "mountain", "pie", "rain"]


def pairs(count: int) -> datasets.Dataset:
    """Sentences about the same thing or not, and how alike they are."""
    rows = range(count)
    same = [row % 2 for row in rows]
    return datasets.Dataset.from_dict(
        {
            "premise": [f"a red {WORDS[row % 10]} on road {row}" for row in rows],
            "hypothesis": [
                f"the {WORDS[(row + 3 * (1 - is_same)) % 10]}" for row, is_same in zip(rows, same, strict=True)
            ],
            "label": ["entailment" if is_same else "neutral" for is_same in same],
            "score": [2.5 * is_same + row % 3 for row, is_same in zip(rows, same, strict=True)],
        }
    )


@pytest.mark.parametrize("task", ["text-pair-classification", "sentence-similarity"])
def test_both_texts_are_read_by_what_is_trained(task: str, zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    columns = {"text": "premise", "text_pair": "hypothesis", "label": "score" if task[0] == "s" else "label"}
    folders = [build(zoo, name) for name in ("bert", "gpt2", "mpnet")]
    rows = ranking(save(pairs(60), tmp_path / "data"), task, columns, dict.fromkeys(map(str, folders), -0.1))
    kept = tmp_path / "kept"
    confirmed = hf_emms.confirm(rows, top=3, save_model=str(kept), **FAST)
    results = [row.fine_tuned for row in confirmed.rows]
    assert [result and result.error for result in results] == [None] * 3
    expected = {"accuracy", "macro F1"} if task[0] == "t" else {"Spearman"}
    assert all(set(result.scores) == expected for result in results if result)
    tag = "text-classification" if task[0] == "t" else "sentence-similarity"
    assert f"pipeline_tag: {tag}" in (kept / "README.md").read_text()


def test_of_duplicates_that_are_rare_the_first_score_is_their_f1() -> None:
    rare = ["1"] * 3 + ["0"] * 7
    first, second = pair_metrics(rare)
    assert (first.name, second.name) == ("F1 of 1", "accuracy")
    assert first.compute(["1"] * 2 + ["0"] * 7 + ["1"], rare) == pytest.approx(2 / 3)
    assert first.compute(["0"] * 10, rare) == 0
    assert pair_metrics(["1", "0"])[0].name == pair_metrics(["a", "b", "c", "c", "c"])[0].name == "accuracy"
