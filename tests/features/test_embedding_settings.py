"""What a checkpoint says of itself is how its texts are embedded: to rounding what sentence-transformers gives."""

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
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st
from tokenizers import Tokenizer

from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.inputs import TEXT, SearchCollection
from hf_emms.options import FeatureOptions
from hf_emms.run.label_embeddings import embed_texts
from tests.helpers.extracting import load, rows
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of

WORDS = TEXTS[:5]


def embed(folder: Path, texts: list[str] = WORDS) -> np.ndarray:
    return embed_texts(repo_of(folder), texts, device="cpu")


def saved(to: Path, modules: list[torch.nn.Module], **about: Any) -> SentenceTransformer:
    """A model in memory as its folder opens it again, which holds further settings of its configuration."""
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(to), create_model_card=False)
    path = to / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **about}))
    return SentenceTransformer(str(to), device="cpu")


def dense(*widths: int, **options: Any) -> torch.nn.Module:
    torch.manual_seed(len(widths) + widths[0])
    return st.Dense(*widths, **options)


PROMPTS = {"prompts": {"q": "a photo of "}, "default_prompt_name": "q"}
# Modules behind a transformer of width 16, and settings of the configuration.
LAYOUTS: dict[str, tuple[Callable[[], list[torch.nn.Module]], dict[str, Any]]] = {
    "cls": (lambda: [st.Pooling(16, "cls")], {}),
    "max": (lambda: [st.Pooling(16, "max")], {}),
    "lasttoken": (lambda: [st.Pooling(16, "lasttoken")], {}),
    "root of the length": (lambda: [st.Pooling(16, "mean_sqrt_len_tokens")], {}),
    "weighted by place": (lambda: [st.Pooling(16, "weightedmean")], {}),
    "two poolings": (lambda: [st.Pooling(16, ("cls", "mean"))], {}),
    "a prompt": (lambda: [st.Pooling(16)], PROMPTS),
    **{
        f"{mode} without its prompt": (lambda mode=mode: [st.Pooling(16, mode, include_prompt=False)], PROMPTS)
        for mode in ("cls", "mean", "max", "weightedmean", "lasttoken")
    },
    "layers and length one": (
        lambda: [st.Pooling(16), dense(16, 12), dense(12, 12, use_residual=True), st.Normalize()],
        {},
    ),
    "length one before a layer": (
        lambda: [st.Pooling(16), st.Normalize(), dense(16, 8, use_residual=True), st.LayerNorm(8), st.Dropout(0.5)],
        {},
    ),
    "cut after length one": (lambda: [st.Pooling(16), st.Normalize()], {"truncate_dim": 6}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_are_embedded_as_sentence_transformers_does(family: str, layout: str, zoo: Path, tmp_path: Path) -> None:
    behind, about = LAYOUTS[layout]
    reader = st.Transformer(str(build(zoo, family)), max_seq_length=12)
    model = saved(tmp_path / "st", [reader, *behind()], **about)
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=2e-6)


def test_limit_and_case_of_a_checkpoint_are_those_of_its_files(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "st"
    saved(folder, [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)])
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_seq_length": 6, "do_lower_case": True}))
    texts = [text.upper() for text in WORDS]
    np.testing.assert_allclose(embed(folder, texts), SentenceTransformer(str(folder)).encode(texts), atol=2e-6)
    np.testing.assert_allclose(embed(folder, texts), embed(folder, WORDS), atol=2e-6)


def test_a_prompt_is_named_and_moves_the_key_of_features(zoo: Path, tmp_path: Path) -> None:
    saved(tmp_path / "st", [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)], **PROMPTS, truncate_dim=5)
    info = load(tmp_path / "st", "text").info()
    assert "texts start with its prompt 'a photo of '" in info.notes
    assert "features are cut to 5 columns, as its truncate_dim says" in info.notes
    named = plan_extraction(repo_of(tmp_path / "st"), TEXT, "t").fingerprint
    (tmp_path / "st" / "config_sentence_transformers.json").unlink()
    assert plan_extraction(repo_of(tmp_path / "st"), TEXT, "t").fingerprint != named


def test_a_default_prompt_without_a_text_is_refused(zoo: Path, tmp_path: Path) -> None:
    saved(tmp_path / "st", [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)])
    (tmp_path / "st" / "config_sentence_transformers.json").write_text('{"default_prompt_name": "q"}')
    with pytest.raises(EmmsError, match="the default prompt 'q', and no such prompt"):
        embed(tmp_path / "st")


WRONG = {
    "lists no modules": ("modules.json", [{"idx": 0}]),
    "outside the repository": ("modules.json", [{"path": "../other", "type": "a.Transformer"}]),
    "truncate_dim of .* is -3": ("config_sentence_transformers.json", {"truncate_dim": -3}),
    "max_seq_length of .* is 'long'": ("sentence_bert_config.json", {"max_seq_length": "long"}),
    "pools with nothing": ("1_Pooling/config.json", ["mean"]),
}


@pytest.mark.parametrize("problem", WRONG)
def test_settings_that_are_none_are_named(problem: str, zoo: Path, tmp_path: Path) -> None:
    saved(tmp_path / "st", [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)])
    file, content = WRONG[problem]
    (tmp_path / "st" / file).write_text(json.dumps(content))
    with pytest.raises(EmmsError, match=problem):
        embed(tmp_path / "st")


def test_a_layer_whose_weights_do_not_fit_is_named(zoo: Path, tmp_path: Path) -> None:
    saved(tmp_path / "st", [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16), dense(16, 12)])
    save_file({"linear.bias": torch.zeros(12)}, tmp_path / "st" / "2_Dense" / "model.safetensors")
    with pytest.raises(EmmsError, match=r"the layer 2_Dense of .* cannot be loaded"):
        embed(tmp_path / "st")


# --- static embeddings ------------------------------------------------------------------------------------


def static(zoo: Path, width: int = 12) -> st.StaticEmbedding:
    torch.manual_seed(3)
    return st.StaticEmbedding(
        Tokenizer.from_file(str(build(zoo, "bert") / "tokenizer.json")), torch.randn(400, width).numpy()
    )


@pytest.mark.parametrize("scaled", [False, True])
def test_a_static_embedding_is_the_mean_of_its_tokens(scaled: bool, zoo: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "st", [static(zoo), *[st.Normalize()] * scaled], **PROMPTS, truncate_dim=8)
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=2e-6)
    assert load(tmp_path / "st", "text").info("last").architecture == "Static embedding"


def test_a_static_embedding_reads_texts_of_any_length(zoo: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "st", [static(zoo)])
    texts = ["a cat " * 3000, "cat"]
    np.testing.assert_allclose(embed(tmp_path / "st", texts), model.encode(texts), atol=1e-5)


@pytest.mark.parametrize(("shared", "normalize"), [(False, True), (True, True), (False, False)])
def test_a_folder_of_model2vec_is_read(shared: bool, normalize: bool, zoo: Path, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(40 if shared else 400, 12)).astype(np.float16)
    tensors = {"embeddings": torch.from_numpy(vectors)}
    if shared:
        tensors |= {"mapping": torch.arange(400) % 40, "weights": torch.linspace(0.1, 2, 400)}
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(build(zoo, "bert") / "tokenizer.json", tmp_path)
    config = {"model_type": "model2vec", "normalize": normalize, "hidden_dim": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    modules = [st.StaticEmbedding.load(str(tmp_path)), *([st.Normalize()] if normalize else [])]
    model = SentenceTransformer(modules=modules, device="cpu")
    np.testing.assert_allclose(embed(tmp_path), model.float().encode(WORDS), atol=1e-3 if shared else 2e-6)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"embeddings": torch.zeros(12)}, "its table has the shape"),
        ({"embeddings": torch.zeros(4, 12), "mapping": torch.arange(400)}, "names rows that its table lacks"),
        ({"others": torch.zeros(4, 12)}, "embeddings"),
    ],
)
def test_a_table_that_is_none_is_named(
    tensors: dict[str, torch.Tensor], problem: str, zoo: Path, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(build(zoo, "bert") / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    with pytest.raises(EmmsError, match=problem):
        embed(tmp_path)


def test_a_text_tower_of_clip_is_read_from_a_folder_of_sentence_transformers(zoo: Path, tmp_path: Path) -> None:
    model = build(zoo, "clip-text")
    shutil.copytree(model, tmp_path / "0_CLIPModel")
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    np.testing.assert_array_equal(embed(tmp_path), embed(model))


@pytest.mark.parametrize("scaled", [False, True])
def test_a_tower_without_a_pooling_is_read_as_sentence_transformers_reads_it(
    scaled: bool, zoo: Path, tmp_path: Path
) -> None:
    shutil.copytree(build(zoo, "clip-text"), tmp_path / "clip")
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path / "clip")
    model = saved(tmp_path / "st", [st.Transformer(str(tmp_path / "clip")), *[st.Normalize()] * scaled])
    np.testing.assert_allclose(embed(tmp_path / "st"), model.encode(WORDS), atol=1e-5)


def test_a_module_that_hf_emms_does_not_read_is_named(tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.WordEmbeddings"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EmmsError, match="starts with WordEmbeddings"):
        embed(tmp_path)


# --- queries and documents --------------------------------------------------------------------------------

QUERIES, DOCUMENTS = ["a cat", "the harbour", "an apple"], WORDS
SEARCHED = SearchCollection(QUERIES, DOCUMENTS, np.array([[0, 4, 1], [1, 2, 1], [2, 0, 2]]))
BOTH_PROMPTS = {"query": "a photo of ", "document": "the road "}


def embed_both(folder: Path, **prompts: str) -> tuple[np.ndarray, np.ndarray]:
    features = rows(load(folder, "search", prompts=FeatureOptions(**prompts) if prompts else None), SEARCHED)
    return features[: len(QUERIES)], features[len(QUERIES) :]


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("first", ["bert", "static"])
def test_queries_and_documents_are_embedded_with_their_prompts(
    first: str, include_prompt: bool, zoo: Path, tmp_path: Path
) -> None:
    pooling = [st.Pooling(16, "mean", include_prompt=include_prompt), st.Normalize()]
    modules = [static(zoo)] if first == "static" else [st.Transformer(str(build(zoo, "bert"))), *pooling]
    about = {"prompts": BOTH_PROMPTS | {"other": "cat"}, "default_prompt_name": "other"}
    model = saved(tmp_path / "st", modules, **about)
    queries, documents = embed_both(tmp_path / "st")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES), atol=2e-6)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS), atol=2e-6)
    queries, documents = embed_both(tmp_path / "st", query_prompt="", document_prompt="cat ")
    np.testing.assert_allclose(queries, model.encode_query(QUERIES, prompt=""), atol=2e-6)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS, prompt="cat "), atol=2e-6)


def test_the_prompt_of_passages_is_that_of_documents(zoo: Path, tmp_path: Path) -> None:
    modules = [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)]
    model = saved(tmp_path / "st", modules, prompts={"query": "a photo of ", "passage": "the road "})
    np.testing.assert_allclose(
        embed_both(tmp_path / "st")[1], model.encode(DOCUMENTS, prompt_name="passage"), atol=2e-6
    )


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_what_is_used_of_a_checkpoint_is_said(similarity: str, zoo: Path, tmp_path: Path) -> None:
    modules = [st.Transformer(str(build(zoo, "bert"))), st.Pooling(16)]
    saved(tmp_path / "st", modules, prompts=BOTH_PROMPTS, similarity_fn_name=similarity)
    extractor = load(tmp_path / "st", "search")
    assert extractor.plan.similarity == similarity
    assert extractor.notes == (
        f"queries start with 'a photo of ', documents with 'the road '; compared by {similarity}",
    )


def test_a_checkpoint_that_says_nothing_is_pooled_as_its_family_with_a_note(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "search")
    assert extractor.info("last").pooling == "mean of the last layer's tokens, padding left out"
    said, prompts = extractor.notes
    assert "nothing in its files says how it embeds texts" in said
    assert prompts == "no prompts; compared by cosine"


@pytest.mark.parametrize(
    ("module", "model_type", "named"),
    [
        ("SpladePooling", "SparseEncoder", "a sparse encoder, as SPLADE is"),
        ("Dense", "ColBERT", "a vector for each token, as ColBERT does"),
        ("MultiVectorMask", "MultiVectorEncoder", "a vector for each token, as ColBERT does"),
    ],
)
def test_what_is_no_vector_a_text_is_refused_by_name(
    module: str, model_type: str, named: str, zoo: Path, tmp_path: Path
) -> None:
    shutil.copytree(build(zoo, "bert"), tmp_path / "st")
    modules = [
        {"idx": number, "name": str(number), "path": f"{number}_{name}" * (number > 0), "type": f"a.package.{name}"}
        for number, name in enumerate(("Transformer", module))
    ]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "st" / "config_sentence_transformers.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(EmmsError, match=named):
        load(tmp_path / "st", "search")


def test_colbert_without_a_folder_of_sentence_transformers_is_refused_by_name(zoo: Path, tmp_path: Path) -> None:
    shutil.copytree(build(zoo, "bert"), tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": ["HF_ColBERT"]}))
    with pytest.raises(EmmsError, match="as ColBERT does"):
        load(tmp_path / "bert", "search")
