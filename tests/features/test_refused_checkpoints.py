"""Checkpoints that cannot be read, and what is said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from hf_emms.errors import EmmsError
from hf_emms.features.device import choose_device
from tests.helpers.extracting import edit_config, load, rows
from tests.helpers.tiny_checkpoints import TEXT_MODELS, TEXTS, build


def test_truncated_weights_name_file_and_repository(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "broken")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(EmmsError, match=r"model\.safetensors of .*broken is truncated or corrupt"):
        load(folder)


def test_a_missing_shard_is_named(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "sharded")
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert rows(load(folder), [Image.new("RGB", (32, 32))]).shape == (1, 16)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(EmmsError, match=f"lacks {shard.name}"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("vit", "config.json", r"has no config\.json"),
        ("vit", "model.safetensors", "has no weights"),
        ("vit", "preprocessor_config.json", r"image processor \(preprocessor_config\.json\)"),
        ("bert", "tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_missing_file_is_named(name: str, file: str, message: str, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, name), tmp_path / name)
    for path in folder.glob(file):
        path.unlink()
    with pytest.raises(EmmsError, match=message):
        load(folder, "text" if name in TEXT_MODELS else "image")


@pytest.mark.parametrize(("name", "file"), [("bert", "tokenizer.json"), ("vit", "preprocessor_config.json")])
def test_a_file_that_is_cut_is_named(name: str, file: str, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, name), tmp_path / name)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(EmmsError, match=rf"{file} of .*{name} cannot be read") as refused:
        load(folder, "text" if name in TEXT_MODELS else "image")
    assert str(folder / file) in str(refused.value.hint)


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (["model_index.json", "unet/config.json"], "is a pipeline of diffusers", "text_encoder"),
        (["open_clip_config.json", "open_clip_model.safetensors"], "is a checkpoint for open_clip", "twin"),
        (["model.Q4_K_M.gguf"], "only weights for llama.cpp", "gguf_file="),
        (["model.onnx"], "only weights for ONNX Runtime", "exported from"),
        (["last.pth"], "pickled without a config.json", "save_pretrained"),
        (["best/config.json", "best/model.safetensors"], "but its folder best has", "best"),
    ],
)
def test_layouts_of_other_libraries_are_named(files: list[str], message: str, hint: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(EmmsError, match=message) as refused:
        load(tmp_path)
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize("name", ["model.gguf", "last.pth", "model.onnx", "model.safetensors"])
def test_a_file_is_no_checkpoint_and_its_kind_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(EmmsError, match=rf"no config\.json of transformers, only weights .*{name}"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("model_type", "kind", "reads"),
    [
        ("whisper", "text", "sound, not texts"),
        ("wav2vec2", "image", "sound, not images"),
        ("videomae", "image", "videos, not images"),
        ("vjepa2", "text", "videos, not texts"),
        ("sam", "text", "images, not texts"),
    ],
)
def test_what_a_checkpoint_reads_is_said_before_it_is_loaded(
    model_type: str, kind: str, reads: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(EmmsError, match=f"is a {model_type} checkpoint, which reads {reads}"):
        load(tmp_path, kind)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_config_is_an_error(content: str, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    (folder / "config.json").write_text(content)
    with pytest.raises(EmmsError, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize(
    "config", [{"num_hidden_layers": 2**40}, {"text_config": {"n_layer": -1}}, {"x": [{"depth": 1e9}]}]
)
def test_a_number_of_layers_that_no_model_has_is_an_error(config: dict, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    edit_config(folder, **config)
    with pytest.raises(EmmsError, match=r"asks for \S+ layers"):
        load(folder)


def test_the_number_of_a_layer_may_be_negative(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    edit_config(folder, vision_feature_layer=-2)
    assert rows(load(folder), [Image.new("RGB", (32, 32))]).shape == (1, 16)


def test_weights_that_transformers_would_make_up_are_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    weights = load_file(folder / "model.safetensors")
    weights.pop("vit.layernorm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmmsError, match=r"lack 1 tensor that .* layernorm\.weight"):
        load(folder)


def test_weights_of_another_shape_are_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    edit_config(folder, hidden_size=24)
    with pytest.raises(EmmsError, match=r"do not fit its config\.json"):
        load(folder)


def test_a_configuration_that_would_fill_the_memory_is_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "bert")
    edit_config(folder, hidden_size=12_288, num_hidden_layers=96)
    with pytest.raises(EmmsError, match=r"describes [1-9][0-9,]{12,} parameters, and its weights have \d+"):
        load(folder, "text")


def test_tokens_beyond_the_vocabulary_are_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    config = transformers.AutoConfig.from_pretrained(build(zoo, "bert"), vocab_size=10)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(build(zoo, "bert")).save_pretrained(folder)
    with pytest.raises(EmmsError, match="do not belong together"):
        rows(load(folder, "text"), TEXTS)


def test_an_architecture_nobody_knows_is_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    edit_config(folder, model_type="vit-of-tomorrow")
    with pytest.raises(EmmsError, match="does not know the architecture 'vit-of-tomorrow'"):
        load(folder)


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
    shutil.copy(build(zoo, "vit") / "preprocessor_config.json", folder)
    (folder / "small.py").write_text(CODE)
    auto = {"AutoConfig": "small.SmallConfig", "AutoModel": "small.SmallModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own-code", "auto_map": auto}))
    save_file({"scale": torch.full((3, 1, 1), 2.0)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmmsError, match="trust_remote_code=True"):
        load(folder)
    extractor = load(folder, trust_remote_code=True)
    white = Image.new("RGB", (32, 32), "white")
    np.testing.assert_allclose(rows(extractor, [white]), [[2, 2, 2]], atol=1e-6)  # a map: its global average
    assert "fallback" in extractor.notes[0]


def test_a_quantisation_in_the_configuration_is_noted(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "llama"), tmp_path / "fp8")
    edit_config(folder, quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic"})
    extractor = load(folder, "text")
    assert extractor.notes == ("its config.json names a quantisation (fp8): its weights are read as float32",)
    np.testing.assert_allclose(rows(extractor, TEXTS), rows(load(build(zoo, "llama"), "text"), TEXTS), atol=1e-6)


def test_images_cut_into_pieces_are_refused_with_a_reason(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "siglip"), tmp_path / "naflex")
    edit_config(folder, model_type="siglip2")
    transformers.Siglip2ImageProcessor().save_pretrained(folder)
    with pytest.raises(EmmsError, match="cuts an image into pieces"):
        load(folder)


def test_code_of_a_repository_that_is_left_out_is_noted(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "small.SmallModel"}}))
    for trusted in (False, True):
        notes = " ".join(load(folder, trust_remote_code=trusted).notes)
        assert "the code in its repository is not run: transformers has its own for 'vit'" in notes


def test_unknown_names_list_the_known_ones(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="float32, float16, bfloat16"):
        load(build(zoo, "vit"), dtype="int8")
    with pytest.raises(EmmsError, match="cpu, cuda, mps"):
        choose_device("tpu")


def test_a_checkpoint_that_fails_on_its_inputs_is_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": {"height": 24, "width": 24}}))
    with pytest.raises(EmmsError, match="failed on its inputs"):
        load(folder)
