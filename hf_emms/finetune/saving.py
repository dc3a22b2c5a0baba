"""Save the best fine-tuned model in a folder, with a card and results that the Hub reads, and upload it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from hf_emms.cache import cache_key, default_root, digest_of
from hf_emms.cache.files import UNFINISHED, check_writable, write_atomic
from hf_emms.errors import EmmsError
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.resume_states import storage_error
from hf_emms.heads import LabeledSplit
from hf_emms.heads.row import PIPELINES
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.hub import repo_url, require_push, upload_model, who_am_i
from hf_emms.options import Options, TrainingOptions
from hf_emms.publish.card_text import rendered_template
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.ranking.verdict import is_above_baseline
from hf_emms.tasks import get_task, hub_tag
from hf_emms.texts import redacted, setting_ref

# Folder for the models of finished runs, inside the requested folder.
_UNFINISHED = ".unfinished"
# File with the record of what was saved in a folder.
_SAVED = ".hf-emms.json"
_TEST_ROWS = "test_rows.json"


class _Saved(msgspec.Struct, frozen=True):
    """The record of a model that was saved in a folder.

    Attributes:
        request: Digest of the settings of the call that saved it.
        model: Name of the run, with its steps; None while the files are moved into the folder.
        names: Of the model's files and folders.
    """

    request: str
    model: str | None
    names: tuple[str, ...]


class ModelFolder:
    """A folder for the best model, with the models of finished runs in `.unfinished` until the best is known.

    Raises:
        EmmsError: The folder contains files that the same request did not save, or cannot be written.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder, self._unfinished, self._request = folder, folder / _UNFINISHED, request
        self._best: tuple[str, float] | None = None
        other_place = setting_ref("save_model", "NEW_FOLDER")
        try:
            check_writable(folder)
        except NotADirectoryError:
            raise EmmsError(
                "cannot-write", f"{folder} is a file or in a file: no model can be saved there", other_place
            ) from None
        except OSError as error:
            raise EmmsError(
                "cannot-write", f"{folder} cannot be written: {error.strerror or error}", other_place
            ) from error
        ours = {_UNFINISHED, _SAVED, *(self._saved.names if self._saved is not None else ())}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in ours and not path.name.startswith(UNFINISHED):
                raise EmmsError(
                    "folder-not-empty", f"the folder {folder} is not empty: it contains {path.name}", other_place
                )

    def models_of(self, name: str) -> Path:
        """Return the folder for the models of a run. The folder of each model is named by its steps."""
        return self._unfinished / name

    def model(self, name: str, run: TrainingRun) -> Path | None:
        """Return the folder with the model of a run, or None if it was not kept."""
        unfinished, saved = self.models_of(name) / str(run.steps), self._saved
        if unfinished.is_dir():
            return unfinished
        return self.folder if saved is not None and saved.model == f"{name}/{run.steps}" else None

    def finished(self, name: str, run: TrainingRun) -> None:
        """Keep the model of a finished run if it is the best so far, and delete the worse one."""
        if run.validation is None or self.model(name, run) is None:
            return
        worse: str | None = name
        if self._best is None or run.validation > self._best[1]:
            worse = None if self._best is None else self._best[0]
            self._best = name, run.validation
        if worse is not None:
            shutil.rmtree(self.models_of(worse), ignore_errors=True)

    def finish(self, name: str, run: TrainingRun, files: Mapping[str, str]) -> None:
        """Move the model of a run into the folder, add files (path → content), and delete all other models.

        Raises:
            EmmsError: The folder cannot be written, or the model was not kept.
        """
        model, moving = self.model(name, run), self._unfinished / "moving"
        if model is None:
            raise EmmsError(
                "model-not-saved", f"the best model was not saved in {self.folder}", "run the same command again"
            )
        try:
            if model != self.folder:
                for file, content in files.items():
                    write_atomic(model / file, content)
                names, former = {path.name for path in model.iterdir()}, self._saved
                moved = names if former is None else {*names, *former.names}
                # If the process is killed after this line, the next call trains the model again.
                self._record(None, moved)
                _delete([moving, *(self.folder / entry for entry in moved)])
                for path in model.rename(moving).iterdir():
                    path.rename(self.folder / path.name)
                self._record(f"{name}/{run.steps}", names)
            _delete([self._unfinished, *self.folder.glob(f"{UNFINISHED}*")])
        except OSError as error:
            raise storage_error(self.folder, error) from error

    @property
    def _saved(self) -> _Saved | None:
        """The record in the folder, if the same request wrote it."""
        try:
            saved = msgspec.json.decode((self.folder / _SAVED).read_bytes(), type=_Saved)
        except (OSError, msgspec.MsgspecError):
            return None
        return saved if self._request == saved.request else None

    def _record(self, model: str | None, names: Iterable[str]) -> None:
        write_atomic(self.folder / _SAVED, msgspec.json.encode(_Saved(self._request, model, tuple(names))))


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def model_folder_for(options: Options) -> ModelFolder | None:
    """Return the folder of the best model: the named one, or one in the cache until the upload, else None.

    The dataset, the checkpoints and the settings of fine-tuning identify the request.

    Raises:
        EmmsError: The folder contains other files, or cannot be written.
    """
    folder = _folder(options.training)
    if folder is None:
        return None
    request = [str(options.sample.dataset), str(options.features.checkpoints), repr(options.training)]
    try:
        return ModelFolder(folder, digest_of(cache_key("fine-tuned", str(folder), request=request)))
    except EmmsError as error:
        if options.training.save_model is not None or not folder.is_dir():
            raise
        command = _upload_command(options.training.push_model_to, folder)
        raise EmmsError(
            "not-uploaded", f"{folder} contains a model that was not uploaded yet", f"{command}; then remove it"
        ) from error


def _folder(options: TrainingOptions) -> Path | None:
    if options.save_model is not None:
        return Path(options.save_model)
    return default_root() / "fine-tuned" / options.push_model_to.replace("/", "--") if options.push_model_to else None


def check_push(id: str | None) -> None:
    """Check before anything runs that the account may upload a model."""
    if id is not None:
        account = who_am_i()
        require_push(
            account, id, "model", instead=setting_ref("push_model_to", f"{account.name}/{id.rpartition('/')[2]}")
        )


def push_best(options: TrainingOptions, on_note: Callable[[str], None]) -> None:
    """Upload the best model if the options ask for it. If the upload fails, the model stays on this machine."""
    folder = _folder(options)
    if options.push_model_to is None or folder is None:
        return
    on_note(f"uploading the model to {repo_url(options.push_model_to, 'model')}")
    try:
        url = upload_model(options.push_model_to, folder, title="Add a model fine-tuned with hf-emms")
    except EmmsError as error:
        command = _upload_command(options.push_model_to, folder)
        raise EmmsError(
            "not-uploaded", f"the model is in {folder}, not on the Hub: {error.message}", command
        ) from error
    if options.save_model is None:
        (folder / _SAVED).unlink()  # a killed call leaves no record of a whole model
        shutil.rmtree(folder)
    on_note(f"uploaded: {url}")


def _upload_command(id: str | None, folder: Path) -> str:
    return f"hf upload {id} {shlex.quote(str(folder))} . --private"


# ---- files next to the model --------------------------------------------------------------------------------


def test_rows(ranking: Ranking, test: LabeledSplit) -> dict[str, str]:
    """Return a file that lists the inputs of the test rows, path → content, so that anyone can repeat the test."""
    hashes = test.input_hashes[sorted(set(test.input_of_row.tolist()))].tolist()
    kept = {
        "dataset": ranking.dataset_id,
        "revision": ranking.dataset_revision,
        "config": ranking.config,
        "split": test.split,
        "columns": [ranking.columns.get(column.name) for column in get_task(ranking.task).inputs],
        "ids": sorted("-".join(hash.to_bytes(8, "little").hex() for hash in of_input) for of_input in hashes),
    }
    return {_TEST_ROWS: json.dumps(kept, indent=1, ensure_ascii=False) + "\n"}


def model_card(
    ranking: Ranking,
    row: Row,
    run: TrainingRun,
    test: LabeledSplit,
    options: Options,
    model: Path,
) -> str:
    """Return README.md of the fine-tuned `model` in a folder: origin, scores as model-index, and recipe."""
    result = row.fine_tuned
    assert result is not None
    has_custom_head = (model / HEAD_WEIGHTS).is_file()
    place = str(options.training.push_model_to or options.training.save_model)
    head = head_of(get_task(ranking.task))
    library = "hf-emms" if has_custom_head else head.library
    recipe = {**result.recipe, "learning_rates": None, "seeds": None}
    recipe |= {"learning_rate": run.learning_rate, "seed": run.seed}
    name = (options.training.push_model_to or f"{row.checkpoint.partition('@')[0].rstrip('/')}-fine-tuned").rpartition(
        "/"
    )[2]
    metadata = _metadata(name, ranking, row, run, test, library, head.auto_class)
    return rendered_template(
        "fine_tuned_card.md.jinja",
        metadata=redacted(metadata),
        ranking=ranking,
        row=row,
        run=run,
        opening=_opening(ranking, place) if has_custom_head else None,
        library=library,
        code=head.loading_code(place),
        rows=result.rows,
        compared=len(ranking.fine_tuned),
        above_baseline=is_above_baseline(result),
        recipe={name: value for name, value in recipe.items() if value is not None},
        command=_command(options, ranking, row, result, run),
    )


def _opening(ranking: Ranking, place: str) -> str:
    """Return the Python code that opens a model with a custom head."""
    names = [column.name for column in get_task(ranking.task).inputs]
    row = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"import hf_emms\n\nmodel = hf_emms.load_finetuned({place!r})\nmodel.predict([{row}, ...])"


def _metadata(
    name: str,
    ranking: Ranking,
    row: Row,
    run: TrainingRun,
    test: LabeledSplit,
    library: str,
    auto_class: str | None,
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    # The Hub has no task for models with one number per row, but the pipelines of classifiers read them.
    pipeline = PIPELINES.get(auto_class or "") if library == "transformers" else None
    tag = pipeline or hub_tag(ranking.task)
    on_hub = is_commit(row.revision)
    results = [
        EvalResult(
            task_type=tag,
            dataset_type=ranking.dataset_id,
            dataset_name=ranking.dataset,
            dataset_config=ranking.config,
            dataset_split=None if test.held_out else test.split,
            dataset_revision=ranking.dataset_revision,
            metric_type=metric,
            metric_value=round(value, 6),
        )
        for metric, value in (run.saved_scores or run.scores).items()
    ]
    card = ModelCardData(
        library_name=library,
        pipeline_tag=tag,
        tags=["hf-emms"],
        base_model=row.checkpoint.partition("@")[0] if on_hub else None,
        base_model_relation="finetune" if on_hub else None,
        datasets=[ranking.dataset_id] if is_commit(ranking.dataset_revision) else None,
        model_name=name,
        eval_results=results,
    )
    return card.to_yaml()


def _command(options: Options, ranking: Ranking, row: Row, result: FineTuned, run: TrainingRun) -> str:
    checkpoint = f"{row.checkpoint.partition('@')[0]}@{row.revision}" if is_commit(row.revision) else row.checkpoint
    again = options.replaced(
        dataset=options.sample.dataset if isinstance(options.sample.dataset, str) else ranking.dataset,
        checkpoints=(checkpoint,),
        confirm=1,
        method=result.recipe["method"],
        epochs=result.recipe.get("epochs"),
        learning_rates=(f"{run.learning_rate:g}",),
        time_limit=options.training.time_limit if run.unfinished else None,
        push_model_to=None,
        resume=True,
        cache=True,
    )
    return shlex.join(["hf-emms", "rank", *again.to_argv()])
