"""Checkpoints in the layout of sentence-transformers: a transformers model and how to pool it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.features.files import read_json
from hf_emms.hub import Repo

# Both spellings of 1_Pooling/config.json: flags up to sentence-transformers 5.0, one word since.
_POOLINGS = {"cls": "cls_token", "mean": "masked_mean", "max": "masked_max", "lasttoken": "last_token"}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceLayout:
    """What modules.json of a sentence-transformers repository says.

    Attributes:
        subfolder: where the transformers model lies.
        pooling: an entry of `pooling.POOLINGS`.
        normalise: whether embeddings are scaled to length one.
        max_length: the longest text in tokens, None where it is not said.
        left_out: modules behind the pooling that hf_emms does not apply.
    """

    subfolder: str
    pooling: str
    normalise: bool
    max_length: int | None
    left_out: tuple[str, ...] = ()


def read_layout(repo: Repo, folder: Path) -> SentenceLayout | None:
    """The sentence-transformers layout of a folder, or None where it has none.

    Raises:
        EmmsError: the layout uses a pooling that hf_emms does not know.
    """
    if not (folder / "modules.json").is_file():
        return None
    modules = [
        (module["type"].rpartition(".")[2], module["path"]) for module in read_json(repo, folder / "modules.json")
    ]
    kinds = dict(modules)
    if "Transformer" not in kinds or "Pooling" not in kinds:
        return None
    settings = folder / kinds["Transformer"] / "sentence_bert_config.json"
    return SentenceLayout(
        subfolder=kinds["Transformer"],
        pooling=_pooling(repo, read_json(repo, folder / kinds["Pooling"] / "config.json")),
        normalise="Normalize" in kinds,
        max_length=read_json(repo, settings).get("max_seq_length") if settings.is_file() else None,
        left_out=tuple(kind for kind, _ in modules if kind not in ("Transformer", "Pooling", "Normalize")),
    )


def _pooling(repo: Repo, settings: dict[str, Any]) -> str:
    modes = [mode for flag, mode in _FLAGS.items() if settings.get(flag)]
    unknown = [flag for flag, on in settings.items() if flag.startswith("pooling_mode_") and on is True]
    unknown = [flag for flag in unknown if flag not in _FLAGS]
    if "pooling_mode" in settings:
        named = settings["pooling_mode"]
        modes = [named] if isinstance(named, str) else list(named)
    if unknown or len(modes) != 1 or modes[0] not in _POOLINGS:
        raise EmmsError(
            f"{repo.id} pools with {', '.join(unknown or modes) or 'nothing'} (1_Pooling/config.json)",
            f"hf_emms knows one of {', '.join(_POOLINGS)}",
        )
    return _POOLINGS[modes[0]]
