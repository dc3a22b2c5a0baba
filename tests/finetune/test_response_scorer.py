"""Language models: the bits of their responses, short runs, and the ranking by these."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import tokenizers
import torch
import transformers

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.checkpoint_scorers import CheckpointScorers
from hf_emms.finetune.recipe import short_recipe
from hf_emms.finetune.response_scorer import ResponseScorer
from hf_emms.inputs import PROMPT
from hf_emms.options import Options, RunOptions
from hf_emms.publish.card_text import card
from hf_emms.ranking.progress import Progress
from hf_emms.run.plan import make_plan
from tests.finetune.make import poisoned
from tests.helpers.errors import raises_code
from tests.helpers.samples import load_sample
from tests.helpers.tiny_checkpoints import build, repo_of
from tests.helpers.tiny_writers import CHAT_TEMPLATE, writer

WORDS = ["apple", "pie", "cat", "dog", "mat", "rain", "road", "boats"]


def rows(count: int = 60) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    questions = [" ".join(rng.choice(WORDS, 4)) + f" {i}" for i in range(count)]
    answers = ["red " + " ".join(question.split()[:3]) for question in questions]  # free texts that rarely repeat
    return datasets.Dataset.from_dict({"question": questions, "answer": answers})


def response_scorer(folder: Path, data: Any = None, **options: Any) -> ResponseScorer:
    sample = load_sample(rows() if data is None else data)
    extraction = make_feature_spec(repo_of(folder), PROMPT, "text-generation")
    return ResponseScorer(extraction, sample, RunOptions(device="cpu", **options), 0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bart"])
def test_bits_equal_the_models_loss_for_any_batch_size(zoo: Path, name: str) -> None:
    folder = writer(zoo, name)
    checkpoint = response_scorer(folder)
    together = checkpoint.bits(np.arange(20))
    np.testing.assert_allclose(np.concatenate([checkpoint.bits(np.array([i])) for i in range(5)]), together[:5], 1e-4)
    sample = checkpoint._sample
    text = sample.label_texts[sample.codes[0]]
    assert (together.shape, together[0, 1]) == ((20, 2), len(text.encode()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = sample.inputs[0][0].text
    if name in ("gpt2", "llama"):
        loader = transformers.AutoModelForCausalLM
        start = tokenizer(f"{prompt}\n")["input_ids"][:-1]  # without the token that ends a text
        response = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids, labels = torch.tensor([start + response]), torch.tensor([[-100] * len(start) + response])
    else:
        loader = transformers.AutoModelForSeq2SeqLM
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        labels = torch.tensor([tokenizer(text_target=text)["input_ids"]])
    model = loader.from_pretrained(folder).eval()
    with torch.no_grad():
        loss = model(input_ids=ids, labels=labels).loss.item()
    n_tokens = int((labels != -100).sum())
    assert together[0, 0] == pytest.approx(loss * n_tokens / np.log(2), rel=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_a_short_run_lowers_the_bits_of_responses(zoo: Path, name: str) -> None:
    checkpoint = response_scorer(writer(zoo, name), rows(200))
    training, held_out = np.arange(150), np.arange(150, 200)
    before = checkpoint.bits(held_out)
    after = checkpoint.bits(held_out, training)
    assert after[:, 0].sum() < 0.9 * before[:, 0].sum()
    assert np.array_equal(after[:, 1], before[:, 1])
    assert any("150 rows, 57 steps of all weights" in str(note) for note in checkpoint.notes)
    # After training, it is measured again without training.
    np.testing.assert_allclose(checkpoint.bits(held_out[:9]), before[:9], 1e-4)


def test_each_batch_and_step_is_reported(zoo: Path) -> None:
    extraction = make_feature_spec(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    reports: list[int] = []
    scorers = CheckpointScorers(extraction, load_sample(rows(90)), RunOptions(device="cpu"), 0, reports.append)
    scorers.bits(np.arange(50, 90), np.arange(20))
    steps = short_recipe(1, 0).total_steps(20)
    assert reports == [0] * (steps + 2)  # and 40 responses in batches of 32


def test_split_steps_and_recomputed_activations_do_not_change_training(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, held_out = np.arange(40), np.arange(40, 60)
    answers = [f"{row} " + " ".join(WORDS[: 1 + row % 5]) for row in range(60)]  # of different lengths
    data = rows().remove_columns("answer").add_column("answer", answers)

    def trained(**limits: int) -> np.ndarray:
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*gradient_checkpointing_enable")
            for name, limit in limits.items():
                patch.setattr(f"hf_emms.heads.response.{name}", limit)
            return response_scorer(writer(zoo, "llama"), data).bits(held_out, training)

    whole = trained()
    # Not enough memory for the eight rows of a step.
    np.testing.assert_allclose(trained(MAX_LOGITS=3 * 400 * 20), whole, rtol=1e-4)
    np.testing.assert_allclose(trained(CHECKPOINTED_PARAMETERS=1), whole, rtol=1e-4)


def test_a_short_run_of_a_large_checkpoint_trains_an_adapter(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_emms.finetune.recipe._FULL_PARAMETERS", 0)
    monkeypatch.setattr("hf_emms.heads.response.CHECKPOINTED_PARAMETERS", 1)
    checkpoint, held_out = response_scorer(writer(zoo, "llama"), rows(200)), np.arange(150, 200)
    importlib.import_module("transformers.trainer")  # imports peft if it is installed
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        with raises_code("package-missing"):
            checkpoint.bits(held_out, np.arange(150))
    before = checkpoint.bits(held_out)
    assert checkpoint.bits(held_out, np.arange(150))[:, 0].sum() < 0.99 * before[:, 0].sum()
    assert any("57 steps of an adapter (LoRA)" in str(note) for note in checkpoint.notes)


def test_one_response_per_prompt_is_measured(zoo: Path) -> None:
    once = rows(48)
    others = once.map(lambda row: {"answer": f"{row['answer']} or more than that"})
    checkpoint = response_scorer(writer(zoo, "gpt2"), datasets.concatenate_datasets([once, others]))
    sample = checkpoint._sample
    assert len(sample) == 48
    bits = checkpoint.bits(np.arange(32, 48), np.arange(32))
    responses = [{len(text.encode()) for text in sample.texts_of(code)} for code in sample.codes[32:].tolist()]
    assert all(n_bytes in lengths for n_bytes, lengths in zip(bits[:, 1], responses, strict=True))
    assert {max(lengths) == n_bytes for n_bytes, lengths in zip(bits[:, 1], responses, strict=True)} == {True, False}
    assert any("32 rows, 12 steps" in str(note) for note in checkpoint.notes)


def test_prompts_leave_room_for_responses(zoo: Path) -> None:
    words = " ".join(["the small dog sits on a mat"] * 20)
    both = rows().add_item({"question": "the cat", "answer": words}).add_item({"question": words, "answer": words})
    checkpoint = response_scorer(writer(zoo, "gpt2"), both)
    every = np.arange(len(checkpoint._sample))
    assert checkpoint.bits(every)[:, 1].max() < 300
    assert [(note.code, note.text[:11]) for note in checkpoint.notes] == [("responses-truncated", "truncated 2")]
    assert checkpoint.truncated_responses == 2 / len(every)
    responses = checkpoint._responses(every)
    assert max(len(response.prompt) + len(response.response) for response in responses) == 40
    longest = sorted(len(response.response) for response in responses)[-2:]
    assert longest[0] == 30  # a quarter of 40 positions is left to a prompt of any length
    assert longest[1] > 35


def test_a_tokenizer_without_special_tokens_still_counts_every_byte(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(writer(zoo, "gpt2"), folder)
    core = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
    core.post_processor = tokenizers.processors.Sequence([])
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    transformers.PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)
    checkpoint = response_scorer(folder)
    bits = checkpoint.bits(np.arange(40, 60), np.arange(30))
    assert np.isfinite(bits).all()
    sample = checkpoint._sample
    assert bits[0, 1] == len(sample.label_texts[sample.codes[40]].encode())
    assert "no-end-token" in [note.code for note in checkpoint.notes]


def test_the_models_end_token_is_used_if_the_tokenizer_has_none(zoo: Path, tmp_path: Path) -> None:
    whole, bare = writer(zoo, "llama"), tmp_path / "bare"
    shutil.copytree(whole, bare)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bare)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(bare)
    rows_measured = np.arange(9)
    np.testing.assert_allclose(response_scorer(bare).bits(rows_measured), response_scorer(whole).bits(rows_measured))


def test_only_running_out_of_memory_becomes_an_emms_error(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extraction = make_feature_spec(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    for error, expected in ((torch.OutOfMemoryError(), EmmsError), (RuntimeError("sizes"), RuntimeError)):
        monkeypatch.setattr("hf_emms.finetune.response_scorer.response_losses", Mock(side_effect=error))
        scorers = CheckpointScorers(extraction, load_sample(rows()), RunOptions(device="cpu"), 0)
        with raises_code("out-of-memory") if expected is EmmsError else pytest.raises(expected):
            scorers.bits(np.arange(5))


def test_losses_that_are_not_finite_are_an_error(zoo: Path, tmp_path: Path) -> None:
    broken = poisoned(writer(zoo, "gpt2"), tmp_path / "broken", "transformer.ln_f.weight")
    with raises_code("not-finite"):
        response_scorer(broken).bits(np.arange(5))


def test_checkpoints_are_ranked_by_their_short_runs(zoo: Path) -> None:
    chat = writer(zoo, "llama", CHAT_TEMPLATE)
    headless = build(zoo, "llama-headless", lambda: transformers.LlamaModel.from_pretrained(chat), reads_text=True)
    checkpoints = [writer(zoo, "gpt2"), writer(zoo, "t5"), chat, headless, build(zoo, "bert")]
    settings = {"estimators": ["short_run", "zero_shot", "emms_knn"], "encoders": "demo", "device": "cpu"}
    planned = hf_emms.plan(rows(), [*map(str, checkpoints)], **settings)
    assert any(re.search(r"about \d+ s .*checkpoints", line) for line in planned.lines())
    ranking = hf_emms.rank(rows(), [*map(str, checkpoints)], **settings)
    by_name = {Path(row.checkpoint).name: row for row in ranking.rows}
    assert [row.error is None for row in ranking.rows] == [True] * 3 + [False] * 2
    assert "it cannot write a text" in str(by_name["llama-headless"].error)
    assert "not prompts" in str(by_name["bert"].error)
    row = by_name["writer-gpt2"]
    assert {*row.scores} == {"short_run", "zero_shot", "emms_knn"}
    assert row.scores["zero_shot"].value < row.scores["short_run"].value < 0
    assert len(row.scores["short_run"].folds) == 5
    reason, trained = json.loads(ranking.to_json())["reason"], row.scores["short_run"].details["training_rows"]
    assert reason.startswith("Checkpoints are ordered by their loss after a short run")
    assert reason.endswith(f"Here it trained on {trained}.")
    header, *_, reason = str(ranking).splitlines()
    assert "minutes" in header.split()
    assert reason == ranking.reason
    section = card(ranking)
    assert "Checkpoints are ordered by their loss after a short run" in section
    assert "| minutes |" in section
    assert "Short run: bits per byte of held-out responses" in section
    assert "bits per byte (lower is better) |" in card(ranking, row.checkpoint)
    assert any("plain text" in str(note) for note in row.notes)
    assert any("chat template" in str(note) for note in by_name["writer-llama-chat"].notes)


def test_a_short_run_orders_these_tasks_unless_the_user_says_otherwise(zoo: Path) -> None:
    options = Options.of(rows(), checkpoints=(str(writer(zoo, "gpt2")),), encoders=("demo",))
    assert make_plan(options, Progress()).options.scoring.estimators[:2] == ("short_run", "zero_shot")
    assert make_plan(options.replaced(estimators=("emms",)), Progress()).options.scoring.estimators == ("emms",)
