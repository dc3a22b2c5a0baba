"""Fine-tuning for similarity trains the embeddings themselves and saves a sentence-transformers folder."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import sentence_transformers as st
import torch
import transformers
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sentence_transformers.sentence_transformer import modules

import hf_emms
from hf_emms.finetune.splits import load_splits
from hf_emms.heads.modules import Embedder
from hf_emms.options import Options
from hf_emms.texts import install_command
from tests.finetune.make import FAST, PAIR_COLUMNS, pairs, rank_pairs, save
from tests.helpers.errors import raises_code
from tests.helpers.tiny_checkpoints import build


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(pairs(90), tmp_path_factory.mktemp("similarity") / "data")


def described(kind: str, zoo: Path, folder: Path) -> Path:
    """A sentence-transformers checkpoint with every kind of module and a prompt."""
    if kind not in ("modules", "static"):
        return build(zoo, kind)
    bert = str(build(zoo, "bert"))
    torch.manual_seed(3)
    if kind == "static":
        tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
        layers: list[torch.nn.Module] = [modules.StaticEmbedding(tokenizer, embedding_dim=8)]
        settings: dict[str, Any] = {"similarity_fn_name": "cosine"}
    else:
        layers = [modules.Transformer(bert, max_seq_length=9), modules.Pooling(16, "cls")]
        layers += [modules.Dense(16, 8), modules.Normalize()]
        settings = {"prompts": {"query": "", "pair": "a photo of "}, "default_prompt_name": "pair"}
    st.SentenceTransformer(modules=layers, **settings).save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize("kind", ["bert", "gpt2", "modules", "static"])
def test_saved_models_reproduce_scores_in_sentence_transformers(
    kind: str, data: str, zoo: Path, tmp_path: Path
) -> None:
    checkpoint = described(kind, zoo, tmp_path / "st")
    kept = tmp_path / "kept"
    confirmed = hf_emms.confirm(rank_pairs(data, checkpoint), top=1, save_model=str(kept), **FAST)
    (result,) = (row.fine_tuned for row in confirmed)
    assert result is not None
    assert list(result.scores) == ["Spearman"]
    if kind == "bert":
        (run,) = result.runs
        assert run.validation == max(run.curve) > run.curve[0]
        assert "training-helped" in [getattr(note, "code", "") for note in run.notes]
    test = load_splits(Options.of(data, task="sentence-similarity", columns=PAIR_COLUMNS).sample).test
    texts = [test.inputs[row] for row in test.input_of_row.tolist()]
    model = st.SentenceTransformer(str(kept), device="cpu")
    vectors = [model.encode([pair[place] for pair in texts]) for place in (0, 1)]
    cosines = model.similarity_pairwise(*vectors).numpy()
    assert spearmanr(cosines, test.references).statistic == pytest.approx(result.value, abs=1e-6)
    if kind == "modules":
        assert (model.default_prompt_name, model.max_seq_length, vectors[0].shape[1]) == ("pair", 9, 8)
        np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, atol=1e-5)
    if kind != "static":
        states = transformers.pipeline("feature-extraction", model=str(kept))("a red apple")
        assert np.shape(states)[::2] == (1, 16)
    card = (kept / "README.md").read_text()
    assert "library_name: sentence-transformers\npipeline_tag: sentence-similarity\n" in card
    assert f"SentenceTransformer('{kept}')" in card
    again = hf_emms.rank(data, str(kept), task="sentence-similarity", columns=PAIR_COLUMNS, encoders="demo")
    assert again.rows[0].error is None


def test_the_score_of_a_part_of_the_rows_is_that_of_the_listed_rows(zoo: Path, tmp_path: Path) -> None:
    """Rows share their first text, and some of these are not drawn."""
    rows = pairs(400)
    firsts = [f"a red mat on road {row % 80}" for row in range(400)]
    seconds = [f"{text} {row}" for row, text in enumerate(rows["sentence2"])]
    columns = {"sentence1": firsts, "sentence2": seconds, "score": rows["score"]}
    data = save(datasets.Dataset.from_dict(columns), tmp_path / "data")
    kept = tmp_path / "kept"
    checkpoint, settings = build(zoo, "bert"), FAST | {"confirm_samples": 160, "epochs": 1}
    (row,) = hf_emms.confirm(rank_pairs(data, checkpoint), top=1, save_model=str(kept), **settings)
    listed = json.loads((kept / "test_rows.json").read_text())
    assert listed["columns"] == ["sentence1", "sentence2"]

    def hash_of(text: str) -> str:
        content = text.encode()
        return hashlib.blake2b(len(content).to_bytes(8, "little") + content, digest_size=8).hexdigest()

    every = datasets.load_dataset(listed["dataset"], split=listed["split"])
    tested = [row for row in every if "-".join(hash_of(row[name]) for name in listed["columns"]) in listed["ids"]]
    of_groups = {row["sentence1"] for row in tested}
    assert len(tested) < sum(row["sentence1"] in of_groups for row in every)
    model = st.SentenceTransformer(str(kept), device="cpu")
    vectors = [model.encode([row[name] for row in tested]) for name in listed["columns"]]
    cosines = model.similarity_pairwise(*vectors).numpy()
    assert spearmanr(cosines, [row["score"] for row in tested]).statistic == pytest.approx(
        row.fine_tuned.value, abs=1e-6
    )


def test_original_weights_are_kept_if_training_does_not_help(data: str, zoo: Path, tmp_path: Path) -> None:
    checkpoint, kept = build(zoo, "bert"), tmp_path / "kept"
    settings = FAST | {"learning_rates": ("0.3",), "epochs": 2}
    confirmed = hf_emms.confirm(rank_pairs(data, checkpoint), top=1, save_model=str(kept), **settings)
    (run,) = confirmed.rows[0].fine_tuned.runs
    assert (run.steps, run.validation) == (len(run.curve[1:]) * run.steps // 2, run.curve[0])
    assert "training-did-not-help" in [getattr(note, "code", "") for note in run.notes]
    assert "fine-tuning did not help" in (kept / "README.md").read_text()
    result = confirmed.rows[0].fine_tuned
    assert result.is_untrained
    assert result.discarded_value < result.value - 0.1  # the learning rate is too high
    assert run.discarded_scores.keys() == run.scores.keys()
    before, after = load_file(checkpoint / "model.safetensors"), load_file(kept / "model.safetensors")
    assert all(torch.equal(tensor, before[f"bert.{name}"]) for name, tensor in after.items())


def test_the_error_without_sentence_transformers_names_the_extra(
    data: str, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # the import system treats it as not installed
    with raises_code("package-missing", "sentence-transformers") as error:
        hf_emms.confirm(rank_pairs(data, build(zoo, "bert")), top=1)
    assert error.value.hint == install_command("retrieval")


def test_towers_that_sentence_transformers_cannot_open_are_refused(data: str, zoo: Path) -> None:
    with raises_code("fine-tuning-failed", "sentence-transformers"):
        hf_emms.confirm(rank_pairs(data, build(zoo, "clip-text")), top=1, **FAST)


def test_a_batch_that_is_embedded_in_parts_has_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for tokens, sizes in ((7 * 4, [7]), (2 * 4, [2, 2, 2, 1]), (3, [1] * 7)):
        monkeypatch.setattr("hf_emms.heads.modules._KEPT_TOKENS", tokens)
        torch.manual_seed(0)
        base = torch.nn.Linear(4, 3)
        embed = Mock(side_effect=lambda layer, batch: layer(batch["input_ids"]))
        model = Embedder(base, embed, lambda rows, labels: (rows @ rows.T).logsumexp((0, 1)))
        model(labels=torch.zeros(1), input_ids=torch.arange(28.0).reshape(7, 4) / 28)["loss"].backward()
        # Parts are embedded again for their gradients.
        embedded = [len(call.args[1]["input_ids"]) for call in embed.call_args_list]
        assert sorted(embedded) == sorted(sizes * (1 + (len(sizes) > 1)))
        gradients.append(base.weight.grad)
        torch.testing.assert_close(gradients[0], gradients[-1])
