"""Every family of the table and every candidate of the paper, as a tiny checkpoint with random weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers

from hf_emms.features.architectures import ARCHITECTURES
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.features.pooling import pooled_or_tensor
from hf_emms.inputs import IMAGE, EncodedInputs, SearchCollection, text, text_pair
from hf_emms.inputs.prompt import Message
from scripts.docs import architectures
from tests.helpers.errors import raises_code
from tests.helpers.extracting import (
    check_same_alone_and_together,
    edit_json,
    load,
    own_pixels,
    pairs_of,
    pictures,
    rows,
    some_pairs,
    words_of,
)
from tests.helpers.notes import codes
from tests.helpers.sound import SOUND_FAMILIES, encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import CAPTIONERS, IMAGE_MODELS, TEXT_MODELS, TEXTS, build, processor, repo_of
from tests.helpers.tiny_families import (
    CAPTIONER_PAIRS,
    IMAGE_FAMILIES,
    START,
    TEXT_FAMILIES,
    TIMM_MODELS,
    family,
    llava,
    timm_checkpoint,
)
from tests.helpers.tiny_pairs import PAIR_MODELS, build_pair
from tests.helpers.tiny_writers import DECODERS, ENCODER_DECODERS, writer

# Families that put two texts, or words, together in different ways.
OF_TOKENS = ("bert", "roberta", "distilbert", "deberta", "modernbert", "gpt2", "llama", "t5", "bart", "xlnet")
FAMILIES: dict[str, Sequence[str]] = {
    "image": [*IMAGE_MODELS, *IMAGE_FAMILIES, *CAPTIONERS, *TIMM_MODELS, "swin-bart"],
    "text": [*TEXT_MODELS, *TEXT_FAMILIES],
    "image+text": [*PAIR_MODELS],
    "text+text": OF_TOKENS,
    "text-pair": OF_TOKENS,
    "words": (*OF_TOKENS, "clip-text"),
    "search": ("bert", "gpt2", "clip-text"),
    "prompt": [*DECODERS, *ENCODER_DECODERS],
    "audio": [*SOUND_FAMILIES],
}
# Of images with texts these have no row; such pictures keep their shape.
FALLBACKS = ("xlnet", "metaclip_2", "align")
LAYERS = {"image": ("spread", "last", "mean", "1", "-1"), "words": ("last", "spread"), "audio": ("spread", "last")}
LAYERS["text"] = LAYERS["image"]
# Their pooler is not used, often not saved, and not loaded.
POOLERLESS = {"vit", "deit", "vit_mae", "bert", "roberta", "xlm-roberta", "camembert", "albert", "mpnet", "vilt"}
# Their stages differ in width and have no mean. (A Swin of two stages has stages of equal width, and so a mean.)
UNEVEN = {"resnet", "regnet", "convnext", "convnextv2", "mobilenet_v1", "mobilenet_v2", "efficientnet"}
UNEVEN |= {"pvt", "pvt_v2", "dinov3_convnext", "hiera", *(name for name in TIMM_MODELS if "patch16" not in name)}
LONG = " ".join(TEXTS[:5] * 3)


INPUTS: dict[str, Sequence[Any]] = {
    "image": pictures()[:4],
    "text": TEXTS,
    "image+text": some_pairs(),
    "text+text": pairs_of(["a small cat", TEXTS[2], ""], [TEXTS[0], LONG, ""]),
    "text-pair": pairs_of(TEXTS[:5], [TEXTS[2], LONG, TEXTS[0]]),
    "words": words_of(*TEXTS[:3], LONG),
    "search": SearchCollection(TEXTS[:3], TEXTS, np.zeros((0, 3), np.int64)),
    "prompt": [(Message("user", text),) for text in TEXTS if text],
    "audio": EncodedInputs(
        [encoded(tone(200 + 150 * i, length)) for i, length in enumerate((0.5, 1.3, 0.06, 0.5, 0.52, 0.64))]
    ),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FAMILIES.items() for name in names])
def test_features_depend_on_their_input_alone(kind: str, name: str, zoo: Path) -> None:
    makers = {"audio": sound_checkpoint, "prompt": writer, "image+text": build_pair}
    folder, layers = makers.get(kind, family)(zoo, name), LAYERS.get(kind, ("last",))
    extractor = load(folder, kind, layers=layers)
    together = check_same_alone_and_together(extractor, INPUTS[kind])
    # With random weights, the features of some CNNs hardly differ between pictures.
    assert kind == "image" or together.std(0).max() > 1e-3 * np.abs(together).max()
    assert ("fallback-pooling" in codes(extractor.notes)) == (name in FALLBACKS)
    assert not (name in POOLERLESS and any("pooler" in part for part, _ in extractor._model.named_parameters()))
    by_layer = {layer: together[:, columns] for layer, columns in extractor.layer_slices.items()}
    assert set(by_layer) == {*layers} - {*extractor.refused}
    assert sum(extractor.info(layer).width for layer in by_layer) == extractor.width
    assert set(extractor.refused) == ({"mean"} if name in UNEVEN and kind == "image" else set())
    if "mean" in layers:
        assert bool(extractor.notes) == (name in FALLBACKS)
        np.testing.assert_array_equal(by_layer["last"], rows(load(folder, kind), INPUTS[kind]))
        np.testing.assert_array_equal(by_layer["spread"][:, -by_layer["last"].shape[1] :], by_layer["last"])
    if kind == "image+text" and name != "align":
        assert len({row.round(3).tobytes() for row in together}) == len(together)
    if kind == "prompt":
        assert ("last token" if name in DECODERS else "mean of") in extractor.info().pooling


@pytest.mark.parametrize("kind", ["text", "text+text", "text-pair", "words", "search", "prompt"])
def test_texts_of_large_datasets_are_read_in_chunks(kind: str, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = load((writer if kind == "prompt" else family)(zoo, "gpt2"), kind)
    whole = rows(extractor, INPUTS[kind])
    for module, size in (
        (text, "_SORTED_TOGETHER"),
        (text_pair, "_PAIRS_AT_A_TIME"),
        (text_pair, "_INPUTS_AT_A_TIME"),
    ):
        monkeypatch.setattr(module, size, 3)  # instead of some thousands
    np.testing.assert_allclose(rows(extractor, INPUTS[kind]), whole, atol=2e-5)


def test_every_row_has_a_tiny_checkpoint_and_claims_what_no_other_claims() -> None:
    made = {kind: {*names} for kind, names in FAMILIES.items()}
    made["image"] |= {"timm_wrapper"}
    made["text"] |= {"clip", "siglip", "model2vec"}
    rows_of_one = [row for row in ARCHITECTURES if row.input_kind in ("image", "text", "prompt", "audio")]
    assert [row.family for row in rows_of_one if not made[row.input_kind] & {*row.model_types}] == []
    claims = [(row.input_kind, name) for row in ARCHITECTURES for name in row.model_types]
    assert len(claims) == len({*claims})


@pytest.mark.parametrize("name", ["resnet", "vit", "beit", "pvt", "hiera"])
def test_image_features_feed_the_checkpoints_own_classifier(name: str, zoo: Path) -> None:
    folder = family(zoo, name)
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model.classifier(torch.from_numpy(rows(load(folder), pictures())))
        torch.testing.assert_close(logits, model(**own_pixels(folder, pictures())).logits, atol=1e-5, rtol=1e-4)


def test_a_model_that_writes_about_images_reads_texts_alone_and_images_alone(zoo: Path) -> None:
    folder = build(zoo, "llava", llava, reads_text=True)
    processor().save_pretrained(folder)
    model = transformers.LlavaModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = model.get_image_features(**own_pixels(folder, pictures())).pooler_output
    expected = torch.stack([of_image.mean(0) for of_image in tokens])
    torch.testing.assert_close(pooled_or_tensor(torch.stack(list(tokens))), expected)
    np.testing.assert_allclose(rows(load(folder), pictures()), expected, atol=1e-5)
    assert rows(load(folder, "text"), TEXTS).shape == (len(TEXTS), 16)


@pytest.mark.parametrize("name", [*CAPTIONER_PAIRS, "blip", "git"])
def test_captioners_see_the_picture_and_no_caption(name: str, zoo: Path) -> None:
    extractor = load(family(zoo, name), layers=("1", "2", "last", "spread"))
    model = type(extractor._model).from_pretrained(family(zoo, name)).eval()
    pixels, start = own_pixels(family(zoo, name), pictures()), torch.full((len(pictures()), 1), START)
    with torch.no_grad():
        if name == "git":
            outputs = model(**pixels, input_ids=start, output_hidden_states=True)
            image, states = outputs.hidden_states[0][:, :-1], [*outputs.hidden_states[:-1], outputs.last_hidden_state]
        else:
            encoder, decoder = (
                (model.vision_model, model.text_decoder) if name == "blip" else (model.encoder, model.decoder)
            )
            image = encoder(**pixels).last_hidden_state
            seen = image if name == "blip" else model.enc_to_dec_proj(image)
            states = decoder(start, encoder_hidden_states=seen, output_hidden_states=True).hidden_states
    expected = torch.cat([torch.cat([image.mean(1), states[layer][:, -1]], 1) for layer in (1, 2, 2, 2)], 1)
    np.testing.assert_allclose(rows(extractor, pictures()), expected, atol=1e-5)
    # Hidden layers would repeat a part of the feature: "spread" is the last layer.
    assert extractor.info("spread").pooling == extractor.info("last").pooling
    parts = [module.config for module in extractor._model.modules() if hasattr(module, "config")]
    assert not any(getattr(config, "use_cache", False) for config in parts)


# --- timm and torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["densenet121", "vit_small_patch16_224"])
def test_timm_gives_what_its_own_classifier_reads(name: str, zoo: Path) -> None:
    folder = timm_checkpoint(zoo, name)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model(torch.stack([transform(picture) for picture in pictures()]))
        logits = model.get_classifier()(torch.from_numpy(rows(load(folder), pictures())))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_args": {"checkpoint_path": "weights.bin", "block_config": [1, 1, 1, 1]}}, "checkpoint_path"),
        ({"model_args": {"pretrained_cfg": {"file": "weights.bin"}}}, "pretrained_cfg"),
        ({"model_args": {"cache_dir": "elsewhere"}}, "cache_dir"),
        ({"architecture": "local-dir:elsewhere"}, "local-dir:elsewhere"),
        ({"architecture": "folder/model"}, "folder/model"),
    ],
)
def test_config_json_of_timm_names_no_other_files(
    change: dict[str, Any], named: str, zoo: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(timm_checkpoint(zoo, "densenet121"), tmp_path / "checkpoint")
    edit_json(folder / "config.json", **change)
    with raises_code("other-repository", named):
        load(folder)


def test_without_timm_its_checkpoints_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet50", "pretrained_cfg": {}}))
    monkeypatch.setitem(sys.modules, "timm", None)  # as good as not installed, to the import system
    with raises_code("package-missing") as error:
        make_feature_spec(repo_of(tmp_path), IMAGE, "t")
    assert error.value.hint == "pip install './hf-emms[timm]'  # a clone of its repository; on no package index yet"


# --- the page ---------------------------------------------------------------------------------------------


def test_the_page_of_architectures_is_up_to_date() -> None:
    text = architectures.PAGE.read_text(encoding="utf-8")
    assert architectures.page(text) == text, "`python -m scripts.docs architectures` rewrites docs/architectures.md"
