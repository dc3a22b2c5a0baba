"""Links, files and objects exist, and figures equal the measured ones."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

import hf_emms
from hf_emms.ranking.records import RankingData, Row
from tests import ROOT
from tests.docs.pages import PAGES, code_spans, fences, imports, name_of, resolves, title_of

PATH = re.compile(r"(?:hf_emms|tests|scripts|docs|spaces_app|templates|\.ci|\.github)/[\w./*{}-]*")
NUMBERS = re.compile(r"[\d.]+×?\*{0,2} \[[\d.]+ … [\d.]+\]")


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_and_objects_exist(page):
    for span in code_spans(page):
        if PATH.fullmatch(span):
            assert any(ROOT.glob(span.rstrip("/"))), span
        elif re.fullmatch(r"(hf_emms|scripts)(\.\w+)+(\(.*\))?", span):
            assert resolves(span.partition("(")[0]), span


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_import_what_exists(page):
    for block in fences(page, "python"):
        for imported in imports(block):
            assert resolves(imported), imported
            alias = imported.rpartition(".")[2]
            for name in re.findall(rf"\b{alias}\.(\w+)", block) if alias.islower() else ():
                assert resolves(f"{imported}.{name}"), name
        for name in set(re.findall(r"\bhf_emms\.\w+", block)):
            assert resolves(name), name


def test_contributing_names_what_is_in_the_files():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    pairs = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    assert len(pairs) >= 3
    for name, path in pairs:
        assert re.search(rf"^(class |def )?{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.M), (name, path)


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {file.name for pattern in ("*.md", "*.ipynb") for file in (ROOT / "docs").glob(pattern)} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_the_index_names_pages_by_their_titles():
    index = ROOT / "docs" / "README.md"
    links = re.findall(r"\[([^\]]+)\]\(([\w-]+\.md)\)", index.read_text(encoding="utf-8"))
    assert len(links) > 40
    assert [text for text, page in links if text != title_of(index.parent / page)] == []


def test_the_page_of_the_json_format_has_every_field():
    page = next(page for page in PAGES if page.name == "json-format.md")
    fields = {*RankingData.__struct_fields__, *Row.__struct_fields__}
    assert fields - {*code_spans(page)} == set()


def test_the_readme_quotes_figures_that_were_measured():
    speed = (ROOT / "README.md").read_text(encoding="utf-8").split("## How good, how fast")[1].split("\n## ")[0]
    measured = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    quoted = NUMBERS.findall(speed)
    assert len(quoted) == speed.count(" … ") > 0
    assert [figure for figure in quoted if figure not in measured] == []


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == hf_emms.__version__
    assert citation["license"] == project["license"]
    assert f"## {hf_emms.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
