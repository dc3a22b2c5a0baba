"""Test that each setting is defined once, and that everything else follows from it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hf_emms
from hf_emms.cli.option_flags import options_from
from hf_emms.cli.rank_commands import rank as command
from hf_emms.errors import EmmsError
from hf_emms.options import SETTINGS, Options, to_flags
from tests.helpers.errors import raises_code

# Arguments of `rank` that are not settings of a ranking: they select where it runs, progress, and columns by name.
BESIDES = {"engine", "executor", "progress", "role_columns"}


def test_rank_takes_every_setting_and_nothing_else() -> None:
    parameters = inspect.signature(hf_emms.rank).parameters
    assert set(parameters) - BESIDES == set(SETTINGS)


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"dataset"}))
def test_default_arguments_equal_the_defaults_of_settings(name: str) -> None:
    scoring = (hf_emms.emms, hf_emms.score)
    for function in (hf_emms.rank, hf_emms.confirm, hf_emms.load_finetuned, *scoring):
        parameter = inspect.signature(function).parameters.get(name)
        if parameter is not None and parameter.default is not parameter.empty:
            assert Options.of("org/data", **{name: parameter.default}).values[name] == SETTINGS[name].default


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"columns"}))
def test_every_setting_has_a_flag_with_its_help(name: str) -> None:
    flags = {flag: option for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    assert SETTINGS[name].help in flags[SETTINGS[name].flag].help


def test_the_command_line_contains_changed_settings_only() -> None:
    options = Options.of(
        "org/data", checkpoints="org/a", max_samples=None, columns={"image": "img", "other": "x"}, cache=False
    )
    assert options.to_argv() == [
        *("--dataset", "org/data", "--image-column", "img", "--column", "other=x", "--max-samples", "0"),
        *("--checkpoint", "org/a", "--no-cache"),
    ]
    said_nothing = {"task": None, "max_samples": None, "cache": True, "layers": ()}
    assert list(to_flags(said_nothing)) == [("--max-samples", "0")]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        *(("gpus_per_checkpoint", value, "invalid-value") for value in (2, -1, 1.5, "half")),
        *(("sampling", "even", "invalid-value"), ("references", "last", "invalid-value")),
        *(("label_template", "a", "invalid-value"), ("seed", 2**63, "invalid-value")),
        *((name, 2.5, "wrong-type") for name in ("folds", "seed", "batch_size", "max_samples")),
        *((name, value, "wrong-type") for name, value in (("folds", True), ("seed", "1"))),
        *((name, value, "wrong-type") for name, value in (("cache", 1), ("resume", None))),
        *((name, value, "wrong-type") for name, value in (("task", 3), ("split", ""))),
        *(
            (name, value, "wrong-type")
            for name, value in (("encoders", [""]), ("checkpoints", [None]), ("estimators", 7))
        ),
        *(("columns", value, "wrong-type") for value in ({"text": ""}, {"text": 1}, "text")),
        *((name, [], "setting-empty") for name in ("checkpoints", "encoders", "estimators", "layers")),
    ],
)
def test_errors_of_values_name_the_setting(name: str, value: Any, code: str) -> None:
    with raises_code(code) as raised:
        Options.of("org/data", **{name: value})
    assert name in str(raised.value)
    assert name in str(raised.value.hint)


def test_a_dataset_of_any_type_counts_as_changed() -> None:
    rows = np.zeros(3)
    assert Options.of(rows).changed()["dataset"] is rows


def test_paths_and_numpy_numbers_are_converted() -> None:
    options = Options.of(Path("data"), checkpoints=Path("a/b"), encoders=[Path("c")], folds=np.int64(4))
    assert options == Options.of("data", checkpoints=("a/b",), encoders=("c",), folds=4)
    assert type(options.scoring.folds) is int


def test_the_command_line_refuses_an_empty_name_of_a_column() -> None:
    given = command.make_context("rank", ["--dataset", "org/data", "--text-column", ""]).params
    with raises_code("setting-empty", "--text-column"):
        options_from({name: value for name, value in given.items() if name not in BESIDES})


def test_the_parts_contain_all_settings() -> None:
    options = Options.of("org/data", checkpoints=("org/a",), folds=3, seed=7, confirm=2, epochs=4, device="cpu")
    parts = (options.sample, options.features, options.scoring, options.training, options.running)
    assert set(SETTINGS) == {name for part in parts for name in vars(part)}
    for part, wrong in zip(parts, ("label_template", "encoders", "folds", "epochs", "device"), strict=True):
        with pytest.raises(EmmsError) as raised:
            replace(part, **{wrong: 0})
        assert raised.value.message.startswith(f"{wrong} is 0")


def test_rankings_record_the_settings_that_affect_scores() -> None:
    unset = ("sampling", "label_template", "label_form", "label_separator", "box_format", "group_column")
    unset += ("query_prompt", "document_prompt")
    alone = {"device": "auto"}
    assert {name for name, setting in SETTINGS.items() if not setting.compared} == set(alone)
    assert Options.of("org/data").recorded() == {
        **{**dict.fromkeys(unset), **alone, "references": "mean", "layers": [], "dtype": "auto"},
        **{"max_samples": 5000, "corpus_size": 10_000, "seed": 0, "folds": 5},
    }
    assert {name for name, setting in SETTINGS.items() if setting.everyday} == {
        *("dataset", "task", "split", "max_samples", "checkpoints", "encoders", "confirm", "device"),
    }


def test_numbers_below_the_minimum_raise_errors() -> None:
    smallest = {
        **dict.fromkeys(("folds", "confirm", "epochs", "steps", "seeds", "batch_size", "stall_limit", "workers"), 1),
        **{"max_samples": 2, "corpus_size": 2, "confirm_samples": 20, "seed": 0},
    }
    assert smallest.keys() == {name for name, setting in SETTINGS.items() if setting.minimum is not None}
    for name, value in smallest.items():
        Options.of("org/data", **{"confirm": 1, name: value})
        with raises_code("invalid-value", f"{name} is {value - 1}"):
            Options.of("org/data", **{"confirm": 1, name: value - 1})


def test_settings_of_fine_tuning_require_confirm() -> None:
    with raises_code("setting-without-effect", "epochs") as raised:
        Options.of("org/data", epochs=3)
    assert raised.value.hint == "confirm=..."
    assert Options.of("org/data", epochs=3, confirm=2).training.epochs == 3
