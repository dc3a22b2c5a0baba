"""Rankings whose labels are numbers or mixtures: the embedded labels, and the notes about them."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest

import hf_emms
from hf_emms.errors import Note
from hf_emms.hub import resolve
from hf_emms.options import Options
from hf_emms.publish.card_entries import rank_command
from hf_emms.ranking.progress import Progress
from hf_emms.run.label_embeddings import embed_texts, label_table
from hf_emms.run.plan import make_plan
from tests.helpers.rows import answered
from tests.helpers.samples import load_sample

ENCODER = "emms-demo/encoder-minilm-static"
CHECKPOINT = "emms-demo/bert-random"


def rated(n: int = 60) -> datasets.Dataset:
    """Texts and how many words they have."""
    texts = [" ".join(["word"] * (1 + i % 7)) + f" {i}" for i in range(n)]
    return datasets.Dataset.from_dict({"text": texts, "score": [float(len(text.split())) for text in texts]})


def test_labels_that_are_numbers_need_no_encoder() -> None:
    ranking = hf_emms.rank(rated(), CHECKPOINT, estimators=("emms", "logme", "knn"), cache=False)
    (row,) = ranking.rows
    assert (row.error, set(row.scores)) == (None, {"emms", "logme", "knn"})
    assert (ranking.task, ranking.settings["label_form"]) == ("text-regression", "numbers")
    assert [(encoder.id, encoder.revision, encoder.width) for encoder in ranking.encoders] == [
        ("label (numbers)", "", 9)
    ]
    # The length of a text is easily read off its embedding.
    assert row.scores["emms"].details["r2"] > 0.3


def test_encoders_that_are_not_used_are_told() -> None:
    for encoders in (ENCODER, None):
        options = Options.of(rated(), checkpoints=CHECKPOINT, encoders=encoders, cache=False)
        notes = make_plan(options, Progress()).notes
        assert ("encoders-unused" in [note.code for note in notes if isinstance(note, Note)]) == bool(encoders)


def test_numbers_stand_beside_the_encoders_of_their_words() -> None:
    both = hf_emms.rank(rated(), CHECKPOINT, encoders=ENCODER, label_form="both", estimators="emms", cache=False)
    assert [encoder.id for encoder in both.encoders] == [ENCODER, "label (numbers)"]
    assert len(both.rows[0].scores["emms"].details["weights"]) == 2
    assert f"--encoder {ENCODER}" in rank_command(both, [CHECKPOINT])


def test_an_f_label_of_several_texts_is_the_mean_of_their_embeddings() -> None:
    captions = [["a red cat", "a cat"], ["a dog"], ["a cat", "a cat", "a dog", "a cow"]]
    rows = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "labels": captions})
    request = Options.of(rows, checkpoints=(CHECKPOINT,), encoders=(ENCODER,), folds=3, cache=False)
    labels = label_table(make_plan(request, Progress()))
    target = load_sample(rows)
    texts = ("a cat", "a cow", "a dog", "a red cat")
    assert target.label_texts == texts
    cat, cow, dog, red = embed_texts(resolve(ENCODER, "model"), texts)
    means = {"x": (red + cat) / 2, "y": dog, "z": (2 * cat + dog + cow) / 4}
    for place, code in zip(target.input_of_row, labels.codes, strict=True):
        assert np.allclose(labels.tables[0][code], means[target.inputs[int(place)]], atol=1e-5)
    assert not labels.categorical


def test_spans_are_rows_of_two_classes_for_every_estimator(emms_cache: Path) -> None:
    options = {"encoders": ENCODER, "max_samples": 60}
    names = ("emms", "emms_exact", "logme", "logme_flabels", "hscore", "knn")
    ranking = hf_emms.rank("demo_spans", ["emms-demo/bert-distilled", CHECKPOINT], estimators=names, **options)  # type: ignore[arg-type]
    assert [row.error for row in ranking.rows] == [None, None]
    assert [row.checkpoint for row in ranking.rows] == ["emms-demo/bert-distilled", CHECKPOINT]
    assert all(set(row.scores) == set(names) for row in ranking.rows)
    assert (ranking.settings["label_form"], ranking.n_labels, ranking.settings["max_samples"]) == ("spans", 2, 60)
    assert 3.9 * ranking.n_inputs < ranking.n <= 4 * ranking.n_inputs <= 240
    assert "--label-form spans" in rank_command(ranking, [CHECKPOINT])
    assert ranking.rows[0].pooling == "mean of the span's tokens, read with question and context"
    streamed = hf_emms.rank("demo_spans", CHECKPOINT, estimators="emms", cache=False, **options)  # type: ignore[arg-type]
    kept, again = ranking.row(CHECKPOINT).scores["emms"], streamed.rows[0].scores["emms"]
    assert again.value == pytest.approx(kept.value, abs=1e-6)


def test_answers_as_texts_are_other_rows_of_the_same_questions(emms_cache: Path) -> None:
    forms = [hf_emms.rank(answered(), CHECKPOINT, encoders=ENCODER, label_form=form) for form in ("spans", "text")]  # type: ignore[arg-type]
    assert [(one.settings["label_form"], one.n, one.n_inputs) for one in forms] == [("spans", 80, 20), ("text", 20, 20)]
    assert [one.rows[0].width for one in forms] == [32, 64]
    assert [one.rows[0].cached for one in forms] == ["none", "none"]
