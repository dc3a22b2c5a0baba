"""Test rankings with several layers: the row of a checkpoint shows its best layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hf_emms
from hf_emms.publish.card_entries import rank_command
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.merge import path_of
from hf_emms.ranking.text import flat_records
from tests.helpers.cli import Cli, cli
from tests.helpers.notes import codes
from tests.helpers.rankings import emms_score, example

__all__ = ["cli"]

TEXT, CNN = "emms-demo/bert-distilled", "emms-demo/resnet-distilled"
SMALL: dict[str, Any] = {
    "max_samples": 150,
    "encoders": "emms-demo/encoder-minilm-static",
    "estimators": ["emms", "knn"],
}


def only_row(ranking: Ranking) -> Row:
    (row,) = ranking.rows
    assert row.error is None, row.error
    return row


def test_a_row_has_the_best_layer_and_the_scores_of_all_layers(emms_cache: Path) -> None:
    first = only_row(hf_emms.rank("demo_glosses", TEXT, layers="last", **SMALL))
    row = only_row(hf_emms.rank("demo_glosses", TEXT, layers=["last", "mean", 1], **SMALL))
    again = only_row(hf_emms.rank("demo_glosses", TEXT, layers=["mean", "last"], **SMALL))
    assert (first.cached, row.cached, again.cached) == ("none", "none", "features")
    assert again.layers == {layer: row.layers[layer] for layer in ("mean", "last")}
    alone = {
        layer: only_row(hf_emms.rank("demo_glosses", TEXT, layers=layer, **SMALL)) for layer in ("last", "mean", "1")
    }
    assert {*row.layers} == {*alone}
    for layer, other in alone.items():
        assert other.layer == layer
        assert row.layers[layer] == {name: score.value for name, score in other.scores.items()}
    assert row.layer == max(alone, key=lambda layer: alone[layer].scores["emms"].value)
    assert (row.scores, row.pooling) == (alone[row.layer].scores, alone[row.layer].pooling)
    assert len({other.scores["emms"].value for other in alone.values()}) == 3
    streamed = only_row(
        hf_emms.rank("demo_glosses", TEXT, cache=False, layers=[1, "mean"], **SMALL | {"estimators": "emms"})
    )
    assert {*streamed.layers} == {"1", "mean"}
    for layer, scores in streamed.layers.items():
        assert scores["emms"] == pytest.approx(row.layers[layer]["emms"], rel=1e-4)


def test_the_default_layers_are_first_middle_and_last(emms_cache: Path) -> None:
    plain = only_row(hf_emms.rank("demo_glosses", TEXT, **SMALL))
    assert (plain.layer, plain.layers) == (None, {})
    spread = only_row(hf_emms.rank("demo_glosses", TEXT, layers="spread", **SMALL))
    assert (spread.layer, spread.cached) == ("spread", "features")  # the same features
    assert (spread.scores, spread.pooling, spread.width) == (plain.scores, plain.pooling, plain.width)
    last = only_row(hf_emms.rank("demo_glosses", TEXT, layers="last", **SMALL))
    assert plain.width == 2 * last.width  # it has two layers
    assert plain.pooling == f"{last.pooling}; with hidden layer 1: mean of its tokens, padding left out"


def test_a_missing_layer_is_a_note(emms_cache: Path) -> None:
    hf_emms.rank("demo_captions", CNN, layers="last", **SMALL)  # "last" is in the cache: only "mean" is left to be run
    row = only_row(hf_emms.rank("demo_captions", CNN, layers=["mean", "last"], **SMALL))
    assert (row.layer, {*row.layers}) == ("last", {"last"})
    assert "layer-without-score" in codes(row.notes)
    (row,) = hf_emms.rank("demo_captions", CNN, layers=["mean"], **SMALL).rows
    assert 'layers="last"' in (row.error or "")


# --- what is written and shown ----------------------------------------------------------------------------


def layered() -> Ranking:
    rows = [
        Row("org/a", scores={"emms": emms_score(-0.3)}, layer="mean", layers={"mean": {"emms": -0.3}}),
        Row("org/b", error="it fails"),
    ]
    return example(rows=ranked(rows, "emms"), layers=["last", "mean"], estimators=("emms",))


def test_the_layer_is_saved_and_shown_if_the_user_named_layers(tmp_path: Path) -> None:
    assert Ranking.load(layered().save(tmp_path / "ranking.json")) == layered()
    assert "layer" not in views.to_text(example())
    assert "layer" not in flat_records(example())[0]
    header, _, first, *_ = views.to_text(layered()).splitlines()
    assert header.split().index("layer") == header.split().index("params") - 1
    assert "  mean  " in first
    assert [record["layer"] for record in flat_records(layered())] == ["mean", None]


def test_layers_are_part_of_path_and_command() -> None:
    assert path_of(layered()) != path_of(example(estimators=("emms",)))
    assert "--layer last --layer mean" in rank_command(layered(), ["org/a"])
    assert "--layer" not in rank_command(example(), ["org/best"])


def test_the_command_line_takes_several_layers(cli: Cli) -> None:
    command = ["rank", "--dataset", "demo_glosses", "-c", TEXT, "-e", SMALL["encoders"], "--estimator", "emms"]
    command += ["--max-samples", 60, "--layer", "mean", "--layer"]
    ranking = Ranking.from_json(cli(*command, "-1", "--format", "json").out)
    assert ranking.settings["layers"] == ["mean", "-1"]
    assert {*only_row(ranking).layers} == {"mean", "-1"}
    refused = cli(*command, "middle")
    assert refused.code == 1
    assert "unknown layer 'middle'" in refused.err
    assert "--layer mean or a number" in refused.err
