"""load_target: the one way from a dataset to a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_emms.cache import Cache
from hf_emms.data.assemble import assemble
from hf_emms.data.collect import MAX_SKIPPED, Collector
from hf_emms.data.columns import check_column, describe, find_columns, find_task, kinds_of
from hf_emms.data.keep import keep_sample, kept_sample, sample_key
from hf_emms.data.place import find
from hf_emms.data.reading import reading
from hf_emms.data.request import Captions, Request, Sampling
from hf_emms.data.sampling import balanced_order, plain_order, proportional_order
from hf_emms.data.scan import column_values, iterate, namer, row_keys
from hf_emms.data.source import Source, open_memory
from hf_emms.data.stream import read_prefix
from hf_emms.data.target import Target
from hf_emms.errors import EmmsError
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import Task, get_task

_CHUNK = {"image": 64, "text": 512}


def load_target(
    dataset: Any,
    *,
    task: str | None = None,
    config: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_samples: int | None = None,
    sampling: Sampling | None = None,
    captions: Captions = "all",
    seed: int = 0,
    streaming: bool = False,
    prompt: str | None = None,
    cache: Cache | None = None,
) -> Target:
    """Draws a seeded sample from a dataset and says what is what in it.

    Args:
        dataset: a preset name, ``ORG/NAME[@REVISION]``, ``emms-demo/NAME``, a folder (pictures in class folders or with
            a metadata file; parquet, json, jsonl, csv, tsv; the Hub's layout), one such file, or a ``datasets`` object.
        task: the Hub's task id or an alias; inferred from the columns when None.
        config: the configuration (subset) of the dataset.
        split: the split; when None the preset's, else training splits first.
        columns: role → column ("image", "text", "label"), e.g. ``{"image": "img"}``; several caption columns are
            joined by commas. The rest is inferred.
        max_samples: rows to draw; all when None.
        sampling: "balanced" draws evenly over classes (the default for classes), "proportional" as they come.
        captions: "all" makes one row of every caption; "first" and "one-per-image" (by the seed) keep one a picture.
        seed: decides which rows and captions are drawn. Rows are drawn by content: the order of files and rows does not
            matter, but for streams.
        streaming: read only as many rows as needed, from the start of the split in shuffled order.
        prompt: a template for class names, e.g. "a photo of a {}".
        cache: where samples of streams are looked for and kept.

    Returns:
        The sample.

    Raises:
        EmmsError: the dataset, split, task or columns cannot be found; fewer than two labels; more than 5 % of the rows
            cannot be read.
    """
    request = Request(max_samples, sampling, captions, seed, prompt)
    if not isinstance(dataset, str):
        return _target(open_memory(dataset, split), None, request, task, columns or {})
    place = find(dataset, config, split, streaming=streaming, max_samples=max_samples)
    if not place.streaming or cache is None:
        return _target(place.open(), place.preset, request, task, columns or {})
    # A stream is read from the network each time, and not at all offline.
    key = sample_key(place, request, task, columns or {})
    target = kept_sample(cache, key, place)
    if target is None:
        target = _target(place.open(), place.preset, request, task, columns or {})
        keep_sample(cache, key, target)
    return target


def _target(
    source: Source, preset: DatasetPreset | None, request: Request, task: str | None, given: Mapping[str, str]
) -> Target:
    kinds = kinds_of(source.rows.features)
    chosen, filled = _roles(source, kinds, task, given, preset)
    _check_request(request, chosen)
    rows = _plain_rows(source, filled)
    total = source.total
    if source.streaming:
        with reading(source.name, source.repo, source.config):
            rows, note = read_prefix(rows, chosen, filled, request)
        source.notes.append(note)
    collector, unlabelled = _collect(rows, chosen, filled, request)
    return assemble(source, chosen, filled, kinds, collector, unlabelled, total, request)


def _check_request(request: Request, task: Task) -> None:
    if not task.categorical and (request.prompt or request.sampling == "balanced"):
        raise EmmsError(f"{task.id} has no classes: --prompt and --sampling balanced are for those")
    if task.categorical and request.captions != "all":
        raise EmmsError(f"{task.id} has no captions: --captions {request.captions} is for image-to-text")


def _roles(
    source: Source,
    kinds: Mapping[str, str],
    task: str | None,
    given: Mapping[str, str],
    preset: DatasetPreset | None,
) -> tuple[Task, dict[str, str]]:
    """The task and its columns: what the user says, then what the preset says, then what the columns look like."""
    if task is None and preset is None:
        chosen, filled = find_task(kinds, given)
        source.notes.append(f"task {chosen.id} inferred from the columns")
    else:
        chosen = get_task(task or (preset.task if preset else ""))
        expected = dict(preset.columns) if preset and preset.task == chosen.id else {}
        for role, column in expected.items():
            if role not in given:
                _check_expected(chosen, role, column, kinds, source.name)
        filled = find_columns(chosen, kinds, {**expected, **given})
    found = [f"{role} = {column} ({kinds[column.split(',')[0]]})" for role, column in filled.items()]
    source.notes.append(f"columns {', '.join(found)}")
    return chosen, filled


def _check_expected(task: Task, role: str, column: str, kinds: Mapping[str, str], name: str) -> None:
    try:
        check_column(task, role, column, kinds)
    except EmmsError as error:
        raise EmmsError(
            f"the preset {name!r} expects the {role} in column {column!r}, but the dataset has {describe(kinds)}",
            f"--{role}-column COLUMN",
        ) from error


def _plain_rows(source: Source, columns: Mapping[str, str]) -> Any:
    """The needed columns only, without any format of the user's, pictures left encoded."""
    import datasets

    names = [name for group in columns.values() for name in group.split(",")]
    plain = source.only(names)
    for name in names:
        if isinstance(plain.features[name], datasets.Image):
            plain = plain.cast_column(name, datasets.Image(decode=False))
    return plain


def _collect(rows: Any, task: Task, columns: Mapping[str, str], request: Request) -> tuple[Collector, int]:
    """Reads rows in their order of drawing until the sample is full; also counts the rows without a label."""
    label = columns[task.label.name]
    keys = row_keys(rows, columns[task.input.name], request.seed)
    name = namer(rows.features[label.split(",")[0]])
    unlabelled = 0
    if task.categorical:
        names = [name(value) for value in column_values(rows, label)]
        labelled = np.array([one is not None for one in names], dtype=bool)
        unlabelled = int((~labelled).sum())
        _check_labelled(unlabelled, len(names), label)
        classes = np.unique([one for one in names if one is not None], return_inverse=True)[1]
        draw = proportional_order if request.sampling == "proportional" else balanced_order
        order = np.flatnonzero(labelled)[draw(keys[labelled], classes)]
    else:
        order = plain_order(keys)
    collector = Collector(task, columns, request, name)
    last = None
    for number, row in iterate(rows, order, _CHUNK[task.modality]):
        # The captions of one picture stand together, and the last picture's are all candidates.
        if collector.full and (request.captions != "one-per-image" or keys[number] != last):
            break
        last = keys[number]
        collector.add(row)
    collector.finish()
    return collector, unlabelled


def _check_labelled(unlabelled: int, total: int, label: str) -> None:
    if unlabelled > MAX_SKIPPED * total:
        raise EmmsError(
            f"{unlabelled} of {total} rows have no label in column {label!r} (empty or −1)",
            "take a split with labels (--split train) or another column (--label-column)",
        )
