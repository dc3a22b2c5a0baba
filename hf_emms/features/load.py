"""Load a model of transformers by a `FeatureSpec` and its weights. Every failure is an `EmmsError`."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
import shutil
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from hf_emms.errors import EmmsError, Note
from hf_emms.features.checkpoint_files import Weights, fetch_weights, read_json, read_tensors
from hf_emms.features.feature_spec import (
    LOAD_FAILURES,
    FeatureSpec,
    load_error,
    transformers_config,
    without_kernels,
)
from hf_emms.features.main_memory import total_main_memory
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.options.registry import by_reference
from hf_emms.texts import setting_ref

T = TypeVar("T")

# Name of the layers of `FeatureSpec.behind` in a loaded model.
BEHIND = "layers_behind_pooling"
# Models of up to this many parameters fit everywhere and are loaded without a check.
_FEW_PARAMETERS = 10**8
_MAX_LAYERS = 2_000
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
    """A loaded model without a head, and its pooling, which differs from the spec if a fallback has no pooler."""

    spec: FeatureSpec
    model: Any
    pooling: str


def load_model(spec: FeatureSpec) -> LoadedModel:
    """Load the model on the CPU. Raises an `EmmsError` if weights are unreadable, unsafe or do not fit the config."""
    weights = fetch_weights(spec.repo, subfolder=spec.subfolder)
    (model, report), notes = read_weights(spec, weights, partial(_from_pretrained, spec, weights))
    for part in model.modules():  # a single forward pass needs no cached keys and values
        if hasattr(getattr(part, "config", None), "use_cache"):
            part.config.use_cache = False
    for name, saved, needed in sorted(report["mismatched_keys"]):
        raise EmmsError(
            "weights-mismatch",
            f"the weights of {spec.repo.id} do not fit its config.json: {name} has shape {tuple(saved)}, "
            f"not {tuple(needed)}",
            "config.json and weights do not belong together",
        )
    pooling = _check_complete(spec, set(report["missing_keys"]))
    for part in spec.architecture.unused:
        setattr(model, part, None)
    if spec.behind:
        model.add_module(BEHIND, torch.nn.Sequential(*(_load_dense(spec, path) for path in spec.behind)))
    return LoadedModel(replace(spec, notes=(*spec.notes, *notes)), model, pooling)


def read_weights(
    spec: FeatureSpec, weights: Weights, load: Callable[[Path], T], part: str = "weights"
) -> tuple[T, tuple[Note, ...]]:
    """Call `load` with the folder of the weights. Return its result, and notes on how they were read.

    `load` reads only tensors from pickles. If a pickle contains more and `FeatureSpec.allow_pickle` permits it, `load`
    gets a copy of the folder with only its tensors.

    Raises:
        EmmsError: The weights are unreadable or unsafe.
    """
    note = "pickled weights (pytorch_model.bin), read by torch's loader that runs no code"
    try:
        try:
            loaded = load(weights.folder)
        except pickle.UnpicklingError as error:
            if not spec.allow_pickle:
                raise _refused_pickle(spec, error) from error
            with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                _unpickle(weights.folder, Path(folder))
                loaded = load(Path(folder))
            note = "pickled weights (pytorch_model.bin), unpickled in full, as was allowed"
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(spec, part, error) from error
    return loaded, (Note("pickled-weights", note),) if weights.pickled else ()


# Families of transformers that load compiled code on machines with CUDA, whatever the arguments of `from_pretrained`.
_LOAD_KERNELS = ("mra", "rwkv", "yoso")


def check_loadable(spec: FeatureSpec, weights: Weights) -> None:
    """Check the model that a configuration describes, before allocating memory.

    Raises:
        EmmsError: If the model has more parameters than the files have bits, exceeds the memory of this process, or
            would run compiled code of the Hub.
    """
    if spec.config.get("model_type") in _LOAD_KERNELS and torch.cuda.is_available():
        raise EmmsError(
            "kernels",
            f"on a GPU, {spec.repo.id} runs compiled code from the Hub (kernels-community)",
            "choose other checkpoints, or hide the GPU: set the environment variable CUDA_VISIBLE_DEVICES to nothing",
        )
    model = _model_without_memory(spec)
    if model is None:
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(path.stat().st_size for path in weights.folder.iterdir() if path.is_file())
    if parameters > max(8 * stored, _FEW_PARAMETERS):
        raise EmmsError(
            "weights-mismatch",
            f"config.json of {spec.repo.id} describes {parameters:,} parameters, and its weights have "
            f"{format_bytes(stored)}",
            "config.json and weights do not belong together",
        )
    needed = parameters * getattr(torch, spec.dtype).itemsize + sum(buffer.nbytes for buffer in model.buffers())
    total = total_main_memory()
    if needed > total:
        raise EmmsError(
            "out-of-memory",
            f"{spec.repo.id} takes {format_bytes(needed)} in {spec.dtype}, and {format_bytes(total)} of memory is all "
            "that there is",
            "choose a smaller checkpoint, or " + setting_ref("dtype", "bfloat16"),
        )


def _check_layers(spec: FeatureSpec, settings: dict[str, Any]) -> None:
    """Raise an `EmmsError` for a negative number of layers, or one that would fill the memory even without weights."""
    for name, value in settings.items():
        if isinstance(value, dict):
            _check_layers(spec, value)
        elif isinstance(value, int) and not 0 <= value <= _MAX_LAYERS and re.search("layers$|blocks$|depth$", name):
            problem = f"config.json of {spec.repo.id} asks for {value:,} layers ({name})"
            raise EmmsError("weights-mismatch", problem, "config.json and weights do not belong together")


def _model_without_memory(spec: FeatureSpec) -> Any:
    """Build the model of a configuration on the meta device. Returns None if that is not possible."""
    config = transformers_config(spec)
    if config is None:
        return None
    _check_layers(spec, config.to_dict())
    arguments = load_options(spec)
    for name in [name for name in arguments if hasattr(config, name)]:
        setattr(config, name, arguments.pop(name))
    loader = _loader(spec)
    build = getattr(loader, "from_config", loader)
    try:
        with torch.device("meta"):
            return build(config, **arguments)
    except LOAD_FAILURES:
        return None  # loading it says why


def _from_pretrained(spec: FeatureSpec, weights: Weights, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the model from a folder with the loading report of transformers."""
    check_loadable(spec, weights)
    return load_with_report(spec, weights, _loader(spec), folder, **load_options(spec))


def load_with_report(
    spec: FeatureSpec, weights: Weights, loader: Any, folder: Path, dtype: torch.dtype | None = None, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Load a model as a class of transformers, with its report of weights that are missing or have another shape."""
    model, report = loader.from_pretrained(
        folder,
        dtype=dtype or getattr(torch, spec.dtype),
        use_safetensors=not weights.pickled,
        trust_remote_code=spec.code,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # callers report them, with names and shapes
        **without_kernels(spec),
        **options,
    )
    return model, report


def _loader(spec: FeatureSpec) -> Any:
    """Return the class that loads the checkpoint."""
    import transformers

    name = spec.architecture.loader
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


def _refused_pickle(spec: FeatureSpec, error: pickle.UnpicklingError) -> EmmsError:
    """Return the error for a pickle that contains more than tensors, or is damaged."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    reason = f"they contain more than tensors: {asked[1]}" if asked else "they are damaged, or of an old format"
    return EmmsError(
        "pickled-weights",
        f"the pickled weights of {spec.repo.id} cannot be read without running code: {reason}",
        "choose a checkpoint with safetensors; if you trust it: " + setting_ref("allow_pickle", True),
    )


def _load_dense(spec: FeatureSpec, subfolder: str) -> torch.nn.Module:
    """Load a Dense layer of sentence-transformers: a linear layer with an activation."""
    settings = read_json(spec.repo, spec.folder / subfolder / "config.json")
    activation = str(settings.get("activation_function", "Tanh")).rpartition(".")[2]
    try:
        tensors = read_tensors(fetch_weights(spec.repo, subfolder=subfolder).single)
        outputs, width = tensors["linear.weight"].shape
        with torch.device("meta"):  # sizes in a configuration take no memory before weights have them
            linear = torch.nn.Linear(width, outputs, bias="linear.bias" in tensors)
            dense = torch.nn.Sequential(OrderedDict(linear=linear, activation=getattr(torch.nn, activation)()))
        dense.load_state_dict(tensors, assign=True)
        return dense.to(getattr(torch, spec.dtype))
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(spec, f"layer {subfolder}", error) from error


def load_options(spec: FeatureSpec) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that a checkpoint needs."""
    options: dict[str, Any] = {"add_pooling_layer": False} if spec.architecture.poolerless else {}
    if spec.pooling == "text_embeds" and "projection_dim" in spec.config:
        # Some CLIP configurations have a wrong projection_dim for the text tower and the right one for the full model.
        options["projection_dim"] = spec.config["projection_dim"]
    if spec.architecture.loader == "TimmWrapperModel":
        options["model_args"] = _timm_arguments(spec)
    return options


def _timm_arguments(spec: FeatureSpec) -> dict[str, Any]:
    """Return the arguments in config.json that describe an architecture of timm.

    Raises:
        EmmsError: config.json names a folder or a repository as the architecture, or other files in its arguments.
            `timm.create_model` takes paths too, and unpickles their files.
    """
    import timm

    architecture = str(spec.config.get("architecture", ""))
    # timm 1.0.31 saves the number of classes there as well; the wrapper passes another and would fail on two.
    arguments = {k: v for k, v in (spec.config.get("model_args") or {}).items() if k != "num_classes"}
    of_loading = inspect.signature(timm.create_model).parameters
    refused = [name for name in arguments if name in of_loading or name.startswith("pretrained")]
    refused += [architecture] if ":" in architecture or "/" in architecture else []
    if refused:
        raise EmmsError(
            "other-repository",
            f"config.json of {spec.repo.id} may name other files: {', '.join(refused)}",
            "choose a checkpoint whose architecture is a name such as resnet50, and whose model_args describe it",
        )
    return arguments


def _check_complete(spec: FeatureSpec, missing: set[str]) -> str:
    """Return the pooling. Raise an `EmmsError` if weights that it needs are missing in the checkpoint."""
    pooling = spec.pooling
    if pooling == "image_fallback" and any("pooler" in name for name in missing):
        pooling = "spatial_mean"
    if pooling not in _NEED_POOLER:
        missing = {name for name in missing if "pooler" not in name.split(".")}
    missing = {name for name in missing if name.split(".")[0] not in spec.architecture.unused}
    if missing:
        raise EmmsError(
            "weights-missing",
            f"the weights of {spec.repo.id} lack {pluralize(len(missing), 'tensor')} that its architecture "
            f"({spec.architecture.family}) needs, e.g. {min(missing)}",
            "they would be random numbers: check that config.json and weights belong together",
        )
    return pooling


def is_tested(spec: FeatureSpec) -> bool:
    """Return whether the tests of hf_emms cover an architecture."""
    row = spec.architecture
    return not (spec.code or row.package or row.loader == "AutoModel")


# While loading, transformers replaces functions of torch, such as initializers, for all threads.
_LOADING = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide progress bars and warnings of transformers in this block, which no other thread enters meanwhile."""
    from transformers.utils import logging as transformers_logging

    with _LOADING, warnings.catch_warnings():
        verbosity, shows_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        warnings.simplefilter("ignore")
        transformers_logging.set_verbosity(logging.CRITICAL)
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if shows_bars:
                transformers_logging.enable_progress_bar()
