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

# Heads for training only, and an initialisation that loading overwrites.
_PLAIN = {"googlenet": {"aux_logits": False, "init_weights": False}}
_PLAIN["inception_v3"] = _PLAIN["googlenet"]


class TorchvisionConfig(PretrainedConfig):
    """A configuration that names a builder of `torchvision.models` and its arguments."""

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
        from torchvision import models

        super().__init__(config)
        model = models.get_model(config.architecture, weights=None, **config.model_args)
        self.torchvision_model = _without_classifier(model)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.torchvision_model(pixel_values))


def save_torchvision(architecture: str, folder: Path | str, weights: str | None = "DEFAULT") -> None:
    """Write a classifier of torchvision as a checkpoint folder.

    Args:
        architecture: a builder of `torchvision.models`, e.g. "googlenet".
        folder: is made where it does not exist.
        weights: the name of the builder's weights, downloaded by torchvision; None: random weights.

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


def _without_classifier(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with its last linear layer, which gives the classes' logits, replaced by the identity."""
    name = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, torch.nn.Identity())
    return model


def _processor(weights: Any) -> Any:
    if weights is None:
        edge, crop, mean, std = 256, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
    else:
        preset = weights.transforms()
        edge, crop, mean, std = preset.resize_size[0], preset.crop_size[0], preset.mean, preset.std
    size, crop_size = {"shortest_edge": edge}, {"height": crop, "width": crop}
    return BitImageProcessor(size=size, crop_size=crop_size, resample=2, image_mean=mean, image_std=std)
