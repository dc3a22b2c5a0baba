"""Fine-tuning of language models on responses: metrics, generation and saved models."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import transformers

import hf_emms
from hf_emms.finetune.network import apply_method, place_adapter
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import load_splits
from hf_emms.heads.metrics import WrittenResponse, byte_likelihood, chrf, rouge_l, translation_bleu
from hf_emms.heads.split import LabeledSplit
from hf_emms.options import Options
from hf_emms.tasks import get_task
from tests import ROOT
from tests.docs.pages import fences
from tests.finetune.task_rows import loaded
from tests.finetune.test_response_scorer import response_scorer, rows
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import DECODERS, writer


def bits_per_byte(folder: Path, data: datasets.Dataset) -> float:
    """The loss of a checkpoint on the test rows before fine-tuning."""
    test = load_splits(Options.of(data).sample).test
    prompts = {test.inputs[int(row)][0].text for row in test.input_of_row}
    scorer = response_scorer(folder, data.filter(lambda row: row["question"] in prompts))
    bits, n_bytes = scorer.bits(np.arange(len(test))).sum(0)
    return float(bits / n_bytes)


@pytest.mark.parametrize(("name", "method"), [("gpt2", "lora"), ("t5", "full")])
def test_saved_language_models_reproduce_their_scores(zoo: Path, tmp_path: Path, name: str, method: str) -> None:
    data, folder = rows(80), tmp_path / "model"
    settings: dict[str, Any] = {"method": method, "save_model": str(folder)}
    settings |= {"confirm": 1, "epochs": 1, "learning_rates": ["1e-2"], "device": "cpu"}
    ranking = hf_emms.rank(data, [str(writer(zoo, name))], estimators="emms", encoders="demo", **settings)
    result = ranking.rows[0].fine_tuned
    assert result is not None, ranking.notes
    assert result.error is None
    assert (result.metric, {*result.scores}) == ("byte likelihood", {"byte likelihood", "chrF"})
    (run,) = result.runs
    assert result.value == pytest.approx(2**-run.loss)
    assert bits_per_byte(folder, data) == pytest.approx(run.loss, rel=1e-3)


def test_an_adapter_leaves_shared_weights_alone(zoo: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(build(zoo, "writer-gpt2", DECODERS["gpt2"]))
    place_adapter(model)
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert any("c_attn" in name for name in adapted)
    assert "lm_head" not in adapted


def test_metrics_of_responses() -> None:
    references = [(("a cat", 1.0),), (("a dog", 0.5), ("dogs", 0.5))]
    right = [WrittenResponse(8, 8, "the cat"), WrittenResponse(8, 8, "dogs")]
    assert byte_likelihood(right, references) == 0.5
    assert byte_likelihood([WrittenResponse(1, 0)], references[:1]) == 0.5
    assert 0.5 < chrf(right, references) < 1
    unwritten = [WrittenResponse(8, 8), right[1]]
    assert (chrf(unwritten, references), chrf(unwritten[:1], references[:1])) == (pytest.approx(1), 0)
    assert chrf([WrittenResponse(8, 8, ""), right[1]], references) < 0.9


def test_bleu_and_rouge_equal_their_libraries() -> None:
    from sacrebleu import corpus_bleu

    for task, third in (("translation", "BLEU"), ("summarization", "ROUGE-L")):
        metrics = head_of(get_task(task)).metrics([])
        assert [metric.name for metric in metrics][:3] == ["byte likelihood", "chrF", third]
    texts = [
        ("The cat sat on the mat today.", "A cat sat on the mat, today."),
        ("Many dogs bark", "dogs bark at big cats"),
    ]
    written = [WrittenResponse(8, 8, text) for text, _ in texts]
    references = [((reference, 1.0),) for _, reference in texts]
    expected = corpus_bleu([text for text, _ in texts], [[reference for _, reference in texts]]).score / 100
    assert translation_bleu([*written, WrittenResponse(8, 8)], [*references, (("more", 1.0),)]) == expected
    several = [references[0], (("dogs", 0.5), (written[1].text, 0.5))]
    columns = [[texts[0][1], "dogs"], [texts[0][1], written[1].text]]
    assert translation_bleu(written, several) == corpus_bleu([text for text, _ in texts], columns).score / 100
    # rouge_score 0.1.2, rougeL without stems: 6 of 7 words in common, and 2 of 3 and 5.
    assert rouge_l(written, references) == pytest.approx((6 / 7 + 4 / 8) / 2)
    assert rouge_l([WrittenResponse(1, 1, "Кошка спит")], [(("собака", 0.5), ("кошка спит", 0.5))]) == 1
    assert rouge_l([WrittenResponse(1, 1, "")], [(("...", 1.0),)]) == 0


def test_checkpoints_with_few_positions_read_the_start_of_prompts(zoo: Path) -> None:
    network, splits = loaded(writer(zoo, "gpt2"), rows(80), "text-generation")
    written = network.test_predictions(np.zeros((len(splits.test), 1)), splits.test)
    assert len({response.text for response in written}) > 1
    test = splits.test
    many = LabeledSplit.of_inputs([test.inputs[int(test.input_of_row[0])]] * 201, test.references[:1] * 201)
    written = network.test_predictions(np.zeros((201, 1)), many)
    assert [response.text is None for response in written] == [False] * 200 + [True], "200 rows are written for"
    with raises_code("no-head"):
        apply_method(network, "head")


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_padding_does_not_change_responses(zoo: Path, tmp_path: Path, name: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(shutil.copytree(writer(zoo, name), tmp_path / name))
    tokenizer.pad_token = None if name == "gpt2" else tokenizer.pad_token
    tokenizer.save_pretrained(tmp_path / name)
    network, splits = loaded(tmp_path / name, rows(80), "text-generation")
    model = network.saved
    batch = network.rows(splits.train, True).batch(np.arange(5))
    losses = network.predict(network.model, batch).sum() / (batch["labels"] != -100).sum()
    assert network.model(**batch)["loss"].item() == pytest.approx(losses.item(), rel=1e-5)

    def written(split: LabeledSplit) -> list[str]:
        return [response.text for response in network.test_predictions(np.zeros((len(split), 1)), split)]

    inputs = [splits.test.inputs[place] for place in splits.test.input_of_row.tolist()[:3]]
    alone = [text for input in inputs for text in written(LabeledSplit.of_inputs([input], splits.test.references[:1]))]
    model.generation_config.update(do_sample=True, num_beams=4)
    model.generate = Mock(wraps=model.generate)
    assert written(LabeledSplit.of_inputs(inputs, splits.test.references[:3])) == alone
    assert model.generate.call_args.kwargs["max_new_tokens"] == (20 if name == "gpt2" else 256)
    assert not any("<" in text for text in alone), "special tokens"
    # The saved model also answers several prompts at once.
    network.processors[0].save_pretrained(tmp_path / "saved")
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved.pad_token == (tokenizer.pad_token or tokenizer.eos_token)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_the_instruction_of_a_task_is_noted_once(name: str, zoo: Path) -> None:
    columns = {"document": "question", "summary": "answer"}
    network, splits = loaded(writer(zoo, name), rows(80), "summarization", columns=columns)
    for split in splits.parts.values():
        network.rows(split, True)
    assert codes(network.notes).count("prompt-instruction") == 1


def test_truncated_responses_are_counted(zoo: Path) -> None:
    answers = [f"{place} " + "red cat " * (600 if place < 20 else 1) for place in range(80)]
    data = rows(80).remove_columns("answer").add_column("answer", answers)
    network, splits = loaded(writer(zoo, "gpt2"), data, "text-generation")
    for split in splits.parts.values():
        network.rows(split, True)
    notes = [re.fullmatch(r"truncated (\d+) of (\d+) responses to .*", str(note)) for note in network.notes]
    counts = [tuple(map(int, match.groups())) for match in notes if match]
    assert [sum(numbers) for numbers in zip(*counts, strict=True)] == [20, 80]


def test_the_script_of_trl_trains_on_completions(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="the script is one of TRL: pip install trl")
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"prompt": row["question"], "completion": row["answer"]}) for row in rows(40)]
    Path("my_rows.jsonl").write_text("\n".join(lines))
    ranked, trained = fences(ROOT / "docs" / "trainer.md", "py")
    ranked = ranked.replace(
        '["HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B"]', f'["{writer(zoo, "llama")}"], encoders="demo"'
    )
    trained = trained.replace("num_train_epochs=3", 'max_steps=2, use_cpu=True, bf16=False, report_to="none"')
    names: dict[str, Any] = {}
    exec(ranked, names)
    exec(trained, names)
    assert names["chosen"] == str(writer(zoo, "llama"))
    (first, *_) = names["trainer"].get_train_dataloader()
    # Only completions are trained on.
    assert 0 < (first["labels"] != -100).sum() < (first["input_ids"] != 0).sum()
