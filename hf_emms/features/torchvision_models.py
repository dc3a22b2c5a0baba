"""Classifiers of torchvision as checkpoint folders, for families that neither transformers nor timm has.

torchvision keeps its weights outside the Hub. `save_torchvision` writes a folder that can be ranked, or uploaded:
config.json, preprocessor_config.json and the weights as safetensors, all but the classifier's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BitImageProcessor, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hf_emms.errors import EmmsError

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# Heads for training only, and an initialisation that loading overwrites.
_PLAIN = {"googlenet": {"aux_logits": False, "init_weights": False}}
_PLAIN["inception_v3"] = _PLAIN["googlenet"]


class TorchvisionConfig(PretrainedConfig):
    """Which builder of `torchvision.models`, and its arguments."""

    model_type = "torchvision"

    def __init__(
        self, architecture: str = "googlenet", model_args: dict[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.architecture = architecture
        self.model_args = model_args or {}


class TorchvisionModel(PreTrainedModel):
    """A torchvision model without its last layer: `pooler_output` (b, D1) is the input of the classifier."""

    config_class = TorchvisionConfig
    base_model_prefix = "torchvision_model"
    main_input_name = "pixel_values"

    def __init__(self, config: TorchvisionConfig) -> None:
        super().__init__(config)
        self.torchvision_model = _without_classifier(_built(config.architecture, config.model_args))
        self.post_init()

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.torchvision_model(pixel_values))


def save_torchvision(architecture: str, folder: Path | str, weights: str | None = "DEFAULT") -> None:
    """Writes a classifier of torchvision as a checkpoint folder.

    Args:
        architecture: a builder of `torchvision.models`, e.g. "googlenet".
        folder: is made where it does not exist.
        weights: which of the builder's weights, downloaded by torchvision; None: random ones.

    Raises:
        EmmsError: torchvision has no such architecture or weights.

    Example:
        >>> save_torchvision("googlenet", "googlenet-in1k")  # doctest: +SKIP
    """
    from torchvision import models

    try:
        pretrained = models.get_model_weights(architecture)[weights] if weights else None
        options = {} if pretrained else _PLAIN.get(architecture, {})
        trained = models.get_model(architecture, weights=pretrained, **options)
    except (ValueError, KeyError) as error:
        raise EmmsError(
            f"torchvision has no {architecture!r} with weights {weights!r}",
            "names: torchvision.models.list_models(torchvision.models)",
        ) from error
    arguments = dict(_PLAIN.get(architecture, {}))
    if hasattr(trained, "transform_input"):
        arguments["transform_input"] = trained.transform_input
    model = TorchvisionModel(TorchvisionConfig(architecture, arguments))
    model.torchvision_model.load_state_dict(_without_classifier(trained).state_dict(), strict=False)
    model.save_pretrained(folder)
    _processor(pretrained).save_pretrained(folder)


def _built(architecture: str, arguments: dict[str, Any]) -> torch.nn.Module:
    from torchvision import models

    model: torch.nn.Module = models.get_model(architecture, weights=None, **arguments)
    return model


def _without_classifier(model: torch.nn.Module) -> torch.nn.Module:
    """The model with its last linear layer, which gives the classes' logits, replaced by the identity."""
    name = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, torch.nn.Identity())
    return model


def _processor(weights: Any) -> Any:
    if weights is None:
        edge, crop, values = 256, 224, _IMAGENET
    else:
        preset = weights.transforms()
        edge, crop = preset.resize_size[0], preset.crop_size[0]
        values = {"image_mean": preset.mean, "image_std": preset.std}
    return BitImageProcessor(
        size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop}, resample=2, **values
    )
