"""Rankings by transformer-ranker itself for what was fine-tuned of pairs and words, and the seconds of both.

`python -m scripts.quality peer` writes results/transformer-ranker.json. Both sides read the same rows, one after the
other, on one thread, transformer-ranker in the environment of scripts/bench/peer.py.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hf_emms
from scripts.quality import results
from scripts.quality.pools import FEWEST, PAIRS_AND_WORDS, Target
from scripts.quality.results import Measured, TargetResult

RESULTS = Path(__file__).parent / "results" / "transformer-ranker.json"
ESTIMATORS = {"hscore": "H-score", "logme": "LogME", "knn": "k-NN"}
ROWS = {"token-classification": 100}  # sentences; of pairs as many as there are, at most:
PAIRS = 1_000
WORDS = 25  # of a sentence, at most


def run() -> None:
    """Rank the candidates of each target of pairs and words by both, where the results lack it."""
    from scripts.demo import sources

    encoder = str(sources.minilm())
    hf_emms.rank("demo_pairs", ["emms-demo/bert-random"], max_samples=20, encoders=encoder)  # imports, loads
    rankings = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    records = results.read(PAIRS_AND_WORDS)
    for target in (target for target in PAIRS_AND_WORDS.targets if target.name in records):
        names = records[target.name]["candidates"]
        if len(names) >= FEWEST and rankings.get(target.name, {}).get("candidates") != names:
            rankings[target.name] = _by_both(target, names, encoder)
            RESULTS.write_text(json.dumps(rankings) + "\n", encoding="utf-8")
            print(target.name, rankings[target.name], flush=True)


def _by_both(target: Target, names: list[str], encoder: str) -> dict[str, Any]:
    import datasets

    from hf_emms.hub import resolve
    from scripts.bench.peer import contestant
    from scripts.quality.candidates import checkpoint
    from scripts.quality.experiment import folder_of

    places = [str(resolve(checkpoint(name), "model").folder) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        files = {"train": str(folder_of(target) / "data" / "train*.parquet")}
        rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=folder)
        if "tokens" in rows.features:  # it fails on sentences that are longer than a checkpoint reads
            rows = rows.filter(lambda row: len(row["tokens"]) <= WORDS)
        rows = rows.shuffle(seed=0).select(range(min(len(rows), ROWS.get(target.task, PAIRS))))
        rows.to_parquet(file)
        with contestant("peer", _columns(target), file, places, threads=1) as peer:
            answer = peer.answer("scores")
        started = time.process_time()
        settings = {"max_samples": None, "encoders": encoder, "cache": False}
        hf_emms.rank(str(file), places, task=target.task, columns=target.columns, **settings)
        seconds = {"transformer-ranker": answer["seconds"], "hf_emms": time.process_time() - started}
    return {"candidates": names, "rows": len(rows), "scores": answer["scores"], "seconds": seconds}


def _columns(target: Target) -> dict[str, str]:
    """Arguments of `TransformerRanker`: our roles under its names."""
    names = {"text": "text_column", "tokens": "text_column", "text_pair": "text_pair_column"}
    return {names.get(role, "label_column"): column for role, column in target.columns.items()}


def measures(targets: Sequence[TargetResult]) -> dict[str, dict[str, Measured]]:
    """Return title → target → how far an estimator of the peer agrees, where it ranked the same candidates."""
    rankings = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    agreements: dict[str, dict[str, Measured]] = {f"transformer-ranker, {title}": {} for title in ESTIMATORS.values()}
    for target in targets:
        ranking = rankings.get(target.name, {"candidates": (), "scores": {}})
        if set(ranking["candidates"]) == set(target.candidates):
            for name, by_target in zip(ESTIMATORS, agreements.values(), strict=True):
                if name in ranking["scores"]:
                    scores = dict(zip(ranking["candidates"], ranking["scores"][name], strict=True))
                    by_target[target.name] = target.agreement(_with_failed_last(target, scores))
    return {title: by_target for title, by_target in agreements.items() if by_target}


def _with_failed_last(target: TargetResult, scores: Mapping[str, float | None]) -> list[float]:
    """Scores in the order of the candidates; a checkpoint that it cannot read comes last."""
    last = min(score for score in scores.values() if score is not None) - 1
    return [last if (score := scores[name]) is None else score for name in target.candidates]
