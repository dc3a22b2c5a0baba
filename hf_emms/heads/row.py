"""Heads with a prediction per row: a class or several, a number, or a task's own outputs."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.feature_spec import FeatureSpec, without_kernels
from hf_emms.heads.head import DEEP_HEAD_RATE, HEAD_RATE, FeatureHead, FeatureNetwork, Head
from hf_emms.heads.metrics import ACCURACY, MACRO_F1, MICRO_F1, R2, SPEARMAN, Metric, have_several
from hf_emms.heads.split import (
    IGNORED,
    MAX_BASELINES,
    BatchedRows,
    ConstantBaseline,
    LabeledSample,
    LabeledSplit,
    best_baseline,
    for_all_rows,
)
from hf_emms.inputs import EncodedInputs, Modality, Pairs
from hf_emms.inputs.audio import PART_SECONDS, UNREADABLE, decode

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs

# The initial scale of a new pooling layer. Its tanh is nearly linear within this many deviations.
_POOLER_SCALE = 0.3
# Class of transformers → the pipeline of models with such a head, for a prediction per row.
PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForAudioClassification": "audio-classification",
}


@dataclass(frozen=True)
class RowOutputs:
    """How many outputs a head has, and what they mean.

    Attributes:
        count: The number of outputs per row, C.
        labels: Function from n references to the labels for the loss, (n, …).
        loss: Function from outputs, float32 (b, C), and labels (b, …) to the mean loss.
        predictions: Function from outputs, float32 (n, C), to n predictions, which metrics compare with references.
        config: Arguments for a class of transformers with such a head.
        hidden: Width of an additional hidden layer, if the new layers are not one linear layer.
        removed: Mean and deviation of the references, if training standardizes them.
        references: JSON from which the head makes outputs with the meaning of a saved head.
    """

    count: int
    labels: Callable[[Sequence[Any]], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[np.ndarray], list[Any]]
    config: dict[str, Any] = field(default_factory=dict)
    hidden: int | None = None
    removed: tuple[float, float] | None = None
    references: Sequence[Any] = ()


class RowHead(FeatureHead):
    """The base class of heads that predict from one vector per row."""

    def __init__(self, auto_class: str | None, *, epochs: int = 5, excluded_model_types: tuple[str, ...] = ()) -> None:
        self.auto_class, self.epochs, self.excluded_model_types = auto_class, epochs, excluded_model_types

    @abstractmethod
    def outputs(self, references: Sequence[Any]) -> RowOutputs:
        """Return the outputs for training rows with these references."""

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        return self.outputs(references).config

    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        pipeline = PIPELINES.get(self.auto_class or "")
        return RowNetwork(spec, modality, model, self.outputs(references), pipeline)


class ClassHead(RowHead):
    """A head that predicts a class per row, or several."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        """Return the metrics for references that are classes, or tuples of classes."""
        return (MICRO_F1, MACRO_F1, ACCURACY) if have_several(references) else (ACCURACY, MACRO_F1)

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        """Return a class, or a tuple of classes, for each of the U labels."""
        if not several and not sample.has_several_texts:
            names: Sequence[str] = sample.label_texts
            return names
        return [tuple(text for text, _ in texts if text != sample.no_class) for texts in sample.weighted_texts]

    def output_references(self, train: LabeledSplit) -> Sequence[Any]:
        """Return the classes of the training rows. If rows have several classes, return all in one tuple."""
        if have_several(train.references):
            return [train.classes(name for names in train.references for name in names)]
        return train.classes(train.references)

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Predict a frequent class for all rows. If rows have several classes, predict the most frequent ones."""
        candidates: list[Any] = [name for name, _ in Counter(train.references).most_common(MAX_BASELINES)]
        if have_several(train.references):
            counts = Counter(name for names in train.references for name in names)
            names = [name for name, _ in counts.most_common(MAX_BASELINES)]
            candidates = [tuple(names[:count]) for count in range(len(names) + 1)]
        metric = self.metrics(train.references)[0]
        return best_baseline("the same class for all rows", metric, map(for_all_rows, candidates), train, split)

    def outputs(self, references: Sequence[Any]) -> RowOutputs:
        """Return an output per class, in the order of first occurrence."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        if have_several(references):
            classes = list(dict.fromkeys(name for names in references for name in names))
            return RowOutputs(
                len(classes),
                labels=lambda rows: weight_table([[(name, 1.0) for name in names] for names in rows], classes),
                loss=binary_cross_entropy_with_logits,
                predictions=lambda outputs: [
                    tuple(classes[number] for number in np.flatnonzero(row > 0)) for row in outputs
                ],
                config={**class_config(classes), "problem_type": "multi_label_classification"},
                references=[classes],
            )
        classes = list(dict.fromkeys(references))
        number_of = {name: number for number, name in enumerate(classes)}
        return RowOutputs(
            len(classes),
            labels=lambda names: torch.tensor([number_of.get(name, IGNORED) for name in names]),
            loss=lambda outputs, labels: cross_entropy(outputs, labels, ignore_index=IGNORED),
            predictions=lambda outputs: [classes[number] for number in outputs.argmax(1)],
            config={**class_config(classes), "problem_type": "single_label_classification"},
            references=classes,
        )


class NumberAnswers(Head):
    """The part that heads of numbers share: their reference answers, and the mean as their baseline."""

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        """Return the number of each of the U labels."""
        return [row[0] for row in numbers_of(sample)]

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        return ConstantBaseline("the mean of the training rows", [float(np.mean(train.references))] * len(split))


class NumberHead(NumberAnswers, RowHead):
    """A head that predicts a number per row."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return R2, SPEARMAN

    def outputs(self, references: Sequence[Any]) -> RowOutputs:
        """Return one output, trained on standardized references."""
        import torch
        from torch.nn.functional import mse_loss

        mean, scale = float(np.mean(references)), float(np.std(references)) or 1.0
        return RowOutputs(
            1,
            labels=lambda values: torch.tensor([(value - mean) / scale for value in values], dtype=torch.float32),
            loss=lambda outputs, labels: mse_loss(outputs.flatten(), labels),
            predictions=lambda outputs: (outputs.flatten().astype(np.float64) * scale + mean).tolist(),
            config={"num_labels": 1, "problem_type": "regression"},
            removed=(mean, scale),
            references=[-1.0, 1.0],  # mean 0 and deviation 1: saved layers return original values
        )


def weight_table(rows: Sequence[Sequence[tuple[str, float]]], names: Sequence[str]) -> Tensor:
    """Return the weight of each class in each row, float32 (n, C). Unknown classes are ignored."""
    import torch

    number_of = {name: number for number, name in enumerate(names)}
    weights = torch.zeros(len(rows), len(names))
    for row, weighted in enumerate(rows):
        for name, weight in weighted:
            if name in number_of:
                weights[row, number_of[name]] = weight
    return weights


def class_config(classes: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a configuration of transformers for these classes."""
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def numbers_of(sample: LabeledSample) -> list[list[float]]:
    """Return the original numbers of the U distinct labels."""
    if sample.label_values is None:
        raise EmmsError("labels-not-numbers", f"the labels of {sample.dataset!r} are not numbers")
    values: list[list[float]] = sample.label_values.tolist()
    return values


class RowNetwork(FeatureNetwork):
    """A network with a prediction per row."""

    def __init__(
        self, spec: FeatureSpec, modality: Modality, model: Any, outputs: RowOutputs, pipeline: str | None = None
    ) -> None:
        self._reader, self._outputs, self._pipeline = modality.training_reader(spec, model), outputs, pipeline
        super().__init__(spec, model, self._reader.processors)
        self.notes += self._reader.notes
        self.references, self.count = outputs.references, outputs.count
        self.head_rate = HEAD_RATE if outputs.hidden is None else DEEP_HEAD_RATE

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        reader, inputs = self._reader, (split.inputs, split.input_of_row)
        if not labeled and reader.read_alone is not None:
            return BatchedRows(reader.read_alone(*inputs), {}, len(split), max_batch=1)
        labels = {"labels": self._outputs.labels(split.references)} if labeled else {}
        return BatchedRows(self.read(reader, *inputs), labels, len(split))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        return self._outputs.predictions(outputs)

    def trained_outputs(self, outputs: np.ndarray) -> np.ndarray:
        mean, scale = self._outputs.removed or (0.0, 1.0)
        return (outputs - mean) / scale

    def opened(self, folder: Path, split: LabeledSplit, device: torch.device) -> Callable[[np.ndarray], Any] | None:
        from transformers import pipeline

        if self._pipeline is None or self._has_layers:
            return None
        predict = pipeline(
            self._pipeline,
            str(folder),
            device=device,
            model_kwargs=without_kernels(self._spec),
            top_k=None,
            function_to_apply="none",
        )
        settings = {} if predict.tokenizer is None else {"truncation": True}
        rate, columns = getattr(predict.feature_extractor, "sampling_rate", None), predict.model.config.label2id

        def read(numbers: np.ndarray) -> np.ndarray:
            outputs = np.full((len(numbers), self.count), np.nan)
            for row, number in enumerate(split.input_of_row[numbers].tolist()):
                with suppress(*(UNREADABLE if rate else ())):
                    for answer in predict(_as_in_pipelines(split.inputs, number, rate), **settings):
                        outputs[row, columns[answer["label"]]] = answer["score"]
            return self.trained_outputs(outputs)

        return read

    def loss(self, outputs: Any, split: LabeledSplit) -> float | None:
        import torch

        return float(self._outputs.loss(torch.from_numpy(outputs), self._outputs.labels(split.references)))

    def layers(self, standardize: nn.Module, width: int) -> nn.Module:
        from torch import nn

        hidden = self._outputs.hidden
        if hidden is None:
            return super().layers(standardize, width)
        return nn.Sequential(standardize, nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, self.count))

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        outputs = layers(features)
        return {"loss": self._outputs.loss(outputs, labels["labels"])} if labels else {"logits": outputs}

    @property
    def fits(self) -> bool:
        return self._outputs.removed is None or self._last_layer().bias is not None  # the bias takes the mean

    def start(self, train: LabeledSplit) -> None:
        layer = _pooler_without_weights(self.model, self.head)
        if layer is not None:
            self._initialize_pooler(layer, train)
            text = "its pooling head has no weights, so it starts as the standardized feature of its first token"
            self.notes.append(Note("new-pooler", text))

    def _initialize_pooler(self, layer: nn.Linear, train: LabeledSplit) -> None:
        """Initialize a layer to return its standardized input. From random weights, it learns slower and worse."""
        import torch

        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))

        def features_before(model: nn.Module, inputs: Inputs) -> Tensor:
            model(**inputs)
            return seen.pop()

        features = self.first_features(features_before, train)
        hook.remove()
        mean, scale = features.mean(0), _POOLER_SCALE / (features.std(0) + 1e-6)
        with torch.no_grad():
            layer.weight.copy_(torch.diag(scale))
            layer.bias.copy_(-mean * scale)

    def save(self, folder: Path, task: str) -> None:
        """Fold the references' mean and deviation into the last layer, so that the saved model returns real values."""
        import torch

        if self._outputs.removed is not None:
            (mean, scale), last = self._outputs.removed, self._last_layer()
            with torch.no_grad():
                last.weight.mul_(scale)
                last.bias.mul_(scale).add_(mean)
        super().save(folder, task)

    def _last_layer(self) -> nn.Linear:
        from torch import nn

        layers = (self.model.get_submodule(name.rpartition(".")[0]) for name in self.head if name.endswith(".weight"))
        return next(layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1)


def _as_in_pipelines(inputs: Sequence[Any], number: int, rate: int | None) -> Any:
    """Return an input as pipelines of transformers take it, a sound at a rate in Hz."""
    from PIL import Image

    if not isinstance(inputs, EncodedInputs):
        texts = inputs[number] if isinstance(inputs, Pairs) else (inputs[number],)
        return dict(zip(("text", "text_pair"), texts, strict=False))
    if rate is None:
        return Image.open(io.BytesIO(inputs.encoded[number]))
    return {"raw": decode(inputs.encoded[number], rate)[: PART_SECONDS * rate], "sampling_rate": rate}


def _pooler_without_weights(model: nn.Module, head: frozenset[str]) -> nn.Linear | None:
    """Return the pooler layer of a model if the checkpoint has no weights for it, else None."""
    from torch import nn

    names = {name.rpartition(".")[0] for name in head if name.startswith(f"{model.base_model_prefix}.")}
    for layer in (model.get_submodule(name) for name in sorted(names) if "pooler" in name):
        if isinstance(layer, nn.Linear) and layer.in_features == layer.out_features and layer.bias is not None:
            return layer
    return None
