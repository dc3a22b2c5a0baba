"""How a checkpoint reads: its own image processor and tokenizer, and what they may feed it."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from hf_emms.errors import EmmsError
from hf_emms.features.feature_plan import ExtractionPlan
from hf_emms.features.files import require_vocabulary
from hf_emms.features.images import ImageInput, ImageProcessor
from hf_emms.features.text import TextInput, shared_tokenizer
from hf_emms.features.windows import TextPairInput, read_template

_NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30
_DEFAULT_LIMIT = 512
# What transformers raises for files that it cannot use.
FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


def picture_input(plan: ExtractionPlan, device: torch.device) -> ImageInput:
    """The checkpoint's image processor, whose pictures the device will fetch.

    Raises:
        EmmsError: it cannot be loaded.
    """
    from PIL import Image
    from transformers import AutoImageProcessor

    try:
        own = AutoImageProcessor.from_pretrained(plan.model_folder, trust_remote_code=plan.code, local_files_only=True)
        # Code of two repositories may differ where their configurations are the same.
        processor = ImageProcessor(own, None if plan.code else f"{type(own).__qualname__} {own.to_json_string()}")
        square = processor([Image.new("RGB", (64, 64))]).shape[-2:]
        fixed = all(processor([Image.new("RGB", size)]).shape[-2:] == square for size in ((64, 96), (96, 64)))
    except FAILURES as error:
        raise unusable(plan, "image processor (preprocessor_config.json)", error) from error
    return ImageInput(processor, square[0] * square[1], fixed, device)


def read_tokenizer(plan: ExtractionPlan) -> Any:
    """The checkpoint's tokenizer.

    Raises:
        EmmsError: it has none, or it cannot be loaded.
    """
    require_vocabulary(plan.repo, plan.model_folder)
    try:
        return shared_tokenizer(plan)
    except FAILURES as error:
        raise unusable(plan, "tokenizer", error) from error


def text_input(plan: ExtractionPlan, model: Any, tokenizer: Any) -> TextInput:
    """The tokenizer with what the model (or the part of it that reads texts) takes."""
    limits = [plan.max_length, tokenizer.model_max_length, _positions(model)]
    known = [limit for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
    # GPT-2 has no padding token; what fills a batch up is masked, so any id does.
    pad = next((i for i in (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)) if i is not None), 0)
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return TextInput(
        tokenizer=tokenizer,
        limit=min(known, default=_DEFAULT_LIMIT),
        pad=pad,
        filler=next((token for token in ends if token is not None), pad),
        vocabulary=_vocabulary(model),
        pads_to_limit=plan.architecture.pads_to_limit,
    )


def text_pair_input(model: Any, text: TextInput) -> TextPairInput:
    """The same for pairs of texts."""
    known = "token_type_ids" in signature(model.forward).parameters
    typed = known and (getattr(model.config, "type_vocab_size", None) or 0) > 1
    return TextPairInput(text, read_template(text.tokenizer), typed)


def _vocabulary(model: Any) -> int:
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except NotImplementedError:  # some towers do not tell their table: it is the largest
        tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
        return max(table.num_embeddings for table in tables)


def _positions(model: Any) -> int | None:
    """The longest text that the table of positions allows; RoBERTa's starts behind its padding id."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def unusable(plan: ExtractionPlan, what: str, error: BaseException) -> EmmsError:
    """The error that says why a part of the checkpoint cannot be loaded."""
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, ImportError):
        reason = " ".join(" ".join(lines).split())
        package = plan.architecture.requires
        hint = f"pip install -U {package}" if package else None
        return EmmsError(f"{plan.repo.id} needs a package that is not installed: {reason}", hint)
    return EmmsError(
        f"the {what} of {plan.repo.id} cannot be loaded: {lines[0]}",
        f"it is loaded from {plan.model_folder} as {plan.architecture.loader}",
    )
