"""Every command line of the documentation parses: commands, options, choices, scripts and make targets exist."""

from __future__ import annotations

import importlib.util
import re
import shlex

import click
import pytest

from hf_emms.cli.app import app
from scripts.bench.__main__ import BENCHES
from scripts.docs import command_line
from scripts.docs.__main__ import NAMES
from scripts.quality.__main__ import STEPS
from tests import ROOT
from tests.docs.pages import PAGES, code_spans, commands, name_of
from tests.helpers.hints import flags_of

PLACEHOLDER = re.compile(r"[A-Z_/.{}@-]*[A-Z][A-Z_/.{}@-]*|.*…")


def parts(line):
    """The commands of a line with pipes and the like, as lists of words."""
    words = shlex.split(line.replace("'", "\\'") if line.count("'") % 2 else line, comments=True)
    found = [[]]
    for word in words:
        if word in ("|", "&&", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return [one for one in found if one]


def hf_emms_lines(page):
    lines = []
    for line in commands(page):
        if re.match(r"(hf[- ]emms|[^#]*\| hf-emms) ", line):
            lines += [words for words in parts(line.replace("hf emms ", "hf-emms ", 1)) if words[0] == "hf-emms"]
    return lines


def check(words):
    """Resolve the command, then each option and its value."""
    command, rest = app, list(words[1:])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if PLACEHOLDER.fullmatch(name):
            return
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("-") or name in ("-", "--help", "-h"):
            continue
        assert name in options, name
        option = options[name]
        if option.is_flag or option.count:
            continue
        values = (value if equals else rest.pop(0)).split("|")
        if isinstance(option.type, click.Choice):
            assert set(values) <= set(option.type.choices), values
        elif not any(PLACEHOLDER.fullmatch(one) for one in values) and not isinstance(
            option.type, click.Path | click.File
        ):
            option.type.convert(values[0], option, None)


def test_the_page_of_the_command_line_has_every_option():
    assert command_line.page() == command_line.PAGE.read_text(), "`python -m scripts.docs command_line` updates it"


def test_commands_parse():
    lines = [(page, words) for page in PAGES for words in hf_emms_lines(page)]
    assert len(lines) > 120
    for page, words in lines:
        try:
            check(words)
        except (AssertionError, click.ClickException, IndexError) as error:
            pytest.fail(f"{name_of(page)}: {' '.join(words)}: {error!r}")


def test_options_in_the_text_exist():
    spans = {span for page in PAGES for span in code_spans(page) if span.startswith("--")}
    known = flags_of(app) | {"--count", "--help", "--names", "--rounds", "--rows"}  # of every command, and of scripts
    assert len(spans) > 60
    assert {span for span in spans if span.split()[0].partition("=")[0] not in known} == set()


def test_scripts_and_make_targets_exist():
    lines = {line for page in PAGES for line in commands(page)}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    made = {found[1] for line in lines if (found := re.match(r"make ([\w-]+)", line))}
    run = {found for line in lines for found in re.findall(r"python -m (scripts[\w.]*)(?: ([a-z_]+))?", line)}
    assert (len(made) > 5, len(run) > 10) == (True, True)
    assert made - {*targets} == set()
    known = {"scripts.bench": {*BENCHES, "all"}, "scripts.docs": {*NAMES}, "scripts.quality": {*STEPS}}
    for module, name in run:
        assert importlib.util.find_spec(module) is not None, module
        assert not name or name in known.get(module, {name}), (module, name)
