"""The base class of modalities: which columns contain a modality, and how checkpoints read it in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.options import LAST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Inputs
    from hf_emms.features.extractor import Extractor, FeatureReader
    from hf_emms.features.feature_spec import FeatureSpec
    from hf_emms.features.load import LoadedModel


class UnusableError(ValueError):
    """Raised if a row, or an item of a row, must be skipped; the message is the reason."""


def hash64(*parts: bytes) -> int:
    """Return a 64-bit hash of byte strings, which also depends on their lengths."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def as_bytes(content: str | bytes) -> bytes:
    """Encode a text in UTF-8. Return encoded media unchanged."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


class Instruction(NamedTuple):
    """A task's instruction, "Translate from English to German:", and the codes of the languages in it."""

    text: str
    languages: tuple[str, ...] = ()


BatchReader = Callable[[np.ndarray], "Inputs"]
"""A function from row numbers, int64 (b,), to a batch: argument name of the model → tensor (b, …)."""


@dataclass(frozen=True)
class TrainingReader:
    """Makes batches for training a checkpoint.

    Attributes:
        read: Function from inputs and the input number of each row, int64 (n,), to a `BatchReader` and notes.
        processors: Tokenizer or processors, which are saved with the trained model.
        notes: Notes that do not depend on the inputs.
        read_alone: The reader of evaluation, which reads one row per batch as the pipeline of transformers does. None
            if evaluation can use the batches of training.
    """

    read: Callable[[Sequence[Any], np.ndarray], tuple[BatchReader, Sequence[Note]]]
    processors: tuple[Any, ...]
    notes: tuple[Note, ...] = ()
    read_alone: Callable[[Sequence[Any], np.ndarray], BatchReader] | None = None


@dataclass(frozen=True)
class Modality:
    """How datasets store a modality and how checkpoints read it in batches.

    If a modality has parts, such as an image with a text, `parts` lists them.

    Attributes:
        name: The name in the table of architectures: "image", "text", "image+text", "text+text", "audio".
        singular: Noun for one input in notes, such as "picture".
        plural: Noun for inputs in messages, such as "images".
        parts: The modalities of the parts, in the order of a task's input columns.
        column_types: Types of dataset columns with one such content per cell, and with a list of them per cell, as
            `data.columns.column_types` names them.
        suffixes: File name suffixes of such content, in lower case.
        is_collection: Whether a sample is a collection of items that are judged for each other, instead of rows that
            can be drawn one by one.
        recognized_by_type: Whether such a column is an input whatever its name is. An image is never a label, but a
            text may be.
        fallback_pooling: Pooling for checkpoints that the table of architectures does not list.
        fallback_summary: Description of that pooling.
        sentence_settings: Fields of `FeatureSpec` that a sentence-transformers repository sets.
        cpu_seconds: Seconds per input and parameter on a CPU with two cores, without token embeddings.
        text_bytes: Length of the texts for which `cpu_seconds` was measured; None for other modalities.
        chunk_rows: Dataset rows that are read at a time.
    """

    name: str
    singular: str
    plural: str
    parts: tuple[Modality, ...] = ()
    column_types: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    is_collection: bool = False
    recognized_by_type: bool = False
    fallback_pooling: str = ""
    fallback_summary: str = ""
    sentence_settings: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    text_bytes: int | None = None
    chunk_rows: int = 512

    def check_installed(self) -> None:
        """Raise an `EmmsError` if a package that reads this modality is missing."""

    # --- content of a dataset ---------------------------------------------------------------------------------

    def holds(self, feature: Any) -> bool:
        """Return whether the cells of this `datasets` feature contain the modality."""
        return False

    def recognizes(self, content: bytes) -> bool:
        """Return whether bytes start like a file of this modality."""
        return False

    def recognizes_cell(self, cell: Any) -> bool:
        """Return whether a decoded JSON cell contains the modality."""
        return False

    def read(self, value: Any, column: str) -> Any:
        """Convert a dataset cell to the content that is hashed, stored and collected. Messages name the column.

        Raises:
            UnusableError: The cell does not contain the modality.
        """
        raise UnusableError(f"{self.plural} are read from {len(self.parts)} columns, not from {column}")

    def instructed(self, content: Any, instruction: Instruction) -> Any:
        """Add the task's instruction to an input, for checkpoints that follow instructions."""
        return content

    def check(self, content: Any) -> None:
        """Raise an `UnusableError` with the reason if content cannot be decoded."""

    def size(self, content: Any) -> tuple[int, int] | None:
        """Return width and height in pixels, or None if content has no size."""
        return None

    def seconds(self, inputs: Sequence[Any]) -> float | None:
        """Return the total duration of inputs, or None if the modality has no duration."""
        return None

    def collect(self, contents: Sequence[Any]) -> Sequence[Any]:
        """Combine distinct contents into the sequence that checkpoints read."""
        return list(contents)

    def as_cell(self, value: Any) -> Any:
        """Return a value from memory as a cell of a dataset."""
        return value

    def contents(self, inputs: Sequence[Any]) -> list[bytes]:
        """Return the contents of a collected sequence as bytes."""
        return [as_bytes(content) for content in inputs]

    # --- how checkpoints read it ------------------------------------------------------------------------------

    def load_extractor(
        self,
        spec: FeatureSpec,
        *,
        device: str = "auto",
        layers: tuple[str, ...] = (LAST,),
        spans: bool = False,
    ) -> Extractor:
        """Load a checkpoint with its image processor or tokenizer. Close it to free the memory.

        Args:
            spec: How the checkpoint reads this modality.
            device: "auto" (cuda, else mps, else cpu), "cuda", "mps" or "cpu"; "cuda:1" is the second GPU.
            layers: The layers that become features, as `options.layer_names` writes them.
            spans: Whether the inputs will be `Spans` of pairs of texts instead of `Pairs`.

        Raises:
            EmmsError: The checkpoint is refused, incomplete, corrupt or unsuitable. The message names the file and the
                repository.
        """
        from hf_emms.features.device import choose_device, prepare_for_cpu
        from hf_emms.features.extractor import Extractor
        from hf_emms.features.load import is_tested, load_model, quiet_transformers

        torch_device = choose_device(device)
        with quiet_transformers():
            processors = self.load_processors(spec, torch_device)
            loaded = load_model(spec)
            notes = (*loaded.spec.notes, *self.reading_notes(loaded.spec, processors))
            loaded = replace(loaded, spec=replace(loaded.spec, notes=notes))
            model = loaded.model.to(torch_device).eval()
            if torch_device.type == "cpu":
                prepare_for_cpu(model, channels_last=is_tested(spec))
            return Extractor(loaded.spec, model, self.feature_reader(loaded, processors, layers, spans=spans))

    def load_processors(self, spec: FeatureSpec, device: torch.device) -> Any:
        """Load the tokenizer or processor for `feature_reader`. The model is loaded after it."""
        raise NotImplementedError(self.name)

    def reading_notes(self, spec: FeatureSpec, processors: Any) -> tuple[Note, ...]:
        """Return notes on a way of reading that differs between checkpoints."""
        return ()

    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> FeatureReader:
        """Return the reader that extracts features with a loaded checkpoint. Arguments as for `load_extractor`."""
        raise NotImplementedError(self.name)

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        """Return the reader of training batches, and set the padding token in the model's configuration.

        Raises:
            EmmsError: The checkpoint cannot be trained.
        """
        raise EmmsError("no-head", f"{spec.repo.id} cannot be fine-tuned on {self.plural}")

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        """Return the function from model and batch to the features (b, D1) under a head; token states for text pairs.

        It may change the loaded model, once.
        """
        from hf_emms.features.pooling import find_pooling

        return find_pooling(loaded.pooling).features


@dataclass(frozen=True)
class Pairs(Sequence):
    """Inputs of two parts, such as images and questions. It stores each distinct part once; a slice is `Pairs`.

    Attributes:
        firsts: The distinct first parts, `Images` or texts.
        seconds: The distinct second parts, which are texts.
        parts: int64 (M, 2), the numbers of each input's first and second part.
    """

    firsts: Sequence[Any]
    seconds: Sequence[str]
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pairs(self.firsts, self.seconds, self.parts[index])
        first, second = self.parts[index]
        return self.firsts[first], self.seconds[second]


@dataclass(frozen=True)
class Spans(Sequence):
    """Spans of texts, such as answers and words. A checkpoint reads each text once, with all of its spans.

    Attributes:
        inputs: Texts, or `Pairs` whose second text contains the spans, such as questions and contexts.
        bounds: int64 (M, 3), the input of each span with the span's first character and its end, exclusive.
    """

    inputs: Sequence[Any]
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: Any) -> Any:
        """Return `Spans` for a slice. For an index, return the texts of the input and the text of the span."""
        if isinstance(index, slice):
            return Spans(self.inputs, self.bounds[index])
        number, start, stop = self.bounds[index].tolist()
        whole = self.inputs[number]
        texts = whole if isinstance(whole, tuple) else (whole,)
        return *texts, texts[-1][start:stop]
