"""Tiny checkpoints that write texts, of every family that ranks prompts, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.tiny_checkpoints import BART, DECODER, ENDS, GPT2, OPT, T5, TEXT, T, checkpoint, tiny, tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role not in ('user', 'assistant') %}"
    "{{ raise_exception('only user and assistant') }}{% endif %}"
    "[{{ message.role }}] {{ message.content }} {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
_SEQ2SEQ = {**BART, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
_T5 = {**T5, "decoder_start_token_id": 0}

DECODERS: dict[str, Callable[[], Any]] = {
    "gpt2": tiny("GPT2LMHeadModel", **GPT2),
    "gpt_neox": tiny("GPTNeoXForCausalLM", **ENDS, **TEXT),
    "opt": tiny("OPTForCausalLM", **OPT),
    "bloom": tiny("BloomForCausalLM", vocab_size=400, hidden_size=16, n_layer=2, n_head=2),
    "llama": tiny("LlamaForCausalLM", **DECODER),
    "qwen2": tiny("Qwen2ForCausalLM", **DECODER),
    "qwen3": tiny("Qwen3ForCausalLM", **DECODER),
    "gemma": tiny("GemmaForCausalLM", **DECODER),
    "gemma2": tiny("Gemma2ForCausalLM", **DECODER),
    "gemma3_text": tiny("Gemma3ForCausalLM", **DECODER),
    "mistral": tiny("MistralForCausalLM", **DECODER),
    "phi": tiny("PhiForCausalLM", **ENDS, **TEXT),
    "phi3": tiny("Phi3ForCausalLM", **DECODER),
    "smollm3": tiny("SmolLM3ForCausalLM", **DECODER),
    "modernbert-decoder": tiny("ModernBertDecoderForCausalLM", **DECODER),
    "olmo2": tiny("Olmo2ForCausalLM", pad_token_id=0, **ENDS, **TEXT),
    "gpt_oss": tiny("GptOssForCausalLM", num_local_experts=2, num_experts_per_tok=1, **DECODER),
    "mamba": tiny(
        "MambaForCausalLM", vocab_size=400, hidden_size=16, num_hidden_layers=2, state_size=4, eos_token_id=2
    ),
}
ENCODER_DECODERS: dict[str, Callable[[], Any]] = {
    "t5": tiny("T5ForConditionalGeneration", **_T5),
    "mt5": tiny("MT5ForConditionalGeneration", **_T5),
    "bart": tiny("BartForConditionalGeneration", **_SEQ2SEQ),
    "mbart": tiny("MBartForConditionalGeneration", **_SEQ2SEQ),
    "marian": tiny("MarianMTModel", **_SEQ2SEQ),
    "m2m_100": tiny("M2M100ForConditionalGeneration", **_SEQ2SEQ),
    "pegasus": tiny("PegasusForConditionalGeneration", **_SEQ2SEQ),
}


def writer(root: Path, name: str, chat_template: str | None = None) -> Path:
    """Return the folder of a tiny checkpoint of a family, optionally with a chat template."""
    folder = root / f"writer-{name}{'-chat' * bool(chat_template)}"

    def with_template() -> Any:
        reader = T.AutoTokenizer.from_pretrained(folder)
        reader.chat_template = chat_template
        return reader

    make = (DECODERS | ENCODER_DECODERS)[name]
    return checkpoint(folder, make, partial(tokenizer, folder.name), with_template)
