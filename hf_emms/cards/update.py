"""A README with our section brought up to date."""

from __future__ import annotations

from collections.abc import Sequence

from hf_emms import splice
from hf_emms.cards import entries as records
from hf_emms.cards import escape
from hf_emms.cards.entries import Entry
from hf_emms.cards.render import dataset_section, model_section
from hf_emms.ranking import Ranking


def update_model_card(
    readme: bytes | None,
    rankings: Sequence[tuple[Ranking, str]],
    repo_id: str,
    *,
    leaderboard: str | None = None,
) -> bytes:
    """A model's README with what some rankings say about it.

    Args:
        readme: as it is; None where there is none yet.
        rankings: each with the checkpoint's id in it.
        repo_id: the model, for the title of a new README.
        leaderboard: the Space (ORG/NAME) that shows the rankings.

    Returns:
        The README; rows of other datasets stay, and every byte outside the section.

    Raises:
        EmmsError: the markers or the data between them are broken, or a ranking has no score for the checkpoint.
    """
    new = [records.of_checkpoint(ranking, name, leaderboard=leaderboard) for ranking, name in rankings]
    entries = _merged(readme, new, "model")
    return splice.put(readme or _new("tags:\n- emms\n", repo_id), model_section(entries))


def update_dataset_card(
    readme: bytes | None, rankings: Sequence[Ranking], repo_id: str, *, leaderboard: str | None = None
) -> bytes:
    """A dataset's README with the checkpoints to start from; see `update_model_card`."""
    new = [records.of_dataset(ranking, leaderboard=leaderboard) for ranking in rankings]
    entries = _merged(readme, new, "dataset")
    tasks = "".join(f"- {task}\n" for task in dict.fromkeys(ranking.task for ranking in rankings))
    return splice.put(readme or _new(f"task_categories:\n{tasks}", repo_id), dataset_section(entries))


def _merged(readme: bytes | None, new: Sequence[Entry], about: str) -> tuple[Entry, ...]:
    entries = records.unpacked(splice.data_of(readme or b""), about)
    for entry in new:
        entries = records.with_entry(entries, entry)
    return entries


def _new(front_matter: str, repo_id: str) -> bytes:
    """The least that the Hub takes for a card."""
    return f"---\n{front_matter}---\n\n# {escape.text(repo_id.rpartition('/')[2])}\n".encode()
