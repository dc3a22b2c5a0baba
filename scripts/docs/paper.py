"""The paper's evaluation on the paper's fine-tuning results: weighted Kendall tau for each dataset, and the mean.

finetune_results.json has three tables: image classification with 11 CNNs and with 13 transformers on 11 datasets
each, image captioning with 9 pairs of encoder and decoder on 5. Against them:

    python -m scripts.docs paper                    # the control alone
    python -m scripts.docs paper scores.csv …       # your scores: columns dataset, model, score

Names of datasets and models are those of the tables (--names lists them). Each file of scores is one column. The column
"dataset-blind" is a ranker that has never seen the dataset: a model's mean rank on the other ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from hf_emms.errors import MISSING, EmmsError
from hf_emms.evaluation import dataset_blind, read_truth, weighted_tau
from hf_emms.evaluation.measures import FEWEST
from hf_emms.ranking.text import aligned

RESULTS = Path(__file__).with_name("finetune_results.json")
CONTROL = "dataset-blind"

Table = Mapping[str, Mapping[str, float]]


def main() -> None:
    """Prints one table for each pool of models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scores", nargs="*", type=Path, help="CSV, TSV or JSON: dataset, model, score (higher is better)"
    )
    parser.add_argument("--metric", help="the column of the scores, where a file has several")
    parser.add_argument("--names", action="store_true", help="list the datasets and models of the tables")
    arguments = parser.parse_args()
    pools = read_results()
    if arguments.names:
        for name, table in pools.items():
            models = ", ".join(next(iter(table.values())))
            print(f"{name}\n  datasets: {', '.join(table)}\n  models: {models}")
        return
    try:
        columns = {path.stem: scores_of(path, arguments.metric) for path in arguments.scores}
    except EmmsError as error:
        sys.exit(f"Error: {error}")
    print("\n\n".join(section(name, table, columns) for name, table in pools.items()))


def read_results() -> dict[str, Table]:
    """Pool → dataset → model → metric after fine-tuning."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {name: table for name, table in content.items() if name != "source"}


def scores_of(path: Path, metric: str | None) -> Table:
    """A user's file: dataset → model → score."""
    read = read_truth(path, metric=metric).scores
    return {dataset: scores for dataset, scores in read.items() if dataset is not None}


def taus(truth: Table, scores: Table) -> dict[str, float]:
    """Weighted tau for each dataset with enough models on both sides."""
    results = {}
    for dataset, fine_tuned in truth.items():
        common = [model for model in fine_tuned if model in scores.get(dataset, {})]
        if len(common) >= FEWEST:
            results[dataset] = weighted_tau(
                [scores[dataset][model] for model in common], [fine_tuned[model] for model in common]
            )
    return results


def section(name: str, truth: Table, columns: Mapping[str, Table]) -> str:
    """A table for one pool of models, the mean in its last line."""
    results = {CONTROL: taus(truth, dataset_blind(truth))} | {
        title: taus(truth, model) for title, model in columns.items()
    }
    results = {title: values for title, values in results.items() if values}
    rows = [
        [dataset, *(f"{values[dataset]:.3f}" if dataset in values else MISSING for values in results.values())]
        for dataset in truth
    ]
    means = [f"{sum(values.values()) / len(values):.3f}" for values in results.values()]
    partial = {
        title: f" ({len(values)} of {len(truth)})" for title, values in results.items() if len(values) < len(truth)
    }
    header = ["dataset", *(title + partial.get(title, "") for title in results)]
    heading = f"{name}: weighted tau over {len(next(iter(truth.values())))} models"
    return "\n".join([heading, *aligned(header, [*rows, ["mean", *means]], left=("dataset",))])
