"""Counts and defaults in the README and docs/ equal the values in the code, the data and the results."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hf_emms.evaluation import over_targets
from hf_emms.features.architectures import families
from hf_emms.inputs import MODALITIES
from hf_emms.options import DEFAULT_MAX_SAMPLES, SETTINGS
from hf_emms.presets import demo
from hf_emms.scoring import neighbors, sums
from scripts.quality import published_order, report
from tests import ROOT

WORDS = {"twelve": 12, "ten": 10, "nine": 9, "eight": 8, "six": 6, "five": 5, "three": 3}


def results(name: str) -> dict[str, Any]:
    """The committed results of the quality experiment on a pool of targets."""
    stored: dict[str, Any] = json.loads((ROOT / "scripts" / "quality" / "results" / f"{name}.json").read_text())
    return stored


def sentence(page: str, pattern: str) -> list[int]:
    """The numbers in the one place of a page that a pattern finds."""
    (match,) = re.finditer(pattern, " ".join((ROOT / page).read_text(encoding="utf-8").split()))
    return [WORDS.get(number) or int(number.replace(",", "")) for number in match.groups()]


def test_the_targets_and_fine_tunings():
    targets = results("micro")["targets"]
    tasks = {target["task"] for target in targets.values()}
    sizes = {len(target["candidates"]) for target in targets.values()}
    runs = sum(len(runs) for target in targets.values() for runs in target["runs"]["first"].values())
    numbers = sentence("README.md", r"(\d+) targets of (\w+) tasks, (\d+) or (\d+) .{0,70}?(\d{3}) runs")
    assert numbers == [len(targets), len(tasks), *sorted(sizes), runs]


def test_a_second_seed_is_that_of_the_quality_page():
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    (agreement,) = re.findall(
        r"Fine-tuning with another seed agrees with itself to (0\.\d+)",
        (ROOT / "README.md").read_text(encoding="utf-8"),
    )
    assert re.search(rf"seed.{{0,200}}{re.escape(agreement)}|{re.escape(agreement)}.{{0,200}}seed", page, re.S)


(OLDEST_PYTHON,) = re.findall(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
TABLES = re.findall(r"^\$ hf-emms rank --dataset demo_", (ROOT / "docs" / "demo.md").read_text(), re.M)
SIZE_OF_DEMO = [len(demo.names("checkpoints")), len(TABLES)]
FAMILIES = {family for modality in MODALITIES for family in families(modality)}


@pytest.mark.parametrize(
    ("page", "pattern", "numbers"),
    [
        *(
            (page, r"ranks (\d+) small checkpoints on (\w+) small datasets", SIZE_OF_DEMO)
            for page in ("README.md", "docs/demo.md")
        ),
        ("README.md", r"some (\d+) architectures of transformers", [round(len(FAMILIES), -1)]),
        ("README.md", r"a ridge regression and the (\d+) nearest rows", [neighbors.NEIGHBORS]),
        ("README.md", r"standard error over (\w+) folds", [SETTINGS["folds"].default]),
        ("README.md", r"Python 3\.(\d+) or newer", [int(OLDEST_PYTHON)]),
        ("docs/metric.md", r"looks for neighbors among ([\d,]+) of them", [sums.SAMPLE_ROWS]),
        ("docs/rank-images.md", r"`--max-samples` \(([\d,]+)\)", [DEFAULT_MAX_SAMPLES]),
    ],
)
def test_counts_and_defaults(page, pattern, numbers):
    assert sentence(page, pattern) == numbers


def test_what_fine_tuning_all_candidates_takes():
    targets = results("images")["targets"].values()
    # Of each candidate the run that validated best; a run is rate, seed, validation, test, seconds and more.
    seconds = [
        sum(max(runs, key=lambda run: run[2])[4] for runs in target["runs"]["full"].values())
        for target in targets
        if "full" in target["runs"]
    ]
    minutes = [round(total / 60) for total in (min(seconds), max(seconds))]
    assert sentence("README.md", r"once each, took (\d+) to (\d+) minutes per dataset") == minutes


def test_the_first_table_of_the_readme_is_that_of_the_results():
    content = results("images")
    birds, kinds = content["targets"]["birds"], content["protocol"]["kinds"]
    scores = dict(zip(birds["candidates"], birds["scores"]["emms_knn|minilm"], strict=True))
    published = sorted((name for name in scores if kinds[name] == "real"), key=lambda name: -scores[name])
    runs = {name: [run[3] for run in birds["runs"]["full"][name]] for name in published}
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("|---|---|---|\n")[1].split("\n\n")[0]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    # With one label encoder, the standardized label embedding has variance 1, and the score is minus the rest.
    explained = [f"{1 + scores[name]:.2f}" for name in published]
    assert ", ".join(row[1] for row in cells).split(", ") == explained
    accuracies = [f"{sum(runs[name]) / len(runs[name]):.1f}" for name in published]
    assert ", ".join(row[2] for row in cells).split(", ") == accuracies


def test_what_the_published_order_loses():
    every, images = (dict(published_order.groups())[title] for title in ("all pools", "real image checkpoints, quick"))
    others = {name: outcome for name, outcome in every.items() if name != "birds"}
    published, ours = [row[3:] for row in published_order.rows(others)][:2]  # the best found, and the regret
    found = re.search(
        r"on (\w+) other held-out datasets, its first and that of hf-emms lose (\S+) points each, and its first is the "
        r"best more often \((\d+) % against (\d+) %\)",
        " ".join((ROOT / "README.md").read_text(encoding="utf-8").split()),
    )
    assert WORDS[found[1]] == published_order.count(others, "held")
    assert {found[2]} == {row[1].partition(" ")[0] for row in (published, ours)}
    assert [found[3], found[4]] == [row[0].partition(" ")[0] for row in (published, ours)]
    page = " ".join((ROOT / "docs" / "evidence.md").read_text(encoding="utf-8").split())
    losses = [row[column].partition(" ")[0] for column in (2, 4) for row in [*published_order.rows(images)][:2]]
    assert "{} against {} points on dev targets, {} against {} on held-out ones".format(*losses) in page
    differences = [float(outcome[published_order.DIFFERENCE][1]) for outcome in every.values()]
    low, high = over_targets(differences)
    mean = sum(differences) / len(differences)
    assert f"over all {len(every)} targets it is {mean:z.1f} [{low:z.1f}, {high:z.1f}]" in page
    assert low < 0 < high


def test_r2_orders_as_the_score_does():
    pairs, differences = report.swapped()
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert f"differ in {len(differences)} of {pairs:,} pairs" in page
    assert f"at most {max(differences):.4f} of R²" in page
