"""What transformer-ranker 0.2 says of checkpoints: `python -P transformer_ranker_side.py FILE COLUMNS CHECKPOINT…`.

Runs in an environment of its own and imports nothing of hf_emms. FILE is a parquet file of rows, COLUMNS the arguments
of `TransformerRanker` that name its columns, as JSON. Prints JSON: estimator → score of each checkpoint, null of those
that it cannot read, and the processor's seconds with the first estimator that fits the labels.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

CLASSES, NUMBERS = ("hscore", "logme", "knn"), ("logme", "knn")


def main() -> None:
    file, columns, *checkpoints = sys.argv[1:]
    import datasets
    from transformer_ranker import TransformerRanker
    from transformer_ranker.datacleaner import TaskCategory

    logging.disable()
    datasets.disable_progress_bars()
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    rows = datasets.Dataset.from_parquet(file, cache_dir=str(Path(file).parent))
    roles = json.loads(columns)
    numbers = isinstance(rows[0][roles["label_column"]], float)
    # By itself it takes scores of pairs for classes.
    ranker = TransformerRanker(rows, **roles, task_category=TaskCategory.TEXT_REGRESSION if numbers else None)
    scores: dict[str, list[Any]] = {}
    seconds = []
    for estimator in NUMBERS if numbers else CLASSES:
        started = time.process_time()
        scores[estimator] = [_score(ranker, checkpoint, estimator) for checkpoint in checkpoints]
        seconds.append(time.process_time() - started)
    print(json.dumps({"scores": scores, "seconds": seconds[0]}), file=answers)


def _score(ranker: Any, checkpoint: str, estimator: str) -> float | None:
    try:
        result = ranker.run([checkpoint], estimator=estimator, batch_size=32, device="cpu")
    except Exception as error:  # noqa: BLE001, whatever it raises is a checkpoint without a score
        print(f"{checkpoint}: {error}", file=sys.stderr)
        return None
    return float(next(iter(result.scores.values())))


if __name__ == "__main__":
    main()
