"""From a checkpoint to a network that can be trained for a task, by what the task's head gives.

Where transformers has a class for the checkpoint with such a head, it is that, so that the result opens with
``pipeline()``. Elsewhere it is a head of ours on the feature that rankings are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hf_emms.features.device import Inputs, keep_freed_memory
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.network import (
    DEEP_HEAD_RATE,
    HEAD_RATE,
    Features,
    LabeledRows,
    ModelWithHead,
    Network,
    Standardize,
    apply_method,
    class_with_head,
    features_for_head,
    first_features,
    load_base,
    load_with_head,
    repaired,
)
from hf_emms.finetune.own_head import write_description
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.response_network import response_network
from hf_emms.finetune.span_network import span_network
from hf_emms.finetune.splits import LabeledSplit, Splits
from hf_emms.finetune.text_network import text_network
from hf_emms.finetune.transcript_network import transcript_network
from hf_emms.finetune.word_network import word_network
from hf_emms.inputs.kind import BatchReader
from hf_emms.options import Options
from hf_emms.tasks import HeadSpec


def load_network(
    plan: ExtractionPlan, splits: Splits, options: Options, method: str = "full", saved_width: int | None = None
) -> Network:
    """Loads a checkpoint with a new head for the splits' task; `method` is what is trained: "full", "lora" or "head".

    A head of ours whose saved weights are to be loaded is made for features of `saved_width`, and reads no rows.

    Raises:
        EmmsError: it cannot be loaded, or has no head for the task.
    """
    keep_freed_memory()
    builders = {
        "row": row_network,
        "span": span_network,
        "text": text_network,
        "words": word_network,
        "response": response_network,
        "transcript": transcript_network,
    }
    build = builders[head_of(splits.task).output]
    with quiet_transformers():
        network = build(plan, splits, options, saved_width)
    if isinstance(network.model, ModelWithHead):
        network.describe = partial(write_description, plan=plan, task=splits.task, references=network.references)
    network.notes = [*(note for _, note in plan.notes), *network.notes, *repaired(network.model)]
    apply_method(network, method)
    return network


# Of a new pooling head: within this many deviations its tanh is nearly a straight line.
_POOLER_SCALE = 0.3


class RowModel(ModelWithHead):
    """A checkpoint's feature, and a head with C outputs on it."""

    def __init__(self, base: Any, features: Features, first: Tensor, spec: HeadSpec) -> None:
        width = first.shape[1]
        layers: list[nn.Module] = [nn.Linear(width, spec.count)]
        if spec.hidden is not None:
            layers = [nn.Linear(width, spec.hidden), nn.GELU(), nn.Linear(spec.hidden, spec.count)]
        super().__init__(base, features, nn.Sequential(Standardize(first), *layers))
        self._loss = spec.loss

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        outputs = self.head(self._features(self.base, inputs))
        return {"logits": outputs} if labels is None else {"loss": self._loss(outputs, labels)}


def row_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A network with one prediction a row."""
    head, kind = head_of(splits.task), splits.task.input
    assert head.spec is not None, "a head of rows says what its outputs mean"
    spec, notes = head.spec(splits.train.references), list[str]()
    loader = class_with_head(plan, head)
    if loader is not None:
        model, head_names = load_with_head(plan, loader, **spec.config)
        reader = kind.training_reader(plan, model, notes)
        pooler = _pooler_without_weights(model, head_names)
        if pooler is not None:
            train = splits.train
            _start_as_standardized(pooler, model, reader.read(train.inputs, train.input_of_row), len(train))
            notes.append("its pooling head has no weights: it starts as the standardized feature of its first token")
    else:
        notes.append("transformers has no class with a head for it: a head on its pooled feature")
        base, features = load_base(plan, options, kind)
        reader = kind.training_reader(plan, base, notes)
        train = splits.train
        first = features_for_head(
            saved_width,
            lambda: first_features(base, features, reader.read(train.inputs, train.input_of_row), len(train)),
        )
        model = RowModel(base, features, first, spec)
        head_names = model.head_names

    def rows(split: LabeledSplit, labelled: bool) -> LabeledRows:
        labels = {"labels": spec.labels(split.references)} if labelled else {}
        return LabeledRows(reader.read(split.inputs, split.input_of_row), labels, len(split))

    return Network(
        model,
        rows,
        lambda outputs, split: spec.predictions(outputs),
        processors=reader.processors,
        notes=notes,
        finish=_restore_values(model, head_names, spec, notes),
        head=head_names,
        head_rate=HEAD_RATE if spec.hidden is None else DEEP_HEAD_RATE,
        references=spec.references,
        loss=lambda outputs, split: float(spec.loss(torch.from_numpy(outputs), spec.labels(split.references))),
    )


def _pooler_without_weights(model: nn.Module, head: frozenset[str]) -> nn.Linear | None:
    """The layer between a checkpoint's layers and its classes that had no weights, where it keeps the width."""
    names = {name.rpartition(".")[0] for name in head if name.startswith(f"{model.base_model_prefix}.")}
    layers = [model.get_submodule(name) for name in sorted(names) if "pooler" in name]
    return next((layer for layer in layers if isinstance(layer, nn.Linear) and _is_square(layer)), None)


def _is_square(layer: nn.Linear) -> bool:
    return layer.in_features == layer.out_features and layer.bias is not None


def _start_as_standardized(layer: nn.Linear, model: nn.Module, read: BatchReader, count: int) -> None:
    """Has a new layer pass on what it gets, standardized: with random weights it would learn slowly, and end lower."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0])

    def features_before(model: nn.Module, inputs: Inputs) -> Tensor:
        model(**inputs)
        return seen.pop()

    hook = layer.register_forward_pre_hook(keep)
    features = first_features(model, features_before, read, count)
    hook.remove()
    mean, scale = features.mean(0), _POOLER_SCALE / (features.std(0) + 1e-6)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(scale))
        layer.bias.copy_(-mean * scale)


def _restore_values(model: nn.Module, head: frozenset[str], spec: HeadSpec, notes: list[str]) -> Callable[[], None]:
    """What has a trained model give values as they were measured; noted where its last layer cannot."""
    if spec.removed is None:
        return Network.finish
    mean, scale = spec.removed
    layers = [model.get_submodule(name.rpartition(".")[0]) for name in head if name.endswith(".weight")]
    last = next(layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1)
    if last.bias is None:
        notes.append(f"its last layer has no bias: what it gives is (value - {mean:.6g}) / {scale:.6g}")
        return Network.finish
    return partial(_scale_layer, last, mean, scale)


@torch.no_grad()
def _scale_layer(last: nn.Linear, mean: float, scale: float) -> None:
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(mean)
