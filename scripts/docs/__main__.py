"""Build parts of the documentation.

python -m scripts.docs architectures                               the tables of docs/architectures.md
python -m scripts.docs command_line                                docs/command-line.md
python -m scripts.docs screenshots [NAME …]                        pictures of the pages and of a model card
python -m scripts.docs notebook                                    runs docs/rank_your_dataset.ipynb
python -m scripts.docs outputs                                     what commands print in README.md and docs/
python -m scripts.docs charts                                      the charts of docs/evidence.md
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

NAMES = ("architectures", "command_line", "screenshots", "notebook", "outputs", "charts")


def main() -> None:
    """Parse the name, and pass the other arguments to its module."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME")
    name = parser.parse_args(sys.argv[1:2]).name
    sys.argv[:2] = [f"python -m scripts.docs {name}"]
    sys.exit(import_module(f"scripts.docs.{name}").main())


if __name__ == "__main__":
    main()
