"""Choose, download and check the files of a checkpoint before loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hf_emms.cache.files import MAX_TEXT, read_limited
from hf_emms.errors import EmmsError
from hf_emms.hub import (
    IGNORED_FILES,
    Repo,
    RepoFile,
    check_sizes,
    fetch,
    listing,
    max_bytes,
    replacement_hint,
)

if TYPE_CHECKING:
    from torch import Tensor

_DESCRIPTIONS = ("*.json", "*.txt", "*.model", "*.jinja")
# File names of weights: a single file, the index of a sharded checkpoint, and the pattern of its shards.
SAFETENSORS_NAME: Final = "model.safetensors"
PICKLED_NAME: Final = "pytorch_model.bin"
_SAFETENSORS: Final = (SAFETENSORS_NAME, "model.safetensors.index.json", "model-*.safetensors")
_PICKLED: Final = (PICKLED_NAME, "pytorch_model.bin.index.json", "pytorch_model-*.bin")
ADAPTER: Final = "adapter_config.json"
_LAYOUT_HINT = "hf_emms reads checkpoints that transformers saved: model.save_pretrained(FOLDER)"
# Names of weights in other formats, which errors mention.
_OTHER_WEIGHTS = (".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer.tok.json")
_CONFIGURATIONS = ("config.json", "preprocessor_config.json", "processor_config.json")
# This processor reads a file that its settings, or its defaults, name in another repository.
_READS_ELSEWHERE = "OneFormerImageProcessor"
_UNREADABLE = (ValueError, OSError, RecursionError)


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint on this machine."""

    folder: Path
    pickled: bool = False

    @property
    def single(self) -> Path:
        """The only file with weights, or None if the weights are split into several files."""
        return self.folder / (PICKLED_NAME if self.pickled else SAFETENSORS_NAME)


def read_json(repo: Repo, path: Path) -> Any:
    """Return the content of a JSON file of a repository.

    Raises:
        EmmsError: If the file is missing or not JSON.
    """
    try:
        return json.loads(read_limited(path, max_bytes(path.name) or MAX_TEXT).decode())
    except FileNotFoundError:
        raise EmmsError("no-config", f"{repo.id} has no {path.name}", _LAYOUT_HINT) from None
    except _UNREADABLE as error:
        raise EmmsError(
            "malformed-checkpoint", f"{path.name} of {repo.id} cannot be read: {error}", replacement_hint(repo, path)
        ) from error


def check_own_files(repo: Repo, folder: Path) -> None:
    """Raise an `EmmsError` if a configuration names a backbone or a processor that reads another repository."""
    for path in (folder / name for name in _CONFIGURATIONS):
        parts = [("", read_json(repo, path))] if path.is_file() else []
        while parts:
            key, value = parts.pop()
            if isinstance(value, dict):
                parts += value.items()
            elif isinstance(value, list):
                parts += [(key, item) for item in value]
            elif isinstance(value, str):
                is_elsewhere = key == "backbone" and re.search("[/:]", value)
                if is_elsewhere or (key.endswith("_type") and _READS_ELSEWHERE in value):
                    raise EmmsError(
                        "other-repository",
                        f"{path.name} of {repo.id} needs another repository ({key}: {value!r})",
                        "choose a checkpoint that needs only the files of its own revision",
                    )


def fetch_descriptions(repo: Repo, *, code: bool) -> Path:
    """Download configurations, vocabularies and, with `code`, Python files of a checkpoint. Returns their folder."""
    folder = fetch(repo, (*_DESCRIPTIONS, "*.py") if code else _DESCRIPTIONS)
    if not any((folder / name).is_file() for name in ("config.json", "modules.json", ADAPTER)):
        inner = next((path.parent.name for path in sorted(folder.glob("*/config.json"))), None)
        if inner is not None:
            hint = f"name that folder: {folder / inner}; of a repository on the Hub, download it first"
            raise EmmsError("no-config", f"{repo.id} has no config.json, but its folder {inner} has", hint)
        raise EmmsError("no-config", f"{repo.id} has no config.json", _LAYOUT_HINT)
    return folder


def needed_files(repo: Repo, files: Mapping[str, RepoFile], *, code: bool) -> list[RepoFile]:
    """List the files of a checkpoint to download: descriptions, Python files with `code`, and weights."""
    patterns = (*_DESCRIPTIONS, "*.py") if code else _DESCRIPTIONS
    check_sizes(repo.id, {path: file.bytes for path, file in files.items()})
    described = [files[path] for path in _without_exports(files) if _matches(path, patterns)]
    return described + needed_weights(repo, files)


def needed_weights(repo: Repo, files: Mapping[str, RepoFile]) -> list[RepoFile]:
    """List the weight files for `fetch_weights`. Raises an `EmmsError` if there are none."""
    paths = weight_files(files)
    if not paths:
        raise _without_weights(repo, files)
    return [files[path] for path in paths]


def weight_files(paths: Collection[str]) -> list[str]:
    """Choose the paths of weights: safetensors if there are any, otherwise pickles.

    If the top folder has no weights, weights in a subfolder count (older sentence-transformers layouts).
    """
    for depth in (0, 1):
        level = [path for path in _without_exports(paths) if path.count("/") == depth]
        for single, _, shards in (_SAFETENSORS, _PICKLED):
            for pattern in (single, shards):
                weights = [path for path in level if fnmatchcase(_name(path), pattern)]
                if weights:
                    return weights
    return []


def fetch_weights(repo: Repo, *, subfolder: str = "") -> Weights:
    """Download a checkpoint's missing weights, check that all are complete, and return their folder.

    They are safetensors, or without these pickles.

    Raises:
        EmmsError: No weights, or a missing, truncated or corrupt file.
    """
    folder = _fetch_format(repo, subfolder, _SAFETENSORS)
    if folder is not None:
        return Weights(folder)
    folder = _fetch_format(repo, subfolder, _PICKLED)
    if folder is None:
        raise _without_weights(repo, listing(repo))
    return Weights(folder, pickled=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a pickle of tensors only, without running its code."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def require_vocabulary(repo: Repo, folder: Path) -> None:
    """Raise an `EmmsError` for a checkpoint without a vocabulary, for which transformers makes an empty tokenizer."""
    if not any(path for name in _VOCABULARIES for path in folder.glob(name)):
        raise EmmsError(
            "no-tokenizer",
            f"{repo.id} has no tokenizer (none of {', '.join(_VOCABULARIES)})",
            "save it next to the weights: tokenizer.save_pretrained(FOLDER)",
        )


def _fetch_format(repo: Repo, subfolder: str, names: tuple[str, str, str]) -> Path | None:
    """Download the weights of a format. Returns their folder, or None if there are none."""
    single, index, _ = names
    prefix = f"{subfolder}/" if subfolder else ""
    folder = fetch(repo, [prefix + single, prefix + index]) / subfolder
    if (folder / single).is_file():
        return folder
    if not (folder / index).is_file():
        return None
    fetch(repo, [prefix + name for name in _shard_names(repo, folder / index)])
    return folder


def _shard_names(repo: Repo, index: Path) -> list[str]:
    try:
        names = sorted(set(read_json(repo, index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError):
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise EmmsError(
            "malformed-checkpoint", f"{index.name} of {repo.id} has no weight_map", replacement_hint(repo, index)
        )
    check_inside(repo, index, names)
    return names


def check_inside(repo: Repo, file: Path, names: Iterable[str]) -> None:
    """Raise an `EmmsError` if a file names paths outside its repository."""
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
            raise EmmsError(
                "path-outside",
                f"{file.name} of {repo.id} names {name!r}, outside the repository",
                "this is not how a checkpoint is saved: do not trust it",
            )


def _without_weights(repo: Repo, files: Collection[str]) -> EmmsError:
    others = sorted(path for path in files if path.endswith(_OTHER_WEIGHTS))
    seen = f", only {others[0]}" if others else ""
    return EmmsError("no-weights", f"{repo.id} has no {SAFETENSORS_NAME} or {PICKLED_NAME}{seen}", _LAYOUT_HINT)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _without_exports(paths: Collection[str]) -> list[str]:
    return [path for path in paths if not _matches(path, IGNORED_FILES)]
