"""Command line flags from the settings in `hf_emms.options`, and options from typed flags."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cache.files import decoded, read_limited
from hf_emms.errors import EmmsError
from hf_emms.options import COLUMN_FLAGS, SETTINGS, Options, Setting
from hf_emms.texts import HintStyle, SettingRef, setting_ref

if TYPE_CHECKING:
    from hf_emms.run.ranking_job import JobSettings

EVERYDAY = "Everyday"
GROUPS = (EVERYDAY, "Data", "Checkpoints", "Labels", "Scoring", "Confirm", "Running", "Output", "Safety")

Decorator = Callable[[Any], Any]

JOB_FLAGS = [
    cloup.option(
        "--engine",
        type=click.Choice(("local", "ray", "jobs")),
        default="local",
        help="Where checkpoints run: this machine, a Ray cluster or Hugging Face Jobs. [default: local]",
    ),
    cloup.option("--flavor", "jobs_flavor", metavar="NAME", help="Hardware of a job [default: cpu-basic]."),
    cloup.option("--parts", "jobs_parts", type=click.IntRange(min=1), metavar="N", help="Number of jobs [default: 1]."),
    cloup.option("--jobs-timeout", metavar="TIME", help="Maximum duration of a job, e.g. 90m, 2h [default: 2h]."),
]
checkpoints_file_option = cloup.option(
    "--checkpoints-file", metavar="FILE|-", help="File with one checkpoint per line."
)


# Job arguments whose flags have the prefix --jobs-.
_JOB_FLAGS = {"timeout": "--jobs-timeout"}


def _as_flag(reference: SettingRef) -> str:
    name, values = reference.setting, reference.values
    role = name.removesuffix("_column")
    setting = SETTINGS.get(name)
    if setting is not None:
        flag = setting.flag if values != (setting.default,) else setting.flag_name
    elif role == name or role in COLUMN_FLAGS:
        flag = _JOB_FLAGS.get(name, f"--{name.replace('_', '-')}")
    else:
        columns = ("NAME" if value is ... else value for value in values or (...,))
        return " or ".join(f"--column {shlex.quote(f'{role}={column}')}" for column in columns)
    typed = [_typed(name, value) for value in values if not isinstance(value, bool)]
    return " or ".join(f"{flag} {value}" for value in typed) or flag


def _typed(name: str, value: Any) -> str:
    if value is ...:
        setting = SETTINGS.get(name)
        return (setting.metavar or "N") if setting else "NAME"
    return "0" if value is None else shlex.quote(",".join(value) if isinstance(value, list) else str(value))


FLAGS = HintStyle(_as_flag, " ", "hf-emms rank {}")
"""Flags that a shell accepts: ``--box-format xywh or --box-format xyxy``, or only the flag without values."""


def setting_groups(own_flags: Mapping[str, Sequence[Decorator]], without: Collection[str] = ()) -> Decorator:
    """Return a decorator that adds a flag per setting, and other flags, under their headings."""
    flags: dict[str, list[Decorator]] = {group: [] for group in GROUPS}
    for name, setting in SETTINGS.items():
        if name in without:
            continue
        group = EVERYDAY if setting.everyday else setting.group
        flags[group] += _column_flags(setting) if name == "columns" else [_flag(name, setting)]

    def add(command: Any) -> Any:
        for group in reversed(GROUPS):
            command = cloup.option_group(group, *flags[group], *own_flags.get(group, ()))(command)
        return command

    return add


def sweep_flags() -> list[Decorator]:
    """Return the flags of the settings that apply to all datasets of a sweep."""
    return [_flag(name, setting) for name, setting in SETTINGS.items() if setting.in_sweep]


def confirm_flags(*groups: str) -> list[Decorator]:
    """Return the flags of ``hf-emms confirm`` for the settings of some groups."""
    return [
        _flag(name, setting)
        for name, setting in SETTINGS.items()
        if setting.confirm == "flag" and setting.group in groups
    ]


def typed_settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return name → value of the settings that the user typed; for some settings, 0 means None."""
    values = dict(parameters)
    if parameters.get("checkpoints_file") is not None:
        values["checkpoints"] = (*parameters["checkpoints"], *_listed(parameters["checkpoints_file"]))
    return {
        name: None if value == 0 and SETTINGS[name].zero_is_none else value
        for name, value in values.items()
        if name in SETTINGS and value is not None and value != ()
    }


def options_from(parameters: Mapping[str, Any]) -> Options:
    """Return the options of ``hf-emms rank``."""
    return Options.of(**typed_settings({**parameters, "columns": _columns(parameters)}))


def job_settings(parameters: Mapping[str, Any], results_repo: str | None) -> JobSettings | None:
    """Return the typed settings of a Hub job, or None if the ranking runs elsewhere."""
    names = ("flavor", "timeout", "parts")
    job = {name: value for name in names if (value := parameters[f"jobs_{name}"])}
    engine = parameters["engine"]
    if engine != "jobs":
        for name in job:
            raise EmmsError(
                "setting-without-effect",
                setting_ref(name) + f" is for a job, but the engine is {engine}",
                setting_ref("engine", "jobs"),
            )
        return None
    if results_repo is None:
        problem = setting_ref("engine", "jobs") + " needs a dataset that the ranking comes back through"
        raise EmmsError("setting-missing", problem, setting_ref("results_repo", "ORG/emms-results"))
    from hf_emms.run.ranking_job import JobSettings

    return JobSettings(results_repo, **job)


def _flag(name: str, setting: Setting) -> Decorator:
    default = setting.default
    words = [*([setting.short] if setting.short else []), setting.flag_name, name]
    if default is True:
        return cloup.option(f"{setting.flag_name}/{setting.flag}", name, default=None, help=setting.help)
    if default is False:
        return cloup.option(*words, is_flag=True, default=None, help=setting.help)
    has_default = default not in (None, (), MISSING) and "[default" not in setting.help
    details: dict[str, Any] = {
        "help": setting.help + (f" [default: {default}]" if has_default else ""),
        "metavar": setting.metavar,
    }
    if isinstance(default, tuple):
        details["multiple"] = True
    elif setting.choices:
        details |= {"type": click.Choice(setting.choices), "metavar": None}
    elif setting.minimum is not None:
        minimum = 0 if setting.zero_is_none else setting.minimum
        details["type"] = click.IntRange(min=minimum) if minimum >= 0 else int
        details["metavar"] = setting.metavar or "N"
    return cloup.option(*words, required=default is MISSING, **details)


def _column_flags(setting: Setting) -> list[Decorator]:
    named = [cloup.option(f"--{name}-column", metavar="NAME", help=help) for name, help in COLUMN_FLAGS.items()]
    return [
        *named,
        cloup.option(setting.flag_name, "columns", multiple=True, metavar=setting.metavar, help=setting.help),
    ]


def _columns(parameters: Mapping[str, Any]) -> dict[str, str]:
    columns = {name: parameters[f"{name}_column"] for name in COLUMN_FLAGS if parameters[f"{name}_column"] is not None}
    for name, column in columns.items():
        if column == "":
            raise EmmsError("setting-empty", f"--{name}-column is empty", f"--{name}-column NAME, or leave it out")
    for pair in parameters["columns"]:
        name, _, column = pair.partition("=")
        if not name or not column:
            raise EmmsError("invalid-value", f"--column {pair!r} names no role", "--column ROLE=NAME")
        columns[name] = column
    return columns


def _listed(file: str) -> list[str]:
    """Read checkpoints from a file ("-": stdin) with one per line and comments after "#"."""
    try:
        text = decoded(sys.stdin.buffer.read() if file == "-" else read_limited(Path(file)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        hint = "use a UTF-8 file with one checkpoint per line"
        raise EmmsError("cannot-read", f"cannot read --checkpoints-file {file}: {reason}", hint) from error
    ids = [id for line in text.splitlines() if (id := line.partition("#")[0].strip())]
    if not ids:
        raise EmmsError(
            "setting-empty",
            f"--checkpoints-file {file} names no checkpoint",
            "leave it out to rank the task's list (hf-emms presets)",
        )
    return ids
