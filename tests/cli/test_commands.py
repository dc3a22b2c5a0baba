"""What a user types and what comes back: stdout, stderr, exit code, files."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hf_emms.cli.app import _LogHandler
from hf_emms.presets.demo import folder_of
from hf_emms.ranking import Ranking
from tests.helpers.cli import GOOD, POOR, Cli, best_first, cli, encoder, program, rank
from tests.helpers.rows import png

__all__ = ["cli", "encoder", "rank"]


def test_data_on_stdout_everything_else_on_stderr(cli: Cli, rank: list[str]) -> None:
    result = cli(*rank)
    assert result.code == 0
    assert sorted(best_first(result.out)) == sorted([GOOD, POOR])
    for said in ("[2/2]", "demo_captions", "test split", "100 rows", "Scores are relative", "Results: "):
        assert said in result.err
        assert said not in result.out
    kept = Path(result.err.split("Results: ")[1].strip())
    assert re.fullmatch(r"demo_captions-[0-9a-f]{12}\.json", kept.name)
    assert Ranking.from_json(kept.read_text()).n == 100


def test_every_format_contains_the_same_ranking(cli: Cli, rank: list[str], tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "ranking.csv"
    cli(*rank)
    result = cli(*rank, "--format", "json", "-o", file)
    order = [row.checkpoint for row in Ranking.from_json(result.out).rows]
    assert str(file) in result.err
    assert [line["checkpoint"] for line in csv.DictReader(io.StringIO(file.read_text()))] == order
    assert cli(*rank, "--format", "csv").out == file.read_text()
    assert cli(*rank).out == cli(*rank, "--format", "table").out  # in a pipe, too
    for format in ("table", "md"):
        text = cli(*rank, "--format", format).out
        assert order[0] in next(line for line in text.splitlines() if "emms-demo" in line)
        assert "\x1b" not in text
    assert "explained" in text


def test_unwritable_cache_loses_no_result(
    cli: Cli, rank: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path / "file"))
    result = cli(*rank)
    assert result.code == 0
    assert len(best_first(result.out)) == 2
    assert "Cannot write to the cache" in result.err
    assert "Not saved." in result.err


def test_failed_rows(cli: Cli, rank: list[str]) -> None:
    lenient = cli(*rank, "-c", "./nowhere", "--format", "table")
    assert lenient.code == 0
    assert lenient.out.splitlines()[-1].startswith("failed: ./nowhere: there is no file or folder")
    nothing = cli(*rank[: rank.index("-c")], "-c", "./nowhere")
    assert nothing.code == 1
    assert "Error: no checkpoint could be scored" in nothing.err


def test_checkpoints_come_from_a_file_or_stdin(cli: Cli, rank: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    words = [word for word in rank if word not in ("-c", GOOD, POOR)]
    listed.write_text(f"# kandidates\n{GOOD}  # distilled, é\n\n{POOR}\n", "utf-8")
    assert sorted(best_first(cli(*words, "--checkpoints-file", listed).out)) == sorted([GOOD, POOR])


def test_invalid_checkpoints_file_is_refused(cli: Cli, rank: list[str], tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    for content, reason in ((None, "No such file"), (b"# nothing\n\n", "names no checkpoint"), (b"\xe9", "not UTF-8")):
        if content is not None:
            file.write_bytes(content)
        result = cli(*rank, "--checkpoints-file", file)
        assert (result.code, result.out) == (1, "")
        assert reason in result.err


def test_a_dry_run_runs_nothing(cli: Cli, rank: list[str]) -> None:
    result = cli(*rank, "--dry-run", "--format", "json")
    assert result.code == 0
    assert [line["state"] for line in json.loads(result.out)] == ["local folder"] * 2
    assert "100 rows" in result.err
    assert "label encoder" in result.err
    for format, first in (("csv", "checkpoint,revision"), ("table", "checkpoint  ")):
        assert cli(*rank, "--dry-run", "--format", format).out.startswith(first)
    cli(*rank[:-2])  # the first checkpoint alone
    assert "finished earlier" in cli(*rank, "--dry-run").out.splitlines()[2]


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, "rank", "'--dataset'"),
        (2, "rank --dataset x --max-samples many", "'many'"),
        (2, "rank --dataset x --format xml", "'xml'"),
        (2, "rank --dataset x --confirm 0", "0 is not in the range x>=1"),
        (2, "rank --dataset x --dry-run --output x.json", "--dry-run makes no ranking"),
        (2, "card --ranking x.json", "Pass --repo-id or --dataset-id"),
        (2, "card --ranking x.json --dataset-id a/b --checkpoint a/c", "--checkpoint goes with --repo-id"),
        (2, "card --ranking x.json --repo-id a/b --push --create-pr", "Pass --push or --create-pr, not both"),
        (2, "sweep", "--datasets"),
        (2, "sweep x.yaml --datasets x", "--datasets"),
        (2, f"sweep --datasets x -o {__file__}", "is a file"),
        (2, "nonsense", "'nonsense'"),
        (1, "rank --dataset x --column label", "--column 'label' names no role"),
        (1, "rank --dataset x --column label=", "--column 'label=' names no role"),
        (1, "rank --dataset x --flavor t4-small", "--flavor is for a job, but the engine is local"),
        (1, "rank --dataset x --engine jobs", "needs a dataset that the ranking comes back through"),
        (1, "presets --kind dataset --task text-ranking", "no dataset is for the task 'text-ranking'"),
        (1, "publish space --repo-id a/b --results a/c --static --hardware x", "a static Space has"),
    ],
)
def test_invalid_combinations_are_refused(cli: Cli, code: int, words: str, says: str) -> None:
    result = cli(*words.split())
    assert (result.code, result.out) == (code, "")
    assert says in result.err
    assert "Error" in result.err


def test_label_encoders_are_listed_by_their_sets(cli: Cli) -> None:
    encoders = cli("presets", "--kind", "encoder", "--format", "json").out
    assert encoders == json.dumps(json.loads(encoders), indent=2) + "\n"
    sets = {row["what"]: row["name"] for row in json.loads(encoders)}
    assert sets["emms-demo/encoder-minilm-static"] == "demo"
    assert {*sets.values()} >= {"demo", "paper"}


def test_error_is_one_line_with_hint_and_debug_prints_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("rank", "--dataset", "./no-such-folder")
    plain = cli(*words)
    assert (plain.code, plain.out) == (1, "")
    assert all(part in plain.err for part in ("Error: ", "./no-such-folder", "→"))
    assert "Traceback" not in plain.err
    assert "Traceback" in cli("--debug", *words).err
    monkeypatch.setenv("HF_EMMS_DEBUG", "1")
    debugged = cli(*words)
    assert debugged.code == 1
    assert all(part in debugged.err for part in ("Error: ", "Traceback"))


def test_one_core_stays_free_and_pipes_get_no_progress_bars(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"OMP_NUM_THREADS": "8"} | {f"HF_{name}_DISABLE_PROGRESS_BARS": "1" for name in ("HUB", "DATASETS")}
    for name in expected:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert cli("--version").code == 0
    assert expected.items() <= os.environ.items()


def test_unreachable_encoders_suggest_the_demo_encoders(cli: Cli) -> None:
    # If the task is known, before reading the dataset; otherwise after it.
    for dataset in (("./folder", "--task", "image-captioning"), ("emms-demo/emoji-captions",)):
        result = cli("rank", "--dataset", *dataset)
        assert result.code == 1
        assert "label encoder" in result.err
        assert "--encoder demo" in result.err


def in_terminal(words: list[str], emms_cache: Path, **environment: str) -> str:
    """What a command shows on a terminal of 60 columns, stdout and stderr."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm", "HF_EMMS_CACHE": str(emms_cache)} | environment
    process = subprocess.Popen(program(*words), stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:  # the error of Linux for a closed terminal
        pass
    os.close(leader)
    process.wait()
    return shown.decode()


def test_terminal_table_has_colours_and_fits_the_width(
    cli: Cli, rank: list[str], emms_cache: Path, tmp_path: Path
) -> None:
    long = str(tmp_path / ("a-long-name" * 9))
    shutil.copytree(folder_of(POOR), long)
    words = [*rank, "-c", long]
    cli(*words)  # so that the run in the terminal is short
    assert "seconds" in in_terminal(rank, emms_cache, COLUMNS="100")
    lines = in_terminal([*words, "-c", "./nowhere"], emms_cache).splitlines()
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in lines]
    (first,) = (place for place, line in enumerate(plain) if line.startswith("rank"))
    table = plain[first : first + 6]
    assert max(map(len, table)) == 60
    assert "explained" in table[0]
    assert "seconds" not in table[0]  # the first column that a narrow terminal omits
    assert sum("…" in line for line in table) == 1
    # The titles and the best checkpoint are bold. The failed row and its reason are red.
    codes = [{*re.findall(r"\x1b\[(1|31)m", line)} for line in lines[first : first + 7]]
    assert codes == [{"1"}, set(), {"1"}, set(), set(), {"31"}, {"31"}]


def test_control_characters_are_escaped_in_terminals(rank: list[str], emms_cache: Path, tmp_path: Path) -> None:
    steering = "x\x1b[2J\u202ey\x07[/b]"  # and a closing tag in the markup of rich
    (tmp_path / "data.csv").write_text(f"text,la{steering}bel\n" + "a,b\n" * 20)
    for words in (
        [*rank, "-c", f"org/{steering}", "-c", steering],
        ["rank", "--dataset", str(tmp_path / "data.csv")],
        ["--debug", "validate", "--ranking", steering],
        [f"--{steering}"],
    ):
        text = in_terminal(words, emms_cache, NO_COLOR="1")
        assert "\\x1b[2J" in text or "\\u202e" in text, text
        assert not {"\u202e", "\x07"} & set(text)
        assert "\x1b[2J" not in text


def test_control_characters_of_warnings_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    _LogHandler().emit(logging.makeLogRecord({"msg": "odd \x1b[2J", "levelno": logging.WARNING}))
    assert capsys.readouterr().err == "odd \\x1b[2J\n"


def test_unused_columns_are_listed_everywhere(cli: Cli, tmp_path: Path) -> None:
    said = "not used: note, Taken by"
    lines = ["path,label,note,Taken by"]
    for i in range(24):
        (tmp_path / f"{i}.png").write_bytes(png((10 * i, 7 * i % 256, 0)))
        lines.append(f"{i}.png,{'dark' if i < 12 else 'bright'},note {i},someone")
    file = tmp_path / "pictures.csv"
    file.write_text("\n".join(lines))
    rank = ("rank", "--dataset", file, "-c", GOOD, "-e", "emms-demo/encoder-minilm-static", "--folds", "3")
    assert "  unused: note, Taken by" in cli(*rank, "--dry-run").err.splitlines()
    result = cli(*rank, "--format", "table", "-o", tmp_path / "ranking.json")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == said
    saved = json.loads((tmp_path / "ranking.json").read_text())
    assert saved["unused_columns"] == saved["reading"]["unused"] == ["note", "Taken by"]
    assert [column["classes"] for column in saved["reading"]["columns"]] == [{}, {"bright": 12, "dark": 12}]
    assert said in cli(*rank, "--format", "csv").err.splitlines()
    assert said in cli(*rank, "--format", "md").out


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        ("compare", "docs/leaderboard.md"),
        ("cache", "hf cache"),
        ("pull", "hf download"),
        ("rnak", "'rank'"),
        ("rank --model org/a", "mean --checkpoint?"),
        ("sweep --models org/a", "mean --checkpoint?"),
        ("card --model org/a", "mean --checkpoint?"),
        ("rank --target label", "mean --label-column?"),
        ("rank --limit 5", "mean --max-samples?"),
        ("rank --chekpoint org/a", "'--checkpoint'"),
    ],
)
def test_unknown_commands_and_flags_suggest_the_right_one(cli: Cli, words: str, suggestion: str) -> None:
    result = cli(*words.split())
    assert result.code == 2
    assert suggestion in result.err


def test_a_flag_that_a_command_lacks_is_not_suggested(cli: Cli) -> None:
    assert "--checkpoint" not in cli("confirm", "--model", "org/a").err
