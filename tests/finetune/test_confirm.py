"""`confirm` fine-tunes the best checkpoints one by one and keeps finished runs."""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import hf_emms
from hf_emms import EmmsError, Ranking
from hf_emms.cli.app import app
from hf_emms.features.architectures import STATIC
from hf_emms.finetune.fine_tune import (
    FineTuning,
    choose,
    fine_tune,
    train_here,
)
from hf_emms.finetune.forecast import seconds_of_runs, seconds_per_forward
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.resume_states import locked_run
from hf_emms.ranking import BaselineScore, Row, Seconds, TrainingRun
from hf_emms.ranking.advice import finetuning_summary
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.text import to_text
from hf_emms.run.confirm import fine_tuning_of, options_for, start_session
from hf_emms.tasks import TASKS, get_task
from hf_emms.texts import install_command
from tests.finetune.make import FAST, Notes, colours, poisoned, ranking, save
from tests.helpers.errors import raises_code
from tests.helpers.rankings import example
from tests.helpers.tiny_checkpoints import build

IMAGES = {"image": "image", "label": "label"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(colours(60), tmp_path_factory.mktemp("confirm") / "colours")


@pytest.fixture
def ranked_images(zoo: Path, folder: str) -> Ranking:
    checkpoints = {str(build(zoo, name)): -0.1 * (place + 1) for place, name in enumerate(("regnet", "resnet", "vit"))}
    return ranking(folder, "image-classification", IMAGES, checkpoints)


@pytest.fixture(scope="module")
def broken(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose outputs are NaN."""
    folder = tmp_path_factory.mktemp("broken") / "resnet"
    return str(poisoned(build(zoo, "resnet"), folder, "resnet.embedder.embedder.convolution.weight"))


def test_confirm_trains_the_shortlist_once_and_chooses_by_validation_score(ranked_images: Ranking) -> None:
    notes, again, anew = Notes(), Notes(), Notes()
    confirmed = hf_emms.confirm(ranked_images, top=2, progress=notes, time_limit="1h", **FAST)
    first, second, third = confirmed.rows
    assert third.fine_tuned is None
    for row in (first, second):
        result = row.fine_tuned
        assert (result.metric, [*result.scores]) == ("accuracy", ["accuracy", "macro F1"])
        assert result.rows["test"] == "12 rows, held out of split train"
        (run,) = result.runs
        assert run.learning_rate == 0.01
        assert 0 < run.loss < 5
        assert result.spread == result.stderr == run.stderr
    assert second.fine_tuned.value > 0.8  # red and blue are learned
    assert (second.fine_tuned.runs[0].has_learned, second.fine_tuned.baseline.value) == (True, 0.5)
    assert confirmed.best is max((first, second), key=lambda row: row.fine_tuned.validation)
    assert Ranking.from_json(confirmed.to_json()) == confirmed
    assert f"by fine-tuning: {confirmed.best.checkpoint}: accuracy " in finetuning_summary(confirmed)
    assert any(line.startswith("fine-tuning 2 checkpoints: 2 runs of up to 4 epochs, about ") for line in notes.lines)
    assert notes.steps == notes.planned
    assert notes.evaluated > 0
    assert len(notes.planned) == 2
    assert hf_emms.confirm(ranked_images, top=2, progress=again, **FAST) == confirmed
    assert again.planned == {}
    assert any("(from the cache)" in line for line in again.lines)
    hf_emms.confirm(ranked_images, top=1, progress=anew, resume=False, **FAST)
    assert len(anew.planned) == 1


def test_two_concurrent_calls_train_each_run_once(ranked_images: Ranking) -> None:
    """Threads simulate processes: file locks separate both."""
    notes, settings = (Notes(), Notes()), {**FAST, "epochs": 2}
    with ThreadPool(2) as pool:
        results = pool.map(lambda progress: hf_emms.confirm(ranked_images, top=2, progress=progress, **settings), notes)
    assert results[0] == results[1]
    assert sum(len(each.planned) for each in notes) == 2
    anew = hf_emms.confirm(ranked_images, top=2, cache=False, **settings)
    assert [row.fine_tuned.scores for row in anew.fine_tuned] == [
        row.fine_tuned.scores for row in results[0].fine_tuned
    ]


def test_a_checkpoint_that_diverges_fails_after_a_lower_rate(
    broken: str, zoo: Path, folder: str, emms_cache: Path
) -> None:
    checkpoints, notes = {broken: -0.1, str(build(zoo, "resnet")): -0.2}, Notes()
    settings = {**FAST, "epochs": 2, "learning_rates": None, "progress": notes}
    confirmed = hf_emms.confirm(ranking(folder, "image-classification", IMAGES, checkpoints), top=2, **settings)
    bad, good = confirmed.rows
    assert [run.learning_rate for run in bad.fine_tuned.runs] == [5e-4, 2e-3, 5e-5]
    assert [run.learning_rate for run in good.fine_tuned.runs][:2] == [5e-4, 2e-3]
    assert f"{bad.checkpoint}: its training diverges at these rates: 5e-05 is tried too" in notes.lines
    assert bad.fine_tuned.value is None
    assert "not finite" in bad.fine_tuned.error
    assert bad.error is None  # its score is kept
    assert confirmed.best is good
    assert f"failed: {bad.checkpoint}: fine-tuning: " in to_text(confirmed)
    assert [*(emms_cache / "unfinished").iterdir()] == []


def test_a_changed_checkpoint_fails_and_the_others_continue(zoo: Path, folder: str, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(build(zoo, "vit"), tmp_path / "vit"))
    checkpoints = {str(changed): -0.1, str(build(zoo, "resnet")): -0.2}
    rows = ranking(folder, "image-classification", IMAGES, checkpoints)
    (changed / "config.json").write_text((changed / "config.json").read_text() + "\n")
    bad, good = hf_emms.confirm(rows, top=2, **FAST).rows
    assert bad.fine_tuned.error == f"{changed} has changed since it was ranked → rank it again"
    assert not bad.fine_tuned.runs
    assert good.fine_tuned.value is not None


def test_a_failed_write_of_the_model_keeps_the_states(ranked_images: Ranking, tmp_path: Path, emms_cache: Path) -> None:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / ".unfinished").touch()  # blocks the folder for models of finished runs
    settings = {**FAST, "save_model": str(folder)}
    with raises_code("cannot-write", str(folder)):
        hf_emms.confirm(ranked_images, top=1, **settings)
    assert [*emms_cache.glob("unfinished/*/first/checkpoint-*")]
    (folder / ".unfinished").unlink()
    hf_emms.confirm(ranked_images, top=1, **settings)
    assert (folder / "model.safetensors").is_file()
    assert [*(emms_cache / "unfinished").iterdir()] == []


def test_confirm_waits_for_another_process_until_the_time_limit(ranked_images: Ranking) -> None:
    notes = Notes()
    work = planned(ranked_images, progress=notes, learning_rates=("0.01",), time_limit="0.2s")
    job = job_of(work)
    with (
        locked_run(work.runs.cache.root, work.runs.digest(job), None, lambda: None),
        raises_code("fine-tuning-failed", "time limit"),
    ):
        fine_tune(work, partial(train_here, work.splits))
    assert f"{job.name}: another process trains it; waiting for its result" in notes.lines


def test_nothing_starts_after_the_time_limit(ranked_images: Ranking) -> None:
    for cache in (True, False):
        with pytest.raises(EmmsError) as raised:
            hf_emms.confirm(ranked_images, top=2, time_limit="0.000001s", cache=cache, **FAST)
        failed = [f"{row.checkpoint}: not started: the time limit had passed" for row in ranked_images.rows[:2]]
        assert raised.value.message == f"no checkpoint could be fine-tuned: {'; '.join(failed)}"


def test_ties_at_the_last_rank_are_fine_tuned_up_to_twice_the_number() -> None:
    def rows(*ranks: int) -> list[Row]:
        return [Row(f"org/{place}", rank=rank, tied=ranks.count(rank) > 1) for place, rank in enumerate(ranks)]

    assert [len(choose(rows(1, 2, 3, 4), top)[0]) for top in (1, 2, 9)] == [1, 2, 4]
    assert choose(rows(1, 2, 2, 4), 2) == (tuple(rows(1, 2, 2, 4)[:3]), [])
    chosen, notes = choose(rows(1, 1, 1, 1, 1, 6), 2)
    assert len(chosen) == 4
    assert [(note.code, "confirm=5" in note.text) for note in notes] == [("shared-ranks", True)]
    with raises_code("no-score"):
        choose([Row("org/broken", error="it has no weights")], 2)


def job_of(work: FineTuning) -> TrainingJob:
    """The first run of the best checkpoint."""
    (row, *_), recipe = work.shortlist, work.jobs.recipe(work.shortlist[0])
    return TrainingJob(row.checkpoint, work.jobs.spec(row), row.parameters, recipe, recipe.learning_rates[0], 0)


def planned(rows: Ranking, dataset: Any = None, progress: Progress | None = None, **settings: Any) -> FineTuning:
    """The planned fine-tuning of the best checkpoint."""
    options = options_for(rows, dataset, confirm=1, **settings)
    return fine_tuning_of(rows, start_session(rows, options, progress or Progress()))


def test_validation_rows_choose_the_learning_rate_of_further_seeds(ranked_images: Ranking) -> None:
    """A score of zero is not a failure."""
    scores = {0.1: 0.0, 0.2: -0.5, 0.3: None}

    def train(work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
        score = scores[job.learning_rate]
        if score is None:
            return TrainingRun(job.learning_rate, job.seed, error="failed")
        baseline = BaselineScore("a guess", 0.5, 0.1, 0.3 + job.seed / 10)
        errors = {"stderr": 0.2 + job.seed / 10, "baseline": baseline}
        return TrainingRun(job.learning_rate, job.seed, score, {work.metric: score + job.seed}, **errors)

    work = planned(ranked_images, learning_rates=(0.2, 0.1, 0.3), seeds=3)
    result = fine_tune(work, train).rows[0].fine_tuned
    assert (result.learning_rate, result.validation, result.value, result.spread) == (0.1, 0.0, 1.0, 1.0)
    # The mean over test rows, combined with the deviation over three seeds.
    assert (result.stderr, result.baseline.gain_stderr) == pytest.approx(
        (math.hypot(0.3, 3**-0.5), math.hypot(0.4, 3**-0.5))
    )
    runs = [(0.2, 0), (0.1, 0), (0.3, 0), (0.1, 1), (0.1, 2)]
    assert [(run.learning_rate, run.seed) for run in result.runs] == runs


@pytest.mark.parametrize(
    ("outcomes", "another"),
    [
        (("diverged", "diverged"), 5e-5),
        (("learned", "diverged"), None),
        (("nothing", "diverged"), None),  # a higher rate would diverge too
        (("diverged", "nothing"), 8e-3),
        (("nothing", "nothing"), 8e-3),
        (("nothing", "learned"), None),
    ],
)
def test_another_rate_is_tried_if_the_default_rates_are_not_enough(
    ranked_images: Ranking, outcomes: tuple[str, str], another: float | None
) -> None:
    def train(work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
        outcome = dict(zip((5e-4, 2e-3), outcomes, strict=True)).get(job.learning_rate, "learned")
        settings = {"has_diverged": outcome == "diverged", "has_learned": outcome == "learned"}
        return TrainingRun(job.learning_rate, job.seed, 0.5, {work.metric: 0.5}, **settings)

    (row, *_) = fine_tune(planned(ranked_images), train).rows
    assert [run.learning_rate for run in row.fine_tuned.runs] == [5e-4, 2e-3, *filter(None, [another])]


def test_the_forecast_counts_inputs_at_the_measured_speed(ranked_images: Ranking) -> None:
    work = planned(ranked_images, epochs=2, batch_size=8, learning_rates=("0.1", "0.2"))
    # 10 steps of 8 rows, three evaluations of 9 rows, and one of 12.
    forwards, recipe = 2.5 * 10 * 8 + 3 * 9 + 12, work.jobs.recipe(work.shortlist[0])
    assert seconds_of_runs(recipe, work.splits, 0.01) == pytest.approx(2 * (0.56 + 0.01 * forwards))
    quick = planned(ranked_images, budget="quick")
    words = "fine-tuning 1 checkpoint: 2 runs of up to 3 epochs (a quick budget: the best at it may not be the best at "
    assert quick.forecast.startswith(words)
    row = msgspec.structs.replace(work.shortlist[0], parameters=1000, seconds=Seconds(10.8, loading=0.5))
    rows = row, msgspec.structs.replace(row, cached="features")
    assert [seconds_per_forward(row, work.ranking.n_inputs, 1e-4) for row in rows] == pytest.approx([10.3 / 1030, 0.1])


def test_static_embeddings_train_at_the_rates_of_small_checkpoints(ranked_images: Ranking) -> None:
    work = planned(ranked_images)
    row = msgspec.structs.replace(work.shortlist[0], parameters=10**8)
    large = [msgspec.structs.replace(row, architecture=name) for name in ("BertModel", STATIC)]
    assert [work.jobs.recipe(each).learning_rates for each in large] == [(2e-5, 1e-4), (5e-4, 2e-3)]


def test_a_task_without_a_head_is_refused(zoo: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("image-classification")
    monkeypatch.setitem(TASKS.built_in, task.id, replace(task, head=None))
    notes = Notes()
    with raises_code("no-head", "image-classification"):
        hf_emms.rank(folder, str(build(zoo, "resnet")), encoders="demo", confirm=1, progress=notes)
    assert not notes.planned


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 2, "steps": 3}, "epochs or steps"),
        ({"learning_rates": "fast"}, 'learning_rates="1e-4"'),
        ({"learning_rates": 0.0}, 'learning_rates="1e-4"'),
        ({"learning_rates": "1"}, 'learning_rates="1e-4"'),
        ({"time_limit": "soon"}, "90s"),
        ({"method": "half"}, 'method="full" or "lora" or "head"'),
    ],
)
def test_invalid_settings_are_refused_before_anything_runs(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EmmsError) as raised:
        hf_emms.confirm(example(), **settings)
    assert words in str(raised.value)


@pytest.mark.parametrize(("method", "package", "extra"), [("full", "sacrebleu", "finetune"), ("lora", "peft", "lora")])
def test_errors_name_missing_packages_and_their_extra(
    method: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # the import system treats it as not installed
    for confirm in (
        partial(hf_emms.confirm, example()),
        partial(hf_emms.rank, "no/dataset", "no/checkpoint", confirm=1),
    ):
        with raises_code("package-missing", package) as raised:
            confirm(method=method)
        assert raised.value.hint == install_command(extra)


def test_a_ranking_of_a_dataset_in_memory_needs_the_dataset(zoo: Path) -> None:
    data = colours(60)
    rows = hf_emms.rank(data, str(build(zoo, "resnet")), encoders="demo", estimators="emms", confirm=1, **FAST)
    assert rows.best.fine_tuned.value is not None
    with raises_code("dataset-in-memory"):
        hf_emms.confirm(rows, top=1)
    assert hf_emms.confirm(rows, data, top=1, **FAST).best.fine_tuned == rows.best.fine_tuned


def test_a_ranking_is_written_before_fine_tuning_and_survives_its_failure(
    zoo: Path, folder: str, tmp_path: Path, emms_cache: Path
) -> None:
    checkpoint, file = str(build(zoo, "resnet")), tmp_path / "ranking.json"
    settings = {"encoders": "demo", "estimators": "emms", "confirm": 1, "steps": 2, "learning_rates": 0.01}
    # Blocks the folder of locks, so that nothing can be trained.
    emms_cache.mkdir(exist_ok=True)
    (emms_cache / "locks").touch()
    with pytest.warns(UserWarning, match="ranked, but not fine-tuned: .*locks.* cannot be written"):
        ranking = hf_emms.rank(folder, checkpoint, **settings)
    assert ranking.best.checkpoint == checkpoint
    assert ranking.notes[-1].code == "not-fine-tuned"
    words = ["rank", "--dataset", folder, "-c", checkpoint, "--encoder", "demo", "--estimator", "emms", "-o", str(file)]
    done = CliRunner().invoke(app, [*words, "--confirm", "1", "--steps", "2", "--learning-rate", "0.01"])
    assert done.exit_code == 1
    assert checkpoint in done.stderr
    assert Ranking.load(file).best.fine_tuned is None


def test_a_dry_run_forecasts_fine_tuning_and_refuses_invalid_settings(zoo: Path, folder: str) -> None:
    words = ["rank", "--dataset", folder, "-c", str(build(zoo, "resnet")), "-c", str(build(zoo, "regnet"))]
    words += ["--encoder", "demo", "--dry-run", "--confirm", "1"]
    planned = CliRunner().invoke(app, [*words, "--epochs", "3", "--learning-rate", "0.01", "--seeds", "2"])
    assert planned.exit_code == 0, planned.output
    assert "fine-tuning, at most: fine-tuning 1 checkpoint: 2 runs of up to 3 epochs" in planned.stderr
    assert "on an idle machine; train 39 rows" in planned.stderr
    refused = CliRunner().invoke(app, [*words, "--learning-rate", "5"])
    assert "is not a number between 0 and 1" in str(refused.exception)


def test_fine_tuning_uses_the_recorded_columns_and_revision(zoo: Path, tmp_path: Path) -> None:
    data = colours(40).remove_columns("label")
    for name in ("caption", "cap_good", "cap_better"):
        data = data.add_column(name, [f"{name} {row}" for row in range(40)])
    columns = {"image": "image", "text": "cap_good,cap_better"}
    rows = ranking(save(data, tmp_path / "data"), "image-to-text", columns, {str(build(zoo, "resnet")): -0.1})
    references = planned(rows).splits.train.references
    assert {len(texts) for texts in references} == {2}
    assert not any("caption" in text for texts in references for text, _ in texts)
    save(data.select(range(30)), tmp_path / "edited")
    shutil.copytree(tmp_path / "edited", tmp_path / "data", dirs_exist_ok=True)
    with raises_code("changed"):
        hf_emms.confirm(rows, top=1)
    for other in (data.select(range(30)), str(tmp_path / "edited")):
        work = planned(rows, other)
        (note,) = (note for note in work.notes if note.code == "other-revision")
        assert rows.dataset_revision in note.text
        assert work.splits.revision in note.text


def test_the_command_line_adds_results_to_the_file(ranked_images: Ranking, tmp_path: Path) -> None:
    file = ranked_images.save(tmp_path / "ranking.json")

    def confirm(*words: str) -> Result:
        done = CliRunner().invoke(app, ["confirm", "--ranking", str(file), "--learning-rate", "0.01", *words])
        assert done.exit_code == 0, done.output
        return done

    words = ["--top", "1", "--epochs", "2"]
    planned = confirm(*words, "--dry-run")
    first, second, third = (row.checkpoint for row in ranked_images.rows)
    assert planned.stdout.split() == [first]
    assert f"Reading {file}" in planned.stderr
    assert "1 run of up to 2 epochs" in planned.stderr
    assert Ranking.load(file) == ranked_images
    confirm("--top", "2", "--epochs", "1")
    done, whole = confirm(*words), Ranking.load(file)
    assert "Measured by fine-tuning: " in done.stderr
    epochs = {row.checkpoint: row.fine_tuned and row.fine_tuned.recipe["epochs"] for row in whole}
    assert epochs == {first: 2, second: 1, third: None}
    assert "(from the cache)" in confirm(*words).stderr
