"""Searches with dense relevance judgments: queries share documents, as in CISI and NFCorpus."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np

WORDS = ("cat", "dog", "boat", "river", "storm", "mountain", "road", "child", "apple", "harbour", "book", "photo")
COLOURS = ("red", "green", "grey", "dark", "small", "old", "loud", "wet", "new", "tall", "quiet", "thin")
CISI: dict[str, Any] = {"queries": 76, "documents": 1_460, "judgments": 3_113}
NFCORPUS: dict[str, Any] = {"queries": 323, "documents": 3_633, "judgments": 12_334, "grades": (1, 2)}


def dense_search(
    queries: int, documents: int, judgments: int, *, grades: tuple[int, ...] = (1,), seed: int = 0
) -> dict[str, datasets.Dataset]:
    """Return tables of a search whose queries form one connected group, because some documents answer many of them."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(10, 10 + documents)
    counts = rng.multinomial(judgments - queries, rng.dirichlet(np.ones(queries))) + 1
    chosen = [rng.choice(documents, count, replace=False, p=popularity / popularity.sum()) for count in counts]
    pairs: dict[str, list[Any]] = {
        "query-id": [f"q{query}" for query, count in enumerate(counts) for _ in range(count)],
        "corpus-id": [f"d{document}" for of_query in chosen for document in of_query],
        "score": rng.choice(grades, judgments).tolist(),
    }

    def words(number: int) -> str:
        return f"{COLOURS[number % 12]} {WORDS[number // 12 % 12]}"

    asked = [" or ".join(words(int(document)) for document in of_query[:3]) for of_query in chosen]
    corpus = {"_id": [f"d{n}" for n in range(documents)], "text": [f"{words(n)} number {n}" for n in range(documents)]}
    queried = {"_id": [f"q{n}" for n in range(queries)], "text": [f"{n}: {text}" for n, text in enumerate(asked)]}
    tables = {"corpus": corpus, "queries": queried, "qrels": pairs}
    return {name: datasets.Dataset.from_dict(table) for name, table in tables.items()}
