"""hf-emms rank --layer: every checkpoint at several layers, its row at the best of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import hf_emms
from hf_emms.cli import main
from hf_emms.publish.card_entries import rank_command
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.merge import path_of
from tests.helpers.rankings import emms_score, example
from tests.helpers.tiny_checkpoints import build

TEXT, CNN = "emms-demo/bert-distilled", "emms-demo/resnet-distilled"
SMALL: dict[str, Any] = {
    "max_samples": 150,
    "encoders": "emms-demo/encoder-minilm-static",
    "estimators": ["emms", "knn"],
}


def of(ranking: Ranking) -> Row:
    (row,) = ranking.rows
    assert row.error is None, row.error
    return row


def test_a_row_is_that_of_the_best_layer_and_keeps_the_scores_of_all(emms_cache: Path) -> None:
    row = of(hf_emms.rank("demo_glosses", TEXT, layers=["last", "mean", 1], **SMALL))
    alone = {layer: of(hf_emms.rank("demo_glosses", TEXT, layers=layer, **SMALL)) for layer in ("last", "mean", "1")}
    assert {*row.layers} == {*alone}
    for layer, other in alone.items():
        assert other.layer == layer
        assert row.layers[layer] == {name: score.value for name, score in other.scores.items()}
    assert row.layer == max(alone, key=lambda layer: alone[layer].scores["emms"].value)
    assert (row.scores, row.pooling) == (alone[row.layer].scores, alone[row.layer].pooling)
    assert len({other.scores["emms"].value for other in alone.values()}) == 3


def test_a_ranking_without_layers_scores_the_first_and_the_middle_beside_the_last(emms_cache: Path) -> None:
    plain = of(hf_emms.rank("demo_glosses", TEXT, **SMALL))
    assert (plain.layer, plain.layers) == (None, {})
    spread = of(hf_emms.rank("demo_glosses", TEXT, layers="spread", **SMALL))
    assert (spread.layer, spread.cached) == (
        "spread",
        "features",
    )  # the same features
    assert (spread.scores, spread.pooling, spread.width) == (plain.scores, plain.pooling, plain.width)
    last = of(hf_emms.rank("demo_glosses", TEXT, layers="last", **SMALL))
    assert plain.width == 2 * last.width  # it has two layers
    assert plain.pooling == f"{last.pooling}; with hidden layer 1: mean of its tokens, padding left out"


def test_layers_are_kept_apart_in_the_cache(emms_cache: Path) -> None:
    first = of(hf_emms.rank("demo_glosses", TEXT, layers=["mean"], **SMALL))
    both = of(hf_emms.rank("demo_glosses", TEXT, layers=["mean", "last"], **SMALL))
    again = of(hf_emms.rank("demo_glosses", TEXT, layers=["last", "mean"], **SMALL))
    assert (first.cached, both.cached, again.cached) == ("none", "none", "features")
    assert again.layers == both.layers


def test_layers_stream_without_a_cache(emms_cache: Path) -> None:
    options = {**SMALL, "estimators": "emms", "layers": ["last", "mean", "-1"]}
    streamed = of(hf_emms.rank("demo_glosses", TEXT, cache=False, **options))
    kept = of(hf_emms.rank("demo_glosses", TEXT, **options))
    assert {*streamed.layers} == {"last", "mean", "-1"}
    for layer, scores in kept.layers.items():
        assert streamed.layers[layer]["emms"] == pytest.approx(scores["emms"], rel=1e-4)


def test_a_layer_that_a_checkpoint_does_not_have_is_a_note(emms_cache: Path) -> None:
    hf_emms.rank("demo_captions", CNN, layers="last", **SMALL)  # "last" is in the cache: only "mean" is left to be run
    row = of(hf_emms.rank("demo_captions", CNN, layers=["mean", "last"], **SMALL))
    assert (row.layer, {*row.layers}) == ("last", {"last"})
    assert any(note.startswith("no score at layer mean: ") and "cannot be averaged" in note for note in row.notes)
    (row,) = hf_emms.rank("demo_captions", CNN, layers=["mean"], **SMALL).rows
    assert 'cannot be averaged → layers="last", or a number' in (row.error or "")


def test_a_race_runs_at_one_layer(emms_cache: Path) -> None:
    row = of(hf_emms.rank("demo_glosses", TEXT, layers="mean", race=1, **SMALL))
    assert (row.layer, {*row.layers}) == ("mean", {"mean"})


# --- what is written and shown ----------------------------------------------------------------------------


def layered() -> Ranking:
    rows = [
        Row("org/a", scores={"emms": emms_score(-0.3)}, layer="mean", layers={"mean": {"emms": -0.3}}),
        Row("org/b", error="it fails"),
    ]
    return example(rows=ranked(rows, "emms"), layers=["last", "mean"], estimators=("emms",))


def test_layers_survive_json_and_parquet(tmp_path: Path) -> None:
    ranking = layered()
    assert Ranking.from_json(ranking.to_json()) == ranking
    ranking.save(tmp_path / "ranking.parquet")
    assert Ranking.load(tmp_path / "ranking.parquet") == ranking


def test_the_layer_is_shown_where_it_was_asked_for() -> None:
    assert "layer" not in views.to_text(example())
    assert "layer" not in example().records()[0]
    header, _, first, *_ = views.to_text(layered()).splitlines()
    assert header.split().index("layer") == header.split().index("params") - 1
    assert "  mean  " in first
    assert [record["layer"] for record in layered().records()] == ["mean", None]


def test_layers_belong_to_what_is_compared_and_to_the_command() -> None:
    assert path_of(layered()) != path_of(example(estimators=("emms",)))
    assert "--layer last --layer mean" in rank_command(layered(), ["org/a"])
    assert "--layer" not in rank_command(example(), ["org/best"])


def typed(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hf-emms", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_the_command_line_takes_several_layers(
    tmp_path: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bert = build(tmp_path, "bert")
    command = ["rank", "--dataset", "demo_glosses", "-c", bert, "-e", bert, "--max-samples", 60, "--estimator", "emms"]
    assert typed(monkeypatch, *command, "--layer", "mean", "--layer", "-1", "--format", "json") == 0
    ranking = Ranking.from_json(capfd.readouterr().out)
    assert ranking.settings["layers"] == ["mean", "-1"]
    assert {*of(ranking).layers} == {"mean", "-1"}
    assert typed(monkeypatch, *command, "--layer", "middle") != 0
    said = capfd.readouterr().err
    assert "unknown layer 'middle'" in said
    assert "--layer spread|last|mean or a number" in said
