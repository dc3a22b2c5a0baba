"""The metric's page: it runs in a separate process, as in its Space, and answers a browser or a client."""

import re
import runpy
import sys
from types import ModuleType

import numpy as np
import pytest

from hf_emms.publish.metric import source_folder
from scripts.docs.screenshots import PAGES
from tests.helpers.browser import served

gradio_client = pytest.importorskip("gradio_client")

CHART = ".vega-embed canvas, .vega-embed svg"
METHOD = "held out, ridge and nearest rows (default)"


@pytest.fixture(scope="module")
def address():
    with served(PAGES["metric"].app) as running:
        yield running


@pytest.fixture
def page(address, open_page):
    return open_page(address)


@pytest.fixture(scope="module")
def score(address):
    """Sends files, or nothing, to the page; returns its words, and the weights that it draws."""
    client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    (folds,) = (part["props"] for part in client.config["components"] if part["type"] == "slider")
    assert [folds[name] for name in ("minimum", "maximum", "step", "value")] == [2, 10, 1, 5]

    def send(features=None, labels=None, method=METHOD):
        files = [None if path is None else gradio_client.handle_file(str(path)) for path in (features, labels)]
        words, plot = client.predict(*files, method, 5, api_name="/files")
        return words, plot and dict(plot["data"])

    yield send
    client.close()


def upload(page, features, labels):
    uploaded = page.locator(".file-preview")  # not there before the server has the file
    for path, place in ((features, 0), (labels, -1)):
        page.locator("input[type=file]").nth(place).set_input_files(str(path))
        uploaded.get_by_text(path.stem).first.wait_for()


def result(page):
    page.get_by_role("heading", name=re.compile("^score")).wait_for()
    cells = [cell.inner_text() for cell in page.locator("#result td").all()]
    return dict(zip(cells[::2], cells[1::2], strict=True))


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


@pytest.mark.slow
def test_uploaded_files(page, rows, tmp_path):
    x, _ = rows
    np.savetxt(tmp_path / "features.csv", x, delimiter=",", header="a,b,c,d,e", comments="")
    (tmp_path / "classes.csv").write_text("\n".join("cat" if row[0] > 0 else "dog" for row in x))
    page.get_by_role("tab", name="Upload").click()
    page.get_by_role("button", name="Score the files").click()
    page.get_by_role("heading", name="This cannot be scored").wait_for()
    upload(page, tmp_path / "features.csv", tmp_path / "classes.csv")
    page.get_by_role("button", name="Score the files").click()
    found = result(page)
    assert (found["rows"], found["feature width"]) == ("60", "5")
    page.get_by_text("The best mixture of the F-labels").wait_for()


def test_one_npz_file(score, rows, tmp_path):
    x, z = rows
    np.savez(tmp_path / "both.npz", features=x, references=np.stack([z, z[:, ::-1]], axis=1))
    told, weights = score(tmp_path / "both.npz")
    assert "| rows | 60 |\n| feature width | 5 |" in told
    assert float(re.search(r"R² \| ([\d.]+)", told)[1]) > 0.9
    assert [*weights] == ["F-label 1", "F-label 2"]
    assert told.endswith(f"of the F-labels: {', '.join(f'{weight:.3f}' for weight in weights.values())}")


BAD = {
    "notzip.npz": (b"hello", "notzip.npz is not an .npz file"),
    "ragged.csv": (b"1,2\n3,4\n5\n", "line 3: its length is 1, that of line 1 is 2"),
    "words.csv": (b"1,2\n3,x\n", "line 2: 'x' is not a number"),
    "named.csv": (b"a,b\n3,4\n5,x\n", "line 3: 'x' is not a number"),
    "empty.csv": (b"\n", "empty.csv is empty"),
    "binary.csv": (b"\xff\xfe\x00\x81", "binary.csv is not a text file"),
    "names.csv": (b"cat\ndog\n", "the file with features contains texts"),
    "nan.csv": (b"1,nan\n2,3\n", "NaN"),
    "short.csv": (b"1,2\n3,4\n", "predictions has 2 rows but references has 60"),
}


def test_csv_contains_numbers_or_one_column_of_texts(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))  # which reading needs not
    monkeypatch.syspath_prepend(str(source_folder()))
    app = runpy.run_path(str(source_folder() / "app.py"))
    for text, table in {
        "1,2\n\n3,4\n": [[1, 2], [3, 4]],
        "a,b\n1,2\n": [[1, 2]],
        "y\n1\n": [[1]],
        "0.5\n1\n": [[0.5], [1]],
        "0\n1\n": ["0", "1"],
        " cat\ndog \n": ["cat", "dog"],
    }.items():
        assert app["_read_table"](text, "a.csv").tolist() == table
    assert [part.shape for part in app["example"]()] == [(300, 16), (300, 2, 6)]


def test_invalid_file_is_explained(score, rows, tmp_path):
    np.savetxt(tmp_path / "labels.csv", rows[1], delimiter=",")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    cases = [(tmp_path / name, tmp_path / "labels.csv", words) for name, (_, words) in BAD.items()]
    cases += [
        (tmp_path / "other.npz", None, "contains x, but no array called predictions or features"),
        (None, None, "file with features is missing"),
        (tmp_path / "short.csv", None, "file with labels is missing"),
    ]
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    for features, labels, words in cases:
        told, _ = score(features, labels)
        assert told.startswith("### This cannot be scored\n"), told
        assert words in told
