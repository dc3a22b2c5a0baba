"""Tiny folders of rerankers in the layouts that `CrossEncoder` of sentence-transformers saves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.modules import Dense, LogitScore, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

from tests.helpers.tiny_checkpoints import DECODER, build, checkpoint, reranker, tiny, tokenizer

TEMPLATE = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} | {% endfor %}the answer"
_WIDE = {"initializer_range": 0.8}


def _decoder(root: Path, kind: str, *, template: str | None = None, **sizes: Any) -> Path:
    """Return a decoder whose tokenizer puts nothing between two texts, as that of Llama."""

    def reader() -> Any:
        made = tokenizer("llama")
        made.pad_token, made.chat_template, made.model_max_length = "<pad>", template, 36
        return made

    name = f"{kind}-{'plain' if template is None else 'template'}"
    return checkpoint(root / name, tiny(kind, **{**DECODER, **_WIDE, **sizes}), reader)


def _saved(to: Path, first: Path, *behind: Any, task: str = "sequence-classification", **about: Any) -> None:
    modules = [Transformer(str(first), transformer_task=task), *behind]  # type: ignore[arg-type]
    model = CrossEncoder(modules=modules, device="cpu", **about)
    model.save_pretrained(str(to), create_model_card=False)


def _language_model(root: Path, to: Path, *tokens: int, template: str | None = None, **about: Any) -> None:
    first = _decoder(root, "LlamaForCausalLM", template=template)
    _saved(to, first, LogitScore(*tokens), task="text-generation", **about)


def _like_ettin(root: Path, to: Path) -> None:
    first = build(root, "modernbert")
    torch.manual_seed(1)
    layers = [
        *(Pooling(16, "cls"), Dense(16, 16, activation_function=torch.nn.GELU()), LayerNorm(16)),
        Dense(16, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    _saved(to, first, *layers, task="feature-extraction")


def _truncated_by_its_settings(root: Path, to: Path) -> None:
    _saved(to, reranker(root))
    settings = to / "sentence_bert_config.json"
    limited = {"processing_kwargs": {"text": {"max_length": 12}}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | limited))


_PROMPT: dict[str, Any] = {"prompts": {"web": "a photo of "}, "default_prompt_name": "web"}
# Layout → function that saves it, and the parts that a plain classifier lacks, as `reranker_parts` names them.
LAYOUTS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "a saved classifier": (lambda root, to: _saved(to, reranker(root, limit=24)), ""),
    "a prompt that is not the default": (
        lambda root, to: _saved(to, reranker(root, limit=24), prompts={"web": "a photo of "}),
        "",
    ),
    "a default prompt": (lambda root, to: _saved(to, reranker(root, limit=24), **_PROMPT), "a default prompt"),
    "settings of its texts": (_truncated_by_its_settings, "text settings"),
    "modules": (_like_ettin, "modules (Pooling, Dense, LayerNorm, Dense)"),
    "a classifier of a decoder": (
        lambda root, to: _saved(to, _decoder(root, "LlamaForSequenceClassification", num_labels=1)),
        "",
    ),
    "a template": (
        lambda root, to: _saved(to, _decoder(root, "LlamaForSequenceClassification", template=TEMPLATE, num_labels=1)),
        "a chat template",
    ),
    "two answers": (lambda root, to: _language_model(root, to, 20, 31), "modules (LogitScore)"),
    "two answers and a template": (
        lambda root, to: _language_model(root, to, 20, 31, template=TEMPLATE),
        "modules (LogitScore), a chat template",
    ),
    "one answer, a template and a default prompt": (
        lambda root, to: _language_model(root, to, 20, template=TEMPLATE, **_PROMPT),
        "modules (LogitScore), a default prompt, a chat template",
    ),
}


def saved_reranker(root: Path, layout: str) -> Path:
    """Return the folder of a layout. The first process creates it."""
    folder = root / f"reranker with {layout}"
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            make, _ = LAYOUTS[layout]
            make(root, folder)
    return folder
