"""Preferences: how datasets store them, which response a model prefers, and DPO."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from tokenizers.processors import TemplateProcessing

import hf_emms
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.checkpoint_scorers import CheckpointScorers
from hf_emms.finetune.recipe import head_of
from hf_emms.heads.preference import BETA
from hf_emms.inputs import PROMPT
from hf_emms.inputs.prompt import Message
from hf_emms.options import RunOptions
from hf_emms.scoring.generative import preference_accuracy, preference_run
from hf_emms.tasks import get_task
from tests.finetune.task_rows import loaded
from tests.helpers.samples import load_sample, reasons, refused
from tests.helpers.tiny_checkpoints import repo_of
from tests.helpers.tiny_writers import CHAT_TEMPLATE, writer

N = 60
PROMPTS = [f"which fruit is number {i}?" for i in range(N)]
CHOSEN = [f"apple {i}" for i in range(N)]
REJECTED = [f"a cold rainy road {i}" for i in range(N)]


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def answers(texts: list[str]) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


def pairs(**columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED} | columns)


LAYOUTS: dict[str, dict[str, Any]] = {
    "explicit texts": {"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED},
    "explicit messages": {
        "prompt": [turns(prompt) for prompt in PROMPTS],
        "chosen": answers(CHOSEN),
        "rejected": answers(REJECTED),
    },
    "implicit messages": {
        "chosen": list(map(turns, PROMPTS, CHOSEN)),
        "rejected": list(map(turns, PROMPTS, REJECTED)),
    },
    "a prompt and whole conversations": {
        "prompt": PROMPTS,
        "chosen": list(map(turns, PROMPTS, CHOSEN)),
        "rejected": list(map(turns, PROMPTS, REJECTED)),
    },
    "implicit texts": {
        "chosen": [f"{prompt} apple {i}" for i, prompt in enumerate(PROMPTS)],
        "rejected": [f"{prompt} cold {i}" for i, prompt in enumerate(PROMPTS)],
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_trl_are_read(layout: str) -> None:
    sample = load_sample(datasets.Dataset.from_dict(LAYOUTS[layout]))
    assert (sample.task.id, len(sample), sample.skipped) == ("preference", N, 0)
    rejected = "cold {}" if layout == "implicit texts" else "a cold rainy road {}"
    read = {
        conversation: (chosen, sample.texts_of(int(code)))
        for (conversation, chosen), code in zip(
            (sample.inputs[i] for i in sample.input_of_row.tolist()), sample.codes, strict=True
        )
    }
    assert read == {
        (Message("user", prompt),): (f"apple {i}", [rejected.format(i)]) for i, prompt in enumerate(PROMPTS)
    }


def test_pairs_of_a_prompt_share_a_group() -> None:
    sample = load_sample(pairs(prompt=[f"prompt {i // 2}" for i in range(N)]))
    assert len(np.unique(sample.groups)) == N // 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "the same ", "rejected": "the same"}, "are equal"),
        ({"rejected": " "}, "a response is empty"),
        ({"prompt": None}, "prompt is empty"),
    ],
)
def test_unusable_pairs_are_skipped_and_counted(row: dict[str, Any], reason: str) -> None:
    columns = {
        name: [row.get(name, texts[0]), *texts[1:]]
        for name, texts in (("prompt", PROMPTS), ("chosen", CHOSEN), ("rejected", REJECTED))
    }
    sample = load_sample(pairs(**columns))
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert reason in reasons(sample)[0]
    assert reasons(sample)[0].startswith("row 1")


def test_turns_that_do_not_alternate_are_named() -> None:
    wrong = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, *turns("x", "y")[1:]]
    chosen = [[*wrong[:-1], {"role": "assistant", "content": text}] for text in CHOSEN]
    error = refused(pairs(prompt=chosen, chosen=chosen, rejected=chosen), task="preference")
    assert error.code == "rows-unusable"
    assert "row " in error.message
    assert "take turns" in error.message


def test_a_missing_column_is_named() -> None:
    error = refused(pairs().remove_columns("rejected"), task="preference")
    assert error.code == "unclear-columns"
    assert "rejected" in str(error)


def scorers(folder: Path, data: datasets.Dataset) -> CheckpointScorers:
    spec = make_feature_spec(repo_of(folder), PROMPT, "preference")
    return CheckpointScorers(spec, load_sample(data), RunOptions(device="cpu"), 0)


@pytest.mark.parametrize(("name", "template"), [("gpt2", None), ("llama", CHAT_TEMPLATE), ("t5", None)])
def test_margins_equal_a_direct_forward_pass(zoo: Path, name: str, template: str | None) -> None:
    folder, data = writer(zoo, name, template), pairs(prompt=[f"apple {i}" for i in range(N)])  # few positions
    model = scorers(folder, data)
    margins = model.preferences(np.arange(20))
    sample = load_sample(data)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    is_encoder = name == "t5"
    loader = transformers.AutoModelForSeq2SeqLM if is_encoder else transformers.AutoModelForCausalLM
    network = loader.from_pretrained(folder).eval()
    for row in range(3):
        conversation, chosen = sample.inputs[int(sample.input_of_row[row])]
        prompt = conversation[0].text
        likelihoods = []
        for text in (chosen, sample.texts_of(int(sample.codes[row]))[0]):
            if is_encoder:
                ids, labels = tokenizer(prompt)["input_ids"], tokenizer(text_target=text)["input_ids"]
            else:
                start = tokenizer(f"{prompt}\n")["input_ids"][:-1]  # without the token that ends a text
                if template:
                    turn = [{"role": "user", "content": prompt}]
                    start = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
                response = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                ids, labels = [*start, *response], [-100] * len(start) + response
            with torch.no_grad():
                loss = network(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
            likelihoods.append((-loss * sum(label != -100 for label in labels), len(text.encode())))
        (first, bytes_of_first), (second, bytes_of_second) = likelihoods
        expected = [first / bytes_of_first - second / bytes_of_second, first - second]
        np.testing.assert_allclose(margins[row], expected, rtol=1e-4, atol=1e-5)


def test_a_short_run_learns_preferences(zoo: Path) -> None:
    data = datasets.Dataset.from_dict(
        {
            "prompt": [f"{prompt} {i}" for i in range(3) for prompt in PROMPTS],
            "chosen": REJECTED * 3,
            "rejected": CHOSEN * 3,
        }
    )
    model = scorers(writer(zoo, "gpt2"), data)
    before, after = preference_accuracy(model), preference_run(model)
    assert after.value > 0.9
    assert len(after.details["curve"]) == 3
    assert after.details["curve"][-1] == pytest.approx(after.value, abs=1e-4)
    assert 0 <= before.value <= 1
    assert before.stderr is not None
    # After training, it is measured again without training.
    again = scorers(writer(zoo, "gpt2"), data)
    assert preference_accuracy(again).value == before.value
    assert [str(note) for note in again.notes if note.code == "longer-chosen"] == [
        "the longer response is the chosen one in 100.0% of the held-out pairs"
    ]


def test_equal_likelihoods_count_half() -> None:
    class Model:
        groups = np.arange(10, dtype=np.uint64)
        truncated_responses = 0.0

        def preferences(self, rows: np.ndarray) -> np.ndarray:
            return np.zeros((len(rows), 2))

    assert preference_accuracy(Model()).value == 0.5  # type: ignore[arg-type]


def test_the_loss_is_that_of_dpo(zoo: Path) -> None:
    network, splits = loaded(writer(zoo, "gpt2"), pairs(), "preference")
    rows = network.rows(splits.train, True)
    batch = rows.batch(np.arange(4))
    network.model.train()
    assert network.model(**batch)["loss"].item() == pytest.approx(np.log(2), rel=1e-5)
    start = network.predict(network.model, batch).detach()
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter.mul_(1.5)
    gains = (network.predict(network.model, batch) - start).detach()
    expected = -torch.nn.functional.logsigmoid(BETA * (gains[:, 0] - gains[:, 1])).mean()
    assert network.model(**batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("name", "method"), [("gpt2", "full"), ("llama", "lora")])
def test_saved_models_reproduce_their_accuracy(zoo: Path, tmp_path: Path, name: str, method: str) -> None:
    folder, data = tmp_path / "model", pairs()
    settings: dict[str, Any] = {"method": method, "save_model": str(folder), "device": "cpu", "confirm": 1}
    settings |= {"epochs": 2, "learning_rates": ["1e-2"], "estimators": "preference_accuracy"}
    ranking = hf_emms.rank(data, [str(writer(zoo, name))], **settings)
    result = ranking.rows[0].fine_tuned
    assert result is not None, ranking.notes
    assert result.error is None
    assert (result.metric, {*result.scores}) == ("preference accuracy", {"preference accuracy"})
    (run,) = result.runs
    assert run.baseline is not None
    assert (run.baseline.name, run.baseline.value) == ("the longer response", 0.0)
    assert "saved-model-differs" not in {note.code for note in run.notes}
    assert (folder / "config.json").is_file()


def test_the_baseline_prefers_the_longer_response() -> None:
    head = head_of(get_task("preference"))
    split = head.label(load_sample(pairs(rejected=[*REJECTED[:30], *"x" * 30])), several=False)
    baseline = head.baseline(split, split)
    assert baseline is not None
    assert np.mean(baseline.predictions) == pytest.approx(0.5)


def test_the_loss_equals_trls(zoo: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    folder = writer(zoo, "gpt2")
    network, splits = loaded(folder, pairs(prompt=[f"road {i}" for i in range(N)]), "preference")
    split = splits.test
    rows, start = network.rows(split, True), copy.deepcopy(network.saved).eval()
    with torch.no_grad():
        for parameter in network.saved.parameters():
            parameter.mul_(1.3)
    network.model.eval()
    batch = rows.batch(np.arange(len(rows)))
    loss = network.model(**batch)["loss"].item()
    likelihoods = network.predict(network.model, batch).mean(0).tolist()
    inputs = [split.inputs[number] for number in split.input_of_row]
    data = datasets.Dataset.from_list(
        [
            {"prompt": f"{prompt[0].text}\n", "chosen": chosen, "rejected": rejected[0][0]}
            for (prompt, chosen), rejected in zip(inputs, split.references, strict=True)
        ]
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # TRL adds the end token, which this tokenizer would write once more.
    begin = tokenizer.convert_ids_to_tokens(1)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, 1)])
    settings = trl.DPOConfig(
        str(tmp_path), beta=BETA, per_device_eval_batch_size=64, report_to="none", use_cpu=True, bf16=False
    )
    trainer = trl.DPOTrainer(
        network.saved, start, settings, train_dataset=data, eval_dataset=data, processing_class=tokenizer
    )
    measured = trainer.evaluate()
    assert loss == pytest.approx(measured["eval_loss"], rel=1e-5)
    assert likelihoods == pytest.approx([measured["eval_logps/chosen"], measured["eval_logps/rejected"]], rel=1e-5)
