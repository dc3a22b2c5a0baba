"""Published results: which table counts, and which checkpoint is best in it."""

import pytest

from hf_emms.presets.public_results import public_results
from scripts import default_checkpoints


@pytest.mark.parametrize(
    ("task", "checkpoints", "table", "best"),
    [
        (
            "text-retrieval",
            ["BAAI/bge-small-en-v1.5@abc", "lightonai/DenseOn", "org/none"],
            "beir",
            "lightonai/DenseOn",
        ),
        (
            "automatic-speech-recognition",
            ["openai/whisper-base.en", "UsefulSensors/moonshine-base"],
            "wer",
            "UsefulSensors/moonshine-base",
        ),
        ("image-classification", ["facebook/dinov2-small", "facebook/dinov2-base"], "mieb", "facebook/dinov2-base"),
        (
            "image-classification",
            [
                "facebook/dinov2-small",
                "timm/tiny_vit_5m_224.dist_in22k_ft_in1k",
                "timm/tiny_vit_21m_224.dist_in22k_ft_in1k",
            ],
            "imagenet",
            "timm/tiny_vit_21m_224.dist_in22k_ft_in1k",
        ),
    ],
)
def test_the_table_with_most_of_the_checkpoints_counts(task, checkpoints, table, best):
    results = public_results(task, checkpoints)
    assert (results.table, results.best) == (table, best)
    assert set(results.values) <= set(checkpoints)


def test_one_known_checkpoint_is_not_an_order():
    assert public_results("text-retrieval", ["lightonai/DenseOn", "org/none"]) is None
    assert public_results("text-classification", ["lightonai/DenseOn", "BAAI/bge-small-en-v1.5"]) is None


def test_the_default_lists_follow_their_rule(capsys):
    assert default_checkpoints.main([]) == 0, capsys.readouterr().out


def test_a_checkpoint_without_an_open_license_is_reported():
    presets = default_checkpoints.checkpoint_presets()["translation"]
    closed = type(presets[0])("org/closed", parameters=2_000_000_000, license="cc-by-nc-4.0", table="none")
    assert len(list(default_checkpoints.problems("translation", [*presets, closed]))) == 3
