"""From a checkpoint to a network that can be trained for a task.

Where transformers has a class for the checkpoint with a head for the task, it is that, so that the result opens with
``pipeline()``. Elsewhere it is a head of ours on the feature that rankings are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Inputs, keep_freed_memory
from hf_emms.features.extraction_plan import ExtractionPlan, plan_extraction
from hf_emms.features.load import load_model, load_options, quiet_transformers
from hf_emms.finetune.collate import PartRows
from hf_emms.finetune.methods import apply_method, merge_adapter
from hf_emms.finetune.outputs import Outputs, outputs_of
from hf_emms.finetune.splits import Part, Splits
from hf_emms.hub import Repo
from hf_emms.inputs import INPUT_KINDS
from hf_emms.inputs.kind import BatchReader
from hf_emms.options import Options

_AUTO = {
    "image-classification": "AutoModelForImageClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "text-regression": "AutoModelForSequenceClassification",
    "visual-question-answering": "AutoModelForVisualQuestionAnswering",
    "question-answering": "AutoModelForQuestionAnswering",
    "image-to-text": "AutoModelForImageTextToText",
}
# Classes for answers about pictures that write them, which no classifier of known answers is made of.
_GENERATE = ("blip", "blip-2")
# Rows whose features give the mean and deviation that a head of ours removes.
_FIRST_ROWS, _FIRST_BATCH = 512, 32
_MOST_MOMENTUM, _MOMENTUM = 0.5, 0.1
_MOST_DROPOUT = 0.7
# The lowest peak learning rate of a head of several layers.
DEEP_HEAD_RATE = 5e-3

Features = Callable[[Any, Inputs], Tensor]
"""A checkpoint and a batch to features, (b, D1) or (b, T, D1)."""


@dataclass
class Network:
    """A checkpoint with a head.

    Attributes:
        model: takes the tensors of a batch with labels, and returns a loss.
        rows: the rows of a part for `Trainer`, with labels or to predict.
        answers: outputs of all rows of a part to one answer a row.
        predict: the model and a batch without labels to outputs, (b, …).
        processors: what is saved beside the model.
        notes: what was changed or chosen.
        saved: what is saved of the model.
        finish: called before the model is saved, and is not trained any more.
        head: names of the model's parameters that are not the pretrained part's.
        head_rate: the lowest peak learning rate of these.
        loss: outputs of all rows of a part to their mean loss; None where it is not computed from outputs.
    """

    model: Any
    rows: Callable[[Part, bool], PartRows]
    answers: Callable[[Any, Part], list[Any]]
    predict: Callable[[Any, Inputs], Any] = lambda model, inputs: model(**inputs)["logits"]
    processors: Sequence[Any] = ()
    notes: list[str] = field(default_factory=list)
    saved: Any = None
    finish: Callable[[], None] = lambda: None
    head: frozenset[str] = frozenset()
    head_rate: float = 2e-3
    loss: Callable[[np.ndarray, Part], float] | None = None

    def save(self, folder: Path) -> None:
        """Writes the model with what reads its inputs."""
        merge_adapter(self.model)
        self.finish()
        (self.model if self.saved is None else self.saved).save_pretrained(folder)
        for processor in self.processors:
            processor.save_pretrained(folder)


class Standardise(nn.Module):
    """Features with the mean and deviation that training rows had before training, so that one rate suits all.

    Args:
        features: of the first training rows, float32 (n, D1).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("scale", 1 / (features.std(0) + 1e-6 * features.std() + 1e-12))

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) * self.scale


class PooledModel(nn.Module):
    """A checkpoint's feature, and a head on it.

    Args:
        base: the checkpoint, of transformers.
        features: of it.
        first: features of the first training rows.
        meaning: what the outputs mean.
    """

    accepts_loss_kwargs = False

    def __init__(self, base: Any, features: Features, first: Tensor, meaning: Outputs) -> None:
        super().__init__()
        self.base, self._features, self._meaning = base, features, meaning
        self.head = nn.Sequential(Standardise(first), *_layers(first.shape[1], meaning))

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
        outputs = self.head(self._features(self.base, {name: one for name, one in given.items() if one is not None}))
        return {"logits": outputs} if labels is None else {"loss": self._meaning.loss(outputs, labels)}

    def save_pretrained(self, folder: Path) -> None:
        """Writes the checkpoint as transformers does, and the head beside it."""
        save_with_head(self.base, self.head, folder)


def save_with_head(base: Any, head: nn.Module, folder: Path) -> None:
    """Writes a checkpoint as transformers does, and a head of ours as head.safetensors beside it."""
    from safetensors.torch import save_file

    base.save_pretrained(folder)
    save_file({name: one.contiguous() for name, one in head.state_dict().items()}, folder / "head.safetensors")


def load_network(repo: Repo, splits: Splits, options: Options, method: str = "full") -> Network:
    """Loads a checkpoint with a new head for the splits' task.

    Args:
        repo: the checkpoint.
        splits: whose training rows say what is answered.
        options: what may be loaded.
        method: what is trained: "full", "lora" or "head".

    Raises:
        EmmsError: it cannot be loaded, or has no head for the task.
    """
    from hf_emms.finetune.answer_spans import load_span_finder
    from hf_emms.finetune.captioners import load_captioner

    keep_freed_memory()
    task = splits.task
    plan = plan_extraction(repo, task.input, task.id, trust_remote_code=options.trust_remote_code)
    own = {"question-answering": load_span_finder, "image-to-text": load_captioner}
    with quiet_transformers():
        network = own.get(task.id, _load_classifier)(plan, splits, options)
    network.notes = [*(note for _, note in plan.notes), *network.notes, *repaired(network.model)]
    apply_method(network.model, method, network.head)
    return network


def _load_classifier(plan: ExtractionPlan, splits: Splits, options: Options) -> Network:
    """A network with one answer a row: a class of transformers, or a head on the pooled feature."""
    meaning, notes = outputs_of(splits), list[str]()
    loader, model, head = class_with_head(plan, splits.task.id), None, frozenset[str]()
    if loader is None:
        notes.append("transformers has no class with a head for it: a head on its pooled feature")
    else:
        model, head = load_with_head(plan, loader, **meaning.config)
        if any(name.startswith(f"{model.base_model_prefix}.") and "pooler" in name for name in head):
            # With random weights between its layers and its classes it would learn slowly, and end lower.
            notes.append("its pooling head has no weights: a head on its pooled feature instead")
            model = None
    if model is not None:
        read, processors = reading(plan, model, notes)
    else:
        base, features = load_base(plan, options)
        read, processors = reading(plan, base, notes)
        first = first_features(base, features, read(splits.train), len(splits.train))
        model = PooledModel(base, features, first, meaning)
        head = own_head(model)
    finish: Callable[[], None] = Network.finish
    if meaning.removed is not None:
        last = _last_layer(model, head)
        if last.bias is None:
            mean, scale = meaning.removed
            notes.append(f"its last layer has no bias: what it gives is (value - {mean:.6g}) / {scale:.6g}")
        else:
            finish = partial(_restore, last, *meaning.removed)
    return Network(
        model,
        lambda part, labelled: PartRows(read(part), {"labels": meaning.labels(part)} if labelled else {}, len(part)),
        lambda outputs, part: meaning.answers(outputs),
        processors=processors,
        notes=notes,
        finish=finish,
        head=head,
        head_rate=DEEP_HEAD_RATE if meaning.hidden is not None else Network.head_rate,
        loss=lambda outputs, part: float(meaning.loss(torch.from_numpy(outputs), meaning.labels(part))),
    )


def _last_layer(model: nn.Module, head: frozenset[str]) -> nn.Linear:
    """The layer of a head that gives one number."""
    layers = [model.get_submodule(name.rpartition(".")[0]) for name in head if name.endswith(".weight")]
    return next(layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1)


@torch.no_grad()
def _restore(last: nn.Linear, mean: float, scale: float) -> None:
    """Has a layer give values as they were measured, and not without their mean and deviation."""
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(mean)


def own_head(model: nn.Module) -> frozenset[str]:
    """Names of the parameters of a head of ours."""
    return frozenset(name for name, _ in model.named_parameters() if name.startswith("head."))


def class_with_head(plan: ExtractionPlan, task_id: str) -> Any:
    """The class of transformers with a head for the task; None where the checkpoint's family has none."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = plan.config["model_type"]
    if plan.code or plan.architecture.package or model_type not in CONFIG_MAPPING or task_id not in _AUTO:
        return None
    if task_id == "visual-question-answering" and model_type in _GENERATE:
        return None
    loader = getattr(transformers, _AUTO[task_id])
    return loader if CONFIG_MAPPING[model_type] in loader._model_mapping else None


def load_with_head(plan: ExtractionPlan, loader: Any, **config: Any) -> tuple[Any, frozenset[str]]:
    """The checkpoint in float32 as a class of transformers, and the parameters of its head."""
    weights = fetch_weights(plan.repo, subfolder=plan.subfolder)
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
    for name in {name.rpartition(".")[0] for name in report["missing_keys"]}:
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            # By its width: a deviation of 0.02 for all widths lets little through a narrow one.
            module.reset_parameters()
    fresh = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    # A head for as many classes is loaded with its weights, but belongs to other labels.
    names = {name for name, _ in model.named_parameters()}
    outside = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    return model, frozenset(fresh | outside if outside < names else fresh)


def load_base(plan: ExtractionPlan, options: Options) -> tuple[Any, Features]:
    """The checkpoint without a head, and its pooled feature; of pairs of texts, its token states."""
    weights = fetch_weights(plan.repo, subfolder=plan.subfolder, code=plan.code)
    loaded = load_model(plan, weights, allow_pickle=options.allow_pickle)
    return loaded.model, INPUT_KINDS[plan.architecture.input_kind].trained_features(loaded)


@torch.no_grad()
def first_features(model: Any, features: Features, read: BatchReader, count: int) -> Tensor:
    """Features of the first training rows as training will see them: with the statistics of a batch, (n, D1)."""
    model.train()
    rows = np.arange(min(count, _FIRST_ROWS))
    batches = [features(model, read(rows[i : i + _FIRST_BATCH])) for i in range(0, len(rows), _FIRST_BATCH)]
    return torch.cat([batch.float().reshape(-1, batch.shape[-1]) for batch in batches])


def reading(plan: ExtractionPlan, model: Any, notes: list[str]) -> tuple[Callable[[Part], BatchReader], Sequence[Any]]:
    """How the inputs of a part are read, and the processors that do it."""
    reader = INPUT_KINDS[plan.architecture.input_kind].training_reader(plan, model, notes)
    return lambda part: reader.read(part.inputs, part.input_of_row), reader.processors


def repaired(model: nn.Module) -> list[str]:
    """Changes defaults of other frameworks that ruin a training; what was changed, in words.

    Batch norm's momentum above 0.5 is TensorFlow's: the last batch alone would set the statistics of evaluation.
    Dropout above 0.7 is a share to keep.
    """
    momenta, rates, frozen = set(), set(), 0
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.momentum or 0) > _MOST_MOMENTUM:
            momenta.add(float(module.momentum or 0))
            module.momentum = _MOMENTUM
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > _MOST_DROPOUT:
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


def _layers(width: int, meaning: Outputs) -> list[nn.Module]:
    if meaning.hidden is None:
        return [nn.Linear(width, meaning.count)]
    return [nn.Linear(width, meaning.hidden), nn.GELU(), nn.Linear(meaning.hidden, meaning.count)]


def _listed(values: set[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in sorted(values))
