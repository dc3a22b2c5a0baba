"""Keep the best fine-tuned model as a folder, with a card and results that the Hub reads, and upload it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, TypeVar

import msgspec
import yaml

from hf_emms.cache import cache_key, default_root, digest_of
from hf_emms.cache.files import UNFINISHED, check_writable, write_atomic
from hf_emms.errors import EmmsError, redacted, setting_ref
from hf_emms.finetune.recipe import head_of, trained_task
from hf_emms.finetune.resume_states import MODEL_SEAL, ModelSeal, file_digest, storage_error
from hf_emms.heads import LabeledSplit
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.hub import read_file, repo_url, require_push, upload_model, who_am_i
from hf_emms.options import Options, RunOptions, ScoringOptions, TrainingOptions
from hf_emms.publish.card_text import rendered_template
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.ranking.verdict import is_above_baseline
from hf_emms.tasks import get_task, hub_tag

# Folder for the models of finished runs, inside the requested one, where the best is left at the end.
_UNFINISHED = ".unfinished"
# File that says what was saved in a folder.
_SAVED = ".hf-emms.json"
_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_CLASSES = {"CAUSAL_LM": "AutoPeftModelForCausalLM", "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM"}
# File that makes a dataset a benchmark, and folder of results: https://huggingface.co/docs/hub/eval-results
_BENCHMARK, _RESULTS = "eval.yaml", ".eval_results"
# The pipelines that open models with a number a row, which the Hub has no task for.
_PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForImageClassification": "image-classification",
}
_DEFAULT_CONFIG, _DEFAULT_SPLIT = "default", "test"
_TEST_ROWS = "test_rows.json"
Seal = TypeVar("Seal", bound=ModelSeal)


class _Saved(ModelSeal, frozen=True):
    """What was saved in a folder: the model of a `run` for a `request`, and all names, the card's among them."""

    request: str
    run: str
    names: tuple[str, ...]


class ModelKeeper:
    """Keeps the model of the best run so far in a folder, which holds nothing else, or what the same request saved.

    Raises:
        EmmsError: the folder holds other files, or other ones than were saved; it is no folder or cannot be written.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder = folder
        self._runs, self._request = folder / _UNFINISHED, request
        self._scores: dict[str, float] = {}
        saved = self._saved
        _check_folder(folder, saved)
        for file, digest in saved.digests.items() if saved is not None else ():
            if os.path.lexists(folder / file) and not _holds(folder / file, digest):
                raise EmmsError(
                    f"{folder / file} was changed after it was saved", setting_ref("save_model", "NEW_FOLDER")
                )

    def path(self, name: str) -> Path:
        """Return the folder for the model of a run."""
        return self._runs / f"{name}-{self._request}"

    def has_head_of_ours(self, name: str) -> bool:
        """Return whether the model of a run has a head that transformers does not know."""
        seal = self._seal(name)
        return seal is not None and HEAD_WEIGHTS in seal.digests

    def adapter_class(self, name: str) -> str | None:
        """Return the class of PEFT that opens the model of a run; None where that is no adapter."""
        seal = self._seal(name)
        if seal is None or _ADAPTER_CONFIG not in seal.digests:
            return None
        return _ADAPTER_CLASSES[json.loads(self._place(name, seal, _ADAPTER_CONFIG).read_text())["task_type"]]

    def finished(self, name: str, run: TrainingRun) -> None:
        """Keep the model of a run if it has the best validation score of this call, and delete the others."""
        if run.validation is None or not self.has(name, run):
            return
        self._scores[name] = run.validation
        self.keep(max(self._scores, key=lambda other: (self._scores[other], other != name)))

    def keep(self, name: str) -> None:
        """Delete the models of all other runs of this call than a run, ties included."""
        for other in self._scores.keys() - {name}:
            shutil.rmtree(self.path(other), ignore_errors=True)
            del self._scores[other]

    def has(self, name: str, run: TrainingRun) -> bool:
        """Return whether the model with the result of a run is kept, or in its place already: whole and unchanged."""
        seal = self._seal(name)
        if seal is None or (seal.steps, seal.unfinished) != (run.steps, run.unfinished):
            return False
        return all(_holds(self._place(name, seal, file), digest) for file, digest in seal.digests.items())

    def finish(self, name: str, files: Mapping[str, str]) -> None:
        """Move the model of a run into the folder, with other files, path → content; another model there is deleted.

        Raises:
            EmmsError: the folder cannot be written, or the model is not kept.
        """
        seal, saved, model = self._seal(name), self._saved, self.path(name)
        if seal is None:
            raise EmmsError(f"the best model was not saved in {self.folder}", "run the same command again")
        try:
            if model.is_dir():
                for file, content in files.items():
                    write_atomic(model / file, content)
                names = {PurePath(file).parts[0] for file in (*seal.digests, *files)}
                if saved is not None and not self._is_saved(name, seal):
                    _delete(path for path in self.folder.iterdir() if path.name in saved.names)
                elif saved is not None:  # an earlier call was stopped below
                    names |= {*saved.names}
                # From here on an interrupted call is finished by the next one.
                saved = _Saved(
                    request=self._request,
                    run=name,
                    names=tuple(sorted(names)),
                    steps=seal.steps,
                    unfinished=seal.unfinished,
                    digests=seal.digests,
                )
                write_atomic(self.folder / _SAVED, msgspec.json.encode(saved))
                for path in sorted(path for path in model.iterdir() if path.name in names):
                    place = self.folder / path.name
                    if place.is_dir():
                        shutil.rmtree(place)
                    path.rename(place)
            shutil.rmtree(self._runs, ignore_errors=True)
            _delete(self.folder.glob(f"{UNFINISHED}*"))  # of calls that were killed
        except OSError as error:
            raise storage_error(self.folder, error) from error

    @property
    def _saved(self) -> _Saved | None:
        """What the folder holds of the same request."""
        saved = _read(self.folder / _SAVED, _Saved)
        return saved if saved is not None and saved.request == self._request else None

    def _seal(self, name: str) -> ModelSeal | None:
        """Return what is held of the model of a run; None if nothing is."""
        saved = self._saved
        in_place = saved if saved is not None and saved.run == name else None
        return _read(self.path(name) / MODEL_SEAL, ModelSeal) or in_place

    def _is_saved(self, name: str, seal: ModelSeal) -> bool:
        """Return whether a model is what the folder holds, or will hold when all of its files are moved."""
        saved = self._saved
        return saved is not None and saved.run == name and saved.digests == seal.digests

    def _place(self, name: str, seal: ModelSeal, file: str) -> Path:
        """Return where a file of a model is."""
        place = self.path(name) / file
        return self.folder / file if not place.is_file() and self._is_saved(name, seal) else place


def _read(path: Path, type: type[Seal]) -> Seal | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def _holds(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and file_digest(path) == digest
    except (OSError, ValueError):
        return False


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_folder(folder: Path, saved: _Saved | None) -> None:
    """Refuse a folder that cannot be written, or holds other files than were saved in it."""
    other_place = setting_ref("save_model", "NEW_FOLDER")
    try:
        check_writable(folder)
    except NotADirectoryError:
        raise EmmsError(f"{folder} is a file, or in one: no model can be saved there", other_place) from None
    except OSError as error:
        raise EmmsError(f"{folder} cannot be written: {error.strerror or error}", other_place) from error
    ours = {_UNFINISHED, _SAVED, *(saved.names if saved is not None else ())}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in ours and not path.name.startswith(UNFINISHED):
            raise EmmsError(f"the folder {folder} is not empty: it holds {path.name}", other_place)


def check_place(options: TrainingOptions) -> None:
    """Refuse a place for the best model, before its request is known, where it could never be saved.

    Raises:
        EmmsError: the folder holds files that no call has saved, is none or cannot be written.
    """
    folder = _folder(options)
    if folder is not None:
        with _uploads_first(options, folder):
            _check_folder(folder, _read(folder / _SAVED, _Saved))


def keeper_for(options: Options, revision: str) -> ModelKeeper | None:
    """Return the keeper of the best model, in the named folder, or in the cache until it is uploaded; else None.

    The request whose model it keeps is told apart by all options, which are resolved, and the dataset's `revision`.

    Raises:
        EmmsError: the folder holds other files, is none or cannot be written.
    """
    folder = _folder(options.training)
    if folder is None:
        return None
    # The rankings of other datasets are at another revision after each of them.
    request = {name: str(value) for name, value in options.changed().items() if name != "results"}
    digest = digest_of(cache_key("fine-tuned", str(folder), revision, request=request))
    with _uploads_first(options.training, folder):
        return ModelKeeper(folder, digest)


@contextmanager
def _uploads_first(options: TrainingOptions, folder: Path) -> Iterator[None]:
    """Have the refusal of a folder in the cache say how the model that it holds is uploaded."""
    try:
        yield
    except EmmsError as error:
        if options.save_model is not None or not folder.is_dir():
            raise
        command = _upload_command(options.push_to_hub, folder)
        raise EmmsError(f"{folder} holds a model that was not uploaded yet", f"{command}; then remove it") from error


def _folder(options: TrainingOptions) -> Path | None:
    if options.save_model is not None:
        return Path(options.save_model)
    return default_root() / "fine-tuned" / options.push_to_hub.replace("/", "--") if options.push_to_hub else None


def check_push(id: str | None) -> None:
    """Check before anything runs that a model may be uploaded: the account, its rights, the connection."""
    if id is not None:
        account = who_am_i()
        require_push(
            account, id, "model", instead=setting_ref("push_to_hub", f"{account.name}/{id.rpartition('/')[2]}")
        )


def push_best(options: TrainingOptions, on_note: Callable[[str], None]) -> None:
    """Upload the model that was kept, where the options ask for it; it stays on this machine where that fails."""
    folder = _folder(options)
    if options.push_to_hub is None or folder is None:
        return
    on_note(f"uploading the model to {repo_url(options.push_to_hub, 'model')}")
    try:
        url = upload_model(options.push_to_hub, folder, title="Add a model fine-tuned with hf-emms")
    except EmmsError as error:
        command = _upload_command(options.push_to_hub, folder)
        raise EmmsError(f"the model is in {folder}, not on the Hub: {error.message}", command) from error
    if options.save_model is None:
        # The record goes last: a call that is killed here can be made again.
        _delete(path for path in folder.iterdir() if path.name != _SAVED)
        shutil.rmtree(folder)
    on_note(f"uploaded: {url}")


def _upload_command(id: str | None, folder: Path) -> str:
    return f"hf upload {id} {shlex.quote(str(folder))} . --private"


# ---- what is written beside the model --------------------------------------------------------------------------------


def evaluation_results(
    ranking: Ranking, row: Row, run: TrainingRun, test: LabeledSplit, on_note: Callable[[str], None]
) -> dict[str, str]:
    """Return the evaluation result that the Hub lists, path → content; empty where no benchmark has the test rows.

    `on_note` receives why the benchmark could not be looked up.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    result = row.fine_tuned
    if result is None or not test.whole or not is_commit(ranking.dataset_revision):
        return {}
    try:
        content = read_file(ranking.dataset_id, "dataset", _BENCHMARK)
    except EmmsError as error:
        on_note(f"no evaluation result is written for the Hub: {error.message}")
        return {}
    place = ranking.config or _DEFAULT_CONFIG, test.split
    tasks = [task for task in _benchmark_tasks(content) if _place(task) == place]
    if len(tasks) != 1:
        return {}
    entry = EvalResultEntry(
        ranking.dataset_id,
        str(tasks[0]["id"]),
        round(run.scores[result.metric], 6),
        dataset_revision=ranking.dataset_revision,
        date=datetime.now(UTC).date().isoformat(),
        notes=f"{result.metric}; fine-tuned on {result.rows['train']}",
    )
    results = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return {f"{_RESULTS}/{ranking.dataset_id.rpartition('/')[2]}.yaml": results}


def test_rows(ranking: Ranking, test: LabeledSplit, group_column: str | None) -> dict[str, str]:
    """Return a file that says which rows the model was tested on, path → content, so that anyone can do it again."""
    task = get_task(ranking.task)
    kept = {
        "dataset": ranking.dataset_id,
        "revision": ranking.dataset_revision,
        "config": ranking.config,
        "split": test.split,
        "column": group_column or ranking.columns.get(task.group_by or task.inputs[0].name),
        "ids": sorted(group.to_bytes(8, "little").hex() for group in set(test.groups.tolist())),
    }
    return {_TEST_ROWS: json.dumps(kept, indent=1, ensure_ascii=False) + "\n"}


def _benchmark_tasks(content: bytes | None) -> list[dict[str, Any]]:
    """Return the tasks of a dataset's eval.yaml; none where it has another form."""
    try:
        tasks = yaml.safe_load(content or b"")["tasks"]
        return [task for task in tasks if isinstance(task, dict) and task.get("id")]
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        return []


def _place(task: dict[str, Any]) -> tuple[Any, Any]:
    return task.get("config") or _DEFAULT_CONFIG, task.get("split") or _DEFAULT_SPLIT


def model_card(
    ranking: Ranking,
    row: Row,
    run: TrainingRun,
    test: LabeledSplit,
    options: Options,
    *,
    head_of_ours: bool,
    adapter_class: str | None,
) -> str:
    """Return README.md of a fine-tuned model, with its origin, its scores as model-index and its recipe.

    It has an `head_of_ours` where transformers has no class for it, and a class of PEFT where it is an adapter alone.
    """
    result = row.fine_tuned
    assert result is not None
    place = str(options.push_to_hub or options.save_model)
    head = head_of(trained_task(get_task(ranking.task), options.method))
    library = "hf-emms" if head_of_ours else "peft" if adapter_class else head.library
    recipe = {**result.recipe, "learning_rates": None, "seeds": None}
    recipe |= {"learning_rate": run.learning_rate, "seed": run.seed}
    name = (options.push_to_hub or f"{row.checkpoint.partition('@')[0].rstrip('/')}-fine-tuned").rpartition("/")[2]
    metadata = _metadata(name, ranking, row, run, test, library, head.auto_class)
    return rendered_template(
        "fine_tuned_card.md.jinja",
        metadata=redacted(metadata),
        ranking=ranking,
        row=row,
        run=run,
        opening=_opening(ranking, place) if head_of_ours else None,
        adapter=_opening_of_adapter(adapter_class, place) if adapter_class else None,
        library=library,
        code=head.opening(place),
        rows=result.rows,
        compared=len(ranking.fine_tuned),
        above_baseline=is_above_baseline(result),
        recipe={name: value for name, value in recipe.items() if value is not None},
        command=_command(options, ranking, row, result, run),
    )


def _opening(ranking: Ranking, place: str) -> str:
    """Return the Python code that opens a model with a head of ours."""
    names = [column.name for column in get_task(ranking.task).inputs]
    row = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"import hf_emms\n\nmodel = hf_emms.load_finetuned({place!r})\nmodel.predict([{row}, ...])"


def _opening_of_adapter(adapter_class: str, place: str) -> str:
    return f"from peft import {adapter_class}\n\nmodel = {adapter_class}.from_pretrained({place!r})"


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

    pipeline = _PIPELINES.get(auto_class or "") if library == "transformers" else None
    tag = pipeline or hub_tag(ranking.task)
    on_hub, relation = is_commit(row.revision), "adapter" if library == "peft" else "finetune"
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
        for metric, value in run.scores.items()
    ]
    card = ModelCardData(
        library_name=library,
        pipeline_tag=tag,
        tags=["hf-emms"],
        base_model=row.checkpoint.partition("@")[0] if on_hub else None,
        base_model_relation=relation if on_hub else None,
        datasets=[ranking.dataset_id] if is_commit(ranking.dataset_revision) else None,
        model_name=name,
        eval_results=results,
    )
    return card.to_yaml()


def _command(options: Options, ranking: Ranking, row: Row, result: FineTuned, run: TrainingRun) -> str:
    checkpoint = f"{row.checkpoint.partition('@')[0]}@{row.revision}" if is_commit(row.revision) else row.checkpoint
    training = TrainingOptions(
        seed=options.seed,
        confirm=1,
        method=result.recipe["method"],
        budget=options.budget,
        epochs=result.recipe.get("epochs"),
        steps=options.steps,
        learning_rates=(f"{run.learning_rate:g}",),
        seeds=options.seeds,
        confirm_samples=options.confirm_samples,
        time_limit=options.time_limit if run.unfinished else None,
        save_model=options.save_model,
        keep_adapter=options.keep_adapter and options.save_model is not None,
    )
    again = Options.of_parts(
        replace(options.sample, dataset=options.dataset if isinstance(options.dataset, str) else ranking.dataset),
        replace(options.features, checkpoints=(checkpoint,)),
        ScoringOptions(seed=options.seed, estimators=options.estimators, folds=options.folds, results=options.results),
        training,
        RunOptions(
            device=options.device,
            dtype=options.dtype,
            batch_size=options.batch_size,
            allow_pickle=options.allow_pickle,
            trust_remote_code=options.trust_remote_code,
        ),
    )
    return shlex.join(["hf-emms", "rank", *again.to_argv()])
