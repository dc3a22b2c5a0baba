"""Models of transformers in memory, ranked as what they are saved as: a folder that any engine can load."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking

# Of an image processor or a tokenizer.
_PROCESSOR_FILES = ("*.json", "*.txt", "*.model", "*.jinja")


@contextmanager
def saved_models(checkpoints: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """The checkpoints that `hf_emms.rank` takes, with folders, deleted at the end, in place of models in memory.

    Also yields folder → the model's name in the ranking.
    """
    is_several = isinstance(checkpoints, Iterable) and not isinstance(checkpoints, str) and not _is_model(checkpoints)
    several = checkpoints if is_several else (checkpoints,)
    if not any(map(_is_model, several)):
        yield checkpoints, {}
        return
    names: dict[str, str] = {}
    with TemporaryDirectory(prefix="hf-emms-") as parent:
        ready = []
        for model in several:
            if _is_model(model):
                name = f"{_name(model)} (in memory)"
                count = sum(other.startswith(name) for other in names.values())
                folder = Path(parent, f"{len(names)}-{Path(_name(model)).name}")
                _save(model, folder)
                names[str(folder)] = f"{name} {count + 1}" if count else name
                model = str(folder)
            ready.append(model)
        yield ready, names


def renamed(ranking: Ranking, names: Mapping[str, str]) -> Ranking:
    """The ranking with models by their names instead of their folders."""
    rows = tuple(
        msgspec.structs.replace(row, checkpoint=names.get(row.checkpoint, row.checkpoint)) for row in ranking.rows
    )
    return msgspec.structs.replace(ranking, rows=rows) if names else ranking


def _is_model(checkpoint: Any) -> bool:
    """Whether it is a model of transformers or a pipeline, recognised without importing transformers."""
    return hasattr(checkpoint, "save_pretrained") and hasattr(_model(checkpoint), "config")


def _model(checkpoint: Any) -> Any:
    """The model itself, which of a pipeline is a part."""
    return checkpoint if hasattr(checkpoint, "config") else getattr(checkpoint, "model", None)


def _name(checkpoint: Any) -> str:
    model = _model(checkpoint)
    return str(getattr(model, "name_or_path", "") or type(model).__name__)


def _save(checkpoint: Any, folder: Path) -> None:
    model = _model(checkpoint)
    checkpoint.save_pretrained(folder)
    if checkpoint is not model:
        return  # a pipeline has its processors
    source = getattr(model, "name_or_path", "")
    if not source:
        raise EmmsError(
            f"a {type(model).__name__} in memory does not say which tokenizer or image processor it goes with",
            "pass transformers.pipeline(task, model=model, tokenizer=tokenizer), or a folder with all of them",
        )
    repo = hub.resolve(source, "model", revision=getattr(model.config, "_commit_hash", None))
    original = hub.fetch(repo, _PROCESSOR_FILES)
    for pattern in _PROCESSOR_FILES:
        for file in original.glob(pattern):
            if not (folder / file.name).exists() and not file.name.endswith(".index.json"):
                shutil.copyfile(os.path.realpath(file), folder / file.name)
