"""Tokenizers that checkpoints with the same files share: fine-tuned ones mostly have those of what they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from hf_emms.features.plan import ExtractionPlan

# Bytes of the files of a tokenizer that is kept after its checkpoint was closed, until the next one is read; it takes
# about twelve times as much memory, but never while the weights of a checkpoint with another one are loaded.
MOST_BYTES = 20 * 2**20
# What lies beside a tokenizer and is none of it.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_OTHER = ("config.json", "generation_config.json", "README.md", "LICENSE")
# Of config.json: texts that differ from repository to repository and tell a tokenizer nothing.
_NAMES = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "torch_dtype")

_in_use: WeakValueDictionary[str, Any] = WeakValueDictionary()
_latest: list[Any] = []


def shared_tokenizer(plan: ExtractionPlan) -> Any:
    """The checkpoint's tokenizer by `transformers`, read once for checkpoints whose files are the same byte by byte.

    Raises:
        Exception: what transformers raises for files that it cannot use.
    """
    if plan.code:  # the repository's own code may look at anything
        return _read(plan)
    files = sorted(filter(_belongs, plan.model_folder.iterdir()))
    key = _key(files, plan.config)
    tokenizer = _in_use.get(key)
    if tokenizer is None:
        tokenizer = _in_use[key] = _read(plan)
    fits = sum(file.stat().st_size for file in files) <= MOST_BYTES
    _latest[:] = [tokenizer] if fits else []
    return tokenizer


def _read(plan: ExtractionPlan) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(plan.model_folder, trust_remote_code=plan.code, local_files_only=True)


def _belongs(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.name not in _OTHER and not path.name.endswith(_WEIGHTS)


def _key(files: list[Path], config: dict[str, Any]) -> str:
    """Everything that decides what tokenizer transformers makes of a folder: files, and names in config.json."""
    digest = hashlib.sha256("\0".join(_words(config)).encode("utf-8", "surrogatepass"))
    for file in files:
        digest.update(f"\0{len(file.name)}:{file.name}:{file.stat().st_size}:".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _words(value: Any, name: str = "") -> Iterator[str]:
    """The texts of a configuration with their names: transformers chooses a class by them, never by sizes."""
    if isinstance(value, dict):
        for key in sorted(set(value) - set(_NAMES)):
            yield from _words(value[key], f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _words(item, name)
    elif isinstance(value, str):
        yield f"{name}={value}"
