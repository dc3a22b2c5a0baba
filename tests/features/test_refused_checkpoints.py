"""Checkpoints that cannot be read, and their errors and notes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from hf_emms.errors import EmmsError
from hf_emms.features.device import choose_device
from tests.helpers.errors import raises_code
from tests.helpers.extracting import copied, edit_json, load, rows
from tests.helpers.notes import codes
from tests.helpers.sound import SOUND_FAMILIES, sound_checkpoint
from tests.helpers.tiny_checkpoints import TEXT_MODELS, TEXTS, build

WHITE = Image.new("RGB", (32, 32), "white")


def load_any(folder: Path) -> Any:
    name = folder.name
    return load(folder, "text" if name in TEXT_MODELS else "audio" if name in SOUND_FAMILIES else "image")


@pytest.mark.parametrize(
    ("name", "config", "code"),
    [
        ("vit", {"hidden_size": 24}, "weights-mismatch"),
        ("vit", {"model_type": "vit-of-tomorrow"}, "unknown-architecture"),
    ],
)
def test_a_configuration_that_fits_no_weights_is_an_error(
    name: str, config: dict[str, Any], code: str, zoo: Path, tmp_path: Path
) -> None:
    with raises_code(code):
        load_any(copied(build(zoo, name), tmp_path, **config))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_norm(path: Path) -> None:
    weights = load_file(path)
    weights.pop("vit.layernorm.weight")
    save_file(weights, path, metadata={"format": "pt"})


def shrink(path: Path) -> None:
    edit_json(path, size={"height": 24, "width": 24})


def need_a_package(path: Path) -> None:
    """A tokenizer that reads Japanese with MeCab."""
    path.unlink()
    (path.parent / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]")
    tokenizer = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    (path.parent / "tokenizer_config.json").write_text(json.dumps(tokenizer))


PROCESSOR, WEIGHTS = "preprocessor_config.json", "model.safetensors"


@pytest.mark.parametrize(
    ("name", "file", "change", "code"),
    [
        ("vit", "config.json", Path.unlink, "no-config"),
        ("vit", WEIGHTS, Path.unlink, "no-weights"),
        ("vit", PROCESSOR, Path.unlink, "cannot-load"),
        ("bert", "tokenizer.json", Path.unlink, "no-tokenizer"),
        ("bert", "tokenizer.json", need_a_package, "cannot-load"),
        ("wav2vec2", PROCESSOR, Path.unlink, "cannot-load"),
        ("bert", "tokenizer.json", cut, "cannot-load"),
        ("vit", PROCESSOR, cut, "malformed-checkpoint"),
        ("vit", "config.json", cut, "malformed-checkpoint"),
        ("vit", "config.json", lambda path: path.write_text("[]"), "no-model-type"),
        ("vit", WEIGHTS, cut, "cannot-load"),
        # transformers would make it up.
        ("vit", WEIGHTS, lose_norm, "weights-missing"),
        ("vit", PROCESSOR, shrink, "checkpoint-failed"),
    ],
)
def test_a_file_that_is_missing_or_broken_is_named(
    name: str, file: str, change: Callable[[Path], Any], code: str, zoo: Path, tmp_path: Path
) -> None:
    make = sound_checkpoint if name in SOUND_FAMILIES else build
    folder = shutil.copytree(make(zoo, name), tmp_path / name)
    change(folder / file)
    with raises_code(code):
        load_any(folder)


def test_a_missing_shard_is_named(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "sharded")
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert rows(load(folder), [WHITE]).shape == (1, 16)
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    with raises_code("cannot-load", shards[1].name):
        load(folder)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["model_index.json", "unet/config.json"], "no-config"),
        (["model.Q4_K_M.gguf"], "no-config"),
        (["config.json", "adapter_config.json"], "adapter"),
    ],
)
def test_layouts_of_other_libraries_are_refused(files: list[str], code: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with raises_code(code):
        load(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "kind", "reads"),
    [
        ("whisper", "text", "sound, not texts"),
        ("wav2vec2", "image", "sound, not images"),
        ("bert", "prompt", "texts, not prompts"),
        ("clip", "text+text", "images and texts, not pairs of texts"),
        ("siglip", "text+text", "images and texts, not pairs of texts"),
        ("bert", "audio", "texts, not sounds"),
        ("vit", "image+text", "images, not images with texts"),
        ("vision-encoder-decoder", "image+text", "images, not images with texts"),
        ("bert", "image+text", "texts, not images with texts"),
    ],
)
def test_what_a_checkpoint_reads_is_said_before_it_is_loaded(
    model_type: str, kind: str, reads: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(EmmsError) as refused:
        load(tmp_path, kind)
    needed = reads.partition(", not ")[2]
    assert refused.value.message == (
        f"{tmp_path} is a {model_type} checkpoint, which reads {reads}; a test needs {needed}"
    )
    assert str(refused.value.hint) == "leave it out, or choose another task than a test"


def test_tokens_beyond_the_vocabulary_are_an_error(zoo: Path, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(build(zoo, "bert"), vocab_size=10)
    transformers.BertModel(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(build(zoo, "bert")).save_pretrained(tmp_path)
    with raises_code("token-outside-vocabulary", "10 rows"):
        rows(load(tmp_path, "text"), TEXTS)


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class SmallConfig(PretrainedConfig):
    model_type = "own-code"


class SmallModel(PreTrainedModel):
    config_class = SmallConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(3, 1, 1))
        self.post_init()

    def forward(self, pixel_values):
        return BaseModelOutput(last_hidden_state=pixel_values * self.scale)
"""


def test_code_of_a_repository_runs_only_with_the_flag(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own_code"
    folder.mkdir()
    shutil.copy(build(zoo, "vit") / PROCESSOR, folder)
    (folder / "small.py").write_text(CODE)
    auto = {"AutoConfig": "small.SmallConfig", "AutoModel": "small.SmallModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own-code", "auto_map": auto}))
    save_file({"scale": torch.full((3, 1, 1), 2.0)}, folder / WEIGHTS, metadata={"format": "pt"})
    with raises_code("remote-code", "trust_remote_code=True"):
        load(folder)
    extractor = load(folder, trust_remote_code=True)
    np.testing.assert_allclose(rows(extractor, [WHITE]), [[2, 2, 2]], atol=1e-6)  # a map: its global average
    assert codes(extractor.notes)[0] == "fallback-pooling"


def test_a_quantization_in_the_configuration_is_noted(zoo: Path, tmp_path: Path) -> None:
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    extractor = load(copied(build(zoo, "llama"), tmp_path, quantization_config=settings), "text")
    assert codes(extractor.notes) == ["quantization-ignored"]
    np.testing.assert_allclose(rows(extractor, TEXTS), rows(load(build(zoo, "llama"), "text"), TEXTS), atol=1e-6)


def test_a_captioner_without_a_start_token_is_refused(zoo: Path, tmp_path: Path) -> None:
    folder = copied(build(zoo, "vision-encoder-decoder"), tmp_path, decoder_start_token_id=None)
    (folder / "generation_config.json").unlink(missing_ok=True)
    with raises_code("no-start-token", "decoder_start_token_id"):
        load(folder)


def test_unknown_names_list_the_known_ones(zoo: Path) -> None:
    with raises_code("unknown-dtype", "float32, float16, bfloat16"):
        load(build(zoo, "vit"), dtype="int8")
    with raises_code("unknown-device", "cpu, cuda, mps"):
        choose_device("tpu")
