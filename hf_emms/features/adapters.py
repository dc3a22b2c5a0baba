"""Adapters of PEFT, such as LoRA: a folder of small weights for a base checkpoint, which are merged into it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import ADAPTER, ADAPTER_WEIGHTS, read_json, weight_files
from hf_emms.hub import Repo, fetch, listing, resolve

if TYPE_CHECKING:
    from torch import Tensor

_SAVED_PREFIX = "base_model.model."  # of every name in an adapter's file


def adapter_base(repo: Repo, folder: Path) -> Repo | None:
    """The checkpoint whose adapter a repository is, at the revision that it names; None for other repositories.

    Raises:
        EmmsError: it names no base, the base cannot be found, or peft is not installed.
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
    if find_spec("peft") is None:
        raise EmmsError(
            f"{repo.id} is an adapter of {name}, and peft, which reads it, is not installed",
            f"pip install peft, or rank its base: --checkpoint {name}",
        )
    try:
        return resolve(name, "model", revision=settings.get("revision"))
    except EmmsError as error:
        raise EmmsError(
            f"{repo.id} is an adapter of {name}, which cannot be used: {error.message}", error.hint
        ) from None


def merge_adapter(repo: Repo, model: Any) -> None:
    """Merges the adapter of a repository into its loaded base, which may have a head, or not.

    What the adapter holds of its own head is left out.

    Raises:
        EmmsError: an adapter that cannot be merged, or not of this base.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    folder = fetch(repo, (ADAPTER, *ADAPTER_WEIGHTS))
    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        raise EmmsError(
            f"{repo.id} is an adapter that writes a prompt ({config.peft_type.value}): it cannot be merged",
            f"rank its base: --checkpoint {config.base_model_name_or_path}",
        )
    layers, whole = _by_names_of(model, _tensors(repo, folder))
    # Neither its class with a head nor the head itself is that of the loaded model.
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
    import torch
    from safetensors.torch import load_file

    if (folder / ADAPTER_WEIGHTS[0]).is_file():
        return load_file(folder / ADAPTER_WEIGHTS[0])
    if (folder / ADAPTER_WEIGHTS[1]).is_file():
        return torch.load(folder / ADAPTER_WEIGHTS[1], map_location="cpu", weights_only=True)
    raise EmmsError(f"{repo.id} lacks {ADAPTER_WEIGHTS[0]}", "save it again: model.save_pretrained(FOLDER)")


def _by_names_of(model: Any, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An adapter's tensors by the names of the loaded model: those of its layers, and whole parameters.

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
        if name.partition(".")[0] not in children:
            continue  # of a head that the loaded model does not have
        if name not in parameters:
            layers[name] = tensor
        elif model.base_model_prefix not in children or name.startswith(prefix):
            whole[name] = tensor
    return layers, whole
