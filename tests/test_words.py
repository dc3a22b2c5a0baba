"""What users read is right also where there is one of something."""

import datasets

from tests.helpers.samples import load_sample


def test_notes_of_a_sample_count_what_there_is_one_of() -> None:
    texts = [f"text {number}" for number in range(40)]
    data = datasets.Dataset.from_dict({"text": ["", *texts], "label": ["a", *"ab" * 20]})
    told = " | ".join(load_sample(data, columns={"label": "label"}).notes)
    assert "| 1 row left out (row 1: the text is empty)" in told
    assert "2 classes of 1 to 2 rows" in " | ".join(load_sample(data.select([1, 2, 3])).notes)
