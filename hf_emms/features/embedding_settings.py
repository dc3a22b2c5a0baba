"""Read how a checkpoint embeds texts from a folder of sentence-transformers or model2vec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.features.checkpoint_files import read_json
from hf_emms.hub import Repo, replacement_hint

# The `model_type` of a table of token vectors in model2vec.
MODEL_TYPE = "model2vec"
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Modes of a Pooling module → entries of `pooling.POOLINGS`. "+" joins several.
_POOLINGS = {
    "cls": "cls_token",
    "max": "masked_max",
    "mean": "masked_mean",
    "mean_sqrt_len_tokens": "root_length_mean",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
# Flags of Pooling modules up to sentence-transformers 5.0, in the order of concatenation.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Modules that tokenize and encode, supported modules after the pooling, and modules without effect.
_READERS = ("Transformer", "CLIPModel", "StaticEmbedding")
_BEHIND = ("Dense", "LayerNorm", "Normalize")
_IDLE = ("Dropout",)
_LIMITS = "sentence_bert_config.json"
# The `model_type` of rerankers.
_RERANKER = "CrossEncoder"
# Modules or `model_type`s of models that do not return one vector per text.
_SPARSE = ("SpladePooling", "MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding", "SparseEncoder")
_SEVERAL_VECTORS = ("ColBERT", "HF_ColBERT", "MultiVectorEncoder", "MultiVectorMask", "TokenPooling")
_MAX_MODULES, _MAX_PROMPT = 50, 10_000
# Names of the prompt for documents. The first that is not empty is used. `encode_document` of sentence-transformers 6.2
# never uses the others, because its default is an empty prompt "document".
_DOCUMENT = ("document", "passage", "corpus")


@dataclass(frozen=True)
class EmbeddingSettings:
    """The fields of an `FeatureSpec` that a repository says of itself, and notes.

    Attributes:
        refused: The error for a checkpoint that does not return one vector per text, or None.
    """

    fields: Mapping[str, Any]
    notes: tuple[Note, ...] = ()
    refused: EmmsError | None = None


def embedding_settings(repo: Repo, folder: Path) -> EmbeddingSettings:
    """Read the settings from the configurations in a folder. The fields are empty if there are none."""
    about = _json(repo, folder / "config_sentence_transformers.json")
    if not (folder / "modules.json").is_file():
        config = _json(repo, folder / "config.json")
        scaled = config.get("model_type") == MODEL_TYPE and bool(config.get("normalize"))
        refused = _refused(repo, config.get("architectures") or ())
        return EmbeddingSettings({"normalise": True} if scaled else {}, refused=refused)
    modules = _modules(repo, folder / "modules.json")
    names, paths = [name for name, _ in modules], dict(modules)
    reader = names[0] if names else ""
    refused = _refused(repo, [*names, about.get("model_type")])
    if reader not in (*_READERS, *_SPARSE):
        raise EmmsError(
            f"{repo.id} starts with {reader or 'no module'} (modules.json), which hf_emms does not read",
            f"it reads those that start with {', '.join(_READERS)}",
        )
    limits = next(iter(sorted((folder / paths[reader]).glob("sentence_*_config.json"))), None)
    reading = {} if limits is None else _json(repo, limits)
    fields: dict[str, Any] = {
        "subfolder": paths[reader],
        "max_length": _positive(repo, "max_seq_length", reading),
        "lower_case": bool(reading.get("do_lower_case")),
        "truncate_dim": _positive(repo, "truncate_dim", about),
        "similarity": next((name for name in SIMILARITIES if name == about.get("similarity_fn_name")), "cosine"),
        **_prompts(repo, about),
    }
    if reader == "StaticEmbedding":
        fields["config"] = {"model_type": MODEL_TYPE}
    if "Pooling" in paths:
        pooling = _json(repo, folder / paths["Pooling"] / "config.json")
        fields |= {"pooling": _pooling(repo, pooling), "pools_prompt": pooling.get("include_prompt") is not False}
    # Towers such as CLIP's return one vector per text without a Pooling.
    is_tower = reader != "Transformer" or reading.get("module_output_name") == "sentence_embedding"
    if "Pooling" in paths or is_tower:
        fields |= _behind(modules)
    used = (*_READERS, "Pooling", *_BEHIND, *_IDLE)
    unused = [name for name in names if name not in used]
    notes = (Note("modules-unused", f"not used of its modules.json: {', '.join(unused)}"),) if unused else ()
    return EmbeddingSettings(fields, notes, refused)


def reranker_parts(repo: Repo, folder: Path) -> str:
    """Name what `CrossEncoder` of sentence-transformers applies besides a classifier that reads a pair of texts.

    It is "" for plain classifiers, and for language models without modules, whose answers were not trained to rerank.
    """
    about, parts = _json(repo, folder / "config_sentence_transformers.json"), []
    path = ""
    has_modules = about.get("model_type") == _RERANKER and (folder / "modules.json").is_file()
    if has_modules:
        (_, path), *others = _modules(repo, folder / "modules.json")
        parts += [f"modules ({', '.join(name for name, _ in others)})"] if others else []
        parts += ["a default prompt"] if about.get("default_prompt_name") else []
        parts += ["text settings"] if _json(repo, folder / path / _LIMITS).get("processing_kwargs") else []
    classes = _json(repo, folder / path / "config.json").get("architectures") or ()
    if has_modules or any(name.endswith("ForSequenceClassification") for name in classes):
        is_file = (folder / path / "chat_template.jinja").is_file()
        has_template = is_file or _json(repo, folder / path / "tokenizer_config.json").get("chat_template")
        parts += ["a chat template"] if has_template else []
    return ", ".join(parts)


def _json(repo: Repo, path: Path) -> dict[str, Any]:
    """Read an object from a JSON file. It is empty if the file is missing."""
    content = read_json(repo, path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _modules(repo: Repo, path: Path) -> list[tuple[str, str]]:
    """Return class and folder of each module. Raises an `EmmsError` for a folder outside the repository."""
    try:
        modules = [(module["type"].rpartition(".")[2], str(module["path"])) for module in read_json(repo, path)]
    except (TypeError, KeyError, AttributeError) as error:
        raise EmmsError(f"modules.json of {repo.id} lists no modules", replacement_hint(repo, path)) from error
    if len(modules) > _MAX_MODULES:
        raise EmmsError(
            f"modules.json of {repo.id} lists {len(modules):,} modules, more than {_MAX_MODULES}",
            "do not trust this checkpoint",
        )
    for _, folder in modules:
        if Path(folder).is_absolute() or ".." in Path(folder).parts or "\\" in folder:
            raise EmmsError(
                f"modules.json of {repo.id} names {folder!r}, outside the repository",
                "this is not how a checkpoint is saved: do not trust it",
            )
    return modules


def _positive(repo: Repo, name: str, settings: Mapping[str, Any]) -> int | None:
    value = settings.get(name)
    if value is None or (isinstance(value, int) and value > 0):
        return value
    raise EmmsError(f"{name} of {repo.id} is {value!r:.40}", "it is a whole number from 1 on")


def _prompts(repo: Repo, about: Mapping[str, Any]) -> dict[str, str]:
    named = about.get("prompts")
    prompts = {name: text for name, text in named.items() if isinstance(text, str)} if isinstance(named, dict) else {}
    default = about.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise EmmsError(
            f"config_sentence_transformers.json of {repo.id} has the default prompt {default!r}, and no such prompt",
            f"its prompts are {', '.join(prompts) or 'none'}",
        )
    document = next(filter(prompts.get, _DOCUMENT), _DOCUMENT[0])
    used = {
        "prompt": prompts.get(default, ""),
        "query_prompt": prompts.get("query", ""),
        "document_prompt": prompts.get(document, ""),
        "document_prompt_name": document,
    }
    for name, text in used.items():
        if len(text) > _MAX_PROMPT:
            raise EmmsError(
                f"the {name.replace('_', ' ')} of {repo.id} has {len(text):,} characters, more than {_MAX_PROMPT:,}",
                "do not trust this checkpoint",
            )
    return used


def _pooling(repo: Repo, settings: Mapping[str, Any]) -> str:
    if "pooling_mode" in settings:
        named = settings["pooling_mode"]
        modes = [named] if isinstance(named, str) else list(named)
    else:
        modes = [mode for flag, mode in _FLAGS.items() if settings.get(flag) is True]
        modes += [
            flag for flag, on in settings.items() if flag.startswith("pooling_mode_") and on and flag not in _FLAGS
        ]
    unknown = [str(mode) for mode in modes if mode not in _POOLINGS]
    if unknown or not modes:
        raise EmmsError(
            f"{repo.id} pools with {', '.join(unknown) or 'nothing'} (config.json of its Pooling)",
            f"hf_emms pools by {', '.join(_POOLINGS)}",
        )
    return "+".join(_POOLINGS[mode] for mode in modes)


def _behind(modules: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the layers after the pooling, and whether the last one normalises."""
    behind = [(name, path) for name, path in modules if name in _BEHIND]
    normalise = bool(behind) and behind[-1][0] == "Normalize"
    return {"behind": tuple(behind[:-1] if normalise else behind), "normalise": normalise}


def _refused(repo: Repo, names: Any) -> EmmsError | None:
    hint = "choose a checkpoint that gives a vector for each text"
    for name in names:
        if name in _SPARSE:
            return EmmsError(f"{repo.id} is a sparse encoder, as SPLADE is ({name}): a weight for each word", hint)
        if name in _SEVERAL_VECTORS:
            return EmmsError(f"{repo.id} gives a vector for each token, as ColBERT does ({name})", hint)
        if name == _RERANKER:
            reranks = "rank it as a reranker: " + setting_ref("task", "text-ranking")
            return EmmsError(f"{repo.id} reads a query and a document together, as a {name} does", reranks)
    return None
