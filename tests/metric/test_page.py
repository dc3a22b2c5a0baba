"""The metric's page in a browser: it runs in a process of its own, as its Space runs it."""

import re

import numpy as np
import pytest

from scripts.docs.screenshots import PAGES
from tests.helpers.browser import served

CHART = ".vega-embed canvas, .vega-embed svg"


@pytest.fixture(scope="module")
def address():
    with served(PAGES["metric"].app) as running:
        yield running


@pytest.fixture
def page(address, open_page):
    return open_page(address)


def upload(page, features, labels=None):
    page.get_by_role("tab", name="Upload").click()
    page.locator("input[type=file]").first.set_input_files(str(features))
    uploaded = page.locator(".file-preview")  # not there before the server has the file
    uploaded.get_by_text(features.stem).first.wait_for()
    if labels is not None:
        page.locator("input[type=file]").last.set_input_files(str(labels))
        uploaded.get_by_text(labels.stem).first.wait_for()
    page.get_by_role("button", name="Score the files").click()


def result(page):
    page.get_by_role("heading", name=re.compile("^score")).wait_for()
    cells = [cell.inner_text() for cell in page.locator("#result td").all()]
    return dict(zip(cells[::2], cells[1::2], strict=True))


def complaint(page):
    page.get_by_role("heading", name="This cannot be scored").wait_for()
    return page.locator("#result").inner_text()


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    return x, x @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(60, 3))


def test_the_example(page):
    page.get_by_role("button", name="Score the example").click()
    found = result(page)
    page.locator(CHART).first.wait_for()
    assert 0.5 < float(found["R²"]) < 1
    assert (found["rows"], found["feature width"]) == ("300", "16")
    page.get_by_label("Method").click()
    page.get_by_role("option", name="the official function").click()
    page.get_by_role("button", name="Score the example").click()
    page.wait_for_function("before => !document.body.innerText.includes(before)", arg=found["R²"])


def test_one_npz_file(page, rows, tmp_path):
    x, z = rows
    np.savez(tmp_path / "both.npz", features=x, references=np.stack([z, z[:, ::-1]], axis=1))
    upload(page, tmp_path / "both.npz")
    found = result(page)
    assert (found["rows"], found["feature width"]) == ("60", "5")
    assert float(found["R²"]) > 0.9
    page.locator(CHART).first.wait_for()


def test_csv_files_with_class_names(page, rows, tmp_path):
    x, _ = rows
    np.savetxt(tmp_path / "features.csv", x, delimiter=",", header="a,b,c,d,e", comments="")
    (tmp_path / "classes.csv").write_text("\n".join("cat" if row[0] > 0 else "dog" for row in x))
    upload(page, tmp_path / "features.csv", tmp_path / "classes.csv")
    found = result(page)
    assert (found["rows"], found["feature width"]) == ("60", "5")
    page.get_by_text("The best mixture of the F-labels").wait_for()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notzip.npz", b"hello", "notzip.npz is not an .npz file"),
        ("ragged.csv", b"1,2\n3,4\n5\n", "line 3: its length is 1, that of line 1 is 2"),
        ("words.csv", b"1,2\n3,x\n", "line 2: 'x' is not a number"),
        ("empty.csv", b"\n", "empty.csv is empty"),
        ("binary.csv", b"\xff\xfe\x00\x81", "binary.csv is not a text file"),
        ("names.csv", b"cat\ndog\n", "the file with features holds texts"),
        ("nan.csv", b"1,nan\n2,3\n", "NaN"),
        ("short.csv", b"1,2\n3,4\n", "predictions has 2 rows but references has 60"),
    ],
)
def test_a_bad_file_is_explained(page, rows, tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    np.savetxt(tmp_path / "labels.csv", rows[1], delimiter=",")
    upload(page, tmp_path / name, tmp_path / "labels.csv")
    assert expected in complaint(page)


def test_an_archive_without_the_arrays_and_no_file_at_all(page, tmp_path):
    page.get_by_role("tab", name="Upload").click()
    page.get_by_role("button", name="Score the files").click()
    assert "no file with features yet" in complaint(page)
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    upload(page, tmp_path / "other.npz")
    page.get_by_text("no array called predictions or features").wait_for()
