"""Heads of embedding models: the checkpoint's own embeddings of texts are trained, without new layers.

What is saved is a folder of sentence-transformers.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import TOWER_POOLINGS
from hf_emms.features.checkpoint_files import SAFETENSORS_NAME, fetch_weights
from hf_emms.features.embedding_settings import MODEL_TYPE
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.heads.guess import Guess
from hf_emms.heads.head import Head, Network
from hf_emms.heads.metrics import SPEARMAN, Metric
from hf_emms.heads.row import numbers_of
from hf_emms.heads.saved import ABOUT, MODULES, copy_modules
from hf_emms.heads.split import LabeledRows, LabeledSample, LabeledSplit
from hf_emms.inputs import InputKind, Pairs
from hf_emms.inputs.kind import BatchReader
from hf_emms.inputs.text import Prompt, load_training_texts
from hf_emms.options import LAST

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Inputs
    from hf_emms.features.load import LoadedModel

# What sentence-transformers calls the weights of a layer behind the pooling, where these are not ours.
_PREFIXES = {"LayerNorm": "norm."}
# The factor of similarities in the losses, as sentence-transformers has it.
_SCALE = 20.0
# Poolings of checkpoints that sentence-transformers does not describe, which are its mean.
_MEANS = ("masked_mean", "encoder_masked_mean", "text_fallback")


class EmbeddingHead(Head):
    """A head that gives the checkpoint's own embeddings of texts, from whose similarities predictions follow."""

    trains_embeddings = is_measured_first = True
    module, extra, library = "sentence_transformers", "retrieval", "sentence-transformers"

    def build(
        self, plan: ExtractionPlan, kind: InputKind, train: LabeledSplit, *, allow_pickle: bool = False
    ) -> EmbeddingNetwork:
        from hf_emms.features.load import load_model

        weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
        return self.network(load_model(plan, weights, allow_pickle=allow_pickle))

    def open(
        self, plan: ExtractionPlan, kind: InputKind, references: Sequence[Any], weights: dict[str, Tensor]
    ) -> EmbeddingNetwork:
        return self.build(plan, kind, LabeledSplit.of_inputs((), ()))

    @abstractmethod
    def network(self, loaded: LoadedModel) -> EmbeddingNetwork:
        """Return the network of a loaded checkpoint."""


class EmbeddingNetwork(Network):
    """A network whose outputs are embeddings of texts, float32 (m, D)."""

    def __init__(self, loaded: LoadedModel) -> None:
        from hf_emms.features.layers import plan_layers
        from hf_emms.heads.modules import Embedder

        plan, base = loaded.plan, loaded.model
        is_mean = loaded.pooling in _MEANS and not hasattr(base, "get_text_features")
        if loaded.pooling in TOWER_POOLINGS or not (is_mean or (plan.folder / MODULES).is_file()):
            raise EmmsError(
                f"sentence-transformers has no pooling like that of {plan.repo.id}, a tower for texts",
                "fine-tune a checkpoint for texts alone",
            )
        self._plan, self._reader = plan, load_training_texts(plan, base)
        super().__init__(Embedder(base, plan_layers(loaded, (LAST,)), self.batch_loss), (self._reader.tokenizer,))

    @abstractmethod
    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch from the embeddings of its m texts, (m, D), and its labels."""

    @property
    def saved(self) -> Any:
        return self.model.base

    def predict(self, model: Any, batch: Inputs) -> Tensor:
        embeddings: Tensor = model(**batch)
        return embeddings

    def read(self, *parts: tuple[Sequence[str], str]) -> BatchReader:
        """Return what makes batches of texts, which are numbered through all parts, each with the prompt of its texts.

        A note says where texts are cut.
        """
        import torch

        tokens, prompt_tokens = list[list[int]](), list[int]()
        for texts, start in parts:
            prompt = Prompt.of(self._plan, self._reader.tokenizer, start)
            ids, cut = self._reader.tokenize([prompt.text + text for text in texts])
            note = f"texts are cut at {self._reader.max_length:,} tokens"
            if cut and note not in self.notes:
                self.notes.append(note)
            tokens += ids
            prompt_tokens += [prompt.tokens] * len(ids)

        def batch(rows: np.ndarray) -> Inputs:
            tensors = self._reader.pad([tokens[row] for row in rows])
            if any(prompt_tokens):
                tensors["prompt_tokens"] = torch.tensor([prompt_tokens[row] for row in rows])
            return tensors

        return batch

    def save(self, folder: Path, task: str) -> None:
        """Write a folder of sentence-transformers, which describes the model as that of the checkpoint does, if any."""
        from safetensors.torch import save_file

        from hf_emms.features.load import BEHIND

        base, plan = self.model.base, self._plan
        layers = base._modules.pop(BEHIND, ())
        place = folder / plan.subfolder
        base.save_pretrained(place)
        self.save_processors(place)
        if not copy_modules(plan, folder):
            self._describe(folder)
        for (name, path), layer in zip(plan.behind, layers, strict=True):
            prefix = _PREFIXES.get(name, "")
            tensors = {f"{prefix}{part}": tensor.contiguous() for part, tensor in layer.state_dict().items()}
            if tensors:
                save_file(tensors, folder / path / SAFETENSORS_NAME)
        (folder / ABOUT).write_text(json.dumps({"task": task, "references": []}), encoding="utf-8")

    def _describe(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer, SimilarityFunction
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding, Transformer

        modules: list[Any]
        if self._plan.config["model_type"] == MODEL_TYPE:
            modules = [StaticEmbedding.load(str(folder)), *([Normalize()] if self._plan.normalise else [])]
        else:
            transformer = Transformer(str(folder))
            transformer.model = self.model.base  # without random weights of a pooling head, which only its class has
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
        model = SentenceTransformer(
            modules=modules, device="cpu", similarity_fn_name=SimilarityFunction(self._plan.similarity)
        )
        model.save_pretrained(str(folder), create_model_card=False)


class SimilarityHead(EmbeddingHead):
    """A head whose prediction for two texts is the cosine of their embeddings.

    As trained by a cross-encoder instead, which reads both texts together, it is another head of `methods`.
    """

    def __init__(self, cross_encoder: Head) -> None:
        self.methods = {"cross-encoder": cross_encoder}

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return (SPEARMAN,)

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        """Return the number of each of the U labels."""
        return [row[0] for row in numbers_of(sample)]

    def guess(self, train: LabeledSplit, split: LabeledSplit) -> Guess:
        return Guess("the mean of the training rows", [float(np.mean(train.references))] * len(split))

    def network(self, loaded: Any) -> EmbeddingNetwork:
        return _SimilarityNetwork(loaded)

    def opening(self, place: str) -> str:
        return (
            f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({place!r})\n"
            "model.similarity_pairwise(model.encode([text, ...]), model.encode([text_pair, ...]))"
        )


class _SimilarityNetwork(EmbeddingNetwork):
    """A network that is trained by CoSENT: pairs that are more alike get the higher cosine."""

    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        import torch

        texts, places = self.once("texts", split, _distinct_texts)
        read = self.read((texts, self._plan.prompt))
        if not labelled:
            return LabeledRows(read, {}, len(texts))
        labels = {"labels": torch.tensor(split.references, dtype=torch.float32)}
        return LabeledRows(lambda rows: read(places[rows].T.ravel()), labels, len(split))

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        from sentence_transformers.sentence_transformer.losses import CoSENTLoss

        # Its model is not asked for embeddings that are there already.
        return CoSENTLoss(None, _SCALE).compute_loss_from_embeddings([*embeddings.chunk(2)], labels)  # type: ignore[arg-type]

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[float]:
        _, places = self.once("texts", split, _distinct_texts)
        unit = outputs / np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        cosines: list[float] = (unit[places[:, 0]] * unit[places[:, 1]]).sum(1).tolist()
        return cosines


def _distinct_texts(split: LabeledSplit) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a split's pairs, and the places of the first and second of each, int64 (n, 2)."""
    pairs = split.inputs
    assert isinstance(pairs, Pairs)
    parts = pairs.parts[split.input_of_row]
    firsts, first_of_row = np.unique(parts[:, 0], return_inverse=True)
    seconds, second_of_row = np.unique(parts[:, 1], return_inverse=True)
    texts = [*(pairs.firsts[i] for i in firsts.tolist()), *(pairs.seconds[i] for i in seconds.tolist())]
    return texts, np.stack([first_of_row, len(firsts) + second_of_row], axis=1)
