"""Choose, download and check the files of a checkpoint before loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hf_emms.cache.files import MAX_TEXT, read_limited
from hf_emms.errors import EmmsError, pluralize
from hf_emms.hub import (
    IGNORED_FILES,
    NoMatchingFileError,
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
_CHOOSE_PYTORCH = "choose a checkpoint with model.safetensors or pytorch_model.bin"
_SAVE_FOLDER = "load it with its own code, and save it as a folder: model.save_pretrained(FOLDER)"
_FROM_GGUF = (
    "transformers can convert it (pip install gguf): AutoModel.from_pretrained(FOLDER, gguf_file=NAME)"
    ".save_pretrained(NEW_FOLDER), and AutoTokenizer likewise"
)
# Unsupported weights by file name: their library, and what to do.
_OTHER_WEIGHTS = {
    "tf_model*.h5": ("for TensorFlow", _CHOOSE_PYTORCH),
    "model.ckpt*": ("for TensorFlow", _CHOOSE_PYTORCH),
    "flax_model*.msgpack": ("for Flax", _CHOOSE_PYTORCH),
    "adapter_model.*": ("of an adapter", "merge it into its base first: model.merge_and_unload()"),
    "*.gguf": ("for llama.cpp", _FROM_GGUF),
    "*.onnx": ("for ONNX Runtime", "choose the checkpoint that it was exported from"),
    "*.pt": ("pickled without a config.json", _SAVE_FOLDER),
    "*.pth": ("pickled without a config.json", _SAVE_FOLDER),
    "*.bin": ("pickled without a config.json", _SAVE_FOLDER),
    "*.safetensors": ("without a config.json", "pass the folder that contains them and their config.json"),
}
# Layouts of other libraries by a typical file: what they are, and what to do.
_OTHER_LAYOUTS = {
    "model_index.json": (
        "is a pipeline of diffusers with more than one model",
        "rank a part of it that transformers reads, such as the folder of its text_encoder or image_encoder",
    ),
    "open_clip_config.json": (
        "is a checkpoint for open_clip",
        "choose its twin for transformers or, for images, for timm: hf-emms search finds both",
    ),
}
_LAYOUT_HINT = "hf_emms reads checkpoints in the layout of transformers"
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer.tok.json")
_READ_BY_TRANSFORMERS = ("*config.json", "*token*.json", "vocab.json")
_CONFIGURATIONS = ("config.json", "preprocessor_config.json", "processor_config.json")
# This processor reads a file that its settings, or its defaults, name in another repository.
_READS_ELSEWHERE = "OneFormerImageProcessor"
_UNREADABLE = (ValueError, OSError, RecursionError)


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint on this machine, with a note unless they are safetensors."""

    folder: Path
    pickled: bool = False
    note: str | None = None

    @property
    def single(self) -> Path:
        """The file with all weights, if the weights are not sharded."""
        return self.folder / (PICKLED_NAME if self.pickled else SAFETENSORS_NAME)


def read_json(repo: Repo, path: Path) -> Any:
    """Return the content of a JSON file of a repository.

    Raises:
        EmmsError: If the file is missing or not JSON.
    """
    try:
        return _parsed(path)
    except FileNotFoundError:
        raise EmmsError(f"{repo.id} has no {path.name}", _LAYOUT_HINT) from None
    except _UNREADABLE as error:
        raise EmmsError(f"{path.name} of {repo.id} cannot be read: {error}", replacement_hint(repo, path)) from error


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
                        f"{path.name} of {repo.id} needs another repository ({key}: {value!r})",
                        "choose a checkpoint that needs only the files of its own revision",
                    )


def unreadable_json(repo: Repo, folder: Path) -> EmmsError | None:
    """Return the error of the first invalid JSON file that transformers reads, or None if all are valid."""
    for path in sorted(path for pattern in _READ_BY_TRANSFORMERS for path in folder.glob(pattern)):
        try:
            read_json(repo, path)
        except EmmsError as error:
            return error
    return None


def _parsed(path: Path) -> Any:
    return json.loads(read_limited(path, max_bytes(path.name) or MAX_TEXT).decode())


def fetch_descriptions(repo: Repo, *, code: bool) -> Path:
    """Download configurations, vocabularies and, with `code`, Python files of a checkpoint. Returns their folder."""
    try:
        folder = fetch(repo, (*_DESCRIPTIONS, "*.py") if code else _DESCRIPTIONS)
    except NoMatchingFileError as error:
        raise _other_layout(repo) or error from None
    if not any((folder / name).is_file() for name in ("config.json", "modules.json", ADAPTER)):
        raise _other_layout(repo) or EmmsError(f"{repo.id} has no config.json", _LAYOUT_HINT)
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
    return Weights(folder, True, "pickled weights (pytorch_model.bin), read by torch's loader that runs no code")


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
            f"{repo.id} has no tokenizer (none of {', '.join(_VOCABULARIES)})",
            "save it next to the weights: tokenizer.save_pretrained(FOLDER)",
        )


def _fetch_format(repo: Repo, subfolder: str, names: tuple[str, str, str]) -> Path | None:
    """Download and check the weights of a format. Returns their folder, or None if there are none."""
    single, index, _ = names
    prefix = f"{subfolder}/" if subfolder else ""
    folder = fetch(repo, [prefix + single, prefix + index]) / subfolder
    if (folder / single).is_file():
        files = [single]
    elif (folder / index).is_file():
        files = _shard_names(repo, folder / index)
        fetch(repo, [prefix + name for name in files])
    else:
        return None
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise EmmsError(
            f"{repo.id} lacks {missing[0]} (missing: {len(missing)} of {pluralize(len(files), 'weight file')})",
            "choose a complete checkpoint",
        )
    for name in files:
        if name.endswith(".safetensors"):
            _check_header(repo, folder / name)
    return folder


def _shard_names(repo: Repo, index: Path) -> list[str]:
    try:
        names = sorted(set(read_json(repo, index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError):
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise EmmsError(f"{index.name} of {repo.id} has no weight_map", replacement_hint(repo, index))
    outside = [name for name in names if Path(name).name != name or "\\" in name]
    if outside:
        raise EmmsError(
            f"{index.name} of {repo.id} names {outside[0]!r}, outside the repository",
            "this is not how a checkpoint is saved: do not trust it",
        )
    return names


def _check_header(repo: Repo, path: Path) -> None:
    """Raise an `EmmsError` if the size of a safetensors file differs from its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        what = f"{path.name} of {repo.id} is truncated or corrupt ({size:,} bytes; {error})"
        raise EmmsError(what, replacement_hint(repo, path)) from None


def _without_weights(repo: Repo, files: Collection[str]) -> EmmsError:
    for pattern, (purpose, hint) in _OTHER_WEIGHTS.items():
        for path in sorted(files):
            if fnmatchcase(_name(path), pattern):
                return EmmsError(
                    f"{repo.id} has no weights for PyTorch, only weights {purpose} ({path})",
                    hint,
                )
    return EmmsError(f"{repo.id} has no weights", "it needs model.safetensors or pytorch_model.bin")


def _other_layout(repo: Repo) -> EmmsError | None:
    """Return an error that names the library of a repository without config.json, or None if it is unknown."""
    files = listing(repo)
    for name, (what, hint) in _OTHER_LAYOUTS.items():
        if name in files:
            return EmmsError(f"{repo.id} {what} ({name})", hint)
    inner = [path.rpartition("/")[0] for path in files if path.endswith("/config.json")]
    if inner:
        return EmmsError(f"{repo.id} has no config.json, but its folder {inner[0]} has", _inner_hint(repo, inner[0]))
    for pattern, (purpose, hint) in _OTHER_WEIGHTS.items():
        for path in files:
            if fnmatchcase(path, pattern) and "/" not in path:
                return EmmsError(f"{repo.id} has no config.json of transformers, only weights {purpose} ({path})", hint)
    return None


def _inner_hint(repo: Repo, inner: str) -> str:
    if repo.folder is not None:
        return f"name that folder: {repo.folder / inner}"
    return f"download it and name its folder: hf download {repo.id} --include '{inner}/*' --local-dir FOLDER"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _without_exports(paths: Collection[str]) -> list[str]:
    return [path for path in paths if not _matches(path, IGNORED_FILES)]
