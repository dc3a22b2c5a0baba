"""Cards on the Hub: show, commit or propose the change of a README."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.publish import wheel
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry
from hf_emms.publish.card_text import CardKind, card_section, markdown_text, rendered_template
from hf_emms.publish.readme import put_section
from hf_emms.ranking import Ranking, Row
from hf_emms.tasks import hub_tag
from hf_emms.texts import setting_ref

_README = "README.md"
_TITLES = {
    "model": "Add transferability estimates (EMMS)",
    "dataset": "Add checkpoints to start from (EMMS)",
}


@dataclass(frozen=True)
class Card:
    """A README on the Hub, its new entries, and the results dataset from which its readers install hf-emms."""

    repo_id: str
    kind: CardKind
    entries: tuple[Entry, ...]
    results: str | None = None

    def updated(self, readme: bytes | None) -> bytes:
        """Return the README with the entries. Other entries and all bytes outside the section stay.

        Raises:
            EmmsError: The markers are broken.
        """
        section = card_section(self.kind, self.entries, self.repo_id, readme or b"", self.results)
        return put_section(readme or self._new_readme(), section)

    def preview(self) -> str:
        """Return the change as a unified diff, which may be empty."""
        before = hub.read_file(self.repo_id, self.kind, _README)
        old = f"a/{_README}" if before is not None else "/dev/null"
        lines = difflib.unified_diff(_lines(before or b""), _lines(self.updated(before)), old, f"b/{_README}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def push(self) -> hub.Outcome:
        """Commit the change to main."""
        return hub.push(self.repo_id, self.kind, self._change, title=_TITLES[self.kind])

    def propose(self, account: hub.Account) -> hub.Outcome:
        """Open or update a pull request, unless the owner closed an earlier one."""
        description = rendered_template("pr_description.md.jinja", card=self)
        title = _TITLES[self.kind]
        return hub.propose(self.repo_id, self.kind, self._change, account=account, title=title, description=description)

    def _change(self, branch: hub.Branch) -> dict[str, bytes | None]:
        return {_README: self.updated(branch.read(_README))}

    def _new_readme(self) -> bytes:
        from huggingface_hub import DatasetCardData, ModelCardData

        tasks = dict.fromkeys(hub_tag(entry.ranking.task) for entry in self.entries)
        fields = ModelCardData(tags=["emms"]) if self.kind == "model" else DatasetCardData(task_categories=[*tasks])
        return f"---\n{fields.to_yaml()}\n---\n\n# {markdown_text(self.repo_id.rpartition('/')[2])}\n".encode()


def card_of(
    rankings: Sequence[Ranking],
    repo_id: str,
    kind: CardKind,
    *,
    checkpoint: str | None = None,
    results: str | None = None,
) -> Card:
    """Return the card of a model, or of a dataset that lists its best checkpoints.

    Args:
        rankings: The rankings to show.
        repo_id: The repository of the card.
        kind: "model" or "dataset".
        checkpoint: The name of the model in the rankings, if it differs from the repository.
        results: The results dataset from which readers install hf-emms, if no other place has it.

    Raises:
        EmmsError: A ranking is of another dataset, or has no score for the checkpoint, or the results dataset has no
            wheel of this version.
    """
    if results is not None:
        wheel.require_wheel(results)
    entries = []
    for ranking in rankings:
        if kind == "model":
            name = _row(ranking, repo_id, checkpoint).checkpoint
            entries.append(checkpoint_entry(ranking, name))
        elif ranking.dataset_id != repo_id:
            raise EmmsError(
                "other-dataset",
                f"the ranking is of the dataset {ranking.dataset_id!r}, not of {repo_id!r}",
                setting_ref("dataset_id", ranking.dataset_id),
            )
        else:
            entries.append(dataset_entry(ranking))
    return Card(repo_id, kind, tuple(entries), results)


def _row(ranking: Ranking, repo_id: str, checkpoint: str | None) -> Row:
    if checkpoint is not None:
        return ranking.row(checkpoint)
    revisions = [row for row in ranking.rows if row.checkpoint.partition("@")[0] == repo_id]
    if len(revisions) > 1:
        names = [row.checkpoint for row in revisions]
        raise EmmsError(
            "several-revisions",
            f"the ranking has several revisions of {repo_id!r}: {', '.join(names)}",
            setting_ref("checkpoint", *names) + " picks one",
        )
    return revisions[0] if revisions else ranking.row(repo_id)


def _lines(content: bytes) -> list[str]:
    """Split into lines as diff and patch do: only at line feeds."""
    return io.StringIO(content.decode(), newline="\n").readlines()
