"""Make the embedded demo: fetch the sources, then write datasets, checkpoints and label encoders.

python -m scripts.demo.make                     everything, about three quarters of an hour on one core
python -m scripts.demo.make --only resnet-fashion --only wordnet-glosses
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from scripts.demo import (
    checkpoints_image,
    checkpoints_language,
    checkpoints_pairs,
    checkpoints_sounds,
    checkpoints_text,
    data,
    data_wordnet,
    sources,
)


def jobs() -> dict[str, Callable[[], None]]:
    """Return name → function that makes a part of the demo, in order."""
    checkpoints = [
        *(*checkpoints_text.CHECKPOINTS, *checkpoints_image.CHECKPOINTS, *checkpoints_pairs.CHECKPOINTS),
        *(*checkpoints_sounds.CHECKPOINTS, *checkpoints_language.CHECKPOINTS),
    ]
    return {
        "emoji-captions": data.captions,
        "fashion-mnist": data.fashion,
        "wordnet-glosses": data.glosses,
        "easy-vqa": data.easy_vqa,
        "emoji-vqa": data.emoji_vqa,
        "emoji-boxes": data.emoji_boxes,
        "wordnet-spans": data_wordnet.spans,
        "wordnet-pairs": data_wordnet.pairs,
        "wordnet-words": data_wordnet.words,
        "spoken-words": data.spoken_words,
        "wordnet-definitions": data_wordnet.prompts,
        "wordnet-preferences": data_wordnet.preferences,
        "wordnet-search": data_wordnet.search,
        **{checkpoint.name: checkpoint.make for checkpoint in checkpoints},
    }


def main() -> None:
    """Parse the command line and make parts of the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(jobs()), metavar="NAME", help="make only this")
    wanted = parser.parse_args().only
    torch.set_num_threads(1)  # results depend on the order of sums, and so on the number of threads
    sources.fetch()
    for name, job in jobs().items():
        if wanted is None or name in wanted:
            start = time.perf_counter()
            print(name, flush=True)
            job()
            print(f"  done in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
