"""The best fine-tuned model is kept as a folder, and uploaded."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_emms.cache import default_root
from hf_emms.errors import EmmsError
from hf_emms.files import write_atomic
from hf_emms.hub import page, require_push, upload_model, who_am_i
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun

# Folder, inside the one that is asked for, of the models of finished runs; the best one is left at the end.
_UNFINISHED = ".unfinished"
_SCORE = "validation.json"


class ModelKeeper:
    """Keeps the model of the best run so far.

    Args:
        folder: where the best model will be.

    Raises:
        EmmsError: the folder holds other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / _UNFINISHED
        other = [path.name for path in folder.iterdir() if path != self._runs] if folder.is_dir() else []
        if other:
            raise EmmsError(f"the folder {folder} is not empty: it holds {other[0]}", "--save-model NEW_FOLDER")

    def path(self, name: str) -> Path:
        """Where the model of a run is written."""
        return self._runs / name

    def finished(self, name: str, run: TrainingRun) -> None:
        """Keeps the model of a run if no other has as good a validation score, and removes the others then."""
        write_atomic(self.path(name) / _SCORE, json.dumps(run.validation))
        found = {path: json.loads((path / _SCORE).read_text()) for path in self._runs.iterdir() if self._whole(path)}
        best = max(found, key=lambda path: (float(found[path]), path.name != name))
        for path in self._runs.iterdir():
            if path != best:
                shutil.rmtree(path)

    def finish(self, name: str, files: Mapping[str, str], train: Callable[[], Any]) -> None:
        """Leaves one run's model in the folder, with other files.

        Args:
            name: of the run.
            files: path → content.
            train: trains and writes it again, where its model was not kept: an earlier process finished the run, or
                another run of the best checkpoint was better than it.
        """
        if not self._whole(self.path(name)):
            shutil.rmtree(self._runs, ignore_errors=True)
            train()
        for path in sorted(self.path(name).iterdir()):
            if path.name != _SCORE:
                path.rename(self.folder / path.name)
        for file, content in files.items():
            write_atomic(self.folder / file, content)
        shutil.rmtree(self._runs)

    def _whole(self, path: Path) -> bool:
        return (path / _SCORE).is_file()


def keeper_for(options: Options) -> ModelKeeper | None:
    """Keeps the best model where the options ask for it: in their folder, or in the cache until it is uploaded.

    Raises:
        EmmsError: the folder holds other files.
    """
    folder = _folder(options)
    if folder is None:
        return None
    try:
        return ModelKeeper(folder)
    except EmmsError as error:
        if options.save_model is not None:
            raise
        command = _upload_command(options, folder)
        raise EmmsError(f"{folder} holds a model that was not uploaded yet", f"{command}; then remove it") from error


def _folder(options: Options) -> Path | None:
    """Where the best model is kept: in the folder that the options name, or in the cache until it is uploaded."""
    if options.save_model is not None:
        return Path(options.save_model)
    return default_root() / "fine-tuned" / options.push_to_hub.replace("/", "--") if options.push_to_hub else None


def check_push(options: Options) -> None:
    """Checks before anything runs that the best model may be uploaded.

    Raises:
        EmmsError: no right to write there, not logged in, offline, or the Hub cannot be reached.
    """
    id = options.push_to_hub
    if id is not None:
        account = who_am_i()
        require_push(account, id, "model", instead=f"--push-to-hub {account.name}/{id.rpartition('/')[2]}")


def push_best(options: Options, on_note: Callable[[str], None]) -> None:
    """Uploads the model that was kept, where the options ask for it.

    Args:
        options: where to.
        on_note: receives what is done.

    Raises:
        EmmsError: the Hub refuses it or cannot be reached; the model is still on this machine.
    """
    folder = _folder(options)
    if options.push_to_hub is None or folder is None:
        return
    on_note(f"uploading the model to {page(options.push_to_hub, 'model')}")
    try:
        url = upload_model(options.push_to_hub, folder, title="Add a model fine-tuned with hf-emms")
    except EmmsError as error:
        command = _upload_command(options, folder)
        raise EmmsError(f"the model is in {folder}, not on the Hub: {error.message}", command) from error
    if options.save_model is None:
        shutil.rmtree(folder)
    on_note(f"uploaded: {url}")


def _upload_command(options: Options, folder: Path) -> str:
    return f"hf upload {options.push_to_hub} {shlex.quote(str(folder))} . --private"
