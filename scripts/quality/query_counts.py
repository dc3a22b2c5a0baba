"""Measure how exact nDCG@10 is by the number of queries: its standard deviation over draws of queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.data import load_sample
from hf_emms.options import Options
from hf_emms.scoring.bm25 import word_search
from hf_emms.scoring.retrieval import ndcg_of_queries
from scripts.quality import experiment
from scripts.quality.rows import rows_folder

RESULTS = Path(__file__).with_name("results") / "query-counts.json"
COUNTS = (10, 50, 100, 300)
DEMO, FOLDERS = "demo_search", ("princeton/wordnet-reverse-dictionary", "allenai/scitldr-retrieval")
CHECKPOINTS = ("bert-distilled", "distilbert-distilled-short")
_DRAWS = 2_000


def measure() -> None:
    """Measure the demo and other available searches, and store the results."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in (DEMO, *FOLDERS):
        try:
            stored[name] = _measured(name if name == DEMO else str(rows_folder(name)))
        except FileNotFoundError as error:
            print(f"{name}: left out: {error}", flush=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _measured(dataset: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"max_samples": None, "corpus_size": None, "estimators": ("zero_shot_ndcg",)}
    options = Options.of(dataset, task="text-retrieval", device="cpu", **settings)
    texts = load_sample(options.sample).inputs
    first, second = experiment.searches(options, [f"emms-demo/{name}" for name in CHECKPOINTS])
    by_words = word_search(texts.queries, texts.documents, texts.judgments, first.groups)
    in_points = [
        100 * ndcg_of_queries(search.relevant, search.places, len(texts.queries))
        for search in (by_words, first, second)
    ]
    values = {
        "BM25": in_points[0],
        CHECKPOINTS[0]: in_points[1],
        " minus ".join(CHECKPOINTS): in_points[1] - in_points[2],
    }
    searches = {name: [round(float(v.mean()), 1), *_errors(v)] for name, v in values.items()}
    return {"queries": len(texts.queries), "documents": len(texts.documents), "searches": searches}


def _errors(values: np.ndarray) -> list[float]:
    """Return the standard deviation of the mean for each number of queries, over draws with replacement."""
    rng = np.random.default_rng(0)
    means = ([rng.choice(values, count).mean() for _ in range(_DRAWS)] for count in COUNTS)
    return [round(float(np.std(of_draws)), 1) for of_draws in means]
