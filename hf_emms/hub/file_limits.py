"""Limits of a checkpoint's configuration and tokenizer files, which libraries read completely into memory."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes

_MAX_CONFIGURATION, _MAX_TOKENIZER = 16 << 20, 200 << 20
_TOKENIZERS = ("*token*", "*vocab*", "merges.txt", "*.model")
# Others, such as trainer_state.json, are never read.
_CONFIGURATIONS = ("*config*.json", "modules.json", "head.json", "*.index.json", "*_map.json", "*.jinja")


def max_bytes(path: str) -> int | None:
    """Return the largest size of a file of a checkpoint; None for files that are not read completely."""
    name = path.rpartition("/")[2]
    if name.endswith((".json", ".txt", ".model")) and any(fnmatchcase(name, pattern) for pattern in _TOKENIZERS):
        return _MAX_TOKENIZER
    return _MAX_CONFIGURATION if any(fnmatchcase(name, pattern) for pattern in _CONFIGURATIONS) else None


def check_sizes(id: str, sizes: Mapping[str, int]) -> None:
    """Check path → size of a checkpoint's files.

    Raises:
        EmmsError: A configuration has more than 16 MB, or a file of a tokenizer more than 200 MB.
    """
    for path, size in sizes.items():
        most = max_bytes(path)
        if most is not None and size > most:
            raise EmmsError(
                "too-large",
                f"{path} of {id} has {format_bytes(size)}, more than {most >> 20} MB",
                "do not trust this checkpoint",
            )
