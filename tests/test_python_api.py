"""Test snippets of the Python API: arrays, moments, the metric and rankings. docs/python.md explains them."""

from __future__ import annotations

import ast
import inspect
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pandas as pd
import pytest
import torch

import hf_emms
from hf_emms.presets.demo import folder_of
from tests import ROOT
from tests.helpers.rankings import ranking as ranking_of
from tests.helpers.space import of_rows, scored

GOOD, POOR = "emms-demo/bert-distilled", "emms-demo/bert-random"

SNIPPETS = {
    # Arrays
    "what stands for nothing said": """
        for score in (hf_emms.emms, hf_emms.score):
            assert float(score(X, ids)) == float(score(X, ids, folds=5, seed=0)) != float(score(X, ids, seed=1))
            assert float(score(X, ids)) != float(score(X, ids, folds=4))
    """,
    "the score of arrays": """
        result = hf_emms.emms(X, Z)
        assert float(result) == result.score <= 0 and result == hf_emms.score(X, Z, estimator="emms_knn")
        assert (result.n, result.d1, len(result.weights), len(result.folds)) == (200, 12, 1, 5)
        assert result.r2 > 0.5 and result.stderr > 0 and result.to_dict()["score"] == result.score
        for method in ("emms_knn", "emms", "emms_exact", "emms_one_pass", "emms_alternating"):
            assert hf_emms.score(X, Z, estimator=method).estimator == method
        with pytest.raises(ValueError, match="features has shape"):
            hf_emms.emms(X[0], Z)
    """,
    "any estimator, of arrays or of sums": """
        logme = float(hf_emms.score(X, ids, estimator="logme"))
        assert logme > float(hf_emms.score(noise, ids, estimator="logme"))
        classes = hf_emms.LabelTable(ids, (np.eye(3),))
        moments = hf_emms.Moments.like(classes, 12)
        moments.update(X, classes)
        assert float(hf_emms.score(moments, estimator="logme")) == pytest.approx(logme)
    """,
    "texts that encoders embed, once for many scores": """
        score = float(hf_emms.score(X, texts, encoders="demo"))
        labels = hf_emms.embed_labels(texts, "demo")
        assert score == hf_emms.emms(X, labels).score > hf_emms.emms(noise, labels).score
        embeddings = hf_emms.embed_labels(texts, encoders=["demo"]).embeddings
        assert len(embeddings[0]) == 200 and hf_emms.emms(X, [*embeddings]).score == pytest.approx(score)
    """,
    # The metric
    "the metric": """
        scores = metric().compute(predictions=X, references=Z)
        assert scores["score"] == pytest.approx(hf_emms.emms(X, Z).score)
        stacked = np.stack([Z, Z2], axis=1)
        orders = (stacked, stacked.swapaxes(1, 2))
        both = [metric().compute(predictions=X, references=order)["score"] for order in orders]
        assert both == pytest.approx([hf_emms.emms(X, stacked).score] * 2)
    """,
    "the metric on texts": """
        scores = metric().compute(predictions=X, references=texts, encoders="demo")
        assert scores["score"] == pytest.approx(float(hf_emms.score(X, texts, encoders="demo")), abs=1e-6)
    """,
    # Rankings
    "the best": "assert ranking.best.checkpoint == GOOD",
    "length and iteration": "assert len(ranking) == len([row.checkpoint for row in ranking]) == 2",
    "a row by name": """
        assert ranking[GOOD].rank == 1 and ranking[0] == ranking[GOOD]
        assert float(ranking[GOOD].scores["emms_knn"]) > float(ranking[POOR].scores["emms_knn"])
    """,
    "pandas": """
        table = ranking.to_pandas()
        assert list(table.checkpoint) == [GOOD, POOR] and table.emms_knn.is_monotonic_decreasing
        assert list(table.explained) == [row.explained for row in ranking]
    """,
    "print": """
        assert str(ranking).splitlines()[0].split()[:2] == ["rank", "checkpoint"]
        assert len(repr(ranking)) < 200 and len(repr(ranking[0])) < 200
    """,
    "a notebook": 'assert ranking._repr_html_().startswith("<table ") and GOOD in ranking._repr_html_()',
    "save and load": """
        assert hf_emms.Ranking.load(ranking.save(folder / "ranking.json")) == ranking
    """,
    "the section of a card": """
        assert "EMMS" in hub_ranking.card("org/a") and "org/b" in hub_ranking.card()
    """,
    "the first ones": """
        assert [row.checkpoint for row in ranking.top(1)] == [GOOD] and len(ranking.top(3)) == 2
        assert ranking[GOOD].score == ranking[GOOD].scores["emms_knn"].value
        assert 1 > ranking[GOOD].explained > ranking[POOR].explained > 0
    """,
    "a slice": "assert ranking[:1] == ranking.top(1) and ranking[:3] == [*ranking] and ranking[::-1][0] == ranking[-1]",
    "short names": """
        assert ranking["bert-random"] == ranking[POOR]
        twice = of_rows("beans", scored("org/a", 0.1, 9), scored("ada/a@main", 0.2, 9))
        assert twice["a@main"] == twice["ada/a@main"]
        with pytest.raises(hf_emms.EmmsError, match="several checkpoints are called 'a'"):
            twice["a"]
    """,
    "any format by its suffix": """
        texts = {"MD": ranking.to_markdown(), "txt": f"{ranking}" + chr(10)}
        for suffix, text in texts.items():
            assert ranking.save(folder / f"ranking.{suffix}").read_text() == text
        assert list(pd.read_csv(ranking.save(folder / "ranking.csv")).checkpoint) == [GOOD, POOR]
        with pytest.raises(hf_emms.EmmsError, match="xlsx") as raised:
            ranking.save(folder / "ranking.xlsx")
        assert ".json, .csv, .md, .txt;" in raised.value.hint
    """,
    "what is at stake": "assert hf_emms.expected_gap(ranking) == []  # it was fitted with other label encoders",
    # What rank takes
    "columns by name": """
        renamed = frame.rename(columns={"text": "body", "label": "topic"})
        ranking = hf_emms.rank(renamed, GOOD, text_column="body", label_column="topic", **quick)
        assert ranking.columns == {"text": "body", "label": "topic"}
    """,
    "errors name arguments": """
        for wrong, right in {"models": "checkpoints", "encoder": "encoders", "n_samples": "max_samples"}.items():
            with pytest.raises(hf_emms.EmmsError, match=wrong) as raised:
                hf_emms.rank(frame, **{wrong: 1})
            assert f"{right}=" in raised.value.hint
        with pytest.raises(hf_emms.EmmsError, match="no column 'nope'") as raised:
            hf_emms.rank(frame, GOOD, text_column="nope", **quick)
        assert "text_column=" in raised.value.hint and "--" not in str(raised.value)
        for wrong, right in {"label": "label", "text": "text", "labels": "label", "y": "label"}.items():
            with pytest.raises(hf_emms.EmmsError, match=f"unknown argument '{wrong}'") as raised:
                hf_emms.rank(frame, **{wrong: "label"})
            assert raised.value.hint.startswith(f"did you mean {right}_column=")
    """,
    "a dry run": """
        planned = hf_emms.plan(frame, [POOR, "none/such", path], **quick)
        assert [row[0] for row in planned.records()[1]] == [POOR, "none/such", str(path)]
        assert [problem.partition(":")[0] for problem in planned.problems] == ["checkpoint none/such"]
        assert len(repr(planned)) < 200
        if not torch.cuda.is_available():
            with pytest.raises(hf_emms.EmmsError, match="cuda"):
                hf_emms.plan(frame, POOR, device="cuda", **quick)
        assert "to download" in str(planned) and "1 problem of this run" in str(planned)
    """,
    "progress": """
        hf_emms.rank(frame, GOOD, progress=True, **{**quick, "max_samples": 50})
        assert f"[1/1] {GOOD}: explained" in capsys.readouterr().err
        for quiet in (None, False):
            hf_emms.rank(frame, GOOD, progress=quiet, **quick)
            assert capsys.readouterr().err == ""
    """,
    "tasks": 'assert {"text-classification", "image-to-text"} <= set(hf_emms.list_tasks())',
    "a dataset in memory": "assert len(hf_emms.rank(datasets.Dataset.from_pandas(frame), GOOD, **quick)) == 1",
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the snippets find: features and labels that belong together, noise, a data frame, a ranking."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, 200)
    x = 2 * np.eye(3, 12)[ids] + rng.normal(size=(200, 12))
    texts = np.array(["cat", "dog", "bird"])[np.unique(ids, return_inverse=True)[1]]
    order = np.argsort(["cat", "dog", "bird"])  # ids as np.unique numbers the texts
    frame = pd.DataFrame({"text": [f"a {text} number {row}" for row, text in enumerate(texts)], "label": texts})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_EMMS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLBACKEND", "agg")
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        quick = {"encoders": "demo", "max_samples": 60, "layers": "last"}
        yield {
            "hf_emms": hf_emms,
            "np": np,
            "pytest": pytest,
            "torch": torch,
            "datasets": datasets,
            "X": x,
            "Z": x @ rng.normal(size=(12, 16)) + rng.normal(size=(200, 16)),
            "Z2": x @ rng.normal(size=(12, 16)) + 3 * rng.normal(size=(200, 16)),
            "noise": rng.normal(size=(200, 12)),
            "ids": np.argsort(order)[ids],
            "texts": list(texts),
            "frame": frame,
            "pd": pd,
            "quick": quick,
            "GOOD": GOOD,
            "POOR": POOR,
            "path": folder_of(POOR),
            "ranking": hf_emms.rank("demo_glosses", [POOR, GOOD], **{**quick, "max_samples": 300}),
            "hub_ranking": ranking_of(),
            "of_rows": of_rows,
            "scored": scored,
            "Path": Path,
            "metric": lambda: evaluate.load("emms", cache_dir=os.environ["HF_EMMS_CACHE"]),
        }


@pytest.mark.parametrize("code", SNIPPETS.values(), ids=SNIPPETS)
def test_snippets_of_the_python_api(
    code: str, names: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line[8:] if code.startswith("\n") else line for line in code.splitlines()]
    exec("\n".join(lines), {**names, "folder": tmp_path, "capsys": capsys})


def test_the_reference_page_shows_every_public_name() -> None:
    names = re.findall(r"^::: hf_emms\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(set(hf_emms.__all__) - {"__version__"})


# The page shows a default as the source code writes it.
@pytest.mark.parametrize("name", sorted(set(hf_emms.__all__) - {"__version__"}))
def test_defaults_are_values_in_the_source_code(name: str) -> None:
    value = getattr(hf_emms, name)
    source = ast.parse(textwrap.dedent(inspect.getsource(value)))
    public = [node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    defaults = [default for node in public for default in (*node.args.defaults, *node.args.kw_defaults) if default]
    assert public or not inspect.isfunction(value)
    assert not [ast.unparse(default) for default in defaults if any(isinstance(n, ast.Name) for n in ast.walk(default))]
