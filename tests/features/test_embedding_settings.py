"""Texts are embedded as a checkpoint's settings specify: equal to sentence-transformers, except for rounding."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st
from tokenizers import Tokenizer, processors

from hf_emms.features.checkpoint_files import weight_files
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.hub import listing
from hf_emms.inputs import MODALITIES, TEXT, SearchCollection
from hf_emms.options import FeatureOptions
from hf_emms.run.label_embeddings import embed_texts
from tests.helpers.errors import raises_code
from tests.helpers.extracting import edit_json, load, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of

WORDS = TEXTS[:5]


def embed(folder: Path, texts: list[str] = WORDS) -> np.ndarray:
    return embed_texts(repo_of(folder), texts, device="cpu")


def saved(to: Path, modules: list[torch.nn.Module], **about: Any) -> SentenceTransformer:
    """Save a model with further settings in its configuration, and return it as loaded from the folder."""
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(to), create_model_card=False)
    edit_json(to / "config_sentence_transformers.json", **about)
    return SentenceTransformer(str(to), device="cpu")


def bert(zoo: Path, to: Path, *behind: torch.nn.Module, **about: Any) -> SentenceTransformer:
    """A saved BERT model, followed by modules: by default the mean of its tokens."""
    return saved(to, [st.Transformer(str(build(zoo, "bert"))), *(behind or [st.Pooling(16)])], **about)


def dense(*widths: int, **options: Any) -> torch.nn.Module:
    torch.manual_seed(len(widths) + widths[0])
    return st.Dense(*widths, **options)


PROMPTS = {"prompts": {"q": "a photo of "}, "default_prompt_name": "q"}
BOTH_PROMPTS = {"query": "a photo of ", "document": "the road "}
QUERIES, DOCUMENTS = ["a cat", "the harbour", "an apple"], WORDS
Behind = Callable[[], list[torch.nn.Module]]


def pooled(mode: str = "mean", **options: Any) -> Behind:
    return lambda: [st.Pooling(16, mode, **options)]


def then(*layers: Callable[[], torch.nn.Module]) -> Behind:
    return lambda: [st.Pooling(16), *(layer() for layer in layers)]


def linear(*widths: int) -> Callable[[], torch.nn.Module]:
    return lambda: dense(*widths)


def identity(*widths: int) -> Callable[[], torch.nn.Module]:
    return lambda: dense(*widths, bias=False, activation_function=torch.nn.Identity())


MODES = ("mean", "cls", "lasttoken")
# Layout → family of its transformer of width 16, the modules that follow it, and settings of the configuration.
LAYOUTS: dict[str, tuple[str, Behind, dict[str, Any]]] = {
    **{mode: ("bert", pooled(mode), {}) for mode in MODES},
    "a prompt": ("bert", pooled(), PROMPTS),
    "prompts of both": ("bert", pooled(), {"prompts": BOTH_PROMPTS}),
    "a prompt of queries": ("bert", pooled(), {"prompts": {"query": "a photo of "}}),
    "a prompt of documents": ("bert", pooled(), {"prompts": {"document": "the road "}}),
    "a prompt of passages": ("bert", pooled(), {"prompts": {"query": "a photo of ", "passage": "the road "}}),
    "a prompt of a corpus": ("bert", pooled(), {"prompts": {"corpus": "the road "}}),
    "an empty prompt and one of passages": ("bert", pooled(), {"prompts": {"document": "", "passage": "the road "}}),
    "length one": ("bert", then(st.Normalize), {}),
    "a layer": ("bert", then(linear(16, 12)), {}),
    "a layer without activation": ("bert", then(identity(16, 12)), {}),
    "layers and length one": (
        "bert",
        then(identity(16, 12), linear(12, 12), lambda: st.Dropout(0.5), st.Normalize),
        {},
    ),
    "cut": ("bert", pooled(), {"truncate_dim": 6}),
    "cut after length one": ("bert", then(st.Normalize), {"truncate_dim": 6}),
    "cut after a layer": ("bert", then(linear(16, 12)), {"truncate_dim": 6}),
    **{family: (family, pooled(), {}) for family in ("roberta", "distilbert", "electra", "deberta-v2", "modernbert")},
    "t5": ("t5", pooled(), {}),
}


def behind(*layers: Callable[[], torch.nn.Module]) -> Behind:
    return lambda: [layer() for layer in layers]


def residual(*widths: int) -> Callable[[], torch.nn.Module]:
    return lambda: dense(*widths, use_residual=True)


def of_tokens(make: Callable[..., torch.nn.Module], *arguments: int) -> Callable[[], torch.nn.Module]:
    return lambda: make(*arguments, module_input_name="token_embeddings")


def convolution() -> torch.nn.Module:
    torch.manual_seed(1)
    return st.CNN(16, out_channels=5)


UNPOOLED = {"include_prompt": False}
# Layouts that `SentenceTransformer.encode` computes.
ENCODED: dict[str, tuple[str, Behind, dict[str, Any]]] = {
    **{f"{mode} pooling": ("bert", pooled(mode), {}) for mode in ("max", "weightedmean", "mean_sqrt_len_tokens")},
    "mean and max": ("bert", pooled(("mean", "max")), {}),
    "CLS and last token": ("bert", pooled(("cls", "lasttoken")), {}),
    "all poolings": ("bert", pooled(st.Pooling.POOLING_MODES), {}),
    "a norm": ("bert", then(lambda: st.LayerNorm(16)), {}),
    "a norm, a layer and length one": ("bert", then(lambda: st.LayerNorm(16), linear(16, 8), st.Normalize), {}),
    "a residual": ("bert", then(residual(16, 16)), {}),
    "a residual of another width": ("bert", then(residual(16, 8)), {}),
    "an activation of transformers": (
        "bert",
        then(lambda: dense(16, 8, activation_function=transformers.activations.GELUActivation())),
        {},
    ),
    "length one before a layer": ("bert", then(st.Normalize, linear(16, 8)), {}),
    "a layer for tokens": ("bert", behind(of_tokens(dense, 16, 12), lambda: st.Pooling(12)), {}),
    "tokens of length one": ("bert", behind(of_tokens(st.Normalize), lambda: st.Pooling(16)), {}),
    "two poolings": ("bert", behind(lambda: st.Pooling(16), lambda: st.Pooling(16, "cls")), {}),
    "layers of states": ("bert", behind(lambda: st.WeightedLayerPooling(16, 2, 1), lambda: st.Pooling(16)), {}),
    "convolutions": ("bert", behind(convolution, lambda: st.Pooling(15)), {}),
    "cut after the maximum": ("bert", pooled("max"), {"truncate_dim": 6}),
    "a prompt and the maximum": ("bert", pooled("max"), PROMPTS),
    "prompts of both and the maximum": ("bert", pooled("max"), {"prompts": BOTH_PROMPTS}),
    "a prompt that is not pooled": ("bert", pooled(**UNPOOLED), PROMPTS),
    "prompts of both that are not pooled": ("bert", pooled(**UNPOOLED), {"prompts": BOTH_PROMPTS}),
    "a prompt of queries that is not pooled": ("bert", pooled(**UNPOOLED), {"prompts": {"query": "a photo of "}}),
    "as Instructor": ("t5", lambda: [*pooled(**UNPOOLED)(), identity(16, 8)(), st.Normalize()], PROMPTS),
    "as SGPT": ("gpt2", pooled("weightedmean"), {}),
}
LAYOUTS |= {
    "a prompt that does not exist is not pooled": ("bert", pooled(**UNPOOLED), {}),
    "a prompt of another name is not pooled": ("bert", pooled(**UNPOOLED), {"prompts": {"other": "cat "}}),
    "the last token of a decoder": ("gpt2", pooled("lasttoken"), {}),
    "the mean of a decoder": ("gpt2", pooled(), {}),
    **ENCODED,
}
FAST = (*MODES, "a prompt", "prompts of both", "layers and length one", "cut after a layer", "max pooling", "as SGPT")
FAST += ("a norm", "prompts of both that are not pooled", "a prompt that does not exist is not pooled")
# `encode_document` uses no prompt of another name than "document", and hf_emms uses these (docs/rank-search.md).
OTHER_NAMES = ("passage", "corpus")


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in LAYOUTS]
)
def test_a_folder_embeds_as_in_sentence_transformers(layout: str, zoo: Path, tmp_path: Path) -> None:
    family, behind, about = LAYOUTS[layout]
    reader = st.Transformer(str(build(zoo, family)), max_seq_length=12)
    if reader.tokenizer.pad_token is None:
        reader.tokenizer.pad_token = reader.tokenizer.convert_ids_to_tokens(0)
    model = saved(tmp_path / "st", [reader, *behind()], **about)
    if "default_prompt_name" in about:
        np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=1e-5)
        return
    extractor = load(tmp_path / "st", "search")
    assert ("sentence-transformers" in codes(extractor.notes)) == (layout in ENCODED)
    features = rows(extractor, SEARCHED)
    np.testing.assert_allclose(features[: len(QUERIES)], model.encode_query(QUERIES), atol=1e-5)
    name = next((name for name in OTHER_NAMES if name in about.get("prompts", ())), None)
    expected = model.encode_document(DOCUMENTS, prompt_name=name)
    np.testing.assert_allclose(features[len(QUERIES) :], expected, atol=1e-5)
    assert ("prompt-of-documents" in codes(extractor.notes)) == (name is not None)
    assert np.allclose(expected, model.encode_document(DOCUMENTS), atol=1e-5) == (name is None)


def test_a_folder_of_an_older_version_says_the_same(zoo: Path, tmp_path: Path) -> None:
    """Modes of poolings are flags there, layers are pickled, and the transformer may be in a folder."""
    bert(zoo, tmp_path / "new", st.Pooling(16, "cls"), dense(16, 8), st.Normalize())
    old = shutil.copytree(tmp_path / "new", tmp_path / "old")
    (old / "0_Transformer").mkdir()
    for path in [*old.glob("*token*"), old / "config.json", old / "model.safetensors", *old.glob("sentence_*")]:
        path.rename(old / "0_Transformer" / path.name)
    modules = old / "modules.json"
    modules.write_text(modules.read_text().replace('"path": ""', '"path": "0_Transformer"'))
    flags = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {f"pooling_mode_{flag}": flag == "cls_token" for flag in flags}
    (old / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    layer = old / "2_Dense" / "model.safetensors"
    torch.save(load_file(layer), layer.with_name("pytorch_model.bin"))
    layer.unlink()
    np.testing.assert_array_equal(embed(old), embed(tmp_path / "new"))
    assert weight_files(listing(repo_of(old))) == ["0_Transformer/model.safetensors"]
    assert load(old, "text").info().pooling == (
        "first token (CLS) of the last layer, and the Dense layers behind it, scaled to length one"
    )


def test_limit_and_case_of_a_checkpoint_are_those_of_its_files(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "st"
    bert(zoo, folder)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=6, do_lower_case=True)
    texts = [text.upper() for text in WORDS]
    np.testing.assert_allclose(embed(folder, texts), SentenceTransformer(str(folder)).encode(texts), atol=2e-6)
    np.testing.assert_allclose(embed(folder, texts), embed(folder, WORDS), atol=2e-6)


def test_a_prompt_is_named_and_moves_the_key_of_features(zoo: Path, tmp_path: Path) -> None:
    bert(zoo, tmp_path / "st", **PROMPTS, truncate_dim=1)
    assert codes(load(tmp_path / "st", "text").notes) == ["prompts", "features-truncated"]
    named = make_feature_spec(repo_of(tmp_path / "st"), TEXT, "t").fingerprint
    (tmp_path / "st" / "config_sentence_transformers.json").unlink()
    assert make_feature_spec(repo_of(tmp_path / "st"), TEXT, "t").fingerprint != named


@pytest.fixture(scope="module")
def sentences(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentences") / "st"
    bert(zoo, folder, st.Pooling(16), dense(16, 12))
    return folder


MODULES, DENSE = "sentence_transformers.sentence_transformer.modules", {"in_features": 16, "out_features": 12}
ABOUT, POOLING = "config_sentence_transformers.json", "1_Pooling/config.json"


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        (ABOUT, {"prompts": {"document": "a" * 10_001}}, "too-large"),
        (ABOUT, {"model_type": "SparseEncoder"}, "unsupported-modules"),
        (ABOUT, {"model_type": "CrossEncoder"}, "reranker"),
        ("modules.json", ["Transformer", "own.Scale"], "cannot-load"),
        ("modules.json", ["Transformer", "Normalize", "LayerNorm"], "cannot-load"),
        ("modules.json", ["WordEmbeddings"], "cannot-load"),
        ("modules.json", ["Dropout"], "cannot-load"),
        ("modules.json", [], "malformed-checkpoint"),
        ("modules.json", ["Transformer"] * 51, "malformed-checkpoint"),
        ("modules.json", [{"idx": 0}], "malformed-checkpoint"),
        ("modules.json", [{"path": "../other", "type": "a.Transformer"}], "path-outside"),
        ("modules.json", [{"path": "/other", "type": "a.Transformer"}], "path-outside"),
        ("modules.json", [{"path": "..\\other", "type": "a.Transformer"}], "path-outside"),
        (POOLING, {"pooling_mode": "median", "embedding_dimension": 16}, "cannot-load"),
        ("2_Dense/config.json", DENSE | {"activation_function": "torch.nn.functional"}, "cannot-load"),
        ("2_Dense/config.json", DENSE | {"activation_function": "torch.nn.modules.activation.No"}, "cannot-load"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    file: str, content: Any, code: str, sentences: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sentences, tmp_path / "st")
    if isinstance(content, list):  # modules by their names alone are all in the folder itself
        content = [
            {"idx": number, "name": f"{number}", "path": "", "type": part if "." in part else f"{MODULES}.{part}"}
            if isinstance(part, str)
            else part
            for number, part in enumerate(content)
        ]
    (folder / file).write_text(json.dumps(content))
    with raises_code(code) as caught:
        load(folder, "search")
    if code in ("unsupported-modules", "cannot-load"):
        names = ("Scale", "LayerNorm", "WordEmb", "Pooling", "Dense", "Sparse", "Dropout")
        assert any(name in caught.value.message for name in names)


def test_hidden_layers_are_read_before_the_layers_behind_the_pooling(sentences: Path, zoo: Path) -> None:
    extractor = load(sentences, "text", layers=("1", "last"))
    first, last = np.split(rows(extractor, WORDS), [16], axis=1)
    np.testing.assert_allclose(last, embed(sentences), atol=1e-6)
    np.testing.assert_allclose(first, rows(load(build(zoo, "bert"), "text", layers=("1",)), WORDS), atol=1e-6)


def test_a_layer_whose_weights_do_not_fit_is_named(sentences: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sentences, tmp_path / "st")
    save_file({"linear.bias": torch.zeros(12)}, folder / "2_Dense" / "model.safetensors")
    with raises_code("cannot-load", "2_Dense"):
        embed(folder)


# --- static embeddings ------------------------------------------------------------------------------------


def static(zoo: Path, width: int = 12) -> st.StaticEmbedding:
    torch.manual_seed(3)
    return st.StaticEmbedding(
        Tokenizer.from_file(str(build(zoo, "bert") / "tokenizer.json")), torch.randn(400, width).numpy()
    )


@pytest.mark.parametrize("scaled", [False, True])
def test_a_static_embedding_is_the_mean_of_its_tokens(scaled: bool, zoo: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "st", [static(zoo), *[st.Normalize()] * scaled], **PROMPTS, truncate_dim=8)
    texts = [*WORDS, "a cat " * 400]  # of any length
    np.testing.assert_allclose(embed(tmp_path / "st", texts), model.encode(texts), atol=1e-5)
    assert load(tmp_path / "st", "text").info("last").architecture == "Static embedding"
    weights = next((tmp_path / "st").rglob("model.safetensors"))
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    np.testing.assert_allclose(embed(tmp_path / "st", texts), model.encode(texts), atol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_folder_of_model2vec_is_read(normalize: bool, zoo: Path, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float16)
    save_file({"embeddings": torch.from_numpy(vectors)}, tmp_path / "model.safetensors")
    shutil.copy(build(zoo, "bert") / "tokenizer.json", tmp_path)
    config = {"model_type": "model2vec", "normalize": normalize, "hidden_dim": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    modules = [st.StaticEmbedding.load(str(tmp_path)), *([st.Normalize()] if normalize else [])]
    model = SentenceTransformer(modules=modules, device="cpu")
    np.testing.assert_allclose(embed(tmp_path), model.float().encode(WORDS), atol=2e-6)


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings": torch.zeros(12)},
        {"embeddings": torch.zeros(4, 12), "mapping": torch.arange(4)},  # rows that tokens share
    ],
)
def test_other_tables_are_refused(tensors: dict[str, torch.Tensor], zoo: Path, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(build(zoo, "bert") / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    with raises_code("cannot-load"):
        embed(tmp_path)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_tower_without_a_pooling_is_read_as_sentence_transformers_reads_it(
    scaled: bool, zoo: Path, tmp_path: Path
) -> None:
    shutil.copytree(build(zoo, "clip-text"), tmp_path / "clip")
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path / "clip")
    model = saved(tmp_path / "st", [st.Transformer(str(tmp_path / "clip")), *[st.Normalize()] * scaled])
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=1e-5)


def test_tokens_of_a_text_tower_are_pooled_by_sentence_transformers(zoo: Path, tmp_path: Path) -> None:
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(5)
    tower = transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=400, **size))
    tower.save_pretrained(tmp_path / "tower")
    transformers.AutoTokenizer.from_pretrained(build(zoo, "bert")).save_pretrained(tmp_path / "tower")
    model = saved(tmp_path / "st", [st.Transformer(str(tmp_path / "tower")), st.Pooling(16)])
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=1e-5)


# --- queries and documents --------------------------------------------------------------------------------

SEARCHED = SearchCollection(QUERIES, DOCUMENTS, np.array([[0, 4, 1], [1, 2, 1], [2, 0, 2]]))


def embed_both(folder: Path, **prompts: str) -> tuple[np.ndarray, np.ndarray]:
    features = rows(load(folder, "search", prompts=FeatureOptions(**prompts) if prompts else None), SEARCHED)
    return features[: len(QUERIES)], features[len(QUERIES) :]


@pytest.mark.parametrize("first", ["bert", "static"])
def test_queries_and_documents_are_embedded_with_their_prompts(first: str, zoo: Path, tmp_path: Path) -> None:
    about = {"prompts": BOTH_PROMPTS | {"other": "cat"}, "default_prompt_name": "other"}
    if first == "static":
        model = saved(tmp_path / "st", [static(zoo)], **about)
    else:
        model = bert(zoo, tmp_path / "st", st.Pooling(16, "mean"), st.Normalize(), **about)
    queries, documents = embed_both(tmp_path / "st")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES), atol=2e-6)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS), atol=2e-6)
    queries, documents = embed_both(tmp_path / "st", query_prompt="", document_prompt="cat ")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES, prompt=""), atol=2e-6)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS, prompt="cat "), atol=2e-6)


def test_a_chosen_prompt_is_not_pooled_if_the_checkpoint_says_so(zoo: Path, tmp_path: Path) -> None:
    model = bert(zoo, tmp_path / "st", st.Pooling(16, "mean", include_prompt=False))
    queries, documents = embed_both(tmp_path / "st", query_prompt="a photo of ", document_prompt="the road ")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES, prompt="a photo of "), atol=1e-5)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS, prompt="the road "), atol=1e-5)
    extractor = load(tmp_path / "st", "search", prompts=FeatureOptions(query_prompt="a "), layers=("1", "spread"))
    assert list(extractor.layer_slices) == ["spread"]
    assert list(extractor.refused) == ["1"]


def test_modules_that_cannot_follow_each_other_are_named(zoo: Path, tmp_path: Path) -> None:
    bert(zoo, tmp_path / "st", st.LSTM(16, 6), st.Pooling(12))
    with raises_code("unsupported-modules") as caught:
        embed(tmp_path / "st")
    assert "Transformer, LSTM, Pooling" in caught.value.message


@pytest.mark.parametrize("first", ["words", "counts", "routes"])
def test_folders_without_a_transformer_of_their_own_are_read(first: str, zoo: Path, tmp_path: Path) -> None:
    names = sorted({word for text in (*WORDS, *QUERIES) for word in text.split()})
    if first == "words":
        weights = np.random.default_rng(0).normal(size=(len(names), 6))
        words = st.WordEmbeddings(st.tokenizer.WhitespaceTokenizer(names), weights)
        modules: list[torch.nn.Module] = [words, st.LSTM(6, 4), st.Pooling(8, "max")]
    elif first == "counts":
        modules = [st.BoW(names)]
    else:
        routes = [[static(zoo)], [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16), dense(16, 12)]]
        modules = [st.Router.for_query_document(*routes)]
    model = saved(tmp_path / "st", modules)
    queries, documents = embed_both(tmp_path / "st")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES), atol=1e-5)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS), atol=1e-5)


def test_a_folder_that_hf_emms_does_not_embed_itself_needs_sentence_transformers(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert(zoo, tmp_path / "st", st.Pooling(16, "max"))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with raises_code("package-missing") as caught:
        embed(tmp_path / "st")
    assert "Pooling (max)" in caught.value.message
    assert "retrieval" in str(caught.value.hint)


@pytest.mark.parametrize("family", ["gpt2", "bert", "distilbert"])
@pytest.mark.parametrize("special", [False, True])
def test_token_types_are_those_of_the_tokenizer(special: bool, family: str, zoo: Path, tmp_path: Path) -> None:
    reader = st.Transformer(str(build(zoo, family)))
    tokenizer = reader.tokenizer
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
    if special:
        first, last = tokenizer.convert_ids_to_tokens([1, 2])
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first}:0 $A:1 {last}:0", special_tokens=[(first, 1), (last, 2)]
        )
    model = saved(tmp_path / "st", [reader, st.Pooling(16)])
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=1e-5)
    np.testing.assert_allclose(embed_both(tmp_path / "st")[0], model.encode_query(QUERIES), atol=1e-5)


def test_the_similarity_of_a_checkpoint_is_used(sentences: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sentences, tmp_path / "st")
    edit_json(folder / ABOUT, similarity_fn_name="manhattan")
    assert make_feature_spec(repo_of(folder), MODALITIES["search"], "t").similarity == "manhattan"


def test_a_checkpoint_that_says_nothing_is_pooled_as_its_family_with_a_note(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "search")
    assert extractor.info("last").pooling == "mean of the last layer's tokens, padding left out"
    assert codes(extractor.notes) == ["pooling-of-family", "prompts"]
