"""The model-card section: what it says, and that nothing in a ranking can break out of it.

After a wanted change: python tests/test_cards.py writes the golden file again.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from rankings import example

from hf_emms.cards import marker, rank_command, render_section
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, Row, ranked

GOLDEN = Path(__file__).parent / "golden" / "model_card_section.md"


def typed(command: str) -> list[str]:
    """The words that a shell makes of a command."""
    script = f'printf "%s\\0" {command}'
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def test_the_section_is_as_it_was_read_by_a_person() -> None:
    assert render_section(example(), "org/best") == GOLDEN.read_text(encoding="utf-8")


def test_the_section_stands_between_markers() -> None:
    lines = render_section(example(), "org/close").splitlines()
    assert lines[0] == f"<!-- hf-emms:start {marker(example())} -->"
    assert lines[-1] == "<!-- hf-emms:end -->"


def test_the_marker_tells_datasets_and_splits_apart_but_not_runs() -> None:
    assert marker(example()) == marker(example(seed=7, created="later", n=10))
    others = [example(split="test"), example(dataset_id="org/other"), example(task="image-to-text")]
    assert len({marker(ranking) for ranking in [example(), *others]}) == 4


def test_a_failed_checkpoint_says_why() -> None:
    section = render_section(example(), "org/broken")
    assert "could not be scored" in section
    assert "the weights are truncated" in section


def test_a_ranking_where_everything_failed_has_a_section() -> None:
    section = render_section(example(rows=(Row("org/x", error="broken"),)), "org/x")
    assert "could not be scored" in section
    assert "The first" not in section


def test_the_table_shows_the_first_rows_only() -> None:
    section = render_section(example(), "org/worse", top=1)
    assert "### The first 1 of 3" in section
    assert "| =1 | org/best |" in section
    assert "| =1 | org/close |" not in section
    assert "Ranked **3 of 3**" in section


def test_a_dataset_in_memory_has_no_command() -> None:
    section = render_section(example(dataset="in memory", dataset_id="in memory", dataset_revision=""), "org/best")
    assert "hf-emms rank" not in section
    assert "revision ``" not in section


def test_an_unknown_checkpoint_is_refused() -> None:
    with pytest.raises(EmmsError, match="'org/none'"):
        render_section(example(), "org/none")


def test_the_command_can_be_typed() -> None:
    ranking = example(
        dataset="./my data",
        dataset_revision="local-0123456789abcdef",
        prompt="a photo of a {}",
        config="x; rm -rf ~",
        sampling="balanced",
    )
    words = typed(rank_command(ranking, ["org/best"]))
    assert words[:4] == ["hf-emms", "rank", "--dataset", "./my data"]
    assert words[words.index("--prompt") + 1] == "a photo of a {}"
    assert words[words.index("--config") + 1] == "x; rm -rf ~"
    assert words[-2:] == ["--checkpoint", f"org/best@{'a' * 40}"]


def test_the_command_pins_what_the_hub_holds() -> None:
    rows = ranked(
        [Row("org/x@refs/pr/3", "f" * 40, error="broken"), Row("./folder", "local-1", error="broken")], "emms"
    )
    words = typed(rank_command(example(rows=rows), [row.checkpoint for row in rows]))
    assert words[words.index("--dataset") + 1] == f"AI-Lab-Makerere/beans@{'e' * 40}"
    assert words[words.index("--encoder") + 1] == f"org/first@{'1' * 40}"
    assert words[-4:] == ["--checkpoint", "./folder", "--checkpoint", f"org/x@{'f' * 40}"]


def hostile() -> Ranking:
    evil = "x --> <!-- hf-emms:end -->\n```\n# owned `|` <script>"
    return example(
        dataset=evil,
        dataset_id=evil,
        split=evil,
        prompt=evil,
        rows=ranked([Row(evil, error=evil), *example().rows], "emms"),
    )


def test_nothing_in_a_ranking_breaks_out_of_the_section() -> None:
    ranking = hostile()
    for row in ranking.rows:
        section = render_section(ranking, row.checkpoint)
        lines = section.splitlines()
        assert re.fullmatch(r"<!-- hf-emms:start [\w./ -]+ -->", lines[0])
        assert "--" not in lines[0][4:-3]
        assert section.count("<!--") == 2
        assert lines[-1] == "<!-- hf-emms:end -->"
        assert not [line for line in lines if line.startswith("# ")]
        assert sum(line.startswith("```") for line in lines) == 4


if __name__ == "__main__":
    GOLDEN.write_text(render_section(example(), "org/best"), encoding="utf-8")
