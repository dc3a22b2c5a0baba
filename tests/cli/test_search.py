"""hf-emms search: candidates on the Hub that can be ranked, without downloading any."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load, save

from hf_emms.presets import demo
from hf_emms.tasks import TASKS
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, commands, home
from tests.helpers.quick_python import python
from tests.hub import Hub, running_hub
from tests.hub.fixtures import client_environment, run_client

__all__ = ["cli", "home"]


def checkpoint(name: str, task: str, **more: bytes) -> dict[str, bytes]:
    folder = demo.folder_of(demo.DEMO_PREFIX + name)
    assert folder is not None
    card = f"---\npipeline_tag: {task}\nlibrary_name: transformers\ntags:\n- pictures\n---\n".encode()
    return {**{path.name: path.read_bytes() for path in folder.iterdir()}, "README.md": card, **more}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Checkpoints that can be used and such that cannot, the most downloaded first."""
    own, backbone = "image-classification", "image-feature-extraction"
    vit = checkpoint("vit-random", own)
    pickled = {"pytorch_model.bin" if name == "model.safetensors" else name: vit[name] for name in vit}
    without = {name: vit[name] for name in vit if name != "config.json"}
    flax = {"flax_model.msgpack" if name == "model.safetensors" else name: vit[name] for name in vit}
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        for place, (id, files) in enumerate(
            {
                "ada/vit": vit,
                "ada/text": checkpoint("bert-random", own),
                "ada/backbone": checkpoint("resnet-distilled", backbone),
                "ada/pickled": pickled,
                "bob/no-config": without,
                "bob/new": {**vit, "config.json": b'{"model_type": "tomorrow"}'},
                "bob/fallback": {**vit, "config.json": b'{"model_type": "levit"}'},
                "bob/timm": {**vit, "config.json": b'{"architecture": "resnet18", "pretrained_cfg": {}}'},
                "bob/gated": vit,
                "bob/other-task": checkpoint("vit-random", "depth-estimation"),
                "bob/flax": flax,
            }.items()
        ):
            running.store.put_files(id, files, downloads=max(1000 - 100 * place, 0), likes=place)
        running.store.repo("bob/gated").gated = "auto"
        yield running


def search(cli: CommandLine, *arguments: str) -> Done:
    done = cli.run("search", "--task", "image-classification", *arguments)
    assert done.code == 0, done.err
    return done


def ids(done: Done) -> list[str]:
    return done.out.split()


def test_ids_on_stdout_and_skipped_checkpoints_with_reasons_on_stderr(hub: Hub, cli: CommandLine) -> None:
    done = search(cli)
    # The most downloaded first, backbones among them; of each architecture one.
    assert ids(done) == ["ada/vit", "ada/backbone", "bob/fallback", "bob/timm", "ada/pickled"]
    for id, reason in {
        "ada/text": "bert does not read images",
        "bob/flax": "no weights for PyTorch",
        "bob/no-config": "no config.json",
        "bob/new": "does not know the architecture 'tomorrow'",
        "bob/gated": f"gated: accept its terms at {hub.url}/bob/gated, then hf auth login",
    }.items():
        assert any(line.startswith(f"skipped {id}: ") and reason in line for line in done.err.splitlines()), id
    assert not hub.count("GET /cdn/*")


def test_sizes_are_limited(cli: CommandLine) -> None:
    rows = json.loads(search(cli, "--format", "json").out)
    sizes = {row["id"]: row["parameters"] for row in rows}
    *columns, last = rows[0]
    assert (last, search(cli, "--format", "table").out.splitlines()[0].split()) == ("revision", columns)
    done = search(cli, "--max-params", f"{sizes['ada/vit'] / 1000}K")
    assert ids(done) == ["ada/vit", "bob/fallback", "bob/timm"]
    assert f"skipped ada/backbone: {sizes['ada/backbone']:,} parameters" in done.err
    assert "skipped ada/pickled: unknown size" in done.err


def test_filters_order_and_limit(cli: CommandLine) -> None:
    assert ids(search(cli, "--author", "ada")) == ["ada/vit", "ada/backbone", "ada/pickled"]
    assert ids(search(cli, "--text", "backbone")) == ["ada/backbone"]
    assert ids(search(cli, "--limit", "1")) == ["ada/vit"]
    assert ids(search(cli, "--sort", "likes")) == ["bob/timm", "bob/fallback", "ada/pickled", "ada/backbone", "ada/vit"]
    assert ids(search(cli, "--filter", "pictures", "--filter", "transformers", "--limit", "1")) == ["ada/vit"]
    assert ids(search(cli, "--filter", "drawings")) == []


def test_search_in_python_equals_the_command(hub: Hub, cli: CommandLine, tmp_path: Path) -> None:
    code = """
    import hf_emms, json

    reasons = {}
    pool = hf_emms.search("image-classification", author="ada", max_params="100K", sort="likes", tags="transformers",
                          on_dropped=reasons.__setitem__)
    errors = []
    for wrong in ({"sort": "size"}, {"limit": "many"}, {"max_params": "lots"}):
        try:
            hf_emms.search("image-classification", **wrong)
        except hf_emms.EmmsError as error:
            errors.append(str(error))
    print(json.dumps([[model.id for model in pool], reasons, errors]))
    """
    pool, reasons, errors = run_client(hub, code, tmp_path)
    flags = ("--author", "ada", "--max-params", "100K", "--sort", "likes", "--filter", "transformers")
    assert pool == ids(search(cli, *flags))
    assert "ada/text" in reasons
    for error, words in zip(errors, ("sort is 'size'", "limit is 'many'", "lots"), strict=True):
        assert words in error


def test_ids_can_be_piped_to_rank(hub: Hub, home: Path) -> None:
    rank = "rank --dataset demo_captions --max-samples 40 -e emms-demo/encoder-minilm-static --dry-run --format csv"
    emms = f'emms() {{ {" ".join(python())} -m hf_emms "$@"; }}'
    command = f"{emms}; emms search --task image-classification --limit 2 | emms {rank} --checkpoints-file -"
    environment = client_environment(hub, home)
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    ids = [line.partition(",")[0] for line in done.stdout.splitlines()[1:]]
    assert ids == ["ada/vit", "ada/backbone"], done.stderr


def test_invalid_size_or_task_is_refused(cli: CommandLine) -> None:
    done = cli.run("search", "--task", "image-classification", "--max-params", "much")
    assert (done.code, done.out) == (1, "")
    assert "'much' is not a number" in done.err
    done = cli.run("search", "--task", "juggling")
    assert all(task in done.err for task in TASKS)


def test_cards_name_licenses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = checkpoint("vit-random", "image-classification")
    config, task = files["config.json"], "pipeline_tag: image-classification\n"
    wide = checkpoint("swin-distilled", "image-classification")
    single = save({name: tensor.astype("float32") for name, tensor in load(files["model.safetensors"]).items()})
    folder = tmp_path_factory.mktemp("cards")
    with running_hub(folder / "hub") as hub, commands(hub, folder) as cli:
        for place, (id, lines, weights) in enumerate(
            (
                ("ada/root", "license: mit\n", files),
                ("bob/single", "license: mit\n", {**files, "model.safetensors": single}),
                ("bob/wide", "license: apache-2.0\n", wide),
            )
        ):
            card = f"---\n{task}{lines}---\n".encode()
            content = {**weights, "config.json": config, "README.md": card}
            hub.store.put_files(id, content, downloads=1000 - place)
        done = search(cli, "--format", "json")
        rows = {row["id"]: row for row in json.loads(done.out)}
        assert {*rows} == {"ada/root", "bob/single", "bob/wide"}
        assert ids(search(cli, "--filter", "license:mit")) == ["ada/root", "bob/single"]
        assert rows["bob/single"]["parameters"] == rows["ada/root"]["parameters"]
