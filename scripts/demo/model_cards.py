"""README.md files with YAML front matter, as the Hub reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Card:
    """What a demo checkpoint's model card says.

    Attributes:
        name: repository name below emms-demo/.
        pipeline: the Hub's pipeline tag.
        architecture: transformers model type.
        parameters: how many.
        how: one or two sentences on how the weights came about.
        steps: optimiser steps of 64 examples.
        seconds: of training on one CPU core.
        datasets: what it was trained on.
        language: of its texts, for text models.
        license: of the weights, a Hub license id.
    """

    name: str
    pipeline: str
    architecture: str
    parameters: int
    how: str
    steps: int
    seconds: float
    datasets: tuple[str, ...] = ()
    language: str | None = None
    license: str = "apache-2.0"


def write_model_card(folder: Path, card: Card) -> None:
    """Write a checkpoint's README.md."""
    head: dict[str, Any] = {
        "license": card.license,
        "library_name": "transformers",
        "pipeline_tag": card.pipeline,
        "tags": ["hf-emms-demo", card.architecture],
    }
    if card.language is not None:
        head["language"] = [card.language]
    trained = f"{card.steps:,} steps of 64 in {card.seconds:.0f} s on one CPU core" if card.steps else "none"
    body = f"""# emms-demo/{card.name}

A demo checkpoint of hf_emms, made to be ranked in seconds. Not for use.

{card.how}

| | |
|---|---|
| architecture | {card.architecture} |
| parameters | {card.parameters:,} |
| training | {trained} |
| data | {", ".join(card.datasets) or "none"} |
| weights | fp16 safetensors |

Made by `scripts/demo/make.py`; sources and licences stand in hf_emms' NOTICE.
"""
    write_card(folder, head, body)


def write_card(folder: Path, head: Mapping[str, Any], body: str) -> None:
    """Write folder/README.md.

    Args:
        folder: the repository's folder.
        head: front matter.
        body: Markdown below it.
    """
    matter = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=110)
    (folder / "README.md").write_text(f"---\n{matter}---\n\n{body.strip()}\n", encoding="utf-8")
