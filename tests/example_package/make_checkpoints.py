"""Two checkpoints of the example's architecture in this folder: one with trained word embeddings, one without."""

import shutil

import torch
from emms_example.model import BagOfTokens, BagOfTokensConfig
from safetensors.torch import load_file

from hf_emms.presets import demo

source = demo.folder_of("emms-demo/bert-distilled")
words = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
torch.manual_seed(0)
for name in ("trained", "random"):
    model = BagOfTokens(BagOfTokensConfig(*words.shape))
    if name == "trained":
        model.embedding.weight.data.copy_(words)
    model.save_pretrained(name)
    for file in source.glob("tokenizer*"):
        shutil.copy(file, name)
