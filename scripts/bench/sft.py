"""One fine-tuning of a language model against TRL's SFTTrainer: seconds, and bits per byte of test rows.

python -m scripts.bench sft [--rounds 3] [--epochs 4]

Both train the demo's language model on the same rows of its target with the same recipe, evaluate and save every epoch,
and keep the best state. hf_emms writes responses to a few prompts, too, which is counted. TRL must be installed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers

import hf_emms
from hf_emms.finetune.fine_tune import plan_for
from hf_emms.finetune.recipe import Recipe, TrainingJob
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.finetune.training import run_job
from hf_emms.heads import LabeledSplit
from hf_emms.hub import resolve
from hf_emms.options import Options
from scripts.bench.timing import interleave, ratios, spread

DATASET, CHECKPOINT = "demo_definitions", "emms-demo/llama-glosses"
RATE, BATCH, SEED = 1e-3, 8, 0
_WRITTEN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)


def run(options: argparse.Namespace) -> None:
    """Print a table of both."""
    splits = load_splits(Options.of(DATASET, max_samples=None))
    with tempfile.TemporaryDirectory() as folder:
        trainings: dict[str, Callable[[Splits, int, Path], None]] = {"hf_emms": _ours, "SFTTrainer": _trl}
        folders = {name: Path(folder) / name for name in trainings}
        few = replace(splits, test=splits.test.take(np.arange(_WRITTEN)))
        runs = {name: partial(train, few, options.epochs, folders[name]) for name, train in trainings.items()}
        seconds = interleave(runs, options.rounds)
        ranking = hf_emms.rank(
            datasets.Dataset.from_list(_rows(splits.test)),
            [str(folders[name]) for name in runs],
            estimators="zero_shot",
            encoders="demo",
            cache=False,
        )
    print("\n### Fine-tuning a language model\n\n| | CPU seconds | of SFTTrainer's | bits per byte of test rows |")
    print("|---|---|---|---|")
    for name in runs:
        bits = -ranking[str(folders[name])].scores["zero_shot"].value
        shares = ratios(seconds[name], seconds["SFTTrainer"], "cpu")
        spent = spread([each.cpu for each in seconds[name]])
        print(f"| {name} | {spent} | {spread(shares, digits='.2f', bold=True)} | {bits:.3f} |")


def _ours(splits: Splits, epochs: int, folder: Path) -> None:
    recipe = Recipe("full", epochs, None, (RATE,), (SEED,), batch_size=BATCH, patience=epochs)
    options = Options("bench", device="cpu")
    plan = plan_for(resolve(CHECKPOINT, "model"), splits.task, options)
    job = TrainingJob(CHECKPOINT, plan, None, recipe, RATE, SEED)
    with tempfile.TemporaryDirectory() as states:
        result = run_job(job, splits, options, Path(states), save_to=folder)
    assert result.error is None, result.error


def _trl(splits: Splits, epochs: int, folder: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    with tempfile.TemporaryDirectory() as states:
        settings = SFTConfig(
            states,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=2 * BATCH,
            learning_rate=RATE,
            weight_decay=0.01,
            warmup_steps=0.1,
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            seed=SEED,
        )
        source = resolve(CHECKPOINT, "model").folder
        trainer = SFTTrainer(
            transformers.AutoModelForCausalLM.from_pretrained(source, dtype="float32"),
            settings,
            train_dataset=datasets.Dataset.from_list(_rows(splits.train, "\n")),
            eval_dataset=datasets.Dataset.from_list(_rows(splits.validation, "\n")),
            processing_class=transformers.AutoTokenizer.from_pretrained(source),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        trainer.evaluate(datasets.Dataset.from_list(_rows(splits.test, "\n")))
        trainer.save_model(str(folder))


def _rows(split: LabeledSplit, behind: str = "") -> list[dict[str, Any]]:
    """The prompts of a split, with what hf_emms writes behind a prompt, and the responses."""
    prompts = [split.inputs[int(row)][0].text for row in split.input_of_row]
    responses = [texts[0][0] for texts in split.references]
    return [{"prompt": a + behind, "completion": b} for a, b in zip(prompts, responses, strict=True)]
