"""Static embeddings: tables of token vectors without a transformer (model2vec, sentence-transformers)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from hf_emms.features.checkpoint_files import SAFETENSORS_NAME, Weights, read_tensors
from hf_emms.features.embedding_settings import MODEL_TYPE

# A mean of vectors has no maximum length, unless the tokenizer sets one.
MAX_LENGTH = 999_999


class StaticEmbedding(nn.Module):
    """A table with a vector per token, which can be called like a model of transformers."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False)
        self.config = SimpleNamespace(model_type=MODEL_TYPE, is_encoder_decoder=False, hidden_size=vectors.shape[1])

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, dtype: torch.dtype, use_safetensors: bool, **options: Any
    ) -> tuple[Self, dict[str, Any]]:
        """Load the table of a folder, with a loading report in the format of transformers.

        Raises:
            ValueError: If the weights are not one table; model2vec can also share rows and weight tokens.
        """
        tensors = read_tensors(Weights(folder, pickled=not use_safetensors).single)
        vectors = next(iter(tensors.values()))
        if len(tensors) != 1 or vectors.ndim != 2:
            raise ValueError(f"its weights are not one table of token vectors, but {', '.join(tensors) or 'nothing'}")
        return cls(vectors.to(dtype)), {"missing_keys": (), "mismatched_keys": ()}

    def save_pretrained(self, folder: Path) -> None:
        """Write the table as sentence-transformers does."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"embedding.weight": self.embedding.weight.detach().contiguous()}, folder / SAFETENSORS_NAME)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Tensor, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


def static_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a folder, which adds no special tokens."""
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    limit = (core.truncation or {}).get("max_length", MAX_LENGTH)
    core.no_padding()
    core.post_processor = processors.Sequence([])
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=limit)
