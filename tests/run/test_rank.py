"""Test rankings of embedded data and small real checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hf_emms
from hf_emms.cache import Cache
from hf_emms.data import open_dataset
from hf_emms.features import feature_spec
from hf_emms.features.device import device_name
from hf_emms.hub import Repo, resolve
from hf_emms.options import Options
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Progress
from hf_emms.run.confirm import options_for
from hf_emms.run.plan import Session, _check_groups, make_plan
from tests.helpers.caching import cached_keys
from tests.helpers.counting import counted_calls
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.progress import RecordedProgress
from tests.helpers.rankings import example
from tests.helpers.tiny_checkpoints import build

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    build(root, "bert")
    build(root, "gpt2")
    return root


def ranked(tiny: Path, checkpoints: list[str], **options: Any) -> Ranking:
    settings = {"max_samples": 150, "encoders": [str(tiny / "bert"), str(tiny / "gpt2")]} | options
    return hf_emms.rank("demo_captions", checkpoints, **settings)


def test_a_bad_checkpoint_is_a_failed_row_and_repeated_names_are_ranked_once(tiny: Path, emms_cache: Path) -> None:
    ranking = ranked(tiny, [POOR, "./nowhere", GOOD, POOR])
    good, poor, failed = ranking.rows
    assert (good.checkpoint, poor.checkpoint, failed.checkpoint) == (GOOD, POOR, "./nowhere")
    assert good.scores["emms"].value >= poor.scores["emms"].value
    assert (good.rank, failed.rank) == (1, None)
    assert "./nowhere" in (failed.error or "")
    assert "\n" not in (failed.error or "")
    assert "checkpoints-repeated" in codes(ranking.notes)


def test_a_ranking_records_its_inputs_and_nothing_is_written_without_a_cache(tiny: Path, emms_cache: Path) -> None:
    ranking = ranked(tiny, [GOOD], seed=3, cache=False)
    assert not emms_cache.exists()
    assert (ranking.dataset, ranking.dataset_id) == ("demo_captions", "emms-demo/emoji-captions")
    assert (ranking.task, ranking.n, ranking.n_inputs, ranking.settings["seed"]) == ("image-to-text", 150, 150, 3)
    assert ranking.columns == {"image": "image", "text": "caption"}
    assert {"hf_emms", "torch", "transformers", "datasets", "numpy"} <= set(ranking.versions)
    assert [encoder.id for encoder in ranking.encoders] == [str(tiny / "bert"), str(tiny / "gpt2")]
    assert sum(encoder.weight or 0 for encoder in ranking.encoders) == pytest.approx(1)
    (row,) = ranking.rows
    revisions = (ranking.dataset_revision, row.revision or "", ranking.encoders[0].revision)
    assert all(revision.startswith("local-") for revision in revisions)
    assert set(row.scores) == {"emms_knn", "emms", "logme", "knn"}
    assert len(row.scores["emms"].folds) == ranking.settings["folds"] == 5
    assert row.parameters
    assert row.seconds.features > 0
    assert row.machine == device_name("auto")
    assert Ranking.from_json(ranking.to_json()) == ranking


def test_rows_and_features_are_cached_until_something_that_changes_them_changes(
    tiny: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_at_start: list[int] = []

    class Watching(RecordedProgress):
        def started(self, checkpoint: str, inputs: int) -> None:
            cached_at_start.append(len([*(emms_cache / "rows").glob("*.json")]))

    ids = [GOOD, "./nowhere", POOR]
    heard, heard_again = Watching(), RecordedProgress()
    first = ranked(tiny, ids, progress=heard)
    assert heard.inputs == {GOOD: 150, POOR: 150}
    assert heard.finished_names == ["./nowhere", GOOD, POOR]
    assert [note for note in heard.notes if "short runs" in note] == []
    assert cached_at_start == [0, 0, 1]  # each row is cached at once; the missing one is reported first
    again = ranked(tiny, ids, progress=heard_again)
    assert heard_again.started_with == {id: [0] for id in ids}
    assert [row.cached for row in first.rows[:2]] == ["none", "none"]
    assert [row.cached for row in again.rows[:2]] == ["row", "row"]
    assert [msgspec.structs.replace(row, cached="none") for row in again.rows] == list(first.rows)
    without_rows = ranked(tiny, ids, resume=False)
    assert [row.cached for row in without_rows.rows[:2]] == ["features", "features"]
    assert [row.scores for row in without_rows.rows] == [row.scores for row in first.rows]
    fewer_encoders = {"encoders": [str(tiny / "bert")]}
    for change in ({"seed": 1}, {"folds": 2}, {"estimators": ["emms"]}, {"max_samples": 140}, fewer_encoders):
        assert ranked(tiny, [GOOD], **change).rows[0].cached != "row", change
    # As after an upgrade of timm, whose version is part of the fingerprint of its checkpoints' features.
    monkeypatch.setattr(feature_spec, "FEATURES_VERSION", feature_spec.FEATURES_VERSION + 1)
    assert ranked(tiny, [GOOD]).rows[0].cached == "none"


def test_a_failed_estimator_is_a_note_unless_it_is_the_first(tiny: Path, emms_cache: Path) -> None:
    (row,) = ranked(tiny, [GOOD], estimators=["emms", "hscore"]).rows
    assert set(row.scores) == {"emms"}
    assert codes(row.notes) == ["estimator-failed"]
    (row,) = ranked(tiny, [GOOD], estimators=["hscore", "emms"]).rows
    assert row.error is not None
    assert "H-score needs classes" in row.error


def test_numeric_labels_ignore_encoders() -> None:
    rows = [{"text": f"{number} apples", "label": number / 2} for number in range(40)]
    options = {"task": "text-regression", "encoders": "./nowhere", "estimators": "emms", "cache": False}
    ranking = hf_emms.rank(rows, "emms-demo/bert-random", **options)
    assert ([each.id for each in ranking.encoders], ranking.settings["label_form"]) == (["label (numbers)"], "numbers")
    assert "encoders-unused" in codes(ranking.notes)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"estimators": ["emss"]}, "unknown-estimator"),
        ({"encoders": ["./no-encoder"]}, "unknown-folder"),
        ({"task": "image-to-tex"}, "unknown-task"),
        ({"label_template": "a {}"}, "setting-without-effect"),
        ({"device": "warp"}, "unknown-device"),
        ({"folds": 1}, "few-folds"),
    ],
    ids=str,
)
def test_an_invalid_argument_fails_before_anything_runs(
    tiny: Path, emms_cache: Path, options: dict[str, Any], code: str
) -> None:
    heard = RecordedProgress()
    with raises_code(code):
        ranked(tiny, [GOOD], progress=heard, **options)
    assert heard.started_with == {}


class Grouped(list[str]):
    """Rows, each in a group."""

    @property
    def groups(self) -> list[str]:
        return list(self)


def test_a_sample_needs_at_least_one_group_per_fold() -> None:
    _check_groups(Grouped("aabc"), Options.of("org/data", folds=3))  # type: ignore[arg-type]
    assert Session.start(Options.of("org/data", folds=2), Progress()).options.scoring.folds == 2  # two are enough
    for groups, column, rows, fewer in (
        ("ab", None, "2 rows", ", or folds=2"),
        ("aab", "who", "3 rows of 2 values in 'who'", ", or folds=2"),
        ("aa", None, "2 rows of 1 different inputs", ""),
    ):
        with raises_code("few-rows") as refused:
            _check_groups(Grouped(groups), Options.of("org/data", folds=3, group_column=column))  # type: ignore[arg-type]
        assert refused.value.message.startswith(f"{rows} ")
        assert str(refused.value.hint).endswith(fewer)


def test_any_error_of_resolving_a_checkpoint_is_a_failed_row(
    tiny: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(id: str, kind: str) -> Repo:
        if id == POOR:
            raise RuntimeError(f"401 for\nBearer hf_{'a' * 34}")
        return resolve(id, kind)  # type: ignore[arg-type]

    monkeypatch.setattr("hf_emms.run.plan.resolve", broken)
    request = Options.of("demo_captions", checkpoints=(GOOD, POOR), max_samples=150, encoders=str(tiny / "bert"))
    good, poor = make_plan(request, Progress()).checkpoints
    assert (good.row, poor.repo) == (None, None)
    assert poor.row == Row(POOR, error="RuntimeError: 401 for Bearer hf_…")  # no token gets into it


@pytest.mark.parametrize(
    ("dataset", "id", "revision", "read_again"),
    [
        ("beans", "AI-Lab/beans", "e" * 40, "beans"),  # a preset; of its repository the revision is taken
        ("org/data", "org/data", "e" * 40, f"org/data@{'e' * 40}"),
        ("org/data@main", "org/data@main", "e" * 40, f"org/data@{'e' * 40}"),
        ("./data", "./data", "local-0", "./data"),
    ],
)
def test_fine_tuning_uses_the_revision_of_the_ranked_dataset(
    dataset: str, id: str, revision: str, read_again: str
) -> None:
    ranking = example(dataset=dataset, dataset_id=id, dataset_revision=revision)
    assert options_for(ranking).sample.dataset == read_again
    for refused in (example(dataset=dataset, dataset_revision=""), example(dataset="in-memory dataset")):
        with raises_code("dataset-in-memory"):
            options_for(refused)
    for size, documents in ((0, None), (50, 50)):
        assert options_for(example(corpus_size=size)).sample.corpus_size == documents


def test_ranking_and_fine_tuning_resolve_a_dataset_once() -> None:
    options = Options.of(
        "demo_glosses", checkpoints=("emms-demo/bert-random",), max_samples=40, encoders=("demo",), cache=False
    )
    with counted_calls(open_dataset, lambda frame: 1) as asked:
        assert make_plan(options, Progress()).session.source.repo.id == "emms-demo/wordnet-glosses"
    assert asked == [1]


# ---- entries of the cache of the right checksum and another form -----------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def one_weight_too_many(row: Any) -> Any:
    scores = {name: score | {"details": {"weights": [0.5] * 3}} for name, score in row["scores"].items()}
    return row | {"scores": scores}


def test_invalid_cache_entries_are_computed_again(tiny: Path, emms_cache: Path) -> None:
    def rank_again(**options: Any) -> tuple[Row, str]:
        heard = RecordedProgress()
        (row,) = ranked(tiny, [GOOD], max_samples=60, layers="last", progress=heard, **options).rows
        return row, " ".join(heard.notes)

    expected = rank_again()[0].scores
    cache = Cache(emms_cache)
    entries = {key["kind"]: key for key in cached_keys(emms_cache)}
    stored = cache.get_json(entries["rows"], lambda value: value)
    for change in (
        lambda row: [row],
        lambda row: nested(500),
        lambda row: row | {"scores": {"emms": 3}},
        lambda row: row | {"error": "it failed"},
        lambda row: row | {"scores": row["scores"] | {"hscore": {"value": 1.0}}},  # of another estimator
        lambda row: row | {"scores": {"emms": row["scores"]["emms"]}},  # without the first
        one_weight_too_many,
    ):
        cache.put_json(entries["rows"], change(stored))
        row, notes = rank_again()
        assert "damaged" in notes
        assert (row.cached, row.scores) == ("features", expected)
        assert rank_again()[0].cached == "row"
    for kind, name, change in (
        ("features", "features", lambda x: x[:, :-1]),
        ("features", "features", lambda x: x.astype(np.int64)),
        ("labels", "embeddings", lambda x: x[:-1]),
        ("labels", "embeddings", lambda x: x.astype(np.float64)),
        ("labels", "embeddings", lambda x: x * np.nan),
        ("labels", "other", lambda x: x),
    ):
        arrays = cache.get(entries[kind], dict)
        assert arrays is not None
        changed = change(arrays.pop({"features": "features", "labels": "embeddings"}[kind]))
        cache.put(entries[kind], {**arrays, name: changed})
        row, notes = rank_again(resume=False)
        assert "damaged" in notes
        assert row.scores == expected
    assert "damaged" not in rank_again(resume=False)[1]
