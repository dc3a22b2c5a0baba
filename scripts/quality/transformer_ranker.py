"""Rankings by transformer-ranker itself for what was fine-tuned of pairs and words, and the seconds of both.

`python -m scripts.quality.pairs_and_words peer` writes results/transformer-ranker.json. Both sides read the same rows,
one after the other, on one thread, transformer-ranker in the environment of scripts/bench/peer.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hf_emms
from hf_emms.hub import resolve
from scripts.quality.protocol import ROLES, Pool, Target
from scripts.quality.results import FEWEST, Measured, TargetResult

RESULTS = Path(__file__).parent / "results" / "transformer-ranker.json"
SIDE = Path(__file__).with_name("transformer_ranker_side.py")
ESTIMATORS = {"hscore": "H-score", "logme": "LogME", "knn": "k-NN"}
ROWS = {"token-classification": 100}  # sentences; of pairs as many as there are, at most:
PAIRS = 1_000
WORDS = 25  # of a sentence, at most


def rank_by_both(pool: Pool, encoder: str) -> None:
    """Both rankings of the fine-tuned candidates of each target."""
    from scripts.quality.truth import folder_of, tuned

    hf_emms.rank("demo_pairs", ["emms-demo/bert-random"], max_samples=20, encoders=encoder)  # imports, loads
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for target, candidates in tuned(pool):
        names = [candidate.name for candidate in candidates]
        if len(names) < FEWEST or found.get(target.name, {}).get("candidates") == names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[target.name] = _both(target, names, folder_of(target), Path(folder), encoder)
        RESULTS.write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(target.name, found[target.name], flush=True)


def _both(target: Target, names: list[str], source: Path, folder: Path, encoder: str) -> dict[str, Any]:
    import datasets

    from scripts.bench.peer import peer_python
    from scripts.quality.candidates import checkpoint

    file, places = folder / "rows.parquet", [str(resolve(checkpoint(name), "model").folder) for name in names]
    files = {"train": str(source / "data" / "train*.parquet")}
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder))
    if "tokens" in rows.features:  # it fails on sentences that are longer than a checkpoint reads
        rows = rows.filter(lambda row: len(row["tokens"]) <= WORDS)
    rows = rows.shuffle(seed=0).select(range(min(len(rows), ROWS.get(target.task, PAIRS))))
    rows.to_parquet(file)
    command = [str(peer_python()), "-P", str(SIDE), str(file), json.dumps(_columns(target.task)), *places]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = json.loads(subprocess.run(command, env=alone, check=True, stdout=subprocess.PIPE, text=True).stdout)
    started = time.process_time()
    hf_emms.rank(
        str(file), places, task=target.task, columns=ROLES[target.task], max_samples=None, encoders=encoder, cache=False
    )
    seconds = {"transformer-ranker": answer["seconds"], "hf_emms": time.process_time() - started}
    return {"candidates": names, "rows": len(rows), "scores": answer["scores"], "seconds": seconds}


def _columns(task: str) -> dict[str, str]:
    """Arguments of `TransformerRanker`: our roles under its names."""
    names = {"text": "text_column", "tokens": "text_column", "text_pair": "text_pair_column"}
    return {names.get(role, "label_column"): column for role, column in ROLES[task].items()}


def measures(targets: Sequence[TargetResult]) -> dict[str, dict[str, Measured]]:
    """Title → target → how far an estimator of transformer-ranker agrees, where it ranked the same candidates."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    agreements: dict[str, dict[str, Measured]] = {f"transformer-ranker, {title}": {} for title in ESTIMATORS.values()}
    for target in targets:
        result = results.get(target.name, {"candidates": (), "scores": {}})
        if set(result["candidates"]) == set(target.candidates):
            for name, of_estimator in zip(ESTIMATORS, agreements.values(), strict=True):
                if name in result["scores"]:
                    scores = dict(zip(result["candidates"], result["scores"][name], strict=True))
                    of_estimator[target.name] = target.agreement(_with_failed_last(target, scores))
    return {title: of_estimator for title, of_estimator in agreements.items() if of_estimator}


def _with_failed_last(target: TargetResult, scores: Mapping[str, float | None]) -> list[float]:
    """Scores in the order of the candidates; one that it cannot read comes last."""
    last = min(score for score in scores.values() if score is not None) - 1
    return [last if (score := scores[name]) is None else score for name in target.candidates]
