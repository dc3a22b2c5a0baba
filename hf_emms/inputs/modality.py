"""The record of a kind of input: how its columns are recognised, its content is held, and checkpoints read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError
from hf_emms.options import LAST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Inputs
    from hf_emms.features.extractor import Extractor, FeatureReader
    from hf_emms.features.feature_spec import FeatureSpec
    from hf_emms.features.load import LoadedModel


class UnusableError(ValueError):
    """Raised for a row, or an item of a row, that has to be left out; the message says why."""


class OtherUseError(UnusableError):
    """Raised for a row that is whole and meant for another use: such rows are left out however many they are."""


def hash64(*parts: bytes) -> int:
    """Return a 64-bit hash of byte strings, to which the borders between them contribute."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def as_bytes(content: str | bytes) -> bytes:
    """Return content as bytes: encoded media unchanged, texts in UTF-8."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


class Instruction(NamedTuple):
    """The request of a task in words, "Translate from English to German:", and the languages that it names."""

    text: str
    languages: tuple[str, ...] = ()


BatchReader = Callable[[np.ndarray], "Inputs"]
"""Numbers of rows, int64 (b,), to the tensors of a batch by the names of the model's arguments, (b, …) each."""


@dataclass(frozen=True)
class TrainingReader:
    """Makes batches for the training of a checkpoint.

    Attributes:
        read: inputs, and the number of each row's input, int64 (n,), to a reader of batches and notes on them.
        processors: of images, tokenizer; they are saved beside the trained model.
    """

    read: Callable[[Sequence[Any], np.ndarray], tuple[BatchReader, Sequence[str]]]
    processors: tuple[Any, ...]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Modality:
    """A kind of input. A kind of several parts, such as an image with a text, names them; other kinds have none.

    Attributes:
        name: as architectures name it: "image", "text", "image+text", "text+text", "audio".
        singular: the noun of notes for an input: "picture".
        plural: the noun of messages for inputs: "images".
        parts: the kinds of the parts, in the order of a task's input columns; empty for a kind without parts.
        column_types: the types of a dataset's columns with such content in a cell, and with a list of it, see
            `data.columns.column_types`.
        suffixes: of the files that hold such content, in lower case, where a dataset may name files.
        is_collection: whether a sample holds a collection, some of whose items are judged for others, and not rows that
            are drawn each by itself.
        recognised_by_type: whether such a column is an input whatever its name: an image is no label, a text may be.
        fallback_pooling: the pooling of checkpoints without a row in the table of architectures.
        fallback_summary: the same in words.
        sentence_settings: fields of an `FeatureSpec` that a repository of sentence-transformers decides.
        cpu_seconds: seconds per input and parameter on a CPU, right within a factor of about three.
        text_bytes: of an input that is text, for which `cpu_seconds` hold; None for other inputs.
        chunk_rows: rows of a dataset that are read at a time.
        buffer_rows: rows of a stream that are held in memory to shuffle them.
    """

    name: str
    singular: str
    plural: str
    parts: tuple[Modality, ...] = ()
    column_types: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    is_collection: bool = False
    recognised_by_type: bool = False
    fallback_pooling: str = ""
    fallback_summary: str = ""
    sentence_settings: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    text_bytes: int | None = None
    chunk_rows: int = 512
    buffer_rows: int = 10_000

    def check_installed(self) -> None:
        """Check that the packages for such content are installed; an EmmsError names those that are not."""

    # --- content of a dataset ---------------------------------------------------------------------------------

    def holds(self, feature: Any) -> bool:
        """Return whether each cell of this feature of ``datasets`` holds such content."""
        return False

    def recognises(self, content: bytes) -> bool:
        """Return whether bytes of a binary column start as such content does."""
        return False

    def recognises_cell(self, cell: Any) -> bool:
        """Return whether a cell that holds any JSON holds such content."""
        return False

    def read(self, value: Any, column: str) -> Any:
        """Return the content of a dataset's cell as it is hashed, stored and collected; messages name the column.

        Raises:
            UnusableError: the cell holds no such content.
        """
        raise UnusableError(f"{self.plural} are read from {len(self.parts)} columns, not from {column}")

    def instructed(self, content: Any, instruction: Instruction) -> Any:
        """Return content with the request of its task, where checkpoints answer such content."""
        return content

    def check(self, content: Any) -> None:
        """Check that content can be decoded; an UnusableError says why not."""

    def size(self, content: Any) -> tuple[int, int] | None:
        """Return (width, height) in pixels of content that has a size, else None."""
        return None

    def seconds(self, inputs: Sequence[Any]) -> float | None:
        """Return how long inputs last in all; None for a kind without duration."""
        return None

    def collect(self, contents: Sequence[Any]) -> Sequence[Any]:
        """Return distinct contents as the sequence that checkpoints read."""
        return list(contents)

    def contents(self, inputs: Sequence[Any]) -> list[bytes]:
        """Return the contents of a sequence as bytes."""
        return [as_bytes(content) for content in inputs]

    def from_bytes(self, contents: Sequence[bytes]) -> Sequence[Any]:
        """Return the sequence with these `contents`."""
        return self.collect([content.decode("utf-8", "surrogatepass") for content in contents])

    # --- how checkpoints read it ------------------------------------------------------------------------------

    def load_extractor(
        self,
        plan: FeatureSpec,
        *,
        device: str = "auto",
        allow_pickle: bool = False,
        layers: tuple[str, ...] = (LAST,),
        spans: bool = False,
        cache: Cache = NO_CACHE,
    ) -> Extractor:
        """Load a checkpoint with its own image processor or tokenizer.

        Close it to free the memory.

        Args:
            plan: of the checkpoint for this kind of input.
            device: "auto" (cuda, else mps, else cpu), "cuda", "mps" or "cpu"; "cuda:1" is the second GPU.
            allow_pickle: unpickle weights in full where torch's loader that runs no code refuses them.
            layers: which layers become features, as `options.layer_names` writes them.
            spans: inputs will be `Spans` of pairs of texts, not `Pairs`.
            cache: records which weights were checked, and which the Hub has converted.

        Raises:
            EmmsError: refused, incomplete, corrupt or unsuitable; the message names the file and the repository.
        """
        from hf_emms.features.checkpoint_files import fetch_weights
        from hf_emms.features.device import choose_device, prepare_for_cpu
        from hf_emms.features.extractor import Extractor
        from hf_emms.features.load import is_tested, load_model, loading

        torch_device = choose_device(device)
        weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
        with loading():
            processors = self.load_processors(plan, torch_device)
            loaded = load_model(plan, weights, allow_pickle=allow_pickle, cache=cache)
            notes = (*loaded.plan.notes, *self.reading_notes(loaded.plan, processors))
            loaded = replace(loaded, plan=replace(loaded.plan, notes=notes))
            model = loaded.model.to(torch_device).eval()
            if torch_device.type == "cpu":
                prepare_for_cpu(model, channels_last=is_tested(plan))
            return Extractor(loaded.plan, model, self.feature_reader(loaded, processors, layers, spans=spans))

    def load_processors(self, plan: FeatureSpec, device: torch.device) -> Any:
        """Return the tokenizer or processor for `feature_reader`; it is loaded before the model."""
        raise NotImplementedError(self.name)

    def reading_notes(self, plan: FeatureSpec, processors: Any) -> tuple[tuple[str, str], ...]:
        """Return notes, each with its topic, on a way of reading that differs between checkpoints."""
        return ()

    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> FeatureReader:
        """Return the reader of features by a checkpoint on its device; arguments as for `load_extractor`."""
        raise NotImplementedError(self.name)

    def response_reader(self, plan: FeatureSpec, model: Any) -> Any:
        """Return the `PromptReader` by which a checkpoint reads the label behind an input of this kind."""
        raise NotImplementedError(self.name)

    def training_reader(self, plan: FeatureSpec, model: Any) -> TrainingReader:
        """Return the reader of these inputs for training; an EmmsError if the checkpoint cannot be trained.

        The model's configuration gets the token that fills up batches.
        """
        raise EmmsError(f"{plan.repo.id} cannot be fine-tuned: no reader for training on {self.plural}")

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        """Return the function from model and batch to the features (b, D1) of a head, or token states for text pairs.

        For some families it changes the loaded model once.
        """
        from hf_emms.features.pooling import find_pooling

        return find_pooling(loaded.pooling).features


@dataclass(frozen=True)
class Pairs(Sequence):
    """Inputs of two parts, such as images and questions; each distinct part is held once. A slice is `Pairs`.

    Attributes:
        firsts: the distinct first parts: `Images` or texts.
        seconds: the distinct second parts: texts.
        parts: int64, shape (M, 2): the numbers of each input's first and second part.
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
    """Spans of the last texts of inputs, such as answers and words; a checkpoint reads each input once, whole.

    Attributes:
        inputs: texts, or `Pairs` with a text, such as questions and contexts.
        bounds: int64, shape (M, 3): the input of each span, and where in its last text it starts and ends, in
            characters; the end is exclusive.
    """

    inputs: Sequence[Any]
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: Any) -> Any:
        """Return `Spans` of a slice; for an index, the texts of the span's input and the text of the span."""
        if isinstance(index, slice):
            return Spans(self.inputs, self.bounds[index])
        number, start, stop = self.bounds[index].tolist()
        whole = self.inputs[number]
        texts = whole if isinstance(whole, tuple) else (whole,)
        return *texts, texts[-1][start:stop]
