"""Reads rows one by one into a sample: checks them, unfolds captions, holds each input once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.request import Request
from hf_emms.data.source import file_bytes
from hf_emms.data.target import image_problem
from hf_emms.errors import EmmsError
from hf_emms.tasks import Task

MAX_SKIPPED = 0.05


def hash64(*parts: bytes) -> int:
    """A 64-bit hash of byte strings; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


@dataclass
class Collector:
    """Takes raw rows until the sample is full.

    Attributes:
        task: what the rows are for.
        columns: role → column or columns.
        request: how many rows, and which captions of a picture.
        class_name: raw label → name, or None where the row has no label.
        inputs: hash of content → content (encoded picture or text).
        rows: (hash of the input, raw label text), one a row of the sample.
        seen: dataset rows read.
        skipped: dataset rows left out.
        example: why the first row was left out.
    """

    task: Task
    columns: Mapping[str, str]
    request: Request
    class_name: Callable[[Any], str | None]
    inputs: dict[int, Any] = field(default_factory=dict)
    rows: list[tuple[int, str]] = field(default_factory=list)
    seen: int = 0
    skipped: int = 0
    example: str | None = None
    _caption_of: dict[int, int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether the sample has all its rows. More captions of its last picture may still replace one."""
        wanted = self.request.max_samples
        return wanted is not None and len(self.rows) >= wanted

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes one dataset row, or counts why not.

        Raises:
            EmmsError: so many rows were left out that the sample can no longer be trusted.
        """
        self.seen += 1
        content, problem = self._input(row)
        texts = self._texts(row) if problem is None else []
        if problem is None and not texts:
            problem = f"no {self.task.label.name} in column {self.columns[self.task.label.name]!r}"
        if problem is not None:
            self._skip(problem)
            return
        group = hash64(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        if self.full and group not in self._caption_of:
            return
        self.inputs[group] = content
        for text in texts:
            self._take(group, text)

    def finish(self) -> None:
        """Says so when too many of the rows that were read had to be left out, or none was left.

        Raises:
            EmmsError: more than 5 % were left out, or the sample is empty.
        """
        if not self.rows and not self.skipped:
            raise EmmsError("the split has no rows", "--split NAME")
        if self.skipped > MAX_SKIPPED * self.seen:
            raise EmmsError(
                f"{self.skipped} of {self.seen} rows could not be read, more than {MAX_SKIPPED:.0%}; "
                f"the first one: {self.example}",
                f"repair the data, or name other columns: --{self.task.input.name}-column, "
                f"--{self.task.label.name}-column",
            )

    def _skip(self, problem: str) -> None:
        self.skipped += 1
        self.example = self.example or problem
        # Past this point even a sample whose other rows are all good would be refused.
        wanted = self.request.max_samples
        if wanted is not None and self.skipped > MAX_SKIPPED * (wanted + self.skipped):
            self.finish()

    def _take(self, group: int, text: str) -> None:
        if self.task.categorical or self.request.captions == "all":
            if not self.full:
                self.rows.append((group, text))
        elif group not in self._caption_of:
            self._caption_of[group] = len(self.rows)
            self.rows.append((group, text))
        elif self.request.captions == "one-per-image":
            place = self._caption_of[group]
            self.rows[place] = (group, min(self.rows[place][1], text, key=self._lot))

    def _lot(self, text: str) -> tuple[int, str]:
        return hash64(str(self.request.seed).encode(), text.encode("utf-8", "surrogatepass")), text

    def _input(self, row: Mapping[str, Any]) -> tuple[Any, str | None]:
        value = row[self.columns[self.task.input.name]]
        if self.task.modality == "text":
            return value, None if isinstance(value, str) and value.strip() else "the text is empty"
        try:
            encoded = encoded_picture(value)
        except OSError as error:
            return None, f"a picture's file cannot be read: {error}"
        if not encoded:
            return None, "there is no picture"
        problem = image_problem(encoded)
        return encoded, problem and f"a picture cannot be decoded: {problem}"

    def _texts(self, row: Mapping[str, Any]) -> list[str]:
        """The label texts of one row, raw, in the dataset's order."""
        values: list[Any] = []
        for column in self.columns[self.task.label.name].split(","):
            value = row[column]
            values += value if isinstance(value, (list, tuple)) else [value]
        if self.task.categorical:
            return [name for name in map(self.class_name, values) if name is not None]
        return [value for value in values if isinstance(value, str) and value.strip()]


def encoded_picture(value: Any) -> bytes | None:
    """The encoded bytes behind what an undecoded Image column or a binary column holds."""
    if value is None or isinstance(value, bytes):
        return value
    if value.get("bytes"):
        return value["bytes"]
    return file_bytes(value["path"]) if value.get("path") else None
