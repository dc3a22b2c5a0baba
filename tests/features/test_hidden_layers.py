"""Features of hidden layers: what they are, for every family, from one forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import timm
import torch
import transformers

from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import LayerError
from hf_emms.features.extractor import Extractor
from hf_emms.features.layers import LayerReader, pick, spread
from hf_emms.features.pooling import Pooling
from hf_emms.hub import resolve
from hf_emms.options import layer_names
from tests.helpers.extracting import load, pictures, rows
from tests.helpers.tiny_checkpoints import CAPTIONERS, IMAGE_MODELS, TEXT_MODELS, TEXTS, build
from tests.helpers.tiny_families import (
    IMAGE_FAMILIES,
    TEXT_FAMILIES,
    TIMM_MODELS,
    captioner,
    timm_checkpoint,
)

ASKED = ("spread", "last", "mean", "1", "-1")
# Stages of different widths: there is no mean of them. (Those of a Swin of two stages are equal, and it has one.)
UNEVEN = {"resnet", "regnet", "convnext", "convnextv2", "mobilenet_v1", "mobilenet_v2", "efficientnet"}
UNEVEN |= {"pvt", "pvt_v2", "dinov3_convnext", "hiera"}


def made(zoo: Path, name: str) -> Path:
    if name in TIMM_MODELS:
        return timm_checkpoint(zoo, name)
    if "-" in name and name.split("-")[0] in ("vit", "swin", "swinv2"):
        return captioner(zoo, name)
    return build(zoo, name, (IMAGE_FAMILIES | TEXT_FAMILIES).get(name), reads_text=name in TEXT_FAMILIES)


def by_layer(extractor: Extractor, inputs: list, batch_size: int | None = None) -> dict[str, np.ndarray]:
    features = rows(extractor, inputs, batch_size)
    return {layer: features[:, part] for layer, part in extractor.layer_slices.items()}


@contextmanager
def forwards(kind: str) -> Iterator[list[int]]:
    """How many inputs each forward of a class of models gets, while the block runs."""
    seen: list[int] = []

    def count(module: torch.nn.Module, arguments: object, output: object) -> None:
        if type(module).__name__ == kind:
            seen.append(len(output.last_hidden_state))

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        yield seen
    finally:
        handle.remove()


# --- which layer ------------------------------------------------------------------------------------------


def test_layers_are_named_in_one_way() -> None:
    assert layer_names(["mean", "-01", 3, "+3", "last", "mean"]) == ("mean", "-1", "3", "last")
    assert layer_names("last") == ("last",)


@pytest.mark.parametrize("value", ["first", "", "1.5", "1-3", 1.5, True])
def test_other_names_are_refused(value: Any) -> None:
    with pytest.raises(EmmsError, match="unknown layer") as error:
        layer_names([value])
    assert error.value.hint == 'layers="spread" or "last" or "mean" or a number'


def test_numbers_count_hidden_layers_from_both_ends() -> None:
    states = [torch.full((2, 3), float(value)) for value in range(4)]  # an embedding and three layers
    last = torch.full((2, 5), 9.0)

    def value(layer: str, first: int = 1) -> float:
        return float(pick(layer, last, states, first)[0, 0])

    assert [value(layer) for layer in ("last", "0", "1", "3", "-1", "-3", "mean")] == [9, 0, 1, 3, 3, 1, 2]
    assert [value(layer, first=0) for layer in ("1", "4", "-4", "mean")] == [0, 3, 0, 1.5]
    for layer, first in (("4", 1), ("-4", 1), ("0", 0), ("5", 0), ("-5", 0)):
        with pytest.raises(EmmsError, match=f"no layer {layer}"):
            value(layer, first)


@pytest.mark.parametrize(
    ("hidden", "others"),
    [(0, ()), (1, ()), (2, (1,)), (3, (1, 2)), (12, (1, 7))],
)
def test_spread_adds_the_first_and_the_middle_layer_to_the_last(hidden: int, others: tuple[int, ...]) -> None:
    assert spread(hidden) == others


# --- every family -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*IMAGE_MODELS, *IMAGE_FAMILIES, *CAPTIONERS, *TIMM_MODELS, "swin-bart"])
def test_layers_of_image_families(name: str, zoo: Path) -> None:
    folder, inputs = made(zoo, name), pictures()[:3]
    extractor = load(folder, layers=ASKED)
    together = by_layer(extractor, inputs)
    assert extractor.notes == ()
    assert np.isfinite(together["last"]).all()
    np.testing.assert_array_equal(together["last"], rows(load(folder), inputs))
    uneven = name in UNEVEN or (name in TIMM_MODELS and "patch16" not in name)
    assert set(together) | set(extractor.refused) == {*ASKED}
    assert set(extractor.refused) == ({"mean"} if uneven else set())
    np.testing.assert_array_equal(together["spread"][:, -together["last"].shape[1] :], together["last"])
    for layer, alone in by_layer(extractor, inputs, 1).items():
        scale = np.abs(together[layer]).max()
        np.testing.assert_allclose(alone / scale, together[layer] / scale, atol=1e-5)


@pytest.mark.parametrize("name", [*TEXT_MODELS, *TEXT_FAMILIES])
def test_layers_of_text_families_do_not_see_the_padding(name: str, zoo: Path) -> None:
    folder = made(zoo, name)
    extractor = load(folder, "text", layers=ASKED)
    together = by_layer(extractor, TEXTS)
    assert bool(extractor.notes) == (name == "xlnet")  # the fallback's
    assert np.isfinite(together["last"]).all()
    np.testing.assert_array_equal(together["last"], rows(load(folder, "text"), TEXTS))
    assert set(together) == {*ASKED}
    np.testing.assert_array_equal(together["spread"][:, -together["last"].shape[1] :], together["last"])
    for layer, alone in by_layer(extractor, TEXTS, 1).items():
        np.testing.assert_allclose(alone, together[layer], atol=1e-5)
    assert np.abs(together["1"] - together["-1"]).max() > 1e-3 or name == "bart"  # it has one layer


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_the_mean_of_layers_is_that_of_the_models_own_states(name: str, zoo: Path) -> None:
    folder = made(zoo, name)
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
    folder, inputs = made(zoo, name), pictures()
    if name in TIMM_MODELS:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        pixels, blocks = torch.stack([transform(picture) for picture in inputs]), model.blocks
    else:
        model = transformers.AutoModel.from_pretrained(folder).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        pixels, blocks = processor(inputs, return_tensors="pt")["pixel_values"], model.layers
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


def test_a_cnns_layers_are_its_stages_averaged_over_the_map(zoo: Path) -> None:
    folder, inputs = made(zoo, "resnet"), pictures()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(inputs, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = model(pixels, output_hidden_states=True).hidden_states
    got = by_layer(load(folder, layers=("0", "1", "2")), inputs)
    for layer, state in zip(("0", "1", "2"), states, strict=True):
        np.testing.assert_allclose(got[layer], state.mean((2, 3)), atol=1e-5)


def test_a_captioners_layers_are_its_decoders_next_to_what_the_encoder_saw(zoo: Path) -> None:
    got = by_layer(load(made(zoo, "vit-bert"), layers=("last", "1", "2")), pictures())
    np.testing.assert_array_equal(got["2"], got["last"])
    np.testing.assert_array_equal(got["1"][:, :16], got["last"][:, :16])
    assert np.abs(got["1"][:, 16:] - got["last"][:, 16:]).max() > 1e-3


@pytest.mark.parametrize(("name", "others"), [("albert-distilled", ("1", "2")), ("resnet-distilled", ("1", "3"))])
def test_spread_is_layers_side_by_side(name: str, others: tuple[str, ...]) -> None:
    kind, inputs = ("text", TEXTS) if name.startswith("albert") else ("image", pictures())
    folder = resolve(f"emms-demo/{name}", "model").folder
    extractor = load(folder, kind, layers=("spread", *others, "last"))
    got = by_layer(extractor, inputs)
    np.testing.assert_array_equal(got["spread"], np.concatenate([got[layer] for layer in (*others, "last")], axis=1))
    layers = f"hidden layer{'s' * (len(others) > 1)} {' and '.join(others)}"
    assert f"; with {layers}: " in extractor.info("spread").pooling


def test_spread_is_the_last_layer_where_hidden_ones_are_not_shown_or_repeat_a_part_of_it(zoo: Path) -> None:
    extractor = load(made(zoo, "vit-bert"), layers=("spread", "last"))
    got = by_layer(extractor, pictures())
    np.testing.assert_array_equal(got["spread"], got["last"])
    assert extractor.info("spread").pooling == extractor.info("last").pooling


# --- one forward, and what cannot be had ------------------------------------------------------------------


def test_several_layers_cost_one_forward(zoo: Path) -> None:
    counts = []
    for layers in (("last",), ("last", "mean", "1", "2", "-1")):
        extractor = load(made(zoo, "vit"), layers=layers)
        with forwards("ViTModel") as seen:
            rows(extractor, pictures(), 3)
        counts.append(seen)
    assert counts == [[3, 3, 1], [3, 3, 1]]


def test_a_model_that_turns_out_to_show_no_layers_is_not_asked_again() -> None:
    ran: list[str] = []

    def features(model: None, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        ran.append("features")
        return inputs["x"]

    def layers(model: None, inputs: dict[str, torch.Tensor]) -> NoReturn:
        ran.append("layers")
        raise LayerError("it does not show its hidden layers", "--layer last")

    reader = LayerReader(Pooling("", features, layers), 1, ("spread", "1"))
    for _ in range(3):
        reader(None, {"x": torch.ones(2, 4)})
    assert ran == ["layers", "features", "features", "features"]
    assert (set(reader.slices_of(4)), set(reader.refused)) == ({"spread"}, {"1"})


def test_without_hidden_layers_only_the_mean_is_refused() -> None:
    last = torch.ones(1, 2)
    assert pick("last", last, [last], 1) is last
    with pytest.raises(LayerError, match="no hidden layers"):
        pick("mean", last, [last], 1)


def test_layers_of_different_widths_are_not_averaged(zoo: Path) -> None:
    extractor = load(made(zoo, "resnet"), layers=("mean", "last"))
    assert set(extractor.layer_slices) == {"last"}
    assert extractor.refused["mean"].message == "its 2 hidden layers are 8 and 16 wide, which cannot be averaged"
    with pytest.raises(EmmsError, match="cannot be averaged") as error:
        load(made(zoo, "resnet"), layers=("mean",))
    assert error.value.hint == 'layers="last", or a number from 1 to 2'


def test_layers_say_what_was_pooled(zoo: Path) -> None:
    extractor = load(made(zoo, "bert"), "text", layers=("last", "mean", "1"))
    assert extractor.info("last").pooling == "mean of the last layer's tokens, padding left out"
    assert extractor.info("mean").pooling == "average of all hidden layers: mean of its tokens, padding left out"
    assert extractor.info("1").pooling == "hidden layer 1: mean of its tokens, padding left out"
