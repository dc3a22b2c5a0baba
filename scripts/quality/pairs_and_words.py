"""How far rankings for pairs and words agree with few fine-tunings: the last table of docs/rank-pairs-and-tokens.md.

    python -m scripts.quality truth --pool pairs-and-words       fine-tunes; continues where it ended
    python -m scripts.quality.pairs_and_words scores             ranks what was fine-tuned
    python -m scripts.quality.pairs_and_words peer               has transformer-ranker rank them, on as many rows
    python -m scripts.quality.pairs_and_words report             writes results/pairs-and-words.json and the page

Rows come as for scripts.quality; all-MiniLM-L6-v2 embeds the labels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import hf_emms
from scripts.quality.protocol import PAIRS_AND_WORDS, ROLES, Pool
from scripts.quality.report import markdown, tau_and_regret
from scripts.quality.results import FEWEST, collect, controls, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rank-pairs-and-tokens.md"
BEGIN, END = "<!-- agreement -->", "<!-- /agreement -->"
ROWS = 1_000
ESTIMATORS = ("emms_knn", "emms", "logme", "knn", "hscore")
PEER = Path(__file__).with_name("peer_pairs_and_words.py")
PEERS = {f"transformer-ranker {name}": f"transformer-ranker, {name}" for name in ("hscore", "logme", "knn")}
# Sentences of words: about as many words as ROWS, ten in a sentence.
PEER_ROWS = {"token-classification": 100}
CONTROLS = {"parameters": "parameter count", "dataset-blind": "mean rank elsewhere"}


def scores(pool: Pool, encoders: str) -> None:
    """Rank the fine-tuned candidates of each target with every estimator, on rows that fine-tuning trained on."""
    from scripts.quality.candidates import checkpoint
    from scripts.quality.scores import Setting, scores_path
    from scripts.quality.truth import folder_of, tuned

    for target, candidates in tuned(pool):
        if len(candidates) < FEWEST:
            continue
        names = {checkpoint(candidate.name): candidate.name for candidate in candidates}
        ranking = hf_emms.rank(
            str(folder_of(target)),
            list(names),
            task=target.task,
            split="train",
            columns=ROLES[target.task],
            max_samples=ROWS,
            # H-score is one of classes.
            estimators=ESTIMATORS[: -1 if target.task == "sentence-similarity" else None],
            encoders=encoders,
            device="cpu",
        )
        scored = {
            names[row.checkpoint]: {
                "parameters": row.parameters,
                "width": row.width,
                "scores": {Setting(name, pool.labels, "all", 0).key: score.value for name, score in row.scores.items()},
                "seconds": {"features": row.seconds.features},
            }
            for row in ranking
        }
        scores_path(target).parent.mkdir(exist_ok=True)
        scores_path(target).write_text(json.dumps(scored), encoding="utf-8")
        print(target.name, len(scored), flush=True)


def peer() -> None:
    """Have transformer-ranker rank the candidates that `scores` has scored, and put its scores beside those."""
    import datasets

    from scripts.bench.peer import peer_python
    from scripts.quality.candidates import checkpoint
    from scripts.quality.scores import Setting, scores_path
    from scripts.quality.truth import folder_of

    for target in PAIRS_AND_WORDS.targets:
        if not scores_path(target).exists():
            continue
        scored = json.loads(scores_path(target).read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.parquet"
            data = {"train": str(folder_of(target) / "data" / "train*.parquet")}
            rows = datasets.load_dataset("parquet", data_files=data, split="train", cache_dir=folder)
            rows = rows.shuffle(seed=0).select(range(min(len(rows), PEER_ROWS.get(target.task, ROWS))))
            rows.to_parquet(file)
            command = [str(peer_python()), "-P", str(PEER), str(file), json.dumps(_peer_columns(target.task))]
            asked = subprocess.run(
                [*command, *map(checkpoint, scored)], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
        for estimator, scores in json.loads(asked.splitlines()[-1]).items():
            setting = Setting(f"transformer-ranker {estimator}", PAIRS_AND_WORDS.labels, "all", 0)
            for candidate, score in zip(scored.values(), scores, strict=True):
                candidate["scores"][setting.key] = score
        scores_path(target).write_text(json.dumps(scored), encoding="utf-8")
        print(target.name, asked.splitlines()[-1], flush=True)


def _peer_columns(task: str) -> dict[str, str]:
    """Arguments of `TransformerRanker`: our roles under its names."""
    names = {"text": "text_column", "tokens": "text_column", "text_pair": "text_pair_column"}
    return {names.get(role, "label_column"): column for role, column in ROLES[task].items()}


def report(pool: Pool, peers: Mapping[str, str]) -> str:
    """The table of a pool's committed results, with columns of peers."""
    _, targets = load(pool)
    of_controls = controls(targets)
    rows = []
    for target in targets:
        ordered = sorted(target.truth.items(), key=lambda item: -item[1])
        best, worst = ordered[0], ordered[-1]
        own = [target.measures(name) for name in (*ESTIMATORS, *peers)]
        measured = [*own, *(of_controls[name].get(target.name) for name in CONTROLS)]
        cells = [tau_and_regret([measures] if measures else []) for measures in measured]
        spread = f"{target.record['measure']} {worst[1]:.1f} to {best[1]:.1f} ({best[0]})"
        rows.append((target.name, target.record["half"], str(len(ordered)), spread, *cells))
    head = ("target", "half", "candidates", "fine-tuned", *(f"`{name}`" for name in ESTIMATORS), *peers.values())
    head = (*head, *CONTROLS.values())
    return markdown(head, rows)


def write_report(pool: Pool, page: Path, peers: Mapping[str, str]) -> None:
    """Collect a pool's results and put their table on a page."""
    collect(pool)
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{report(pool, peers)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    if sys.argv[1:] == ["scores"]:
        from scripts.demo import sources

        scores(PAIRS_AND_WORDS, str(sources.minilm()))
    elif sys.argv[1:] == ["peer"]:
        peer()
    elif sys.argv[1:] == ["report"]:
        write_report(PAIRS_AND_WORDS, PAGE, PEERS)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
