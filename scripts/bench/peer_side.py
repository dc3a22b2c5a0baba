"""One side of the benchmark `peer`, in an environment of its own: `python -P peer_side.py SIDE MODEL TEXTS`.

SIDE is ours, ours-bfloat16 or peer.

Embeds the first n texts for every n on its standard input, and answers with a line of JSON. Imports nothing of
hf_emms on the peer's side, and nothing of the peer on ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

Embed = Callable[[list[str]], Any]
WARM_UP = 64


def ours(folder: str, dtype: str = "float32") -> tuple[Embed, str]:
    import numpy as np

    import hf_emms
    from hf_emms.features.extraction_plan import plan_extraction
    from hf_emms.hub import Repo
    from hf_emms.inputs import TEXT

    repo = Repo("peer/model", "model", "local", Path(folder))
    extractor = TEXT.load_extractor(
        plan_extraction(repo, TEXT, "benchmark", dtype=dtype), device="cpu", layers=("spread",)
    )

    def embed(texts: list[str]) -> np.ndarray:
        features = np.empty((len(texts), extractor.width), np.float32)
        for positions, rows in extractor.batches(texts):
            features[positions] = rows
        return features

    return embed, f"hf_emms {hf_emms.__version__} ({dtype})"


def peer(folder: str) -> tuple[Embed, str]:
    """As `TransformerRanker.run` does with its defaults: mean over layers, batches of 32."""
    import torch
    from transformer_ranker.embedder import Embedder

    embedder = Embedder(model=folder, layer_ids="all", layer_mean=True, sentence_pooling="mean", device="cpu")
    assert embedder.model.dtype == torch.float32
    name = f"transformer-ranker {version('transformer-ranker')} (float32)"
    return lambda texts: embedder.embed(texts, batch_size=32, show_progress=False), name


SIDES = {"ours": ours, "ours-bfloat16": partial(ours, dtype="bfloat16"), "peer": peer}


def main() -> None:
    side, folder, file = sys.argv[1:]
    texts = json.loads(Path(file).read_text())
    embed, name = SIDES[side](folder)
    embed(texts[:WARM_UP])
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "tokenizers"))
    print(json.dumps({"name": name, "libraries": libraries}), flush=True)
    for line in sys.stdin:
        taken = texts[: int(line)]
        wall, cpu = time.perf_counter(), time.process_time()
        rows = embed(taken)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        assert len(rows) == len(taken)
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
