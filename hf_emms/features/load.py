"""From a repository to an `Extractor`: weights, processor and device, with every refusal in plain words."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from hf_emms.data import Pairs, Spans
from hf_emms.errors import EmmsError
from hf_emms.features.architectures import FED, families
from hf_emms.features.device import prepare as prepare_model
from hf_emms.features.extractor import BaseExtractor, Extractor
from hf_emms.features.feature_plan import ExtractionPlan, plan_extraction
from hf_emms.features.files import fetch_weights
from hf_emms.features.fusion import Fused, find_fusion
from hf_emms.features.hidden_layers import LAST
from hf_emms.features.images import ImageInput
from hf_emms.features.pairs import PairExtractor, PairInput
from hf_emms.features.processors import FAILURES, picture_input, read_tokenizer, text_input, text_pair_input, unusable
from hf_emms.features.text_pairs import TextPairExtractor
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo
from hf_emms.plugins import by_reference
from hf_emms.tasks.base import Modality

DEVICES = ("auto", "cpu", "cuda", "mps")
_NEED_POOLER = ("pooler_output", "unmasked_pooler_output", "image_fallback", "two_towers", "unmasked_two_towers")
_TWO_TOWERS = ("get_image_features", "get_text_features", "text_model")  # what the fallback for pairs needs


def load_extractor(
    repo: Repo,
    modality: Modality,
    task_id: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    layers: tuple[str, ...] = (LAST,),
    spans: bool = False,
) -> BaseExtractor:
    """Loads a checkpoint with its own processor or tokenizer.

    Args:
        repo: the checkpoint.
        modality: what it is fed.
        task_id: the Hub task, for messages.
        device: "auto" (cuda, else mps, else cpu), or one of them; "cuda:1" picks one of several.
        dtype: "auto" or "float32", "float16", "bfloat16".
        allow_pickle: take pytorch_model.bin where there are no safetensors.
        trust_remote_code: run the repository's Python files where transformers doesn't know it.
        layers: which layers become features, as `options.layer_names` writes them.
        spans: it will be given `Spans` of pairs of texts, not the pairs.

    Returns:
        The extractor; close it to free the memory.

    Raises:
        EmmsError: refused, incomplete, corrupt or unsuitable; the message names the file and the repository.
    """
    plan = plan_extraction(repo, modality, task_id, dtype=dtype, trust_remote_code=trust_remote_code)
    place = choose_device(device)
    safetensors = fetch_weights(repo, subfolder=plan.subfolder, allow_pickle=allow_pickle)
    with _quiet():
        images = picture_input(plan, place) if "image" in modality else None
        tokenizer = read_tokenizer(plan) if "text" in modality else None
        model, pooling = _model(plan, safetensors)
        model = model.to(place).eval()
        if place.type == "cpu":
            prepare_model(model, interleaved=_is_tested(plan))
        if modality == "text+text":
            source = text_pair_input(model, text_input(plan, model, tokenizer))
            return TextPairExtractor(plan, model, source, pooling, layers, Spans if spans else Pairs)
        if images is None:
            return Extractor(plan, model, text_input(plan, model, tokenizer), pooling, layers)
        if tokenizer is None:
            return Extractor(plan, model, images, pooling, layers)
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
    except FAILURES as error:
        raise unusable(plan, "weights", error) from error
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


def _is_tested(plan: ExtractionPlan) -> bool:
    """Whether our tests run the checkpoint's code: a row of our own table, not the fallback or a repository's."""
    row = plan.architecture
    return not (plan.code or row.package or row.loader == "AutoModel")


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
            f"the weights of {plan.repo.id} lack {pluralize(len(missing), 'tensor')} that its architecture "
            f"({plan.architecture.family}) needs, e.g. {min(missing)}",
            "random numbers would take their place: check that config.json and weights belong together",
        )
    return pooling


def _pair_extractor(
    plan: ExtractionPlan,
    model: Any,
    fusion: str,
    pictures: ImageInput,
    tokenizer: Any,
    layers: tuple[str, ...],
) -> BaseExtractor:
    if plan.architecture.loader == "AutoModel" and not all(hasattr(model, name) for name in _TWO_TOWERS):
        raise EmmsError(
            f"{plan.repo.id} ({plan.architecture.family}) has no image tower and text tower that meet in one space",
            f"families that read {FED[plan.architecture.modality]}: {', '.join(families('image+text'))}",
        )
    found = find_fusion(fusion)
    text = text_input(plan, model.get_submodule(found.text_part), tokenizer)
    source = PairInput(pictures, text)
    if isinstance(found, Fused):
        found.prepare(model)
        source = replace(source, phrase=found.phrase)
    return PairExtractor(plan, model, source, found, layers)


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
