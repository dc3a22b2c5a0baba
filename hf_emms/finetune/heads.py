"""From a checkpoint to a network that can be trained for a task.

Where transformers has a class for the checkpoint with a head for the task, it is that, so that the result opens with
``pipeline()``. Elsewhere it is a linear layer on the feature that rankings are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_emms.features.device import Inputs, keep_freed_memory, to_channels_last
from hf_emms.features.feature_plan import ExtractionPlan, plan_extraction
from hf_emms.features.files import fetch_weights
from hf_emms.features.images import read_image_processor
from hf_emms.features.load import is_tested, load_model, load_options, quiet_transformers
from hf_emms.features.pooling import find_pooling
from hf_emms.features.text import read_tokenizer, text_reader
from hf_emms.finetune.collate import PartRows, Read, read_images, read_texts
from hf_emms.finetune.outputs import Outputs, outputs_of
from hf_emms.finetune.splits import Part, Splits
from hf_emms.hub import Repo
from hf_emms.options import Options

_AUTO = {
    "image-classification": "AutoModelForImageClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "text-regression": "AutoModelForSequenceClassification",
}
# Rows whose features give the mean and deviation that a head of ours removes.
_FIRST_ROWS = 512
_MOST_MOMENTUM, _MOMENTUM = 0.5, 0.1
_MOST_DROPOUT = 0.7


@dataclass
class Network:
    """A checkpoint with a head.

    Attributes:
        model: takes the tensors of a batch with labels, and returns a loss and outputs.
        read: a part to how its inputs are read.
        labels: a part to its labels, by the names of the model's arguments.
        keep: what is kept of the model's outputs.
        answers: outputs of all rows of a part to one answer a row.
        processors: what is saved beside the model.
        notes: what was changed or chosen.
        head: names of the parameters that are not the checkpoint's.
    """

    model: Any
    read: Callable[[Part], Read]
    labels: Callable[[Part], Inputs]
    answers: Callable[[Any, Part], list[Any]]
    keep: Callable[[Any], Any] = lambda outputs: outputs[0] if isinstance(outputs, tuple) else outputs
    processors: Sequence[Any] = ()
    notes: list[str] = field(default_factory=list)
    head: frozenset[str] = frozenset()

    def rows(self, part: Part, *, labelled: bool = True) -> PartRows:
        """The rows of a part for `Trainer`."""
        return PartRows(self.read(part), self.labels(part) if labelled else {}, len(part))

    def save(self, folder: Path) -> None:
        """Writes the model with what reads its inputs."""
        self.model.save_pretrained(folder)
        for processor in self.processors:
            processor.save_pretrained(folder)


class PooledModel(nn.Module):
    """A checkpoint's feature, standardised, and a linear layer.

    Args:
        base: the checkpoint, of transformers.
        features: the checkpoint and a batch to features, (b, D1).
        width: D1.
        meaning: what the outputs mean.
    """

    accepts_loss_kwargs = False
    mean: Tensor
    scale: Tensor

    def __init__(self, base: Any, features: Callable[[Any, Inputs], Tensor], width: int, meaning: Outputs) -> None:
        super().__init__()
        self.base, self._features, self._meaning = base, features, meaning
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = nn.Linear(width, meaning.count)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
        features = self._features(self.base, {name: one for name, one in given.items() if one is not None})
        outputs = self.head((features.float() - self.mean) * self.scale)
        return (
            {"logits": outputs} if labels is None else {"loss": self._meaning.loss(outputs, labels), "logits": outputs}
        )

    def save_pretrained(self, folder: Path) -> None:
        """Writes the checkpoint as transformers does, and the head beside it."""
        from safetensors.torch import save_file

        self.base.save_pretrained(folder)
        own = {name: tensor.contiguous() for name, tensor in self.state_dict().items() if not name.startswith("base.")}
        save_file(own, folder / "head.safetensors")


def load_network(repo: Repo, splits: Splits, options: Options) -> Network:
    """Loads a checkpoint with a new head for the splits' task.

    Args:
        repo: the checkpoint.
        splits: whose training rows say what is answered.
        options: what may be loaded.

    Raises:
        EmmsError: it cannot be loaded, or has no head for the task.
    """
    keep_freed_memory()
    task = splits.task
    plan = plan_extraction(repo, task.modality, task.id, trust_remote_code=options.trust_remote_code)
    with quiet_transformers():
        meaning = outputs_of(splits)
        notes = [note for _, note in plan.notes]
        if (loader := _class_with_head(plan, task.id)) is not None:
            network = _with_class(plan, loader, meaning, splits, notes)
        else:
            network = _pooled(plan, meaning, splits, notes, options)
    notes += repaired(network.model)
    if "image" in task.modality and is_tested(plan):
        to_channels_last(network.model)
    return network


def _class_with_head(plan: ExtractionPlan, task_id: str) -> Any:
    """The class of transformers with a head for the task; None where the checkpoint's family has none."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if plan.code or plan.architecture.package or plan.config["model_type"] not in CONFIG_MAPPING:
        return None
    loader = getattr(transformers, _AUTO[task_id])
    return loader if CONFIG_MAPPING[plan.config["model_type"]] in loader._model_mapping else None


def _with_class(plan: ExtractionPlan, loader: Any, meaning: Outputs, splits: Splits, notes: list[str]) -> Network:
    weights = fetch_weights(plan.repo, subfolder=plan.subfolder)
    model, report = loader.from_pretrained(
        weights.folder,
        dtype=torch.float32,
        use_safetensors=not weights.pickled,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **{name: value for name, value in load_options(plan).items() if name == "model_args"},
        **meaning.config,
    )
    fresh = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if any("pooler" in name for name in fresh):
        notes.append("its pooling head has no weights and starts from random ones")
    read, processors = _reading(plan, model, notes)
    return Network(
        model,
        read,
        lambda part: {"labels": meaning.labels(part)},
        lambda outputs, part: meaning.answers(outputs),
        processors=processors,
        notes=notes,
        head=frozenset(fresh),
    )


def _pooled(plan: ExtractionPlan, meaning: Outputs, splits: Splits, notes: list[str], options: Options) -> Network:
    """A linear layer on the feature that rankings are made of, standardised as it is before training."""
    weights = fetch_weights(plan.repo, subfolder=plan.subfolder, code=plan.code)
    base, pooling, _ = load_model(plan, weights, allow_pickle=options.allow_pickle)
    features = find_pooling(pooling).features
    read, processors = _reading(plan, base, notes)
    found = _first_features(base, features, read(splits.train), len(splits.train))
    model = PooledModel(base, features, found.shape[1], meaning)
    deviation = found.std(0)
    model.mean.copy_(found.mean(0))
    model.scale.copy_(1 / (deviation + 1e-6 * found.std() + 1e-12))
    return Network(
        model,
        read,
        lambda part: {"labels": meaning.labels(part)},
        lambda outputs, part: meaning.answers(outputs),
        processors=processors,
        notes=[*notes, "transformers has no class with a head for it: a linear layer on its pooled feature"],
        head=frozenset({"head.weight", "head.bias"}),
    )


@torch.no_grad()
def _first_features(model: Any, features: Callable[[Any, Inputs], Tensor], read: Read, count: int) -> Tensor:
    """Features of the first training rows as training will see them: with the statistics of a batch."""
    model.train()
    size = 32
    rows = np.arange(min(count, _FIRST_ROWS))
    return torch.cat([features(model, read(rows[start : start + size])).float() for start in range(0, len(rows), size)])


def _reading(plan: ExtractionPlan, model: Any, notes: list[str]) -> tuple[Callable[[Part], Read], Sequence[Any]]:
    """How the inputs of a part are read, and the processors that do it."""
    if plan.architecture.modality == "image":
        images = read_image_processor(plan, torch.device("cpu"))
        if not images.fixed_size:
            notes.append("pictures are made square, which its image processor leaves at various sizes")
        return lambda part: read_images(images, part), (images.processor.original,)
    tokenizer = copy(read_tokenizer(plan))
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    reader = text_reader(plan, model, tokenizer)
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = reader.pad_id
    if model.config.is_encoder_decoder and getattr(model.config, "decoder_start_token_id", None) is None:
        # transformers 5 moves it to the configuration of generation, where classifiers do not look.
        start = getattr(getattr(model, "generation_config", None), "decoder_start_token_id", None)
        model.config.decoder_start_token_id = reader.pad_id if start is None else start
    return lambda part: read_texts(reader, part.inputs, part.input_of_row, notes), (tokenizer,)


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


def _listed(values: set[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in sorted(values))
