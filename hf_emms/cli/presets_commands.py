"""hf-emms presets, datasets, checkpoints and encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import cloup

from hf_emms.cli.output import format_option, out
from hf_emms.formatting import format_bytes, format_count

if TYPE_CHECKING:
    from hf_emms.presets import CheckpointPreset

_TASK = cloup.option("--task", metavar="ID", help="Those of one task only.")


@cloup.command(short_help="List tasks, datasets, checkpoint lists, label encoders and estimators.")
@format_option()
def presets() -> None:
    """List what --task, --dataset, --checkpoint, --encoder and --estimator take, and what is ranked by default.

    Parameters, bytes and licence are from public pages, or what search, --dry-run and rank have learned here.
    """
    from hf_emms.presets import (
        CheckpointPreset,
        candidate_sets,
        checkpoint_presets,
        dataset_presets,
        encoder_sets,
        usable_datasets,
    )
    from hf_emms.scoring.estimators import ESTIMATORS
    from hf_emms.tasks import TASKS

    rows: list[tuple[Any, ...]] = []
    for task in TASKS.values():
        rows.append(("task", task.id, task.id, f"columns {', '.join(task.columns)}", None, None, None))
    usable = usable_datasets()
    for preset in dataset_presets().values():
        held = preset.id or "not on the Hub: pass a folder"
        note = "" if preset.name in usable or preset.id is None else " (not supported yet)"
        rows.append(("dataset", preset.name, preset.task, held + note, None, preset.bytes, preset.licence))
    for task_id, listed in checkpoint_presets().items():
        if task_id in TASKS:
            rows += [("checkpoint", task_id, task_id, one.name, *_facts(one)) for one in listed]
    for preset in dataset_presets().values():
        rows += [
            ("checkpoint", preset.name, preset.task, id, *_facts(CheckpointPreset(id))) for id in preset.checkpoints
        ]
    for name, found in candidate_sets().items():
        rows += [("checkpoint", name, "", id, *_facts(CheckpointPreset(id))) for id in found.checkpoints]
        rows += [("checkpoint", name, "", f"not on the Hub: {one}", None, None, None) for one in found.missing]
    for name, listed in encoder_sets().items():
        rows += [("encoder", name, "", one.name, *_facts(one)) for one in listed]
    for estimator in ESTIMATORS.values():
        rows.append(("estimator", estimator.name, "", estimator.summary, None, None, None))
    shown = {"parameters": _count_or_blank, "bytes": _size_or_blank, "licence": lambda value: value or ""}
    _print(("kind", "name", "task", "what", "parameters", "bytes", "licence"), rows, shown)


@cloup.command(short_help="List the datasets that have a short name.")
@_TASK
@format_option()
def datasets(task: str | None) -> None:
    """List the datasets that --dataset takes by a short name: task, size, licence, and whether the source is verified.

    Not verified: the repository, a split or a column is from memory. Loading the dataset reports what differs.
    """
    from hf_emms.presets import dataset_presets

    wanted = _one_of(task, {preset.task for preset in dataset_presets().values()})
    header = ("name", "task", "dataset", "rows", "bytes", "licence", "verified", "note")
    rows = [
        (
            preset.name,
            preset.task,
            preset.id,
            dict(preset.splits),
            preset.bytes,
            preset.licence,
            preset.verified,
            preset.blocked or preset.note,
        )
        for preset in dataset_presets().values()
        if wanted(preset.task)
    ]
    shown: dict[str, Callable[[Any], str]] = {"dataset": lambda id: id or "not on the Hub", "rows": _splits}
    _print(header, rows, {**shown, "bytes": _size, "licence": _licence, "verified": _yes})


@cloup.command(short_help="List the checkpoints that are ranked when none is named.")
@_TASK
@format_option()
def checkpoints(task: str | None) -> None:
    """List the checkpoints that are ranked when none is named: pinned revision, size, weights, and whether verified.

    Not verified: all but the licence is from memory. Differences are reported in the checkpoint's row of the ranking.
    """
    from hf_emms.presets import checkpoint_presets

    wanted = _one_of(task, checkpoint_presets())
    header = ("checkpoint", "task", "revision", "parameters", "bytes", "weights", "licence", "verified")
    rows = [
        (one.id, task_id, one.revision, *_facts(one)[:2], one.weights, _facts(one)[2], one.verified)
        for task_id, listed in checkpoint_presets().items()
        if wanted(task_id)
        for one in listed
    ]
    _print(header, rows, _SHOWN)


@cloup.command(short_help="List the sets of label encoders.")
@format_option()
def encoders() -> None:
    """List the sets of label encoders that --encoder takes: size, weights, licence, and whether verified.

    Not verified: all but the licence is from memory.
    """
    from hf_emms.presets import encoder_sets

    header = ("encoder", "set", "parameters", "bytes", "weights", "licence", "verified")
    rows = [
        (one.name, name, *_facts(one)[:2], one.weights, _facts(one)[2], one.verified)
        for name, listed in encoder_sets().items()
        for one in listed
    ]
    _print(header, rows, _SHOWN)


def _facts(one: CheckpointPreset) -> tuple[int | None, int | None, str | None]:
    """Parameters, bytes of the weights and licence: of the preset, else what this machine has learned."""
    from hf_emms.hub.known_models import recall

    learned = recall(one.id)
    return one.parameters or learned.parameters, one.bytes or learned.bytes, one.licence or learned.licence


def _one_of(task: str | None, listed: Any) -> Callable[[str], bool]:
    """Whether a task is the wanted one; one that has no preset at all is an error."""
    from hf_emms.errors import EmmsError
    from hf_emms.tasks import get_task

    if task is None:
        return lambda one: True
    wanted = task if task in listed else get_task(task).id
    if wanted not in listed:
        raise EmmsError(f"no preset is for the task {wanted!r}", f"--task takes one of: {', '.join(sorted(listed))}")
    return lambda one: one == wanted


def _print(header: tuple[str, ...], rows: list[tuple[Any, ...]], shown: Mapping[str, Callable[[Any], str]]) -> None:
    """Prints plain values as JSON, plain numbers as tsv, words in a table, which does without notes."""
    if out.format == "tsv":
        shown = {name: words for name, words in shown.items() if name not in ("bytes", "parameters")}
    if out.format != "json":
        rows = [
            tuple(shown[name](value) if name in shown else value for name, value in zip(header, row, strict=True))
            for row in rows
        ]
    if out.format == "table" and header[-1] == "note":
        header, rows = header[:-1], [row[:-1] for row in rows]
    out.records(header, rows)


def _known(value: Any) -> str:
    return str(value) if value is not None else "unknown"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _splits(splits: Mapping[str, int | None]) -> str:
    return ", ".join(f"{name} {'?' if rows is None else f'{rows:,}'}" for name, rows in splits.items())


def _size(count: int | None) -> str:
    return _known(count and format_bytes(count))


def _count(count: int | None) -> str:
    return _known(count and format_count(count))


def _licence(value: str | None) -> str:
    return value or "not seen"


def _count_or_blank(count: int | None) -> str:
    return format_count(count) if count else ""


def _size_or_blank(count: int | None) -> str:
    return format_bytes(count) if count else ""


_SHOWN: Mapping[str, Callable[[Any], str]] = {
    "revision": lambda value: value or "main",
    "parameters": _count,
    "bytes": _size,
    "weights": _known,
    "licence": _licence,
    "verified": _yes,
}
