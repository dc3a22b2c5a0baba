"""How far rankings for pairs and words agree with few fine-tunings: the last table of docs/rank-pairs-and-tokens.md.

    python -m scripts.quality truth --pool pairs-and-words       fine-tunes; continues where it ended
    python -m scripts.quality.pairs_and_words scores             ranks what was fine-tuned
    python -m scripts.quality.pairs_and_words peer               has transformer-ranker rank it, too
    python -m scripts.quality.pairs_and_words report             writes results/pairs-and-words.json and the page

Rows come as for scripts.quality; all-MiniLM-L6-v2 embeds the labels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hf_emms
from scripts.quality import transformer_ranker
from scripts.quality.confirming import replayed
from scripts.quality.protocol import PAIRS_AND_WORDS, ROLES, Pool
from scripts.quality.report import markdown, or_dash, replace_between, tau_and_regret
from scripts.quality.results import FEWEST, collect, controls, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rank-pairs-and-tokens.md"
BEGIN, END = "<!-- agreement -->", "<!-- /agreement -->"
ROWS = 1_000
ESTIMATORS = ("emms_knn", "emms", "logme", "knn", "hscore")
CONFIRMED = 3  # candidates
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


def report(pool: Pool) -> str:
    """The table of a pool's committed results."""
    _, targets = load(pool)
    of_controls = controls(targets)
    peers = transformer_ranker.measures(targets)
    rows = []
    for target in targets:
        ordered = sorted(target.truth.items(), key=lambda item: -item[1])
        best, worst = ordered[0], ordered[-1]
        measured = [
            *map(target.measures, ESTIMATORS),
            *(of_peer.get(target.name) for of_peer in peers.values()),
            *(of_controls[name].get(target.name) for name in CONTROLS),
        ]
        cells = [tau_and_regret([measures] if measures else []) for measures in measured]
        spread = f"{target.record['measure']} {worst[1]:.1f} to {best[1]:.1f} ({best[0]})"
        confirmed = f"{replayed(target, CONFIRMED).regret:.1f}"
        steady = or_dash(target.seeds_agree)
        rows.append((target.name, target.record["half"], str(len(ordered)), spread, steady, *cells, confirmed))
    estimators = (f"`{name}`" for name in ESTIMATORS)
    head = ("target", "half", "candidates", "fine-tuned", "τ of two seeds", *estimators)
    return markdown((*head, *peers, *CONTROLS.values(), f"regret with `--confirm {CONFIRMED}`"), rows)


def write_report(pool: Pool, page: Path) -> None:
    """Collect a pool's results and put their table on a page."""
    collect(pool)
    replace_between(page, BEGIN, END, f"\n\n{report(pool)}\n\n")


def main() -> None:
    if sys.argv[1:] in (["scores"], ["peer"]):
        from scripts.demo import sources

        rank_all = scores if sys.argv[1] == "scores" else transformer_ranker.rank_by_both
        rank_all(PAIRS_AND_WORDS, str(sources.minilm()))
    elif sys.argv[1:] == ["report"]:
        write_report(PAIRS_AND_WORDS, PAGE)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
