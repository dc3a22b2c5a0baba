"""What every hint has to be: Python in the words of Python, and flags that exist in those of the command line."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import sys
from collections.abc import Iterator

import click
import pytest

from hf_emms.cli.app import app
from hf_emms.cli.option_flags import FLAGS
from hf_emms.errors import PYTHON, EmmsError, Text, Use

# Commands of a shell, which have flags wherever they are printed.
_COMMAND = re.compile(r"\b(hf|hf-emms|pip|git|ray) \S")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


class Raised(list[tuple[str, EmmsError]]):
    """The errors that the package made since they were checked last, each with the module that made it."""


@pytest.fixture(scope="session", autouse=True)
def raised() -> Iterator[Raised]:
    """Records every error that the package makes in this process."""
    errors, init = Raised(), EmmsError.__init__

    def recorded(self: EmmsError, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        errors.append((sys._getframe(1).f_globals["__name__"], self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmmsError, "__init__", recorded)
        yield errors


@pytest.fixture(autouse=True)
def every_hint_can_be_said_everywhere(raised: Raised) -> Iterator[None]:
    """Fails a test in which the package raised what cannot be said in Python or on the command line."""
    raised.clear()
    yield
    for module, error in raised:
        if module.startswith("hf_emms."):
            for text in filter(None, (error.problem, error.remedy)):
                check(text, names_flags=module.startswith("hf_emms.cli."))


def check(text: Text, *, names_flags: bool = False) -> None:
    """Checks each reference of a text; other parts may spell flags only in a command of the shell."""
    for part in text.parts:
        if isinstance(part, tuple):
            for use in part:
                check_use(use)
        elif not (names_flags or _COMMAND.search(part)):
            assert not FLAG.search(part), f"{part!r} spells a flag; `setting_ref` refers to a setting"


def check_use(use: Use) -> None:
    (call,) = ast.parse(f"call({PYTHON.say(use)})").body
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    if use.values:
        assert [argument.arg for argument in call.value.keywords] == [use.setting]
    flags = [word for word in shlex.split(FLAGS.say(use).replace("|", " ")) if FLAG.match(word)]
    assert flags
    assert set(flags) <= flags_of(app), f"no command has {flags}"


@functools.cache
def flags_of(command: click.Command) -> frozenset[str]:
    """The flags of a command and of all below it."""
    own = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return frozenset(own).union(*map(flags_of, below))
