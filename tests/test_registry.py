"""Test tasks, estimators and architectures of other installed packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms import Ranking
from hf_emms.options.registry import entry_or_reference
from hf_emms.publish.card_text import card
from tests import ROOT
from tests.helpers.command_line import CommandLine
from tests.helpers.errors import raises_code
from tests.helpers.quick_python import python
from tests.helpers.space import snapshot_of, write

EXAMPLE = ROOT / "tests" / "example_package"
RANK = ("rank", "--dataset", "emms-demo/wordnet-glosses", "--max-samples", "200", "--folds", "3")
ENCODER = ("-e", "emms-demo/encoder-minilm-static")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plugins")


@pytest.fixture(scope="module")
def installed_example(folder: Path) -> Iterator[CommandLine]:
    """Commands that find the example package as pip has installed it, and two checkpoints that need it."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    installed = environment(folder, folder / "installed")
    for command in (
        [*pip, "--target", str(folder / "installed"), str(EXAMPLE)],
        [*python(), str(EXAMPLE / "make_checkpoints.py")],
    ):
        done = subprocess.run(command, cwd=folder, env=installed, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    cli = CommandLine(installed, folder)
    yield cli
    cli.close()


def environment(folder: Path, *more: Path) -> dict[str, str]:
    own = {"HF_EMMS_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *more)))}


def add_package(folder: Path, name: str, group: str, entry: str, code: str = "") -> None:
    """Puts a package where Python finds it, with its metadata as pip would leave them."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


# ---- an example package, installed with pip -------------------------------------------------------------------


def test_a_task_an_estimator_and_an_architecture_of_a_package_rank_together(installed_example: CommandLine) -> None:
    named = ("--task", "word_topic", "--estimator", "class-spread", "--estimator", "emms")
    done = installed_example.run(*RANK, *ENCODER, *named, "-c", "./random", "-c", "./trained", "--format", "json")
    assert done.code == 0, done.err
    ranking = json.loads(done.out)
    assert ranking["task"] == "gloss-topic"
    assert ranking["estimators"] == ["class-spread", "emms"]
    assert ranking["versions"]["emms-example"] == "0.1.0"
    best, worst = ranking["rows"]
    assert (best["checkpoint"], worst["checkpoint"]) == ("./trained", "./random")
    assert (best["architecture"], best["width"]) == ("Bag of tokens", 128)
    assert "mean and maximum" in best["pooling"]
    for name in ("class-spread", "emms"):
        assert best["scores"][name]["value"] > worst["scores"][name]["value"]
    assert 0 < worst["scores"]["class-spread"]["value"] < 1


def test_a_task_of_a_package_is_fine_tuned_and_shown_on_a_card_and_the_leaderboard(
    installed_example: CommandLine, tmp_path: Path
) -> None:
    recipe = ("--confirm", "1", "--steps", "20", "--learning-rate", "0.01", "--output", tmp_path / "ranking.json")
    named = ("--task", "gloss-topic", "--estimator", "emms")
    done = installed_example.run(*RANK, *ENCODER, *named, "-c", "emms-demo/bert-distilled", *recipe)
    assert done.code == 0, done.err
    ranking = Ranking.from_json((tmp_path / "ranking.json").read_text())
    (row,) = ranking.rows
    assert set(row.fine_tuned.scores) == {"accuracy", "macro F1"}
    assert f"| accuracy {100 * row.fine_tuned.value:.1f}" in card(ranking, row.checkpoint)
    from leaderboard.selection import View
    from leaderboard.table import table

    write(tmp_path, "one", ranking)
    snapshot = snapshot_of(tmp_path)
    assert f"{100 * row.fine_tuned.value:.1f}" in table(View(), snapshot.entries["one"].ranking, snapshot)


def test_a_plugin_task_is_not_inferred_instead_of_a_built_in_task(installed_example: CommandLine) -> None:
    done = installed_example.run(*RANK, *ENCODER, "-c", "./trained", "--estimator", "emms", "--format", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["task"] == "text-classification"


def test_plugin_entries_are_listed(installed_example: CommandLine) -> None:
    done = installed_example.run("presets", "--format", "csv")
    assert "estimator,class-spread,,share of the variance" in done.out
    assert done.err == ""
    unknown = installed_example.run(*RANK, "--task", "nonsense", *ENCODER)
    assert "gloss-topic" in unknown.err


# ---- packages with faults -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty(folder: Path) -> Iterator[CommandLine]:
    """Commands in an environment with packages that fail to import, or have the wrong type or name."""
    packages = folder / "packages"
    packages.mkdir()
    tasks, estimators, architectures = "hf_emms.tasks", "hf_emms.estimators", "hf_emms.architectures"
    add_package(packages, "broken-task", tasks, "sorting = broken_task:TASK", "import no_such_module")
    add_package(packages, "broken-score", estimators, "luck = broken_score:LUCK", "LUCK = 7")
    imports = "from dataclasses import replace\nfrom hf_emms.scoring.estimators import ESTIMATORS\n"
    add_package(packages, "two-scores", estimators, "pair = two_scores:PAIR", f"{imports}PAIR = ESTIMATORS[:2]")
    renamed = f"{imports}SCORE = replace(ESTIMATORS[0], name='chance')"
    add_package(packages, "misnamed-score", estimators, "fate = misnamed_score:SCORE", renamed)
    imports = "from hf_emms.features.architectures import Architecture\n"
    row = imports + "ROW = Architecture('Mine', ({!r},), 'BertModel', 'masked_mean', 'mine', 'text')"
    add_package(packages, "misnamed-model", architectures, "electra = misnamed_model:ROW", row.format("opt"))
    add_package(packages, "broken-model", architectures, "albert = broken_model:ROW", "1 / 0")
    cli = CommandLine(environment(folder, packages), folder)
    yield cli
    cli.close()


@pytest.mark.parametrize(
    ("option", "name", "problem", "package"),
    [
        ("--task", "sorting", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'", "broken-task"),
        ("--estimator", "luck", "is of type int, not hf_emms.scoring.estimators.Estimator", "broken-score"),
        ("--estimator", "pair", "is 2 objects, not a single object", "two-scores"),
        ("--estimator", "fate", "calls itself 'chance'", "misnamed-score"),
    ],
)
def test_errors_of_plugins_name_the_package(
    faulty: CommandLine, option: str, name: str, problem: str, package: str
) -> None:
    done = faulty.run(*RANK, *ENCODER, "-c", "emms-demo/bert-random", option, name)
    assert done.code == 1
    assert repr(name) in done.err
    assert problem in done.err
    assert f"pip uninstall {package}" in done.err


def test_a_faulty_architecture_fails_only_its_checkpoints(faulty: CommandLine) -> None:
    problems = {
        "bert-random": None,
        "electra-distilled": "of the package misnamed-model 1.0 is for opt",
        "albert-distilled": "of the package broken-model 1.0 cannot be loaded: ZeroDivisionError",
    }
    named = [word for checkpoint in problems for word in ("-c", f"emms-demo/{checkpoint}")]
    done = faulty.run(*RANK, *ENCODER, *named, "--estimator", "emms", "--format", "json")
    errors = {row["checkpoint"].partition("/")[2]: row["error"] for row in json.loads(done.out)["rows"]}
    assert errors.keys() == problems.keys()
    for checkpoint, problem in problems.items():
        assert errors[checkpoint] is None if problem is None else problem in errors[checkpoint]


def test_lists_omit_faulty_entries_with_a_warning(faulty: CommandLine) -> None:
    faulty.run("presets")
    done = faulty.run("presets", "--format", "csv")
    assert done.code == 0
    assert "estimator,logme," in done.out
    assert not any(f"estimator,{name}," in done.out for name in ("luck", "pair"))
    said = "".join(one.err for one in faulty.done)
    for package in ("broken-score", "two-scores", "broken-task"):
        assert f"pip uninstall {package}" in said


def test_invalid_references_raise_errors() -> None:
    with raises_code("broken-package", "no_such:THING", "ModuleNotFoundError"):
        entry_or_reference("no_such:THING", {}, int)
    with raises_code("wrong-type", "json:dumps", "builtins.int or builtins.str"):
        entry_or_reference("json:dumps", {}, int, str)


def test_the_documentation_shows_tested_code() -> None:
    shown = re.findall(r"^```(python|toml)\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text(), re.M | re.S)
    tasks = [ROOT / "hf_emms" / "tasks" / name for name in ("referring_expression.py", "regression.py")]
    files = [*EXAMPLE.rglob("*"), *tasks, ROOT / "tests/data/test_items.py"]
    sources = [file.read_text() for file in files if file.suffix in (".py", ".toml")]
    assert len(shown) == 10
    for _, block in shown:
        assert any(block in source for source in sources), block
