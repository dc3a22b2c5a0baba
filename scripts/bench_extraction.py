"""Rate of hf_emms's text extraction against a bare length-sorted forward loop, interleaved.

    python scripts/bench_extraction.py [--texts 3000] [--rounds 5]

Both sides run the same MiniLM-sized model (6 layers, 384 wide, random weights) over the same texts of varying length
and are given text, not tokens: the bare loop tokenises, sorts by length, pads and pools in one place, without any of
the bookkeeping.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hf_emms.features.load import load_extractor
from hf_emms.hub import Repo

WORDS = 8_000
BATCH = 16  # the fastest of 16, 32 and 64 on the CPU this was written on


def write_checkpoint(folder: Path) -> None:
    """A random BERT of MiniLM's size with a tokenizer of made-up words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate(special + [f"w{i}" for i in range(WORDS)])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=256
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def made_up_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 200 words; most are short, as captions and glosses are."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(2.7, 0.8, count).astype(int), 1, 200)
    return [" ".join(f"w{i}" for i in rng.integers(0, WORDS, length)) for length in lengths]


def bare_loop(model: Any, tokenizer: Any, texts: list[str], batch: int = BATCH) -> np.ndarray:
    """The plainest fast way: tokenise, sort by length, pad, forward, mean."""
    tokens = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
    features = np.empty((len(texts), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            padded = tokenizer.pad({"input_ids": [tokens[i] for i in rows]}, return_tensors="pt")
            mask = padded["attention_mask"]
            hidden = model(input_ids=padded["input_ids"], attention_mask=mask).last_hidden_state
            features[rows] = ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
    return features


def compare(texts: int = 3_000, rounds: int = 5) -> dict[str, Any]:
    """Runs both sides in turn.

    Returns:
        `ratios`: bare seconds / ours, one a round (1.0: the same rate, 0.9: 90 % of it); `median`; `rate`: our
        texts a second; `threads`.
    """
    inputs = made_up_texts(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder)
        extractor = load_extractor(Repo(name, "model", "local", folder), "text", "text-classification", device="cpu")
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def ours() -> np.ndarray:
        features = np.empty((len(inputs), extractor.width), np.float32)
        for positions, batch in extractor.batches(inputs):
            features[positions] = batch
        return features

    def bare() -> np.ndarray:
        return bare_loop(model, tokenizer, inputs)

    np.testing.assert_allclose(ours(), bare(), atol=1e-4)
    seconds: dict[Callable[[], np.ndarray], list[float]] = {ours: [], bare: []}
    for turn in range(rounds):
        for run in (ours, bare) if turn % 2 else (bare, ours):
            started = time.perf_counter()
            run()
            seconds[run].append(time.perf_counter() - started)
    ratios = [theirs / mine for mine, theirs in zip(seconds[ours], seconds[bare], strict=True)]
    return {
        "ratios": ratios,
        "median": statistics.median(ratios),
        "rate": texts / statistics.median(seconds[ours]),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    result = compare(options.texts, options.rounds)
    spread = f"{min(result['ratios']):.2f} to {max(result['ratios']):.2f}"
    print(
        f"text extraction: {result['median']:.2f} of a bare loop's rate ({spread}, {options.rounds} rounds), "
        f"{result['rate']:.0f} texts/s, {result['threads']} threads"
    )


if __name__ == "__main__":
    main()
