"""`push_model_to` uploads the best fine-tuned model over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hf_emms.ranking import Ranking
from tests.finetune.make import colours, ranking, save
from tests.finetune.test_response_scorer import rows
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer
from tests.hub import Hub

__all__ = ["cli", "home", "hub"]

FAST = ["--top", "1", "--epochs", "2", "--learning-rate", "0.01", "--batch-size", "8"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranking of one checkpoint, kept as a file."""
    root = tmp_path_factory.mktemp("push")
    data, checkpoint = save(colours(60), root / "colours"), str(build(root, "resnet"))
    return ranking(data, "image-classification", {}, {checkpoint: -0.1}).save(root / "ranking.json")


@pytest.fixture
def token(hub: Hub) -> str:
    return hub.token(user="ada")


def confirm(cli: CommandLine, file: Path, *words: str | Path, token: str | None) -> Done:
    return cli.run("confirm", "--ranking", file, *FAST, "--yes", *words, token=token)


@pytest.mark.slow
def test_the_uploaded_model_replaces_other_weights(
    hub: Hub, cli: CommandLine, home: Path, file: Path, token: str, tmp_path: Path
) -> None:
    weights = {"model-00001-of-00002.safetensors": b"1", "a.bin": b"2"}
    hub.store.put_files("ada/old", {**weights, "notes.txt": b"3"})
    for id, more in (("ada/colours", []), ("ada/old", ["--save-model", tmp_path / "best"])):
        done = confirm(cli, file, "--push-model-to", id, *more, token=token)
        assert done.code == 0, done
        assert f"{hub.url}/{id}/commit/" in done.err
        assert token not in done.out + done.err
        files = {*hub.store.paths(id)}
        assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"} <= files
        assert not weights.keys() & files
    assert "notes.txt" in files
    assert (tmp_path / "best" / "config.json").is_file()
    assert hub.store.repo("ada/colours", "model").private
    card = yaml.safe_load(hub.store.read("ada/colours", "README.md").decode().split("---")[1])
    assert card["model-index"][0]["name"] == "colours"
    assert not list((home / "emms" / "fine-tuned").iterdir())


def test_uploads_without_rights_are_refused_before_training(hub: Hub, cli: CommandLine, file: Path, token: str) -> None:
    refused = {
        "you are not logged in": ("ada/colours", None),
        "belongs to 'grace'": ("grace/colours", token),
        "--push-model-to ada/colours": ("colours", token),
        "'ada/red/blue' is not a Hub id": ("ada/red/blue", token),
        "your token is read-only": ("ada/colours", hub.token(user="ada", role="read")),
    }
    for message, (id, used) in refused.items():
        done = confirm(cli, file, "--push-model-to", id, token=used)
        assert (done.code, done.out) == (1, "")
        assert message in done.err
        assert "fine-tuning" not in done.err


def test_nothing_is_trained_for_an_upload_without_consent(hub: Hub, cli: CommandLine, file: Path, token: str) -> None:
    for words in (["confirm", "--ranking", file], ["rank", "--dataset", "demo_fashion", "--confirm", "1"]):
        done = cli.run(*words, "--push-model-to", "ada/asked", token=token)
        assert (done.code, done.out, "--yes" in done.err, "ada/asked" in done.err) == (1, "", True, True)
    assert ("model", "ada/asked") not in hub.store.repos


@pytest.mark.parametrize("command", ["confirm", "rank"])
def test_after_a_failed_upload_the_model_is_kept_and_the_same_command_uploads_it(
    hub: Hub, cli: CommandLine, home: Path, file: Path, token: str, tmp_path: Path, command: str
) -> None:
    """The estimators of language models are not yet known when the folder of the model is checked."""
    words: list[str | Path] = ["confirm", "--ranking", file, "--top", "1"]
    if command == "rank":
        file = tmp_path / "ranking.json"
        words = ["rank", "--dataset", save(rows(80), tmp_path / "data"), "-c", writer(tmp_path, "gpt2"), "-e", "demo"]
        words += ["--confirm", "1", "--output", file]
    id, folder = f"ada/{command}", home / "emms" / "fine-tuned" / f"ada--{command}"
    words += ["--epochs", "1", "--learning-rate", "0.01", "--push-model-to", id, "--yes"]
    hub.fail(f"POST /api/models/{id}/commit/*", 403)
    done = cli.run(*words, token=token)
    assert done.code == 1
    assert "not on the Hub" in done.err
    assert f"hf upload {id} {folder} . --private" in done.err
    assert (folder / "model.safetensors").is_file()
    assert Ranking.load(file).best.fine_tuned is not None
    other = cli.run(*words, "--seeds", "2", token=token)
    assert other.code == 1
    assert "contains a model that was not uploaded yet" in other.err
    again = cli.run(*words, token=token)
    assert again.code == 0, again
    assert "uploaded: " in again.err
    assert "trained again" not in again.err
