"""Save models in memory as folders, which any engine can load."""

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

# Files of image processors and tokenizers.
_PROCESSOR_FILES = ("*.json", "*.txt", "*.model", "*.jinja")


@contextmanager
def saved_models(checkpoints: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield the checkpoints with folders instead of models in memory, and folder → name of the model.

    The folders are deleted when the block ends. A dictionary names the models.

    Raises:
        EmmsError: A model has no tokenizer or processor, or a dictionary contains other values than models.
    """
    titles: dict[int, str] = {}
    if isinstance(checkpoints, Mapping):
        for title, model in checkpoints.items():
            if not _is_model(model):
                raise EmmsError(
                    f"checkpoints[{title!r}] is {model!r:.80}; it must be a model in memory",
                    'use a dictionary for models, {"mine": model}, and a list for ids and folders, ["ORG/NAME"]',
                )
            titles[id(model)] = str(title)
        checkpoints = list(checkpoints.values())
    is_several = isinstance(checkpoints, Iterable) and not isinstance(checkpoints, str) and not _is_model(checkpoints)
    several = list(checkpoints) if is_several else [checkpoints]
    if not any(map(_is_model, several)):
        yield several if is_several else checkpoints, {}
        return
    names: dict[str, str] = {}
    with TemporaryDirectory(prefix="hf-emms-") as parent:
        ready = []
        for model in several:
            if _is_model(model):
                name = titles.get(id(model), f"{_name(model)} (in memory)")
                count = sum(other.startswith(name) for other in names.values())
                folder = Path(parent, f"{len(names)}-{Path(_name(model)).name}")
                _save(model, folder)
                names[str(folder)] = f"{name} {count + 1}" if count and id(model) not in titles else name
                model = str(folder)
            ready.append(model)
        yield ready, names


def renamed(ranking: Ranking, names: Mapping[str, str]) -> Ranking:
    """Return the ranking with the names of models instead of their folders."""
    rows = tuple(
        msgspec.structs.replace(row, checkpoint=names.get(row.checkpoint, row.checkpoint)) for row in ranking.rows
    )
    return msgspec.structs.replace(ranking, rows=rows) if names else ranking


def _is_model(checkpoint: Any) -> bool:
    """Return whether a checkpoint is a model in memory, without importing its library."""
    if isinstance(checkpoint, tuple):
        return len(checkpoint) > 1 and _is_model(checkpoint[0]) and all(map(_is_processor, checkpoint[1:]))
    if not hasattr(checkpoint, "save_pretrained"):
        return False
    return hasattr(_model(checkpoint), "config") or _is_sentence_transformer(checkpoint)


def _is_processor(value: Any) -> bool:
    return hasattr(value, "save_pretrained") and not _is_model(value)


def _is_sentence_transformer(checkpoint: Any) -> bool:
    return any(kind.__name__ == "SentenceTransformer" for kind in type(checkpoint).__mro__)


def _model(checkpoint: Any) -> Any:
    """Return the model in a pipeline, in a tuple with processors, or in a model of sentence-transformers."""
    if isinstance(checkpoint, tuple):
        return checkpoint[0]
    if _is_sentence_transformer(checkpoint):
        return getattr(next(iter(checkpoint.children()), None), "auto_model", checkpoint)
    return checkpoint if hasattr(checkpoint, "config") else getattr(checkpoint, "model", None)


def _name(checkpoint: Any) -> str:
    model = _model(checkpoint)
    return str(getattr(model, "name_or_path", "") or type(model).__name__)


def _save(checkpoint: Any, folder: Path) -> None:
    if isinstance(checkpoint, tuple):
        for part in checkpoint:
            part.save_pretrained(folder)
        return
    if _is_sentence_transformer(checkpoint):
        checkpoint.save_pretrained(str(folder), create_model_card=False)
        return
    model = _model(checkpoint)
    checkpoint.save_pretrained(folder)
    if checkpoint is not model:
        return  # a pipeline includes its processors
    source = getattr(model, "name_or_path", "")
    if not source:
        raise EmmsError(
            f"a {type(model).__name__} in memory has no tokenizer or image processor",
            "pass the tuple (model, tokenizer), or a folder with both",
        )
    repo = hub.resolve(source, "model", revision=getattr(model.config, "_commit_hash", None))
    original = hub.fetch(repo, _PROCESSOR_FILES)
    for pattern in _PROCESSOR_FILES:
        for file in original.glob(pattern):
            if not (folder / file.name).exists() and not file.name.endswith(".index.json"):
                shutil.copyfile(os.path.realpath(file), folder / file.name)
