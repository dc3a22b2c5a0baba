"""hf-emms search: candidates on the Hub that can be ranked, without downloading any."""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load, save

import hf_emms
from hf_emms.cli.search_command import search as search_command
from hf_emms.presets import demo
from hf_emms.tasks import TASKS
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, commands, home
from tests.helpers.quick_python import python
from tests.helpers.space import of_rows, scored
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
                "bob/unread": vit,
                "bob/other-task": checkpoint("vit-random", "depth-estimation"),
                "bob/flax": flax,
            }.items()
        ):
            running.store.put_files(id, files, downloads=max(1000 - 100 * place, 0), likes=place)
        running.store.repo("bob/gated").gated = "auto"
        running.store.repo("bob/unread").headers_read = False
        running.page_size = 2
        yield running


def search(cli: CommandLine, *arguments: str) -> Done:
    """All that can be used, in the Hub's order."""
    return pool(cli, "--no-fold", "--no-diverse", *arguments)


def pool(cli: CommandLine, *arguments: str) -> Done:
    done = cli.run("search", "--task", "image-classification", *arguments)
    assert done.code == 0, done.err
    return done


def ids(done: Done) -> list[str]:
    return done.out.split()


def test_ids_on_stdout_and_skipped_checkpoints_with_reasons_on_stderr(hub: Hub, cli: CommandLine) -> None:
    began = len(hub.requests)
    done = search(cli)
    # The most downloaded first, backbones among them.
    assert ids(done) == ["ada/vit", "ada/backbone", "ada/pickled", "bob/fallback", "bob/timm", "bob/unread"]
    for id, reason in {
        "ada/text": "bert does not read images",
        "bob/flax": "no weights for PyTorch",
        "bob/no-config": "no config.json",
        "bob/new": "does not know the architecture 'tomorrow'",
        "bob/gated": f"gated: accept its terms at {hub.url}/bob/gated, then hf auth login",
    }.items():
        assert any(line.startswith(f"skipped {id}: ") and reason in line for line in done.err.splitlines()), id
    assert "6 found, 5 skipped" in done.err
    assert "skipped" not in search(cli, "--quiet").err
    # If the Hub does not report a size, it is read from the header: a Range of the file's first 100 KB.
    weights = [entry for entry in hub.requests[began:] if "/cdn/" in entry.path]
    assert {entry.path.partition("/models/")[2] for entry in weights} == {"bob/unread/model.safetensors"}
    assert {entry.range for entry in weights} == {"bytes=0-100000"}


def test_sizes_from_several_sources_are_compared(cli: CommandLine) -> None:
    rows = json.loads(search(cli, "--format", "json").out)
    sizes = {row["id"]: row["parameters"] for row in rows}
    assert sizes["bob/unread"] == sizes["ada/vit"] < sizes["ada/backbone"]
    *columns, last = rows[0]
    assert (last, search(cli, "--format", "table").out.splitlines()[0].split()) == ("revision", columns)
    done = search(cli, "--max-params", f"{sizes['ada/vit'] / 1000}K")
    assert "ada/backbone" not in ids(done)
    assert {"ada/vit", "bob/unread"} <= set(ids(done))
    for tells_sizes in (done, search(cli, "--max-memory", "1GB")):
        assert "skipped ada/pickled: unknown size" in tells_sizes.err
    assert f"skipped ada/backbone: {sizes['ada/backbone']:,} parameters" in done.err


def test_filters_order_and_limit(cli: CommandLine) -> None:
    assert ids(search(cli, "--author", "ada")) == ["ada/vit", "ada/backbone", "ada/pickled"]
    assert ids(search(cli, "--text", "backbone")) == ["ada/backbone"]
    assert ids(search(cli, "--limit", "1")) == ["ada/vit"]
    assert ids(search(cli, "--min-downloads", "700")) == ["ada/vit", "ada/backbone", "ada/pickled"]
    assert ids(search(cli, "--sort", "likes", "--limit", "2")) == ["bob/unread", "bob/timm"]
    done = search(cli, "--sort", "likes", "--min-downloads", "800")
    assert ids(done) == ["ada/backbone", "ada/vit"]
    assert "skipped bob/flax: 0 downloads" in done.err
    assert ids(search(cli, "--filter", "pictures", "--library", "transformers", "--limit", "1")) == ["ada/vit"]
    assert ids(search(cli, "--filter", "drawings")) == []
    assert ids(search(cli, "--pipeline-tag", "depth-estimation")) == ["bob/other-task"]


def test_search_in_python_equals_the_command(hub: Hub, cli: CommandLine, tmp_path: Path) -> None:
    code = """
    import hf_emms, json

    dropped = []
    pool = hf_emms.search("image-classification", author="ada", max_params="100K", sort="likes", fold=False,
                          library="transformers", on_dropped=lambda id, reason: dropped.append(id))
    reasons = {}
    plain = hf_emms.search("image-classification", sort="likes", on_dropped=reasons.__setitem__)
    errors = []
    for wrong in ({"sort": "size"}, {"limit": "many"}, {"benchmark": "a/b", "results": "c/d"}, {"max_params": "lots"}):
        try:
            hf_emms.search("image-classification", **wrong)
        except hf_emms.EmmsError as error:
            errors.append(str(error))
    print(json.dumps([[model.id for model in pool], dropped, [model.id for model in plain], reasons, errors]))
    """
    pool, dropped, plain, reasons, errors = run_client(hub, code, tmp_path)
    assert plain == ["bob/unread", "ada/backbone", "ada/pickled"]
    assert reasons["bob/flax"] == "no weights for PyTorch"
    flags = ("--author", "ada", "--max-params", "100K", "--sort", "likes", "--library", "transformers")
    assert pool == ids(search(cli, "--diverse", *flags))
    assert "ada/text" in dropped
    for error, words in zip(errors, ("sort is 'size'", "limit is 'many'", "both", "lots"), strict=True):
        assert words in error


def test_search_in_python_has_the_defaults_of_the_command() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(hf_emms.search).parameters.items()}
    expected = {"min_downloads": 0, "sort": "downloads", "limit": 20, "fold": True, "diverse": True}
    for name, default in expected.items():
        (option,) = (option for option in search_command.params if option.name == name)
        assert (option.default, defaults[name]) == (default, default)


def test_ids_can_be_piped_to_rank(hub: Hub, home: Path) -> None:
    rank = "rank --dataset demo_captions --max-samples 40 -e emms-demo/encoder-minilm-static --dry-run -q"
    emms = f'emms() {{ {" ".join(python())} -m hf_emms "$@"; }}'
    command = f"{emms}; emms search --task image-classification --limit 2 | emms {rank} --checkpoints-file -"
    environment = client_environment(hub, home)
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["ada/vit", "ada/backbone"], done.stderr


def test_invalid_size_or_task_is_refused(cli: CommandLine) -> None:
    done = cli.run("search", "--task", "image-classification", "--max-params", "much")
    assert (done.code, done.out) == (1, "")
    assert "'much' is not a number\n  → write 22000, 22K, 100M or 1.5B" in done.err
    done = cli.run("search", "--task", "juggling")
    assert all(task in done.err for task in TASKS)


# Pools


def test_diverse_search_lists_families_first_without_near_duplicates(hub: Hub, cli: CommandLine) -> None:
    done = pool(cli)
    assert ids(done) == ["ada/vit", "ada/backbone", "ada/pickled"]
    for copy in ("bob/fallback", "bob/timm", "bob/unread"):  # under other names, or of other architectures
        assert f"skipped {copy}: near-duplicate of ada/vit" in done.err
    different = ["ada/vit", "ada/backbone", "bob/fallback", "bob/timm"]
    assert ids(pool(cli, "--no-fold", "--limit", "4")) == different
    assert ids(pool(cli, "--no-fold", "--limit", "5")) == [*different, "ada/pickled"]


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, CommandLine]]:
    """Checkpoints whose cards say more."""
    files = checkpoint("vit-random", "image-classification")
    config, task = files["config.json"], "pipeline_tag: image-classification\n"
    wide = checkpoint("swin-distilled", "image-classification")
    single = save({name: tensor.astype("float32") for name, tensor in load(files["model.safetensors"]).items()})
    folder = tmp_path_factory.mktemp("cards")
    with running_hub(folder / "hub") as running:
        for place, (id, lines, weights) in enumerate(
            (
                ("ada/root", "license: mit\nlanguage: de\n", files),
                ("ada/tuned", "base_model: ada/root\ndatasets:\n- ada/flowers\n", wide),
                ("ada/again", "base_model: ada/root\nlicense: apache-2.0\n", wide),
                ("bob/single", "license: mit\n", {**files, "model.safetensors": single}),
            )
        ):
            card = f"---\n{task}{lines}---\n".encode()
            content = {**weights, "config.json": config, "README.md": card}
            results = b"- dataset: {id: ada/flowers, task_id: all}\n  value: %d\n" % (10 * place)
            if id != "ada/root":
                content[".eval_results/flowers.yaml"] = results
            running.store.put_files(id, content, downloads=1000 - place)
        running.store.put_files("ada/flowers", {"eval.yaml": b"name: Flowers\n"}, "dataset")
        with commands(running, folder) as cli:
            yield running, cli


def test_metadata_of_cards_folds_and_filters(cards: tuple[Hub, CommandLine]) -> None:
    cli = cards[1]
    done = pool(cli)
    assert ids(done) == ["ada/root", "bob/single"]
    assert "skipped ada/tuned: near-duplicate of ada/root" in done.err  # as both name their base model
    assert ids(search(cli)) == ["ada/root", "ada/tuned", "ada/again", "bob/single"]
    assert ids(search(cli, "--license", "mit")) == ["ada/root", "bob/single"]
    assert ids(search(cli, "--language", "de")) == ["ada/root"]
    assert ids(search(cli, "--trained-on", "ada/flowers")) == ["ada/tuned"]
    assert ids(search(cli, "--license", "mit", "--language", "fr")) == []


def test_memory_depends_on_the_precision_of_the_files(cards: tuple[Hub, CommandLine]) -> None:
    cli = cards[1]
    rows = {row["id"]: row for row in json.loads(search(cli, "--format", "json").out)}
    assert rows["bob/single"]["parameters"] == rows["ada/root"]["parameters"]
    assert rows["bob/single"]["memory"] == 2 * rows["ada/root"]["memory"]
    done = search(cli, "--max-memory", str(rows["bob/single"]["memory"]))  # nothing is left for the forward pass
    assert "ada/root" in ids(done)
    assert "bob/single" not in ids(done)
    assert "skipped bob/single: needs about" in done.err


def test_candidates_from_a_benchmark(cards: tuple[Hub, CommandLine]) -> None:
    hub, cli = cards
    assert ids(search(cli, "--benchmark", "ada/flowers")) == ["bob/single", "ada/again", "ada/tuned"]
    assert ids(search(cli, "--benchmark", "ada/flowers", "--license", "mit")) == ["bob/single"]
    assert ids(search(cli, "--benchmark", "ada/flowers", "--author", "ADA", "--text", "Tune")) == ["ada/tuned"]
    assert ids(search(cli, "--benchmark", "ada/flowers", "--min-downloads", "998")) == ["ada/again", "ada/tuned"]
    hub.store.create_repo("ada/plain", "dataset")
    for id, words in (("ada/none", "there is no dataset 'ada/none'"), ("ada/plain", "benchmark:official")):
        done = cli.run("search", "--task", "image-classification", "--benchmark", id)
        assert done.code == 1
        assert words in done.err


def test_candidates_from_a_results_dataset(cards: tuple[Hub, CommandLine]) -> None:
    hub, cli = cards
    rankings = (("ada/again", "ada/root", "bob/gone"), ("bob/single", "ada/again", "ada/root"))
    for place, names in enumerate(rankings):
        rows = [scored(name, -0.1 * rank, 10) for rank, name in enumerate(names, 1)]
        content = of_rows(f"data-{place}", *rows).to_json().encode()
        hub.store.put_files("ada/results", {f"rankings/{place}.json": content}, "dataset")
    found = search(cli, "--results", "ada/results")
    assert ids(found) == ["bob/single", "ada/again", "ada/root"]
    assert "skipped bob/gone: there is no model 'bob/gone'" in found.err
    done = cli.run("search", "--task", "image-classification", "--results", "a/b", "--benchmark", "c/d")
    assert done.code == 2
