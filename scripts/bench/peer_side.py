"""One side of the comparison with transformer-ranker 0.2: `python -P peer_side.py SIDE COLUMNS FILE CHECKPOINT…`.

SIDE is "peer", or "ours-" and a dtype. FILE is a parquet file. COLUMNS names its input and label columns as JSON, as
arguments of `TransformerRanker`. The process prints a line about itself, and then answers each line of standard input
("warm", "features 500", "ranking", "scores") with a line of JSON. The peer's environment has no hf_emms, and ours no
transformer-ranker.
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
    """Rows (a `datasets.Dataset`), the arguments that name their columns, and folders of checkpoints."""

    def __init__(self, rows: Any, columns: dict[str, str], checkpoints: list[str], dtype: str) -> None:
        self.rows, self.columns, self.checkpoints, self.dtype = rows, columns, checkpoints, dtype
        self.has_words = not isinstance(rows[0][columns["text_column"]], str)

    def inputs(self, count: int) -> Any:
        return self.rows[self.columns["text_column"]][:count]


class Ours(Side):
    @property
    def name(self) -> str:
        import hf_emms

        return f"hf_emms {hf_emms.__version__} ({self.dtype})"

    @cached_property
    def extractors(self) -> list[Any]:
        from hf_emms.features.feature_spec import make_feature_spec
        from hf_emms.hub import resolve
        from hf_emms.inputs import TEXT, WORDS

        modality = WORDS if self.has_words else TEXT
        specs = [
            make_feature_spec(resolve(name, "model"), modality, "benchmark", dtype=self.dtype)
            for name in self.checkpoints
        ]
        return [modality.load_extractor(spec, device="cpu", layers=("spread",)) for spec in specs]

    def features(self, count: int) -> None:
        """Extract the features of the first rows from three layers, the default of rankings."""
        from hf_emms.features.device import gather_batches

        inputs = _spans_of_words(self.inputs(count)) if self.has_words else self.inputs(count)
        for extractor in self.extractors:
            gather_batches(extractor.batches(inputs), len(inputs))

    def ranking(self) -> None:
        """Rank with the defaults, and with the first checkpoint as label encoder."""
        import hf_emms

        settings = {"encoders": self.checkpoints[0], "max_samples": None, "dtype": self.dtype, "cache": False}
        ranking = hf_emms.rank(self.rows, self.checkpoints, device="cpu", **settings)
        assert [row.error for row in ranking] == [None] * len(self.checkpoints), ranking


def _spans_of_words(sentences: list[list[str]]) -> Any:
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

        pooling = None if self.has_words else "mean"
        settings = {"layer_ids": "all", "layer_mean": True, "sentence_pooling": pooling, "device": "cpu"}
        return [Embedder(model=name, **settings) for name in self.checkpoints]

    def features(self, count: int) -> None:
        """Embed the first rows with the defaults of `TransformerRanker.run`: mean over layers, batches of 32."""
        for embedder in self.embedders:
            embedder.embed(self.inputs(count), batch_size=32, show_progress=False)

    def ranking(self) -> None:
        """Rank with the defaults: H-score."""
        from transformer_ranker import TransformerRanker

        TransformerRanker(self.rows, **self.columns).run(self.checkpoints, batch_size=32, device="cpu")

    def scores(self) -> dict[str, Any]:
        """Return the scores per estimator, None for unreadable checkpoints, and CPU seconds of the first estimator."""
        from transformer_ranker import TransformerRanker
        from transformer_ranker.datacleaner import TaskCategory

        numbers = isinstance(self.rows[0][self.columns["label_column"]], float)
        # Without a category it reads numbers as classes.
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
    except Exception as error:  # noqa: BLE001 (any error means: no score)
        print(f"{checkpoint}: {error}", file=sys.stderr)
        return None
    return float(next(iter(result.scores.values())))


def main() -> None:
    name, columns, file, *checkpoints = sys.argv[1:]
    import datasets

    logging.disable()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    rows = datasets.Dataset.from_parquet(file, cache_dir=str(Path(file).parent / name))
    answers, sys.stdout = sys.stdout, sys.stderr  # keep the output of libraries out of the answers
    kind, _, dtype = name.partition("-")
    side = (Peer if kind == "peer" else Ours)(rows, json.loads(columns), checkpoints, dtype)
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "tokenizers"))
    print(json.dumps({"name": side.name, "libraries": libraries}), file=answers, flush=True)
    for line in sys.stdin:
        phase, _, count = line.strip().partition(" ")
        wall, cpu = time.perf_counter(), time.process_time()
        if phase == "warm":
            phase, count = "features", str(WARM_UP)
        result = getattr(side, phase)(*([int(count)] if count else ()))
        spent = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps(spent if result is None else result), file=answers, flush=True)


if __name__ == "__main__":
    main()
