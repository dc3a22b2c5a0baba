"""Measure whether sentences of documents order embedding models as real queries do."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.data import load_sample
from hf_emms.errors import EmmsError
from hf_emms.evaluation import dataset_blind, measured, over_targets
from hf_emms.evaluation.measures import RESAMPLES
from hf_emms.options import Options
from hf_emms.scoring.bm25 import word_search
from hf_emms.scoring.retrieval import zero_shot_ndcg
from scripts.quality import experiment
from scripts.quality.candidates import checkpoint
from scripts.quality.pools import SEARCH, work
from scripts.quality.pools import made as made_once

RESULTS = Path(__file__).with_name("results") / "sentence-queries.json"
# Numbers of sentences.
COUNTS = (100, 200, 400)
# Upper ends of the gaps between two checkpoints, in points.
GAPS = (3.0, 6.0, float("inf"))
# Sizes that fit half an hour on two cores.
QUERIES, DOCUMENTS, TOKENS = 250, 250, 64
# They take most of the time, or add little.
LEFT_OUT = ("mpnet", "mpnet-4-layers", "minilm-random")
CODE = "docstrings"
# A control.
BLIND = "mean rank elsewhere"
_FEWEST_LINES, _FEWEST_WORDS = 8, 5


def measure(folders: Sequence[Path]) -> None:
    """Measure searches in folders with queries, and docstrings of Python's library that search for their functions.

    Args:
        folders: BEIR folders, or other datasets of the task text-retrieval.
    """
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    names = [candidate.name for candidate in SEARCH.candidates if candidate.name not in LEFT_OUT]
    checkpoints = {name: checkpoint(name) for name in names}
    for folder in (*folders, made_once(work() / CODE, write_docstrings)):
        stored[folder.name] = _measured(str(folder), checkpoints)
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        print(folder.name, flush=True)


def _measured(dataset: str, checkpoints: dict[str, str]) -> dict[str, Any]:
    """Return nDCG@10 of each checkpoint and of BM25 in points: with real queries, and with sentences."""
    settings: dict[str, Any] = {"task": "text-retrieval", "corpus_size": DOCUMENTS, "device": "cpu"}
    options = Options.of(dataset, max_samples=QUERIES, estimators=("zero_shot_ndcg",), **settings)
    texts = load_sample(options.sample).inputs
    record: dict[str, Any] = {"queries": len(texts.queries), "documents": len(texts.documents), "sentences": {}}
    documents = [{"text": text} for text in texts.documents]
    try:
        for count in COUNTS:
            alone = Options.of(documents, max_samples=count, **settings)
            record["sentences"][str(count)] = _scores(alone, checkpoints)
    except EmmsError as error:
        return record | {"refused": error.message}
    return record | {"candidates": list(checkpoints), "real": _scores(options, checkpoints)}


def _scores(options: Options, checkpoints: dict[str, str]) -> dict[str, Any]:
    texts = load_sample(options.sample).inputs
    searches = [*experiment.searches(options, checkpoints.values(), TOKENS)]
    by_words = word_search(texts.queries, texts.documents, texts.judgments, searches[0].groups)
    bm25, *values = (round(100 * zero_shot_ndcg(search).value, 2) for search in (by_words, *searches))
    return {"queries": len(texts.queries), "scores": values, "bm25": bm25}


# ---- code ------------------------------------------------------------------------------------------------------------


def write_docstrings(folder: Path) -> None:
    """Write a BEIR folder: the first lines of docstrings in Python's library search for their functions."""
    functions = dict(sorted(_functions()))
    (folder / "qrels").mkdir()
    tables = {
        "corpus.jsonl": [{"_id": f"d{n}", "text": text} for n, text in enumerate(functions.values())],
        "queries.jsonl": [{"_id": f"q{n}", "text": text} for n, text in enumerate(functions)],
    }
    for name, rows in tables.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judgments = [f"q{n}\td{n}\t1" for n in range(len(functions))]
    content = "\n".join(["query-id\tcorpus-id\tscore", *judgments]) + "\n"
    (folder / "qrels" / "test.tsv").write_text(content, encoding="utf-8")


def _functions() -> Iterator[tuple[str, str]]:
    """Yield the first line of each docstring, and its function without it."""
    library = Path(inspect.getsourcefile(json) or "").parents[1]
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not (docstring := ast.get_docstring(node)):
                continue
            node.body = node.body[1:] or [ast.Pass()]
            code, line = ast.unparse(node), docstring.splitlines()[0]
            if code.count("\n") >= _FEWEST_LINES and len(line.split()) >= _FEWEST_WORDS:
                yield line, code


# ---- tables ----------------------------------------------------------------------------------------------------------


def agreement(results: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a row per target: weighted τ with real queries / regret in points, for each number of sentences."""
    blind = dataset_blind({name: _real(record) for name, record in results.items() if "refused" not in record})
    titles = {str(count): f"{count} sentences: τ / regret" for count in COUNTS} | {BLIND: f"{BLIND}: τ / regret"}
    agreements: dict[str, list[dict[str, float]]] = {title: [] for title in titles.values()}
    for name, record in results.items():
        row = {"target": name, "queries": f"{record['queries']:,}", "documents": f"{record['documents']:,}"}
        if "refused" in record:
            yield row | dict.fromkeys((*titles.values(), "best", "BM25 minus the best"), "refused")
            continue
        real, drawn = record["real"], record["sentences"]
        orders = {count: drawn[count]["scores"] for count in drawn} | {BLIND: [*blind[name].values()]}
        for order, scores in orders.items():
            agreements[titles[order]].append(measured(scores, real["scores"]))
            row[titles[order]] = "{weighted_tau:.2f} / {regret:.1f}".format(**agreements[titles[order]][-1])
            if order in drawn and drawn[order]["queries"] < int(order):
                row[titles[order]] += f" ({drawn[order]['queries']} drawn)"
        best, name_of_best = max(zip(real["scores"], record["candidates"], strict=True))
        row["best"] = f"{name_of_best}, {best:.1f}"
        gaps_to_bm25 = (each["bm25"] - max(each["scores"]) for each in (real, drawn[str(COUNTS[-1])]))
        row["BM25 minus the best"] = "{:+.1f} with queries, {:+.1f} with sentences".format(*gaps_to_bm25)
        yield row
    means = {"target": "mean [95 %]", "queries": "–", "documents": "–"}
    for title, of_targets in agreements.items():
        taus, regrets = ([each[measure] for each in of_targets] for measure in ("weighted_tau", "regret"))
        means[title] = "{:.2f} [{:.2f}, {:.2f}] / {:.1f}".format(np.mean(taus), *over_targets(taus), np.mean(regrets))
    yield means | {"best": "–", "BM25 minus the best": "–"}


def _real(record: dict[str, Any]) -> dict[str, float]:
    """Return checkpoint → nDCG@10 with real queries."""
    return dict(zip(record["candidates"], record["real"]["scores"], strict=True))


def signs(results: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a row per range of gaps: how often a gap by sentences has the sign of the gap by real queries."""
    records = [record for record in results.values() if "refused" not in record]
    counts = np.array([_signs(record) for record in records])
    published = np.sum([_signs(record, ("real", "altered")) for record in records], axis=0)
    draws = np.random.default_rng(0).integers(0, len(counts), (RESAMPLES, len(counts)))
    right, pairs = np.moveaxis(counts[draws].sum(axis=1), -1, 0)
    low, high = np.nanquantile(right / np.where(pairs, pairs, np.nan), (0.025, 0.975), axis=0)
    for place, title in enumerate(("below 3 points", "3 to 6 points", "6 points and more")):
        sure, total = counts.sum(axis=0)[place]
        yield {
            "gap": title,
            "pairs": str(total),
            "with the sign of real queries": str(sure),
            "share [95 %]": f"{sure / total:.0%} [{low[place]:.0%}, {high[place]:.0%}]".replace("%", " %"),
            "without models of the demo": "{} of {}".format(*published[place]),
        }


def _signs(record: dict[str, Any], kinds: Sequence[str] = ()) -> list[list[int]]:
    """Return the number of pairs of checkpoints with the right sign and the number of pairs, for each of `GAPS`.

    Args:
        record: A target.
        kinds: Kinds of the checkpoints; empty for all.
    """
    counted = {candidate.name for candidate in SEARCH.candidates if not kinds or candidate.kind in kinds}
    counts = [[0, 0] for _ in GAPS]
    columns = record["candidates"], record["sentences"][str(COUNTS[-1])]["scores"], record["real"]["scores"]
    scores = [both for name, *both in zip(*columns, strict=True) if name in counted]
    for (first, real_first), (second, real_second) in combinations(scores, 2):
        place = next(place for place, gap in enumerate(GAPS) if abs(first - second) < gap)
        counts[place][0] += (first - second) * (real_first - real_second) > 0
        counts[place][1] += 1
    return counts
