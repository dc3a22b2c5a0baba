"""From a ranking to a decision: checkpoints are fine-tuned, one by one, and what was finished is kept."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import datasets
import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import hf_emms
from hf_emms import EmmsError, Ranking
from hf_emms.cache import Cache
from hf_emms.cli import app
from hf_emms.data import open_dataset
from hf_emms.finetune.fine_tune import FineTuning, choose, fine_tune, prepare
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.splits import load_splits
from hf_emms.ranking import Row, TrainingRun, ranked
from hf_emms.ranking.advice import finetuning_summary
from hf_emms.ranking.progress import Silent
from hf_emms.ranking.text import to_text
from hf_emms.run.confirm import options_for
from hf_emms.tasks import TASKS, get_task
from tests.finetune.make import FAST, Notes, colours, ranking, save, texts
from tests.helpers.cli import program
from tests.helpers.rankings import example
from tests.helpers.tiny_checkpoints import build

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["hf_emms.finetune.training", "hf_emms.run.confirm", "tests.finetune.test_confirm"])
IMAGES = {"image": "image", "label": "label"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("confirm")


@pytest.fixture(scope="module")
def folder(root: Path) -> str:
    return save(colours(60), root / "colours")


@pytest.fixture
def ranked_images(root: Path, folder: str) -> Ranking:
    checkpoints = {str(build(root, "regnet")): -0.1, str(build(root, "resnet")): -0.2, str(build(root, "vit")): -0.3}
    return ranking(folder, "image-classification", IMAGES, checkpoints)


def broken(root: Path) -> str:
    """A checkpoint whose outputs are no numbers."""
    import transformers

    folder = root / "broken"
    if not folder.exists():
        model = transformers.AutoModel.from_pretrained(build(root, "resnet"))
        with torch.no_grad():
            model.embedder.embedder.convolution.weight.fill_(float("nan"))
        model.save_pretrained(folder)
        transformers.AutoImageProcessor.from_pretrained(build(root, "resnet")).save_pretrained(folder)
    return str(folder)


def test_the_shortlist_is_fine_tuned_and_the_best_is_who_measured_best(
    ranked_images: Ranking, emms_cache: Path
) -> None:
    notes = Notes()
    confirmed = hf_emms.confirm(ranked_images, top=2, progress=notes, **FAST)
    first, second, third = confirmed.rows
    assert third.fine_tuned is None
    for row in (first, second):
        found = row.fine_tuned
        assert found.metric == "accuracy"
        assert set(found.scores) == {"accuracy", "macro F1"}
        assert 0 <= found.value <= 1
        assert found.spread is not None
        assert found.rows["test"] == "12 rows, held out of split train"
        assert [run.learning_rate for run in found.runs] == [0.01]
    assert second.fine_tuned.value > 0.8  # red and blue are learned
    losses = [run.loss for row in (first, second) for run in row.fine_tuned.runs]
    assert len(losses) == 2
    assert all(0 < loss < 5 for loss in losses)
    assert confirmed.best is max((first, second), key=lambda row: row.fine_tuned.validation)
    assert Ranking.from_json(confirmed.to_json()) == confirmed
    assert "fine-tuned" in to_text(confirmed)
    assert f"by fine-tuning: {confirmed.best.checkpoint}: accuracy " in finetuning_summary(confirmed)
    assert any(line.startswith("fine-tuning 2 checkpoints: 2 runs of up to 4 epochs, about ") for line in notes.lines)
    assert notes.steps == notes.planned


def test_finished_runs_are_not_trained_again(ranked_images: Ranking, emms_cache: Path) -> None:
    first, second = Notes(), Notes()
    once = hf_emms.confirm(ranked_images, top=1, progress=first, **FAST)
    again = hf_emms.confirm(ranked_images, top=1, progress=second, **FAST)
    assert again == once
    assert len(first.planned) == 1
    assert second.planned == {}
    assert any("(from the cache)" in line for line in second.lines)
    anew = Notes()
    hf_emms.confirm(ranked_images, top=1, progress=anew, resume=False, **FAST)
    assert len(anew.planned) == 1


def test_two_calls_at_once_train_each_run_once_and_change_nothing_around_them(
    ranked_images: Ranking, emms_cache: Path
) -> None:
    """Threads stand for processes: locks of files keep both apart."""
    import random

    import transformers

    def states() -> tuple[Any, ...]:
        verbosity = transformers.utils.logging.get_verbosity()
        return random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), verbosity

    before, notes = states(), (Notes(), Notes())
    settings = {**FAST, "epochs": 2}
    with ThreadPool(2) as pool:
        results = pool.map(lambda progress: hf_emms.confirm(ranked_images, top=2, progress=progress, **settings), notes)
    assert states() == before
    assert results[0] == results[1]
    assert sum(len(each.planned) for each in notes) == 2
    anew = hf_emms.confirm(ranked_images, top=2, cache=False, **settings)
    assert [row.fine_tuned.scores for row in anew.fine_tuned] == [
        row.fine_tuned.scores for row in results[0].fine_tuned
    ]


def test_validation_rows_choose_the_learning_rate_and_further_seeds_run_at_it(
    ranked_images: Ranking, emms_cache: Path
) -> None:
    settings = {**FAST, "learning_rates": (1e-7, 0.01), "seeds": 3}
    found = hf_emms.confirm(ranked_images, top=1, **settings).rows[0].fine_tuned
    assert [(run.learning_rate, run.seed) for run in found.runs][:2] == [(1e-7, 0), (0.01, 0)]
    assert [(run.learning_rate, run.seed) for run in found.runs][2:] == [
        (found.learning_rate, 1),
        (found.learning_rate, 2),
    ]
    chosen = [run.scores["accuracy"] for run in found.runs if run.learning_rate == found.learning_rate]
    assert found.value == pytest.approx(sum(chosen) / 3)


def test_a_checkpoint_that_diverges_is_a_failed_entry_after_a_second_try_and_the_others_go_on(
    root: Path, folder: str, emms_cache: Path
) -> None:
    checkpoints = {broken(root): -0.1, str(build(root, "resnet")): -0.2}
    confirmed = hf_emms.confirm(ranking(folder, "image-classification", IMAGES, checkpoints), top=2, **FAST)
    failed, good = confirmed.rows
    assert failed.fine_tuned.value is None
    assert "no number" in failed.fine_tuned.error
    assert failed.error is None  # its score stays
    assert confirmed.best is good
    assert f"failed: {failed.checkpoint}: fine-tuning: " in to_text(confirmed)
    assert [*(emms_cache / "unfinished").iterdir()] == []


def test_where_training_diverges_at_all_rates_a_lower_one_is_tried(root: Path, folder: str, emms_cache: Path) -> None:
    rows = ranking(folder, "image-classification", IMAGES, {broken(root): -0.1, str(build(root, "resnet")): -0.2})
    notes, settings = Notes(), {**FAST, "learning_rates": None}
    bad, good = hf_emms.confirm(rows, top=2, progress=notes, **settings).rows
    assert [run.learning_rate for run in bad.fine_tuned.runs] == [5e-4, 2e-3, 5e-5]
    assert [run.learning_rate for run in good.fine_tuned.runs] == [5e-4, 2e-3]
    assert f"{bad.checkpoint}: its training diverges at these rates: 5e-05 is tried too" in notes.lines


def test_nothing_but_failures_is_an_error_with_the_reasons(root: Path, folder: str, emms_cache: Path) -> None:
    with pytest.raises(EmmsError, match=r"no checkpoint could be fine-tuned: .*no number"):
        hf_emms.confirm(ranking(folder, "image-classification", IMAGES, {broken(root): -0.1}), top=1, **FAST)


def test_a_time_limit_that_has_passed_starts_nothing(ranked_images: Ranking, emms_cache: Path) -> None:
    with pytest.raises(EmmsError, match="not started: the time limit had passed"):
        hf_emms.confirm(ranked_images, top=2, time_limit="0.001s", **FAST)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_texts_with_classes(root: Path, tmp_path: Path, name: str, emms_cache: Path) -> None:
    data = datasets.Dataset.from_dict({"text": texts(80), "label": ["dog", "cat"] * 40})
    columns = {"text": "text", "label": "label"}
    rows = ranking(save(data, tmp_path / "data"), "text-classification", columns, {str(build(root, name)): -0.1})
    found = hf_emms.confirm(rows, top=1, **FAST).rows[0].fine_tuned
    assert found.error is None
    assert found.metric == "accuracy"


def test_several_classes_a_row(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    labels = [["animal", "cat"] if row % 2 else ["animal"] for row in range(60)]
    data = datasets.Dataset.from_dict({"text": texts(60), "labels": labels})
    columns = {"text": "text", "label": "labels"}
    rows = ranking(save(data, tmp_path / "data"), "text-classification", columns, {str(build(root, "bert")): -0.1})
    found = hf_emms.confirm(rows, top=1, **FAST).rows[0].fine_tuned
    assert set(found.scores) == {"micro F1", "macro F1", "accuracy"}
    assert found.value > 0.6  # all are animals


def test_checkpoints_that_share_the_last_rank_are_fine_tuned_too_up_to_twice_as_many() -> None:
    def rows(*ranks: int) -> list[Row]:
        return [Row(f"org/{place}", rank=rank, tied=ranks.count(rank) > 1) for place, rank in enumerate(ranks)]

    assert [len(choose(rows(1, 2, 3, 4), top)[0]) for top in (1, 2, 9)] == [1, 2, 4]
    assert choose(rows(1, 2, 2, 4), 2) == (tuple(rows(1, 2, 2, 4)[:3]), [])
    chosen, notes = choose(rows(1, 1, 1, 1, 1, 6), 2)
    assert len(chosen) == 4
    assert "confirm=5 takes all" in notes[0]


def test_columns_are_read_again_as_they_were_ranked() -> None:
    """Also several of one role, which a ranking joins with a comma."""
    columns = {"image": "image", "text": "caption_0,caption_1"}
    assert options_for(example(task="image-to-text", columns=columns)).columns == columns


def planned(rows: Ranking, cache: Path, **settings: Any) -> FineTuning:
    options = options_for(rows, confirm=1, **settings)
    source = open_dataset(options.sample)
    return prepare(rows, options, source, Cache(cache), Silent(), seconds_per_parameter=1e-9)


def test_a_validation_score_of_zero_is_no_failure(ranked_images: Ranking, tmp_path: Path) -> None:
    scores = {0.1: 0.0, 0.2: -0.5, 0.3: None}

    def train(work: FineTuning, jobs: Sequence[TrainingJob]) -> Iterator[tuple[TrainingJob, TrainingRun]]:
        for job in jobs:
            score = scores[job.learning_rate]
            scored = {} if score is None else {work.metric: score}
            yield (
                job,
                TrainingRun(job.learning_rate, job.seed, score, scored, error="failed" if score is None else None),
            )

    work = planned(ranked_images, tmp_path, learning_rates=(0.2, 0.1, 0.3), seeds=2)
    result = fine_tune(work, train).rows[0].fine_tuned
    assert (result.learning_rate, result.value) == (0.1, 0.0)
    assert [(run.learning_rate, run.seed) for run in result.runs] == [(0.2, 0), (0.1, 0), (0.3, 0), (0.1, 1)]


def test_another_version_of_peft_trains_adapters_again(ranked_images: Ranking, tmp_path: Path) -> None:
    row, versions = ranked_images.rows[0], []
    for method in ("lora", "full"):
        work = planned(ranked_images, tmp_path, method=method)
        job = TrainingJob(row.checkpoint, work.plan(row), row.parameters, work.recipe(row), 0.1, 0)
        versions.append(work.key(job)["versions"])
    assert {*versions[0]} - {*versions[1]} == {"peft"}


def test_a_task_without_a_head_is_refused_before_any_checkpoint_runs(
    root: Path, folder: str, monkeypatch: pytest.MonkeyPatch, emms_cache: Path
) -> None:
    task = get_task("image-classification")
    monkeypatch.setitem(TASKS.built_in, task.id, dataclasses.replace(task, head=None))
    notes = Notes()
    with pytest.raises(EmmsError, match="fine-tuning for the task image-classification is not supported"):
        hf_emms.rank(folder, str(build(root, "resnet")), encoders="demo", confirm=1, progress=notes)
    assert not notes.planned


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 2, "steps": 3}, "epochs or steps"),
        ({"learning_rates": "fast"}, 'learning_rates="1e-4"'),
        ({"time_limit": "soon"}, "90s"),
        ({"method": "half"}, 'method="full" or "lora" or "head"'),
    ],
)
def test_wrong_settings_are_named_before_anything_runs(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EmmsError) as raised:
        hf_emms.confirm(example(), **settings)
    assert words in str(raised.value)


def test_a_ranking_of_a_dataset_in_memory_needs_the_dataset(root: Path, emms_cache: Path) -> None:
    data = colours(60)
    rows = hf_emms.rank(data, str(build(root, "resnet")), encoders="demo", estimators="emms", confirm=1, **FAST)
    assert rows.best.fine_tuned.value is not None
    with pytest.raises(EmmsError, match="in memory"):
        hf_emms.confirm(rows, top=1)
    assert hf_emms.confirm(rows, data, top=1, **FAST).best.fine_tuned == rows.best.fine_tuned


class Killed(Notes):
    """Kills its own process at a step, or leaves its results behind."""

    def __init__(self, at: int, file: Path) -> None:
        super().__init__()
        self.at, self.file, self.done = at, file, 0

    def started(self, name: str, steps: int) -> None:
        super().started(name, steps)
        with self.file.open("a") as file:
            file.write(name + "\n")

    def advanced(self, name: str, steps: int) -> None:
        super().advanced(name, steps)
        self.done += steps
        if self.done >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _confirm(text: str, cache: str, at: int, started: str, result: str, settings: dict[str, Any]) -> None:
    os.environ["HF_EMMS_CACHE"] = cache
    confirmed = hf_emms.confirm(Ranking.from_json(text), top=1, progress=Killed(at, Path(started)), **settings)
    Path(result).write_text(confirmed.to_json())


@pytest.mark.slow
def test_a_kill_at_any_step_loses_no_finished_run(ranked_images: Ranking, tmp_path: Path) -> None:
    """Two runs of 20 steps, with a state every 5, are killed before a state, behind one, and in the second run."""
    runs, kills = 2, (3, 13, 23)
    settings = {**FAST, "learning_rates": (0.01, 0.02), "seeds": 1}
    started, result = tmp_path / "started", tmp_path / "result"
    killed = 0
    for at in (*kills, 1_000):
        arguments = (ranked_images.to_json(), str(tmp_path / "cache"), at, str(started), str(result), settings)
        process = PROCESSES.Process(target=_confirm, args=arguments)
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed == len(kills)
    names = started.read_text().splitlines()
    order = list(dict.fromkeys(names))
    assert len(order) == runs
    # Each run begins again until it is finished, and none that was finished begins again.
    assert names == sorted(names, key=order.index)
    undisturbed = hf_emms.confirm(ranked_images, top=1, cache=False, **settings).rows[0].fine_tuned
    resumed = Ranking.from_json(result.read_text()).rows[0].fine_tuned
    assert [(run.scores, run.validation, run.curve) for run in resumed.runs] == [
        (run.scores, run.validation, run.curve) for run in undisturbed.runs
    ]


class FullDisk(Silent):
    """No file can hold more than a page while the first checkpoint is trained."""

    def __init__(self) -> None:
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.names: list[str] = []

    def started(self, name: str, steps: int) -> None:
        self.names.append(name)
        self.limit(4096 if len(self.names) == 1 else self.limits[0])

    def limit(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self.limits[1]))


def _confirm_on_a_full_disk(text: str, cache: str, result: str, settings: dict[str, Any]) -> None:
    os.environ["HF_EMMS_CACHE"] = cache
    disk = FullDisk()
    try:
        outcome = hf_emms.confirm(Ranking.from_json(text), top=2, progress=disk, **settings).to_json()
    except EmmsError as error:
        outcome = error.message
    disk.limit(disk.limits[0])
    Path(result).write_text(outcome)


def test_a_first_checkpoint_whose_run_a_full_disk_ended_never_makes_the_second_the_best(
    ranked_images: Ranking, tmp_path: Path
) -> None:
    cache, result = tmp_path / "cache", tmp_path / "result"
    process = PROCESSES.Process(
        target=_confirm_on_a_full_disk,
        args=(ranked_images.to_json(), str(cache), str(result), {**FAST, "save_model": str(tmp_path / "best")}),
    )
    process.start()
    process.join()
    message = result.read_text()
    assert message.startswith(f"{cache / 'unfinished'}")
    assert "cannot be written: " in message
    assert not (tmp_path / "best" / "model.safetensors").exists()


def test_the_command_line_adds_to_the_rankings_file_and_continues(
    ranked_images: Ranking, tmp_path: Path, emms_cache: Path
) -> None:
    file = tmp_path / "ranking.json"
    file.write_text(ranked_images.to_json())
    words = ["confirm", "--ranking", str(file), "--top", "1", "--epochs", "2", "--learning-rate", "0.01"]
    runner = CliRunner()
    planned = runner.invoke(app, [*words, "--dry-run"])
    assert planned.stdout.split() == [ranked_images.rows[0].checkpoint]
    assert "1 run of up to 2 epochs" in planned.stderr
    assert Ranking.from_json(file.read_text()) == ranked_images
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    kept = Ranking.from_json(file.read_text())
    assert kept.best.fine_tuned.recipe["epochs"] == 2
    assert finetuning_summary(kept) in done.stderr
    assert "(from the cache)" in runner.invoke(app, words).stderr


def test_a_ranking_is_written_and_printed_before_its_best_are_fine_tuned_and_survives_a_failure(
    root: Path, folder: str, tmp_path: Path, emms_cache: Path
) -> None:
    checkpoint, file = str(build(root, "resnet")), tmp_path / "ranking.json"
    settings = {"encoders": "demo", "estimators": "emms", "confirm": 1, "steps": 2, "learning_rates": 0.01}
    # In place of the folder of unfinished runs, so that nothing can be trained.
    emms_cache.mkdir(exist_ok=True)
    (emms_cache / "locks").touch()
    with pytest.warns(UserWarning, match="ranked, but not fine-tuned: .*locks.* cannot be written"):
        ranking = hf_emms.rank(folder, checkpoint, **settings)
    assert ranking.best.checkpoint == checkpoint
    assert ranking.notes[-1].startswith("ranked, but not fine-tuned")
    words = ["rank", "--dataset", folder, "-c", checkpoint, "--encoder", "demo", "--estimator", "emms", "-o", str(file)]
    done = CliRunner().invoke(app, [*words, "--confirm", "1", "--steps", "2", "--learning-rate", "0.01"])
    assert done.exit_code == 1
    assert checkpoint in done.stderr
    assert Ranking.load(file).best.fine_tuned is None


def test_a_dry_run_says_what_fine_tuning_takes_and_refuses_what_it_would_refuse(
    root: Path, folder: str, emms_cache: Path
) -> None:
    words = ["rank", "--dataset", folder, "-c", str(build(root, "resnet")), "-c", str(build(root, "regnet"))]
    words += ["--encoder", "demo", "--dry-run", "--confirm", "1"]
    planned = CliRunner().invoke(app, [*words, "--epochs", "3", "--learning-rate", "0.01", "--seeds", "2"])
    assert planned.exit_code == 0, planned.output
    assert "at most, if the largest are the best: fine-tuning 1 checkpoint: 2 runs of up to 3 epochs" in planned.stderr
    assert "kB of memory and activations; train 39 rows" in planned.stderr
    for more, problem in ((["--seeds", "1000000000"], "are too many"), (["--seed", "4294967296"], "seeds from 0 to")):
        refused = CliRunner().invoke(app, [*words, *more])
        assert refused.exit_code == 1
        assert problem in refused.stderr


class _Listening(Silent):
    """A `Progress` that sets an event when it hears that rows are read."""

    def __init__(self) -> None:
        self.heard = threading.Event()

    def working(self, what: str, seconds: float) -> None:
        if what.startswith("reading"):
            self.heard.set()


@pytest.mark.slow
def test_reading_that_takes_long_gives_signs_of_life(root: Path, folder: str, emms_cache: Path) -> None:
    listening = _Listening()

    def rows() -> Iterator[dict[str, Any]]:
        assert listening.heard.wait(60)
        yield from colours(40)

    rankings = ranking(folder, "image-classification", IMAGES, {str(build(root, "resnet")): -0.1})
    data = datasets.IterableDataset.from_generator(rows, features=colours(1).features)
    settings = {**FAST, "confirm_samples": 40}
    confirmed = hf_emms.confirm(rankings, data, top=1, progress=listening, **settings)
    assert confirmed.rows[0].fine_tuned is not None


def test_recorded_columns_and_revision_are_what_is_fine_tuned_on(root: Path, tmp_path: Path) -> None:
    data = colours(40).remove_columns("label")
    for name in ("caption", "cap_good", "cap_better"):
        data = data.add_column(name, [f"{name} {row}" for row in range(40)])
    columns = {"image": "image", "text": "cap_good,cap_better"}
    rows = ranking(save(data, tmp_path / "data"), "image-to-text", columns, {str(build(root, "resnet")): -0.1})
    options = options_for(rows, confirm=1)
    references = load_splits(options).train.references
    assert {len(texts) for texts in references} == {2}
    assert not any("caption" in text for texts in references for text, _ in texts)
    save(data.select(range(30)), tmp_path / "edited")
    shutil.copytree(tmp_path / "edited", tmp_path / "data", dirs_exist_ok=True)
    with pytest.raises(EmmsError, match="has changed since it was ranked"):
        hf_emms.confirm(rows, top=1)


def test_a_place_where_no_model_can_be_saved_is_refused_before_training(ranked_images: Ranking, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(EmmsError, match="is a file"):
            hf_emms.confirm(ranked_images, save_model=str(place))


def test_rank_confirms_what_it_ranked(root: Path, folder: str, tmp_path: Path, emms_cache: Path) -> None:
    words = ["rank", "--dataset", folder, "-c", str(build(root, "resnet")), "-c", str(build(root, "regnet"))]
    words += ["--encoder", "demo", "--estimator", "emms", "--confirm", "1", "--epochs", "2", "--learning-rate", "0.01"]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "ranking.json")])
    assert done.exit_code == 0, done.output
    first, second = Ranking.from_json((tmp_path / "ranking.json").read_text()).rows
    assert first.fine_tuned.value is not None
    assert (second.fine_tuned is not None) == (second.rank == first.rank)


def interrupted_by(work: Callable[[], None], *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command that fine-tunes; it stands still from its first fine-tuning on while something else is done."""
    process = subprocess.Popen(program(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        starts = line.startswith("fine-tuning ") and "fine-tuning " not in told
        told += line
        if starts:
            process.send_signal(signal.SIGSTOP)
            try:
                work()
            finally:
                process.send_signal(signal.SIGCONT)
    return subprocess.CompletedProcess(words, process.wait(), "", told)


def test_confirmations_of_one_file_at_once_lose_nothing_of_each_other(
    ranked_images: Ranking, tmp_path: Path, emms_cache: Path
) -> None:
    file = ranked_images.save(tmp_path / "ranking.json")
    words = ["confirm", "--ranking", str(file), "--learning-rate", "0.01"]

    def others() -> None:
        done = CliRunner().invoke(app, [*words, "--top", "2", "--epochs", "1"])
        assert done.exit_code == 0, done.output
        new = Row("org/new", "a" * 40, scores={"emms": ranked_images.rows[0].scores["emms"]})
        ranking = msgspec.structs.replace(
            ranked_images, created="2026-12-01T00:00:00+00:00", rows=ranked([new], "emms")
        )
        assert ranking.save(file, merge=True) == file

    done = interrupted_by(others, *words, "--top", "1", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    whole = Ranking.load(file)
    assert len(whole) == len(ranked_images) + 1
    epochs = {row.checkpoint: row.fine_tuned and row.fine_tuned.recipe["epochs"] for row in whole}
    first, second, third = (row.checkpoint for row in ranked_images.rows)
    assert epochs == {first: 2, second: 1, third: None, "org/new": None}
    assert {path.name for path in tmp_path.glob("*.json")} == {"ranking.json"}


@pytest.mark.parametrize("command", ["confirm", "rank"])
def test_another_ranking_that_came_meanwhile_stays_and_the_results_lie_beside_it(
    ranked_images: Ranking, root: Path, folder: str, tmp_path: Path, emms_cache: Path, command: str
) -> None:
    file, other = tmp_path / "ranking.json", example()
    words: list[object] = ["--learning-rate", "0.01", "--epochs", "1"]
    if command == "confirm":
        words += ["--ranking", ranked_images.save(file), "--top", "1"]
    else:
        words += ["--dataset", folder, "-c", build(root, "resnet"), "-e", "demo", "--estimator", "emms", "-o", file]
        words += ["--confirm", "1"]
    done = interrupted_by(lambda: file.write_text(other.to_json()), command, *words)
    assert done.returncode == 0, done.stderr
    assert Ranking.load(file) == other
    beside = tmp_path / "ranking-2.json"
    assert Ranking.load(beside).best.fine_tuned.recipe["epochs"] == 1
    assert f"{file} holds something else" in done.stderr
    assert f"Results: {beside}" in done.stderr
