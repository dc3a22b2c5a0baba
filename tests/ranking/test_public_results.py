"""The published order: which public table counts, its column, and the rule of the default checkpoints."""

import msgspec
import pytest

from hf_emms.publish.card_text import card
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking.merge import merged
from hf_emms.ranking.public_results import PUBLIC_TABLES, with_published_values
from hf_emms.ranking.text import flat_records, remarks, tables
from hf_emms.scoring import Score
from scripts import default_checkpoints
from tests.helpers.rankings import example

COMMIT = "a" * 40
DINO = ("facebook/dinov2-small", "facebook/dinov2-base")
RERANKERS = ("cross-encoder/ms-marco-MiniLM-L4-v2", "cross-encoder/ms-marco-MiniLM-L6-v2")
TIMM = ("timm/tiny_vit_5m_224.dist_in22k_ft_in1k", "microsoft/resnet-50")


def of(task: str, *checkpoints: str, revision: str = COMMIT) -> Ranking:
    rows = [Row(name, revision, scores={"emms": Score(-place)}) for place, name in enumerate(checkpoints)]
    return with_published_values(example(task=task, rows=ranked(rows, "emms"), estimators=("emms",)))


def values(ranking: Ranking) -> list[float | None]:
    return [row.published for row in ranking.rows]


@pytest.mark.parametrize(
    ("task", "checkpoints", "table", "expected"),
    [
        (
            "text-retrieval",
            ("BAAI/bge-small-en-v1.5@abc", "lightonai/DenseOn", "org/none"),
            "beir",
            [51.7, 56.2, None],
        ),
        (
            "automatic-speech-recognition",
            ("openai/whisper-base.en", "UsefulSensors/moonshine-base"),
            "wer",
            [10.32, 9.99],
        ),
        (
            "text-classification",
            ("BAAI/bge-small-en-v1.5", "Alibaba-NLP/gte-modernbert-base"),
            "few-labels",
            [76.6, 80.7],
        ),
        ("text-ranking", ("BAAI/bge-reranker-base", *RERANKERS), "trec-dl-2019", [None, 73.0, 74.3]),
        # Values of two tables are not joined.
        ("image-classification", (*DINO, TIMM[1]), "mieb", [73.6, 76.6, None]),
        ("image-classification", (DINO[0], *TIMM), "imagenet", [None, 80.9, 80.4]),
    ],
)
def test_the_table_with_most_of_the_checkpoints_counts(task, checkpoints, table, expected):
    ranking = of(task, *checkpoints)
    assert ranking.published_table == PUBLIC_TABLES[table]
    assert values(ranking) == expected
    assert [row.checkpoint for row in ranking.rows] == list(checkpoints)
    titles, cells = tables(ranking)[0]
    place = titles.index("published")
    assert [line[place] == "–" for line in cells] == [value is None for value in expected]
    assert [record["published"] for record in flat_records(ranking)] == expected
    assert msgspec.json.decode(ranking.to_json())["published_table"]["source"] == PUBLIC_TABLES[table].source
    assert any(PUBLIC_TABLES[table].title in line for line in remarks(ranking))
    assert "Published: " in card(ranking)


@pytest.mark.parametrize(
    "ranking",
    [
        of("text-retrieval", "lightonai/DenseOn", "org/none"),
        of("image-to-text", *DINO),
        # Folders with the same names.
        of("image-classification", *DINO, revision="local-1234"),
    ],
    ids=["one checkpoint", "no table of the task", "folders"],
)
def test_without_two_values_there_is_no_column(ranking):
    assert ranking.published_table is None
    assert set(values(ranking)) == {None}
    assert "published" not in tables(ranking)[0][0]
    assert "published" not in flat_records(ranking)[0]


def test_tasks_that_a_checkpoint_trains_on_are_in_parentheses():
    ranking = of("text-retrieval", "lightonai/DenseOn", "Alibaba-NLP/gte-base-en-v1.5")
    titles, cells = tables(ranking)[0]
    assert [line[titles.index("published")] for line in cells] == ["56.2 (11)", "54.1"]
    assert [record["published_trained_on"] for record in flat_records(ranking)] == [11, None]


def test_merged_rankings_have_values_of_one_table():
    images = (
        of("image-classification", *DINO),
        of("image-classification", *TIMM, "microsoft/swin-tiny-patch4-window7-224"),
    )
    both = merged(*images)
    assert both.published_table == PUBLIC_TABLES["imagenet"]
    assert {row.checkpoint for row in both.rows if row.published is None} == set(DINO)


def test_the_default_lists_follow_their_rule(capsys):
    assert default_checkpoints.main([]) == 0, capsys.readouterr().out


def test_a_checkpoint_without_an_open_license_is_reported():
    presets = default_checkpoints.checkpoint_presets()["translation"]
    closed = type(presets[0])("org/closed", parameters=2_000_000_000, license="cc-by-nc-4.0", table="none")
    assert len(list(default_checkpoints.problems("translation", [*presets, closed]))) == 3
