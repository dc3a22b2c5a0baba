"""Load a checkpoint with a head for training, choose the weights that are trained, and save the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from hf_emms.errors import EmmsError, Note
from hf_emms.features.device import keep_freed_memory
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import Splits
from hf_emms.heads.head import Network
from hf_emms.texts import setting_ref

_MAX_MOMENTUM, _MOMENTUM = 0.5, 0.1
_MAX_DROPOUT = 0.7
# LoRA (arXiv 2106.09685) on every linear layer and ungrouped convolution.
_RANK, _ALPHA, _LORA_DROPOUT = 8, 16, 0.05
# Attributes of a convolution that code of some families pads images by, and that PEFT's wrappers lack.
_CONVOLUTION_ATTRIBUTES = ("kernel_size", "stride", "padding", "dilation")


def load_network(spec: FeatureSpec, splits: Splits, method: str = "full") -> Network:
    """Return a checkpoint with a new head for the splits' task; `method` is "full", "lora" or "head".

    Raises:
        EmmsError: The checkpoint cannot be loaded, or its family has no head for the task.
    """
    keep_freed_memory()
    with quiet_transformers():
        network = head_of(splits.task).build(spec, splits.task.input, splits.train)
    network.notes = [*spec.notes, *network.notes, *repaired(network.model)]
    apply_method(network, method)
    return network


def repaired(model: nn.Module) -> list[Note]:
    """Replace defaults of other frameworks that break training, and return notes on the changes.

    A batch norm momentum above 0.5 follows TensorFlow's convention. In PyTorch, the last batch alone would then
    determine the statistics for evaluation.
    """
    momenta, rates, frozen = set(), set(), 0
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.momentum is not None and module.momentum > _MAX_MOMENTUM:
                momenta.add(float(module.momentum))
                module.momentum = _MOMENTUM
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > _MAX_DROPOUT:
            rates.add(module.p)
            module.p = 1 - module.p
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            frozen += 1
            parameter.requires_grad_(True)
    notes = []
    if momenta:
        text = f"batch norm's momentum was {_listed(momenta)}, another framework's convention: set to {_MOMENTUM}"
        notes.append(Note("batch-norm-momentum", text))
    if rates:
        text = f"dropout was {_listed(rates)}, a share to keep: set to {_listed({1 - rate for rate in rates})}"
        notes.append(Note("dropout-rate", text))
    if frozen:
        notes.append(Note("frozen-weights", f"{frozen} frozen tensors are trained"))
    return notes


def _listed(values: set[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in sorted(values))


def apply_method(network: Network, method: str) -> None:
    """Freeze the parameters that a method ("full", "lora" or "head") does not train. Every method trains the head."""
    head = [parameter for name, parameter in network.model.named_parameters() if name in network.head]
    if method == "head" and not head:
        raise EmmsError(
            "no-head", "the checkpoint has no head that could be trained alone", setting_ref("method", "full", "lora")
        )
    if method == "lora":
        with quiet_transformers():
            network.adapter = place_adapter(network.saved, head)
    elif method == "head":
        network.model.requires_grad_(False)
    for parameter in head:
        parameter.requires_grad_(True)


def place_adapter(model: nn.Module, head: Iterable[Tensor] = ()) -> Any:
    """Add a LoRA adapter to a model in place, and freeze the other weights.

    The parameters of the `head` get none. `merge_and_unload` of the result restores the model's layers.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.pytorch_utils import Conv1D

    # Merged into shared weights, as the last layer of a language model has, it would change all layers that share them.
    uses = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    uses.update(map(id, head))
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, Conv1D))
        and getattr(module, "groups", 1) == 1
        and all(uses[id(parameter)] == 1 for parameter in module.parameters(recurse=False))
    ]
    config = LoraConfig(r=_RANK, lora_alpha=_ALPHA, lora_dropout=_LORA_DROPOUT, target_modules=names)
    adapter = get_peft_model(model, config)
    for wrapper in model.modules():
        if isinstance(wrapper, BaseTunerLayer):
            layer = wrapper.get_base_layer()
            for name in _CONVOLUTION_ATTRIBUTES:
                if hasattr(layer, name) and not hasattr(wrapper, name):
                    setattr(wrapper, name, getattr(layer, name))
    return adapter
