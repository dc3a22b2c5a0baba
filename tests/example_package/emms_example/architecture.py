"""What hf_emms needs to know about checkpoints of model_type "bag-of-tokens". Imports neither torch nor the model."""

from hf_emms.features.architectures import Architecture

BAG_OF_TOKENS = Architecture(
    family="Bag of tokens",
    model_types=("bag-of-tokens",),
    input_kind="text",
    loader="emms_example.model:BagOfTokens",
    pooling="emms_example.model:MEAN_AND_MAX",
    source="an example",
)
