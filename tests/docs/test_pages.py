"""Links, files and objects exist, and figures equal the measured ones."""

from __future__ import annotations

import re
import tomllib

import yaml

import hf_emms
from hf_emms.ranking.records import RankingData, Row
from tests import ROOT
from tests.docs.pages import PAGES, code_spans, fences, imports, resolves, title_of

PATH = re.compile(r"(?:hf_emms|tests|scripts|docs|spaces_app|templates|\.ci|\.github)/[\w./*{}-]*")
NUMBERS = re.compile(r"[\d.]+×?\*{0,2} \[[\d.]+ … [\d.]+\]")


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    targets = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert len(targets) > 150
    assert sum("#" in target for _, target in targets) > 30
    for page, target in targets:
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), (page, target)
        assert not anchor or anchor in anchors(file), (page, target)


def test_named_files_and_objects_exist():
    spans = {span for page in PAGES for span in code_spans(page)}
    paths = {span for span in spans if PATH.fullmatch(span)}
    objects = {span for span in spans - paths if re.fullmatch(r"(hf_emms|scripts)(\.\w+)+(\(.*\))?", span)}
    assert (len(paths) > 30, len(objects) > 15) == (True, True)
    assert {path for path in paths if not any(ROOT.glob(path.rstrip("/")))} == set()
    assert {name for name in objects if not resolves(name.partition("(")[0])} == set()


def test_python_examples_use_what_exists():
    blocks = [block for page in PAGES for block in fences(page, "python")]
    names = {name for block in blocks for name in (*re.findall(r"\bhf_emms\.\w+", block), *imports(block))}
    assert len(names) > 5
    assert {name for name in names if not resolves(name)} == set()


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
