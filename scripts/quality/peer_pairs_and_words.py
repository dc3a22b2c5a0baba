"""What transformer-ranker 0.2 says of checkpoints: `python -P peer_pairs_and_words.py FILE COLUMNS CHECKPOINT…`.

Runs in an environment of its own and imports nothing of hf_emms. FILE is a parquet file of rows, COLUMNS the arguments
of `TransformerRanker` that name its columns, as JSON. Prints estimator → scores in the order of the checkpoints.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

ESTIMATORS = ("hscore", "logme", "knn")


def main() -> None:
    file, columns, *checkpoints = sys.argv[1:]
    import datasets
    from transformer_ranker import TransformerRanker

    logging.disable()
    datasets.disable_progress_bars()
    scores = {}
    for estimator in ESTIMATORS:
        rows = datasets.Dataset.from_parquet(file, cache_dir=str(Path(file).parent))
        try:
            result = TransformerRanker(rows, **json.loads(columns)).run(
                checkpoints, estimator=estimator, batch_size=32, device="cpu"
            )
        except ValueError as error:  # H-score is one of classes
            print(estimator, error, file=sys.stderr)
            continue
        scores[estimator] = [float(result.scores[name]) for name in checkpoints]
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
