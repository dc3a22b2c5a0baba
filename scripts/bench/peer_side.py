"""One side of a comparison with transformer-ranker 0.2: `python -P peer_side.py SIDE COLUMNS FILE CHECKPOINT…`.

SIDE is peer, or ours- and a dtype; FILE is a parquet file of rows, whose inputs and labels stand in the columns that
COLUMNS names as the arguments of `TransformerRanker`, as JSON. Prints a line about itself, and answers each line of
standard input ("warm up", "features 500", "ranking", "scores") with a line of JSON. The peer's side runs in an
environment of its own and imports nothing of hf_emms; ours imports nothing of the peer.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

WARM_UP = 64  # rows
CLASSES, NUMBERS = ("hscore", "logme", "knn"), ("logme", "knn")


class Side:
    """What both sides do with rows and checkpoints.

    Attributes:
        rows: a `datasets.Dataset`.
        columns: arguments of `TransformerRanker` that name its columns.
        checkpoints: folders.
        dtype: of the weights.
    """

    def __init__(self, rows: Any, columns: dict[str, str], checkpoints: list[str], dtype: str) -> None:
        self.rows, self.columns, self.checkpoints, self.dtype = rows, columns, checkpoints, dtype
        self.are_words = not isinstance(rows[0][columns["text_column"]], str)

    def inputs(self, count: int) -> Any:
        return self.rows[self.columns["text_column"]][:count]


class Ours(Side):
    @property
    def name(self) -> str:
        import hf_emms

        return f"hf_emms {hf_emms.__version__} ({self.dtype})"

    @cached_property
    def extractors(self) -> list[Any]:
        from hf_emms.features.feature_spec import plan_extraction
        from hf_emms.hub import resolve
        from hf_emms.inputs import TEXT, WORDS

        kind = WORDS if self.are_words else TEXT
        plans = [
            plan_extraction(resolve(name, "model"), kind, "benchmark", dtype=self.dtype) for name in self.checkpoints
        ]
        return [kind.load_extractor(plan, device="cpu", layers=("spread",)) for plan in plans]

    def features(self, count: int) -> None:
        """Features of the first rows, by three layers as rankings take them by default."""
        from hf_emms.features.device import gather_batches

        inputs = _all_words(self.inputs(count)) if self.are_words else self.inputs(count)
        for extractor in self.extractors:
            gather_batches(extractor.batches(inputs), len(inputs))

    def ranking(self) -> None:
        """A ranking with the defaults, and the first checkpoint as the label encoder."""
        import hf_emms

        settings = {"encoders": self.checkpoints[0], "max_samples": None, "dtype": self.dtype, "cache": False}
        ranking = hf_emms.rank(self.rows, self.checkpoints, device="cpu", **settings)
        assert [row.error for row in ranking] == [None] * len(self.checkpoints), ranking


def _all_words(sentences: list[list[str]]) -> Any:
    """Every word of sentences, as our checkpoints read them."""
    import numpy as np

    from hf_emms.inputs import Spans

    bounds = []
    for number, words in enumerate(sentences):
        stops = np.cumsum([len(word) + 1 for word in words]) - 1
        bounds += [(number, stop - len(word), stop) for word, stop in zip(words, stops.tolist(), strict=True)]
    return Spans([" ".join(words) for words in sentences], np.array(bounds))


class Peer(Side):
    @property
    def name(self) -> str:
        return f"transformer-ranker {version('transformer-ranker')} (float32)"

    @cached_property
    def embedders(self) -> list[Any]:
        from transformer_ranker.embedder import Embedder

        pooling = None if self.are_words else "mean"
        settings = {"layer_ids": "all", "layer_mean": True, "sentence_pooling": pooling, "device": "cpu"}
        return [Embedder(model=name, **settings) for name in self.checkpoints]

    def features(self, count: int) -> None:
        """As `TransformerRanker.run` does with its defaults: mean over layers, batches of 32."""
        for embedder in self.embedders:
            embedder.embed(self.inputs(count), batch_size=32, show_progress=False)

    def ranking(self) -> None:
        """A ranking with its defaults: H-score."""
        from transformer_ranker import TransformerRanker

        TransformerRanker(self.rows, **self.columns).run(self.checkpoints, batch_size=32, device="cpu")

    def scores(self) -> dict[str, Any]:
        """Estimator → score of each checkpoint, None where it cannot read it; CPU seconds of the first estimator."""
        from transformer_ranker import TransformerRanker
        from transformer_ranker.datacleaner import TaskCategory

        numbers = isinstance(self.rows[0][self.columns["label_column"]], float)
        # By itself it takes scores of pairs for classes.
        category = TaskCategory.TEXT_REGRESSION if numbers else None
        ranker = TransformerRanker(self.rows, **self.columns, task_category=category)
        scores: dict[str, list[float | None]] = {}
        seconds = []
        for estimator in NUMBERS if numbers else CLASSES:
            started = time.process_time()
            scores[estimator] = [_score(ranker, checkpoint, estimator) for checkpoint in self.checkpoints]
            seconds.append(time.process_time() - started)
        return {"scores": scores, "seconds": seconds[0]}


def _score(ranker: Any, checkpoint: str, estimator: str) -> float | None:
    try:
        result = ranker.run([checkpoint], estimator=estimator, batch_size=32, device="cpu")
    except Exception as error:  # noqa: BLE001, whatever it raises is a checkpoint without a score
        print(f"{checkpoint}: {error}", file=sys.stderr)
        return None
    return float(next(iter(result.scores.values())))


def main() -> None:
    side, columns, file, *checkpoints = sys.argv[1:]
    import datasets

    logging.disable()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    rows = datasets.Dataset.from_parquet(file, cache_dir=str(Path(file).parent / side))
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    kind, _, dtype = side.partition("-")
    chosen = (Peer if kind == "peer" else Ours)(rows, json.loads(columns), checkpoints, dtype)
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "tokenizers"))
    print(json.dumps({"name": chosen.name, "libraries": libraries}), file=answers, flush=True)
    for line in sys.stdin:
        phase, _, count = line.strip().partition(" ")
        wall, cpu = time.perf_counter(), time.process_time()
        if phase == "warm":
            chosen.features(WARM_UP)
        result = getattr(chosen, phase)(*([int(count)] if count else ())) if phase != "warm" else None
        spent = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps(spent if result is None else result), file=answers, flush=True)


if __name__ == "__main__":
    main()
