"""Seconds of hf_emms's text features against the embedding phase of transformer-ranker 0.2.

    python -m scripts.bench peer [minilm|mpnet …] [--texts 2000 4000] [--rounds 5] [--threads 2]

All embed the same WordNet glosses with the same all-MiniLM-L6-v2, or a tenth of them with all-mpnet-base-v2 (109
million parameters), each in a process of its own that has loaded and warmed up the model: the peer and we in float32,
and we in bfloat16. The peer has an environment of its own, which this script makes (build/peer). Models come from PyPI,
that of 109 million parameters as for scripts.quality; glosses beyond the embedded ones from Debian's wordnet-base.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from hf_emms.data import load_sample
from hf_emms.options import Options
from scripts.bench.timing import Contestant, in_turn, ratios, spread
from scripts.demo import sources
from scripts.quality.candidates import checkpoint

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


# name → what it is called, its folder, by how much fewer texts it reads
MODELS = {
    "minilm": ("all-MiniLM-L6-v2", sources.minilm, 1),
    "mpnet": ("all-mpnet-base-v2", lambda: Path(checkpoint("mpnet")), 10),
}


def glosses(count: int) -> list[str]:
    """The embedded 2,000 glosses, and as many others of WordNet as it takes."""
    texts = list(load_sample(Options("demo_glosses", max_samples=None)).inputs)
    if count > len(texts):
        others = dict.fromkeys(synset.gloss for synset in sources.wordnet())
        # Every 20th: the file goes from nouns to adverbs.
        texts += [gloss for gloss in list(others)[::20] if gloss not in set(texts)]
    return texts[:count]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", default=list(MODELS), help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--texts", type=int, nargs="+", default=[2_000, 4_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def run(options: argparse.Namespace) -> None:
    """Print a table for each model, and the versions of both sides."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(glosses(max(options.texts))))
        for what in options.what:
            _compare(*MODELS[what], file, options)


def _compare(title: str, model: Callable[[], Path], fewer: int, texts: Path, options: argparse.Namespace) -> None:
    pythons = {"peer": peer_python(), "ours": Path(sys.executable), "ours-bfloat16": Path(sys.executable)}
    folder = str(model())
    print(f"\n### Embedding phase of transformer-ranker, {title} in float32 on WordNet glosses\n")
    with ExitStack() as stack:
        sides = [
            # -P: the script's own folder is no place to import from
            stack.enter_context(
                Contestant(
                    [str(python), "-P", str(SIDE), name, folder, str(texts)],
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
            for row in _rows(count // fewer, sides, options.rounds):
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
