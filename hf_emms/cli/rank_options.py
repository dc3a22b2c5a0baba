"""The flags of ``hf-emms rank``, made from the settings in `hf_emms.options` and grouped as its help shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

import click
import cloup

from hf_emms.errors import EmmsError
from hf_emms.options import COLUMN_ROLES, DEFAULT_RACE, SETTINGS, Options, Setting, Settings

EVERYDAY = "Everyday"
GROUPS = (EVERYDAY, "Data", "Checkpoints", "Labels", "Scoring", "Confirm", "Running", "Output", "Safety")

Decorator = Callable[[Any], Any]


def option_groups(own: Mapping[str, Sequence[Decorator]], settings: Settings = SETTINGS) -> Decorator:
    """Adds a flag for every setting to a command, and the command's own flags, by group.

    Args:
        own: group → flags of the command that are no settings of a ranking.
        settings: of a ranking.
    """
    flags: dict[str, list[Decorator]] = {group: [] for group in GROUPS}
    for name, setting in settings.items():
        group = EVERYDAY if setting.everyday else setting.group
        flags[group] += _column_flags(setting) if name == "columns" else [_flag(name, setting)]
        if name == "race":
            top = f"How many best ones a race is for [default: {DEFAULT_RACE}]."
            flags[group].append(cloup.option("--top", type=click.IntRange(min=1), metavar="K", help=top))
    for group, more in own.items():
        flags[group] += more

    def add(command: Any) -> Any:
        for group in reversed([group for group in GROUPS if flags[group]]):
            command = cloup.option_group(group, *flags[group])(command)
        return command

    return add


def options_from(given: dict[str, Any], options: type[Options] = Options) -> Options:
    """The options of a command line.

    Args:
        given: parameters of the command as click parsed them; those of settings are taken out.
        options: the class whose settings they are.

    Raises:
        EmmsError: a value that is not allowed.
        click.UsageError: flags that do not go together.
    """
    values = {name: given.pop(name) for name in options.settings() if name not in ("columns", "race")}
    race, top = given.pop("race"), given.pop("top")
    if top and not race:
        raise click.UsageError("--top K goes with --race; without it every checkpoint is ranked on all rows.")
    values["race"] = (top or DEFAULT_RACE) if race else None
    values["columns"] = _columns(given)
    max_samples = values.pop("max_samples")
    arguments = {name: value for name, value in values.items() if value not in (None, ())}
    if max_samples is not None:
        arguments["max_samples"] = max_samples or None
    return options.of(**arguments)


def flags_of(names: Sequence[str]) -> list[Decorator]:
    """The flags of some settings."""
    return [_flag(name, SETTINGS[name]) for name in names]


def _flag(name: str, setting: Setting) -> Decorator:
    default = setting.default
    words = [*([setting.short] if setting.short else []), setting.on, name]
    if name == "race":
        return cloup.option(*words, is_flag=True, help=setting.help)
    if default is True:
        return cloup.option(f"{setting.on}/{setting.flag}", name, default=None, help=setting.help)
    if default is False:
        return cloup.option(*words, is_flag=True, default=None, help=setting.help)
    shown = "" if default in (None, (), MISSING) or "[default" in setting.help else f" [default: {default}]"
    details: dict[str, Any] = {"help": setting.help + shown, "metavar": setting.metavar}
    if isinstance(default, tuple):
        details["multiple"] = True
    elif setting.choices:
        details |= {"type": click.Choice(setting.choices), "metavar": None}
    elif setting.minimum is not None:
        least = 0 if name == "max_samples" else setting.minimum
        details["type"] = click.IntRange(min=least) if least >= 0 else int
        details["metavar"] = setting.metavar or "N"
    return cloup.option(*words, required=default is MISSING, **details)


def _column_flags(setting: Setting) -> list[Decorator]:
    """A --ROLE-column for every role of our tasks, and --column for those of other packages."""
    roles = [cloup.option(f"--{role}-column", metavar="NAME", help=help) for role, help in COLUMN_ROLES.items()]
    other = cloup.option(setting.on, "columns", multiple=True, metavar=setting.metavar, help=setting.help)
    return [*roles, other]


def _columns(given: dict[str, Any]) -> dict[str, str]:
    """Takes the columns out of a command's parameters: role → column."""
    found = {role: given.pop(f"{role}_column") for role in COLUMN_ROLES}
    for role, column in found.items():
        if column == "":
            raise EmmsError(f"--{role}-column is empty", f"--{role}-column NAME, or leave it out")
    for pair in given.pop("columns"):
        role, _, column = pair.partition("=")
        if not role or not column:
            raise EmmsError(f"--column {pair!r} names no role", "--column ROLE=NAME")
        found[role] = column
    return {role: column for role, column in found.items() if column is not None}
