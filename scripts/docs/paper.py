"""Print how a ranking that ignores the dataset agrees with the paper's fine-tuning results.

finetune_results.json has three tables: image classification with 11 CNNs and with 13 transformers on 11 datasets
each, image captioning with 9 pairs of encoder and decoder on 5. The control ranks models by their mean rank on the
other datasets. `python -m scripts.docs paper` prints its weighted Kendall tau for each dataset, and the mean.
"""

from __future__ import annotations

import json
from pathlib import Path

from hf_emms.evaluation import dataset_blind, weighted_tau

RESULTS = Path(__file__).with_name("finetune_results.json")


def taus() -> dict[str, dict[str, float]]:
    """Return pool → dataset → weighted tau of the control."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    pools = {name: table for name, table in content.items() if name != "source"}
    return {
        name: {
            dataset: weighted_tau([control[model] for model in fine_tuned], list(fine_tuned.values()))
            for (dataset, fine_tuned), control in zip(table.items(), dataset_blind(table).values(), strict=True)
        }
        for name, table in pools.items()
    }


def main() -> None:
    """Print a list for each pool of models."""
    for name, values in taus().items():
        print(name)
        for dataset, tau in [*values.items(), ("mean", sum(values.values()) / len(values))]:
            print(f"  {dataset:20} {tau:.3f}")
