"""How rankings of small language models agree with fine-tuning all of them: a table of docs/rank-language-models.md.

    python -m scripts.quality.writers run       makes models and targets, ranks, fine-tunes; continues where it ended
    python -m scripts.quality.writers report    writes the table into the page

The models are those of the demo and others of its kind (scripts/demo/checkpoints_writers.py), which learnt from other
texts. HF_EMMS_QUALITY names the work folder; rows come from the Hub, or from copies under HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import hf_emms
from hf_emms.evaluation import dataset_blind, measured, weighted_tau
from hf_emms.heads.metrics import BYTE_LIKELIHOOD
from hf_emms.ranking import Ranking
from scripts.quality.protocol import Half, made, work
from scripts.quality.report import markdown, or_dash, replace_between
from scripts.quality.rows import Table, hub_rows, split_rows, write

RESULTS = Path(__file__).parent / "results" / "writers.json"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rank-language-models.md"
BEGIN, END = "<!-- agreement -->", "<!-- /agreement -->"
SEED = 70
EPOCHS, RATE = 3, "2e-3"
BUDGETS, SEEDS = ("few", "all"), 2
TRAINED_STEPS = 200
# The one that orders, and those that are shown beside it.
FIRST, OTHERS = "short_run", ("zero_shot", "emms_knn", "emms")
DEMO = ("llama-glosses", "llama-glosses-short", "gpt2-captions")
_MAX_CHARACTERS = 200  # of a text that a model learns from


# ---- targets: rows that are short enough for models of 256 tokens ----------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One target: where it counts, how its rows are made, and how many of them the smaller budget has."""

    half: Half
    make: Callable[[], Table]
    few: int


def gsm8k() -> Table:
    """Short questions of GSM8K, and their worked answers."""
    parts = [hub_rows("openai/gsm8k", "data", split) for split in ("train", "test")]
    return _short(parts, {"prompt": "question", "completion": "answer"}, 400, (2_400, 60, 120))


def e2e() -> Table:
    """Tables about restaurants, and sentences that say the same: several of a table."""
    parts = [hub_rows("tuetschek/e2e_nlg", "data", split) for split in ("validation", "test")]
    return _short(parts, {"prompt": "meaning_representation", "completion": "human_reference"}, 250, (3_500, 100, 400))


def flores() -> Table:
    """English sentences, and their German translations."""
    parts = [hub_rows("facebook/flores-en-de", "data", split) for split in ("train", "validation", "test")]
    pairs = [pair for part in parts for pair in part["translation"]]
    rows = [pair for pair in pairs if len(pair["en"]) + len(pair["de"]) <= 400]
    columns = {language: [row[language] for row in rows] for language in ("en", "de")}
    return split_rows(columns, seed=SEED, counts=(720, 50, 120))


def self_instruct() -> Table:
    """Instructions and responses that people wrote."""
    parts = [hub_rows("yizhongw/self_instruct", "data", split) for split in ("train", "test")]
    return _short(parts, {"prompt": "prompt", "completion": "completion"}, 500, (180, 30, 70))


def scitldr() -> Table:
    """Abstracts of papers, and a sentence that says the same."""
    parts = [hub_rows("allenai/scitldr", "data", split) for split in ("train", "validation", "test")]
    papers = [paper for part in parts for paper in part.to_list()]
    rows = [(" ".join(paper["source"]), paper["target"][0]) for paper in papers]
    kept = [row for row in rows if sum(map(len, row)) <= 1_000]
    columns = {name: [row[place] for row in kept] for place, name in enumerate(("document", "summary"))}
    return split_rows(columns, seed=SEED, counts=(300, 40, 90))


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


TARGETS = {
    "e2e_nlg": Target("dev", e2e, 60),
    "gsm8k": Target("dev", gsm8k, 400),
    "flores-en-de": Target("held", flores, 400),
    "self_instruct": Target("held", self_instruct, 100),
    "scitldr": Target("held", scitldr, 150),
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
        make = partial(write_checkpoint, recipe, seed=100 + number)
        places[recipe.name] = str(made(work() / "candidates" / recipe.name, make))
    return places


# ---- runs ------------------------------------------------------------------------------------------------------------


def run() -> None:
    """Rank and fine-tune all candidates on each target, at both budgets and with both seeds, where results lack it."""
    import torch

    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seeds in range(1, SEEDS + 1):
        for budget in BUDGETS:
            for name, target in TARGETS.items():
                folder = made(work() / "targets" / name, lambda fresh, make=target.make: write(fresh, make()))
                if name not in results:
                    results[name] = {"half": target.half} | _scores(folder, checkpoints())
                before = results[name]["runs"].get(budget, {"bits": ()})
                if len(before["bits"]) < seeds:
                    tuned = _fine_tuned(folder, checkpoints(), target, budget, seeds)
                    # The first seed's seconds: its runs are not made again with a further one.
                    results[name]["runs"][budget] = tuned | {"seconds": before.get("seconds", tuned["seconds"])}
                    RESULTS.write_text(json.dumps(results) + "\n")
                    print(name, budget, results[name]["runs"][budget], flush=True)


def _scores(folder: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """The scores of each candidate, and the processor's seconds of those that order."""
    started = time.process_time()
    short = _ranking(folder, places, FIRST)
    seconds = time.process_time() - started
    rows = {row.checkpoint: row for row in _ranking(folder, places, OTHERS)}
    scores = {FIRST: {row.checkpoint: row.scores[FIRST].value for row in short}}
    scores |= {key: {place: rows[place].scores[key].value for place in places.values()} for key in OTHERS}
    return {
        "candidates": list(places),
        "parameters": [rows[place].parameters for place in places.values()],
        "scores": {key: [round(of[place], 4) for place in places.values()] for key, of in scores.items()},
        "seconds": round(seconds, 1),
        "runs": {},
    }


def _ranking(folder: Path, places: Mapping[str, str], estimators: str | Sequence[str]) -> Ranking:
    return hf_emms.rank(
        str(folder), list(places.values()), estimators=estimators, split="train", device="cpu", encoders="demo"
    )


def _fine_tuned(folder: Path, places: Mapping[str, str], target: Target, budget: str, seeds: int) -> dict[str, Any]:
    """Bits per byte of each candidate's test responses, a list for each seed, and the seconds of new runs."""
    short = _ranking(folder, places, FIRST)  # from the cache
    started = time.process_time()
    tuned = hf_emms.confirm(
        short,
        top=len(places),
        epochs=EPOCHS,
        learning_rates=RATE,
        seeds=seeds,
        confirm_samples=target.few if budget == "few" else None,
        device="cpu",
    )
    seconds = time.process_time() - started
    rows = {row.checkpoint: row.fine_tuned for row in tuned}
    tests = [[run.scores[BYTE_LIKELIHOOD.name] for run in rows[place].runs] for place in places.values()]
    return {
        "rows": dict(next(iter(rows.values())).rows),
        "bits": np.round(-np.log2(np.transpose(tests)), 4).tolist(),
        "seconds": round(seconds, 1),
    }


# ---- the table -------------------------------------------------------------------------------------------------------


def truths(results: Mapping[str, Any], budget: str) -> dict[str, dict[str, float]]:
    """Target → candidate → minus its bits per byte after fine-tuning, the mean over seeds."""
    return {
        name: dict(zip(target["candidates"], -np.mean(target["runs"][budget]["bits"], axis=0), strict=True))
        for name, target in results.items()
        if budget in target["runs"]
    }


def columns(results: Mapping[str, Any], budget: str) -> dict[str, dict[str, dict[str, float]]]:
    """Target → column → its measures."""
    of_budget = truths(results, budget)
    elsewhere = dataset_blind(of_budget)
    measures: dict[str, dict[str, dict[str, float]]] = {}
    for name, truth in of_budget.items():
        target = results[name]
        values = {f"`{key}`": scores for key, scores in target["scores"].items()}
        values["parameter count"] = target["parameters"]
        values["mean rank elsewhere"] = [elsewhere[name].get(candidate, np.nan) for candidate in truth]
        measures[name] = {column: measured(scores, list(truth.values())) for column, scores in values.items()}
    return measures


def table(results: Mapping[str, Any]) -> str:
    """Of each target and budget the weighted τ and the regret in bits per byte of each column, and the cost."""
    rows = []
    for budget in reversed(BUDGETS):
        for name, measures in columns(results, budget).items():
            target, runs = results[name], results[name]["runs"][budget]
            bits = dict(zip(target["candidates"], np.mean(runs["bits"], axis=0), strict=True))
            best, worst = min(bits, key=bits.__getitem__), max(bits.values())
            trained = runs["rows"]["train"].partition(", split")[0]
            cells = [f"{of['weighted_tau']:.2f} / {of['regret']:.2f}" for of in measures.values()]
            spread, share = f"{bits[best]:.2f} ({best}) to {worst:.2f}", f"{target['seconds'] / runs['seconds']:.0%}"
            steady = or_dash(weighted_tau(*-np.array(runs["bits"])) if len(runs["bits"]) == SEEDS else None)
            rows.append((name, target["half"], trained, spread, steady, *cells, share))
    head = ("target", "half", "trained on", "bits per byte", "τ of two seeds", *measures, f"cost of `{FIRST}`")
    return markdown(head, rows)


def main() -> None:
    if sys.argv[1:] == ["run"]:
        run()
    elif sys.argv[1:] == ["report"]:
        replace_between(PAGE, BEGIN, END, f"\n\n{table(json.loads(RESULTS.read_text()))}\n\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
