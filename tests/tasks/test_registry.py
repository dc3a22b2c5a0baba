"""The task registry and what it does to labels."""

import pickle
from dataclasses import replace

import pytest
from datasets import Dataset

from hf_emms.errors import EmmsError
from hf_emms.tasks import TASKS, clean_class_name, get_task, hub_tag
from tests.helpers.samples import load_sample


def test_every_task_is_found_under_its_id_and_its_aliases_however_they_are_typed() -> None:
    assert set(TASKS) == {
        *("image-classification", "image-to-text", "visual-question-answering"),
        *("text-classification", "question-answering", "referring-expression", "text-regression"),
        *("image-regression", "audio-classification", "automatic-speech-recognition"),
        *("text-pair-classification", "sentence-similarity", "token-classification", "span-classification"),
        *("image-text-to-text", "text-generation", "summarization", "translation", "text-retrieval", "text-ranking"),
        "preference",
    }
    for task in TASKS.values():
        for name in (task.id, *task.aliases):
            assert get_task(f" {name.replace('-', '_').title()}") is get_task(name.replace("-", " ")) is task


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("sentiment-analysis", "text-classification"),  # also an alias of transformers
        ("ner", "token-classification"),
        ("natural-language-inference", "text-pair-classification"),
        ("image-captioning", "image-to-text"),
        ("keyword-spotting", "audio-classification"),
        ("asr", "automatic-speech-recognition"),
    ],
)
def test_sub_tasks_of_the_hub_are_aliases(name: str, task: str) -> None:
    assert get_task(name).id == task


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(EmmsError) as caught:
        get_task("depth-estimation")
    assert "depth-estimation" in caught.value.message
    assert all(task_id in str(caught.value.hint) for task_id in TASKS)


def test_worker_processes_get_tasks() -> None:
    for task in TASKS.values():
        assert pickle.loads(pickle.dumps(task)).id == task.id


def test_class_names_become_words() -> None:
    words = {
        **{"apple_pie": "apple pie", "  Faces__easy ": "Faces easy", "AnnualCrop": "Annual Crop"},
        **{"n02085620-Chihuahua": "Chihuahua", "n02085620-german_shepherd": "german shepherd"},
        **{"001.Black_footed_Albatross": "Black footed Albatross", "2012_BMW": "2012 BMW"},
    }
    unchanged = ("iPhone", "McDonald", "BMW", "T-shirt/top", "737-700", "C++", "noun.animal", "__")
    assert {name: clean_class_name(name) for name in (*words, *unchanged)} == words | {name: name for name in unchanged}


def test_captions_and_answers_are_lower_cased_and_class_names_are_not() -> None:
    assert get_task("image-captioning").label_text(" A  Red\nApple. ") == "a red apple."
    assert get_task("text-classification").label_text("Sci_Tech") == "Sci Tech"
    assert [get_task("vqa").label_text(answer) for answer in ("A.", ".", "U.S.")] == ["a", ".", "u.s."]


def test_candidates_are_searched_by_the_tags_of_the_hub() -> None:
    task = get_task("question-answering")
    assert task.pipeline_tags == ("question-answering", "fill-mask", "feature-extraction")
    assert replace(task, hub_tags=("qa",)).pipeline_tags == ("qa", "fill-mask", "feature-extraction")
    # Checkpoints for entailment carry the tag of those for single texts, and so do datasets and models that we make.
    assert get_task("nli").pipeline_tags[0] == hub_tag("text-pair-classification") == "text-classification"
    assert hub_tag("of-another-package") == "of-another-package"


@pytest.mark.parametrize("task", ["text-classification", "text-regression", "summarization"])
def test_a_list_of_sentences_is_one_text(task: str) -> None:
    label = [*range(20)] if task == "text-regression" else ["so", "no"] * 10
    rows = {"text": [[f"Row {row}.", "", "So it is."] for row in range(20)], "label": label}
    columns = {"document": "text", "summary": "label"} if task == "summarization" else {}
    sample = load_sample(Dataset.from_dict(rows), task=task, columns=columns)
    texts = [content if isinstance(content, str) else content[-1].text for content in sample.inputs]
    assert sorted(texts) == sorted(f"Row {row}. So it is." for row in range(20))
