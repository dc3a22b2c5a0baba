"""Read how a checkpoint embeds texts from a folder of sentence-transformers or model2vec."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import check_inside, read_json
from hf_emms.hub import Repo, replacement_hint
from hf_emms.texts import setting_ref

# The `model_type` of a table of token vectors in model2vec.
MODEL_TYPE = "model2vec"
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Modes of a Pooling module → entries of `pooling.POOLINGS`.
_POOLINGS = {"cls": "cls_token", "mean": "masked_mean", "lasttoken": "last_token"}
# Modules that tokenize and encode, and the modules after them, in this order. `SentenceTransformer` computes others.
# Dropout has no effect.
_READERS = ("Transformer", "CLIPModel", "StaticEmbedding")
_FOLLOWING = ("Pooling", "Dense", "Normalize")
_DROPOUT = "Dropout"
# The `model_type` of folders whose first module is none of these.
NO_TRANSFORMER = "sentence-transformers"
_LIMITS = "sentence_bert_config.json"
# The settings of a transformer's module that change how it reads texts, besides the limit and the case.
_TEXT_SETTINGS = (
    *("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs"),
    *("processing_kwargs", "query_length", "document_length", "query_expansion"),
)
_EMBEDDING = "sentence_embedding"
_ACTIVATION = re.compile(r"torch\.nn\.modules\.(activation\.\w+|linear\.Identity)$")
# `model_type`s of embedding models and of rerankers.
_EMBEDDER, _RERANKER = "SentenceTransformer", "CrossEncoder"
_MAX_MODULES, _MAX_PROMPT = 50, 10_000
# Names of the prompt for documents. The first that is not empty is used. `encode_document` of sentence-transformers 6.2
# never uses the others, because its default is an empty prompt "document".
_DOCUMENT = ("document", "passage", "corpus")


def embedding_settings(
    repo: Repo, folder: Path, names: Collection[str], chosen: Mapping[str, str], *, reranks: bool = False
) -> dict[str, Any]:
    """Return the fields of a `FeatureSpec` that a repository sets. They are empty if it has no such files.

    Args:
        repo: The repository.
        folder: Its files.
        names: The fields that affect the modality.
        chosen: The user's prompts, which replace those of the repository.
        reranks: Whether it may be a reranker, whose modules after the pooling compute no embedding.

    Raises:
        EmmsError: It does not return one vector per text.
    """
    about = _json(repo, folder / "config_sentence_transformers.json")
    if not (folder / "modules.json").is_file():
        config = _json(repo, folder / "config.json")
        return {"normalize": True} if config.get("model_type") == MODEL_TYPE and config.get("normalize") else {}
    (reader, subfolder), *others = _modules(repo, folder / "modules.json")
    modules = [(reader, subfolder), *((name, path) for name, path in others if name != _DROPOUT)]
    is_reranker = reranks and about.get("model_type") == _RERANKER
    if not is_reranker:
        _check_model_type(repo, about.get("model_type") or _EMBEDDER)
    limits = next(iter(sorted((folder / subfolder).glob("sentence_*_config.json"))), None)
    reading = {} if limits is None else _json(repo, limits)
    fields: dict[str, Any] = {
        "subfolder": subfolder,
        "max_length": reading.get("max_seq_length"),
        "lower_case": bool(reading.get("do_lower_case")),
        "truncate_dim": about.get("truncate_dim"),
        "similarity": next((name for name in SIMILARITIES if name == about.get("similarity_fn_name")), "cosine"),
        **_prompts(repo, about),
        **chosen,
    }
    if reader == "StaticEmbedding":
        fields["config"] = {"model_type": MODEL_TYPE}
    elif reader not in _READERS:
        fields["config"] = {"model_type": NO_TRANSFORMER}
    settings = [(name, _json(repo, folder / path / "config.json")) for name, path in modules]
    if is_reranker:
        return fields
    has_prompt = any(name.endswith("prompt") and fields.get(name) for name in names)
    fields["embedder_parts"] = ", ".join(_embedder_parts(reading, settings, has_prompt=has_prompt))
    # Towers such as CLIP's return one vector per text without a Pooling.
    is_tower = reader != "Transformer" or reading.get("module_output_name") == _EMBEDDING
    pooling = dict(settings).get("Pooling")
    if not fields["embedder_parts"] and (pooling is not None or is_tower):
        fields |= {} if pooling is None else {"pooling": _POOLINGS[_pooling_modes(pooling)[0]]}
        fields["behind"] = tuple(path for name, path in modules if name == "Dense")
        fields["normalize"] = modules[-1][0] == "Normalize"
    return fields


def _embedder_parts(
    reading: Mapping[str, Any], modules: Sequence[tuple[str, Mapping[str, Any]]], *, has_prompt: bool
) -> Iterator[str]:
    """Yield what hf_emms leaves to `SentenceTransformer`: modules and settings that it does not read itself.

    Args:
        reading: Settings of the transformer's module.
        modules: The class and the settings of each module.
        has_prompt: Whether texts start with a prompt.
    """
    names = [name for name, _ in modules]
    supported = sorted((name for name in names[1:] if name in _FOLLOWING), key=_FOLLOWING.index)
    if names[0] not in _READERS or names[1:] != supported or names.count("Pooling") > 1:
        yield f"modules ({', '.join(names)})"
    is_tower = reading.get("module_output_name") == _EMBEDDING
    if any(reading.get(name) for name in _TEXT_SETTINGS) or not (is_tower or _is_forward(reading)):
        yield "text settings"
    for name, settings in modules[1:]:
        modes = _pooling_modes(settings) if name == "Pooling" else ()
        if name == "Pooling" and (len(modes) != 1 or modes[0] not in _POOLINGS):
            yield f"Pooling ({' and '.join(modes) or 'mean'})"
        elif name == "Pooling" and settings.get("include_prompt") is False and has_prompt:
            yield "Pooling without the prompt"
        elif name == "Dense" and (settings.get("use_residual") or not _ACTIVATION.match(_activation(settings))):
            yield f"Dense ({'a residual' if settings.get('use_residual') else _activation(settings)})"
        elif any(settings.get(f"module_{end}_name") not in (None, _EMBEDDING) for end in ("input", "output")):
            yield f"{name} of other vectors"


def _is_forward(reading: Mapping[str, Any]) -> bool:
    """Return whether the module calls the transformer, and none of its other methods."""
    modalities = reading.get("modality_config")
    text = modalities.get("text") if isinstance(modalities, dict) else None
    return not isinstance(text, dict) or text.get("method", "forward") == "forward"


def _activation(settings: Mapping[str, Any]) -> str:
    return str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))


def reranker_parts(repo: Repo, folder: Path) -> str:
    """Return what sentence-transformers adds to a reranker besides its classifier.

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
    except (TypeError, KeyError, AttributeError):
        modules = []
    if not 0 < len(modules) <= _MAX_MODULES:
        problem = f"modules.json of {repo.id} lists {len(modules):,} modules instead of 1 to {_MAX_MODULES}"
        raise EmmsError("malformed-checkpoint", problem, replacement_hint(repo, path))
    check_inside(repo, path, [folder for _, folder in modules])
    return modules


def _prompts(repo: Repo, about: Mapping[str, Any]) -> dict[str, str]:
    named = about.get("prompts")
    prompts = {name: text for name, text in named.items() if isinstance(text, str)} if isinstance(named, dict) else {}
    default = about.get("default_prompt_name")
    document = next(filter(prompts.get, _DOCUMENT), _DOCUMENT[0])
    used = {
        "prompt": prompts.get(default, "") if isinstance(default, str) else "",
        "query_prompt": prompts.get("query", ""),
        "document_prompt": prompts.get(document, ""),
        "document_prompt_name": document,
    }
    for name, text in used.items():
        if len(text) > _MAX_PROMPT:
            raise EmmsError(
                "too-large",
                f"the {name.replace('_', ' ')} of {repo.id} has {len(text):,} characters, more than {_MAX_PROMPT:,}",
                "do not trust this checkpoint",
            )
    return used


def _pooling_modes(settings: Mapping[str, Any]) -> Sequence[str]:
    """Return the modes of a Pooling module. Its file names them, or has a flag per mode (before version 5.1)."""
    named = settings.get("pooling_mode")
    if named is None:
        flags = [name.removeprefix("pooling_mode_") for name, value in settings.items() if value is True]
        return [flag.removesuffix("_tokens").removesuffix("_token") for flag in flags if flag != "include_prompt"]
    return list(map(str, named)) if isinstance(named, list) else [str(named)]


def _check_model_type(repo: Repo, model_type: str) -> None:
    """Raise an `EmmsError` unless sentence-transformers computes one vector per text."""
    if model_type == _RERANKER:
        reranks = "rank it as a reranker: " + setting_ref("task", "text-ranking")
        raise EmmsError("reranker", f"{repo.id} reads a query and a document together, as a {model_type} does", reranks)
    if model_type != _EMBEDDER:
        raise EmmsError(
            "unsupported-modules", f"{repo.id} is a {model_type}, which does not return one vector per text"
        )
