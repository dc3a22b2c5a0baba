"""The base classes of heads: how a checkpoint with a head is built, trained, evaluated, saved and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.embedding_settings import NO_TRANSFORMER
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.metrics import Metric
from hf_emms.heads.saved import ABOUT, HEAD_WEIGHTS, write_description
from hf_emms.heads.split import BatchedRows, ConstantBaseline, LabeledSample, LabeledSplit
from hf_emms.inputs import Modality
from hf_emms.inputs.modality import BatchReader, TrainingReader

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs
    from hf_emms.heads.modules import Features, ModelWithHead

# The lowest peak learning rates of one new layer, and of deeper heads.
HEAD_RATE, DEEP_HEAD_RATE = 2e-3, 5e-3
# Rows whose features determine the mean and deviation that new layers remove, and rows per batch.
_FIRST_ROWS, _FIRST_BATCH = 512, 32


class Network(ABC):
    """A checkpoint with a head for training, evaluation and saving.

    Attributes:
        model: The module that takes the tensors of a batch with labels, and returns a loss.
        processors: Tokenizer and processors, which are saved with the model.
        head: Names of the parameters that are not pretrained.
        head_rate: Their lowest peak learning rate.
        has_new_head: Whether they start from random weights, so that predictions require training.
        adapter: The `PeftModel` of the saved part, for methods with an adapter.
    """

    head: frozenset[str] = frozenset()
    head_rate: float = HEAD_RATE
    has_new_head: bool = False
    adapter: Any = None

    def __init__(self, model: Any, processors: Sequence[Any] = (), notes: Sequence[Note] = ()) -> None:
        self.model, self.processors = model, processors
        self.notes: list[Note] = list(notes)
        self._cached: dict[tuple[str, int], Any] = {}

    @abstractmethod
    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        """Return the rows of a split for `Trainer`, with labels or to predict."""

    @abstractmethod
    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Convert the outputs for the rows of a split to n predictions, which metrics compare with its references."""

    def test_predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the predictions for test rows, which are predicted once."""
        return self.predictions(outputs, split)

    def predict(self, model: Any, batch: Inputs) -> Any:
        """Return one or several outputs (b, …) for a batch without labels."""
        return model(**batch)["logits"]

    def loss(self, outputs: Any, split: LabeledSplit) -> float | None:
        """Return the mean loss of a split from the outputs of its rows, or None if outputs are not enough for it."""
        return None

    @property
    def saved(self) -> Any:
        """The part of the model that is saved."""
        return self.model

    def opened(self, folder: Path, split: LabeledSplit, device: torch.device) -> Callable[[np.ndarray], Any] | None:
        """Open a saved model as its card says, without code of this package.

        Returns:
            A function from numbers of `rows(split, False)` to the outputs that `predict` would return for these rows,
            NaN for rows that the saved model cannot read. None if the model opens as a class of transformers.
        """
        return None

    def trained_outputs(self, outputs: Any) -> Any:
        """Convert outputs of the saved model to those of the trained one."""
        return outputs

    def save(self, folder: Path, task: str) -> None:
        """Write the model, whose adapter is merged, and its processors to a folder; `task` is a task id."""
        self.saved.save_pretrained(folder)
        self.save_processors(folder)

    def save_processors(self, folder: Path) -> None:
        for processor in self.processors:
            processor.save_pretrained(folder)

    def add_notes(self, notes: Iterable[Note]) -> None:
        """Add notes with codes that this network's notes lack."""
        codes = {note.code for note in self.notes}
        self.notes += [note for note in notes if note.code not in codes]

    def cached_for_split(self, name: str, split: LabeledSplit, make: Callable[[LabeledSplit], Any]) -> Any:
        """Cache a value per split for the lifetime of the network."""
        key = name, id(split)
        if key not in self._cached:
            self._cached[key] = split, make(split)  # keep the split, so that no other split gets its id
        return self._cached[key][1]


class Head(ABC):
    """What a checkpoint learns to predict. Each task has one; `FeatureHead` is the usual base class.

    Attributes:
        auto_class: The class of transformers with such a head, or None.
        excluded_model_types: Families that `auto_class` contains, but with a different head.
        epochs: The maximum number of epochs over all training rows.
        batch_size: The default number of rows per step.
        inputs_per_row: Inputs per training row.
        rate_factor: Multiplies the default learning rates.
        trains_embeddings: Whether training changes the checkpoint's own text embeddings, without new layers.
        is_measured_first: Whether checkpoints predict before training, unless they have a new head.
        module: A package that this head requires; `extra` is the extra of hf_emms that installs it.
        library: The library that loads the saved model, unless it has layers of hf_emms.
    """

    auto_class: str | None = None
    excluded_model_types: tuple[str, ...] = ()
    epochs: int = 5
    batch_size: int = 32
    inputs_per_row: int = 1
    rate_factor: float = 1.0
    trains_embeddings: bool = False
    is_measured_first: bool = False
    module: str = ""
    extra: str = ""
    library: str = "transformers"

    @abstractmethod
    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        """Return the metrics for training rows with these references. The first metric compares checkpoints."""

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        """Combine the rows of a sample with their reference answers.

        Args:
            sample: A `data.Sample`.
            several: Whether training rows have several classes.

        Raises:
            EmmsError: The sample lacks such answers.
        """
        answers = self.answers(sample, several=several)
        return LabeledSplit.from_sample(sample, [answers[code] for code in sample.codes.tolist()])

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        """Return the reference answer for each of the U labels. By default, these are texts with their weights."""
        answers: Sequence[Any] = sample.weighted_texts
        return answers

    def why_not(self, spec: FeatureSpec) -> str | None:
        """Return why checkpoints of a family cannot be fine-tuned for the task, or None if they can."""
        return f"it has {spec.parts}, without one transformer" if spec.config["model_type"] == NO_TRANSFORMER else None

    def measures_first(self, network: Network) -> bool:
        """Return whether a network predicts before training. If training does not help, it keeps its weights."""
        return self.is_measured_first and not network.has_new_head

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline | None:
        """Predict a split without a checkpoint, by a rule that training rows determine.

        Without a baseline, fine-tuned scores confirm nothing.
        """
        return None

    def leave_out_shared(self, train: LabeledSplit, evaluated: Sequence[LabeledSplit]) -> LabeledSplit:
        """Leave out what training rows share with rows of other groups in the evaluated splits."""
        return train

    def reduce_validation(self, validation: LabeledSplit) -> LabeledSplit:
        """Reduce the validation rows to those that are needed to choose an epoch."""
        return validation

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of training rows of a split."""
        return len(split)

    def count_inputs(self, split: LabeledSplit) -> int:
        """Return the number of inputs that predicting a split reads."""
        return len(split)

    def count_written(self, split: LabeledSplit) -> int:
        """Return about how many decoding steps the predictions of a split take."""
        return 0

    @abstractmethod
    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> Network:
        """Load a checkpoint with a head for training rows: its own if that fits, else a new one.

        Raises:
            EmmsError: It cannot be loaded, or its family lacks such a head.
        """

    def open(
        self, spec: FeatureSpec, modality: Modality, references: Sequence[Any], weights: dict[str, Tensor]
    ) -> Network:
        """Load a checkpoint with saved layers of hf_emms, see `FeatureNetwork.references`.

        Raises:
            EmmsError: This head lacks such layers.
        """
        raise EmmsError(
            "head-of-transformers", f"{spec.repo.id} has a head of transformers", "load it with transformers"
        )

    def loading_code(self, place: str) -> str:
        """Return Python code that loads a model from a folder or Hub id with a library other than transformers."""
        return ""

    def unanswered_references(self, inputs: Sequence[Any]) -> list[Any]:
        """Return references without answers for n inputs to predict."""
        return [None] * len(inputs)


class FeatureNetwork(Network):
    """A network whose head is from transformers, or consists of new layers on the checkpoint's features.

    Attributes:
        references: JSON from which `FeatureHead.network` makes a network with the same outputs: classes, words.
        count: The number of outputs, if the new layers are one linear layer.
    """

    references: Sequence[Any] = ()
    count: int

    def __init__(self, spec: FeatureSpec, model: Any, processors: Sequence[Any] = ()) -> None:
        super().__init__(model, processors)
        self._spec = spec
        self._has_layers = False

    def read(self, reader: TrainingReader, inputs: Sequence[Any], input_of_row: np.ndarray) -> BatchReader:
        """Return the reader of batches of rows. Its notes become the network's, without repetitions."""
        batches, notes = reader.read(inputs, input_of_row)
        self.add_notes(notes)
        return batches

    def layers(self, standardize: nn.Module, width: int) -> nn.Module:
        """Return new layers for features of a width, (b, D1) or (b, T, D1), which `standardize` scales first."""
        from torch import nn

        return nn.Sequential(standardize, nn.Linear(width, self.count))

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        """Return the loss of new layers for a batch. Without labels, return the outputs that `predict` reads."""
        raise NotImplementedError(type(self).__name__)

    @property
    def fits(self) -> bool:
        """Whether a head of transformers can return the predictions."""
        return True

    def start(self, train: LabeledSplit) -> None:
        """Initialize the new weights of a head of transformers before training."""

    def add_layers(self, features: Features, train: LabeledSplit) -> None:
        """Add new layers to a model. They read its features, standardized by the first training rows."""
        from hf_emms.heads.modules import Standardize

        first = self.first_features(features, train)
        self._put_on(features, self.layers(Standardize.of(first), first.shape[1]))
        self.head = self.model.head_names

    def first_features(self, features: Features, train: LabeledSplit) -> Tensor:
        """Return features of the first training rows in training mode, float32 (n, D1)."""
        import torch

        self.model.train()
        rows = self.rows(train, True)
        count = min(len(rows), _FIRST_ROWS)
        with torch.no_grad():
            batches = [
                features(self.model, rows.read(np.arange(start, min(start + _FIRST_BATCH, count)))).float()
                for start in range(0, count, _FIRST_BATCH)
            ]
        return torch.cat([batch.reshape(-1, batch.shape[-1]) for batch in batches])

    def load_layers(self, features: Features, weights: dict[str, Tensor]) -> None:
        """Put saved layers on the features of the model.

        Raises:
            EmmsError: The weights do not fit such layers.
        """
        from hf_emms.heads.modules import Standardize

        width = next((tensor.shape[-1] for name, tensor in weights.items() if name.endswith("mean")), 1)
        layers = self.layers(Standardize(width), width)
        try:
            layers.load_state_dict(weights)
        except RuntimeError as error:
            raise EmmsError(
                "weights-mismatch", f"{HEAD_WEIGHTS} of {self._spec.repo.id} does not fit the head in {ABOUT}"
            ) from error
        self._put_on(features, layers)

    def _put_on(self, features: Features, layers: nn.Module) -> None:
        from hf_emms.heads.modules import ModelWithHead

        model: ModelWithHead = ModelWithHead(self.model, features, layers, self.forward)
        self.model, self._has_layers = model, True

    def save(self, folder: Path, task: str) -> None:
        super().save(folder, task)
        if self._has_layers:
            write_description(folder, self._spec, task, self.references)


class FeatureHead(Head):
    """A head that is a class of transformers, or new layers on features for families without such a class.

    Attributes:
        layers_note: The note about new layers.
    """

    layers_note: str = "transformers has no class with this head for the family: new layers on its pooled feature"

    @abstractmethod
    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        """Return the network of a loaded checkpoint for training rows with these references.

        If the model `has_head`, the head is from transformers. Otherwise the caller adds new layers.
        """

    def output_references(self, train: LabeledSplit) -> Sequence[Any]:
        """Return references that determine the outputs for training rows, with classes in the dataset's order."""
        return train.references

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        """Return the arguments of the class of transformers for training rows with these references."""
        return {}

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> FeatureNetwork:
        from hf_emms.heads.modules import class_with_head, load_base, load_with_head

        loader = class_with_head(spec, self.auto_class, self.excluded_model_types)
        references = self.output_references(train)
        if loader is not None:
            model, names, is_new = load_with_head(spec, loader, **self.arguments(references))
            network = self.network(spec, modality, model, references, has_head=True)
            network.head, network.has_new_head = names, is_new
            if network.fits:
                network.start(train)
                return network
        base, features = load_base(spec, modality)
        network = self.network(spec, modality, base, references, has_head=False)
        network.add_layers(features, train)
        network.notes = [Note("new-layers", self.layers_note), *network.notes]
        return network

    def open(
        self, spec: FeatureSpec, modality: Modality, references: Sequence[Any], weights: dict[str, Tensor]
    ) -> FeatureNetwork:
        from hf_emms.heads.modules import load_base

        base, features = load_base(spec, modality)
        network = self.network(spec, modality, base, references, has_head=False)
        network.load_layers(features, weights)
        return network
