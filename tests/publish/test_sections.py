"""Sections of model and dataset cards: their text, and escaping of hostile text.

After a wanted change: python -m tests.publish.test_sections writes the golden files again.
"""

from __future__ import annotations

import re
import subprocess

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hf_emms import rank
from hf_emms.options import SETTINGS, Options
from hf_emms.publish import card_text
from hf_emms.publish.card_entries import rank_command
from hf_emms.publish.card_text import card
from hf_emms.publish.readme import section_span
from hf_emms.ranking import BaselineScore, FineTuned, Ranking, Row, ranked
from hf_emms.ranking.columns import single_line
from hf_emms.scoring import Score
from tests import ROOT
from tests.helpers.cards import update_dataset_card, update_model_card
from tests.helpers.cli import Cli, cli
from tests.helpers.errors import raises_code
from tests.helpers.rankings import calibrated, example

__all__ = ["cli"]

GOLDEN = ROOT / "tests" / "golden"
TOKEN = "hf_" + "a1B2" * 8


def sections() -> dict[str, str]:
    return {
        "model_card_section.md": card(example(), "org/best"),
        "dataset_card_section.md": card(example()),
    }


def other(**changes: object) -> Ranking:
    return example(**({"dataset": "food", "dataset_id": "org/food", "config": "small"} | changes))


def html(markdown: str) -> str:
    return MarkdownIt("gfm-like").render(markdown)


def typed(command: str) -> list[str]:
    """The words that a shell makes of a command."""
    script = f'printf "%s\\0" {command}'
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", sections())
def test_section_equals_golden_file(name: str) -> None:
    assert sections()[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_best_is_the_smallest_of_the_first_rank() -> None:
    names = ["./名前", *"abcdefghijk"]
    rows = [Row(name, "a" * 40, scores=example().rows[0].scores) for name in names]
    ranking = example(rows=ranked([*rows, *example().rows], "emms"))
    assert "| **=1** of 15 |" in card(ranking, "j")
    assert "[org/best](https://huggingface.co/org/best) is one of the 14 best of 15 checkpoints to fine-tune" in card(
        ranking
    )
    assert card(ranking).count("\n| =1 |") == 10


def test_checkpoint_without_score_has_no_section() -> None:
    with raises_code("no-score", "the weights are truncated"):
        card(example(), "org/broken")
    failed = example(rows=(Row("org/x", error="broken"),))
    with raises_code("no-score"):
        card(failed)


def test_local_data_has_no_link_and_no_command() -> None:
    in_memory = card(example(dataset="in memory", dataset_id="in memory", dataset_revision=""), "org/best")
    assert not re.search(r"hf-emms rank |revision ``|datasets/in", in_memory)
    rows = ranked([Row("./mine", "local-0123456789abcdef", scores=example().rows[0].scores)], "emms")
    local = card(example(rows=rows, dataset_id="./data", dataset_revision="local-0123456789abcdef"))
    assert "| `./mine` |" in local
    assert "huggingface.co" not in local


def test_links_use_the_current_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    section = update_model_card(None, [(example(), "org/best")], "org/best").decode()
    assert "(https://hub.example.org/datasets/AI-Lab-Makerere/beans)" in section
    assert "huggingface.co" not in section


def test_unknown_task_and_estimator_are_shown() -> None:
    scores = {"class-spread": Score(0.5), "emms": example().rows[0].scores["emms"]}
    ranking = example(
        task="gloss-topic",
        columns={"gloss": "text", "topic": "label"},
        estimators=("class-spread", "emms"),
        rows=ranked([Row("org/best", "a" * 40, scores=scores)], "class-spread"),
    )
    for section in (card(ranking, "org/best"), card(ranking)):
        assert "gloss-topic" in section
        assert "| class-spread" in section
    words = typed(rank_command(ranking, ["org/best"]))
    assert words[words.index("--task") + 1] == "gloss-topic"
    assert [words[place + 1] for place, word in enumerate(words) if word == "--column"] == ["gloss=text", "topic=label"]


def test_newer_ranking_replaces_only_its_block() -> None:
    both = [(example(), "org/best"), (other(), "org/best")]
    readme = update_model_card(b"# Mine\n", both, "org/best")
    assert readme.count(b"hf-emms:start") == 1
    edited = readme.replace(b"| [org/food](", b"| its owner says [org/food](")
    newer = example(rows=ranked([example().row("org/best"), example().row("org/worse")], "emms"))
    done = update_model_card(edited, [(newer, "org/best")], "org/best")
    line = first_line(update_model_card(None, [(newer, "org/best")], "org/best"))
    assert done == edited.replace(first_line(readme), line)
    assert b"**1** of 2" in done
    assert done.startswith(b"# Mine\n")


def first_line(readme: bytes) -> bytes:
    """The first line of a card's table."""
    return next(line for line in readme.splitlines() if b"hf-emms:entry" in line)


def test_a_line_has_rank_estimate_points_behind_the_first_and_fine_tuned_score() -> None:
    three = example()
    two = example(rows=ranked([three.row("org/best"), three.row("org/worse")], "emms"))
    tuned = FineTuned("accuracy", 0.912, 0.004, 0.9, baseline=BaselineScore("the same class", 1 / 3, 0.0, 0.0))
    measured = example(rows=(msgspec.structs.replace(two.rows[0], fine_tuned=tuned), two.rows[1]))
    gaps = calibrated(-0.3, -0.32)
    shown, best = "accuracy 91.2 ± 0.4 (baseline: 33.3)", "explained 0.500 ± 0.003 of the variance"
    for ranking, about, cells in (
        (
            three,
            "org/best",
            ["**=1** of 3, tie, checkpoints failed", best, "–", "–"],
        ),
        (two, "org/worse", ["**2** of 2", "explained 0.145 ± 0.003 of the variance", "–", "–"]),
        (measured, "org/best", ["**1** of 2, best estimate", best, "–", shown]),
        (gaps, "org/b", ["**2** of 2", "EMMS + k-NN -0.3200", "1.3 (-3.6 to 5.8)", "–"]),
    ):
        line = first_line(card(ranking, about).encode()).decode()
        assert [cell.strip() for cell in line.partition("<!--")[0].split("|")[2:]] == cells


def test_a_section_has_fourteen_lines_and_one_per_ranking() -> None:
    named = [(example(dataset_id=f"org/{place}"), "org/best") for place in range(12)]
    title = b"# Mine\n"
    readme = update_model_card(title, named, "org/best").removeprefix(title).decode()
    assert readme.count("hf-emms:entry") == 12
    assert len(readme.splitlines()) <= 14 + 12
    page = html(readme)
    assert page.count("<tr>") == 13
    assert page.count('href="https://huggingface.co/org/best/discussions"') == 1


def fine_tuned(ranking: Ranking, *values: float | None) -> Ranking:
    """Return a ranking whose first checkpoints have fine-tuned scores."""
    results = [None if value is None else FineTuned("accuracy", value, 0.004, value) for value in values]
    rows = [msgspec.structs.replace(row, fine_tuned=result) for row, result in zip(ranking.rows, results, strict=False)]
    return msgspec.structs.replace(ranking, rows=(*rows, *ranking.rows[len(rows) :]))


def test_the_first_sentence_of_a_dataset_card_names_the_best() -> None:
    three, tuned = example(), "After fine-tuning for {}, "
    two = example(rows=ranked([three.row("org/best"), three.row("org/worse")], "emms"))
    for ranking, said in (
        (three, "org/best is one of the 2 best of 3 checkpoints to fine-tune for {}. They are tied."),
        (two, "org/best is the first of 2 checkpoints to fine-tune for {}."),
        (fine_tuned(three, 0.7, None, 0.9), f"{tuned}org/worse has accuracy 90.0 ± 0.4, the best of 2 checkpoints."),
        (fine_tuned(three, 0.9, 0.9), f"{tuned}org/best has accuracy 90.0 ± 0.4, one of the 2 best of 2 checkpoints."),
        (fine_tuned(three, None, 0.9), f"{tuned}org/close has accuracy 90.0 ± 0.4."),
    ):
        lines = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", card(ranking)).splitlines()
        sentence = said.format("AI-Lab-Makerere/beans (image-classification)")
        assert any(line.startswith(sentence) for line in lines)


def test_update_is_idempotent() -> None:
    once = update_model_card(b"text\r\n", [(example(), "org/best"), (other(), "org/close")], "org/best")
    assert update_model_card(once, [(example(), "org/best")], "org/best") == once
    of_dataset = update_dataset_card(None, [example(), example(split="test")], "AI-Lab-Makerere/beans")
    assert len(re.findall(rb"^\| rank \| checkpoint \|", of_dataset, re.MULTILINE)) == 2
    assert b"### image-classification, test split" in of_dataset
    assert update_dataset_card(of_dataset, [example()], "AI-Lab-Makerere/beans") == of_dataset


def test_new_readme_is_valid() -> None:
    of_model = update_model_card(None, [(example(), "org/best")], "org/best")
    of_dataset = update_dataset_card(None, [example()], "AI-Lab-Makerere/beans")
    for readme, fields in (
        (of_model, {"tags": ["emms"]}),
        (of_dataset, {"task_categories": ["image-classification"]}),
    ):
        _, front_matter, body = readme.decode().split("---\n", 2)
        assert yaml.safe_load(front_matter) == fields
        assert body.startswith("\n# be")


def test_command_is_quoted_for_the_shell() -> None:
    ranking = example(
        dataset="./my data",
        dataset_revision="local-0123456789abcdef",
        label_template="a photo --encoder of a {}",
        config="x; rm -rf ~",
        sampling="balanced",
    )
    words = typed(rank_command(ranking, ["org/best"]))
    assert words[:4] == ["hf-emms", "rank", "--dataset", "./my data"]
    assert words[words.index("--label-template") + 1] == "a photo --encoder of a {}"
    assert words[words.index("--config") + 1] == "x; rm -rf ~"
    assert words[-2:] == ["--checkpoint", f"org/best@{'a' * 40}"]


def test_command_pins_revisions() -> None:
    rows = ranked(
        [Row("org/x@refs/pr/3", "f" * 40, error="broken"), Row("./folder", "local-1", error="broken")], "emms"
    )
    words = typed(rank_command(example(rows=rows), [row.checkpoint for row in rows]))
    assert words[words.index("--dataset") + 1] == f"AI-Lab-Makerere/beans@{'e' * 40}"
    assert words[words.index("--encoder") + 1] == f"org/first@{'1' * 40}"
    assert words[-4:] == ["--checkpoint", "./folder", "--checkpoint", f"org/x@{'f' * 40}"]


def test_command_contains_settings_that_change_scores() -> None:
    values = {"layers": ["2"], "label_template": "a {}", "box_format": "xyxy", "group_column": "speaker"}
    values |= {"corpus_size": 77, "max_samples": 77, "seed": 5, "folds": 7, "label_separator": "|"}
    values |= {"query_prompt": "query: ", "document_prompt": "passage: "}
    for name in {*Options.of("x").recorded()} - {"device", "results", *values}:
        values[name] = SETTINGS[name].choices[-1]
    words = typed(rank_command(example(**values, task="text-retrieval"), ["org/best"]))
    shown = {name: words[words.index(SETTINGS[name].flag) + 1] for name in values}
    assert shown == {name: "2" if name == "layers" else str(value) for name, value in values.items()}
    assert "--corpus-size" not in rank_command(example(corpus_size=77), ["org/best"])


def test_command_reproduces_scores_and_omits_defaults(cli: Cli) -> None:
    name = "emms-demo/bert-distilled"
    ranking = rank("demo_glosses", [name], encoders="demo", max_samples=80, seed=1, cache=False)
    words = typed(rank_command(ranking, [name]))
    assert words == [
        *("hf-emms", "rank", "--dataset", ranking.dataset, "--split", "test", "--task", "text-classification"),
        *("--max-samples", "80", "--seed", "1", "--encoder", "demo", "--checkpoint", name),
    ]
    again = Ranking.from_json(cli(*words[1:], "--format", "json").out)
    values = [{name: score.value for name, score in one.row(name).scores.items()} for one in (ranking, again)]
    assert values[0] == values[1]


def test_command_omits_unknown_settings() -> None:
    assert "new" not in rank_command(example(settings=example().settings | {"new_option": "new"}), ["org/best"])


EVIL = [
    "x --> <!-- hf-emms:end -->\n```\n# owned `|` <script>alert(1)</script>",
    "{{ 7 * 7 }} {% for x in y %} {# c #}",
    "[click](https://evil.example) ![x](https://evil.example/x.png) https://evil.example www.evil.example",
    "@somebody @org/team mail@evil.example **bold** _it_ ~~gone~~ $x$ &lt;b&gt; </details> </summary>",
    "````\n```text\n~~~",
]


def hostile(evil: str) -> Ranking:
    row = msgspec.structs.replace(
        example().rows[0], checkpoint=evil, revision=evil, architecture=evil, pooling=evil, error=None
    )
    fields = ("dataset", "dataset_id", "dataset_revision", "config", "split", "task", "created")
    text = dict.fromkeys((*fields, "label_template", "seed", "folds"), evil)
    return example(**text, columns={evil: evil}, versions={evil: evil}, rows=ranked([row, *example().rows], "emms"))


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_stays_inside_the_section(evil: str) -> None:
    ranking = hostile(evil)
    for section in (card(ranking, evil), card(ranking)):
        assert section.count("<!--") == 3
        assert section_span(section.encode()) is not None
        (entries,) = (found for of in card_text._ENTRIES.values() if (found := of.findall(section)))
        assert len(entries) == 1
        assert "49" not in re.sub(r"\b[0-9a-f]{16}\b", "", section)
        page = html(section)
        for tag in ("script", "img", "h1", "b", "strong", "em", "s"):
            opened = page.count(f"<{tag}>") + page.count(f"<{tag} ")
            assert opened == {"strong": section.count("| **"), "em": section.count("*estimates*")}.get(tag, 0), tag
        has_details = "## Checkpoints" in section
        assert page.count("<details") == page.count("</details>") == has_details
        assert page.count("<summary>") == page.count("</summary>") == has_details
        assert set(re.findall(r'href="([^"]*)"', page)) <= {
            "https://arxiv.org/abs/2308.06262",
            *(f"https://huggingface.co/org/{name}" for name in ("best", "close", "worse")),
        }
        outside_code = re.sub(r"<code.*?</code>|<!--.*?-->", "", page, flags=re.DOTALL)
        assert not re.search(r"@\w|://evil|www\.", outside_code)


@given(st.text())
def test_escaped_text_renders_as_text(text: str) -> None:
    inline = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .parseInline(f"a {card_text.markdown_text(text)} z")[0]
    )
    assert {token.type for token in inline.children or ()} <= {"text", "text_special"}
    shown = "".join(token.content for token in inline.children or ())
    assert shown.replace("\u2060", "").split() == f"a {single_line(text)} z".replace("\u2060", "").split()


@given(st.text())
def test_code_spans_and_blocks_cannot_be_ended_by_text(text: str) -> None:
    span = MarkdownIt("commonmark").parseInline(f"a {card_text._code_span(text)} z")[0]
    assert [token.type for token in span.children or ()] == ["text", "code_inline", "text"]
    block = card_text._code_block(text, "text")
    blocks = MarkdownIt("commonmark").parse(f"a\n\n{block}\n\nz")
    types = [token.type for token in blocks if token.type in ("fence", "paragraph_open")]
    assert types == ["paragraph_open", "fence", "paragraph_open"]
    assert len(block) - len(block.lstrip("`")) == max(3, *(len(run) + 1 for run in re.findall("`*", text)))


def test_card_contains_no_token() -> None:
    ranking = example(dataset=TOKEN, label_template=f"a photo {TOKEN}", versions={"x": TOKEN})
    assert TOKEN not in card(ranking, "org/best")
    assert TOKEN not in card(ranking)


if __name__ == "__main__":
    for name, section in sections().items():
        (GOLDEN / name).write_text(section, encoding="utf-8")
