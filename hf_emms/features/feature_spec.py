"""Determine how to compute a checkpoint's features from its configuration files, and report about the features."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import msgspec
from safetensors import SafetensorError

from hf_emms.errors import EmmsError, Note
from hf_emms.features.architectures import INPUT_WORDS, TOWER_POOLINGS, Architecture, find_architecture, other_inputs
from hf_emms.features.checkpoint_files import (
    ADAPTER,
    check_own_files,
    fetch_descriptions,
    read_json,
)
from hf_emms.features.embedding_settings import NO_TRANSFORMER, embedding_settings, reranker_parts
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, check_unchanged
from hf_emms.options import FeatureOptions, RunOptions
from hf_emms.options.registry import installed_version, installed_versions
from hf_emms.texts import install_command, setting_ref

if TYPE_CHECKING:
    from hf_emms.scoring.retrieval import Similarity

# Part of every cache key. Increase it if the features of the same checkpoint change.
FEATURES_VERSION = 13

# The `model_type` of checkpoints of timm.
TIMM = "timm_wrapper"
DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class FeatureSpec:
    """How to load a checkpoint and compute its features.

    Its configuration files are in `folder`, the transformers model in a `subfolder`. Folders of sentence-transformers
    set all attributes from `behind` on.

    Attributes:
        code: Whether to run Python files of the repository.
        allow_pickle: Whether to unpickle weights that torch refuses to load without running code.
        behind: Folders of the Dense layers after the pooling.
        normalize: Whether to scale features to length 1 at the end.
        truncate_dim: The number of columns to keep after that, or None for all.
        max_length: Maximum length in tokens.
        lower_case: Whether to convert texts to lower case.
        prompt: Prefix of every text. Searches use `query_prompt` and `document_prompt` instead.
        similarity: How to compare embeddings, a name of `embedding_settings.SIMILARITIES`.
        embedder_parts, reranker_parts: What only `SentenceTransformer` or `CrossEncoder` of sentence-transformers
            computes, for messages, see `embedding_settings`; "" if hf_emms computes the features itself.
    """

    repo: Repo
    folder: Path
    config: dict[str, Any]
    architecture: Architecture
    pooling: str
    dtype: str
    subfolder: str = ""
    normalize: bool = False
    behind: tuple[str, ...] = ()
    truncate_dim: int | None = None
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""
    query_prompt: str = ""
    document_prompt: str = ""
    similarity: Similarity = "cosine"
    embedder_parts: str = ""
    reranker_parts: str = ""
    code: bool = False
    allow_pickle: bool = False
    notes: tuple[Note, ...] = ()

    @property
    def parts(self) -> str:
        return self.embedder_parts or self.reranker_parts

    @property
    def model_folder(self) -> Path:
        return self.folder / self.subfolder

    def check_unchanged(self) -> None:
        """Raise an `EmmsError` if files of the checkpoint have changed since they were resolved."""
        check_unchanged(self.repo)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify how features are computed, apart from the device and `versions`."""
        settings: dict[str, Any] = {
            "behind": self.behind,
            "code": self.code,
            "dtype": self.dtype,
            "loader": self.architecture.loader,
            "lower_case": self.lower_case,
            "max_length": self.max_length,
            "normalize": self.normalize,
            "package": self.architecture.package,
            "pooling": self.pooling,
            "prompts": (self.prompt, self.query_prompt, self.document_prompt),
            "truncate_dim": self.truncate_dim,
            "version": FEATURES_VERSION,
        }
        settings |= {"parts": self.parts} if self.parts else {}
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    @property
    def versions(self) -> dict[str, str]:
        """Package → version, for the packages that compute the features."""
        modules = ("sentence-transformers",) if self.parts else ()
        required = filter(None, [self.architecture.requires])
        return installed_versions("torch", "transformers", *modules, *required)


def device_in_keys(options: RunOptions) -> str:
    """Return the kind of device that results are made on, which their cache keys contain: "cpu", "cuda" or "mps"."""
    if options.device != "auto":
        return options.device.partition(":")[0]
    if installed_version("torch").endswith("+cpu"):
        return "cpu"  # without importing torch, which takes longer than a ranking that is cached
    from hf_emms.features.device import choose_device

    return choose_device(options.device).type


def make_feature_spec(
    repo: Repo,
    kind: Any,
    purpose: str,
    *,
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    prompts: FeatureOptions | None = None,
) -> FeatureSpec:
    """Return how to load a checkpoint and compute its features, from its configuration files.

    Messages name `purpose`, the id of the task or "label embedding". A dtype of "auto" is float32, which produces the
    same features on every device. The prompts of `prompts` replace the checkpoint's.

    Raises:
        EmmsError: No or unreadable config.json, a checkpoint for other inputs, an unknown dtype, or an architecture
            that only the repository's own code knows.
    """
    if dtype not in DTYPES:
        raise EmmsError("unknown-dtype", f"unknown dtype {dtype!r}", f"choose from {', '.join(DTYPES)}")
    dtype = "float32" if dtype == "auto" else dtype
    folder = fetch_descriptions(repo, code=trust_remote_code)
    reranks = "reranker_parts" in kind.sentence_settings
    names, chosen = kind.sentence_settings, _chosen_prompts(prompts)
    embedding = embedding_settings(repo, folder, names, chosen, reranks=reranks) if names else {}
    settings = {**embedding, **chosen}
    if reranks:
        settings["reranker_parts"] = reranker_parts(repo, folder)
    config = settings.get("config") or _read_config(repo, folder / settings.get("subfolder", ""))
    architecture, code = _architecture(repo, config, kind, purpose, trust_remote_code=trust_remote_code)
    if architecture.pooling in TOWER_POOLINGS and "pooling" in settings:
        settings["embedder_parts"] = "a Pooling of a text tower"
    fields: dict[str, Any] = {"pooling": architecture.pooling}
    fields |= {name: settings[name] for name in names if name in settings}
    row = replace(architecture, family=_family(architecture, config))
    spec = FeatureSpec(repo, folder, config, row, dtype=dtype, code=code, allow_pickle=allow_pickle, **fields)
    notes = [*_notes(spec, kind, is_described=bool(embedding))]
    name = embedding.get("document_prompt_name", "document")
    if name != "document" and "document_prompt" in kind.sentence_settings and "document_prompt" not in chosen:
        text = f"documents start with its prompt {name!r}, which encode_document of sentence-transformers does not use"
        notes.append(Note("prompt-of-documents", text))
    return replace(spec, notes=tuple(notes))


def _chosen_prompts(options: FeatureOptions | None) -> dict[str, str]:
    if options is None:
        return {}
    chosen = {"query_prompt": options.query_prompt, "document_prompt": options.document_prompt}
    return {name: prompt for name, prompt in chosen.items() if prompt is not None}


def _notes(spec: FeatureSpec, kind: Any, *, is_described: bool) -> Iterator[Note]:
    """Yield notes on settings of the checkpoint that change how its features are computed."""
    if "similarity" in kind.sentence_settings:
        if not is_described:
            yield Note("pooling-of-family", "no modules.json: using the pooling of its family")
        prompts = (spec.query_prompt, spec.document_prompt)
        queries, documents = (repr(prompt) if prompt else "nothing" for prompt in prompts)
        start = f"queries start with {queries}, documents with {documents}" if any(prompts) else "no prompts"
        yield Note("prompts", f"{start}; compared by {spec.similarity}")
    elif spec.prompt:
        yield Note("prompts", f"texts start with its prompt {spec.prompt!r}")
    if spec.truncate_dim:
        yield Note("features-truncated", f"truncated features to {spec.truncate_dim} columns, its truncate_dim")
    if spec.architecture.loader == "AutoModel":
        model_type = spec.config["model_type"]
        text = f"no row for {model_type!r} in the table of architectures. Using the fallback: {kind.fallback_summary}"
        yield Note("fallback-pooling", text)
    quantized = spec.config.get("quantization_config")
    if isinstance(quantized, dict) and not spec.code:
        method = quantized.get("quant_method", "its quantization_config")
        text = f"reading the weights as {spec.dtype}, although config.json names a quantization ({method})"
        yield Note("quantization-ignored", text)


def _architecture(
    repo: Repo, config: dict[str, Any], kind: Any, purpose: str, *, trust_remote_code: bool
) -> tuple[Architecture, bool]:
    """Return the architecture of a checkpoint, and whether the repository's own code must run."""
    model_type = config["model_type"]
    if model_type == NO_TRANSFORMER:
        return Architecture(model_type, (), "SentenceTransformer", "", "its modules.json", kind.name), False
    row = find_architecture(model_type, kind.name)
    others = other_inputs(model_type, kind.name)
    if others:
        words = " and ".join(INPUT_WORDS[part] for part in others)
        raise EmmsError(
            "other-inputs",
            f"{repo.id} is a {model_type} checkpoint, which reads {words}, not {kind.plural}; {purpose} needs "
            f"{kind.plural}",
            "leave it out, or choose another " + setting_ref("task") + f" than {purpose}",
        )
    if row is None:
        fallback = Architecture("", (), "AutoModel", kind.fallback_pooling, "the documented fallback", kind.name)
        return fallback, _needs_code(repo, config, trust_remote_code)
    if row.requires and not find_spec(row.requires):
        raise EmmsError(
            "package-missing",
            f"{repo.id} is a checkpoint of {row.requires}, which is not installed",
            install_command(row.requires),
        )
    return row, False


def model_type_of(config: Any) -> str | None:
    """Return the `model_type` of a config.json. Checkpoints of timm, with a pretrained_cfg only, are timm_wrapper."""
    if not isinstance(config, dict):
        return None
    model_type = config.get("model_type", TIMM if "pretrained_cfg" in config else None)
    return model_type if isinstance(model_type, str) else None


def known_to_transformers(model_type: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _read_config(repo: Repo, folder: Path) -> dict[str, Any]:
    if (folder / ADAPTER).is_file():  # transformers would load the base that it names
        raise EmmsError(
            "adapter",
            f"{repo.id} is an adapter of PEFT ({ADAPTER})",
            "merge it into its base first: model.merge_and_unload().save_pretrained(FOLDER)",
        )
    config = read_json(repo, folder / "config.json")
    model_type = model_type_of(config)
    if model_type is None:
        hint = "save the checkpoint with transformers: model.save_pretrained(FOLDER)"
        raise EmmsError("no-model-type", f"config.json of {repo.id} names no model_type", hint)
    check_own_files(repo, folder)
    return {**config, "model_type": model_type}


def _family(row: Architecture, config: dict[str, Any]) -> str:
    if config["model_type"] == TIMM:
        return f"{row.family} {config.get('architecture', '')}".strip()
    return row.family or config["model_type"]


def _needs_code(repo: Repo, config: dict[str, Any], trust_remote_code: bool) -> bool:
    """Return whether the architecture needs the repository's own code. Raises an `EmmsError` if it may not run."""
    model_type = config["model_type"]
    if known_to_transformers(model_type):
        return False
    if "auto_map" not in config:
        raise EmmsError(
            "unknown-architecture",
            f"transformers {installed_version('transformers')} does not know the architecture {model_type!r} of "
            f"{repo.id}",
            "pip install -U transformers",
        )
    if not trust_remote_code:
        raise EmmsError(
            "remote-code",
            f"{repo.id} has its own code for the architecture {model_type!r}, which is not run",
            "read the code first; if you trust it: " + setting_ref("trust_remote_code", True),
        )
    return True


class LayerError(EmmsError):
    """Raised if a checkpoint does not have a layer."""


# Errors that transformers raises for files that it cannot load.
LOAD_FAILURES = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, EOFError),
    *(UnpicklingError, SafetensorError),
)


def load_error(spec: FeatureSpec, part: str, error: BaseException) -> EmmsError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return EmmsError(
        "cannot-load",
        f"the {part} of {spec.repo.id} cannot be loaded: {reason}",
        f"it is loaded from {spec.model_folder} as {spec.architecture.loader}",
    )


def transformers_config(spec: FeatureSpec) -> Any:
    """Return the configuration as an object of transformers, or None for a family that it does not support."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = spec.config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        return None
    return CONFIG_MAPPING[model_type].from_dict({**spec.config, **dict.fromkeys(_IMPLEMENTATIONS)})


# Settings that may name compiled code on the Hub, and the implementations in transformers itself.
_IMPLEMENTATIONS, _BUILT_IN = ("attn_implementation", "experts_implementation"), (None, "sdpa", "eager")


def without_kernels(spec: FeatureSpec) -> dict[str, Any]:
    """Return arguments of `from_pretrained` that take no layer from a kernel repository of the Hub.

    Such layers are compiled code. By default, transformers uses them if it runs online.
    """
    named = [name for name in _IMPLEMENTATIONS if spec.config.get(name) not in _BUILT_IN]
    return {"use_kernels": False, **dict.fromkeys(named, "eager")}


# Fields of `ReadCounts` that are maxima; the others are sums.
_MAXIMA = ("text_length", "pair_length", "window_length", "part_seconds", "limit")


class ReadCounts(msgspec.Struct):
    """Count the texts that were read: how many were truncated or read in windows, and their lengths.

    Windows of texts overlap; sounds are read in `parts`, whose longest length is in seconds. Of documents that are
    searched there is their number, how long they took, and the most tokens that are read. `unknown` are the tokens
    of texts that the tokenizer does not know.
    """

    texts: int = 0
    tokens: int = 0
    unknown: int = 0
    truncated: int = 0
    text_length: int = 0
    truncated_pairs: int = 0
    pair_length: int = 0
    windowed: int = 0
    window_length: int = 0
    parted: int = 0
    part_seconds: float = 0.0
    documents: int = 0
    document_seconds: float = 0.0
    limit: int = 0

    @property
    def documents_per_second(self) -> float | None:
        return self.documents / self.document_seconds if self.document_seconds else None

    def add(self, other: ReadCounts) -> None:
        for name in self.__struct_fields__:
            combine = max if name in _MAXIMA else operator.add
            setattr(self, name, combine(getattr(self, name), getattr(other, name)))

    def add_tokens(self, texts: Iterable[Sequence[int]], unknown: int | None) -> None:
        """Count tokenized texts. `unknown` is the id of unknown tokens."""
        for tokens in texts:
            self.texts += 1
            self.tokens += len(tokens)
            self.unknown += 0 if unknown is None else tokens.count(unknown)

    @property
    def unknown_share(self) -> float | None:
        """The share of unknown tokens, or None if no texts were read."""
        return round(self.unknown / self.tokens, 4) if self.tokens else None

    @property
    def truncated_share(self) -> float | None:
        """The share of truncated texts, or None if no texts were read."""
        return round(min(1.0, (self.truncated + self.truncated_pairs) / self.texts), 4) if self.texts else None

    def add_truncated(self, count: int, length: int) -> None:
        if count:
            self.add(ReadCounts(truncated=count, text_length=length))

    def add_truncated_pairs(self, count: int, length: int) -> None:
        if count:
            self.add(ReadCounts(truncated_pairs=count, pair_length=length))

    def add_windowed(self, count: int, length: int) -> None:
        if count:
            self.add(ReadCounts(windowed=count, window_length=length))

    def notes(self) -> Iterator[Note]:
        if self.windowed:
            inputs = pluralize(self.windowed, "input was", "inputs were")
            text = f"{inputs} longer than its maximum of {self.window_length:,} tokens and read in overlapping windows"
            yield Note("inputs-windowed", text)
        if self.parted:
            clips = pluralize(self.parted, "clip was", "clips were")
            yield Note(
                "clips-split",
                f"{clips} longer than {self.part_seconds:g} seconds and split into equal parts, which were averaged",
            )
        if self.truncated:
            texts = pluralize(self.truncated, "text")
            yield Note("texts-truncated", f"truncated {texts} to {self.text_length:,} tokens, the model's maximum")
        if self.truncated_pairs:
            pairs = pluralize(self.truncated_pairs, "pair")
            yield Note(
                "pairs-truncated",
                f"truncated {pairs} to {self.pair_length:,} tokens, the model's maximum: the longer text, or both to "
                "half of it",
            )


class FeatureInfo(msgspec.Struct, frozen=True):
    """A report about a checkpoint's features at a layer, which is cached with them.

    `parameters` counts the loaded part of the model, such as a vision tower without its text tower. `width` is D1,
    `pooling` is a description, and `general_notes` do not depend on the inputs.
    """

    parameters: int
    width: int
    architecture: str
    pooling: str
    general_notes: tuple[Note, ...] = ()
    counts: ReadCounts = msgspec.field(default_factory=ReadCounts)

    @property
    def notes(self) -> tuple[Note, ...]:
        return (*self.general_notes, *self.counts.notes())
