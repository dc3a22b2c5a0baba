"""One fine-tuning run against a plain script with `Trainer`, each in a fresh process: seconds and peak memory.

python -m scripts.bench finetuning [--rounds 3] [--epochs 3]

Both train the same weights on the same rows with the same recipe, evaluate and save every epoch, and predict the test
rows from the best state. The script reads pictures as the examples of transformers do, in every epoch anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_emms.finetune.fine_tune import plan_for
from hf_emms.finetune.recipe import Recipe, TrainingJob
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.hub import resolve
from hf_emms.options import RunOptions, SampleOptions
from scripts.bench.timing import fresh_process, memory_mb, reset_peak, spread

RATE = 5e-4
PROBLEMS = {
    "pictures": ("demo_fashion", "emms-demo/resnet-distilled"),
    "texts": ("demo_glosses", "emms-demo/bert-distilled"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)


def run(options: argparse.Namespace) -> None:
    """Print a table of both problems."""
    print("\n### One fine-tuning run\n\n| | CPU seconds | of the script's | MB added | of the script's | accuracy |")
    print("|---|---|---|---|---|---|")
    for name in PROBLEMS:
        found: dict[str, list[dict[str, float]]] = {"script": [], "hf_emms": []}
        for _ in range(options.rounds):
            for who, results in found.items():
                results.append(fresh_process("finetuning", who, name, options.epochs))
        for who, results in found.items():
            cells = [f"{name}, {who}"]
            for what, digits in (("cpu", ".3g"), ("mb", ",.0f")):
                values = [one[what] for one in results]
                shares = [a[what] / b[what] for a, b in zip(results, found["script"], strict=True)]
                cells += [spread(values, digits=digits), spread(shares, digits=".2f", bold=True)]
            print(f"| {' | '.join(cells)} | {spread([one['accuracy'] for one in results])} |")


def probe(who: str, name: str, epochs: int) -> dict[str, float]:
    """CPU seconds, MB and test accuracy of one run, loading the model included and the rows not."""
    dataset, checkpoint = PROBLEMS[name]
    splits = load_splits(SampleOptions(dataset, max_samples=None, sampling="proportional"))
    with tempfile.TemporaryDirectory() as folder:
        before, started = reset_peak(), time.process_time()
        accuracy = (_ours if who == "hf_emms" else _script)(checkpoint, splits, epochs, Path(folder))
        return {"cpu": time.process_time() - started, "mb": memory_mb("VmHWM") - before, "accuracy": accuracy}


def _ours(checkpoint: str, splits: Splits, epochs: int, folder: Path) -> float:
    from hf_emms.finetune.training import run_job

    recipe = Recipe("full", epochs, None, (RATE,), (0,), patience=epochs)
    options = RunOptions(device="cpu")
    plan = plan_for(resolve(checkpoint, "model"), splits.task, options)
    job = TrainingJob(checkpoint, plan, None, recipe, RATE, 0)
    return run_job(job, splits, options, folder / "run").scores["accuracy"]


def _script(checkpoint: str, splits: Splits, epochs: int, folder: Path) -> float:
    import datasets
    import transformers as t

    classes = sorted(set(splits.train.references))
    source = resolve(checkpoint, "model").folder
    pictures = splits.task.input.name == "image"
    t.set_seed(0)
    auto = t.AutoModelForImageClassification if pictures else t.AutoModelForSequenceClassification
    model = auto.from_pretrained(source, num_labels=len(classes), ignore_mismatched_sizes=True, dtype=torch.float32)
    reader: Any = (t.AutoImageProcessor if pictures else t.AutoTokenizer).from_pretrained(source)

    def rows(part: Any) -> Any:
        inputs = [part.inputs.encoded[i] if pictures else part.inputs[i] for i in part.input_of_row]
        columns = {
            "image" if pictures else "text": [{"bytes": one, "path": None} for one in inputs] if pictures else inputs
        }
        columns["labels"] = [classes.index(answer) for answer in part.references]
        data = datasets.Dataset.from_dict(columns)
        if not pictures:
            return data.map(lambda batch: reader(batch["text"], truncation=True, max_length=512), batched=True)
        data = data.cast_column("image", datasets.Image())
        return data.with_transform(
            lambda batch: {
                "pixel_values": reader([one.convert("RGB") for one in batch["image"]], return_tensors="pt")[
                    "pixel_values"
                ],
                "labels": batch["labels"],
            }
        )

    arguments = t.TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=RATE,
        weight_decay=0.01,
        warmup_steps=0.1,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        remove_unused_columns=not pictures,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = t.Trainer(
        model,
        arguments,
        data_collator=t.default_data_collator if pictures else t.DataCollatorWithPadding(reader),
        train_dataset=rows(splits.train),
        eval_dataset=rows(splits.validation),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )
    trainer.train()
    found = trainer.predict(rows(splits.test))
    return float(np.mean(found.predictions.argmax(1) == found.label_ids))


if __name__ == "__main__":
    import contextlib

    with contextlib.redirect_stdout(sys.stderr):
        result = probe(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(json.dumps(result))
