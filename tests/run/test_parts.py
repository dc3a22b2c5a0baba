"""Test rankings in parts: each part has its own file, and merged they equal a serial run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import hf_emms
from hf_emms.options import Options
from hf_emms.presets import default_checkpoints
from hf_emms.presets.demo import folder_of
from hf_emms.ranking import Ranking
from hf_emms.ranking.progress import Progress
from hf_emms.run.plan import largest_first, make_plan
from tests.helpers.cli import Cli, cli
from tests.helpers.errors import raises_code
from tests.helpers.quick_python import python
from tests.helpers.rankings import without_times
from tests.hub import Hub, running_hub
from tests.hub.fixtures import run_client

__all__ = ["cli"]

NAMES = ("bert-distilled", "albert-distilled", "electra-distilled", "bert-random", "gpt2-random", "vit-random")
CHECKPOINTS = [f"emms-demo/{name}" for name in NAMES]
ENCODER = "emms-demo/encoder-minilm-static"
WORDS = ["--max-samples", "60", "-e", ENCODER, "--estimator", "emms"]
TEXTS = ["demo_glosses", "demo_pairs"]
FEW: dict[str, Any] = {"max_samples": 60, "encoders": ENCODER, "estimators": ["emms"]}


def test_parts_of_a_ranking_have_their_own_files_and_merge(cli: Cli, tmp_path: Path) -> None:
    named = [word for id in CHECKPOINTS for word in ("-c", id)]
    for number in (1, 2, 3):
        words = ["rank", "--dataset", TEXTS[0], *WORDS, *named, "--part", f"{number}/3"]
        assert cli(*words, "-o", tmp_path / "a.json").code == 0
    files = sorted(tmp_path.glob("*.json"))
    assert [file.name for file in files] == [f"a.part-{number}-of-3.json" for number in (1, 2, 3)]
    assert [len(Ranking.load(file)) for file in files] == [2, 2, 2]
    assert cli("merge", *files, "-o", tmp_path / "all.json").code == 0
    words = ["rank", "--dataset", TEXTS[0], *WORDS, *named, "--no-resume", "-o", tmp_path / "serial.json"]
    assert cli(*words).code == 0
    together, alone = (Ranking.load(tmp_path / name) for name in ("all.json", "serial.json"))
    assert without_times(together) == without_times(alone)


def part_files(folder: Path) -> list[Path]:
    """Return the files of three parts of three checkpoints."""
    for number in (1, 2, 3):
        part = hf_emms.rank(TEXTS[0], CHECKPOINTS[:3], part=f"{number}/3", **FEW)
        part.save(folder / f"part-{number}.json")
    return sorted(folder.glob("part-*.json"))


def test_missing_parts_are_named_in_tables_files_and_cards(cli: Cli, tmp_path: Path) -> None:
    first, second, third = part_files(tmp_path)
    merged = cli("merge", second, first, second, "-o", tmp_path / "some.json")
    (lost,) = CHECKPOINTS[2:3]
    assert merged.code == 0
    assert all("part 3/3" in text and lost in text for text in (merged.out, merged.err))
    some = Ranking.load(tmp_path / "some.json")
    assert [(part.name, part.checkpoints) for part in some.missing_parts] == [("3/3", (lost,))]
    assert [part.name for part in some.parts] == ["1/3", "2/3"]
    for text in (some.to_markdown(), some.card()):
        assert "3/3" in text
    assert "1 more" in some.card(some.best.checkpoint)
    refused = cli("merge", first, second, "-o", tmp_path / "all.json", "--require-all")
    assert (refused.code, refused.out, (tmp_path / "all.json").exists()) == (1, "", False)
    assert lost in refused.err
    assert cli("merge", third, tmp_path / "some.json", "-o", tmp_path / "all.json", "--require-all").code == 0
    whole = Ranking.load(tmp_path / "all.json")
    assert (len(whole), whole.parts, whole.missing_parts) == (3, (), ())


def test_a_part_is_not_missing_if_its_checkpoints_were_ranked_otherwise(cli: Cli, tmp_path: Path) -> None:
    first, second, _ = part_files(tmp_path)
    hf_emms.rank(TEXTS[0], CHECKPOINTS[2], **FEW).save(tmp_path / "alone.json")
    words = ["merge", first, tmp_path / "alone.json", second, "-o", tmp_path / "all.json", "--require-all"]
    assert cli(*words).code == 0
    assert not Ranking.load(tmp_path / "all.json").missing_parts


def test_other_rankings_do_not_merge_into_one_file(cli: Cli, tmp_path: Path) -> None:
    swept = hf_emms.sweep(TEXTS, CHECKPOINTS[:1], output=tmp_path / "parts", part="1/1", **FEW)
    assert len(swept.rankings) == 2
    refused = cli("merge", tmp_path / "parts", "-o", tmp_path / "all.json")
    assert (refused.code, (tmp_path / "all.json").exists()) == (1, False)
    assert cli("merge", tmp_path / "parts", "-o", tmp_path / "all").code == 0
    assert len([*(tmp_path / "all").rglob("*.json")]) == 2


def test_large_checkpoints_are_spread_over_parts_and_datasets(emms_cache: Path, tmp_path: Path) -> None:
    ids = default_checkpoints("image-classification")
    assert largest_first(["a", *ids, "b"]) == [*largest_first(ids), "a", "b"]
    assert largest_first(ids)[0].startswith("google/siglip-so400m")
    swept = [hf_emms.sweep(TEXTS, CHECKPOINTS[:3], output=tmp_path, part=f"{part}/2", **FEW) for part in (1, 2)]
    assert [[len(ranking) for ranking in each.rankings.values()] for each in swept] == [[2, 1], [1, 2]]
    few = [hf_emms.sweep(TEXTS[:1], CHECKPOINTS[:1], output=tmp_path, part=f"{part}/2", **FEW) for part in (1, 2)]
    assert [(len(each.rankings), each.failed) for each in few] == [(1, {}), (0, {})]


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_a_wrong_part_is_an_error(part: str) -> None:
    with raises_code("invalid-value"):
        Options.of("org/data", part=part)


def test_a_part_without_checkpoints_is_an_error(emms_cache: Path) -> None:
    with raises_code("empty-part"):
        make_plan(Options.of(TEXTS[0], checkpoints=CHECKPOINTS[:2], part="3/3", **FEW), Progress())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_parts_that_start_together_share_a_cache_and_a_folder(emms_cache: Path, tmp_path: Path) -> None:
    alone = hf_emms.sweep(TEXTS, CHECKPOINTS, output=tmp_path / "serial", resume=False, cache=False, **FEW).rankings
    for attempt in range(20):
        environment = {"HF_EMMS_CACHE": str(tmp_path / f"cache-{attempt}")}
        folder = tmp_path / f"parts-{attempt}"
        code = (
            f"import os, sys, hf_emms; os.environ.update({environment!r}); "
            f"hf_emms.sweep({TEXTS!r}, {CHECKPOINTS!r}, output={str(folder)!r}, part=sys.argv[1], **{FEW!r})"
        )
        parts = [subprocess.Popen([*python(), "-c", code, f"{number}/3"]) for number in (1, 2, 3)]
        assert [part.wait() for part in parts] == [0, 0, 0]
        files = [file.name for file in folder.rglob("*") if file.is_file()]
        assert len(files) == 6
        assert all(".part-" in name and name.endswith(".json") for name in files)
        merge = [*python(), "-c", "from hf_emms.cli.app import main; main()", "merge", str(folder)]
        subprocess.run([*merge, "-o", str(tmp_path / f"all-{attempt}")], check=True, stdout=subprocess.DEVNULL)
        found = [Ranking.load(file) for file in (tmp_path / f"all-{attempt}").rglob("*.json")]
        assert {ranking.dataset: without_times(ranking) for ranking in found} == {
            name: without_times(ranking) for name, ranking in alone.items()
        }
        assert not [*(tmp_path / f"cache-{attempt}").rglob("*.tmp*")]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        for name in ("new", "old"):
            folder = folder_of("emms-demo/bert-random")
            assert folder is not None
            running.store.put_files(f"org/{name}", {path.name: path for path in folder.iterdir()})
        yield running


DOWNLOADS = """
    import json, hf_emms
    from hf_emms.hub import cached_revisions, fetch, resolve
    fetch(resolve("org/old", "model"), ["config.json"])
    before = cached_revisions()
    few = dict(max_samples=60, encoders="emms-demo/encoder-minilm-static", estimators=["emms"], cache=False)
    kept = {}
    for workers in (None, 2):
        ranking = hf_emms.rank(
            "demo_glosses", ["org/new", "org/old"], delete_downloads=True, workers=workers, progress=False, **few
        )
        assert all(row.error is None and row.downloads is not None for row in ranking), ranking
        assert cached_revisions() == before, workers
    hf_emms.rank("demo_glosses", ["org/new"], progress=False, **few)
    print(json.dumps(len(cached_revisions() - before)))
"""


def test_only_downloads_of_this_run_are_deleted(hub: Hub, tmp_path: Path) -> None:
    assert run_client(hub, DOWNLOADS, tmp_path) == 1
