"""One run: problems are repaired or reported, and failures are tried again with half the batch."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hf_emms.finetune.jackknife import measure
from hf_emms.finetune.network import repaired
from hf_emms.finetune.recipe import (
    Recipe,
    TrainingJob,
    default_rates,
    head_of,
    max_rows,
    recipe_for,
    short_recipe,
)
from hf_emms.finetune.splits import Splits
from hf_emms.finetune.trainer import DivergedError, NetworkTrainer
from hf_emms.finetune.training import Training, has_helped, has_risen
from hf_emms.heads import LabeledSplit
from hf_emms.heads.head import Network
from hf_emms.heads.metrics import ACCURACY, accuracy, macro_f1, micro_f1, r2, spearman
from hf_emms.heads.split import BatchedRows
from hf_emms.options import Options
from hf_emms.tasks import TASKS, get_task
from tests.finetune.make import Notes
from tests.helpers.errors import raises_code
from tests.helpers.tiny_checkpoints import IMAGE_MODELS

SHORT = Recipe("full", 2, None, (0.05,), (0,), batch_size=16)
RECIPE = Recipe("full", 4, None, (0.05,), (0,), batch_size=16)


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> Iterator[None]:
    """`Trainer` collects garbage in each training: a quarter of a second where all of torch may be some."""
    gc.freeze()
    yield
    gc.unfreeze()


def part(rows: int, seed: int) -> LabeledSplit:
    """Points in a plane, labeled with their side of a line."""
    points = np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)
    sides = tuple("left" if x < y else "right" for x, y in points)
    return replace(LabeledSplit.of_inputs(points, sides), split="points")


class Line(nn.Module):
    """A classifier of points with memory for at most `room` points per batch."""

    def __init__(self, room: int = 100, weight: float = 0.0) -> None:
        super().__init__()
        self.linear, self.room, self.steps = nn.Linear(2, 2), room, 0
        if weight:
            nn.init.constant_(self.linear.weight, weight)

    def forward(self, points: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        if self.training and len(points) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.steps += self.training
        logits = self.linear(points)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


class Sides(Network):
    """A network that reads points and the side of each."""

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        labels = {"labels": torch.tensor([int(side == "right") for side in split.references])}
        points = torch.tensor(split.inputs[split.input_of_row])
        return BatchedRows(lambda numbers: {"points": points[numbers]}, labels if labeled else {}, len(split))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[str]:
        return ["right" if row[1] > row[0] else "left" for row in outputs]


def network(model: nn.Module) -> Network:
    return Sides(model)


def training(folder: Path, learning_rate: float = 0.05, recipe: Recipe = RECIPE, **settings: Any) -> Training:
    splits = Splits(get_task("text-classification"), part(160, 0), part(40, 1), part(40, 2), "", (), "points")
    job = TrainingJob("line", None, None, recipe, learning_rate, 0)
    return Training(job, splits, folder / "run", torch.device("cpu"), **settings)


def test_a_run_learns(tmp_path: Path) -> None:
    notes, started = Notes(), time.perf_counter()
    run = training(tmp_path, progress=notes).run(lambda: network(Line()))
    assert 0 < run.seconds < time.perf_counter() - started
    assert run.scores["accuracy"] > 0.8
    assert run.validation > 0.8
    assert len(run.curve) == 4
    assert run.validation == max(run.curve)
    assert (run.steps, run.batch_size, notes.steps["line, learning rate 0.05"]) == (40, 16, 40)
    assert {path.name for path in tmp_path.glob("run/first/*")} == {
        "checkpoint-30",
        "checkpoint-40",
    }  # the best and the last
    idle = training(tmp_path / "idle", learning_rate=1e-9).run(lambda: network(Line(weight=0.1)))
    assert ([note.code for note in idle.notes], idle.has_diverged) == (["loss-did-not-fall"], False)


@pytest.mark.parametrize(("batch_size", "half"), [(16, 8), (3, 1), (1, 1)])
def test_a_loss_that_is_not_finite_is_tried_with_half_the_batch(tmp_path: Path, batch_size: int, half: int) -> None:
    """A run shorter than an epoch is evaluated at its end."""
    recipe, loads = Recipe("full", None, 3, (0.05,), (0,), batch_size), iter([Line(weight=float("nan")), Line()])
    run = training(tmp_path, recipe=recipe).run(lambda: network(next(loads)))
    assert (run.steps, run.batch_size, len(run.curve)) == (3, half, 1)
    assert [note.code for note in run.notes] == ["trained-again"]


def test_a_step_has_two_half_batches_after_memory_ran_out(tmp_path: Path) -> None:
    run = training(tmp_path).run(lambda: network(Line(room=8)))
    assert (run.steps, run.batch_size) == (40, 16)
    assert run.scores["accuracy"] > 0.8
    assert [note.code for note in run.notes] == ["trained-again"]
    with pytest.raises(torch.OutOfMemoryError):
        training(tmp_path / "smaller").run(lambda: network(Line(room=4)))


def test_a_step_has_the_fewest_equal_parts_that_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, job = network(Line()), TrainingJob("line", None, None, RECIPE, 0.05, 0)
    rows, others = model.rows(part(160, 0), True), {"arguments": {}, "callbacks": []}
    on_gpu = NetworkTrainer(model, rows, job, torch.device("cuda"), tmp_path, **others).args
    assert (on_gpu.use_cpu, on_gpu.dataloader_pin_memory, on_gpu.n_gpu) == (False, True, 1)
    assert (on_gpu.per_device_train_batch_size, on_gpu.gradient_accumulation_steps) == (16, 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cases = (16, 1, None, 1), (16, 2, None, 2), (16, 1, 5, 4), (6, 1, 3, 2), (7, 2, 9, 7)
    for size, least, rows.max_batch, parts in cases:
        sizes = {"batch_size": size, "parts": least}
        trainer = NetworkTrainer(model, rows, job, torch.device("cpu"), tmp_path, **sizes, **others)
        args, used = trainer.args, (size // parts, 2 * size // parts, parts)
        steps = args.per_device_train_batch_size, args.per_device_eval_batch_size, args.gradient_accumulation_steps
        assert (steps, args.max_steps, args.warmup_steps) == (used, 40, 4)
        assert (args.use_cpu, args.dataloader_pin_memory, args.bf16) == (True, False, False)
        assert trainer.optimizer.defaults["fused"]


def test_a_loss_or_outputs_that_are_not_finite_fail_after_a_second_try(tmp_path: Path) -> None:
    class NoOutputs(Line):
        def forward(self, *arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
            outputs = super().forward(*arguments, **named)
            return outputs if self.training else {"logits": outputs["logits"] * float("nan")}

    for model, said in (
        (Line(weight=float("nan")), "loss was not finite after 1 step"),
        (NoOutputs(), "outputs are not finite"),
    ):
        loads = iter([network(model), network(model)])
        with pytest.raises(DivergedError, match=said):
            training(tmp_path).run(lambda loads=loads: next(loads))
        assert next(loads, None) is None


def test_a_training_whose_loss_rises_has_diverged(tmp_path: Path) -> None:
    class Rises(Line):
        steps = 0

        def forward(self, *arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
            outputs = super().forward(*arguments, **named)
            self.steps += 1
            return {name: tensor if name == "logits" else tensor * 0 + self.steps for name, tensor in outputs.items()}

    assert training(tmp_path).run(lambda: network(Rises())).has_diverged


@pytest.mark.parametrize(
    ("losses", "risen"),
    [
        ([0.7] * 9 + [0.71], False),
        ([0.05, 0.04, 0.06, 0.05, 0.04, 0.07, 0.05, 0.06, 0.04, 0.06], False),
        ([2.0, 1.0, 0.5, 0.2, 0.1], False),
        ([0.7, 0.8, 1.5, 4.0, 9.0], True),
        ([1.0, 2.0, 1.0, 2.0, 4.0], True),  # by between two and three standard errors
        ([1.0, 4.0, 3.0, 6.0, 5.0], False),  # by two of them
        ([100.0] * 4 + [102.0], False),  # by 2 %
        ([0.7] * 10 + [3.0, 5.0, 2.0, 6.0, 4.0] * 8, True),
        ([1.0, 9.0], False),
        ([], False),
    ],
)
def test_a_loss_has_risen_if_it_ends_above_its_start_by_more_than_its_scatter(losses: list[float], risen: bool) -> None:
    assert has_risen(losses) is risen


def test_a_head_has_its_own_higher_learning_rate(tmp_path: Path) -> None:
    def load() -> Network:
        new = network(Line(weight=0.1))
        new.head = frozenset({"linear.weight", "linear.bias"})
        return new

    recipe = Recipe("full", 40, None, (1e-9,), (0,), batch_size=16, patience=40)
    assert training(tmp_path, learning_rate=1e-9, recipe=recipe).run(load).validation > 0.8


def test_a_run_stops_early_and_keeps_its_best_state(tmp_path: Path) -> None:
    recipe = Recipe("full", 60, None, (0.05,), (0,), batch_size=16, patience=2)
    run = training(tmp_path / "first", recipe=recipe).run(lambda: network(Line()))
    assert run.steps < 600
    assert run.validation > 0.9
    for _ in range(2):  # the second time, it was killed before its result was stored
        run = training(tmp_path / "second", learning_rate=1e-9, recipe=recipe).run(lambda: network(Line(weight=0.1)))
        assert (run.steps, len(run.curve)) == (30, 3)  # two epochs without a better score


def test_a_run_that_the_deadline_ended_has_scores_and_resumes_to_the_same_result(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole", recipe=SHORT).run(lambda: network(Line()))
    at_end = training(tmp_path / "end", recipe=Recipe("full", None, 1, (0.05,), (0,), 16), deadline=0.0)
    assert at_end.run(lambda: network(Line())).unfinished is None
    ended = training(tmp_path, recipe=SHORT, deadline=0.0).run(lambda: network(Line()))
    assert (ended.steps, ended.validation is None, ended.unfinished) == (1, False, "after 1 of 20 steps")
    half = tmp_path / "run" / "first" / ".writing-1" / "checkpoint-10"
    half.mkdir(parents=True)  # an incomplete next state, which a kill may leave
    (half / "trainer_state.json").write_text("{")
    for steps in (19, 0):  # the second time, it was killed before its result was stored
        line = Line()
        run = training(tmp_path, recipe=SHORT).run(lambda line=line: network(line))
        assert line.steps == steps
        assert (run.scores, run.validation, run.curve, run.steps) == (whole.scores, whole.validation, whole.curve, 20)
        assert run.unfinished is None


@pytest.mark.parametrize(("step", "lost"), [("save_model", "nothing"), ("_save_rng_state", "the best state")])
def test_a_run_that_was_stopped_while_writing_a_state_resumes_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, lost: str
) -> None:
    def run() -> tuple[Any, ...]:
        result = training(tmp_path / "stopped").run(lambda: network(Line(weight=-1.0)))
        return result.scores, result.validation, result.curve, result.steps

    whole = training(tmp_path / "whole").run(lambda: network(Line(weight=-1.0)))
    assert whole.validation == max(whole.curve) > whole.curve[-1]  # an earlier state is the best
    write = getattr(NetworkTrainer, step)

    def stop(trainer: NetworkTrainer, *arguments: Any, **named: Any) -> None:
        if trainer.state.global_step == 30:
            raise KeyboardInterrupt
        write(trainer, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(NetworkTrainer, step, stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    states = sorted((tmp_path / "stopped" / "run" / "first").iterdir())
    assert states[-1].name == "checkpoint-20"
    if lost == "the best state":  # another machine, which does not see the lock, may remove it
        best = json.loads((states[-1] / "trainer_state.json").read_text())["best_model_checkpoint"]
        shutil.rmtree(best)
    assert run() == (whole.scores, whole.validation, whole.curve, whole.steps)


@pytest.mark.parametrize("fails_in", ["start", "eval"])
def test_a_state_that_cannot_be_written_is_a_storage_error(tmp_path: Path, fails_in: str) -> None:
    """A file blocks the folder from the start, or before the first state is written."""

    def obstruct() -> None:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").touch()

    class Fails(Line):
        def eval(self) -> Fails:
            obstruct()
            return super().eval()

    if fails_in == "start":
        obstruct()
    with raises_code("cannot-write", str(tmp_path / "run")):
        training(tmp_path).run(lambda: network(Line() if fails_in == "start" else Fails()))


def test_defaults_of_another_framework_are_repaired_and_noted() -> None:
    model = IMAGE_MODELS["mobilenet_v2"]()
    model.dropout = nn.Dropout(0.8)
    model.conv_stem.requires_grad_(False)
    notes = repaired(model)
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    assert model.dropout.p == pytest.approx(0.2)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert [note.code for note in notes] == ["batch-norm-momentum", "dropout-rate", "frozen-weights"]
    assert [value in note.text for value, note in zip(("0.997", "0.8", "9"), notes, strict=True)] == [True] * 3
    assert repaired(model) == []
    usual = nn.BatchNorm2d(2, momentum=0.5), nn.BatchNorm2d(2, momentum=None), nn.Dropout(0.7)
    assert repaired(nn.Sequential(*usual)) == []


def test_default_epochs_and_batch_sizes_depend_on_the_task() -> None:
    written = ["text-generation", "summarization", "translation", "image-text-to-text", "preference"]
    seen = ["image-classification", "image-regression", "image-to-text", "visual-question-answering"]
    epochs = {2: ["text-ranking"], 3: [*written, "text-retrieval"], 10: [*seen, "audio-classification"]}
    epochs[20] = ["referring-expression", "automatic-speech-recognition"]
    batches = {8: [*written, "automatic-speech-recognition"], 64: ["text-retrieval"]}
    for task in TASKS.built_in.values():
        recipe = recipe_for(Options.of("d", confirm=1).training, head_of(task), None)
        assert recipe.epochs == next((count for count, tasks in epochs.items() if task.id in tasks), 5), task.id
        assert recipe.batch_size == next((rows for rows, tasks in batches.items() if task.id in tasks), 32), task.id
        assert head_of(task).inputs_per_row == 1 + (task.id in ("text-retrieval", "preference")), task.id


def test_defaults_depend_on_task_size_and_budget() -> None:
    rates = {size: default_rates(size) for size in (None, 1, 10_000_000, 10_000_001, 50_000_000, 50_000_001, 10**12)}
    small, medium, large = (5e-4, 2e-3), (1e-4, 4e-4), (2e-5, 1e-4)
    assert [*rates.values()] == [small, small, small, medium, medium, large, large]
    assert default_rates(10_000_001, "lora") == (1e-3, 4e-3)
    sizes = (10_000_000, 10_000_001, 300_000_000, 300_000_001)
    embeddings = [default_rates(size, embeddings=True) for size in sizes]
    assert embeddings == [(1e-3, 3e-3), (1e-4, 3e-4), (1e-4, 3e-4), (2e-5, 1e-4)]
    short = (10**7, "full", 1e-3), (5 * 10**7, "full", 3e-4), (3 * 10**8, "full", 5e-5), (3 * 10**8 + 1, "lora", 2e-4)
    for size, method, rate in short:
        assert short_recipe(size) == Recipe(method, 3, None, (rate,), (0,), batch_size=8)
    assert default_rates(None, "head") == default_rates(10**12, "head") == (1e-3, 1e-2)
    texts, images = (head_of(get_task(f"{inputs}-classification")) for inputs in ("text", "image"))
    # A run ends after half of its epochs without a better score.
    usual = [recipe_for(Options.of("d", confirm=1).training, head, None) for head in (texts, images)]
    assert [(recipe.epochs, recipe.patience) for recipe in usual] == [(5, 3), (10, 5)]
    quick = recipe_for(Options.of("d", confirm=1, budget="quick", seeds=2, seed=5).training, images, 10**8)
    assert (quick.epochs, quick.seeds, quick.runs, quick.budget) == (3, (5, 6), 3, "quick")
    assert (quick.total_steps(64), quick.total_steps(65)) == (6, 9)
    steps = recipe_for(Options.of("d", confirm=1, steps=7).training, texts, None)
    assert (steps.epochs, steps.patience, steps.total_steps(1000)) == (None, 5, 7)
    assert [recipe.length for recipe in (quick, steps)] == ["up to 3 epochs", "7 steps of 32 rows"]
    names = [TrainingJob("line", None, None, recipe, 0.05, 5).name for recipe in (quick, steps)]
    assert names == ["line, learning rate 0.05, seed 5", "line, learning rate 0.05"]
    limits = ({}, {"budget": "quick"}, {"budget": "quick", "confirm_samples": 20})
    assert [max_rows(Options.of("d", confirm=1, **limit).training) for limit in limits] == [None, 1000, 20]


def test_metrics_follow_their_definitions() -> None:
    answers, right = ["a", "a", "b", "c"], ["a", "b", "b", "b"]
    assert accuracy(answers, right) == 0.5
    assert macro_f1(answers, right) == pytest.approx((2 / 3 + 0.5 + 0) / 3)
    several, references = [("a",), ("a", "b"), ()], [("a",), ("a",), ("b",)]
    assert accuracy(several, references) == pytest.approx(1 / 3)
    assert micro_f1(several, references) == pytest.approx(2 * 2 / (3 + 3))
    assert r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1
    assert micro_f1([()], [()]) == macro_f1([()], [()]) == 0
    assert r2([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == r2([1.0], [1.0]) == 0
    assert r2([1.0, 2.0], [1.0, 2.0]) == 1
    assert spearman([1.0, 20.0, 3.0], [1.0, 3.0, 2.0]) == 1
    assert spearman([1.0, 1.0], [1.0, 2.0]) == spearman([1.0, 2.0], [1.0, 1.0]) == 0


@pytest.mark.parametrize(
    ("gained", "lost", "helped", "is_within"),
    [(2, 0, True, False), (3, 2, True, True), (0, 0, False, False), (0, 1, False, False)],
)
def test_training_has_helped_if_validation_rows_say_so(gained: int, lost: int, helped: bool, is_within: bool) -> None:
    references, groups = ["a"] * 20, np.arange(20, dtype=np.uint64)
    before = ["a"] * 10 + ["b"] * 10
    after = ["b"] * lost + before[lost : -gained or None] + ["a"] * gained
    untrained, trained = (measure(ACCURACY, answers, references, groups) for answers in (before, after))
    has, note = has_helped(ACCURACY, untrained, trained)
    assert (has, note.code) == (helped, "training-helped" if helped else "training-did-not-help")
    assert f"accuracy 50.0 before, {50 + 5 * (gained - lost)}.0 after" in note.text
    assert ("within a standard error" in note.text) == is_within


def test_the_standard_error_of_a_share_is_binomial() -> None:
    def error(rows: int, share: float) -> float:
        answers = ["a" if row < share * rows else "b" for row in range(rows)]
        return measure(ACCURACY, answers, ["a"] * rows, np.arange(rows, dtype=np.uint64)).stderr

    assert error(200, 0.92) == pytest.approx((0.92 * 0.08 / 200) ** 0.5, rel=0.01)
    assert error(20_000, 0.75) == pytest.approx((0.25 * 0.75 / 20_000) ** 0.5, rel=0.5)
    some, all_right = np.arange(489, dtype=np.uint64), ["a"] * 489
    assert len(measure(ACCURACY, all_right, all_right, some).without_part) == 286  # hashes fill 286 of 408 parts
    right, answers = ["a"] * 4, ["a", "a", "b", "a"]
    # Without each of the four groups, 2/3, 2/3, 1 and 2/3 are right.
    groups = np.array([0, 1, 2, 5], np.uint64)
    assert measure(ACCURACY, answers, right, groups).stderr == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert measure(ACCURACY, answers[1:], right[1:], np.zeros(3, np.uint64)).stderr == 0
    # With the same number of parts and groups, each group is a part.
    many, said = np.arange(30, dtype=np.uint64), ["a"] * 21 + ["b"] * 9
    assert len(measure(ACCURACY, said * 9, ["a"] * 270, np.arange(270, dtype=np.uint64), max_rows=0).without_part) == 20
    exact = measure(ACCURACY, said, ["a"] * 30, many, max_rows=30 * 30)
    assert exact.stderr == pytest.approx((0.7 * 0.3 / 29) ** 0.5)
