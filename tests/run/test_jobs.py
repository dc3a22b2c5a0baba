"""Test rankings as Hugging Face Jobs over HTTP. The fake Hub runs the command and stores the ranking."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

import hf_emms
from hf_emms.cli.option_flags import options_from
from hf_emms.cli.rank_commands import rank
from hf_emms.cli.recommend_command import recommend
from hf_emms.options import SETTINGS, Options
from hf_emms.publish import wheel
from hf_emms.ranking import Ranking
from hf_emms.ranking.merge import path_of
from hf_emms.run import ranking_job
from hf_emms.run.ranking_job import JobSettings, job_spec, rank_argv
from tests.cache.test_keys import CHANGES
from tests.helpers.command_line import CommandLine
from tests.helpers.errors import raises_code
from tests.helpers.hub_client import hub
from tests.helpers.progress import RecordedProgress
from tests.helpers.quick_python import python
from tests.helpers.waiting import PATIENCE
from tests.hub import Hub
from tests.hub.fixtures import client_environment
from tests.hub.population import populate

__all__ = ["hub"]

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"
RESULTS = "ada/emms-results"
WORDS = ["rank", "--dataset", "demo_captions", "--max-samples", "100", "-e", "demo", "--estimator", "emms"]
JOB = ["--engine", "jobs", "--results-repo", RESULTS, "--yes"]


@pytest.fixture(scope="module")
def environment(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return client_environment(hub, tmp_path_factory.mktemp("client"), HF_EMMS_DEADLINE="60")


@pytest.fixture(scope="module")
def cli(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    running = CommandLine(environment, tmp_path_factory.mktemp("work"))
    yield running
    running.close()


@pytest.fixture
def token(hub: Hub) -> str:
    return hub.token(user="ada")


# ---- what a job is asked to do ---------------------------------------------------------------------------------


def test_the_command_of_a_job_contains_all_settings() -> None:
    of_here = {"dataset", "save_model"}
    changes = [(name, value) for name, (value, _) in CHANGES.items() if name not in of_here]
    changes += [
        ("references", "first"),
        ("label_separator", "|"),
        ("label_form", "text"),
        ("box_format", "xyxy"),
        ("max_samples", None),
    ]
    assert {*SETTINGS} - {name for name, _ in changes} == of_here | {"max_params"}
    assert rank_argv(Options.of("org/data", confirm=2, save_model="best")) == [
        "--dataset",
        "org/data",
        "--confirm",
        "2",
    ]
    requests = [
        Options.of("org/data", **{**({"confirm": 2} if SETTINGS[name].group == "Confirm" else {}), name: value})
        for name, value in changes
    ]
    for request in (*requests, Options.of("org/data", max_params="100M")):
        context = rank.make_context("rank", rank_argv(request))
        assert options_from(dict(context.params)) == request


@pytest.mark.parametrize(
    "request_",
    [
        Options.of("./folder"),
        Options.of(str(Path(__file__))),
        Options.of("org/data", checkpoints=("org/a", "/models/mine")),
        Options.of("org/data", encoders=("~/encoder",)),
        Options.of(object()),  # type: ignore[arg-type]
    ],
    ids=["folder", "file", "checkpoint", "encoder", "object"],
)
def test_a_job_cannot_read_local_names(request_: Options) -> None:
    with raises_code("not-on-hub"):
        job_spec(request_, JobSettings(RESULTS))


def test_timeouts_have_the_format_of_the_hub() -> None:
    minutes = {"90m": 90, "2h": 120, "1.5d": 2160, "30": 0.5, "90s": 1.5}
    assert {timeout: JobSettings(RESULTS, timeout=timeout).minutes for timeout in minutes} == minutes
    with raises_code("invalid-value", "'soon'"):
        JobSettings(RESULTS, timeout="soon")


def test_the_engine_of_a_job_is_its_settings() -> None:
    with raises_code("wrong-type", "JobSettings"):
        hf_emms.rank("demo_fashion", engine="jobs")  # type: ignore[arg-type]
    with raises_code("not-on-hub"):
        hf_emms.rank("./folder", engine=JobSettings(RESULTS))


# ---- over HTTP -------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_job_its_price_and_no_token(hub: Hub, cli: CommandLine, token: str) -> None:
    words, before = ["-c", POOR, "--flavor", "a10g-small", "--jobs-timeout", "90m", "--dry-run"], set(hub.jobs)
    done = cli.run(*WORDS, *JOB, *words, token=token)
    assert done.code == 0, done
    spec = json.loads(done.out)
    assert spec["command"][:2] == ["uv", "run"]
    assert spec["command"][spec["command"].index("hf-emms") + 1] == "rank"
    assert POOR in spec["command"]
    assert spec["command"][3] == f"hf-emms @ {hub.url}/datasets/{RESULTS}/resolve/main/{wheel.NAME}"
    assert (spec["flavor"], spec["timeout"], spec["secrets"]) == ("a10g-small", "90m", ["HF_TOKEN"])
    assert "1 × A10G (24 GB)" in done.err
    assert "at most 1.50 USD" in done.err
    assert token not in done.out + done.err
    assert set(hub.jobs) == before


@pytest.mark.slow
def test_a_job_returns_its_ranking(hub: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    here, there, before = tmp_path / "here.json", tmp_path / "there.json", set(hub.jobs)
    checkpoints = ["-c", POOR, "-c", GOOD, "-c", "lab/nowhere"]
    done = cli.run(*WORDS, *JOB, *checkpoints, "-o", there, token=token)
    assert done.code == 0, done
    (job,) = (job for id, job in hub.jobs.items() if id not in before)
    assert job.stage == "COMPLETED"
    assert hub.store.read(RESULTS, wheel.NAME, "dataset") == wheel.build()
    assert job.spec["secrets"] == {"HF_TOKEN": token}
    assert job.spec["timeoutSeconds"] == 7200
    assert token not in done.out + done.err + json.dumps(job.spec["command"]) + json.dumps(job.log)
    assert f"{hub.url}/jobs/ada/{job.id}" in done.err
    assert f"[2/3] {POOR}" in done.err or f"[3/3] {POOR}" in done.err
    assert cli.run(*WORDS, *checkpoints, "-o", here, token=token).code == 0
    alone, far = (Ranking.from_json(file.read_text()) for file in (here, there))
    assert [row.checkpoint for row in far.rows] == [row.checkpoint for row in alone.rows]
    for row in far.rows[:2]:
        assert row.scores["emms"].value == pytest.approx(alone.row(row.checkpoint).scores["emms"].value, abs=1e-6)
    assert far.rows[2].error


@pytest.mark.slow
def test_a_job_returns_a_recommendation(hub: Hub, cli: CommandLine, token: str) -> None:
    populate(hub.store, 30, micro=4)
    words = ["recommend", "--dataset", "demo_fashion", *WORDS[3:], "--max-params", "1M", "--candidates", "3", *JOB]
    done = cli.run(*words, "--format", "json", token=token)
    assert done.code == 0, done
    ranking = Ranking.from_json(done.out)
    assert [stage.name for stage in ranking.funnel] == ["list", "prior", "first pass"]
    assert hub.store.read(RESULTS, f"rankings/{path_of(ranking)}.json", "dataset")


def test_a_job_for_a_recommendation_has_its_flags(hub: Hub, cli: CommandLine, token: str) -> None:
    flags = ["--time", "30m", "--license", "mit", "--library", "timm", "--gated", "--max-params", "1M"]
    done = cli.run("recommend", "--dataset", "demo_captions", *flags, *JOB, "--dry-run", token=token)
    assert done.code == 0, done
    command = json.loads(done.out)["command"]
    words = command[command.index("hf-emms") + 1 :]
    context = recommend.make_context("recommend", words[1:])
    assert (words[0], context.params["time"], context.params["license"]) == ("recommend", "1800s", ("mit",))
    assert (context.params["library"], context.params["gated"], context.params["max_params"]) == ("timm", True, "1M")
    refused = cli.run("recommend", "--dataset", "demo_captions", *JOB, "--parts", "2", "--dry-run", token=token)
    assert refused.code == 1
    assert "--parts" in refused.err


def test_a_truncated_log_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job, heard = SimpleNamespace(url="hub/job"), RecordedProgress()
    monkeypatch.setattr(ranking_job.hub, "job_log", lambda job, follow=True: ["started"] if follow else lines)
    monkeypatch.setattr(ranking_job.hub, "job_stage", lambda job: (ranking_job.hub.JOB_SUCCEEDED, ""))
    lines: list[str] = []
    with raises_code("no-ranking", "hub/job"):
        ranking_job._followed(job, heard)  # type: ignore[arg-type]
    lines += ["done", "published ranking: a.json"]
    assert ranking_job._followed(job, heard) == ["a.json"]  # type: ignore[arg-type]
    assert heard.notes == ["started", "started"]


@pytest.mark.slow
def test_a_job_fine_tunes_and_uploads_the_best(hub: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    words = ["rank", "--dataset", "demo_fashion", "-c", GOOD, "--max-samples", "100", "-e", "demo"]
    words += ["--estimator", "emms", "--confirm", "1", "--steps", "3", "--learning-rate", "0.01"]
    words += ["--confirm-samples", "100", "--push-model-to", "ada/fashion", "--yes"]
    done = cli.run(*words, *JOB, "-o", tmp_path / "ranking.json", token=token)
    assert done.code == 0, done
    found = Ranking.from_json((tmp_path / "ranking.json").read_text()).best.fine_tuned
    assert (found.metric, found.runs[0].steps) == ("accuracy", 3)
    assert {"README.md", "config.json", "model.safetensors"} <= {*hub.store.paths("ada/fashion")}
    assert "--push-model-to" not in hub.store.read("ada/fashion", "README.md").decode()


def test_a_failed_job_links_to_its_log(hub: Hub, cli: CommandLine, token: str) -> None:
    done = cli.run(*WORDS, *JOB, "--estimator", "emss", token=token)
    job = list(hub.jobs.values())[-1]
    assert (done.code, done.out) == (1, "")
    assert "unknown estimator 'emss'" in done.err  # of the job's log
    assert "the job ended at ERROR: Exit code: 1" in done.err
    assert f"read its log: {hub.url}/jobs/ada/{job.id}" in done.err


def test_a_failed_job_of_several_loses_no_ranking(hub: Hub, cli: CommandLine, token: str) -> None:
    done = cli.run(*WORDS, *JOB, "-c", POOR, "--parts", "2", "--format", "json", token=token)
    assert done.code == 1
    assert POOR in [row.checkpoint for row in Ranking.from_json(done.out)]
    assert "the job ended at ERROR" in done.err


def test_impossible_jobs_are_not_started(hub: Hub, cli: CommandLine, token: str) -> None:
    started = len(hub.jobs)
    refused = {
        "the Hub has no flavor 'h9000'": (["--flavor", "h9000"], token),
        "dataset 'grace/results' belongs to 'grace'": (["--results-repo", "grace/results"], token),
        "model 'grace/best' belongs to 'grace'": (["--confirm", "1", "--push-model-to", "grace/best", "--yes"], token),
        "your token is read-only: it cannot start jobs": ([], hub.token(user="ada", role="read")),
        "you are not logged in": ([], None),
    }
    for message, (words, used) in refused.items():
        done = cli.run(*WORDS, *JOB, *words, token=used)
        assert done.code == 1
        assert message in done.err
    for status, message in {402: "billing", 503: "the Hub refused a job (503", 403: "may start jobs"}.items():
        asked = hub.count("POST /api/jobs/ada")
        hub.fail("POST /api/jobs/ada", status)
        done = cli.run(*WORDS, *JOB, token=token)
        assert done.code == 1
        assert message in done.err
        assert hub.count("POST /api/jobs/ada") == asked + 1  # it is not tried again
    assert len(hub.jobs) == started


def test_an_interrupted_command_leaves_the_job_running(hub: Hub, environment: dict[str, str], token: str) -> None:
    before = set(hub.jobs)
    interrupted = threading.Event()

    def wait() -> None:  # delays the commits of the job, but not the earlier ones of the command
        interrupted.wait(PATIENCE if set(hub.jobs) - before else 0)

    hub.fail("POST /api/datasets/ada/*/commit/*", "call", times=None, call=wait)
    program = [*python(), "-c", "from hf_emms.cli.app import main; main()", *WORDS, *JOB, "-c", POOR]
    with subprocess.Popen(
        program, env={**environment, "HF_TOKEN": token}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while "embedding" not in said:  # in the job's log
            assert process.poll() is None, said
            said += process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        said += process.communicate(timeout=PATIENCE)[1]
    (id,) = set(hub.jobs) - before
    assert process.returncode == 130
    assert f"hf jobs cancel {id} ends it" in said
    assert hub.jobs[id].stage == "RUNNING"
    interrupted.set()


def test_a_fine_tuning_job_installs_packages_and_saves_no_model() -> None:
    command = job_spec(Options.of("org/data", confirm=3), JobSettings(RESULTS)).command
    packages = ("peft", "sacrebleu", "scikit-learn", "sentence-transformers")
    assert {("--with", package) for package in packages} <= {*pairwise(command)}
    assert "--confirm" in command
    alone = job_spec(Options.of("org/data"), JobSettings(RESULTS))
    assert not {*pairwise(alone.command)} & {("--with", package) for package in packages}
    with raises_code("settings-exclude-each-other"):
        job_spec(Options.of("org/data", confirm=3, save_model="./best"), JobSettings(RESULTS))


def commits_of(hub: Hub) -> int:
    return sum(len(repo.commits) for (_, id), repo in hub.store.repos.items() if id == RESULTS)


@pytest.mark.slow
def test_parts_of_a_sweep_as_jobs_publish_one_ranking_per_dataset(
    hub: Hub, cli: CommandLine, token: str, tmp_path: Path
) -> None:
    words = ["sweep", "--datasets", "demo_captions,demo_fashion", "--max-samples", "80", "-e", "demo"]
    words += ["--estimator", "emms", "-c", GOOD, "-c", POOR]
    before, commits = set(hub.jobs), commits_of(hub)
    done = cli.run(*words, *JOB, "--parts", "2", "-o", tmp_path / "far", token=token)
    assert done.code == 0, done
    jobs = [job for id, job in hub.jobs.items() if id not in before]
    assert [job.stage for job in jobs] == ["COMPLETED"] * 2
    assert [job.spec["command"][job.spec["command"].index("--part") + 1] for job in jobs] == ["1/2", "2/2"]
    assert "2 jobs: at most " in done.err
    assert commits_of(hub) <= commits + 2 + len(jobs)  # a new dataset, the wheel, and one per job
    assert cli.run(*words, "-o", tmp_path / "near", token=token).code == 0
    far, near = (
        {ranking.dataset: ranking for ranking in map(Ranking.load, folder.rglob("*.json"))}
        for folder in (tmp_path / "far", tmp_path / "near")
    )
    assert {*far} == {*near}
    for name, ranking in near.items():
        assert [row.checkpoint for row in far[name]] == [row.checkpoint for row in ranking]
