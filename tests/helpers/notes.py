"""The codes of notes, which tests compare instead of sentences."""

from __future__ import annotations

from collections.abc import Iterable

from hf_emms.errors import Note


def codes(notes: Iterable[Note]) -> list[str]:
    return [note.code for note in notes]
