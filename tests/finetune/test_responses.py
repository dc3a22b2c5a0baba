"""Language models that are fine-tuned on responses: what is measured, what they write, and what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers

import hf_emms
from hf_emms.cache import NO_CACHE
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.finetune.response_writer import ResponseWriter
from hf_emms.finetune.splits import load_splits
from hf_emms.inputs import PROMPT
from hf_emms.options import Options
from hf_emms.tasks import get_task
from hf_emms.tasks.metrics import (
    WrittenResponse,
    byte_likelihood,
    chrf,
    final_answers,
    rouge_l,
    translation_bleu,
)
from tests.finetune.test_response_writer import rows
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
    reloaded = ResponseWriter(
        plan_extraction(repo_of(folder), PROMPT, "text-generation"), sample, Options("d", device="cpu"), NO_CACHE
    )
    bits, n_bytes = reloaded.bits(np.arange(len(sample))).sum(0)
    assert len(sample) == len(test)
    assert bits / n_bytes == pytest.approx(run.loss, rel=1e-3)


def test_an_adapter_leaves_shared_weights_alone(zoo: Path, emms_cache: Path) -> None:
    from hf_emms.finetune.network import apply_method

    model = transformers.AutoModelForCausalLM.from_pretrained(build(zoo, "writer-gpt2", DECODERS["gpt2"]))
    apply_method(model, "lora", ())
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

    names = [[metric.name for metric in get_task(task).head.metrics([])] for task in ("translation", "summarization")]
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
