"""What is finished is shown and saved before it is published and pushed, and a failed step loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.publish import card_text
from hf_emms.ranking import Ranking
from hf_emms.run.delivery import deliver
from tests.finetune.make import colours, ranking, save
from tests.helpers.cli import GOOD
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.rankings import example, without_times
from tests.helpers.tiny_checkpoints import build
from tests.hub import Hub
from tests.hub.fixtures import run_client
from tests.hub.population import populate

__all__ = ["cli", "home", "hub"]

RANK = ["rank", "--dataset", "demo_fashion", "--max-samples", "60", "-e", "demo", "--estimator", "emms", "-c", GOOD]
RECOMMEND = ["recommend", "--dataset", "demo_fashion", "-e", "demo", "--max-params", "1M", "--max-samples", "60"]
RECOMMEND += ["--candidates", "2", "--estimator", "emms", "--confirm", "1"]
TRAIN = ["--steps", "2", "--learning-rate", "0.01", "--confirm-samples", "60"]


@pytest.fixture
def token(hub: Hub) -> str:
    return hub.token(user="ada")


@pytest.fixture(scope="module")
def listed(hub: Hub) -> Hub:
    populate(hub.store, 12, micro=3)
    return hub


def test_a_failed_upload_loses_no_recommendation(
    listed: Hub, cli: CommandLine, home: Path, token: str, tmp_path: Path
) -> None:
    listed.fail("POST /api/models/ada/best/commit/*", 403)
    file, words = tmp_path / "ranking.json", [*RECOMMEND, *TRAIN, "--push-model-to", "ada/best", "--yes"]
    done = cli.run(*words, "--format", "json", "-o", file, token=token)
    assert done.code == 1
    assert Ranking.from_json(done.out) == Ranking.load(file)
    assert Ranking.load(file).best.fine_tuned is not None
    folder = home / "emms" / "fine-tuned" / "ada--best"
    assert f"hf upload ada/best {folder} . --private" in done.err
    assert (folder / "model.safetensors").is_file()


def test_a_failed_upload_loses_no_ranking_in_python(hub: Hub, home: Path, token: str) -> None:
    hub.fail("POST /api/models/ada/python/commit/*", 403)
    code = f"""
        import json, warnings, hf_emms
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ranking = hf_emms.rank(
                "demo_fashion", {GOOD!r}, max_samples=60, encoders="demo", estimators="emms", confirm=1, steps=2,
                learning_rates=0.01, confirm_samples=60, push_model_to="ada/python", progress=False,
            )
        texts = [str(each.message) for each in caught]
        print(json.dumps([ranking.best.fine_tuned.value, ranking.notes[-1].code, any("hf upload" in t for t in texts)]))
    """
    value, note, is_named = run_client(hub, code, home, HF_TOKEN=token)
    assert value is not None
    assert (note, is_named) == ("model-not-delivered", True)


def test_a_repeated_recommendation_in_a_time_saves_its_model(listed: Hub, cli: CommandLine, tmp_path: Path) -> None:
    words = [*RECOMMEND, *TRAIN, "--save-model", tmp_path / "best"]
    for time in ("1h", "1h", "2h"):
        done = cli.run(*words, "--time", time)
        assert done.code == 0, done.err
        assert (tmp_path / "best" / "model.safetensors").is_file()


def test_a_ranking_that_cannot_be_published_is_printed_and_saved(
    hub: Hub, cli: CommandLine, token: str, tmp_path: Path
) -> None:
    hub.fail("POST /api/datasets/ada/results/commit/*", 403)
    file = tmp_path / "ranking.json"
    words = [*RANK, "--confirm", "1", *TRAIN, "--save-model", tmp_path / "best", "--results-repo", "ada/results"]
    done = cli.run(*words, "--yes", "--format", "json", "-o", file, token=token)
    assert done.code == 1
    assert Ranking.from_json(done.out) == Ranking.load(file)
    assert f"hf-emms publish results --repo-id ada/results --ranking {file}" in done.err
    assert (tmp_path / "best" / "model.safetensors").is_file()
    rest = ["publish", "results", "--repo-id", "ada/results", "--ranking", file, "--yes"]
    assert cli.run(*rest, token=token).code == 0


def test_results_are_published_only_with_rights_and_consent(hub: Hub, cli: CommandLine, token: str) -> None:
    sweep = ["sweep", "--datasets", "demo_fashion", "--max-samples", "60", "-e", "demo", "-c", GOOD]
    for words in (RANK, sweep, RECOMMEND[:-2]):
        asked = cli.run(*words, "--results-repo", "ada/asked", token=token)
        assert (asked.code, asked.out, "--yes" in asked.err) == (1, "", True)
        refused = cli.run(*words, "--results-repo", "grace/results", "--yes", token=token)
        assert (refused.code, refused.out, "belongs to 'grace'" in refused.err) == (1, "", True)
    assert ("dataset", "ada/asked") not in hub.store.repos


def test_an_output_that_becomes_unwritable_is_in_the_cache(cli: CommandLine, home: Path, tmp_path: Path) -> None:
    done = cli.run(*RANK, "--format", "json", "-o", _full(tmp_path))
    assert done.code == 1
    assert Ranking.from_json(done.out).best is not None
    (file,) = [word for word in done.err.split() if word.startswith(str(home)) and word.endswith(".json")]
    assert cli.run("merge", file, "-o", tmp_path / "again.json").code == 0
    assert without_times(Ranking.load(tmp_path / "again.json")) == without_times(Ranking.from_json(done.out))


def _full(folder: Path) -> Path:
    """Return a file on a device without space."""
    (folder / "full.json").symlink_to("/dev/full")
    return folder / "full.json"


def test_a_model_whose_card_cannot_be_rendered_is_saved(
    emms_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, checkpoint = save(colours(60), tmp_path / "colours"), str(build(tmp_path, "resnet"))
    ranked = ranking(data, "image-classification", {}, {checkpoint: -0.1})
    monkeypatch.setattr(card_text, "_environment", _without_templates(tmp_path))
    with pytest.warns(UserWarning, match="card"):
        done = hf_emms.confirm(ranked, save_model=str(tmp_path / "best"), steps=2, learning_rates=0.01)
    assert done.best.fine_tuned is not None
    assert done.notes[-1].code == "model-not-delivered"
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert not (tmp_path / "best" / "README.md").exists()


def _without_templates(folder: Path):  # type: ignore[no-untyped-def]
    import jinja2

    return lambda: jinja2.Environment(loader=jinja2.FileSystemLoader(folder))


def test_every_step_is_done_and_every_error_is_reported() -> None:
    done: list[str] = []

    def failing(name: str, error: Exception):  # type: ignore[no-untyped-def]
        def call() -> list[Path]:
            done.append(name)
            raise error

        return call

    with pytest.raises(EmmsError) as raised:
        deliver(
            [example()],
            print,
            show=failing("show", EmmsError("first", "a", "command a")),
            save=failing("save", OSError(28, "No space left on device")),
            training=Options.of("x", confirm=1).training,
            keep_model=failing("keep", EmmsError("last", "c", "command c")),
        )
    assert done == ["show", "save", "keep"]
    assert raised.value.code == "first"
    assert "No space left" in raised.value.message
    assert "command a" in str(raised.value.hint)
    assert "command c" in str(raised.value.hint)
