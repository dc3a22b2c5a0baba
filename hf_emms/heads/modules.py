"""PyTorch's part of heads: how a checkpoint is loaded with a head, and layers of ours on its features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_emms.features.adapters import merge_adapter
from hf_emms.features.checkpoint_files import Weights, fetch_weights
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import load_model, load_options
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.inputs.modality import BatchReader, Modality

# Rows whose features give the mean and deviation that layers of ours remove.
_FIRST_ROWS, _FIRST_BATCH = 512, 32
# What labels are called in a batch: as the classes of transformers call them.
_LABELS = ("labels", "start_positions", "end_positions")

Features = Callable[[Any, Inputs], Tensor]
"""A checkpoint and a batch to features, (b, D1) or (b, T, D1)."""


# ---- checkpoints with a head of transformers -------------------------------------------------------------------------


def class_with_head(plan: FeatureSpec, auto_class: str | None, excluded_model_types: Sequence[str] = ()) -> Any:
    """Return the class of transformers with such a head; None where the checkpoint's family has none."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = plan.config["model_type"]
    if auto_class is None or model_type in excluded_model_types:
        return None
    if plan.code or plan.architecture.package or model_type not in CONFIG_MAPPING:
        return None
    loader = getattr(transformers, auto_class)
    return loader if CONFIG_MAPPING[model_type] in loader._model_mapping else None


def load_with_head(plan: FeatureSpec, loader: Any, **config: Any) -> tuple[Any, frozenset[str], bool]:
    """Return the checkpoint in float32 as a class of transformers, its head's parameters, and whether its head is new.

    The parameters are names; some of a new head's are random, as no weights of the checkpoint fit them.
    """
    model, report = from_pretrained(plan, loader, fetch_weights(plan.weights_repo, subfolder=plan.subfolder), **config)
    if plan.base is not None:
        merge_adapter(plan.repo, model)
    # In the same order in every process: each layer takes its random numbers from the same stream.
    for name in sorted({name.rpartition(".")[0] for name in report["missing_keys"]}):
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            # By its width: a deviation of 0.02 for all widths lets little through a narrow layer.
            module.reset_parameters()
    fresh = without_weights(report)
    # A head for as many classes is loaded with its weights, but belongs to other labels.
    names = {name for name, _ in model.named_parameters()}
    outside = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    return model, frozenset(fresh | outside if outside < names else fresh), bool(fresh)


def from_pretrained(
    plan: FeatureSpec, loader: Any, weights: Weights, dtype: torch.dtype = torch.float32, **config: Any
) -> tuple[Any, dict[str, Any]]:
    """Return a checkpoint as a class of transformers with a head, and the loading report of transformers."""
    model, report = loader.from_pretrained(
        weights.folder,
        dtype=dtype,
        use_safetensors=not weights.pickled,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **{name: value for name, value in load_options(plan).items() if name == "model_args"},
        **config,
    )
    return model, report


def without_weights(report: dict[str, Any]) -> set[str]:
    """Return the parameters that no weights of the checkpoint fit, and that are random numbers."""
    return {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}


class ModelWithLoss(nn.Module):
    """A model of transformers whose loss a head computes itself."""

    accepts_loss_kwargs = False

    def __init__(self, model: Any, loss: Callable[[Any, Inputs], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        return {"loss": self._loss(self.model, batch)}


# ---- checkpoints whose embeddings are trained ------------------------------------------------------------------------

# Tokens whose activations a step keeps; those of more are computed again for their gradients.
_KEPT_TOKENS = 16_384


class Embedder(nn.Module):
    """A checkpoint `base` that gives embeddings of texts, (m, D), or with labels the loss of these."""

    accepts_loss_kwargs = False

    def __init__(self, base: Any, embed: Features, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.base, self._embed, self._loss = base, embed, loss

    def forward(self, labels: Tensor | None = None, **texts: Tensor) -> Tensor | dict[str, Tensor]:
        if labels is None:
            return self._embed(self.base, texts)
        return {"loss": self._loss(self._embed_in_parts(texts), labels)}

    def _embed_in_parts(self, texts: Inputs) -> Tensor:
        """Return embeddings of a batch of any size: what is kept for their gradients does not grow with it."""
        from torch.utils.checkpoint import checkpoint

        count, tokens = next(iter(texts.values())).shape
        most = max(1, _KEPT_TOKENS // tokens)
        if count <= most:
            return self._embed(self.base, texts)
        parts = [
            {name: tensor[start : start + most] for name, tensor in texts.items()} for start in range(0, count, most)
        ]
        return torch.cat([checkpoint(self._embed, self.base, part, use_reentrant=False) for part in parts])


# ---- checkpoints with layers of ours ---------------------------------------------------------------------------------


class Standardize(nn.Module):
    """A layer that removes a mean and a deviation from features, (…, D1), so that a learning rate suits all."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @classmethod
    def of(cls, features: Tensor) -> Standardize:
        """Return the layer for features like these, (n, D1)."""
        layer = cls(features.shape[1])
        layer.mean, layer.scale = features.mean(0), 1 / (features.std(0) + 1e-6 * features.std() + 1e-12)
        return layer

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) * self.scale


class ModelWithHead(nn.Module):
    """A checkpoint `base` of transformers and a `head` of ours on its features, which starts from random weights.

    `compute` takes the head, features, and a batch without labels and with them, see `FeatureNetwork.forward`.
    """

    accepts_loss_kwargs = False

    def __init__(
        self,
        base: Any,
        features: Features,
        head: nn.Module,
        compute: Callable[[nn.Module, Tensor, Inputs, Inputs], dict[str, Tensor]],
    ) -> None:
        super().__init__()
        self.base, self._features, self.head, self._compute = base, features, head, compute

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        labels = {name: batch.pop(name) for name in _LABELS if name in batch}
        return self._compute(self.head, self._features(self.base, batch), batch, labels)

    @property
    def head_names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.named_parameters() if name.startswith("head."))

    def save_pretrained(self, folder: Path) -> None:
        """Write the checkpoint as transformers does, and the head as head.safetensors beside it."""
        from safetensors.torch import save_file

        self.base.save_pretrained(folder)
        tensors = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(tensors, folder / HEAD_WEIGHTS)


def load_base(plan: FeatureSpec, kind: Modality, *, allow_pickle: bool) -> tuple[Any, Features]:
    """Return the checkpoint without a head, and its pooled feature; of pairs of texts, its token states."""
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
    loaded = load_model(plan, weights, allow_pickle=allow_pickle)
    return loaded.model, kind.trained_features(loaded)


@torch.no_grad()
def first_features(model: Any, features: Features, read: BatchReader, count: int) -> Tensor:
    """Return features of the first training rows as training will see them: with the statistics of a batch, (n, D1)."""
    model.train()
    rows = np.arange(min(count, _FIRST_ROWS))
    batches = [features(model, read(rows[i : i + _FIRST_BATCH])) for i in range(0, len(rows), _FIRST_BATCH)]
    return torch.cat([batch.float().reshape(-1, batch.shape[-1]) for batch in batches])
