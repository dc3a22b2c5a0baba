"""Rankings as a dataset on a Hub over real HTTP: published, merged, read back, by many at once."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
import yaml

from hf_emms.publish.results import parquet_rows
from hf_emms.ranking import FineTuned, Ranking, Row, Seconds, ranked
from hf_emms.ranking.merge import merged, path_of
from hf_emms.ranking.text import table_cells
from hf_emms.scoring import Score
from tests.helpers.cli import program
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.rankings import example
from tests.hub import Hub
from tests.hub.fixtures import client_environment, run_client

__all__ = ["cli", "home", "hub"]

ID = "lab/emms-results"
FINE_TUNED = ("fine_tuned", "fine_tuned_spread", "fine_tuned_metric")


@pytest.fixture
def lab(hub: Hub) -> Iterator[Hub]:
    """The Hub, without the results of other tests."""
    if ("dataset", ID) in hub.store.repos:
        hub.store.delete(hub.store.repo(ID, "dataset"))
    yield hub
    hub.faults.clear()


@pytest.fixture
def token(hub: Hub) -> str:
    return hub.token(user="ada", orgs=["lab"])


def write(folder: Path, ranking: Ranking, name: str = "ranking.json") -> Path:
    file = folder / name
    file.write_text(ranking.to_json())
    return file


def with_rows(*rows: Row, **changes: object) -> Ranking:
    return example(**changes, rows=ranked(rows, "emms"))


def scored(name: str, value: float, **changes: object) -> Row:
    folds = (value, value + 0.01, value - 0.01)
    details = {"weights": [value % 1, 1 - value % 1], "r2": 0.1}
    return Row(name, "a" * 40, scores={"emms": Score(value, 0.01, folds, details)}, **changes)  # type: ignore[arg-type]


def names(ranking: Ranking) -> list[str]:
    return [row.checkpoint for row in ranking.rows]


def commits(hub: Hub) -> int:
    return len(hub.store.repo(ID, "dataset").commits)


def published(hub: Hub, ranking: Ranking) -> Ranking:
    return Ranking.from_json(hub.store.read(ID, f"rankings/{path_of(ranking)}.json", "dataset"))


# ---- where a ranking lies, and what two make together ----------------------------------------------------------


def test_the_path_tells_apart_what_cannot_be_compared_and_nothing_else() -> None:
    same = [
        example(),
        example(created="later", device="cuda", notes=(), versions={}, dataset="another name for it"),
        example(rows=example().rows[:1]),
    ]
    other = [
        example(task="image-to-text"),
        example(dataset_id="org/other"),
        example(dataset_revision="f" * 40),
        example(config="small"),
        example(split="test"),
        example(n=7),
        example(seed=1),
        example(folds=5),
        example(prompt="a photo of a {}"),
        example(encoders=example().encoders[:1]),
        example(estimators=("emms",)),
    ]
    assert len({path_of(ranking) for ranking in same}) == 1
    assert len({path_of(ranking) for ranking in [example(), *other]}) == len(other) + 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d*?", "\N{SNOWMAN}" * 300, "", "CON.", ".hidden"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    path = path_of(example(dataset_id=name, config=name, split=name, task=name))
    pieces = path.split("/")
    assert len(pieces) == 3
    assert all(piece.isascii() and not piece.startswith(".") and 0 < len(piece) < 200 for piece in pieces)
    assert not set(path) & set("\\:*? ")


def test_checkpoints_of_two_rankings_are_ranked_together() -> None:
    both = merged(with_rows(scored("org/a", 0.3)), with_rows(scored("org/b", 0.5), created="2027"))
    assert names(both) == ["org/b", "org/a"]
    assert [row.rank for row in both.rows] == [1, 2]
    weights = [encoder.weight for encoder in both.encoders]
    assert weights == pytest.approx([0.4, 0.6])


def test_the_newer_row_wins_whatever_comes_first() -> None:
    old, new = with_rows(scored("org/a", 0.3)), with_rows(scored("org/a", 0.4), created="2027")
    assert merged(old, new).rows[0].scores["emms"].value == 0.4
    assert merged(new, old).rows[0].scores["emms"].value == 0.4


def test_a_failed_row_never_replaces_a_score() -> None:
    old = with_rows(scored("org/a", 0.3))
    new = with_rows(Row("org/a", error="out of memory"), scored("org/b", 0.1), created="2027")
    both = merged(old, new)
    assert names(both) == ["org/a", "org/b"]
    assert both.rows[0].error is None
    assert merged(new, old).rows[0].error is None


def test_rows_that_a_race_stopped_say_of_how_many_rows_their_scores_are() -> None:
    both = merged(with_rows(scored("org/a", 0.3, n=200), race=1), with_rows(scored("org/b", 0.2), created="later"))
    assert both.settings["race"] is None
    header, cells = table_cells(both)
    assert {line[1]: line[header.index("rows")] for line in cells} == {"org/a": "200", "org/b": "1,034"}
    read = pq.read_table(io.BytesIO(parquet_rows(both, "x"))).to_pylist()
    assert {row["checkpoint"]: row["n"] for row in read} == {"org/a": 200, "org/b": 1034}


def test_a_setting_that_is_new_tells_rankings_apart_where_it_has_a_value() -> None:
    plain = example()
    unset, new = (example(settings=plain.settings | {"new_option": value}) for value in (None, "x"))
    assert path_of(unset) == path_of(plain) != path_of(new)
    assert merged(plain, unset) is plain


def test_times_are_no_result() -> None:
    old = with_rows(scored("org/a", 0.3))
    again = with_rows(scored("org/a", 0.3, seconds=Seconds(9, 9), cached="row"), created="2027", device="cuda")
    assert merged(old, again) is old
    assert merged(old, with_rows(scored("org/a", 0.31), created="2027")) is not old


# ---- over HTTP -------------------------------------------------------------------------------------------------


def test_a_ranking_is_published_whole_with_a_card_for_the_viewer(
    lab: Hub, cli: CommandLine, token: str, tmp_path: Path
) -> None:
    file = write(tmp_path, example())
    done = cli.run("publish", "results", "--repo-id", ID, "--ranking", file, token=token)
    assert done.code == 0, done
    assert done.out.startswith(f"{lab.url}/datasets/{ID}/commit/")
    cached = msgspec.structs.replace(
        example(), rows=tuple(msgspec.structs.replace(row, cached="none") for row in example().rows)
    )
    assert published(lab, example()) == cached
    card = lab.store.read(ID, "README.md", "dataset").decode()
    settings = yaml.safe_load(card.split("---")[1])
    assert settings["configs"][0]["data_files"] == [{"split": "train", "path": "data/**/*.parquet"}]
    assert "| [AI-Lab-Makerere/beans](" in card
    assert f"[org/best]({lab.url}/org/best)" in card


def test_an_identical_result_makes_no_commit(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    cli.run("publish", "results", "--repo-id", ID, "--ranking", write(tmp_path, example()), token=token)
    before = commits(lab)
    again = write(tmp_path, example(created="2027-01-01T00:00:00+00:00", device="cuda"))
    done = cli.run("publish", "results", "--repo-id", ID, "--ranking", again, token=token)
    assert "already" in done.err
    assert commits(lab) == before


def test_a_pull_request_adds_to_what_is_published(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    first, second = (write(tmp_path, with_rows(scored(name, 0.1)), f"{name[-1]}.json") for name in ("org/a", "org/b"))
    asked = ["publish", "results", "--repo-id", ID, "--create-pr", "--ranking"]
    assert "no dataset" in cli.run(*asked, first, token=token).err
    cli.run("publish", "results", "--repo-id", ID, "--ranking", first, token=token)
    done = cli.run(*asked, second, token=lab.token(user="eve"))
    assert done.code == 0, done
    number = done.out.strip().removeprefix(f"{lab.url}/datasets/{ID}/discussions/")
    path = f"rankings/{path_of(example())}.json"
    proposed = Ranking.from_json(lab.store.read(ID, path, "dataset", f"refs/pr/{number}"))
    assert names(proposed) == ["org/a", "org/b"]
    assert names(published(lab, example())) == ["org/a"]


def test_what_was_published_is_pulled_without_loss(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    rankings = [with_rows(scored("org/a", 0.3)), with_rows(scored("org/b", 0.2), dataset_id="org/food")]
    files = [("--ranking", write(tmp_path, one, f"{number}.json")) for number, one in enumerate(rankings)]
    cli.run("publish", "results", "--repo-id", ID, *files[0], *files[1], token=token)
    done = cli.run("pull", "results", "--repo-id", ID, "--output", tmp_path / "pulled", "--format", "tsv")
    assert done.code == 0, done
    header, *lines = [line.split("\t") for line in done.out.splitlines()]
    assert header[:2] == ["file", "dataset"]
    assert {line[1] for line in lines} == {"AI-Lab-Makerere/beans", "org/food"}
    read = [Ranking.from_json(Path(line[0]).read_text()) for line in lines]
    assert sorted(read, key=str) == sorted(rankings, key=str)


def test_a_damaged_file_does_not_hide_the_others(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    cli.run("publish", "results", "--repo-id", ID, "--ranking", write(tmp_path, example()), token=token)
    lab.store.put_files(ID, {"rankings/task/data/broken.json": b"{"}, "dataset")
    done = cli.run("pull", "results", "--repo-id", ID, "--output", tmp_path / "pulled")
    assert done.code == 1
    assert "task/data/broken" in done.err
    assert len(done.out.splitlines()) == 3


def test_a_file_of_a_newer_version_is_not_overwritten(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    newer = example().to_json().replace('"schema_version": 2', '"schema_version": 99').encode()
    lab.store.put_files(ID, {f"rankings/{path_of(example())}.json": newer}, "dataset")
    done = cli.run("publish", "results", "--repo-id", ID, "--ranking", write(tmp_path, example()), token=token)
    assert done.code == 1
    assert "schema version 99" in done.err
    assert "install a newer hf-emms" in done.err
    assert lab.store.read(ID, f"rankings/{path_of(example())}.json", "dataset") == newer


def test_without_a_file_the_kept_rankings_of_hub_datasets_are_published(
    lab: Hub, cli: CommandLine, token: str, home: Path
) -> None:
    kept = home / "emms" / "rankings"
    kept.mkdir(parents=True)
    write(kept, example(), "beans.json")
    write(kept, example(dataset_id="/home/ada/secret", dataset_revision="local-0123456789abcdef"), "mine.json")
    (kept / "broken.json").write_text("{")
    done = cli.run("publish", "results", "--repo-id", ID, token=token)
    assert done.code == 0, done
    assert done.err.count("left out") == 2
    assert [path for path in lab.store.paths(ID, "dataset") if path.endswith(".json")] == [
        f"rankings/{path_of(example())}.json"
    ]


def test_load_dataset_reads_all_rankings_as_one_table(lab: Hub, cli: CommandLine, token: str, tmp_path: Path) -> None:
    mine = with_rows(scored("org/a", 0.3), estimators=("emms", "hscore"), config="test-train", split="validation")
    files = [write(tmp_path, example(), "1.json"), write(tmp_path, mine, "2.json")]
    cli.run("publish", "results", "--repo-id", ID, "--ranking", files[0], "--ranking", files[1], token=token)
    rows = run_client(
        lab,
        f"""
        import json
        from datasets import load_dataset
        print(json.dumps(load_dataset("{ID}", split="train").to_list()))
        """,
        tmp_path / "reader",
    )
    by_name = {row["checkpoint"]: row for row in rows}
    assert len(rows) == 5
    assert by_name["org/a"]["split"] == "validation"
    assert by_name["org/a"]["logme"] is None
    assert by_name["org/best"]["emms"] == pytest.approx(-0.31)
    assert by_name["org/best"]["ranking"] == path_of(example())
    assert by_name["org/best"]["schema_version"] == 2
    assert {score["estimator"] for score in by_name["org/best"]["scores"]} == {"emms", "logme", "knn"}
    assert by_name["org/broken"]["error"]


def test_publishers_at_once_lose_nothing(lab: Hub, token: str, tmp_path: Path) -> None:
    """Three add to one ranking, two publish rankings of their own; the dataset is not there yet."""
    environment = client_environment(lab, tmp_path / "many", HF_TOKEN=token)
    command = program("publish", "results", "--repo-id", ID, "--ranking")
    rankings = [with_rows(scored(f"org/c{number}", number / 10), created=f"202{number}") for number in range(3)]
    rankings += [with_rows(scored("org/x", 0.5), seed=number) for number in (3, 4)]
    files = [write(tmp_path, one, f"{number}.json") for number, one in enumerate(rankings)]
    running = [
        subprocess.Popen([*command, str(file)], env=environment, stderr=subprocess.PIPE, text=True) for file in files
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * 5, errors
    assert names(published(lab, rankings[0])) == ["org/c2", "org/c1", "org/c0"]
    for one in rankings[3:]:
        assert names(published(lab, one)) == ["org/x"]
    card = lab.store.read(ID, "README.md", "dataset").decode()
    data = json.loads(card.split("<!-- hf-emms:data ")[1].split(" -->")[0])
    assert {line["path"] for line in data["rankings"]} == {path_of(one) for one in rankings}
    assert commits(lab) == 1 + 5


def test_a_ranking_in_python_is_pushed(lab: Hub, token: str, tmp_path: Path) -> None:
    file = write(tmp_path, example())
    code = f"""
        import json, hf_emms
        print(json.dumps(hf_emms.push_to_hub(hf_emms.Ranking.load({str(file)!r}), "{ID}")))
        """
    url = run_client(lab, code, tmp_path / "home", HF_TOKEN=token)
    assert f"/datasets/{ID}/commit/" in url
    pushed = Ranking.from_json(lab.store.read(ID, f"rankings/{path_of(example())}.json", "dataset"))
    assert [row.checkpoint for row in pushed] == [row.checkpoint for row in example()]


def test_what_fine_tuning_measured_is_in_the_table_beside_files_without_it(
    lab: Hub, cli: CommandLine, token: str, tmp_path: Path
) -> None:
    row = scored("org/a", 0.3, fine_tuned=FineTuned("accuracy", 0.91, 0.004, 0.9))
    for ranking in (example(config="a-first"), with_rows(row, scored("org/b", 0.2), config="b-second")):
        done = cli.run("publish", "results", "--repo-id", ID, "--ranking", write(tmp_path, ranking), token=token)
        assert done.code == 0, done
    rows = run_client(
        lab,
        f"""
        import json
        from datasets import load_dataset
        print(json.dumps(load_dataset("{ID}", split="train").to_list()))
        """,
        tmp_path / "reader",
    )
    measured = {row["checkpoint"]: [row[name] for name in FINE_TUNED] for row in rows}
    assert measured["org/a"] == [0.91, 0.004, "accuracy"]
    assert measured["org/b"] == measured["org/best"] == [None, None, None]
    assert "| accuracy 91.0 ± 0.4 |" in lab.store.read(ID, "README.md", "dataset").decode()
