"""From a dataset and checkpoints to a ranking, on embedded data and real (if small) checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import msgspec
import numpy as np
import pytest

import hf_emms
from hf_emms.cache import Cache
from hf_emms.data import DatasetSource, open_dataset
from hf_emms.errors import EmmsError, one_line
from hf_emms.features import extraction_plan
from hf_emms.hub import Repo, resolve
from hf_emms.options import Options, SampleOptions
from hf_emms.presets.demo import folder_of
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Silent
from hf_emms.run.plan import plan
from tests.helpers.tiny_checkpoints import build

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    build(root, "bert")
    build(root, "gpt2")
    return root


@pytest.fixture
def truncated(tmp_path: Path) -> Path:
    """A checkpoint whose weight file stopped half way."""
    folder = folder_of(POOR)
    assert folder is not None
    copy = shutil.copytree(folder, tmp_path / "truncated")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return copy


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.notes: list[str] = []

    def started(self, checkpoint: str, inputs: int) -> None:
        self.events.append(("started", checkpoint))

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self.events.append(("advanced", inputs))

    def finished(self, row: Row) -> None:
        self.events.append(("finished", row.checkpoint))

    def noted(self, message: str) -> None:
        self.notes.append(message)


def ranked(tiny: Path, checkpoints: list[str], **options: object) -> Ranking:
    settings = {"max_samples": 150, "encoders": [str(tiny / "bert"), str(tiny / "gpt2")]} | options
    return hf_emms.rank("demo_captions", checkpoints, **settings)  # type: ignore[arg-type]


def scores(ranking: Ranking) -> list[object]:
    return [(row.checkpoint, row.rank, row.scores) for row in ranking.rows]


def test_one_bad_checkpoint_never_ends_a_run(tiny: Path, emms_cache: Path, truncated: Path) -> None:
    ranking = ranked(tiny, [POOR, str(truncated), "./nowhere", GOOD])
    good, poor, *failed = ranking.rows
    assert {good.checkpoint, poor.checkpoint} == {GOOD, POOR}
    assert good.scores["emms"].value >= poor.scores["emms"].value
    assert (good.rank, failed[0].rank) == (1, None)
    errors = {row.checkpoint: row.error or "" for row in failed}
    assert "./nowhere" in errors["./nowhere"]
    assert "model.safetensors" in errors[str(truncated)]
    assert "truncated" in errors[str(truncated)]
    assert not any("\n" in error for error in errors.values())


def test_the_head_says_what_was_measured(tiny: Path, emms_cache: Path) -> None:
    ranking = ranked(tiny, [GOOD], seed=3)
    assert (ranking.dataset, ranking.dataset_id) == ("demo_captions", "emms-demo/emoji-captions")
    assert (ranking.task, ranking.n, ranking.n_inputs, ranking.settings["seed"]) == ("image-to-text", 150, 150, 3)
    assert ranking.columns == {"image": "image", "text": "caption"}
    assert {"hf_emms", "torch", "transformers", "datasets", "numpy"} <= set(ranking.versions)
    assert [encoder.id for encoder in ranking.encoders] == [str(tiny / "bert"), str(tiny / "gpt2")]
    assert sum(encoder.weight or 0 for encoder in ranking.encoders) == pytest.approx(1)
    (row,) = ranking.rows
    assert all(
        revision.startswith("local-")
        for revision in (ranking.dataset_revision, row.revision or "", ranking.encoders[0].revision)
    )
    assert set(row.scores) == {"emms_knn", "emms", "logme", "knn"}
    assert len(row.scores["emms"].folds) == ranking.settings["folds"] == 5
    assert row.parameters
    assert row.seconds.features > 0
    assert Ranking.from_json(ranking.to_json()) == ranking


def test_finished_rows_are_not_run_again(tiny: Path, emms_cache: Path) -> None:
    heard = Heard()
    first = ranked(tiny, [GOOD, POOR], progress=heard)
    assert sum(count for name, count in heard.events if name == "advanced") == 2 * 150  # type: ignore[misc]
    heard = Heard()
    again = ranked(tiny, [GOOD, POOR], progress=heard)
    assert {row.cached for row in first.rows} == {"none"}
    assert [msgspec.structs.replace(row, cached="none") for row in again.rows] == list(first.rows)
    assert {row.cached for row in again.rows} == {"row"}
    assert not [event for event in heard.events if event[0] == "advanced"]


def test_without_resume_features_are_reused_and_give_the_same_scores(tiny: Path, emms_cache: Path) -> None:
    first = ranked(tiny, [GOOD])
    again = ranked(tiny, [GOOD], resume=False)
    assert again.rows[0].cached == "features"
    assert scores(again) == scores(first)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"folds": 4}, {"estimators": ["emms"]}, {"max_samples": 140}, {"encoders": "first"}],
    ids=str,
)
def test_what_changes_a_row_is_not_taken_from_the_cache(
    tiny: Path, emms_cache: Path, change: dict[str, object]
) -> None:
    ranked(tiny, [GOOD])
    if "encoders" in change:
        change = {"encoders": [str(tiny / "bert")]}
    assert ranked(tiny, [GOOD], **change).rows[0].cached != "row"


def test_a_row_of_features_that_were_made_otherwise_is_not_taken(
    tiny: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade of timm, whose version is part of the fingerprint of its checkpoints' features."""
    ranked(tiny, [GOOD])
    monkeypatch.setattr(extraction_plan, "FEATURES_VERSION", extraction_plan.FEATURES_VERSION + 1)
    assert ranked(tiny, [GOOD]).rows[0].cached == "none"


def test_each_row_is_on_disk_before_the_next_checkpoint_starts(tiny: Path, emms_cache: Path) -> None:
    kept: list[int] = []

    class Counting(Silent):
        def started(self, checkpoint: str, inputs: int) -> None:
            kept.append(sum(entry.kind == "rows" for entry in Cache(emms_cache).entries()))

    ranked(tiny, [GOOD, "./nowhere", POOR], progress=Counting())
    assert kept == [0, 0, 1]  # the one that cannot be found is told first


def test_nothing_is_written_without_a_cache(tiny: Path, emms_cache: Path) -> None:
    ranked(tiny, [GOOD], cache=False)
    assert not emms_cache.exists()


def test_streamed_moments_give_what_kept_rows_give(tiny: Path, emms_cache: Path) -> None:
    """Texts that occur in several rows go through the checkpoint once and count in every row."""
    rng = np.random.default_rng(0)
    words = ["apple", "cat", "boat", "road", "harbour", "dog", "mat", "telescope"]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(60)]
    rows = [{"text": text, "label": int("cat" in text) + int("dog" in text)} for text in texts + texts[:25]]
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "one", "two"]))
    dataset = datasets.Dataset.from_list(rows, features=features)
    options = {"estimators": ["emms"], "encoders": [str(tiny / "gpt2")], "resume": False}
    kept = hf_emms.rank(dataset, [str(tiny / "bert")], **options)  # type: ignore[arg-type]
    streamed = hf_emms.rank(dataset, [str(tiny / "bert")], cache=False, batch_size=7, **options)  # type: ignore[arg-type]
    assert kept.n_inputs < kept.n
    assert kept.task == "text-classification"
    assert streamed.rows[0].error is None
    assert streamed.rows[0].scores["emms"].value == pytest.approx(kept.rows[0].scores["emms"].value, rel=1e-5)


def test_an_estimator_that_does_not_fit_is_a_note_unless_it_comes_first(tiny: Path, emms_cache: Path) -> None:
    (row,) = ranked(tiny, [GOOD], estimators=["emms", "hscore"]).rows
    assert set(row.scores) == {"emms"}
    assert any("hscore" in note for note in row.notes)
    (row,) = ranked(tiny, [GOOD], estimators=["hscore", "emms"]).rows
    assert row.error is not None
    assert "H-score needs classes" in row.error


def test_a_checkpoint_named_twice_is_ranked_once(tiny: Path, emms_cache: Path) -> None:
    ranking = ranked(tiny, [GOOD, GOOD], estimators=["emms"])
    assert len(ranking.rows) == 1
    assert any("named twice" in note for note in ranking.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimators": ["emss"]}, "unknown estimator 'emss'"),
        ({"encoders": ["./no-encoder"]}, "./no-encoder"),
        ({"task": "image-to-tex"}, "image-to-tex"),
        ({"prompt": "a {}"}, "prompt"),
        ({"device": "warp"}, "unknown device 'warp'"),
    ],
)
def test_a_wrong_argument_fails_before_anything_runs(
    tiny: Path, emms_cache: Path, options: dict[str, object], message: str
) -> None:
    heard = Heard()
    with pytest.raises(EmmsError, match=message):
        ranked(tiny, [GOOD], progress=heard, **options)
    assert heard.events == []


@pytest.mark.parametrize(("name", "value"), [("folds", 0), ("batch_size", 0), ("seed", 2**63)])
def test_numbers_that_would_fail_every_checkpoint_are_refused_at_once(name: str, value: int) -> None:
    with pytest.raises(EmmsError, match=f"{name} is {value}") as caught:
        hf_emms.rank("demo_glosses", cache=False, **{name: value})  # type: ignore[arg-type]
    assert f"{name} is a number from" in str(caught.value.hint)


def test_whatever_a_checkpoint_raises_while_it_is_looked_up_is_its_failed_row(
    tiny: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(id: str, kind: str) -> Repo:
        if id == POOR:
            raise KeyError("weight_map")
        return resolve(id, kind)  # type: ignore[arg-type]

    monkeypatch.setattr("hf_emms.run.plan.resolve", broken)
    request = Options("demo_captions", (GOOD, POOR), max_samples=150, encoders=(str(tiny / "bert"),))
    good, poor = plan(request, Silent()).candidates
    assert (good.row, poor.repo) == (None, None)
    assert poor.row == Row(POOR, error="KeyError: 'weight_map'")


def test_no_token_gets_into_a_failed_row() -> None:
    secret = f"hf_{'a' * 34}"
    assert one_line(RuntimeError(f"401 for\nBearer {secret}")) == "RuntimeError: 401 for Bearer hf_…"


def test_a_dataset_is_found_once_for_a_ranking_and_its_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SampleOptions] = []

    def counted(options: SampleOptions) -> DatasetSource:
        asked.append(options)
        return open_dataset(options)

    monkeypatch.setattr("hf_emms.data.open_dataset", counted)
    options = Options("demo_glosses", ("emms-demo/bert-random",), max_samples=40, encoders=("demo",), cache=False)
    assert plan(options, Silent()).session.source.repo.id == "emms-demo/wordnet-glosses"
    assert len(asked) == 1
