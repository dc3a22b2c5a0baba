"""Tiny checkpoints that write texts, of every family whose prompts are ranked, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import transformers

from tests.helpers.tiny_checkpoints import SIZE, TEXT, checkpoint, tokenizer

T = transformers

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role not in ('user', 'assistant') %}"
    "{{ raise_exception('only user and assistant') }}{% endif %}"
    "[{{ message.role }}] {{ message.content }} {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
_DECODER: dict[str, Any] = {
    "head_dim": 8, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **TEXT,
}  # fmt: skip
_WIDE: dict[str, Any] = {**SIZE, "vocab_size": 400}
_SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 400, "max_position_embeddings": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
_T5: dict[str, Any] = {
    "vocab_size": 400, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "decoder_start_token_id": 0,
}  # fmt: skip

DECODERS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: T.GPT2LMHeadModel(T.GPT2Config(vocab_size=400, n_positions=40, n_embd=16, n_layer=2, n_head=2)),
    "gpt_neox": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(bos_token_id=1, eos_token_id=2, **TEXT)),
    "opt": lambda: T.OPTForCausalLM(
        T.OPTConfig(ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=40, **_WIDE)
    ),
    "bloom": lambda: T.BloomForCausalLM(T.BloomConfig(vocab_size=400, hidden_size=16, n_layer=2, n_head=2)),
    "llama": lambda: T.LlamaForCausalLM(T.LlamaConfig(**_DECODER)),
    "qwen2": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**_DECODER)),
    "qwen3": lambda: T.Qwen3ForCausalLM(T.Qwen3Config(**_DECODER)),
    "gemma": lambda: T.GemmaForCausalLM(T.GemmaConfig(**_DECODER)),
    "gemma2": lambda: T.Gemma2ForCausalLM(T.Gemma2Config(**_DECODER)),
    "gemma3_text": lambda: T.Gemma3ForCausalLM(T.Gemma3TextConfig(**_DECODER)),
    "mistral": lambda: T.MistralForCausalLM(T.MistralConfig(**_DECODER)),
    "phi": lambda: T.PhiForCausalLM(T.PhiConfig(bos_token_id=1, eos_token_id=2, **TEXT)),
    "phi3": lambda: T.Phi3ForCausalLM(T.Phi3Config(**_DECODER)),
    "smollm3": lambda: T.SmolLM3ForCausalLM(T.SmolLM3Config(**_DECODER)),
    "olmo2": lambda: T.Olmo2ForCausalLM(T.Olmo2Config(pad_token_id=0, bos_token_id=1, eos_token_id=2, **TEXT)),
    "gpt_oss": lambda: T.GptOssForCausalLM(T.GptOssConfig(num_local_experts=2, num_experts_per_tok=1, **_DECODER)),
    "mamba": lambda: T.MambaForCausalLM(
        T.MambaConfig(vocab_size=400, hidden_size=16, num_hidden_layers=2, state_size=4, eos_token_id=2)
    ),
}
ENCODER_DECODERS: dict[str, Callable[[], Any]] = {
    "t5": lambda: T.T5ForConditionalGeneration(T.T5Config(**_T5)),
    "mt5": lambda: T.MT5ForConditionalGeneration(T.MT5Config(**_T5)),
    "bart": lambda: T.BartForConditionalGeneration(T.BartConfig(**_SEQ2SEQ)),
    "mbart": lambda: T.MBartForConditionalGeneration(T.MBartConfig(**_SEQ2SEQ)),
    "marian": lambda: T.MarianMTModel(T.MarianConfig(**_SEQ2SEQ)),
    "m2m_100": lambda: T.M2M100ForConditionalGeneration(T.M2M100Config(**_SEQ2SEQ)),
    "pegasus": lambda: T.PegasusForConditionalGeneration(T.PegasusConfig(**_SEQ2SEQ)),
}


def writer(root: Path, name: str, chat_template: str | None = None) -> Path:
    """The folder of a tiny checkpoint of a family, with a chat template if one is given."""
    folder = root / f"writer-{name}{'-chat' * bool(chat_template)}"

    def with_template() -> Any:
        reader = T.AutoTokenizer.from_pretrained(folder)
        reader.chat_template = chat_template
        return reader

    make = (DECODERS | ENCODER_DECODERS)[name]
    return checkpoint(folder, make, partial(tokenizer, folder.name), with_template)
