"""Turns a collected sample into a target: label texts, codes, canonical order, notes, fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hf_emms.data.collect import Collector
from hf_emms.data.request import Request
from hf_emms.data.source import Source
from hf_emms.data.target import Images, Target
from hf_emms.errors import EmmsError
from hf_emms.tasks import Task

_FEW = 5


def assemble(
    source: Source,
    task: Task,
    columns: dict[str, str],
    kinds: Mapping[str, str],
    collector: Collector,
    unlabelled: int,
    total: int | None,
    request: Request,
) -> Target:
    """Builds the target from the rows that were read.

    Raises:
        EmmsError: fewer than two distinct labels, or labels that are no classes.
    """
    notes = list(source.notes)
    text_of = _label_texts(task, sorted({raw for _, raw in collector.rows}), request.prompt, notes)
    label_texts = tuple(sorted(set(text_of.values())))
    _check_labels(task, label_texts, len(collector.rows), columns, kinds)
    code_of = {text: code for code, text in enumerate(label_texts)}
    # The order of content: the same sample is the same target in whatever order its files came.
    rows = sorted((group, code_of[text_of[raw]]) for group, raw in collector.rows)
    groups = np.array([group for group, _ in rows], dtype=np.uint64)
    codes = np.array([code for _, code in rows], dtype=np.int64)
    distinct, input_of_row = np.unique(groups, return_inverse=True)
    inputs = [collector.inputs[int(group)] for group in distinct]

    digest = hashlib.blake2b(groups.tobytes() + codes.tobytes(), digest_size=16)
    repo = source.repo
    if not repo.revision:
        repo = replace(repo, revision=f"local-{digest.hexdigest()[:16]}")
    identity = [
        *(repo.revision, source.config, source.split, task.id, sorted(columns.items())),
        *(request.sampling, request.captions, request.seed, request.max_samples, request.prompt, label_texts),
    ]
    digest.update(json.dumps(identity, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    skipped = collector.skipped + unlabelled
    notes += _sample_notes(task, kinds, columns, codes, len(distinct), total, skipped, collector, request)
    return Target(
        dataset=source.name,
        repo=repo,
        config=source.config,
        split=source.split,
        task=task,
        columns=columns,
        inputs=Images(inputs) if task.modality == "image" else inputs,
        input_of_row=input_of_row.astype(np.int64),
        label_texts=label_texts,
        codes=codes,
        groups=groups,
        skipped=skipped,
        total_rows=total,
        notes=tuple(notes),
        fingerprint=digest.hexdigest(),
    )


def _label_texts(task: Task, raws: Sequence[str], prompt: str | None, notes: list[str]) -> dict[str, str]:
    """Raw label → text. Classes that cleaning would merge keep their raw names."""
    cleaned = {raw: task.label_text(raw) for raw in raws}
    if not task.categorical:
        return cleaned
    times = Counter(cleaned.values())
    merged = [raw for raw in raws if times[cleaned[raw]] > 1]
    if merged:
        notes.append(f"class names kept as they are, because cleaning would merge them: {', '.join(merged[:6])}")
        cleaned.update((raw, raw) for raw in merged)
    return {raw: prompt.replace("{}", text) for raw, text in cleaned.items()} if prompt else cleaned


def _check_labels(
    task: Task, label_texts: Sequence[str], n_rows: int, columns: Mapping[str, str], kinds: Mapping[str, str]
) -> None:
    column = columns[task.label.name]
    if len(label_texts) < 2:
        raise EmmsError(
            f"every row of the sample has the same {task.label.name} in column {column!r}: {label_texts[0]!r}",
            f"a ranking needs at least two; draw more rows (--max-samples) or name --{task.label.name}-column",
        )
    if task.categorical and kinds[column] != "class" and len(label_texts) == n_rows >= 20:
        raise EmmsError(
            f"column {column!r} holds {n_rows} different values in {n_rows} rows: it is no class",
            f"name the column of the class: --{task.label.name}-column COLUMN",
        )


def _sample_notes(
    task: Task,
    kinds: Mapping[str, str],
    columns: Mapping[str, str],
    codes: np.ndarray,
    n_inputs: int,
    total: int | None,
    skipped: int,
    collector: Collector,
    request: Request,
) -> list[str]:
    of_total = f" of {total:,}" if total else ""
    notes = []
    if task.categorical:
        counts = np.bincount(codes)
        how = request.sampling or "balanced"
        spread = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
        notes.append(f"{len(codes):,}{of_total} rows, {how}: {len(counts)} classes of {spread} rows")
        if np.median(counts) < _FEW:
            notes.append(f"most classes have fewer than {_FEW} rows: draw more with --max-samples")
        if kinds[columns[task.label.name]] == "integer":
            notes.append("labels are numbers without names; names would make better label texts")
    else:
        kept = {
            "all": "all captions",
            "first": "the first caption of each",
            "one-per-image": "one caption of each",
        }
        notes.append(f"{len(codes):,} rows from {n_inputs:,} pictures, {kept[request.captions]}")
    if skipped:
        notes.append(f"{skipped} rows left out{f' (the first one: {collector.example})' if collector.example else ''}")
    return notes
