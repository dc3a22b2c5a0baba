"""How far rankings for sound agree with few fine-tunings: the last table of docs/rank-sound.md.

    python -m scripts.quality truth --pool sound     fine-tunes; continues where it ended
    python -m scripts.quality.sound scores           ranks what was fine-tuned
    python -m scripts.quality.sound report           writes results/sound.json and the page

espeak-ng says what two of the candidates and one target are made of; rows of recordings come as for scripts.quality.
"""

from __future__ import annotations

import sys

from scripts.quality.pairs_and_words import PAGE, scores, write_report
from scripts.quality.protocol import SOUND


def main() -> None:
    if sys.argv[1:] == ["scores"]:
        scores(SOUND, SOUND.labels)
    elif sys.argv[1:] == ["report"]:
        write_report(SOUND, PAGE.with_name("rank-sound.md"))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
