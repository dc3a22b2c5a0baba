"""The ranking-quality experiment: its committed results say what its page says, and its steps do what they promise."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict

import numpy as np
import pytest
from scipy.stats import weightedtau

from scripts.quality import pairs_and_words, truth
from scripts.quality.protocol import POOLS, ROLES
from tests import ROOT
from tests.helpers.quick_python import python

PAGE = ROOT / "docs" / "quality.md"
RESULTS = ROOT / "scripts" / "quality" / "results" / "micro.json"


@pytest.fixture(scope="module")
def targets():
    return json.loads(RESULTS.read_text(encoding="utf-8"))["targets"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_EMMS_QUALITY", str(tmp_path))
    return tmp_path


def truth_of(runs):
    """What fine-tuning gave, computed here once more: the rate that validates best, its mean test score."""
    by_rate = defaultdict(list)
    for rate, _, validation, test, *_ in runs:
        by_rate[rate].append((validation, test))
    validation, test = max((np.mean(own, axis=0) for own in by_rate.values()), key=lambda means: means[0])
    return test


def printed(title):
    """A table of the page: name → column → cell."""
    lines = PAGE.read_text(encoding="utf-8").split(f"### {title}\n\n")[1].split("\n\n")[0].strip().splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_page_shows_what_the_script_prints():
    command = [*python(), "-m", "scripts.quality", "report"]
    tables = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    shown = PAGE.read_text(encoding="utf-8").split("<!-- tables -->")[1].split("<!-- /tables -->")[0]
    assert shown.strip() == tables.strip()


def test_the_readme_quotes_the_page():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").split("## How good")[1].split("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {"emms_knn", "emms", "logme_flabels", "knn"} <= set(re.findall(r"`(\w+)`", "".join(rows)))
    assert sum("*control:*" in row for row in rows) == 3
    assert set(rows) <= set(PAGE.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("estimator", ["emms", "emms_exact", "logme", "logme_flabels", "knn"])
def test_every_tau_of_the_page_follows_from_the_results(targets, estimator):
    rows = {name: row for name, row in printed("Weighted τ by target").items() if f"(`{estimator}`" in name}
    (row,) = rows.values()
    for name, target in targets.items():
        truth = [truth_of(target["runs"]["first"][candidate]) for candidate in target["candidates"]]
        tau = weightedtau(target["scores"][f"{estimator}|demo|all|0"], truth).statistic
        assert row[name] == f"{tau:.2f}", name


def test_the_figures_on_real_checkpoints_follow_from_the_results():
    file = ROOT / "scripts" / "quality" / "results" / "images.json"
    found = json.loads(file.read_text(encoding="utf-8"))["targets"].values()
    cells = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    # The column of quick runs with every difference counted, in the first table that has the row.
    shown = {row[0].removeprefix("| "): row[2] for row in reversed(cells) if len(row) > 2}
    rows = {"emms": "EMMS, the ridge alone", "emms_knn": "EMMS + k-NN (the default)", "knn": "k-NN"}
    for estimator, name in rows.items():
        taus = []
        for target in found:
            runs = target["runs"]["quick"]
            truth = [truth_of(runs[name]) for name in target["candidates"]]
            taus.append(weightedtau(target["scores"][f"{estimator}|minilm|all|0"], truth).statistic)
        assert shown[name] == f"{np.mean(taus):.2f}"


def test_no_candidate_of_a_target_was_trained_on_its_labels(targets):
    from scripts.quality.protocol import MICRO

    for target in MICRO.targets:
        assert not set(target.left_out) & set(targets.get(target.name, {"candidates": ()})["candidates"])


def test_an_interrupted_run_keeps_whole_lines_and_the_newest_candidate(work):
    from scripts.quality.truth import finished

    old = {
        "pool": "micro",
        "target": "t",
        "budget": "short",
        "candidate": "a",
        "rate": 1.0,
        "seed": 0,
        "revision": "old",
    }
    new = old | {"revision": "new", "seed": 1}
    other = old | {"candidate": "b"}
    lines = [json.dumps(record) for record in (old, new, other)]
    (work / "fine_tunings.jsonl").write_text("\n".join([*lines, lines[0][:20]]), encoding="utf-8")
    assert finished(again=True) == [new, other]


@pytest.mark.parametrize(
    ("pool", "page"), [("sound", "rank-sound.md"), ("pairs-and-words", "rank-pairs-and-tokens.md")]
)
def test_the_table_of_a_small_pool_is_that_of_the_committed_results(pool: str, page: str) -> None:
    assert pairs_and_words.report(POOLS[pool]) in (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_target_has_candidates_columns_and_a_maker(pool):
    for target in pool.targets:
        assert len(pool.candidates_of(target)) > 2
        assert target.task in ROLES
        assert target.name in truth.MAKERS
