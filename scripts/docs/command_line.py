"""Write docs/command-line.md: every command with its arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from hf_emms.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
HEAD = """# The command line

Every command with its arguments and options, as `hf-emms COMMAND --help` prints them. An option with … may be repeated.
This page is made from the code by `python -m scripts.docs command_line`.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join([HEAD, *_lines(app, "hf-emms")])


def _lines(command: click.Command, name: str) -> Iterator[str]:
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    yield f"## {' '.join([name, *(argument.metavar or argument.human_readable_name for argument in arguments)])}\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    options = [param for param in command.params if isinstance(param, click.Option)]
    yield from map(_line, options)
    yield from [""] if options else []
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _lines(inner, f"{name} {inner.name}")


def _line(option: click.Option) -> str:
    name, *others = sorted([*option.opts, *option.secondary_opts], key=lambda flag: not flag.startswith("--"))
    more = "…" if option.multiple else ""
    value = "" if option.is_flag else f" {option.metavar or _of_type(option.type)}{more}"
    flags = ", ".join(f"`{flag}`" for flag in (f"{name}{value}", *others))
    facts = ["required"] if option.required else []
    if isinstance(option.type, click.IntRange):
        ends = {"at least": option.type.min, "at most": option.type.max}
        facts += [f"{end} {number}" for end, number in ends.items() if number is not None]
    if isinstance(option.default, (bool, int, str, Path)) and (option.default or not option.is_flag):
        facts.append(f"default: {option.default}")
    told = f" *({'; '.join(facts)})*" if facts else ""
    return f"- {flags}{told}: {option.help}"


def _of_type(type: click.ParamType) -> str:
    if isinstance(type, click.Choice):
        return "|".join(map(str, type.choices))
    return "N" if type.name.startswith("integer") else type.name.upper()


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
