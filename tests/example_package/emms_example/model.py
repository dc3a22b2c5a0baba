"""A model that transformers does not have, and what of it is the feature."""

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from hf_emms.features.pooling import Pooling


class BagOfTokensConfig(PretrainedConfig):
    model_type = "bag-of-tokens"

    def __init__(self, vocab_size: int = 1000, hidden_size: int = 32, **more) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        super().__init__(**more)


class BagOfTokens(PreTrainedModel):
    config_class = BagOfTokensConfig

    def __init__(self, config: BagOfTokensConfig) -> None:
        super().__init__(config)
        self.embedding = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.embedding(input_ids))


def mean_and_max(model: BagOfTokens, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Features (b, 2 D) of a batch: the mean and the maximum over tokens, padding left out."""
    mask = inputs["attention_mask"][..., None]
    hidden = model(**inputs).last_hidden_state
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return torch.cat([mean, hidden.masked_fill(mask == 0, float("-inf")).amax(1)], dim=1)


MEAN_AND_MAX = Pooling("mean and maximum over the tokens, padding left out", mean_and_max)
