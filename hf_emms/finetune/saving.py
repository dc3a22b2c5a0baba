"""Keep the best fine-tuned model as a folder, with a card and results that the Hub reads, and upload it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from hf_emms.cache import cache_key, default_root, digest_of
from hf_emms.errors import EmmsError, redacted, use
from hf_emms.files import check_writable, write_atomic
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.unfinished import storage_error
from hf_emms.heads import LabeledSplit
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.hub import page, read_file, require_push, upload_model, who_am_i
from hf_emms.options import Options, RunOptions, ScoringOptions, TrainingOptions
from hf_emms.publish.card_text import rendered_template
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.tasks import get_task, hub_tag

# Folder for the models of finished runs, inside the requested one, where the best is left at the end.
_UNFINISHED = ".unfinished"
# File that marks such a model as whole, and file that names the run whose model a folder holds.
_WHOLE, _SAVED = ".whole", ".hf-emms.json"
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


class ModelKeeper:
    """Keeps the model of the best run so far in a folder, which holds nothing else, or files of the same request.

    Raises:
        EmmsError: the folder holds other files, is no folder or cannot be written.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder = folder
        self._runs, self._request = folder / _UNFINISHED, request
        self._scores: dict[str, float] = {}
        other_place = use("save_model", "NEW_FOLDER")
        try:
            check_writable(folder)
        except NotADirectoryError:
            raise EmmsError(f"{folder} is a file, or in one: no model can be saved there", other_place) from None
        except OSError as error:
            raise EmmsError(f"{folder} cannot be written: {error.strerror or error}", other_place) from error
        saved = self._saved()
        ours = {_UNFINISHED, _SAVED, *(saved["files"] if saved.get("request") == request else ())}
        other = [path.name for path in folder.iterdir() if path.name not in ours] if folder.is_dir() else []
        if other:
            raise EmmsError(f"the folder {folder} is not empty: it holds {other[0]}", other_place)

    def path(self, name: str) -> Path:
        """Return the folder for the model of a run."""
        return self._runs / name

    def has_head_of_ours(self, name: str) -> bool:
        """Return whether the model of a run has a head that transformers does not know."""
        return (self.path(name) / HEAD_WEIGHTS).is_file()

    def adapter_class(self, name: str) -> str | None:
        """Return the class of PEFT that opens the model of a run; None where that is no adapter."""
        for folder in (self.path(name), self.folder):
            if (folder / _ADAPTER_CONFIG).is_file():
                config = json.loads((folder / _ADAPTER_CONFIG).read_text())
                return _ADAPTER_CLASSES[config["task_type"]]
        return None

    def finished(self, name: str, run: TrainingRun) -> None:
        """Keep the model of a run if it has the best validation score of this call, and delete the others."""
        if run.validation is None or not self.path(name).is_dir():
            return
        self._scores[name] = run.validation
        self.keep(max(self._scores, key=lambda other: (self._scores[other], other != name)))

    def keep(self, name: str) -> None:
        """Keep the model of a run, and delete those of all other runs of this call, ties included."""
        if self.path(name).is_dir():
            (self.path(name) / _WHOLE).touch()
        for other in self._scores.keys() - {name}:
            shutil.rmtree(self.path(other), ignore_errors=True)
            del self._scores[other]

    def has(self, name: str) -> bool:
        """Return whether the model of a run is kept, or in its place already."""
        return (self.path(name) / _WHOLE).is_file() or self._saved().get("run") == name

    def finish(self, name: str, files: Mapping[str, str]) -> None:
        """Move the model of a run into the folder, with other files, path → content.

        Raises:
            EmmsError: the folder cannot be written, or holds the model of another run.
        """
        saved = self._saved()
        try:
            if saved.get("run", name) != name:
                raise EmmsError(f"{self.folder} holds the model of another run", use("save_model", "NEW_FOLDER"))
            if self.path(name).is_dir():
                for file, content in files.items():
                    write_atomic(self.path(name) / file, content)
                names = sorted({path.name for path in self.path(name).iterdir()} - {_WHOLE})
                names = sorted({*names, *saved.get("files", ())})
                # From here on an interrupted call is finished by the next one.
                saved = {"request": self._request, "run": name, "files": names}
                write_atomic(self.folder / _SAVED, json.dumps(saved))
                for path in sorted(self.path(name).iterdir()):
                    place = self.folder / path.name
                    if path.name != _WHOLE:
                        if place.is_dir():
                            shutil.rmtree(place)
                        path.rename(place)
            elif "run" not in saved:
                raise EmmsError(f"the best model was not saved in {self.folder}", "run the same command again")
            shutil.rmtree(self._runs, ignore_errors=True)
        except OSError as error:
            raise storage_error(self.folder, error) from error

    def _saved(self) -> dict[str, Any]:
        """Return the request, the run and the file names that were saved in the folder; empty if there are none."""
        try:
            saved = json.loads((self.folder / _SAVED).read_text())
            return saved if isinstance(saved["files"], list) else {}
        except (OSError, ValueError, LookupError, TypeError):
            return {}


def keeper_for(options: Options) -> ModelKeeper | None:
    """Return the keeper of the best model, in the named folder, or in the cache until it is uploaded; else None.

    Raises:
        EmmsError: the folder holds other files, is none or cannot be written.
    """
    folder = _folder(options.training)
    if folder is None:
        return None
    changed = {name: str(value) for name, value in options.changed().items()}
    try:
        return ModelKeeper(folder, digest_of(cache_key("fine-tuned", str(folder), settings=changed)))
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
        require_push(account, id, "model", instead=use("push_to_hub", f"{account.name}/{id.rpartition('/')[2]}"))


def push_best(options: TrainingOptions, on_note: Callable[[str], None]) -> None:
    """Upload the model that was kept, where the options ask for it; it stays on this machine where that fails."""
    folder = _folder(options)
    if options.push_to_hub is None or folder is None:
        return
    on_note(f"uploading the model to {page(options.push_to_hub, 'model')}")
    try:
        url = upload_model(options.push_to_hub, folder, title="Add a model fine-tuned with hf-emms")
    except EmmsError as error:
        command = _upload_command(options.push_to_hub, folder)
        raise EmmsError(f"the model is in {folder}, not on the Hub: {error.message}", command) from error
    if options.save_model is None:
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
    place = options.push_to_hub or options.save_model
    recipe = {**result.recipe, "learning_rates": None, "seeds": None}
    recipe |= {"learning_rate": run.learning_rate, "seed": run.seed}
    name = (options.push_to_hub or f"{row.checkpoint.partition('@')[0].rstrip('/')}-fine-tuned").rpartition("/")[2]
    metadata = _metadata(name, ranking, row, run, test, _library(head_of_ours, adapter_class))
    return rendered_template(
        "fine_tuned_card.md.jinja",
        metadata=redacted(metadata),
        ranking=ranking,
        row=row,
        run=run,
        opening=_opening(ranking, place) if head_of_ours else None,
        adapter=_opening_of_adapter(adapter_class, place) if adapter_class else None,
        rows=result.rows,
        compared=len(ranking.fine_tuned),
        recipe={name: value for name, value in recipe.items() if value is not None},
        command=_command(options, ranking, row, result, run),
    )


def _opening(ranking: Ranking, place: str | None) -> str:
    """Return the Python code that opens a model with a head of ours."""
    names = [column.name for column in get_task(ranking.task).inputs]
    row = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"import hf_emms\n\nmodel = hf_emms.load_finetuned({place!r})\nmodel.predict([{row}, ...])"


def _opening_of_adapter(adapter_class: str, place: str | None) -> str:
    return f"from peft import {adapter_class}\n\nmodel = {adapter_class}.from_pretrained({place!r})"


def _library(head_of_ours: bool, adapter_class: str | None) -> str:
    return "hf-emms" if head_of_ours else "peft" if adapter_class else "transformers"


def _metadata(name: str, ranking: Ranking, row: Row, run: TrainingRun, test: LabeledSplit, library: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    pipeline = _PIPELINES.get(head_of(get_task(ranking.task)).auto_class or "") if library == "transformers" else None
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
