"""The files of a checkpoint: which are downloaded, and checks before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.hub import LEFT_OUT, Repo, fetch

_DESCRIPTIONS = ("*.json", "*.txt", "*.model", "*.jinja")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer.tok.json")


def read_json(repo: Repo, path: Path) -> Any:
    """The content of a JSON file of a repository.

    Raises:
        EmmsError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EmmsError(
            f"{repo.id} has no {path.name}", "hf_emms reads checkpoints in the layout of transformers"
        ) from None
    except (ValueError, OSError) as error:
        raise EmmsError(f"{path.name} of {repo.id} cannot be read: {error}", _refetch_hint(repo, path)) from None


def fetch_descriptions(repo: Repo, *, code: bool = False) -> Path:
    """Downloads the configurations and vocabularies of a checkpoint, and its Python files if asked; their folder."""
    return fetch(repo, (*_DESCRIPTIONS, "*.py") if code else _DESCRIPTIONS)


def needed_files(paths: Collection[str], *, code: bool = False, allow_pickle: bool = False) -> list[str]:
    """Which files of a checkpoint are downloaded, by their names alone.

    Args:
        paths: all files of the repository.
        code: whether Python files are among them.
        allow_pickle: whether pickled weights are, where there are no safetensors.
    """
    paths = [path for path in paths if not any(fnmatchcase(path, pattern) for pattern in LEFT_OUT)]
    patterns = (*_DESCRIPTIONS, "*.py") if code else _DESCRIPTIONS
    descriptions = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
    return [*descriptions, *weight_files(paths, allow_pickle=allow_pickle)]


def weight_files(paths: Collection[str], *, allow_pickle: bool = False) -> list[str]:
    """The weights among a checkpoint's files: one safetensors file, else its shards, else pickled ones if allowed.

    Weights in a subfolder (older sentence-transformers layouts) count where the top has none.
    """
    for depth in (0, 1):
        level = [path for path in paths if path.count("/") == depth]
        for patterns in ((_SINGLE,), ("model-*.safetensors",), _PICKLED if allow_pickle else ()):
            found = [path for path in level if any(fnmatchcase(path.rpartition("/")[2], one) for one in patterns)]
            if found:
                return found
    return []


def fetch_weights(repo: Repo, *, subfolder: str = "", allow_pickle: bool = False) -> bool:
    """Downloads a checkpoint's weights where they are missing, and checks that they are whole.

    Args:
        repo: the checkpoint.
        subfolder: of the transformers model in the repository.
        allow_pickle: take pytorch_model.bin where there are no safetensors.

    Returns:
        Whether the weights are safetensors (False: pickled).

    Raises:
        EmmsError: no weights, pickled ones that were not allowed, or a missing, truncated or corrupt file.
    """
    prefix = f"{subfolder}/" if subfolder else ""
    folder = fetch(repo, [prefix + _SINGLE, prefix + _INDEX]) / subfolder
    if (folder / _SINGLE).is_file():
        _check_safetensors(repo, folder / _SINGLE)
        return True
    if (folder / _INDEX).is_file():
        shards = _shard_names(repo, folder / _INDEX)
        fetch(repo, [prefix + name for name in shards])
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise EmmsError(
                f"{repo.id} lacks {missing[0]} (missing: {len(missing)} of {pluralize(len(shards), 'weight file')})",
                _refetch_hint(repo, folder / missing[0]),
            )
        for name in shards:
            _check_safetensors(repo, folder / name)
        return True
    if not allow_pickle:
        raise EmmsError(
            f"{repo.id} has no weights as safetensors"
            + (", only pickled ones (pytorch_model.bin)" if any(folder.glob("pytorch_model*.bin")) else ""),
            "unpickling can run code of the file's author; if you trust it: --allow-pickle",
        )
    folder = fetch(repo, [prefix + name for name in _PICKLED]) / subfolder
    if not any(folder.glob("pytorch_model*.bin")):
        raise EmmsError(f"{repo.id} has no weights", "it needs model.safetensors or pytorch_model.bin")
    return False


def require_vocabulary(repo: Repo, folder: Path) -> None:
    """Refuses a checkpoint without a vocabulary: transformers would create an empty tokenizer.

    Raises:
        EmmsError: no vocabulary file in the folder.
    """
    if not any(path for name in _VOCABULARIES for path in folder.glob(name)):
        raise EmmsError(
            f"{repo.id} has no tokenizer (none of {', '.join(_VOCABULARIES)})",
            "save it next to the weights: tokenizer.save_pretrained(FOLDER)",
        )


def _refetch_hint(repo: Repo, path: Path) -> str:
    """The command that replaces a damaged file."""
    if repo.folder is not None:
        return f"write it again: {path}"
    return f"hf download {repo.id} {path.name} --revision {repo.revision} --force-download"


def _shard_names(repo: Repo, index: Path) -> list[str]:
    """The files that the index of weights in several files names."""
    try:
        names = sorted(set(read_json(repo, index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError):
        raise EmmsError(f"{_INDEX} of {repo.id} has no weight_map", _refetch_hint(repo, index)) from None
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise EmmsError(f"{_INDEX} of {repo.id} names {name!r}, outside the repository", _refetch_hint(repo, index))
    return names


def _check_safetensors(repo: Repo, path: Path) -> None:
    """Reads the header, which says how long the file has to be."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise EmmsError(
            f"{path.name} of {repo.id} is truncated or corrupt ({size:,} bytes; {error})", _refetch_hint(repo, path)
        ) from None
