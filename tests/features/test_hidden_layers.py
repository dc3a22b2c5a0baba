"""Features of hidden layers: which they are, from one forward. test_families.py reads them with every family."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import transformers

from hf_emms.features.extractor import Extractor
from hf_emms.features.layers import LayerReader, pick, spread
from hf_emms.features.pooling import POOLINGS, Pooling
from hf_emms.hub import resolve
from hf_emms.options import layer_names
from tests.helpers.errors import raises_code
from tests.helpers.extracting import Reads, load, own_pixels, pictures, rows
from tests.helpers.tiny_checkpoints import TEXTS
from tests.helpers.tiny_families import TIMM_MODELS, family


def by_layer(extractor: Extractor, inputs: list) -> dict[str, np.ndarray]:
    features = rows(extractor, inputs)
    return {layer: features[:, part] for layer, part in extractor.layer_slices.items()}


# --- which layer ------------------------------------------------------------------------------------------


def test_layers_are_named_in_one_way() -> None:
    assert layer_names(["mean", "-01", 3, "+3", "last", "mean"]) == ("mean", "-1", "3", "last")
    assert layer_names("last") == ("last",)
    for value in ("first", "", "1.5", "1-3", 1.5, True):
        with raises_code("unknown-layer") as error:
            layer_names([value])
        assert error.value.hint == 'layers="spread" or "last" or "mean" or a number'


def test_numbers_count_hidden_layers_from_both_ends() -> None:
    states = [torch.full((2, 3), float(value)) for value in range(4)]  # an embedding and three layers

    def value(layer: str, first: int = 1) -> float:
        return float(pick(layer, states, first)[0, 0])

    assert [value(layer) for layer in ("0", "1", "3", "-1", "-3", "mean")] == [0, 1, 3, 3, 1, 2]
    assert [value(layer, first=0) for layer in ("1", "4", "-4", "mean")] == [0, 3, 0, 1.5]
    for layer, first in (("4", 1), ("-4", 1), ("0", 0), ("5", 0), ("-5", 0)):
        with raises_code("unknown-layer", f"layer {layer}") as error:
            value(layer, first)
        numbers = ("1 to 3, or -3" if first else "1 to 4, or -4") + " to -1"
        assert error.value.hint == f'layers="last", or a number from {numbers}'


def test_spread_adds_the_first_and_the_middle_layer_to_the_last() -> None:
    assert {hidden: spread(hidden) for hidden in (0, 1, 2, 3, 12)} == {0: (), 1: (), 2: (1,), 3: (1, 2), 12: (1, 7)}


def test_spread_is_the_last_layer_of_a_model_that_shows_no_hidden_layers() -> None:
    pooling = Pooling("ones", lambda model, inputs: torch.ones(2, 3))
    reader = LayerReader(pooling, 1, ("spread", "1"))
    assert torch.equal(reader(None, {}), torch.ones(2, 3))
    assert [*reader.refused] == ["1"]


# --- what they are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_the_mean_of_layers_is_that_of_the_models_own_states(name: str, zoo: Path) -> None:
    folder = family(zoo, name)
    model = (transformers.T5EncoderModel if name == "t5" else transformers.AutoModel).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if text]
    with torch.no_grad():
        ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
        states = [model(input_ids=one, output_hidden_states=True).hidden_states for one in ids]
    got = by_layer(load(folder, "text", layers=("mean", "1", "0")), texts)
    for layer, part in (("mean", slice(1, None)), ("1", slice(1, 2)), ("0", slice(0, 1))):
        expected = [torch.stack(one[part]).mean(0)[0].mean(0) for one in states]
        np.testing.assert_allclose(got[layer], torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "deit_tiny_patch16_224"])
def test_a_vision_transformers_layers_are_pooled_by_their_class_token(name: str, zoo: Path) -> None:
    folder, inputs = family(zoo, name), pictures()
    if name in TIMM_MODELS:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        pixels, blocks = torch.stack([transform(picture) for picture in inputs]), model.blocks
    else:
        model = transformers.AutoModel.from_pretrained(folder).eval()
        pixels, blocks = own_pixels(folder, inputs)["pixel_values"], model.layers
    states: list[torch.Tensor] = []
    for block in blocks:
        block.register_forward_hook(lambda module, _, output: states.append(output))
    with torch.no_grad():
        model(pixels)
    first, second = (state[:, 0] for state in states)
    got = by_layer(load(folder, layers=("1", "2", "mean")), inputs)
    np.testing.assert_allclose(got["1"], first, atol=1e-4)
    np.testing.assert_allclose(got["2"], second, atol=1e-4)
    np.testing.assert_allclose(got["mean"], (first + second) / 2, atol=1e-4)


@pytest.mark.parametrize(("name", "first"), [("resnet", "0"), ("mobilenet_v1", "1"), ("mobilenet_v2", "1")])
def test_a_cnns_layers_are_its_stages_averaged_over_the_map(name: str, first: str, zoo: Path) -> None:
    """ResNets list the input of their first stage, too: its number is 0."""
    folder, inputs = family(zoo, name), pictures()[:3]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**own_pixels(folder, inputs), output_hidden_states=True).hidden_states
    layers = tuple(str(int(first) + place) for place in range(len(states)))
    got = by_layer(load(folder, layers=layers), inputs)
    for layer, state in zip(layers, states, strict=True):
        np.testing.assert_allclose(got[layer], state.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(("name", "others"), [("albert-distilled", ("1", "2")), ("resnet-distilled", ("1", "3"))])
def test_spread_is_layers_side_by_side(name: str, others: tuple[str, ...]) -> None:
    kind, inputs = ("text", TEXTS) if name.startswith("albert") else ("image", pictures())
    folder = resolve(f"emms-demo/{name}", "model").folder
    extractor = load(folder, kind, layers=("spread", *others, "last"))
    got = by_layer(extractor, inputs)
    np.testing.assert_array_equal(got["spread"], np.concatenate([got[layer] for layer in (*others, "last")], axis=1))
    assert f"; with hidden layers {' and '.join(others)}: " in extractor.info("spread").pooling
    np.testing.assert_array_equal(rows(load(folder, kind, layers=("spread",)), inputs), got["spread"])


# --- one forward, and what cannot be had ------------------------------------------------------------------


def test_several_layers_cost_one_forward_and_say_what_was_pooled(zoo: Path) -> None:
    extractor = load(family(zoo, "bert"), "text", layers=("last", "mean", "1"))
    read = Reads(extractor._model, "input_ids")
    rows(extractor, TEXTS, 3)
    assert read.rows == len(TEXTS)
    assert {layer: extractor.info(layer).pooling for layer in extractor.layer_slices} == {
        "last": "mean of the last layer's tokens, padding left out",
        "mean": "average of all hidden layers: mean of its tokens, padding left out",
        "1": "hidden layer 1: mean of its tokens, padding left out",
    }


def test_layers_of_different_widths_are_not_averaged_nor_is_none(zoo: Path) -> None:
    extractor = load(family(zoo, "resnet"), layers=("mean", "last"))
    assert set(extractor.layer_slices) == {"last"}
    with raises_code("unknown-layer", 'layers="last"'):
        load(family(zoo, "resnet"), layers=("mean",))
    with raises_code("unknown-layer"):
        pick("mean", [torch.ones(1, 2)], 1)


@pytest.mark.parametrize(
    ("name", "tower"), [("image_fallback", "get_image_features"), ("text_fallback", "get_text_features")]
)
def test_a_tower_that_shows_only_its_embedding_has_no_hidden_layers(name: str, tower: str) -> None:
    with raises_code("unknown-layer", 'layers="last"'):
        POOLINGS[name].layers(SimpleNamespace(**{tower: None}), {})
