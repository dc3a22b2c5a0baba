"""The part of heads that requires PyTorch: loading a checkpoint with a head, and new layers on its features."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import check_loadable, load_model, load_options, load_with_report, read_weights
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.inputs.modality import Modality

# Names of labels in a batch, as in the classes of transformers.
_LABELS = ("labels", "start_positions", "end_positions")
# A step keeps the activations of this many tokens. It computes the others again for their gradients.
_KEPT_TOKENS = 16_384

Features = Callable[[Any, Inputs], Tensor]
"""A function from a checkpoint and a batch to features, (b, D1) or (b, T, D1)."""


# ---- checkpoints with a head of transformers -------------------------------------------------------------------------


def class_with_head(spec: FeatureSpec, auto_class: str | None, excluded_model_types: Sequence[str] = ()) -> Any:
    """Return the class of transformers with such a head, or None if the checkpoint's family has none."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = spec.config["model_type"]
    if auto_class is None or model_type in excluded_model_types:
        return None
    if spec.code or spec.architecture.package or model_type not in CONFIG_MAPPING:
        return None
    words = re.findall("[A-Z][a-z]+", auto_class.removeprefix("Auto"))
    families = getattr(transformers, "_".join(words).upper() + "_MAPPING")
    return getattr(transformers, auto_class) if CONFIG_MAPPING[model_type] in families else None


def load_pretrained(
    spec: FeatureSpec, loader: Any, dtype: torch.dtype, **config: Any
) -> tuple[Any, set[str], set[str]]:
    """Load a checkpoint on the CPU as a class of transformers.

    Returns:
        The model, the names of the parameters that the checkpoint lacks, and the names of parameters with another
        shape in the checkpoint. All of these are random.

    Raises:
        EmmsError: The checkpoint cannot be loaded.
    """
    weights = fetch_weights(spec.repo, subfolder=spec.subfolder)

    def load(folder: Path) -> tuple[Any, dict[str, Any]]:
        with torch.random.fork_rng(devices=[]):  # some models draw random numbers even on the meta device
            check_loadable(spec, weights)
        named = {name: value for name, value in load_options(spec).items() if name == "model_args"}
        return load_with_report(spec, weights, loader, folder, dtype, **named, **config)

    (model, report), _ = read_weights(spec, weights, load)
    return model, set(report["missing_keys"]), {name for name, *_ in report["mismatched_keys"]}


def load_with_head(spec: FeatureSpec, loader: Any, **config: Any) -> tuple[Any, frozenset[str], bool]:
    """Load the checkpoint in float32 as a class of transformers with a head.

    Returns:
        The model, the names of its head's parameters, and whether some of them are random.
    """
    model, missing, mismatched = load_pretrained(spec, loader, torch.float32, **config)
    random = missing | mismatched
    # Sorted, because each layer takes its random numbers from the same stream.
    for name in sorted({name.rpartition(".")[0] for name in missing}):
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            # By its width: the usual deviation of 0.02 for all widths is too small for a narrow layer.
            module.reset_parameters()
    # A head with equally many classes is loaded with its weights, but belongs to other labels.
    names = {name for name, _ in model.named_parameters()}
    outside = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    return model, frozenset(random | outside if outside < names else random), bool(random)


class ModelWithLoss(nn.Module):
    """A model of transformers whose loss is computed by a head of hf_emms."""

    accepts_loss_kwargs = False

    def __init__(self, model: Any, loss: Callable[[Any, Inputs], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        return {"loss": self._loss(self.model, batch)}


# ---- checkpoints whose embeddings are trained ------------------------------------------------------------------------


class Embedder(nn.Module):
    """A checkpoint `base` that returns embeddings of texts, (m, D), or with labels the loss of these."""

    accepts_loss_kwargs = False

    def __init__(self, base: Any, embed: Features, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.base, self._embed, self._loss = base, embed, loss

    def forward(self, labels: Tensor | None = None, **texts: Tensor) -> Tensor | dict[str, Tensor]:
        if labels is None:
            return self._embed(self.base, texts)
        return {"loss": self._loss(self._embed_in_parts(texts), labels)}

    def _embed_in_parts(self, texts: Inputs) -> Tensor:
        """Return embeddings of a batch of any size. The stored activations do not grow with it."""
        from torch.utils.checkpoint import checkpoint

        count, tokens = next(iter(texts.values())).shape
        most = max(1, _KEPT_TOKENS // tokens)
        if count <= most:
            return self._embed(self.base, texts)
        parts = [
            {name: tensor[start : start + most] for name, tensor in texts.items()} for start in range(0, count, most)
        ]
        return torch.cat([checkpoint(self._embed, self.base, part, use_reentrant=False) for part in parts])


# ---- checkpoints with new layers -------------------------------------------------------------------------------------


class Standardize(nn.Module):
    """A layer that standardizes features (…, D1), so that one learning rate suits all checkpoints."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @classmethod
    def of(cls, features: Tensor) -> Standardize:
        """Return the layer that standardizes features (n, D1)."""
        layer = cls(features.shape[1])
        layer.mean, layer.scale = features.mean(0), 1 / (features.std(0) + 1e-6 * features.std() + 1e-12)
        return layer

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) * self.scale


class ModelWithHead(nn.Module):
    """A checkpoint `base` of transformers with a `head` of new layers on its features.

    `compute` takes the head, the features, a batch without its labels, and these, see `FeatureNetwork.forward`.
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
        """Write the checkpoint as transformers does, and the head to head.safetensors."""
        from safetensors.torch import save_file

        self.base.save_pretrained(folder)
        tensors = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(tensors, folder / HEAD_WEIGHTS)


def load_base(spec: FeatureSpec, modality: Modality) -> tuple[Any, Features]:
    """Load the checkpoint without a head, and return it with its pooled feature, or token states for pairs of texts."""
    loaded = load_model(spec)
    return loaded.model, modality.trained_features(loaded)
