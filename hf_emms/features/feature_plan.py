"""Checkpoints in the layout of sentence-transformers: a transformers model and how to pool it.

What will be done with a checkpoint, known from its configuration files alone: no weights, no torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import FALLBACKS, FED, Architecture, families, find_architecture, other_modality
from hf_emms.features.files import fetch_descriptions, read_json
from hf_emms.hub import Repo
from hf_emms.tasks.base import Modality

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


# Part of every cache key: raise it when the same checkpoint would give other features than before.
FEATURES_VERSION = 3

DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class ExtractionPlan:
    """How a checkpoint's features are made.

    Attributes:
        repo: the checkpoint.
        folder: where its configuration files are.
        config: config.json.
        architecture: the row of the table, or the fallback.
        pooling: an entry of `pooling.POOLINGS`.
        dtype: "float32", "float16" or "bfloat16": what the model computes in.
        subfolder: where in the repository the transformers model lies.
        normalise: whether features are scaled to length one (sentence-transformers layouts that say so).
        max_length: the longest text in tokens that the layout allows, None where it doesn't say.
        code: whether Python files of the repository are run.
        notes: what a user should know, by topic.
    """

    repo: Repo
    folder: Path
    config: dict[str, Any]
    architecture: Architecture
    pooling: str
    dtype: str
    subfolder: str = ""
    normalise: bool = False
    max_length: int | None = None
    code: bool = False
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def model_folder(self) -> Path:
        """The folder of the transformers model itself."""
        return self.folder / self.subfolder

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change whenever features of the same revision would."""
        settings = {
            "version": FEATURES_VERSION,
            "transformers": version("transformers"),
            "loader": self.architecture.loader,
            "pooling": self.pooling,
            "package": self.architecture.package,
            "dtype": self.dtype,
            "normalise": self.normalise,
            "max_length": self.max_length,
            "code": self.code,
        }
        if self.architecture.requires:
            settings[self.architecture.requires] = version(self.architecture.requires)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def plan_extraction(
    repo: Repo, modality: Modality, task_id: str, *, dtype: str = "auto", trust_remote_code: bool = False
) -> ExtractionPlan:
    """Decides from the configuration files what is loaded and pooled.

    Args:
        repo: the checkpoint.
        modality: what it will be fed.
        task_id: the Hub task, for messages.
        dtype: "auto" (float32: the same features on every device), "float32", "float16" or "bfloat16".
        trust_remote_code: whether Python files of the repository may run.

    Returns:
        The plan; its fingerprint belongs into cache keys.

    Raises:
        EmmsError: no or unreadable config.json, a checkpoint of the other modality, an unknown dtype, or an
            architecture that only the repository's own code knows.
    """
    if dtype not in DTYPES:
        raise EmmsError(f"unknown dtype {dtype!r}", f"one of {', '.join(DTYPES)}")
    folder = fetch_descriptions(repo, code=trust_remote_code)
    layout = read_layout(repo, folder) if modality in ("text", "text+text") else None
    config = _read_config(repo, folder / (layout.subfolder if layout else ""))
    architecture = find_architecture(config["model_type"], modality)
    if architecture is None and other_modality(config["model_type"], modality):
        fed = FED[modality]
        hint = f"leave it out of --checkpoint, or choose another --task than {task_id}"
        if "+" in modality:
            hint = f"families that read {fed}: {', '.join(families(modality))}"
        raise EmmsError(
            f"{repo.id} is a {config['model_type']} checkpoint, which reads no {fed}; {task_id} feeds it {fed}", hint
        )
    row = architecture or FALLBACKS[modality]
    if row.requires and not find_spec(row.requires):
        raise EmmsError(
            f"{repo.id} is a checkpoint of {row.requires}, which is not installed",
            f"pip install 'hf-emms[{row.requires}]'",
        )
    plan = ExtractionPlan(
        repo,
        folder,
        config,
        replace(row, family=_family(row, config)),
        pooling=row.pooling,
        dtype="float32" if dtype == "auto" else dtype,
    )
    if architecture is None:
        plan = _fallback(plan, trust_remote_code)
    return plan if layout is None else _with_layout(plan, layout)


def model_type_of(config: Any) -> str | None:
    """The `model_type` of a config.json; timm's own files name none, but are known by their pretrained_cfg."""
    if not isinstance(config, dict):
        return None
    named = config.get("model_type", "timm_wrapper" if "pretrained_cfg" in config else None)
    return named if isinstance(named, str) else None


def known_to_transformers(model_type: str) -> bool:
    """Whether the installed transformers has this architecture."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _read_config(repo: Repo, folder: Path) -> dict[str, Any]:
    config = read_json(repo, folder / "config.json")
    model_type = model_type_of(config)
    if model_type is None:
        hint = "save the checkpoint with transformers: model.save_pretrained(FOLDER)"
        raise EmmsError(f"config.json of {repo.id} names no model_type", hint)
    return {**config, "model_type": model_type}


def _family(row: Architecture, config: dict[str, Any]) -> str:
    if config["model_type"] in ("timm_wrapper", "torchvision"):
        return f"{row.family} {config.get('architecture', '')}".strip()
    return row.family or config["model_type"]


def _fallback(plan: ExtractionPlan, trust_remote_code: bool) -> ExtractionPlan:
    model_type = plan.config["model_type"]
    code = False
    if not known_to_transformers(model_type):
        code = "auto_map" in plan.config
        if not code:
            raise EmmsError(
                f"transformers {version('transformers')} does not know the architecture {model_type!r} "
                f"of {plan.repo.id}",
                "pip install -U transformers",
            )
        if not trust_remote_code:
            raise EmmsError(
                f"{plan.repo.id} brings its own code for the architecture {model_type!r}, which is not run",
                "read the code first; if you trust it: --trust-remote-code",
            )
    note = (
        f"no row for {model_type!r} in the table of architectures; fallback: "
        + {
            "image": "image features or pooled output if the model has them, else the mean of tokens or map",
            "text": "text features if the model has them, else the mean of the last layer's tokens",
            "image+text": "its image features and its text features, and the similarity of patches if it can be told",
            "text+text": "means of the last layer's tokens",
        }[plan.architecture.modality]
    )
    return replace(plan, code=code, notes=(("fallback", note),))


def _with_layout(plan: ExtractionPlan, layout: SentenceLayout) -> ExtractionPlan:
    notes = plan.notes
    if layout.left_out:
        notes = (*notes, ("layout", f"left out of its modules.json: {', '.join(layout.left_out)}"))
    plan = replace(plan, subfolder=layout.subfolder, max_length=layout.max_length, notes=notes)
    if plan.architecture.modality == "text+text":
        return plan  # the layout's pooling is for single texts
    return replace(plan, pooling=layout.pooling, normalise=layout.normalise)
