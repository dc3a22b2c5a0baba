"""Errors refer to settings, and each interface writes them in its style."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import hf_emms
from hf_emms.cli.option_flags import FLAGS
from hf_emms.errors import EmmsError, one_line
from hf_emms.evaluation import read_truth, validate
from hf_emms.publish.space import publish
from hf_emms.texts import SettingRef, Text, hint_style, setting_ref, setting_refs
from tests import ROOT
from tests.helpers.cli import Cli, cli
from tests.helpers.hints import FLAG, check, check_reference

__all__ = ["cli"]

SAID = {
    setting_ref("box_format", "xywh", "xyxy"): (
        'box_format="xywh" or "xyxy"',
        "--box-format xywh or --box-format xyxy",
    ),
    setting_ref("label_template", "a {}"): ('label_template="a {}"', "--label-template 'a {}'"),
    setting_ref("max_samples", 500): ("max_samples=500", "--max-samples 500"),
    setting_ref("max_samples", None): ("max_samples=None", "--max-samples 0"),
    setting_ref("confirm", ...): ("confirm=...", "--confirm N"),
    setting_ref("encoders", "demo"): ('encoders="demo"', "--encoder demo"),
    setting_ref("cache", False): ("cache=False", "--no-cache"),
    setting_ref("streaming", True): ("streaming=True", "--stream"),
    setting_ref("layers"): ("layers", "--layer"),
    setting_ref("text_column", "x"): ('text_column="x"', "--text-column x"),
    setting_ref("depth_column", "x"): ('depth_column="x"', "--column depth=x"),
    setting_ref("group_column", ...): ("group_column=...", "--group-column NAME"),
}


@pytest.mark.parametrize(("text", "arguments", "flags"), [(text, *both) for text, both in SAID.items()])
def test_reference_is_an_argument_in_python_and_a_flag_on_the_command_line(
    text: Any, arguments: str, flags: str
) -> None:
    assert (str(text), text.written(FLAGS)) == (arguments, flags)
    check(text)


def test_joined_and_formatted_texts() -> None:
    text = "leave " + setting_ref("epochs") + " or " + setting_ref("steps") + " out"
    assert (str(text), text.written(FLAGS)) == ("leave epochs or steps out", "leave --epochs or --steps out")
    with hint_style(FLAGS):
        assert f"draw more: {setting_ref('max_samples', 9)}" == "draw more: --max-samples 9"
    both = setting_refs(setting_ref("task", "vqa"), setting_ref("label_column", ...))
    assert (str(both), both.written(FLAGS)) == ('task="vqa", label_column=...', "--task vqa --label-column NAME")


def test_unpickled_error_is_the_same() -> None:
    with hint_style(FLAGS):
        error = EmmsError("unknown-split", "no " + setting_ref("split"), setting_ref("split", "train"))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, str(copy)) == ("unknown-split", "no --split\n  → --split train")
    assert one_line(copy) == "no --split → --split train"


def test_texts_contain_no_token() -> None:
    token = "hf_" + "x" * 20
    error = EmmsError("unknown-dataset", f"no {token}", setting_ref("dataset", token) + "\x1b[0m")
    assert str(error) == 'no hf_…\n  → dataset="hf_…"\\x1b[0m'
    assert one_line(ValueError("x\n" * 600)) == "ValueError: " + "x " * 494


def test_hints_are_valid_python() -> None:
    with pytest.raises(EmmsError) as template:
        hf_emms.rank("demo_captions", label_template="a photo")
    assert template.value.hint == 'label_template="a photo of a {}"'


def test_command_line_writes_flags(cli: Cli) -> None:
    rank = ("rank", "--dataset", "demo_captions")
    assert cli(*rank, "--label-template", "a photo").err.endswith("→ --label-template 'a photo of a {}'\n")
    assert "choose --task from: image-classification" in cli(*rank, "--task", "Image_Captionning").err


def _references() -> Iterator[tuple[str, SettingRef]]:
    """Location and reference of every `setting_ref` call in the package that spells its setting."""
    for path in sorted((ROOT / "hf_emms").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting_ref":
                setting, *values = node.args
                if isinstance(setting, ast.Constant):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", SettingRef(setting.value, (...,) if values else ())


def _arguments() -> set[str]:
    """Names of the arguments of what users call."""
    functions = [getattr(hf_emms, name) for name in hf_emms.__all__ if callable(getattr(hf_emms, name))]
    functions += [read_truth, validate, publish]
    return {name for function in functions for name in inspect.signature(function).parameters}


def test_referenced_settings_are_arguments_and_flags() -> None:
    arguments = _arguments()
    for place, reference in _references():
        check_reference(reference)
        is_column = reference.setting.endswith("_column")
        assert is_column or reference.setting in arguments, f"{place}: no function takes {reference.setting}"


def _spelled(tree: ast.Module) -> Iterator[str]:
    """Every text in the code but docstrings; of a formatted one what is fixed."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in formatted for part in node.values}
    for node in formatted:
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | parts:
            yield node.value


def test_only_the_command_line_spells_flags() -> None:
    for path in sorted((ROOT / "hf_emms").rglob("*.py")):
        if path.parent.name != "cli":
            for text in _spelled(ast.parse(path.read_text())):
                if not FLAG.fullmatch(text):  # a word of a command that is started or shown
                    check(Text((text,)))
