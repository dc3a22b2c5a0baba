"""Deliver finished rankings in one order: show, save, publish, and then keep and push the best fine-tuned model."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from hf_emms import hub
from hf_emms.errors import EmmsError, Note, one_line
from hf_emms.finetune.saving import push_best
from hf_emms.options import TrainingOptions
from hf_emms.ranking import Ranking
from hf_emms.ranking.progress import Progress
from hf_emms.run.ranking_job import publish
from hf_emms.texts import setting_ref

AGAIN = "run the same command again: finished work is kept"


@dataclass(frozen=True)
class Finished:
    """A finished ranking.

    Attributes:
        ranking: The ranking.
        keep_model: Moves the best fine-tuned model into its folder, if the user wants one. None without fine-tuning.
        errors: What failed before. The ranking is delivered nevertheless.
    """

    ranking: Ranking
    keep_model: Callable[[], None] | None = None
    errors: tuple[EmmsError, ...] = ()

    def noted(self, note: Note) -> Finished:
        """Return the result with another note of its ranking."""
        return replace(self, ranking=msgspec.structs.replace(self.ranking, notes=(*self.ranking.notes, note)))


class Delivery:
    """The steps of a delivery. A step that fails stops no other step, and `finish` raises its error.

    Args:
        errors: What failed before.
    """

    def __init__(self, errors: Iterable[EmmsError] = ()) -> None:
        self._errors = [*errors]

    def step(self, call: Callable[[], object]) -> None:
        """Do a step, and keep its error."""
        try:
            call()
        except EmmsError as error:
            self._errors.append(error)
        except OSError as error:
            self._errors.append(EmmsError("cannot-write", one_line(error), AGAIN))

    def finish(self) -> None:
        """Raise the errors of all steps as one, with the commands that do the rest."""
        if self._errors:
            code, hints = self._errors[0].code, [error.hint for error in self._errors if error.hint]
            raise EmmsError(code, "; ".join(error.message for error in self._errors), "; then ".join(hints))


def deliver(
    rankings: Iterable[Ranking],
    on_note: Callable[[str], None],
    *,
    show: Callable[[], None],
    save: Callable[[], list[Path]],
    results_repo: str | None = None,
    training: TrainingOptions | None = None,
    keep_model: Callable[[], None] | None = None,
    errors: Iterable[EmmsError] = (),
) -> None:
    """Show, save and publish rankings, then keep and push the best fine-tuned model.

    Args:
        rankings: The finished rankings.
        on_note: Receives lines for the user.
        show: Prints the rankings.
        save: Stores the rankings, and returns their JSON files.
        results_repo: The dataset for the rankings; None to publish nothing.
        training: Where to push the model.
        keep_model: See `Finished`.
        errors: What failed before.

    Raises:
        EmmsError: Something failed. All other steps were done, and the hint has the commands that do the rest.
    """
    delivery, files = Delivery(errors), list[Path]()
    delivery.step(show)
    delivery.step(lambda: files.extend(save()))
    if results_repo is not None:
        delivery.step(lambda: _publish([*rankings], results_repo, files, on_note))
    if keep_model is not None and training is not None:
        delivery.step(lambda: _keep_and_push(keep_model, training, on_note))
    delivery.finish()


def with_model(finished: Finished, training: TrainingOptions, progress: Progress) -> Ranking:
    """Keep and push the best model of a result of Python, and return its ranking.

    An error becomes a warning and the last note, because the caller still needs the ranking.
    """
    if finished.keep_model is not None:
        delivery = Delivery()
        keep_model = finished.keep_model
        delivery.step(lambda: _keep_and_push(keep_model, training, progress.noted))
        try:
            delivery.finish()
        except EmmsError as error:
            finished = replace(finished.noted(Note("model-not-delivered", one_line(error))), errors=(error,))
    for failure in finished.errors:
        warnings.warn(one_line(failure), stacklevel=4)
    return finished.ranking


def require_results_repo(id: str) -> None:
    """Check before anything runs that the account may write to a results dataset."""
    account = hub.who_am_i()
    hub.require_push(account, id, "dataset", instead=setting_ref("results_repo", f"{account.name}/emms-results"))


def _publish(rankings: list[Ranking], repo: str, files: list[Path], on_note: Callable[[str], None]) -> None:
    try:
        on_note(publish(rankings, repo))
    except EmmsError as error:
        words = ["hf-emms", "publish", "results", "--repo-id", repo]
        for file in files:
            words += ["--ranking", str(file)]
        command = shlex.join(words) if files else AGAIN
        raise EmmsError(error.code, f"not published in {repo}: {one_line(error)}", command) from error


def _keep_and_push(keep_model: Callable[[], None], training: TrainingOptions, on_note: Callable[[str], None]) -> None:
    keep_model()
    push_best(training, on_note)
