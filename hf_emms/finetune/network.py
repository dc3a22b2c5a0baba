"""A checkpoint with a head, as it is trained: how it is loaded, repaired, restricted to an adapter or a head, saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_emms.errors import EmmsError
from hf_emms.features.adapters import merge_adapter, place_adapter
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.features.load import load_model, load_options
from hf_emms.finetune.own_head import OWN_HEAD
from hf_emms.finetune.splits import LabeledSplit
from hf_emms.inputs.kind import BatchReader, InputKind
from hf_emms.options import Options
from hf_emms.tasks import Head

# Rows whose features give the mean and deviation that a head of ours removes.
_FIRST_ROWS, _FIRST_BATCH = 512, 32
_MAX_MOMENTUM, _MOMENTUM = 0.5, 0.1
_MAX_DROPOUT = 0.7
# The lowest peak learning rates of heads, and of those of several layers.
HEAD_RATE, DEEP_HEAD_RATE = 2e-3, 5e-3

Features = Callable[[Any, Inputs], Tensor]
"""A checkpoint and a batch to features, (b, D1) or (b, T, D1)."""


class LabeledRows(torch.utils.data.Dataset):
    """Rows for `Trainer`: an item is this object and a row's number, which `collate` makes batches of.

    The labels of all rows, (n, …) each, are by the names of the model's arguments; there are none for rows to predict.
    """

    def __init__(self, read: BatchReader, labels: Inputs, count: int) -> None:
        self._read, self._labels, self._count = read, labels, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> tuple[LabeledRows, int]:
        return self, row

    def batch(self, rows: np.ndarray) -> Inputs:
        return {**self._read(rows), **{name: labels[rows] for name, labels in self._labels.items()}}


def collate(items: Sequence[tuple[LabeledRows, int]]) -> Inputs:
    """A batch of items of one split."""
    return items[0][0].batch(np.array([row for _, row in items]))


@dataclass
class Network:
    """A checkpoint with a head.

    Attributes:
        model: takes the tensors of a batch with labels, and returns a loss.
        rows: of a split for `Trainer`, with labels or to predict.
        predictions: outputs of all rows of a split to what metrics compare with its references.
        predict: the model and a batch without labels to outputs, (b, …).
        saved: what is saved of the model; None for all of it.
        finish: is called before the model is saved, and is not trained any more.
        head: names of the model's parameters that are not the pretrained part's.
        head_rate: the lowest peak learning rate of these.
        references: of a head of ours, JSON of which the task makes one with the same outputs: its classes, its words.
        describe: writes what opens a head of ours again into the folder of a saved model.
        adapter: the `PeftModel` of the model with an adapter; None for other methods.
        save_adapter: writes the adapter alone into a folder, instead of a model that it is merged into.
        loss: outputs of all rows of a split to their mean loss; None where it is not computed from outputs.
    """

    model: Any
    rows: Callable[[LabeledSplit, bool], LabeledRows]
    predictions: Callable[[Any, LabeledSplit], list[Any]]
    predict: Callable[[Any, Inputs], Any] = lambda model, inputs: model(**inputs)["logits"]
    processors: Sequence[Any] = ()
    notes: list[str] = field(default_factory=list)
    saved: Any = None
    finish: Callable[[], None] = lambda: None
    head: frozenset[str] = frozenset()
    head_rate: float = HEAD_RATE
    loss: Callable[[np.ndarray, LabeledSplit], float] | None = None
    references: Sequence[Any] = ()
    describe: Callable[[Path], None] = lambda folder: None
    adapter: Any = None
    save_adapter: Callable[..., None] | None = None

    def save(self, folder: Path) -> None:
        if self.save_adapter is not None:
            self.save_adapter(self.adapter, folder=folder)
        else:
            if self.adapter is not None:
                self.adapter.merge_and_unload()
            self.finish()
            (self.model if self.saved is None else self.saved).save_pretrained(folder)
        for processor in self.processors:
            processor.save_pretrained(folder)
        self.describe(folder)


# ---- checkpoints with a head of transformers -------------------------------------------------------------------------


def class_with_head(plan: ExtractionPlan, head: Head) -> Any:
    """The class of transformers with such a head; None where the checkpoint's family has none."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = plan.config["model_type"]
    if head.auto_class is None or model_type in head.excluded_model_types:
        return None
    if plan.code or plan.architecture.package or model_type not in CONFIG_MAPPING:
        return None
    loader = getattr(transformers, head.auto_class)
    return loader if CONFIG_MAPPING[model_type] in loader._model_mapping else None


def load_with_head(plan: ExtractionPlan, loader: Any, **config: Any) -> tuple[Any, frozenset[str]]:
    """The checkpoint in float32 as a class of transformers, and the parameters of its head."""
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
    model, report = loader.from_pretrained(
        weights.folder,
        dtype=torch.float32,
        use_safetensors=not weights.pickled,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **{name: value for name, value in load_options(plan).items() if name == "model_args"},
        **config,
    )
    if plan.base is not None:
        merge_adapter(plan.repo, model)
    # In one order in every process: each layer takes its random numbers from the same stream.
    for name in sorted({name.rpartition(".")[0] for name in report["missing_keys"]}):
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            # By its width: a deviation of 0.02 for all widths lets little through a narrow one.
            module.reset_parameters()
    fresh = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    # A head for as many classes is loaded with its weights, but belongs to other labels.
    names = {name for name, _ in model.named_parameters()}
    outside = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    return model, frozenset(fresh | outside if outside < names else fresh)


# ---- checkpoints with a head of ours ---------------------------------------------------------------------------------


class Standardize(nn.Module):
    """Takes the first training rows' mean and deviation out of features, (…, D1), so that one rate suits all."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("scale", 1 / (features.std(0) + 1e-6 * features.std() + 1e-12))

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) * self.scale


class ModelWithHead(nn.Module):
    """A checkpoint `base` of transformers and a `head` of ours on its features, which starts from random weights."""

    accepts_loss_kwargs = False

    def __init__(self, base: Any, features: Features, head: nn.Module) -> None:
        super().__init__()
        self.base, self._features, self.head = base, features, head

    @property
    def head_names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.named_parameters() if name.startswith("head."))

    def save_pretrained(self, folder: Path) -> None:
        """Writes the checkpoint as transformers does, and the head as head.safetensors beside it."""
        from safetensors.torch import save_file

        self.base.save_pretrained(folder)
        tensors = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(tensors, folder / OWN_HEAD)


def load_base(plan: ExtractionPlan, options: Options, kind: InputKind) -> tuple[Any, Features]:
    """The checkpoint without a head, and its pooled feature; of pairs of texts, its token states."""
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder, code=plan.code)
    loaded = load_model(plan, weights, allow_pickle=options.allow_pickle)
    return loaded.model, kind.trained_features(loaded)


@torch.no_grad()
def first_features(model: Any, features: Features, read: BatchReader, count: int) -> Tensor:
    """Features of the first training rows as training will see them: with the statistics of a batch, (n, D1)."""
    model.train()
    rows = np.arange(min(count, _FIRST_ROWS))
    batches = [features(model, read(rows[i : i + _FIRST_BATCH])) for i in range(0, len(rows), _FIRST_BATCH)]
    return torch.cat([batch.float().reshape(-1, batch.shape[-1]) for batch in batches])


def features_for_head(saved_width: int | None, measure: Callable[[], Tensor]) -> Tensor:
    """What a head is made for: measured features, or, where its own statistics are loaded, as many of one width."""
    return measure() if saved_width is None else torch.zeros(2, saved_width)


# ---- what is trained -------------------------------------------------------------------------------------------------


def repaired(model: nn.Module) -> list[str]:
    """Changes defaults of other frameworks that ruin a training; what was changed, in words.

    Batch norm's momentum above 0.5 is TensorFlow's: the last batch alone would set the statistics of evaluation.
    """
    momenta, rates, frozen = set(), set(), 0
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.momentum or 0) > _MAX_MOMENTUM:
            momenta.add(float(module.momentum or 0))
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
        notes.append(f"batch norm's momentum was {_listed(momenta)}, another framework's convention: {_MOMENTUM}")
    if rates:
        notes.append(f"dropout was {_listed(rates)}, a share to keep: {_listed({1 - rate for rate in rates})}")
    if frozen:
        notes.append(f"{frozen} frozen tensors are trained")
    return notes


def _listed(values: set[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in sorted(values))


def apply_method(network: Network, method: str) -> None:
    """Leaves trainable what a method trains, "full", "lora" or "head"; the parameters of the head always are."""
    head = [parameter for name, parameter in network.model.named_parameters() if name in network.head]
    if method == "head" and not head:
        raise EmmsError("it has no head that could be trained alone", "--method full or lora")
    if method == "lora":
        network.adapter = place_adapter(network.model if network.saved is None else network.saved, head)
    elif method == "head":
        network.model.requires_grad_(False)
    for parameter in head:
        parameter.requires_grad_(True)
