"""Reads rows one by one into a sample: checks them, gathers the labels of each input, holds each part once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.pictures import image_problem, picture_size
from hf_emms.data.request import Request
from hf_emms.data.spans import Span
from hf_emms.data.unfold import Layout, UnusableError
from hf_emms.errors import EmmsError
from hf_emms.tasks import column_flag
from hf_emms.words import counted

# Of the rows that are read, and in any case so many: of eight rows a single one would be more.
MAX_SKIPPED = 0.05
FEW_SKIPPED = 2
ALLOWED = f"{FEW_SKIPPED} rows or {MAX_SKIPPED:.0%} may be left out"


def too_many(left_out: int, total: int) -> bool:
    """Whether so many rows are left out that the others cannot stand for all."""
    return left_out > max(FEW_SKIPPED, MAX_SKIPPED * total) or left_out == total > 0


def hash64(*parts: bytes) -> int:
    """A 64-bit hash of byte strings; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def encoded(content: str | bytes) -> bytes:
    """Content as bytes: pictures as they are, texts in UTF-8."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


@dataclass
class Collector:
    """Takes raw rows until the sample is full.

    Attributes:
        layout: how rows are read.
        request: how many rows, and which texts of an input.
        unsized: whether labels are measured without the size of their pictures, as parts of them.
        parts: for each part of the input, hash of content → content (encoded picture or text).
        inputs: hash of an input → hashes of its parts.
        rows: (input, its raw labels), one a row of the sample.
        spans: hash of an input → where its labels stand in `Task.spans_of`, as far as they do.
        seen: items read.
        skipped: items left out.
        example: why the first one was left out.
    """

    layout: Layout
    request: Request
    unsized: bool = False
    parts: tuple[dict[int, Any], ...] = field(init=False)
    inputs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    spans: dict[int, list[Span]] = field(default_factory=dict)
    seen: int = 0
    skipped: int = 0
    example: str | None = None
    _row_of: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = tuple({} for _ in self.layout.task.inputs)

    @property
    def full(self) -> bool:
        """Whether the sample has all its rows. More texts of its last input may still come."""
        wanted = self.request.max_samples
        return wanted is not None and len(self.rows) >= wanted

    @property
    def separate(self) -> bool:
        """Whether each label makes a row of its own."""
        task = self.layout.task
        single = task.categorical and not self.layout.multi_label
        return single or task.numbers is not None or self.request.references == "all"

    def add(self, row: Mapping[str, Any], place: int) -> None:
        """Takes one item of a dataset row, or counts why not.

        Raises:
            EmmsError: so many were left out that the sample can no longer be trusted.
        """
        self.seen += 1
        try:
            contents = self.layout.parts(row, place)
            hashes = self._checked(contents)
            labels = self._labels(row, place, contents)
            spans = self.layout.spans(row, place, contents)
        except UnusableError as problem:
            self._skip(str(problem))
            return
        number = hashes[0] if len(hashes) == 1 else hash64(*(one.to_bytes(8, "little") for one in hashes))
        if self.full and number not in self._row_of:
            return
        for held, one, content in zip(self.parts, hashes, contents, strict=True):
            held[one] = content
        self.inputs[number] = hashes
        self.spans.setdefault(number, []).extend(spans)
        self._take(number, labels)

    def text_of(self, number: int) -> str:
        """The text of an input that its labels may be spans of."""
        which = [role.name for role in self.layout.task.inputs].index(self.layout.task.spans_of or "")
        return str(self.parts[which][self.inputs[number][which]])

    def finish(self) -> None:
        """Says so when too many of the rows that were read had to be left out, or none was left.

        Raises:
            EmmsError: more than 5 % (and more than two) were left out, or the sample is empty.
        """
        if not self.rows and not self.skipped:
            raise EmmsError("the split has no rows", "--split NAME")
        if too_many(self.skipped, self.seen):
            task = self.layout.task
            flags = ", ".join(map(column_flag, task.roles))
            forms = (
                f", or --box-format {'|'.join(task.numbers.formats)}" if task.numbers and task.numbers.formats else ""
            )
            raise EmmsError(
                f"{self.skipped} of {counted(self.seen, 'row')} could not be read, and {ALLOWED}; "
                f"the first one: {self.example}",
                f"repair the data, or name other columns: {flags}{forms}",
            )

    def _skip(self, problem: str) -> None:
        self.skipped += 1
        self.example = self.example or problem
        # Past this point even a sample whose other rows are all good would be refused.
        wanted = self.request.max_samples
        if wanted is not None and too_many(self.skipped, wanted + self.skipped):
            self.finish()

    def _checked(self, contents: tuple[Any, ...]) -> tuple[int, ...]:
        """Hashes of the parts; a picture that is new has to decode."""
        hashes = tuple(hash64(encoded(content)) for content in contents)
        for held, one, content in zip(self.parts, hashes, contents, strict=True):
            if isinstance(content, bytes) and one not in held and (problem := image_problem(content)):
                raise UnusableError(f"a picture cannot be decoded: {problem}")
        return hashes

    def _labels(self, row: Mapping[str, Any], place: int, contents: tuple[Any, ...]) -> list[Any]:
        labels = self.layout.labels(row, place)
        numbers = self.layout.task.numbers
        if numbers is None:
            return labels
        form = self.request.box_format
        measure = numbers.formats[form] if form else numbers.measure
        size = picture_size(contents[0]) if isinstance(contents[0], bytes) and not self.unsized else None
        try:
            return [measure(label, size) for label in labels]
        except (TypeError, ValueError) as problem:
            raise UnusableError(str(problem)) from problem

    def _take(self, number: int, labels: list[Any]) -> None:
        if self.separate:
            for label in labels:
                if not self.full:
                    self._row_of[number] = len(self.rows)
                    self.rows.append((number, [label]))
        elif number in self._row_of and not self.layout.task.categorical:
            self.rows[self._row_of[number]][1].extend(labels)
        elif not self.full:
            self._row_of[number] = len(self.rows)
            self.rows.append((number, labels))
