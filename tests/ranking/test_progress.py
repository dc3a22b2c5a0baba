"""What a user hears of work that takes long."""

from __future__ import annotations

from hf_emms.ranking.progress import Silent, noted_while
from tests.helpers.waiting import eventually


def test_long_work_gives_signs_of_life_until_it_ends() -> None:
    notes: list[str] = []
    progress = Silent()
    progress.noted = notes.append
    with noted_while(progress, "reading rows", every=0.01):
        eventually(lambda: len(notes) >= 2)
    assert all(note.startswith("reading rows: ") for note in notes)
    count = len(notes)
    with noted_while(progress, "reading nothing"):
        pass
    assert len(notes) == count
