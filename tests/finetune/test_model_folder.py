"""The folder of the best model contains one complete model, even if earlier calls were interrupted."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_emms.finetune.saving import ModelFolder, _command
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from tests.finetune.test_training import SHORT, Line, Sides, training
from tests.helpers.errors import raises_code
from tests.helpers.rankings import example

RECORD = ".hf-emms.json"


def run_of(validation: float, steps: int = 7) -> TrainingRun:
    return TrainingRun(0.05, 0, validation=validation, steps=steps)


def write_model(folder: ModelFolder, name: str, *others: str, steps: int = 7) -> None:
    place = folder.models_of(name) / str(steps)
    place.mkdir(parents=True)
    for file in ("model.safetensors", *others):
        (place / file).write_text(name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_interrupted_write_leaves_no_model(tmp_path: Path) -> None:
    class Interrupted(Sides):
        def save(self, folder: Path, task: str) -> None:
            (folder / "model.safetensors").write_text("half of the weights")
            raise KeyboardInterrupt

    folder = ModelFolder(tmp_path / "best", "request")
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, recipe=SHORT, models=folder.models_of("run")).run(lambda: Interrupted(Line()))
    assert folder.model("run", run_of(0.9, steps=20)) is None
    assert list(folder.models_of("run").iterdir()) == []


def test_leftovers_of_earlier_calls_never_replace_a_new_model(tmp_path: Path) -> None:
    """Applies even if the earlier run has a better score, and in either order."""
    place = tmp_path / "best"
    earlier = ModelFolder(place, "earlier")
    write_model(earlier, "old")
    earlier.finished("old", run_of(0.99))  # and then it was killed
    folder = ModelFolder(place, "new")
    runs = {"worse": 0.4, "new": 0.5, "as good": 0.5, "worst": 0.3}
    for name, validation in runs.items():
        write_model(folder, name)
        folder.finished(name, run_of(validation))
    folder.finished("lost", run_of(0.9))  # its model could not be written
    assert [name for name in runs if folder.models_of(name).exists()] == ["new"]
    assert folder.model("new", run_of(0.5, steps=8)) is None  # a run that the time limit ended
    folder.finish("new", run_of(0.5), {"README.md": "a card"})
    assert (place / "model.safetensors").read_text() == "new"
    assert names(place) == {"model.safetensors", "README.md", RECORD}


def test_a_new_best_model_replaces_all_files_of_the_former(tmp_path: Path) -> None:
    place, run = tmp_path / "best", run_of(0.5)
    folder = ModelFolder(place, "request")
    write_model(folder, "old", "other.json")
    folder.finish("old", run, {"README.md": "a card", "folder/rows.json": "rows"})
    folder = ModelFolder(place, "request")
    folder.finished("old", run)  # it is in its place
    assert folder.model("old", run) == place
    write_model(folder, "new")
    folder.finished("new", run_of(0.6))
    assert folder.model("old", run) == place
    for _ in range(2):  # the second call finds the model in its place
        folder.finish("new", run, {"README.md": "another card"})
        (place / ".writing-1").touch()  # of a process that was killed
    ModelFolder(place, "request").finish("new", run, {})
    assert [ModelFolder(place, "request").model(name, run) for name in ("new", "old")] == [place, None]
    assert names(place) == {"model.safetensors", "README.md", RECORD}
    with raises_code("folder-not-empty"):
        ModelFolder(place, "another request")
    with raises_code("model-not-saved"):
        folder.finish("unknown", run, {})
    (place / "notes.txt").touch()
    with raises_code("folder-not-empty", "notes.txt"):
        ModelFolder(place, "request")


def test_a_call_that_was_stopped_while_moving_files_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, run = tmp_path / "best", run_of(0.5)
    write_model(ModelFolder(place, "request"), "old", "old.txt")
    ModelFolder(place, "request").finish("old", run, {})
    write_model(ModelFolder(place, "request"), "new", "config.json")
    rename = Path.rename

    def stop(path: Path, target: Path) -> Path:
        if path.name == "model.safetensors":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            ModelFolder(place, "request").finish("new", run, {})
    folder = ModelFolder(place, "request")
    assert [folder.model(name, run) for name in ("new", "old")] == [None, None]
    write_model(folder, "new", "config.json")
    folder.finish("new", run, {})
    assert names(place) == {"model.safetensors", "config.json", RECORD}
    (place / RECORD).unlink()
    (place / RECORD).mkdir()
    write_model(folder, "new")
    with raises_code("cannot-write", str(place)):
        folder.finish("new", run, {})


def test_the_command_of_a_card_repeats_the_best_run_on_any_machine() -> None:
    """It uses earlier results, and does not upload."""
    ranking, row = example(dataset="org/data"), example().rows[0]
    options = Options.of(
        "org/data",
        checkpoints=(row.checkpoint, "org/other"),
        confirm=3,
        resume=False,
        cache=False,
        push_model_to="me/best",
        save_model="best",
        method="lora",
        time_limit="1m",
    )
    result: Any = SimpleNamespace(recipe={"method": "lora", "epochs": 4})
    run: Any = SimpleNamespace(learning_rate=1e-3, unfinished=False)
    words = shlex.split(_command(options, ranking, row, result, run))
    revision = f"{row.checkpoint}@{row.revision}"
    expected = "--confirm 1 --method lora --epochs 4 --learning-rate 0.001"
    assert words == f"hf-emms rank --dataset org/data --checkpoint {revision} {expected}".split()
    unfinished: Any = SimpleNamespace(learning_rate=1e-3, unfinished=True)
    words = shlex.split(_command(options.replaced(save_model=None), ranking, row, result, unfinished))
    assert words[-2:] == ["--time-limit", "1m"]
