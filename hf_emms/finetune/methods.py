"""What of a network is trained: all weights, a low-rank adapter, or the head alone; and what fits into memory."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_emms.errors import EmmsError
from hf_emms.features.device import free_memory
from hf_emms.formatting import format_bytes
from hf_emms.options import Options

# Weights, gradients and AdamW's two moments in float32; of this memory, a share is left to activations.
BYTES_A_PARAMETER, _SHARE = 16, 0.7
# LoRA (arXiv 2106.09685) on every linear layer and ungrouped convolution.
_RANK, _ALPHA, _DROPOUT = 8, 16, 0.05
_ADAPTED = (nn.Linear, nn.Conv2d)
# Of convolutions, what the code of some families reads to pad pictures by, and an adapter's layer does not have.
_READ_BY_MODELS = ("kernel_size", "stride", "padding", "dilation")


def apply_method(model: nn.Module, method: str, head: Iterable[str]) -> None:
    """Leaves trainable what a method trains.

    Args:
        model: all of it.
        method: "full", "lora" or "head".
        head: names of the parameters of its head; they are always trained.

    Raises:
        EmmsError: there is no head, which alone would be trained.
    """
    fresh = set(head)
    if method == "head" and not fresh:
        raise EmmsError("it has no head that could be trained alone", "--method full or lora")
    if method == "lora":
        _add_adapter(model, fresh)
    if method != "full":
        for name, parameter in model.named_parameters():
            trained = name.replace(".base_layer.", ".") in fresh or "lora_" in name
            parameter.requires_grad_(trained)


def merge_adapter(model: nn.Module) -> None:
    """Adds an adapter's weights to those of the model, whose layers are then those that it was loaded with."""
    if find_spec("peft") is None:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def method_for(options: Options, parameters: int | None, device: torch.device) -> tuple[str, str | None]:
    """The method that the options ask for, else full fine-tuning where it fits; and why, where it does not.

    Args:
        options: which method.
        parameters: of the checkpoint.
        device: where it runs.
    """
    if options.method is not None:
        return options.method, None
    free, needed = _free_bytes(device), BYTES_A_PARAMETER * (parameters or 0)
    if free is None or needed <= _SHARE * free:
        return "full", None
    method = "lora" if find_spec("peft") is not None else "head"
    return method, (
        f"full fine-tuning would need {format_bytes(needed)} and activations, and {format_bytes(free)} are free: "
        f"--method {method}"
    )


def _add_adapter(model: nn.Module, fresh: set[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _ADAPTED) and getattr(module, "groups", 1) == 1 and f"{name}.weight" not in fresh
    ]
    config = LoraConfig(r=_RANK, lora_alpha=_ALPHA, lora_dropout=_DROPOUT, target_modules=names)
    inject_adapter_in_model(config, model)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            for name in _READ_BY_MODELS:
                if hasattr(layer, name) and not hasattr(module, name):
                    setattr(module, name, getattr(layer, name))


def _free_bytes(device: torch.device) -> int | None:
    """Bytes that are free; None where that is not known."""
    if device.type == "cuda":
        return free_memory(device)
    memory = Path("/proc/meminfo")
    if device.type != "cpu" or not memory.exists():
        return None
    found: dict[str, Any] = dict(line.split(":", 1) for line in memory.read_text().splitlines() if ":" in line)
    return int(found["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in found else None
