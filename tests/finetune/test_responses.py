"""Language models that are fine-tuned on responses: what is measured, what they write, and what is saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import hf_emms
from hf_emms.cache import NO_CACHE
from hf_emms.errors import EmmsError
from hf_emms.features.adapters import place_adapter
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.finetune.fine_tune import forecast
from hf_emms.finetune.memory import activation_bytes
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.response_scorer import ResponseScorer
from hf_emms.finetune.splits import load_splits
from hf_emms.heads.metrics import (
    WrittenResponse,
    byte_likelihood,
    chrf,
    final_answers,
    rouge_l,
    translation_bleu,
)
from hf_emms.heads.response import CHECKPOINTED_PARAMETERS
from hf_emms.inputs import PROMPT
from hf_emms.options import Options, RunOptions
from hf_emms.ranking.progress import Silent
from hf_emms.run.confirm import options_for, prepared, start_session
from hf_emms.run.preflight import preflight
from hf_emms.tasks import get_task
from tests.finetune.make import ranking, save
from tests.finetune.test_response_scorer import rows
from tests.helpers.samples import load_sample
from tests.helpers.tiny_checkpoints import build, repo_of
from tests.helpers.tiny_writers import DECODERS, writer


@pytest.mark.parametrize(("name", "method"), [("gpt2", "lora"), ("t5", "full")])
def test_a_fine_tuned_model_opens_with_what_was_measured(
    zoo: Path, tmp_path: Path, emms_cache: Path, name: str, method: str
) -> None:
    data, folder = rows(80), tmp_path / "model"
    ranking = hf_emms.rank(
        data,
        [str(writer(zoo, name))],
        estimators="emms",
        encoders="demo",
        device="cpu",
        confirm=1,
        method=method,
        epochs=1,
        learning_rates=["1e-2"],
        save_model=str(folder),
    )
    result = ranking.rows[0].fine_tuned
    assert result is not None
    assert result.error is None
    assert (result.metric, {*result.scores}) == ("byte likelihood", {"byte likelihood", "chrF"})
    (run,) = result.runs
    assert result.value == pytest.approx(2**-run.loss)
    test = load_splits(Options(data)).test
    texts = [test.inputs[int(row)][0].text for row in test.input_of_row]
    again = data.filter(lambda row: row["question"] in texts)
    sample = load_sample(again)
    reloaded = ResponseScorer(
        plan_extraction(repo_of(folder), PROMPT, "text-generation"), sample, RunOptions(device="cpu"), 0, NO_CACHE
    )
    bits, n_bytes = reloaded.bits(np.arange(len(sample))).sum(0)
    assert len(sample) == len(test)
    assert bits / n_bytes == pytest.approx(run.loss, rel=1e-3)


def test_the_forecast_has_activations_and_a_checkpoint_is_resolved_once(
    zoo: Path, tmp_path: Path, emms_cache: Path
) -> None:
    data, checkpoint = save(rows(80), tmp_path / "data"), str(writer(zoo, "gpt2"))
    options = Options.of(data, checkpoints=[checkpoint], estimators="emms", encoders="demo", confirm=1)
    assert re.search(r"\d kB of memory and [\d.]+ MB of activations", preflight(options, Silent()).fine_tuning or "")
    ranked = ranking(data, "text-generation", {"prompt": "question", "response": "answer"}, {checkpoint: -0.1})
    work = prepared(ranked, start_session(ranked, options_for(ranked, confirm=1), Silent()))
    assert re.search(r"\d kB of memory and [\d.]+ MB of activations", forecast(work))
    assert work.plan(ranked.rows[0]) is work.plan(ranked.rows[0])


def test_activations_grow_with_the_step_and_are_few_where_they_are_computed_again(zoo: Path) -> None:
    plan = plan_extraction(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    small, unknown, large = (
        activation_bytes(plan, parameters, 8, 64, "cpu") for parameters in (10**6, None, CHECKPOINTED_PARAMETERS)
    )
    assert small == unknown > large > 0
    assert activation_bytes(plan, 10**6, 8, 128, "cpu") == 2 * small
    assert activation_bytes(plan, 10**6, 16, 64, "cpu") == 2 * small


def test_an_adapter_leaves_shared_weights_alone(zoo: Path, emms_cache: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(build(zoo, "writer-gpt2", DECODERS["gpt2"]))
    place_adapter(model)
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert any("c_attn" in name for name in adapted)
    assert "lm_head" not in adapted


def test_responses_are_measured_by_byte_by_letter_and_by_final_answer() -> None:
    references = [(("a cat #### 3", 1.0),), (("a dog #### 1,200", 0.5), ("dogs #### 1200", 0.5))]
    right = [WrittenResponse(8, 8, "the cat: #### 3"), WrittenResponse(8, 8, "dogs #### 1200")]
    assert byte_likelihood(right, references) == 0.5
    assert final_answers(right, references) == 1
    assert 0.5 < chrf(right, references) < 1
    unwritten = [WrittenResponse(8, 8), right[1]]
    assert chrf(unwritten, references) == pytest.approx(1)
    assert chrf([WrittenResponse(8, 8, ""), right[1]], references) < 0.9
    assert final_answers([WrittenResponse(1, 1, "#### 4"), WrittenResponse(1, 1, "1200")], references) == 0


def test_translations_have_bleu_and_summaries_rouge_as_their_libraries_compute_them() -> None:
    from sacrebleu import corpus_bleu

    names = [[each.name for each in head_of(get_task(task)).metrics([])] for task in ("translation", "summarization")]
    assert [each[:3] for each in names] == [["byte likelihood", "chrF", "BLEU"], ["byte likelihood", "chrF", "ROUGE-L"]]
    texts = [("The cat sat on the mat today.", "A cat sat on the mat, today."), ("Many dogs bark", "dogs bark at cats")]
    written = [WrittenResponse(8, 8, text) for text, _ in texts]
    references = [((reference, 1.0),) for _, reference in texts]
    expected = corpus_bleu([text for text, _ in texts], [[reference for _, reference in texts]]).score / 100
    assert translation_bleu([*written, WrittenResponse(8, 8)], [*references, (("more", 1.0),)]) == expected
    # rouge_score 0.1.2, rougeL without stems: 6 of 7 words in common, and 2 of 3 and 4.
    assert rouge_l(written, references) == pytest.approx((6 / 7 + 4 / 7) / 2)
    assert rouge_l([WrittenResponse(1, 1, "Кошка спит")], [(("собака", 0.5), ("кошка спит", 0.5))]) == 1
    assert rouge_l([WrittenResponse(1, 1, "")], [(("...", 1.0),)]) == 0


def test_a_checkpoint_of_few_positions_reads_more_than_the_end_of_its_prompts(zoo: Path) -> None:
    options = Options(rows(80), device="cpu")
    splits = load_splits(options)
    plan = plan_extraction(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    network = load_network(plan, splits)
    written = network.test_predictions(np.zeros((len(splits.test), 1)), splits.test)
    assert len({response.text for response in written}) > 1


def test_each_of_several_responses_is_a_row_of_training_which_the_forecast_counts() -> None:
    several = rows(80).map(lambda row: {"answer": [row["answer"], f"{row['answer']} again"]})
    splits = load_splits(Options.of(several, columns={"prompt": "question", "response": "answer"}))
    assert splits.training_rows == 2 * len(splits.train)


def test_responses_that_are_cut_are_counted(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    few = rows(80)
    long = few.map(
        lambda row, place: {"answer": f"{place} " + "red cat " * (600 if place < 20 else 1)}, with_indices=True
    )
    options = Options.of(long, confirm=1, epochs=1, learning_rates=["1e-2"], device="cpu")
    plan = plan_extraction(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    splits = load_splits(options)
    network = load_network(plan, splits)
    for split in (splits.train, splits.validation, splits.test):
        network.rows(split, True)
    counts = [re.fullmatch(r"(\d+) of (\d+) responses cut at [\d,]+ tokens.*", note) for note in network.notes]
    found = [tuple(map(int, match.groups())) for match in counts if match]
    assert [sum(numbers) for numbers in zip(*found, strict=True)] == [20, 80]


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_an_adapter_is_kept_alone_where_that_is_asked_for(
    zoo: Path, tmp_path: Path, emms_cache: Path, name: str
) -> None:
    import peft

    data, folder, base = rows(80), tmp_path / "adapter", writer(zoo, name)
    settings: dict[str, Any] = {
        "confirm": 1,
        "method": "lora",
        "epochs": 1,
        "learning_rates": ["1e-2"],
        "save_model": str(folder),
    }
    ranking = hf_emms.rank(
        data, [str(base)], estimators="emms", encoders="demo", device="cpu", keep_adapter=True, **settings
    )
    result = ranking.rows[0].fine_tuned
    assert result is not None, ranking.notes
    assert not (folder / "model.safetensors").exists()
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    opened = peft.AutoPeftModelForCausalLM if name == "gpt2" else peft.AutoPeftModelForSeq2SeqLM
    card = (folder / "README.md").read_text()
    assert f"{opened.__name__}.from_pretrained({str(folder)!r})" in card
    assert "library_name: peft" in card
    merged = opened.from_pretrained(folder).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "merged")
    test = load_splits(Options(data)).test
    texts = [test.inputs[int(row)][0].text for row in test.input_of_row]
    sample = load_sample(data.filter(lambda row: row["question"] in texts))
    extraction = plan_extraction(repo_of(tmp_path / "merged"), PROMPT, "text-generation")
    reloaded = ResponseScorer(extraction, sample, RunOptions(device="cpu"), 0, NO_CACHE)
    bits, n_bytes = reloaded.bits(np.arange(len(sample))).sum(0)
    assert bits / n_bytes == pytest.approx(result.runs[0].loss, rel=1e-3)


def test_an_adapter_that_cannot_be_kept_is_refused_before_anything_runs(zoo: Path, tmp_path: Path) -> None:
    checkpoints = [str(writer(zoo, "gpt2"))]
    kept: dict[str, Any] = {"confirm": 1, "keep_adapter": True}
    with pytest.raises(EmmsError, match="no adapter is trained"):
        hf_emms.rank(rows(), checkpoints, save_model=str(tmp_path / "a"), **kept)
    with pytest.raises(EmmsError, match="none is"):
        hf_emms.rank(rows(), checkpoints, method="lora", **kept)
    with pytest.raises(EmmsError, match="adapters are kept of checkpoints that write responses"):
        hf_emms.rank("demo_glosses", checkpoints, method="lora", save_model=str(tmp_path / "a"), **kept)
