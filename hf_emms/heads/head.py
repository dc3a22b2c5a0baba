"""The base classes of heads: how the output of fine-tuned checkpoints is built, read, measured and opened again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.baseline import ConstantBaseline
from hf_emms.heads.metrics import Metric
from hf_emms.heads.saved import ABOUT, HEAD_WEIGHTS, write_description
from hf_emms.heads.split import LabeledRows, LabeledSample, LabeledSplit
from hf_emms.inputs import Modality
from hf_emms.inputs.modality import BatchReader, TrainingReader

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs
    from hf_emms.heads.modules import Features, ModelWithHead

# The lowest peak learning rates of new layers: of a single layer, and of several.
HEAD_RATE, DEEP_HEAD_RATE = 2e-3, 5e-3


class Network(ABC):
    """A checkpoint with a head, as it is trained, measured and saved.

    Attributes:
        model: takes the tensors of a batch with labels, and returns a loss.
        processors: tokenizer and others, which are saved beside the model.
        head: names of the model's parameters that are not the pretrained part's.
        head_rate: the lowest peak learning rate of these.
        has_new_head: whether these start from random weights, so that nothing is predicted before they are trained.
        adapter: the `PeftModel` of the saved part with an adapter; None for other methods.
        adapter_task: what PEFT calls a task whose adapters can be kept alone; None where there are new layers, too.
    """

    head: frozenset[str] = frozenset()
    head_rate: float = HEAD_RATE
    has_new_head: bool = False
    adapter: Any = None
    adapter_task: str | None = None

    def __init__(self, model: Any, processors: Sequence[Any] = (), notes: Sequence[str] = ()) -> None:
        self.model, self.processors = model, processors
        self.notes: list[Note | str] = list(notes)
        self._by_split: dict[tuple[str, int], Any] = {}

    @abstractmethod
    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        """Return the rows of a split for `Trainer`, with labels or to predict."""

    @abstractmethod
    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return n predictions for a split, which metrics compare with its references, from the outputs of its rows."""

    def test_predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the same for test rows, which are predicted once."""
        return self.predictions(outputs, split)

    def predict(self, model: Any, batch: Inputs) -> Any:
        """Return the outputs for a batch without labels, (b, …), or several of them."""
        return model(**batch)["logits"]

    def loss(self, outputs: Any, split: LabeledSplit) -> float | None:
        """Return the mean loss of a split from the outputs of its rows; None where these do not give it."""
        return None

    @property
    def saved(self) -> Any:
        """The part of the model that is saved."""
        return self.model

    def save(self, folder: Path, task: str) -> None:
        """Write the model, with its adapter merged, and its processors into a folder; `task` is an id."""
        self.saved.save_pretrained(folder)
        self.save_processors(folder)

    def save_processors(self, folder: Path) -> None:
        for processor in self.processors:
            processor.save_pretrained(folder)

    def once(self, name: str, split: LabeledSplit, make: Callable[[LabeledSplit], Any]) -> Any:
        """Return a value made of a split, which is made once by its name while the network exists."""
        key = name, id(split)
        if key not in self._by_split:
            self._by_split[key] = split, make(split)  # the split is kept too: its id is then no other's
        return self._by_split[key][1]


class Head(ABC):
    """What checkpoints learn to give for a task, which names an instance; `FeatureHead` is the usual base.

    Attributes:
        auto_class: the class of transformers with such a head; None where there is none.
        excluded_model_types: families that `auto_class` has, but with another kind of head.
        epochs: the most, over all training rows.
        batch_size: rows a step, unless the user says.
        inputs_per_row: how many inputs are read for a row of training.
        keeps_adapters: whether an adapter is a whole model without new layers.
        trains_embeddings: whether checkpoints learn to give other embeddings of texts, without new layers.
        is_measured_first: whether checkpoints predict before they are trained, unless they have a new head.
        module: of the package that it needs besides those of every fine-tuning; `extra` of hf_emms installs it.
        library: that opens what is saved, where that is no head of ours.
        methods: the names of other heads that users may ask for instead of this head.
    """

    auto_class: str | None = None
    excluded_model_types: tuple[str, ...] = ()
    epochs: int = 5
    batch_size: int = 32
    inputs_per_row: int = 1
    keeps_adapters: bool = False
    trains_embeddings: bool = False
    is_measured_first: bool = False
    module: str = ""
    extra: str = ""
    library: str = "transformers"
    methods: Mapping[str, Head] = MappingProxyType({})

    @abstractmethod
    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        """Return the metrics for training rows with these references; the first compares checkpoints."""

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        """Return the rows of a sample with their right answers; `several` says that training rows have several classes.

        Raises:
            EmmsError: the sample has no such answers.
        """
        answers = self.answers(sample, several=several)
        return LabeledSplit.from_sample(sample, [answers[code] for code in sample.codes.tolist()])

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        """Return the right answer for each of the U labels: texts with their weights, unless a head has others."""
        return sample.weighted_texts

    def why_not(self, plan: FeatureSpec) -> str | None:
        """Return why checkpoints of a family cannot be fine-tuned for the task, in words; None where they can."""
        return None

    def measures_first(self, network: Network) -> bool:
        """Return whether a network predicts before it is trained, and is kept as it was where that is better."""
        return self.is_measured_first and not network.has_new_head

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline | None:
        """Return predictions for a split that need no checkpoint, by a rule that training rows choose.

        None where the head has none: a fine-tuning is then measured, but never confirmed.
        """
        return None

    def shortened(self, validation: LabeledSplit) -> LabeledSplit:
        """Return the validation rows so that they take no longer to predict than the choice of an epoch is worth."""
        return validation

    def count_rows(self, split: LabeledSplit) -> int:
        """Return how many rows of training a split makes."""
        return len(split)

    def count_inputs(self, split: LabeledSplit) -> int:
        """Return how many inputs are read to predict a split."""
        return len(split)

    def longest_row(self, kind: Modality, split: LabeledSplit) -> int | None:
        """Return about how many tokens the longest row has; None where they do not decide how much memory it takes."""
        return None

    @abstractmethod
    def build(self, plan: FeatureSpec, kind: Modality, train: LabeledSplit, *, allow_pickle: bool) -> Network:
        """Return a checkpoint with a new head for training rows; its own where that fits.

        Raises:
            EmmsError: it cannot be loaded, or has no such head.
        """

    def open(self, plan: FeatureSpec, kind: Modality, references: Sequence[Any], weights: dict[str, Tensor]) -> Network:
        """Return a checkpoint with layers of ours that were saved, see `FeatureNetwork.references`.

        Raises:
            EmmsError: this head has no layers of ours.
        """
        raise EmmsError(f"{plan.repo.id} was saved with a head that transformers opens")

    def opening(self, place: str) -> str:
        """Return the Python code that opens what is saved in a place by another library than transformers."""
        return ""

    def questions(self, inputs: Sequence[Any]) -> list[Any]:
        """Return references without an answer for n inputs, which are to be predicted."""
        return [None] * len(inputs)


class FeatureNetwork(Network):
    """A network whose head is from transformers, or layers of ours on the checkpoint's features.

    Attributes:
        references: JSON of which `FeatureHead.network` makes a network with the same outputs: classes, words.
        count: outputs of layers of ours, where these are a linear layer.
    """

    references: Sequence[Any] = ()
    count: int

    def __init__(self, plan: FeatureSpec, model: Any, processors: Sequence[Any] = ()) -> None:
        super().__init__(model, processors)
        self._plan = plan
        self._has_layers = False

    def read(self, reader: TrainingReader, inputs: Sequence[Any], input_of_row: np.ndarray) -> BatchReader:
        """Return what makes batches of rows' inputs; its notes become the network's, once for all splits."""
        batches, notes = reader.read(inputs, input_of_row)
        self.notes += [note for note in notes if note not in self.notes]
        return batches

    def layers(self, standardize: nn.Module, width: int) -> nn.Module:
        """Return layers of ours for features of a width, (b, D1) or (b, T, D1), which `standardize` scales first."""
        from torch import nn

        return nn.Sequential(standardize, nn.Linear(width, self.count))

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        """Return the loss of layers of ours for a batch, or without labels what `predict` reads."""
        raise NotImplementedError(type(self).__name__)

    def start(self, train: LabeledSplit) -> None:
        """Prepare the new weights of a head of transformers before training."""

    def add_layers(self, features: Features, train: LabeledSplit) -> None:
        """Put new layers on the features of the model, whose first training rows give mean and deviation."""
        from hf_emms.heads.modules import Standardize

        first = self.first_features(features, train)
        self._put_on(features, self.layers(Standardize.of(first), first.shape[1]))
        self.head = self.model.head_names

    def first_features(self, features: Features, train: LabeledSplit) -> Tensor:
        """Return features of the first training rows as training will see them, float32 (n, D1)."""
        from hf_emms.heads.modules import first_features

        rows = self.rows(train, False)
        return first_features(self.model, features, rows.batch, len(rows))

    def load_layers(self, features: Features, weights: dict[str, Tensor]) -> None:
        """Put layers that were saved on the features of the model.

        Raises:
            EmmsError: the weights are not of such layers.
        """
        from hf_emms.heads.modules import Standardize

        width = next((tensor.shape[-1] for name, tensor in weights.items() if name.endswith("mean")), 1)
        layers = self.layers(Standardize(width), width)
        try:
            layers.load_state_dict(weights)
        except RuntimeError as error:
            raise EmmsError(
                f"{HEAD_WEIGHTS} of {self._plan.repo.id} is not of the head that {ABOUT} describes"
            ) from error
        self._put_on(features, layers)

    def _put_on(self, features: Features, layers: nn.Module) -> None:
        from hf_emms.heads.modules import ModelWithHead

        model: ModelWithHead = ModelWithHead(self.model, features, layers, self.forward)
        self.model, self._has_layers = model, True

    def save(self, folder: Path, task: str) -> None:
        super().save(folder, task)
        if self._has_layers:
            write_description(folder, self._plan, task, self.references)


class FeatureHead(Head):
    """A head that is a class of transformers where the family has it, and layers of ours on features elsewhere.

    Attributes:
        layers_note: what is noted of layers of ours.
    """

    layers_note: str = "transformers has no class with a head for it: a head on its pooled feature"

    @abstractmethod
    def network(
        self, plan: FeatureSpec, kind: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        """Return the network of a loaded checkpoint for training rows with these references.

        Its model `has_head`, which is from transformers, or gets layers of ours.
        """

    def described(self, train: LabeledSplit) -> Sequence[Any]:
        """Return references that make the outputs for training rows, classes in the dataset's order."""
        return train.references

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        """Return the arguments of the class of transformers for training rows with these references."""
        return {}

    def build(self, plan: FeatureSpec, kind: Modality, train: LabeledSplit, *, allow_pickle: bool) -> FeatureNetwork:
        from hf_emms.heads.modules import class_with_head, load_base, load_with_head

        loader = class_with_head(plan, self.auto_class, self.excluded_model_types)
        references = self.described(train)
        if loader is not None:
            model, names, is_new = load_with_head(plan, loader, **self.arguments(references))
            network = self.network(plan, kind, model, references, has_head=True)
            network.head, network.has_new_head = names, is_new
            network.start(train)
            return network
        base, features = load_base(plan, kind, allow_pickle=allow_pickle)
        network = self.network(plan, kind, base, references, has_head=False)
        network.add_layers(features, train)
        network.notes = [self.layers_note, *network.notes]
        return network

    def open(
        self, plan: FeatureSpec, kind: Modality, references: Sequence[Any], weights: dict[str, Tensor]
    ) -> FeatureNetwork:
        from hf_emms.heads.modules import load_base

        base, features = load_base(plan, kind, allow_pickle=False)
        network = self.network(plan, kind, base, references, has_head=False)
        network.load_layers(features, weights)
        return network
