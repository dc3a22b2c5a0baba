"""From the whole Hub to one checkpoint: the stages, interruptions, and a time that is too short."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.records import FunnelStage
from hf_emms.ranking.text import funnel_lines
from hf_emms.ranking.verdict import verdict
from hf_emms.run.funnel_plan import CONFIRM, FIRST, SECOND, Forecast, Forecasts
from hf_emms.run.plan import make_plan
from hf_emms.run.rank import run_plan
from hf_emms.run.recommend import Recommendation, may_be_among_best, share_in_time
from tests.helpers.cli import GOOD, POOR, program
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import cli, commands, home
from tests.helpers.rankings import emms_score, example
from tests.helpers.samples import load_sample
from tests.helpers.waiting import eventually
from tests.hub import Hub, running_hub
from tests.hub.fixtures import client_environment
from tests.hub.population import populate

__all__ = ["cli", "home"]

ENCODER = "emms-demo/encoder-minilm-static"
WORDS = ["recommend", "--dataset", "demo_fashion", "-e", ENCODER, "--max-params", "1M", "--max-samples", "600"]
SMALL = [*WORDS, "--candidates", "5", "--estimator", "emms"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Sixty repositories, of which six can be ranked, and one has damaged weights."""
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        damaged, *_ = populate(running.store, 60, micro=6)
        content = running.store.read(damaged, "model.safetensors")
        running.store.put_files(damaged, {"model.safetensors": content[: len(content) // 2]})
        yield running


def test_stages_end_with_a_ranking_of_all_rows(hub: Hub, cli: CommandLine) -> None:
    done = cli.run(*SMALL, "--format", "json")
    assert done.code == 0, done.err
    last = Ranking.from_json(done.out)
    listed, prior, first, second = last.funnel
    assert [stage.name for stage in last.funnel] == ["list", "prior", FIRST, SECOND]
    assert [stage.rows for stage in last.funnel] == [None, None, 300, 600]
    assert (listed.kept, prior.entered, prior.kept, first.entered) == (6, 6, 5, 5)
    assert first.left_out["failed"] == 1
    assert second.entered == first.kept == len(last.rows)
    assert last.n == 600
    for row in last.rows:
        assert hub.store.repo(row.checkpoint).resolve("main").sha == row.revision
        assert (row.license, row.downloads) == ("mit", hub.store.repo(row.checkpoint).downloads)
    assert all(line in done.err for line in funnel_lines(last.funnel[:2]))

    lists = hub.count("GET /api/models")
    again = cli.run(*SMALL, "--format", "json")
    assert hub.count("GET /api/models") == lists
    repeated = Ranking.from_json(again.out)
    assert [row.cached for row in repeated.rows] == ["row"] * len(last.rows)
    assert [row.scores for row in repeated.rows] == [row.scores for row in last.rows]
    assert cli.run(*SMALL, "--no-resume", "--dry-run").code == 0
    assert hub.count("GET /api/models") > lists
    fewer = json.loads(cli.run(*SMALL, "--candidates", "4", "--dry-run", "--format", "json").out)
    assert fewer[1]["kept"] == 4


def test_dry_run_prints_the_funnel(cli: CommandLine, home: Path) -> None:
    before = {*home.glob("emms/rows/*")}
    done = cli.run(*SMALL, "--seed", "1", "--confirm", "2", "--dry-run")
    assert done.code == 0, done.err
    names = [line.partition(":")[0] for line in done.out.splitlines()]
    assert [name for name in names if not name.startswith("planned")] == ["list", "prior", FIRST, SECOND, CONFIRM]
    as_json = cli.run(*SMALL, "--seed", "1", "--confirm", "2", "--dry-run", "--format", "json")
    assert [stage["name"] for stage in json.loads(as_json.out)] == ["list", "prior", FIRST, SECOND, CONFIRM]
    assert {*home.glob("emms/rows/*")} == before


def test_a_time_that_is_too_short_has_an_answer(cli: CommandLine) -> None:
    done = cli.run(*WORDS, "--estimator", "emms", "--seed", "2", "--time", "1s", "--format", "json")
    assert done.code == 0, done.err
    last = Ranking.from_json(done.out)
    assert last.best is not None
    assert last.funnel[-1].name == FIRST
    assert sum(stage.left_out.get("no time", 0) for stage in last.funnel) > 0


def test_a_slow_network_has_fewer_candidates(hub: Hub, tmp_path: Path) -> None:
    words = [*WORDS, "--time", "10m", "--dry-run", "--format", "json"]
    with commands(hub, tmp_path) as cli:  # without downloads in its cache
        fast, slow = (json.loads(cli.run(*words, "--bandwidth", size).out)[1] for size in ("1GB", "2KB"))
    assert "no time" not in fast["left_out"]
    assert slow["kept"] == fast["kept"] - slow["left_out"]["no time"]


def test_filters_that_leave_nothing_are_an_error(cli: CommandLine) -> None:
    done = cli.run(*WORDS, "--license", "no-such-license")
    assert (done.code, done.out) == (1, "")
    assert "other license" in done.err


# ---- decisions -------------------------------------------------------------------------------------------------------


def test_candidates_fit_into_the_time() -> None:
    forecasts = Forecasts({f"a/{place}": Forecast(10.0, 20.0) for place in range(40)}, 300, 5000, 0)
    order = [*forecasts.by_id]
    assert forecasts.fitting(order, math.inf) == order
    chosen = forecasts.fitting(order, 400.0)
    assert chosen == order[:24]  # 24 × 10 s, and 8 × 20 s for the second pass
    assert forecasts.fitting(order, 1.0) == order[:2]
    # A slow candidate is left out, and does not keep others out.
    slow = replace(forecasts, by_id={**forecasts.by_id, "a/3": Forecast(1000.0, 9000.0)})
    assert "a/3" not in slow.fitting(order, 400.0)
    assert len(slow.fitting(order, 400.0)) == 24


def test_fine_tuning_reserves_at_most_half_of_the_time() -> None:
    forecasts = Forecasts({f"a/{place}": Forecast(10.0, 0.0, 1000.0) for place in range(40)}, 300, 300, 2)
    assert len(forecasts.fitting([*forecasts.by_id], 200.0)) == 10
    assert forecasts.reserved([*forecasts.by_id], 200.0)[CONFIRM] == 100.0


def test_late_second_pass_has_fewer_checkpoints_and_then_fewer_rows() -> None:
    assert share_in_time([10.0] * 8, math.inf) == (8, 1.0)
    assert share_in_time([10.0] * 8, 45.0) == (4, 1.0)
    assert share_in_time([10.0] * 8, 5.0) == (2, 0.25)
    assert share_in_time([10.0] * 8, -5.0) == (2, 0.0)


class Busy:
    """An executor that runs only its first unit."""

    def __init__(self) -> None:
        self.units: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        unit: Future[Any] = Future()
        if not self.units:
            unit.set_result(function(*arguments))
        self.units.append(unit)
        return unit


@pytest.mark.parametrize("executor", [None, Busy()], ids=["worker", "executor"])
def test_a_ranking_that_is_late_ends_after_its_first_score(executor: Busy | None, emms_cache: Path) -> None:
    settings: dict[str, Any] = {"encoders": (ENCODER,), "estimators": ("emms",), "max_samples": 60}
    plan = make_plan(Options.of("demo_fashion", checkpoints=(GOOD, POOR), **settings), Progress())
    late = run_plan(plan, executor, until=0.0)
    assert [row.error for row in late.rows] == [None]
    assert executor is None or [unit.cancelled() for unit in executor.units] == [False, True]


def test_second_pass_gets_what_two_standard_errors_do_not_separate() -> None:
    folds = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    levels = {"a/first": (-0.50, folds), "a/near": (-0.505, -folds), "a/far": (-0.9, folds), "a/last": (-0.95, folds)}
    rows = [
        Row(name, rank=rank, scores={"emms": emms_score(*(level + noise))})
        for rank, (name, (level, noise)) in enumerate(levels.items(), 1)
    ]
    ranking = example(rows=tuple(rows), estimators=("emms",))
    assert [row.checkpoint for row in may_be_among_best(ranking, 1)] == ["a/first", "a/near"]
    assert [row.checkpoint for row in may_be_among_best(ranking, 2)] == ["a/first", "a/near"]
    assert [row.checkpoint for row in may_be_among_best(ranking, 3)] == ["a/first", "a/near", "a/far"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"checkpoints": ["a/b"]}, "setting-without-effect"),
        ({"part": "1/2"}, "setting-without-effect"),
        ({"candidates": 1}, "invalid-value"),
        ({"candidates": "many"}, "wrong-type"),
        ({"license": None}, "wrong-type"),
        ({"language": 3}, "wrong-type"),
        ({"gated": "yes"}, "wrong-type"),
        ({"time": 30}, "wrong-type"),
        ({"time": "soon"}, "invalid-value"),
        ({"bandwidth": "fast"}, "invalid-value"),
        ({"models": 3}, "unknown-argument"),
    ],
)
def test_wrong_arguments_are_errors(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(EmmsError) as caught:
        hf_emms.recommend("demo_fashion", **arguments)
    assert caught.value.code == code


def test_small_sample_is_a_part_of_the_large_one() -> None:
    for dataset in ("demo_fashion", "demo_glosses", "demo_captions", "demo_words"):
        for sampling in (None, "proportional") if dataset in ("demo_fashion", "demo_glosses") else (None,):
            small, large = (load_sample(dataset, max_samples=rows, sampling=sampling, seed=3) for rows in (100, 350))
            assert {*map(_content, small.inputs)} < {*map(_content, large.inputs)}, dataset


def _content(value: Any) -> Any:
    return value.tobytes() if hasattr(value, "tobytes") else value


def test_recommendation_shows_its_last_ranking() -> None:
    stages = (FunnelStage("list", 100, 10, 1.0, left_out={"gated": 90}), FunnelStage(FIRST, 10, 1, 60.0, rows=300))
    last = example(funnel=stages)
    made = Recommendation({FIRST: example(), SECOND: last})
    assert (made.ranking, made.stages, made.best) == (last, stages, last.best)
    assert made.verdict.checkpoint == last.best.checkpoint
    text = str(made)
    assert text.index("list: 100 checkpoints") < text.index("first pass: 10") < text.index(last.rows[0].checkpoint)
    assert Ranking.from_json(last.to_json()).funnel == stages


# ---- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_interrupted_in_each_stage_it_gives_the_same_answer(tmp_path: Path) -> None:
    words = [*WORDS, "--candidates", "12", "--time", "1h", "--confirm", "2", "--steps", "10", "--format", "json"]
    with running_hub(tmp_path / "hub") as hub:
        populate(hub.store)
        home = tmp_path / "interrupted"

        def finished(pattern: str) -> int:
            return len([*home.glob(f"emms/{pattern}")])

        stops: dict[str, Callable[[], Any]] = {
            "list": lambda: hub.count("GET /api/models") > 1,
            FIRST: lambda: finished("rows/*.json") > 2,
            SECOND: lambda: finished("rows/*.json") > 12,
            CONFIRM: lambda: finished("finetunings/*"),
        }
        for name, reached in stops.items():
            environment = client_environment(hub, home)
            process = subprocess.Popen(program(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            eventually(lambda: reached() or process.poll() is not None)  # noqa: B023 (called at once)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            assert (process.returncode, out) == (130, b""), (name, err.decode())
        lists = hub.count("GET /api/models")
        answers = []
        for folder in (home, tmp_path / "whole"):
            environment = client_environment(hub, folder)
            done = subprocess.run(program(*words), env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            answers.append(Ranking.from_json(done.stdout))
            if folder == home:  # the candidates of the interrupted run
                assert hub.count("GET /api/models") == lists
        continued, whole = answers
        assert [row.checkpoint for row in continued.rows] == [row.checkpoint for row in whole.rows]
        assert [row.scores for row in continued.rows] == [row.scores for row in whole.rows]
        assert [row.fine_tuned and row.fine_tuned.value for row in continued.rows] == [
            row.fine_tuned and row.fine_tuned.value for row in whole.rows
        ]
        assert verdict(continued) == verdict(whole)
        assert [stage.name for stage in whole.funnel] == ["list", "prior", FIRST, SECOND, CONFIRM]
        assert whole.funnel[0].entered == 5000
