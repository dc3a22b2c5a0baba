"""Load a model of transformers by a `FeatureSpec` and its weights. Every failure is an `EmmsError`."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError, Note, format_bytes, pluralize, setting_ref
from hf_emms.features.checkpoint_files import Weights, fetch_weights, read_json, read_tensors
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, load_error, transformers_config
from hf_emms.features.main_memory import total_main_memory
from hf_emms.options.registry import by_reference

# Name of the layers of `FeatureSpec.behind` in a loaded model.
BEHIND = "layers_behind_pooling"
# Models of up to this many parameters fit everywhere and are loaded without a check.
_FEW_PARAMETERS = 10**8
_NEED_POOLER = (
    "pooler_output",
    "unmasked_pooler_output",
    "clap_text",
    "image_fallback",
    "two_towers",
    "unmasked_two_towers",
)


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model without a head, and its pooling, which differs from the plan if a fallback has no pooler."""

    plan: FeatureSpec
    model: Any
    pooling: str


def load_model(plan: FeatureSpec, weights: Weights, *, allow_pickle: bool, cache: Cache = NO_CACHE) -> LoadedModel:
    """Load the model on the CPU. Raises an `EmmsError` if weights are unreadable, unsafe or do not fit the config."""
    note = weights.note
    try:
        check_size(plan, weights)
        try:
            model, report = _from_pretrained(plan, weights.folder, weights.pickled)
        except pickle.UnpicklingError as error:
            if not allow_pickle:
                raise _refused_pickle(plan, error) from error
            with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                _unpickle(weights.folder, Path(folder))
                model, report = _from_pretrained(plan, Path(folder), pickled=True)
            note = "pickled weights (pytorch_model.bin), unpickled in full, as was allowed"
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, "weights", error) from error
    for part in model.modules():  # a single forward pass needs no cached keys and values
        if hasattr(getattr(part, "config", None), "use_cache"):
            part.config.use_cache = False
    for name, saved, needed in sorted(report["mismatched_keys"]):
        raise EmmsError(
            f"the weights of {plan.repo.id} do not fit its config.json: {name} has shape {tuple(saved)}, "
            f"not {tuple(needed)}",
            "config.json and weights do not belong together",
        )
    pooling = _check_complete(plan, set(report["missing_keys"]))
    for part in plan.architecture.unused:
        setattr(model, part, None)
    if plan.behind:
        model.add_module(BEHIND, torch.nn.Sequential(*(_load_behind(plan, *layer, cache) for layer in plan.behind)))
    notes = plan.notes if note is None else (*plan.notes, Note("pickled-weights", note))
    return LoadedModel(replace(plan, notes=notes), model, pooling)


def check_size(plan: FeatureSpec, weights: Weights) -> None:
    """Check the size of the model that a configuration describes, before allocating memory.

    Raises:
        EmmsError: If the model has more parameters than the files have bits, or exceeds the memory of this process.
    """
    model = _model_without_memory(plan)
    if model is None:
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(path.stat().st_size for path in weights.folder.iterdir() if path.is_file())
    if parameters > max(8 * stored, _FEW_PARAMETERS):
        raise EmmsError(
            f"config.json of {plan.repo.id} describes {parameters:,} parameters, and its weights have "
            f"{format_bytes(stored)}",
            "config.json and weights do not belong together",
        )
    needed = parameters * getattr(torch, plan.dtype).itemsize + sum(buffer.nbytes for buffer in model.buffers())
    total = total_main_memory()
    if needed > total:
        raise EmmsError(
            f"{plan.repo.id} takes {format_bytes(needed)} in {plan.dtype}, and {format_bytes(total)} of memory is all "
            "that there is",
            "choose a smaller checkpoint, or " + setting_ref("dtype", "bfloat16"),
        )


def _model_without_memory(plan: FeatureSpec) -> Any:
    """Build the model of a configuration on the meta device. Returns None if that is not possible."""
    config = transformers_config(plan)
    if config is None:
        return None
    arguments = load_options(plan)
    for name in [name for name in arguments if hasattr(config, name)]:
        setattr(config, name, arguments.pop(name))
    loader = _loader(plan)
    build = getattr(loader, "_from_config", None) or getattr(loader, "from_config", None)
    try:
        with torch.device("meta"):
            return build and build(config, **arguments)
    except LOAD_FAILURES:
        return None  # loading it says why


def _from_pretrained(plan: FeatureSpec, folder: Path, pickled: bool) -> tuple[Any, dict[str, Any]]:
    """Load the model with the loading report of transformers, which reads only tensors from pickles."""
    model, report = _loader(plan).from_pretrained(
        folder,
        dtype=getattr(torch, plan.dtype),
        use_safetensors=not pickled,
        trust_remote_code=plan.code,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `load_model` reports them, with names and shapes
        **load_options(plan),
    )
    return model, report


def _loader(plan: FeatureSpec) -> Any:
    """Return the class that loads the checkpoint."""
    import transformers

    name = plan.architecture.loader
    return by_reference(name) if ":" in name else getattr(transformers, name)


def _unpickle(folder: Path, to: Path) -> None:
    """Copy a checkpoint, with its weights fully unpickled, which can run code, and saved as tensors."""
    for path in folder.iterdir():
        if path.match("pytorch_model*.bin"):
            weights = torch.load(path, map_location="cpu", weights_only=False)
            torch.save(
                {name: tensor for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}, to / path.name
            )
        elif path.suffix in (".json", ".py"):
            shutil.copy(path, to)


def _refused_pickle(plan: FeatureSpec, error: pickle.UnpicklingError) -> EmmsError:
    """Return the error for a pickle that contains more than tensors, or is damaged."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return EmmsError(
            f"the pickled weights of {plan.repo.id} hold more than tensors ({asked[1]}), which could run code of their "
            "author",
            "choose a checkpoint with safetensors; if you trust it: " + setting_ref("allow_pickle", True),
        )
    reason = next(filter(None, reversed(str(error).partition("\n\nCheck the documentation")[0].splitlines())), "empty")
    return EmmsError(
        f"the pickled weights of {plan.repo.id} cannot be read without running code ({reason})",
        "they are damaged, or of an old format; if you trust them: " + setting_ref("allow_pickle", True),
    )


class _UnitLength(torch.nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(features, dim=1)


class _Dense(torch.nn.Module):
    """A linear layer with an activation, and optionally a residual connection."""

    def __init__(self, linear: torch.nn.Module, activation: torch.nn.Module, residual: torch.nn.Module | None) -> None:
        super().__init__()
        self.linear, self.activation, self.residual = linear, activation, residual

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs = self.activation(self.linear(features))
        return outputs if self.residual is None else outputs + self.residual(features)


def _load_behind(plan: FeatureSpec, name: str, subfolder: str, cache: Cache) -> torch.nn.Module:
    """Load a layer of sentence-transformers after the pooling: Dense, LayerNorm or Normalize."""
    if name == "Normalize":
        return _UnitLength()
    settings = read_json(plan.repo, plan.folder / subfolder / "config.json")
    try:
        tensors = read_tensors(fetch_weights(plan.repo, subfolder=subfolder).single)
        if name == "LayerNorm":
            with torch.device("meta"):  # sizes in a configuration take no memory before weights have them
                layer: torch.nn.Module = torch.nn.LayerNorm(len(tensors["norm.weight"]))
            layer.load_state_dict({name.removeprefix("norm."): tensor for name, tensor in tensors.items()}, assign=True)
        else:
            layer = _dense(plan, subfolder, settings, tensors)
        return layer.to(getattr(torch, plan.dtype))
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, f"layer {subfolder}", error) from error


def _dense(
    plan: FeatureSpec, subfolder: str, settings: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> torch.nn.Module:
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    activation = getattr(torch.nn, name, None)
    if not (isinstance(activation, type) and issubclass(activation, torch.nn.Module)):
        raise EmmsError(
            f"{plan.repo.id} has the activation {name} behind its pooling ({subfolder}/config.json)",
            "hf_emms knows those of torch.nn",
        )
    outputs, width = tensors["linear.weight"].shape
    residual: torch.nn.Module | None = None
    with torch.device("meta"):
        linear = torch.nn.Linear(width, outputs, bias="linear.bias" in tensors)
        if settings.get("use_residual"):
            residual = torch.nn.Identity() if width == outputs else torch.nn.Linear(width, outputs, bias=False)
        dense = _Dense(linear, activation(), residual)
    dense.load_state_dict(tensors, assign=True)
    return dense


def load_options(plan: FeatureSpec) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that a checkpoint needs."""
    options: dict[str, Any] = {"add_pooling_layer": False} if plan.architecture.poolerless else {}
    if plan.pooling == "text_embeds" and "projection_dim" in plan.config:
        # Some CLIP configurations have a wrong projection_dim for the text tower and the right one for the full model.
        options["projection_dim"] = plan.config["projection_dim"]
    if plan.architecture.loader == "TimmWrapperModel":
        options["model_args"] = _timm_arguments(plan)
    return options


def _timm_arguments(plan: FeatureSpec) -> dict[str, Any]:
    """Return the arguments in config.json that describe an architecture of timm.

    Raises:
        EmmsError: config.json names a folder or a repository as the architecture, or an argument that no model of timm
            is built with. `timm.create_model` takes paths too, and unpickles what lies there.
    """
    architecture = str(plan.config.get("architecture", ""))
    if ":" in architecture or "/" in architecture:
        raise EmmsError(
            f"config.json of {plan.repo.id} has the architecture {architecture!r}, which is no model of timm",
            "the architecture is a name such as resnet50",
        )
    # timm 1.0.31 saves the number of classes there as well; the wrapper passes another and would fail on two.
    arguments = {k: v for k, v in (plan.config.get("model_args") or {}).items() if k != "num_classes"}
    refused = sorted(arguments.keys() - _timm_constructor_arguments())
    if refused:
        raise EmmsError(
            f"config.json of {plan.repo.id} has model_args that describe no architecture: {', '.join(refused)}",
            "they may read other files, and are not passed on to timm: choose a checkpoint without them",
        )
    return arguments


@cache
def _timm_constructor_arguments() -> frozenset[str]:
    """Return the names of the arguments that constructors of timm's models take."""
    import timm

    modules = {timm.models.model_entrypoint(name).__module__ for name in timm.list_models()}
    models = [
        value
        for module in modules
        for value in vars(sys.modules[module]).values()
        if isinstance(value, type) and issubclass(value, torch.nn.Module)
    ]
    signatures = [inspect.signature(model).parameters for model in models]
    names = {name for parameters in signatures if "num_classes" in parameters for name in parameters}
    return frozenset(names - inspect.signature(timm.create_model).parameters.keys() - {"args", "kwargs"})


def _check_complete(plan: FeatureSpec, missing: set[str]) -> str:
    """Return the pooling; an EmmsError where transformers initialised weights that it needs at random."""
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
            "they would be random numbers: check that config.json and weights belong together",
        )
    return pooling


def is_tested(plan: FeatureSpec) -> bool:
    """Return whether the tests of hf_emms cover the architecture: it has a row here, and no own code."""
    row = plan.architecture
    return not (plan.code or row.package or row.loader == "AutoModel")


class _QuietTransformers:
    """A count of the blocks that hide messages, so that the last to end restores the state before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._restore = ExitStack()

    def enter(self) -> None:
        from transformers.utils import logging as transformers_logging

        with self._lock:
            self._blocks += 1
            if self._blocks > 1:
                return
            self._restore.callback(transformers_logging.set_verbosity, transformers_logging.get_verbosity())
            if transformers_logging.is_progress_bar_enabled():
                self._restore.callback(transformers_logging.enable_progress_bar)
            self._restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            transformers_logging.set_verbosity(logging.CRITICAL)
            transformers_logging.disable_progress_bar()

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._restore.close()


_QUIET = _QuietTransformers()
# While loading, transformers replaces functions of torch, such as initialisers, for all threads.
_LOADING = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide progress bars and warnings of transformers, in all threads; what matters is an EmmsError."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()


@contextmanager
def loading() -> Iterator[None]:
    """Load and build models in this block, quietly, while no other thread does."""
    with _LOADING, quiet_transformers():
        yield
