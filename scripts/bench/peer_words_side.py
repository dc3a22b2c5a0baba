"""One side of the benchmark `peer_words`: `python -P peer_words_side.py SIDE ROWS CHECKPOINT…`, with SIDE ours or peer.

Answers "features" and "ranking" on its standard input with the seconds that they took. Imports nothing of hf_emms on
the peer's side, and nothing of the peer on ours.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Phases = dict[str, Callable[[], Any]]
WARM_UP = 32


def ours(rows: Any, checkpoints: list[str]) -> tuple[Phases, str]:
    import numpy as np

    import hf_emms
    from hf_emms.features.extraction_plan import plan_extraction
    from hf_emms.hub import resolve
    from hf_emms.inputs import WORDS
    from scripts.bench.extraction import all_words, features_of

    extractors = [
        WORDS.load_extractor(
            plan_extraction(resolve(name, "model"), WORDS, "benchmark", dtype="float32"),
            device="cpu",
            layers=("spread",),
        )
        for name in checkpoints
    ]

    def embed(sentences: list[list[str]]) -> list[np.ndarray]:
        return [features_of(extractor, all_words(sentences)) for extractor in extractors]

    def rank() -> None:
        settings = {"encoders": checkpoints[0], "max_samples": None, "dtype": "float32", "cache": False}
        ranking = hf_emms.rank(rows, checkpoints, device="cpu", **settings)
        assert [row.error for row in ranking] == [None] * len(checkpoints), ranking

    embed(rows["tokens"][:WARM_UP])
    return {"features": lambda: embed(rows["tokens"][:]), "ranking": rank}, f"hf_emms {hf_emms.__version__}"


def peer(rows: Any, checkpoints: list[str]) -> tuple[Phases, str]:
    from transformer_ranker import TransformerRanker
    from transformer_ranker.embedder import Embedder

    logging.disable()
    embedders = [
        Embedder(model=name, layer_ids="all", layer_mean=True, sentence_pooling=None, device="cpu")
        for name in checkpoints
    ]

    def embed(sentences: list[list[str]]) -> list[Any]:
        return [embedder.embed(sentences, batch_size=32, show_progress=False) for embedder in embedders]

    def rank() -> None:
        ranker = TransformerRanker(rows, text_column="tokens", label_column="ner_tags")
        ranker.run(checkpoints, batch_size=32, device="cpu")

    embed(rows["tokens"][:WARM_UP])
    name = f"transformer-ranker {version('transformer-ranker')}"
    return {"features": lambda: embed(rows["tokens"][:]), "ranking": rank}, name


def main() -> None:
    side, file, *checkpoints = sys.argv[1:]
    import datasets

    datasets.disable_progress_bars()
    datasets.disable_caching()
    rows = datasets.Dataset.from_parquet(str(Path(file)), cache_dir=str(Path(file).parent / side))
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    phases, name = {"ours": ours, "peer": peer}[side](rows, checkpoints)
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "tokenizers"))
    print(json.dumps({"name": name, "libraries": libraries}), file=answers, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        phases[json.loads(line)]()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps(spent), file=answers, flush=True)


if __name__ == "__main__":
    main()
