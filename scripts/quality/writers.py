"""How rankings of small language models agree with fine-tuning all of them: a table of docs/rank-language-models.md.

    python -m scripts.quality.writers run       makes models and targets, ranks, fine-tunes; continues where it ended
    python -m scripts.quality.writers report    writes the table into the page

The models are those of the demo and others of its kind (scripts/demo/checkpoints_writers.py), which learnt from other
texts. HF_EMMS_QUALITY names the work folder; rows come from the Hub, or from copies under HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hf_emms
from hf_emms.evaluation import dataset_blind, measured
from scripts.quality.protocol import work
from scripts.quality.report import markdown
from scripts.quality.rows import Table, hub_rows, split_rows, write

RESULTS = Path(__file__).parent / "results" / "writers.json"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rank-language-models.md"
BEGIN, END = "<!-- agreement -->", "<!-- /agreement -->"
SEED = 70
EPOCHS, RATE = 3, "2e-3"
TRAINED_STEPS = 200
# The one that orders, and those that are shown beside it.
FIRST, OTHERS = "short_run", ("zero_shot", "emms_knn", "emms")
DEMO = ("llama-glosses", "llama-glosses-short", "gpt2-captions")
_MAX_CHARACTERS = 200  # of a text that a model learns from


# ---- targets: rows that are short enough for models of 256 tokens ----------------------------------------------------


def gsm8k() -> Table:
    """Short questions of GSM8K, and their worked answers."""
    parts = [hub_rows("openai/gsm8k", "data", split) for split in ("train", "test")]
    return _short(parts, {"prompt": "question", "completion": "answer"}, 300, (400, 40, 80))


def e2e() -> Table:
    """Tables about restaurants, and sentences that say the same."""
    parts = [hub_rows("tuetschek/e2e_nlg", "data", split) for split in ("validation", "test")]
    return _short(parts, {"prompt": "meaning_representation", "completion": "human_reference"}, 250, (400, 40, 80))


def flores() -> Table:
    """English sentences, and their German translations."""
    parts = [hub_rows("facebook/flores-en-de", "data", split) for split in ("train", "validation", "test")]
    pairs = [pair for part in parts for pair in part["translation"]]
    rows = [pair for pair in pairs if len(pair["en"]) + len(pair["de"]) <= 400]
    columns = {language: [row[language] for row in rows] for language in ("en", "de")}
    return split_rows(columns, seed=SEED, counts=(400, 40, 80))


def self_instruct() -> Table:
    """Instructions and responses that people wrote."""
    parts = [hub_rows("yizhongw/self_instruct", "data", split) for split in ("train", "test")]
    return _short(parts, {"prompt": "prompt", "completion": "completion"}, 500, (150, 30, 70))


def _short(parts: Sequence[Any], columns: Mapping[str, str], longest: int, counts: tuple[int, int, int]) -> Table:
    rows = [row for part in parts for row in part.to_list()]
    pairs = [[row[column] for column in columns.values()] for row in rows]
    kept = [pair for pair in pairs if all(pair) and sum(map(len, pair)) <= longest]
    return split_rows(
        {name: [pair[place] for pair in kept] for place, name in enumerate(columns)},
        seed=SEED,
        counts=counts,
        group="prompt",
    )


# name → its half, how its rows are made
TARGETS: dict[str, tuple[str, Callable[[], Table]]] = {
    "e2e_nlg": ("dev", e2e),
    "flores-en-de": ("held", flores),
    "gsm8k": ("dev", gsm8k),
    "self_instruct": ("held", self_instruct),
}


# ---- models ----------------------------------------------------------------------------------------------------------


def passages(language: str) -> list[str]:
    """Sentences of Wikipedia."""
    rows = hub_rows("google/xquad-retrieval", language, "train")
    return [line for text in dict.fromkeys(rows["positive"]) for line in _cut(text, ". ")]


def german() -> list[str]:
    """German sentences of news and of Wikipedia; none of a target."""
    rows = hub_rows("universal_dependencies/pud-en-de", "data", "test")
    return [pair["de"] for pair in rows["translation"]] + passages("de")


def code() -> list[str]:
    """Lines of Python's library."""
    folder = Path(inspect.getsourcefile(json) or "").parents[1]
    files = [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(folder.glob("*.py"))]
    return [line for text in files for line in _cut(text, "\n")]


def _cut(text: str, separator: str) -> list[str]:
    """Pieces of a text that end where the separator is, each as long as a model learns from."""
    pieces = [""]
    for part in text.split(separator):
        if pieces[-1] and len(pieces[-1]) + len(part) > _MAX_CHARACTERS:
            pieces.append("")
        pieces[-1] += part + separator
    return [piece.strip() for piece in pieces if piece.strip()]


def checkpoints() -> dict[str, str]:
    """Name → id or folder of every candidate; folders are made on first use."""
    from scripts.demo.checkpoints_writers import Corpus, Recipe, llama
    from scripts.demo.checkpoints_writers import write as write_checkpoint

    english = Corpus(lambda: passages("en"), "Trained on sentences of Wikipedia.", "XQuAD")
    recipes = (
        Recipe("llama-passages", llama, english, TRAINED_STEPS),
        Recipe("llama-german", llama, Corpus(german, "Trained on German sentences.", "PUD, XQuAD"), TRAINED_STEPS),
        Recipe("llama-code", llama, Corpus(code, "Trained on Python's library.", "Python"), TRAINED_STEPS),
        Recipe("llama-random", llama),
    )
    places = {name: f"emms-demo/{name}" for name in DEMO}
    for number, recipe in enumerate(recipes):
        folder = work() / "candidates" / recipe.name
        if not folder.exists():
            fresh = folder.with_name(f"{folder.name}.writing")
            shutil.rmtree(fresh, ignore_errors=True)
            print(recipe.name, flush=True)
            write_checkpoint(recipe, fresh, 100 + number)
            fresh.rename(folder)
        places[recipe.name] = str(folder)
    return places


# ---- runs ------------------------------------------------------------------------------------------------------------


def run() -> None:
    """Rank and fine-tune all candidates on each target that the results lack."""
    import torch

    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, (half, make) in TARGETS.items():
        if name not in results:
            folder = work() / "targets" / name
            if not folder.exists():
                fresh = folder.with_suffix(".writing")
                write(fresh, make())
                fresh.rename(folder)
            results[name] = {"half": half} | _measure(folder, checkpoints())
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(name, results[name], flush=True)


def _measure(folder: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """Of each candidate the scores, what fine-tuning measured, and the processor's seconds of both."""
    names = {place: name for name, place in places.items()}
    settings: dict[str, Any] = {"split": "train", "device": "cpu", "encoders": "demo"}
    started = time.process_time()
    short = hf_emms.rank(str(folder), list(names), estimators=FIRST, **settings)
    ranked = time.process_time()
    others = hf_emms.rank(str(folder), list(names), estimators=OTHERS, **settings)
    before = time.process_time()
    tuned = hf_emms.confirm(short, top=len(names), epochs=EPOCHS, learning_rates=RATE, device="cpu")
    ended = time.process_time()
    rows = {names[row.checkpoint]: row for row in tuned}
    scores = {names[row.checkpoint]: row.scores for row in others}
    order = list(places)
    return {
        "rows": dict(rows[order[0]].fine_tuned.rows),
        "candidates": order,
        "parameters": [rows[name].parameters for name in order],
        "scores": {
            FIRST: [round(rows[name].scores[FIRST].value, 4) for name in order],
            **{key: [round(scores[name][key].value, 4) for name in order] for key in OTHERS},
        },
        "bits": [round(float(-np.log2(rows[name].fine_tuned.value)), 4) for name in order],
        "seconds": {FIRST: round(ranked - started, 1), "fine-tuning": round(ended - before, 1)},
    }


# ---- the table -------------------------------------------------------------------------------------------------------


def columns(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Column → target → its measures; the truth is minus the bits per byte after fine-tuning."""
    truths = {
        name: dict(zip(target["candidates"], (-bits for bits in target["bits"]), strict=True))
        for name, target in results.items()
    }
    elsewhere = dataset_blind(truths)
    measures: dict[str, dict[str, dict[str, float]]] = {}
    for name, target in results.items():
        values = {f"`{key}`": scores for key, scores in target["scores"].items()}
        values["parameter count"] = target["parameters"]
        if elsewhere[name]:  # of one target there is nothing else
            values["mean rank elsewhere"] = [elsewhere[name][candidate] for candidate in target["candidates"]]
        for column, scores in values.items():
            measures.setdefault(column, {})[name] = measured(scores, list(truths[name].values()))
    return measures


def table(results: Mapping[str, Any]) -> str:
    """Weighted τ and regret in bits per byte of each column on each target, and the share of the cost."""
    measures = columns(results)
    rows = []
    for name, target in results.items():
        bits = dict(zip(target["candidates"], target["bits"], strict=True))
        best, worst = min(bits, key=bits.__getitem__), max(bits.values())
        cells = [f"{of[name]['weighted_tau']:.2f} / {of[name]['regret']:.2f}" for of in measures.values()]
        share = target["seconds"][FIRST] / target["seconds"]["fine-tuning"]
        rows.append((name, target["half"], f"{bits[best]:.2f} ({best}) to {worst:.2f}", *cells, f"{share:.0%}"))
    head = ("target", "half", "bits per byte", *measures, f"cost of `{FIRST}`")
    return markdown(head, rows)


def main() -> None:
    if sys.argv[1:] == ["run"]:
        run()
    elif sys.argv[1:] == ["report"]:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        shown = table(json.loads(RESULTS.read_text()))
        PAGE.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}", encoding="utf-8")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
