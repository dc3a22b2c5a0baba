"""Compare the embedding of texts with a bare loop and sentence-transformers; search 100,000 documents.

    python -m scripts.bench embedding [CHECKPOINT] [--texts FILE.jsonl] [--rows 1000] [--rounds 5] [--threads 1]

The bare loop is the minimal work of any program: it tokenizes all texts, sorts them by length and runs batches with
the same number of tokens as hf_emms. sentence-transformers encodes with its defaults, which sort by characters, and in
batches of 32 in the order of the data. All embeddings are equal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.timing import interleave, ratios, spread, timed

BATCH, BATCH_TOKENS = 32, 1_024
QUERIES, DOCUMENTS, WIDTH = 1_000, 100_000, 384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", nargs="?", default="emms-demo/bert-distilled")
    parser.add_argument("--texts", type=Path, help='lines with a "text", as corpus.jsonl; by default made of words')
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)


def run(options: argparse.Namespace) -> None:
    """Print a table of seconds, and one of the search."""
    import torch

    torch.set_num_threads(options.threads)
    texts = read_texts(options.texts, options.rows)
    contestants = encoders(options.checkpoint, texts)
    embedded = {name: encode() for name, encode in contestants.items()}
    ours = embedded["hf_emms"]
    for name, embeddings in embedded.items():
        assert np.abs(embeddings - ours).max() < 1e-4, name
    seconds = interleave(contestants, options.rounds)
    print(f"\n### Embedding {len(texts):,} texts with {Path(options.checkpoint).name}, {options.threads} thread(s)\n")
    print("| | CPU seconds | of hf_emms' | texts a CPU second |\n|---|---|---|---|")
    for name, spent in seconds.items():
        cpu = [each.cpu for each in spent]
        rates = [len(texts) / each for each in cpu]
        times = spread(ratios(spent, seconds["hf_emms"], "cpu"), "×")
        print(f"| {name} | {spread(cpu)} | {times} | {spread(rates, digits=',.0f')} |", flush=True)
    _search()


def read_texts(path: Path | None, rows: int) -> list[str]:
    """Return the first texts of a file, or made-up texts of 2 to 250 words in random order."""
    if path is not None:
        lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:rows])
        return [f"{line.get('title', '')} {line['text']}".strip() for line in lines]
    rng = np.random.default_rng(0)
    sentence = "the small boat left harbour while rain fell over a green mountain road and children sang old songs"
    lengths = np.clip(rng.lognormal(3.5, 0.8, rows), 2, 250).astype(int)
    return [" ".join(rng.choice(sentence.split(), length)) for length in lengths]


def encoders(checkpoint: str, texts: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """Return name → function that embeds the texts."""
    from sentence_transformers import SentenceTransformer

    from hf_emms.features.device import gather_batches
    from hf_emms.features.feature_spec import make_feature_spec
    from hf_emms.hub import fetch, resolve
    from hf_emms.inputs import SEARCH, SearchCollection

    repo = resolve(checkpoint, "model")
    folder = str(fetch(repo, ("*",)))
    extractor = SEARCH.load_extractor(make_feature_spec(repo, SEARCH, "a benchmark"), device="cpu")
    collection = SearchCollection((), texts, np.empty((0, 3), np.int64))
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": "float32"})
    bare = BareLoop(folder, model.max_seq_length)
    return {
        "hf_emms": lambda: gather_batches(extractor.batches(collection), len(texts)),
        "bare loop of sorted batches": lambda: bare(texts),
        "sentence-transformers, encode": lambda: model.encode(texts, batch_size=BATCH),
        "sentence-transformers, in the data's order": lambda: np.concatenate(
            [model.encode(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        ),
    }


class BareLoop:
    """Run a transformers model over batches of similar length, with mean pooling."""

    def __init__(self, folder: str, max_length: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer, self._max_length = AutoTokenizer.from_pretrained(folder), max_length
        self._model = AutoModel.from_pretrained(folder, dtype="float32").eval()

    def __call__(self, texts: list[str]) -> np.ndarray:
        import torch

        ids = self._tokenizer(texts, truncation=True, max_length=self._max_length)["input_ids"]
        embeddings = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for rows in _batches([len(row) for row in ids]):
                batch = self._tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
                hidden, mask = self._model(**batch).last_hidden_state, batch["attention_mask"][..., None]
                embeddings[rows] = (hidden * mask).sum(1) / mask.sum(1)
        return embeddings


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        stop = start + max(1, BATCH_TOKENS // lengths[order[start]])
        yield order[start:stop]
        start = stop


def _search() -> None:
    from hf_emms.features.device import release_freed_memory
    from hf_emms.scoring.retrieval import SearchScores, zero_shot_ndcg

    rng = np.random.default_rng(0)
    documents = rng.normal(size=(DOCUMENTS, WIDTH)).astype(np.float32)
    queries = documents[:QUERIES] + 4 * rng.normal(size=(QUERIES, WIDTH)).astype(np.float32)
    judgments = np.column_stack([np.arange(QUERIES), np.arange(QUERIES), np.ones(QUERIES, np.int64)])
    search = SearchScores(queries, documents, judgments, np.arange(QUERIES, dtype=np.uint64))
    release_freed_memory()  # the search would reuse it, which hides its memory
    before = _memory(reset=True)
    scores: list[Any] = []
    spent = timed(lambda: scores.append(zero_shot_ndcg(search)))
    peak = (_memory() - before) / 1e6
    print(f"\n### nDCG@10 of {QUERIES:,} queries over {DOCUMENTS:,} documents of {WIDTH} dimensions\n")
    print(
        f"{scores[0].value:.3f}; {spent.cpu:.1f} CPU seconds, {spent.wall:.1f} elapsed; {peak:.0f} MB above both arrays"
    )
    print(f"(a matrix of all scores has {4 * QUERIES * DOCUMENTS / 1e6:.0f} MB)")


def _memory(*, reset: bool = False) -> int:
    """Return the peak memory of this process in bytes since the last reset, on Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(peak.split()[1])
