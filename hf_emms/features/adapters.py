"""Adapters of PEFT, such as LoRA: merge them into their base, add new ones, and save them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError, setting_ref
from hf_emms.features.checkpoint_files import ADAPTER, ADAPTER_WEIGHTS, read_json, read_tensors, weight_files
from hf_emms.hub import Repo, fetch, listing, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

# LoRA (arXiv 2106.09685) on every linear layer and ungrouped convolution.
_RANK, _ALPHA, _DROPOUT = 8, 16, 0.05
# Attributes of a convolution that code of some families pads images by, and that PEFT's wrappers lack.
_CONVOLUTION_ATTRIBUTES = ("kernel_size", "stride", "padding", "dilation")
_SAVED_PREFIX = "base_model.model."  # of every name in an adapter's file
# In the names of biases of a fully trained head. The file contains them once more if all biases were trained.
_COPIES = (".modules_to_save.", ".original_module.")


def adapter_base(repo: Repo, folder: Path) -> Repo | None:
    """Return the base checkpoint of an adapter, at the revision that the adapter names; None for other repositories.

    Raises:
        EmmsError: It names no base, the base does not exist, or peft is not installed.
    """
    if not (folder / ADAPTER).is_file() or weight_files(listing(repo)):
        return None
    settings = read_json(repo, folder / ADAPTER)
    name = settings.get("base_model_name_or_path")
    if not name:
        raise EmmsError(
            f"{repo.id} is an adapter of a checkpoint that its {ADAPTER} does not name",
            "write its base there (base_model_name_or_path), or merge it: model.merge_and_unload().save_pretrained(…)",
        )
    if settings.get("layer_replication"):
        # The copies of a layer share its weights, so that merging into one changes all.
        raise EmmsError(
            f"{repo.id} is an adapter with replicated layers (layer_replication in its {ADAPTER})",
            "rank its base: " + setting_ref("checkpoints", name),
        )
    if find_spec("peft") is None:
        raise EmmsError(
            f"{repo.id} is an adapter of {name}, and peft, which reads it, is not installed",
            "pip install peft, or rank its base: " + setting_ref("checkpoints", name),
        )
    try:
        return resolve(name, "model", revision=settings.get("revision"))
    except EmmsError as error:
        raise EmmsError(
            f"{repo.id} is an adapter of {name}, which cannot be used: " + error.problem, error.remedy
        ) from None


def merge_adapter(repo: Repo, model: Any) -> None:
    """Merge the adapter of a repository into its loaded base, with or without a head; its own head is left out.

    Raises:
        EmmsError: An adapter that cannot be merged, or not of this base.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    folder = fetch(repo, (ADAPTER, *ADAPTER_WEIGHTS))
    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        raise EmmsError(
            f"{repo.id} is an adapter that writes a prompt ({config.peft_type.value}): it cannot be merged",
            "rank its base: " + setting_ref("checkpoints", config.base_model_name_or_path),
        )
    tensors = _tensors(repo, folder)
    layers, whole = _by_names_of(model, tensors)
    # The loaded model has neither the class with a head nor the head.
    config.task_type = config.modules_to_save = None
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    wrapped = get_peft_model(model, config)
    report: Any = set_peft_model_state_dict(wrapped, {_SAVED_PREFIX + name: tensor for name, tensor in layers.items()})
    absent = [name for name in report.missing_keys if wrapped.base_model.prefix in name]
    if absent or report.unexpected_keys or not layers:
        raise EmmsError(
            f"the adapter {repo.id} does not fit its base {config.base_model_name_or_path}: "
            f"{(absent or report.unexpected_keys or ['no layer'])[0]}",
            "adapter and base do not belong together, or the base has changed since",
        )
    wrapped.merge_and_unload()
    for name, parameter in model.named_parameters():  # peft freezes the base
        parameter.requires_grad_(name in trainable)
    model.load_state_dict(whole, strict=False)


def _tensors(repo: Repo, folder: Path) -> dict[str, Tensor]:
    for name in ADAPTER_WEIGHTS:
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise EmmsError(f"{repo.id} lacks {ADAPTER_WEIGHTS[0]}", "save it again: model.save_pretrained(FOLDER)")


def _by_names_of(model: Any, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return an adapter's tensors by the names of the loaded model: for adapted layers, and for full parameters.

    The adapter may have been trained on a class with a head, in which the base is a part.
    """
    prefix = f"{model.base_model_prefix}."
    children = dict(model.named_children())
    parameters = model.state_dict()
    layers, whole = {}, {}
    for saved, tensor in tensors.items():
        name = saved.removeprefix(_SAVED_PREFIX)
        spellings = (name, name.removeprefix(prefix), prefix + name)
        name = next((spelling for spelling in spellings if spelling.partition(".")[0] in children), name)
        if name.partition(".")[0] not in children or any(part in name for part in _COPIES):
            continue  # part of a head that the loaded model does not have
        if name not in parameters:
            layers[name] = tensor
        elif model.base_model_prefix not in children or name.startswith(prefix):
            whole[name] = tensor
    return layers, whole


def place_adapter(model: nn.Module, head: Iterable[Tensor] = ()) -> Any:
    """Return a new LoRA adapter, a `PeftModel`, on the layers of a model, which is changed in place and else frozen.

    The parameters of the `head` get none. `merge_and_unload` of the result restores the model's layers.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import nn
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
    config = LoraConfig(r=_RANK, lora_alpha=_ALPHA, lora_dropout=_DROPOUT, target_modules=names)
    adapter = get_peft_model(model, config)
    for wrapper in model.modules():
        if isinstance(wrapper, BaseTunerLayer):
            layer = wrapper.get_base_layer()
            for name in _CONVOLUTION_ATTRIBUTES:
                if hasattr(layer, name) and not hasattr(wrapper, name):
                    setattr(wrapper, name, getattr(layer, name))
    return adapter


def save_adapter(adapter: Any, repo: Repo, task_type: str, folder: Path) -> None:
    """Write an adapter as PEFT opens it, with the id and revision of its base; `task_type` is PEFT's name."""
    config = adapter.peft_config[adapter.active_adapter]
    config.task_type = task_type
    config.base_model_name_or_path = repo.id if repo.folder is None else str(repo.folder.absolute())
    config.revision = repo.revision if repo.folder is None else None
    adapter.save_pretrained(folder, save_embedding_layers=False)
