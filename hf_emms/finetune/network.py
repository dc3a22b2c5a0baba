"""Load a checkpoint with a head for training, choose the weights that are trained, and save the result."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.features.adapters import place_adapter, save_adapter
from hf_emms.features.device import keep_freed_memory
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import loading
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import Splits
from hf_emms.heads.head import Network

_MAX_MOMENTUM, _MOMENTUM = 0.5, 0.1
_MAX_DROPOUT = 0.7


def load_network(
    spec: FeatureSpec,
    splits: Splits,
    method: str = "full",
    *,
    keep_adapter: bool = False,
    allow_pickle: bool = False,
) -> Network:
    """Return a checkpoint with a new head for the splits' task; `method` is "full", "lora" or "head".

    Raises:
        EmmsError: The checkpoint cannot be loaded, or its family has no head for the task.
    """
    if keep_adapter and spec.base is not None:
        raise EmmsError(
            f"{spec.repo.id} is itself an adapter: a new adapter would have no base model with a name",
            "leave " + setting_ref("keep_adapter") + " out, or fine-tune the base model",
        )
    keep_freed_memory()
    with loading():
        head = head_of(splits.task)
        network = head.build(spec, splits.task.input, splits.train, allow_pickle=allow_pickle)
    network.notes = [*spec.notes, *network.notes, *repaired(network.model)]
    apply_method(network, method)
    return network


def save_network(network: Network, folder: Path, task: str, adapter_of: FeatureSpec | None) -> None:
    """Write a trained network into a folder. Merge its adapter, or save it alone if `adapter_of` is its base."""
    if adapter_of is not None and network.adapter_task is not None:
        save_adapter(network.adapter, adapter_of.repo, network.adapter_task, folder)
        network.save_processors(folder)
        return
    if network.adapter is not None:
        network.adapter.merge_and_unload()
    network.save(folder, task)


def repaired(model: nn.Module) -> list[Note]:
    """Change defaults of other frameworks that ruin a training, and return notes on the changes.

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
        raise EmmsError("the checkpoint has no head that could be trained alone", setting_ref("method", "full", "lora"))
    if method == "lora":
        with loading():
            network.adapter = place_adapter(network.saved, head)
    elif method == "head":
        network.model.requires_grad_(False)
    for parameter in head:
        parameter.requires_grad_(True)
