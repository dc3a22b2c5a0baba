"""From a dataset to a sample: the stages in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hf_emms.cache import Cache
from hf_emms.data.assemble import assemble
from hf_emms.data.columns import check_column, column_of, column_types, describe, find_columns, find_task, undecoded
from hf_emms.data.reading import reading
from hf_emms.data.rows import RowSchema, namer
from hf_emms.data.sample import Sample
from hf_emms.data.sample_cache import keep_sample, kept_sample, sample_key
from hf_emms.data.sampling import (
    ALLOWED,
    Collector,
    balanced_order,
    column_values,
    iterate,
    plain_order,
    proportional_order,
    scan_items,
    too_many,
)
from hf_emms.data.sources import Source, find, open_memory
from hf_emms.data.streaming import read_prefix
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import Options
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import Task, column_flag, get_task

_CHUNK = {"image": 64, "text": 512}


def load_sample(options: Options, cache: Cache | None = None) -> Sample:
    """Draws a seeded sample from a dataset and says what its columns are.

    Rows are drawn by content: the order of files and rows does not matter, except in streams. Without a split in the
    options or the preset, training splits come first.

    Args:
        options: which dataset, and how it is read. The dataset is a preset name, ``ORG/NAME[@REVISION]``,
            ``emms-demo/NAME``, a folder (pictures in class folders or with a metadata file; parquet, json, jsonl, csv,
            tsv; the Hub's layout), one such file, or a ``datasets`` object.
        cache: where samples of streams are looked for and written.

    Returns:
        The sample.

    Raises:
        EmmsError: the dataset, split, task or columns cannot be found; fewer than two labels; more than 5 % of the rows
            (and more than two) cannot be read.
    """
    if not isinstance(options.dataset, str):
        return _sample(open_memory(options.dataset, options.split), None, options)
    place = find(options)
    if not place.streaming or cache is None:
        return _sample(place.open(), place.preset, options)
    # A stream is read from the network each time, and not at all offline.
    key = sample_key(place, options)
    sample = kept_sample(cache, key, place)
    if sample is None:
        sample = _sample(place.open(), place.preset, options)
        keep_sample(cache, key, sample)
    return sample


def _sample(source: Source, preset: DatasetPreset | None, options: Options) -> Sample:
    kinds = column_types(source.rows.features) | dict.fromkeys(source.joined, "image")
    chosen, columns = _roles(source, kinds, options, preset)
    _check_names(chosen, columns, source.rows.features)
    name = _in_words(namer(source.rows.features, columns[chosen.label.name].split(",")[0]), preset, columns)
    layout = RowSchema(chosen, columns, kinds, name, source.joined)
    _check_options(options, layout)
    rows = _plain_rows(source, layout)
    total = source.total
    if source.streaming:
        with reading(source.name, source.repo, source.config):
            rows, note = read_prefix(rows, layout, options)
            for column, pictures in source.joined.items():
                pictures.fetch(rows[column])
        source.notes.append(note)
    collector, unlabelled = _collect(rows, layout, options)
    return assemble(source, collector, unlabelled, total)


def _in_words(
    name: Callable[[Any], str | None], preset: DatasetPreset | None, columns: Mapping[str, str]
) -> Callable[[Any], str | None]:
    """Names of labels, those that the preset knows to be abbreviations in full."""
    words = preset.words if preset and columns == dict(preset.columns) else {}

    def in_words(value: Any) -> str | None:
        found = name(value)
        return words.get(found, found) if found is not None else None

    return in_words if words else name


def _check_options(options: Options, layout: RowSchema) -> None:
    task = layout.task
    if not task.categorical and (options.prompt or options.sampling == "balanced"):
        raise EmmsError(f"{task.id} has no classes: --prompt and --sampling balanced are for those")
    one_label = task.numbers is not None or (task.categorical and not layout.multi_label)
    if one_label and options.references != "mean":
        raise EmmsError(
            f"a row has one {task.label.name}: --references {options.references} is for several texts of "
            "an input, such as captions",
            "leave it out",
        )
    if options.label_form == "spans" and task.spans_of is None:
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no span of a text, which --label-form spans is for", "leave it out"
        )
    numeric = options.label_form not in ((None, "text", "spans") if task.spans_of else (None,))
    if task.numbers is None and (numeric or options.box_format):
        raise EmmsError(f"the {task.label.name} of {task.id} is no number: --label-form and --box-format are for those")
    formats = task.numbers.formats if task.numbers else {}
    if options.box_format and options.box_format not in formats:
        raise EmmsError(f"box_format is {options.box_format!r}", f"--box-format {'|'.join(formats)}")


def _roles(
    source: Source,
    kinds: Mapping[str, str],
    options: Options,
    preset: DatasetPreset | None,
) -> tuple[Task, dict[str, str]]:
    """The task and its columns: what the user says, then what the preset says, then what the columns look like."""
    task, given = options.task, options.columns
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


def _check_names(task: Task, columns: Mapping[str, str], features: Mapping[str, Any]) -> None:
    for role, names in columns.items():
        several = names.split(",")
        if len(several) > 1 and (role != task.label.name or task.categorical or task.numbers):
            raise EmmsError(
                f"the {role} of {task.id} is one column, not {' and '.join(several)}",
                f"join them in a column of their own, then: {column_flag(role)}",
            )
        for name in several:
            if column_of(name) not in features:
                raise EmmsError(
                    f"the column {name!r} cannot be the {role}: a dot in a name stands for a field of a column",
                    f"give it a name without a dot, then: {column_flag(role)}",
                )


def _check_expected(task: Task, role: str, column: str, kinds: Mapping[str, str], name: str) -> None:
    try:
        check_column(task, role, column, kinds)
    except EmmsError as error:
        raise EmmsError(
            f"the preset {name!r} expects the {role} in column {column!r}, but the dataset has {describe(kinds)}",
            column_flag(role),
        ) from error


def _plain_rows(source: Source, layout: RowSchema) -> Any:
    """The needed columns only, without any format of the user's, pictures left encoded."""
    plain = source.only(layout.needed)
    for name in layout.needed:
        raw = undecoded(plain.features[name])
        if raw != plain.features[name]:
            plain = plain.cast_column(name, raw)
    return plain


def _collect(rows: Any, layout: RowSchema, options: Options) -> tuple[Collector, int]:
    """Reads items in their order of drawing until the sample is full; also counts the rows without a label."""
    items = scan_items(rows, layout, options.seed)
    unlabelled = items.empty
    if layout.task.categorical:
        classes = _classes(rows, layout)
        labelled = classes >= 0
        unlabelled += int((~labelled).sum())
        _check_labelled(unlabelled, len(classes), layout.columns[layout.task.label.name])
        draw = proportional_order if options.sampling == "proportional" else balanced_order
        order = np.flatnonzero(labelled)[draw(items.keys[labelled], classes[labelled])]
    else:
        order = plain_order(items.keys)
    collector = Collector(layout, options, _unsized(rows, layout))
    last = None
    chunk = _CHUNK["image" if layout.task.modality.startswith("image") else "text"]
    for item, (_, row) in zip(order.tolist(), iterate(rows, items.rows[order], chunk), strict=True):
        # The texts of one input stand together, and the last input's all count.
        if collector.full and (collector.separate or items.keys[item] != last):
            break
        last = items.keys[item]
        collector.add(row, int(items.places[item]))
    collector.finish()
    return collector, unlabelled


def _unsized(rows: Any, layout: RowSchema) -> bool:
    """Whether labels are parts of their pictures, not in pixels: the whole column tells, not one row."""
    numbers = layout.task.numbers
    if numbers is None or numbers.are_parts is None:
        return False
    return numbers.are_parts(column_values(rows, layout.label_columns[0]))


def _classes(rows: Any, layout: RowSchema) -> np.ndarray:
    """The class that each row is drawn by, int64 (N,); −1 without one. Of several classes it is the rarest."""
    values = column_values(rows, layout.label_columns[0])
    names = [
        [name for one in (value if layout.multi_label else [value]) if (name := layout.name(one)) is not None]
        for value in ([] if value is None and layout.multi_label else value for value in values)
    ]
    times = Counter(name for several in names for name in several)
    rarest = [min(several, key=lambda name: (times[name], name)) if several else None for several in names]
    number = {name: code for code, name in enumerate(sorted(times))}
    return np.array([-1 if name is None else number[name] for name in rarest], dtype=np.int64)


def _check_labelled(unlabelled: int, total: int, label: str) -> None:
    if too_many(unlabelled, total):
        raise EmmsError(
            f"no label in column {label!r} (empty or −1): {unlabelled} of {pluralize(total, 'row')}, and {ALLOWED}",
            "take a split with labels (--split train) or another column (--label-column)",
        )
