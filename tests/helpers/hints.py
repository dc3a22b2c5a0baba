"""Check hints: they are valid Python for Python, and existing flags for the command line."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest

from hf_emms.cli.app import app
from hf_emms.cli.option_flags import FLAGS
from hf_emms.errors import EmmsError
from hf_emms.texts import PYTHON, HintStyle, SettingRef, Text, current_hint_style, joined

# Shell commands, which contain flags in every interface.
_COMMAND = re.compile(r"\b(hf|hf-emms|pip|git) \S")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


class Raised(list[tuple[str, HintStyle, str | Text]]):
    """The messages and hints since the last check, each with the module that raised it and the style of that time."""


@pytest.fixture(scope="session", autouse=True)
def raised() -> Iterator[Raised]:
    """Record every error of the package in this process."""
    errors, init = Raised(), EmmsError.__init__

    def recorded(self: EmmsError, code: str, *texts: Any) -> None:
        init(self, code, *texts)
        module = sys._getframe(1).f_globals["__name__"]
        errors.extend((module, current_hint_style(), text) for text in texts if text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmmsError, "__init__", recorded)
        yield errors


@pytest.fixture(autouse=True)
def every_hint_can_be_said_everywhere(raised: Raised) -> Iterator[None]:
    """Fail a test if the package raised an error that is not valid in Python and on the command line."""
    raised.clear()
    yield
    for module, style, text in raised:
        if module.startswith("hf_emms."):
            # An error that adds to another one of a command contains flags.
            check(joined([text]), names_flags=module.startswith("hf_emms.cli.") or style is FLAGS)


def check(text: Text, *, names_flags: bool = False) -> None:
    """Check each setting reference of a text. Other parts may contain flags only in shell commands."""
    for part in text.parts:
        if isinstance(part, tuple):
            for use in part:
                check_reference(use)
        elif not (names_flags or _COMMAND.search(part)):
            assert not FLAG.search(part), f"{part!r} spells a flag; `setting_ref` refers to a setting"


def check_reference(use: SettingRef) -> None:
    (call,) = ast.parse(f"call({PYTHON.write(use)})").body
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    if use.values:
        assert [argument.arg for argument in call.value.keywords] == [use.setting]
    flags = [word for word in shlex.split(FLAGS.write(use).replace("|", " ")) if FLAG.match(word)]
    assert flags
    assert set(flags) <= flags_of(app), f"no command has {flags}"


@functools.cache
def flags_of(command: click.Command) -> frozenset[str]:
    """Return the flags of a command and its subcommands."""
    own = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return frozenset(own).union(*map(flags_of, below))
