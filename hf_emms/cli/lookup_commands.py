"""Commands that list and look up: hf-emms jobs, presets, datasets, checkpoints, encoders and cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import format_option, out, quiet_option
from hf_emms.errors import (
    EmmsError,
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    parse_duration,
    pluralize,
)

if TYPE_CHECKING:
    from hf_emms.cache import Cache, CacheEntry
    from hf_emms.presets import CheckpointPreset

_task_option = cloup.option("--task", metavar="ID", help="Only those of a task.")

# Column → the format of its values for people.
_IN_WORDS: Mapping[str, Callable[[Any], str]] = {
    "dataset": lambda id: id or "not on the Hub",
    "rows": lambda splits: ", ".join(f"{name} {'?' if n is None else f'{n:,}'}" for name, n in splits.items()),
    "revision": lambda revision: revision or "main",
    "parameters": lambda count: format_count(count) if count else "unknown",
    "bytes": lambda count: format_bytes(count) if count else "unknown",
    "weights": lambda names: names or "unknown",
    "license": lambda name: name or "not seen",
    "verified": lambda value: "yes" if value else "no",
}


@cloup.command(short_help="List the Hugging Face Jobs that hf-emms has started.")
@format_option()
def jobs() -> None:
    """List your jobs that --engine jobs has started, the latest first.

    hf jobs logs ID and hf jobs cancel ID take the ids.
    """
    from hf_emms import hub
    from hf_emms.run.ranking_job import LABELS

    rows = [
        (job.id, job.stage, job.created, job.flavor, job.labels.get("subject", ""), job.url)
        for job in hub.list_jobs(hub.who_am_i(), LABELS)
    ]
    out.records(("id", "stage", "created", "flavor", "subject", "url"), rows)


@cloup.command(short_help="List tasks, datasets, checkpoint lists, label encoders and estimators.")
@format_option()
def presets() -> None:
    """List what --task, --dataset, --checkpoint, --encoder and --estimator take, and what is ranked by default.

    Parameters, bytes and license are from public pages.
    """
    from hf_emms.presets import (
        CheckpointPreset,
        candidate_sets,
        checkpoint_presets,
        dataset_presets,
        encoder_sets,
        usable_datasets,
    )
    from hf_emms.ranking.estimators import ESTIMATORS
    from hf_emms.tasks import TASKS

    rows: list[tuple[Any, ...]] = []

    def add(kind: str, name: str, task: str, what: str, facts: tuple[Any, ...] = (None, None, None)) -> None:
        rows.append((kind, name, task, what, *facts))

    for task in TASKS.values():
        add("task", task.id, task.id, f"columns {', '.join(task.columns)}")
    usable = usable_datasets()
    for dataset in dataset_presets().values():
        source = dataset.id or "not on the Hub: pass a folder"
        note = "" if dataset.name in usable or dataset.id is None else " (not supported yet)"
        add("dataset", dataset.name, dataset.task, source + note, (None, dataset.bytes, dataset.license))
    for task_id, checkpoints in checkpoint_presets().items():
        for checkpoint in checkpoints if task_id in TASKS else ():
            add("checkpoint", task_id, task_id, checkpoint.name, _facts(checkpoint))
    for dataset in dataset_presets().values():
        for id in dataset.checkpoints:
            add("checkpoint", dataset.name, dataset.task, id, _facts(CheckpointPreset(id)))
    for name, candidates in candidate_sets().items():
        for id in candidates.checkpoints:
            add("checkpoint", name, "", id, _facts(CheckpointPreset(id)))
        for missing in candidates.missing:
            add("checkpoint", name, "", f"not on the Hub: {missing}")
    for name, encoder_list in encoder_sets().items():
        for encoder in encoder_list:
            add("encoder", name, "", encoder.name, _facts(encoder))
    for estimator in ESTIMATORS.values():
        add("estimator", estimator.name, "", estimator.summary)
    _print(("kind", "name", "task", "what", "parameters", "bytes", "license"), rows, unknown="")


@cloup.command(short_help="List the datasets that have a short name.")
@_task_option
@format_option()
def datasets(task: str | None) -> None:
    """List the datasets that --dataset takes by a short name: task, size, license, and whether the source is verified.

    Not verified: the repository, a split or a column is from memory. Loading the dataset reports what differs.
    """
    from hf_emms.presets import dataset_presets

    tasks = _tasks(task, {preset.task for preset in dataset_presets().values()})
    header = ["name", "task", "dataset", "rows", "bytes", "license", "verified", "note"]
    rows: list[tuple[Any, ...]] = []
    for preset in dataset_presets().values():
        about = (preset.bytes, preset.license, preset.verified, preset.blocked or preset.note)
        if preset.task in tasks:
            rows.append((preset.name, preset.task, preset.id, dict(preset.splits), *about))
    if out.format == "table":  # which has no room for notes
        header, rows = header[:-1], [row[:-1] for row in rows]
    _print(header, rows)


@cloup.command(short_help="List the checkpoints that are ranked when none is named.")
@_task_option
@format_option()
def checkpoints(task: str | None) -> None:
    """List the checkpoints that are ranked when none is named: pinned revision, size, weights, and whether verified.

    Not verified: all but the license is from memory. Differences are reported in the checkpoint's row of the ranking.
    """
    from hf_emms.presets import checkpoint_presets

    rows = []
    for task_id in _tasks(task, checkpoint_presets()):
        for preset in checkpoint_presets()[task_id]:
            parameters, bytes, license = _facts(preset)
            about = (parameters, bytes, preset.weights, license, preset.verified)
            rows.append((preset.id, task_id, preset.revision, *about))
    _print(("checkpoint", "task", "revision", "parameters", "bytes", "weights", "license", "verified"), rows)


@cloup.command(short_help="List the sets of label encoders.")
@format_option()
def encoders() -> None:
    """List the sets of label encoders that --encoder takes: size, weights, license, and whether verified.

    Not verified: all but the license is from memory.
    """
    from hf_emms.presets import encoder_sets

    rows = []
    for name, presets in encoder_sets().items():
        for preset in presets:
            parameters, bytes, license = _facts(preset)
            rows.append((preset.name, name, parameters, bytes, preset.weights, license, preset.verified))
    _print(("encoder", "set", "parameters", "bytes", "weights", "license", "verified"), rows)


def _facts(preset: CheckpointPreset) -> tuple[int | None, int | None, str | None]:
    return preset.parameters, preset.bytes, preset.license


def _tasks(name: str | None, listed: Iterable[str]) -> list[str]:
    """Return the ids of the listed tasks, or only the task of this name or alias."""
    from hf_emms.tasks import get_task

    ids = list(listed)
    if name is None:
        return ids
    id = name if name in ids else get_task(name).id
    if id not in ids:
        raise EmmsError(f"no preset is for the task {id!r}", f"--task takes one of: {', '.join(sorted(ids))}")
    return [id]


def _print(header: Sequence[str], rows: list[tuple[Any, ...]], *, unknown: str | None = None) -> None:
    """Print a list: with plain values as JSON, plain numbers as TSV, else in words, missing values as `unknown`."""
    plain = {"json": set(header), "tsv": {"parameters", "bytes"}}.get(out.format, set())

    def shown(name: str, value: Any) -> Any:
        if name in plain or name not in _IN_WORDS:
            return value
        return unknown if unknown is not None and not value else _IN_WORDS[name](value)

    out.records(header, [[shown(*cell) for cell in zip(header, row, strict=True)] for row in rows])


@cloup.group()
def cache() -> None:
    """Show and shrink the cache (HF_EMMS_CACHE)."""


class _Amount(click.ParamType):
    """A number with a unit, such as 30d or 5GB."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self._parse(value)
        except EmmsError as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


@cache.command("ls")
@format_option()
@quiet_option("Print the digests only.")
def list_entries() -> None:
    """List features, label tables and finished rows, last used first."""
    entries = _open_cache().entries()
    if out.quiet:
        out.data("\n".join(entry.digest for entry in entries))
        return
    table = out.format == "table"
    rows = [
        (
            entry.kind,
            str(entry.key.get("id", "damaged")),
            str(entry.key.get("revision", ""))[: 14 if table else None],
            format_bytes(entry.bytes) if table else entry.bytes,
            f"{format_duration(time.time() - entry.used)} ago" if table else round(entry.used),
            entry.digest[: 12 if table else None],
        )
        for entry in entries
    ]
    out.records(("kind", "id", "revision", "size", "used", "digest"), rows)
    out.message(f"{_total(entries)} in {_open_cache().root}")


@cache.command("rm")
@cloup.argument("prefixes", nargs=-1, metavar="ID|DIGEST...")
@cloup.option("--all", "everything", is_flag=True, help="Remove every entry; saved rankings stay.")
def remove(prefixes: tuple[str, ...], everything: bool) -> None:
    """Remove what belongs to a checkpoint or encoder, or single entries by the beginning of their digest."""
    if everything == bool(prefixes):
        raise click.UsageError("name checkpoints or digests, or pass --all")
    opened = _open_cache()
    removed = opened.clear() if everything else [entry for prefix in prefixes for entry in opened.remove(prefix)]
    out.message(f"removed {_total(removed)}")


@cache.command()
@cloup.option(
    "--older-than",
    type=_Amount("duration", parse_duration),
    metavar="TIME",
    help="Remove what was not used for this long, e.g. 30d.",
)
@cloup.option(
    "--max-size",
    type=_Amount("size", parse_bytes),
    metavar="SIZE",
    help="Shrink to this size, e.g. 5GB; least used goes first.",
)
def prune(older_than: float | None, max_size: int | None) -> None:
    """Remove old entries and temporary files of runs that were killed."""
    if older_than is None and max_size is None:
        raise click.UsageError("pass --older-than 30d or --max-size 5GB")
    removed = _open_cache().prune(older_than=older_than, max_bytes=max_size)
    out.message(f"removed {_total(removed)}")


def _open_cache() -> Cache:
    from hf_emms.cache import Cache, default_root

    return Cache(default_root(), out.message)


def _total(entries: Sequence[CacheEntry]) -> str:
    return f"{pluralize(len(entries), 'entry', 'entries')}, {format_bytes(sum(entry.bytes for entry in entries))}"
