"""Heads of embedding models, which train the checkpoint's own text embeddings, without new layers.

The saved model is a sentence-transformers folder.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import TOWER_POOLINGS
from hf_emms.features.checkpoint_files import SAFETENSORS_NAME
from hf_emms.features.embedding_settings import MODEL_TYPE
from hf_emms.features.feature_spec import FeatureSpec, without_kernels
from hf_emms.heads.head import Head, Network
from hf_emms.heads.judged_search import JudgedSearch, collection_of, judgments_of, relevant_of, search_results
from hf_emms.heads.metrics import SPEARMAN, Metric, SearchResult
from hf_emms.heads.row import NumberAnswers
from hf_emms.heads.saved import MODULES, SETTINGS, copy_modules
from hf_emms.heads.split import BatchedRows, LabeledSplit
from hf_emms.inputs import Modality, Pairs
from hf_emms.inputs.text import load_training_texts, with_token_types
from hf_emms.options import LAST
from hf_emms.scoring.retrieval import SearchScores

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Inputs
    from hf_emms.features.load import LoadedModel

# The factor of similarities in the losses of sentence-transformers.
_SCALE = 20.0
# The most hard negatives per query in a batch, and the marks of documents: ignored for a query, and correct for it.
_MAX_NEGATIVES = 5
_IGNORED_NEGATIVE, _POSITIVE = 1, 2
# Poolings that equal the mean of sentence-transformers, for checkpoints without its description.
_MEANS = ("masked_mean", "encoder_masked_mean", "text_fallback")


class EmbeddingHead(Head):
    """The base class of heads that fine-tune a checkpoint's text embeddings."""

    trains_embeddings = is_measured_first = True
    module, extra, library = "sentence_transformers", "retrieval", "sentence-transformers"

    def why_not(self, spec: FeatureSpec) -> str | None:
        if not spec.embedder_parts:
            return None
        return f"it has {spec.embedder_parts}: fine-tune it with SentenceTransformerTrainer of sentence-transformers"

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> EmbeddingNetwork:
        from hf_emms.features.load import load_model

        return self.network(load_model(spec))

    @abstractmethod
    def network(self, loaded: LoadedModel) -> EmbeddingNetwork:
        """Return the network of a loaded checkpoint."""


class EmbeddingNetwork(Network):
    """A network whose outputs are embeddings of texts, float32 (m, D)."""

    def __init__(self, loaded: LoadedModel) -> None:
        from hf_emms.features.layers import make_layer_reader
        from hf_emms.heads.modules import Embedder

        spec, base = loaded.spec, loaded.model
        is_mean = loaded.pooling in _MEANS and not hasattr(base, "get_text_features")
        if loaded.pooling in TOWER_POOLINGS or not (is_mean or (spec.folder / MODULES).is_file()):
            raise EmmsError(
                "unsupported-pooling",
                f"sentence-transformers cannot pool as {spec.repo.id} does, because it is a text tower",
                "fine-tune a checkpoint for texts alone",
            )
        self.spec, self._reader = spec, with_token_types(load_training_texts(spec, base), base)
        super().__init__(Embedder(base, make_layer_reader(loaded, (LAST,)), self.batch_loss), (self._reader.tokenizer,))

    @abstractmethod
    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch from the embeddings of its m texts, (m, D), and its labels."""

    @property
    def saved(self) -> Any:
        return self.model.base

    def predict(self, model: Any, batch: Inputs) -> Tensor:
        embeddings: Tensor = model(**batch)
        return embeddings

    @abstractmethod
    def texts(self, split: LabeledSplit) -> Sequence[tuple[Sequence[str], str]]:
        """Return the distinct texts of a split in parts. Each part has its own prompt."""

    def read(self, split: LabeledSplit) -> Callable[[np.ndarray], Inputs]:
        """Return a reader that makes batches of texts, which it takes by number."""
        tokens, _ = self.cached_for_split("tokens", split, self._tokenize)
        return lambda numbers: self._reader.pad([tokens[number] for number in numbers])

    def text_rows(self, split: LabeledSplit) -> BatchedRows:
        """Return a row for each of the M texts of a split, the longest texts first."""
        read, (_, order) = self.read(split), self.cached_for_split("tokens", split, self._tokenize)
        return BatchedRows(lambda rows: read(order[rows]), {}, len(order))

    def embeddings(self, outputs: Any, split: LabeledSplit) -> np.ndarray:
        """Reorder the outputs of `text_rows` to the order of `texts`, float32 (M, D)."""
        _, order = self.cached_for_split("tokens", split, self._tokenize)
        embeddings = np.empty(outputs.shape, np.float32)
        embeddings[order] = outputs
        return embeddings

    def _tokenize(self, split: LabeledSplit) -> tuple[list[list[int]], np.ndarray]:
        """Return each text's tokens, and the texts by length, int64 (M,)."""
        texts = [prompt + text for part, prompt in self.texts(split) for text in part]
        tokens, truncated = self._reader.tokenize(texts)
        self.add_notes(self._reader.truncation_notes(truncated))
        return tokens, np.argsort([-len(ids) for ids in tokens], kind="stable")

    def opened(self, folder: Path, split: LabeledSplit, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(folder),
            device=str(device),
            trust_remote_code=self.spec.code,
            model_kwargs=without_kernels(self.spec),
        )
        _, order = self.cached_for_split("tokens", split, self._tokenize)
        parts = [texts for texts, _ in self.texts(split)]
        encoders = [model.encode] if len(parts) == 1 else [model.encode_query, model.encode_document]
        texts = [(encode, text) for encode, part in zip(encoders, parts, strict=True) for text in part]
        return lambda numbers: np.stack([encode(text) for encode, text in (texts[i] for i in order[numbers])])

    def save(self, folder: Path, task: str) -> None:
        """Write a sentence-transformers folder, with the checkpoint's own module descriptions if it has them."""
        from safetensors.torch import save_file

        from hf_emms.features.load import BEHIND

        base, spec = self.model.base, self.spec
        layers = getattr(base, BEHIND, ())
        if spec.behind:
            delattr(base, BEHIND)
        place = folder / spec.subfolder
        base.save_pretrained(place)
        self.save_processors(place)
        if not copy_modules(spec, folder):
            self._describe(folder)
        for file in place.glob("sentence_*_config.json"):
            settings = json.loads(file.read_text(encoding="utf-8")) | {"max_seq_length": self._reader.max_length}
            file.write_text(json.dumps(settings, indent=2), encoding="utf-8")
        for path, layer in zip(spec.behind, layers, strict=True):
            tensors = {part: tensor.contiguous() for part, tensor in layer.state_dict().items()}
            save_file(tensors, folder / path / SAFETENSORS_NAME)

    def _describe(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer, SimilarityFunction
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding, Transformer

        modules: list[Any]
        if self.spec.config["model_type"] == MODEL_TYPE:
            modules = [StaticEmbedding.load(str(folder)), *([Normalize()] if self.spec.normalize else [])]
        else:
            transformer = Transformer(str(folder), model_kwargs=without_kernels(self.spec))
            transformer.model = self.model.base  # without the random pooling head that its own class would add
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
        model = SentenceTransformer(
            modules=modules, device="cpu", similarity_fn_name=SimilarityFunction(self.spec.similarity)
        )
        model.save_pretrained(str(folder), create_model_card=False)


# ---- similarity ------------------------------------------------------------------------------------------------------


class SimilarityHead(NumberAnswers, EmbeddingHead):
    """A head that predicts the cosine of two texts' embeddings."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return (SPEARMAN,)

    def network(self, loaded: Any) -> EmbeddingNetwork:
        return _SimilarityNetwork(loaded)

    def loading_code(self, place: str) -> str:
        return (
            f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({place!r})\n"
            "model.similarity_pairwise(model.encode([text, ...]), model.encode([text_pair, ...]))"
        )


class _SimilarityNetwork(EmbeddingNetwork):
    """A network trained with CoSENT: more similar pairs get a higher cosine."""

    def texts(self, split: LabeledSplit) -> Sequence[tuple[Sequence[str], str]]:
        return ((self.cached_for_split("texts", split, _distinct_texts)[0], self.spec.prompt),)

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        import torch

        if not labeled:
            return self.text_rows(split)
        read, (_, numbers) = self.read(split), self.cached_for_split("texts", split, _distinct_texts)
        labels = {"labels": torch.tensor(split.references, dtype=torch.float32)}
        return BatchedRows(lambda rows: read(numbers[rows].T.ravel()), labels, len(split))

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        from sentence_transformers.sentence_transformer.losses import CoSENTLoss

        # It needs no model, because the embeddings are already computed.
        return CoSENTLoss(None, _SCALE).compute_loss_from_embeddings([*embeddings.chunk(2)], labels)  # type: ignore[arg-type]

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[float]:
        _, numbers = self.cached_for_split("texts", split, _distinct_texts)
        vectors = self.embeddings(outputs, split)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        cosines: list[float] = (unit[numbers[:, 0]] * unit[numbers[:, 1]]).sum(1).tolist()
        return cosines


def _distinct_texts(split: LabeledSplit) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a split's pairs, and the numbers of both texts of each pair, int64 (n, 2)."""
    pairs = split.inputs
    assert isinstance(pairs, Pairs)
    parts = pairs.parts[split.input_of_row]
    firsts, first_of_row = np.unique(parts[:, 0], return_inverse=True)
    seconds, second_of_row = np.unique(parts[:, 1], return_inverse=True)
    texts = [*(pairs.firsts[i] for i in firsts.tolist()), *(pairs.seconds[i] for i in seconds.tolist())]
    return texts, np.stack([first_of_row, len(firsts) + second_of_row], axis=1)


# ---- search ----------------------------------------------------------------------------------------------------------


class SearchHead(JudgedSearch, EmbeddingHead):
    """A head that finds documents of a corpus by the similarity of their embeddings to a query's."""

    epochs, batch_size, inputs_per_row = 3, 64, 2

    def count_inputs(self, split: LabeledSplit) -> int:
        return len(split) + len(collection_of(split).documents)

    def network(self, loaded: LoadedModel) -> EmbeddingNetwork:
        return _SearchNetwork(loaded)

    def loading_code(self, place: str) -> str:
        return (
            f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({place!r})\n"
            "model.similarity(model.encode_query([query, ...]), model.encode_document([document, ...]))"
        )


class _SearchNetwork(EmbeddingNetwork):
    """A network trained with the ranking loss of sentence-transformers, with negatives from the batch.

    A query's document should be more similar than all others of the batch: documents of other queries, and the hard
    negatives of all. Each document is in a batch once. It is not a negative for a query that it is relevant to, or that
    does not search it.
    """

    def texts(self, split: LabeledSplit) -> Sequence[tuple[Sequence[str], str]]:
        collection = collection_of(split)
        queries = [collection.queries[query] for query in split.input_of_row.tolist()]
        return (queries, self.spec.query_prompt), (collection.documents, self.spec.document_prompt)

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        import torch

        if not labeled:
            return self.text_rows(split)
        read, count = self.read(split), len(split)
        pairs = relevant_of(split)[:, :2]
        ignored_negatives = [{document for document, grade in judged if grade != 0} for judged in split.references]
        negatives = [
            [document for document, grade in judged if grade == 0][:_MAX_NEGATIVES] for judged in split.references
        ]

        def batch(numbers: np.ndarray) -> Inputs:
            queries, positives = pairs[numbers].T
            hard = chain.from_iterable(negatives[query] for query in queries)
            documents, columns = np.unique([*positives, *hard], return_inverse=True)
            ignored = [ignored_negatives[query] for query in queries.tolist()]
            marks = np.array([[document in row for document in documents.tolist()] for row in ignored], np.int64)
            marks[np.arange(len(queries)), columns[: len(queries)]] = _POSITIVE
            return {**read(np.concatenate([queries, count + documents])), "labels": torch.from_numpy(marks)}

        return BatchedRows(batch, {}, len(pairs))

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of b queries from their embeddings, followed by documents, and marks (b, documents)."""
        from sentence_transformers import SimilarityFunction
        from torch.nn.functional import cross_entropy

        queries, documents = embeddings[: len(labels)], embeddings[len(labels) :]
        similarity = SimilarityFunction.to_similarity_fn(self.spec.similarity)
        scores = similarity(queries, documents) * (_SCALE if self.spec.similarity == "cosine" else 1.0)
        return cross_entropy(scores.masked_fill(labels == _IGNORED_NEGATIVE, float("-inf")), labels.argmax(1))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[SearchResult]:
        embeddings = self.embeddings(outputs, split)
        queries, documents = embeddings[: len(split)], embeddings[len(split) :]
        search = SearchScores(queries, documents, judgments_of(split), split.groups, self.spec.similarity)
        return search_results(search.relevant, search.places, len(split))

    def save(self, folder: Path, task: str) -> None:
        super().save(folder, task)
        place = folder / SETTINGS
        about = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
        about["prompts"] = about.get("prompts", {}) | {
            "query": self.spec.query_prompt,
            "document": self.spec.document_prompt,
        }
        place.write_text(json.dumps(about, indent=2), encoding="utf-8")
