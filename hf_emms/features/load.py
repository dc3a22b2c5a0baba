"""From a repository to an `Extractor`: weights, processor and device, with every refusal in plain words."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import FED, families
from hf_emms.features.extractor import Extractor
from hf_emms.features.files import fetch_weights, require_vocabulary
from hf_emms.features.fusion import find_fusion
from hf_emms.features.images import ImageInput
from hf_emms.features.layers import DEFAULT_LAYERS
from hf_emms.features.pair_extractor import PairExtractor
from hf_emms.features.pairs import PairInput, PictureInput
from hf_emms.features.plan import ExtractionPlan, plan_extraction
from hf_emms.features.running import Running
from hf_emms.features.text import TextInput
from hf_emms.hub import Repo
from hf_emms.plugins import by_reference
from hf_emms.tasks.base import Modality

DEVICES = ("auto", "cpu", "cuda", "mps")
_NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30
_DEFAULT_LIMIT = 512
_NEED_POOLER = ("pooler_output", "unmasked_pooler_output", "image_fallback", "two_towers", "unmasked_two_towers")
_TWO_TOWERS = ("get_image_features", "get_text_features", "text_model")  # what the fallback for pairs needs
# What transformers raises for files that it cannot use.
_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


def load_extractor(
    repo: Repo,
    modality: Modality,
    task_id: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    layers: tuple[str, ...] = DEFAULT_LAYERS,
) -> Running:
    """Loads a checkpoint with its own processor or tokenizer.

    Args:
        repo: the checkpoint.
        modality: what it is fed.
        task_id: the Hub task, for messages.
        device: "auto" (cuda, else mps, else cpu), or one of them; "cuda:1" picks one of several.
        dtype: "auto" or "float32", "float16", "bfloat16".
        allow_pickle: take pytorch_model.bin where there are no safetensors.
        trust_remote_code: run the repository's Python files where transformers doesn't know it.
        layers: which layers become features, as `layers.layer_names` writes them.

    Returns:
        The extractor; close it to free the memory.

    Raises:
        EmmsError: refused, incomplete, corrupt or unsuitable; the message names the file and the repository.
    """
    plan = plan_extraction(repo, modality, task_id, dtype=dtype, trust_remote_code=trust_remote_code)
    place = choose_device(device)
    safetensors = fetch_weights(repo, subfolder=plan.subfolder, allow_pickle=allow_pickle)
    with _quiet():
        images = _picture_input(plan) if "image" in modality else None
        tokenizer = _tokenizer(plan) if "text" in modality else None
        model, pooling = _model(plan, safetensors)
        model = model.to(place).eval()
        if images is None:
            return Extractor(plan, model, _text_input(plan, model, tokenizer), pooling, layers)
        if tokenizer is None:
            return Extractor(plan, model, ImageInput(images.preprocess, images.pixels), pooling, layers)
        return _pair_extractor(plan, model, pooling, images, tokenizer, layers)


def choose_device(device: str) -> torch.device:
    """The torch device of a name.

    Raises:
        EmmsError: an unknown name, or a device that this machine lacks.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    kind = device.partition(":")[0]
    if kind not in available:
        raise EmmsError(f"unknown device {device!r}", f"one of {', '.join(DEVICES)}")
    if not available[kind]:
        raise EmmsError(f"this machine has no usable {kind} device", "--device auto")
    return torch.device(device)


def _model(plan: ExtractionPlan, safetensors: bool) -> tuple[Any, str]:
    loader = _loader(plan)
    options: dict[str, Any] = {"add_pooling_layer": False} if plan.architecture.poolerless else {}
    if plan.pooling == "text_embeds" and "projection_dim" in plan.config:
        # The text tower's own projection_dim is wrong in some CLIP configurations; the whole model's holds.
        options["projection_dim"] = plan.config["projection_dim"]
    if plan.architecture.loader == "TimmWrapperModel" and "model_args" in plan.config:
        # timm 1.0.31 saves the number of classes there as well; the wrapper passes its own and would fail on two.
        own = plan.config["model_args"] or {}
        options["model_args"] = {name: value for name, value in own.items() if name != "num_classes"}
    try:
        model, report = loader.from_pretrained(
            plan.model_folder,
            dtype=getattr(torch, plan.dtype),
            use_safetensors=safetensors,
            trust_remote_code=plan.code,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with names and shapes
            **options,
        )
    except _FAILURES as error:
        raise _unusable(plan, "weights", error) from error
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # one forward a text: keys and values need no keeping
    for name, saved, needed in sorted(report["mismatched_keys"]):
        raise EmmsError(
            f"the weights of {plan.repo.id} do not fit its config.json: {name} has shape {tuple(saved)}, "
            f"not {tuple(needed)}",
            "config.json and weights do not belong together",
        )
    pooling = _check_complete(plan, set(report["missing_keys"]))
    for part in plan.architecture.unused:
        setattr(model, part, None)
    return model, pooling


def _loader(plan: ExtractionPlan) -> Any:
    """The class that loads the weights: of transformers, or of the package that added the architecture."""
    import transformers

    name = plan.architecture.loader
    return by_reference(name) if ":" in name else getattr(transformers, name)


def _check_complete(plan: ExtractionPlan, missing: set[str]) -> str:
    """Refuses weights that transformers made up. Returns the pooling: the fallback can do without a pooler."""
    pooling = plan.pooling
    if pooling == "image_fallback" and any("pooler" in name for name in missing):
        pooling = "spatial_mean"
    if pooling not in _NEED_POOLER:
        missing = {name for name in missing if "pooler" not in name.split(".")}
    missing = {name for name in missing if name.split(".")[0] not in plan.architecture.unused}
    if missing:
        raise EmmsError(
            f"the weights of {plan.repo.id} lack {len(missing)} tensors that its architecture "
            f"({plan.architecture.family}) needs, e.g. {min(missing)}",
            "random numbers would take their place: check that config.json and weights belong together",
        )
    return pooling


def _pair_extractor(
    plan: ExtractionPlan,
    model: Any,
    fusion: str,
    pictures: PictureInput,
    tokenizer: Any,
    layers: tuple[str, ...],
) -> Running:
    if plan.architecture.loader == "AutoModel" and not all(hasattr(model, name) for name in _TWO_TOWERS):
        raise EmmsError(
            f"{plan.repo.id} ({plan.architecture.family}) has no image tower and text tower that meet in one space",
            f"families that read {FED[plan.architecture.modality]}: {', '.join(families('image+text'))}",
        )
    text = _text_input(plan, model.get_submodule(find_fusion(fusion).text_part), tokenizer)
    return PairExtractor(plan, model, PairInput(pictures, text), fusion, layers)


def _picture_input(plan: ExtractionPlan) -> PictureInput:
    from PIL import Image
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(
            plan.model_folder, trust_remote_code=plan.code, local_files_only=True
        )

        def preprocess(images: list[Any]) -> Tensor:
            pixels: Tensor = processor(images=images, return_tensors="pt")["pixel_values"]
            return pixels

        square = preprocess([Image.new("RGB", (64, 64))]).shape[-2:]
        fixed = all(preprocess([Image.new("RGB", size)]).shape[-2:] == square for size in ((64, 96), (96, 64)))
    except _FAILURES as error:
        raise _unusable(plan, "image processor (preprocessor_config.json)", error) from error
    return PictureInput(preprocess, square[0] * square[1], fixed)


def _tokenizer(plan: ExtractionPlan) -> Any:
    from transformers import AutoTokenizer

    require_vocabulary(plan.repo, plan.model_folder)
    try:
        return AutoTokenizer.from_pretrained(plan.model_folder, trust_remote_code=plan.code, local_files_only=True)
    except _FAILURES as error:
        raise _unusable(plan, "tokenizer", error) from error


def _text_input(plan: ExtractionPlan, model: Any, tokenizer: Any) -> TextInput:
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


def _unusable(plan: ExtractionPlan, what: str, error: BaseException) -> EmmsError:
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress bars and advice of transformers off the terminal; what matters is an EmmsError."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
