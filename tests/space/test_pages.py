"""The pages over plain HTTP, as a browser without scripts and a program see them."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

import pytest
from leaderboard.checks import recomputed
from leaderboard.page import POLICY

from hf_emms.ranking import Ranking
from tests.helpers.rankings import example
from tests.helpers.space import BEANS, HOSTILE

TABS = ("rankings", "across", "submit", "about", "api")


def page(pages, query=""):
    answer = pages.get(f"/?{query}")
    assert answer.status_code == 200
    return answer.text


def names(text):
    """The checkpoints of the table that are shown, in its order."""
    rows = re.findall(r'<tr([^>]*)>.*?<th scope="row" class="checkpoint"><a [^>]*>(.*?)</a>', text)
    return [unescape(re.sub("<[^>]+>", "", cell)) for attributes, cell in rows if not attributes.endswith("hidden")]


def answer_of(text):
    """The three lines of the answer."""
    block = re.findall(r'<div class="verdict"[^>]*>(.*?)<details>', text, re.DOTALL)[0]
    return [unescape(re.sub("<[^>]+>", "", line)) for line in re.findall("<p[^>]*>(.*?)</p>", block, re.DOTALL)]


def test_a_page_has_the_answer_the_rows_the_controls_code_to_copy_and_the_words_of_link_previews(pages):
    text = page(pages, BEANS)
    assert names(text) == [row.checkpoint for row in example().rows]
    here = "task=image-classification&amp;ranking=image%2Fbeans"
    for part in (
        '<meta property="og:title" content="beans · Rankings · EMMS leaderboard">',
        'og:description" content="org/best and org/close tie: take the smallest, org/best (309k parameters).',
        "failed: the weights are truncated",
        '<option value="image/beans" selected>beans</option>',
        *(f">{option}</option>" for option in ("100M (2)", "any", "image-classification (2)")),
        f'<p class="answer">Fine-tune <a href="?{here}&amp;checkpoint=org%2Fbest">',
        "and org/close tie: take the smallest, org/best",
        "hf-emms rank --dataset AI-Lab-Makerere/beans --split train --task image-classification --image-column image",
    ):
        assert part in text
    assert "Library" not in re.findall("<legend>(.*?)</legend>", text)  # nothing is known of it here
    assert answer_of(text) == [
        "Fine-tune org/best: tie",
        "explained 0.50 ± 0.01 · 309k parameters · license unknown · "
        "fine-tuning about 8s (quick) to 29s (full), 4.9 MB",
        "Could change it: org/close could also win; checkpoints failed",
    ]
    assert answer_of(page(pages, f"{BEANS}&q=worse"))[0] == "Fine-tune org/worse: best estimate"
    assert "org/close could also win" in answer_of(page(pages, f"{BEANS}&q=best%7Cclose"))[2]
    code = page(pages, f"{BEANS}&checkpoint=org%2Fbest")
    assert f"AutoModel.from_pretrained(&#34;org/best&#34;, revision=&#34;{'a' * 40}&#34;)" in code
    assert "--label-column labels --checkpoint org/best --confirm 1" in code


def test_the_part_that_scripts_fetch_is_that_of_the_page(pages):
    for tab in TABS:
        query = f"{BEANS}&tab={tab}&q=best"
        part, whole = pages.get(f"/view?{query}").text, page(pages, query)
        assert part[part.index("<main") : part.index("</main>")] in whole
        title = re.findall("<title>.*?</title>", part)[0]
        assert title in whole


class Elements(HTMLParser):
    """The elements of a page that could do harm: how they are called and what they lead to."""

    def __init__(self, text):
        super().__init__()
        self.harmful = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        links = [value for name, value in attributes if name in ("href", "action", "src")]
        allowed = ("https://huggingface.co/", "?", "export?", "#")
        if (
            tag in ("img", "b", "script", "iframe", "object")
            or any(name.startswith("on") for name, _ in attributes)
            or any(link and not link.startswith(allowed) for link in links)
        ):
            self.harmful.append((tag, attributes))


def harmful(text):
    main = text[text.index("<main") : text.index("</main>")]
    return [(tag, kept) for tag, kept in Elements(main).harmful if not (tag == "b" and set(dict(kept)) == {"style"})]


HOSTILE_QUERIES = {
    "many licenses": "&".join(f"license={number}" for number in range(150)),
    "very many fields": "a=&" * 4000,
    "no text": "ranking=" + "%00%ff" * 50,
    "no choice": "sort=-&rows=-1&columns=a,b&tab=x&cost=x",
    "names": urlencode([("ranking", name) for name in HOSTILE] + [("q", name) for name in HOSTILE]),
    "a checkpoint": urlencode([("checkpoint", HOSTILE[0])]),
    "filters": urlencode({"tab": "across", "license": HOSTILE[1], "library": HOSTILE[5]}),
}


@pytest.mark.parametrize("case", HOSTILE_QUERIES)
def test_no_address_is_an_error_and_what_it_says_is_only_text(pages, case):
    query = HOSTILE_QUERIES[case]
    for path in ("/", "/view"):
        answer = pages.get(f"{path}?{query}")
        assert answer.status_code in (200, 404)
        assert not harmful(answer.text)
        assert HOSTILE[0] not in answer.text
    assert pages.get(f"/export?{query}&kind=../../x").status_code == 404


def test_hostile_names_are_only_text_in_every_view_and_no_script_but_the_pages_own_is_allowed(pages):
    for tab in TABS:
        text = page(pages, f"task=feature-extraction&ranking=hostile&tab={tab}")
        assert not harmful(text)
        assert unescape(re.findall('Content-Security-Policy" content="([^"]*)"', text)[0]) == POLICY
    assert "unsafe-inline" not in POLICY.partition("style-src")[0]
    rows = csv.DictReader(io.StringIO(pages.get("/export?ranking=hostile&kind=csv").text))
    checkpoints = [row["checkpoint"] for row in rows]
    assert len(checkpoints) == len(HOSTILE) + 1
    assert not [name for name in checkpoints if name.startswith(("=", "+", "-", "@"))]  # a spreadsheet would run it


def test_the_home_page_has_a_line_for_each_dataset_and_finds_them(pages):
    home = page(pages)
    for task in ("Image classes", "Text classes"):
        assert f'<span class="error">{task}</span>' in home
    assert '<a href="?task=image-classification&amp;ranking=image%2Fbeans">' in home
    assert "tie" in home
    assert names(home)[1:3] == ["beans", "food"]
    assert names(page(pages, "tab=home&q=beans")) == ["beans"]
    assert names(page(pages, "tab=home&q=org/best")) == ["beans", "food"]
    assert names(page(pages, "tab=home&q=photo+beans")) == ["beans"]
    assert 'data-if="empty">No dataset, task or checkpoint' in page(pages, "tab=home&q=nowhere")


def test_the_page_of_a_checkpoint_leads_back_to_the_dataset_and_filters_that_led_there(pages):
    filtered = f"{BEANS}&q=best&trained=unseen"
    (link, *_) = re.findall(r'href="\?([^"]*checkpoint=org%2Fbest[^"]*)"', page(pages, filtered))
    (back,) = re.findall(r'href="\?([^"]*)">← back to the ranking', page(pages, unescape(link)))
    assert dict(parse_qsl(unescape(back))) == dict(parse_qsl(filtered))


def test_downloads_hold_what_is_shown(pages):
    query = f"{BEANS}&q=org%2F&max=100M&sort=-parameters"
    link = unescape(re.findall(r'href="(export\?[^"]*kind=csv)"', page(pages, query))[0])
    assert dict(parse_qsl(link.partition("?")[2])) == dict(parse_qsl(query)) | {"kind": "csv"}
    answer = pages.get(f"/{link}")
    assert answer.headers["content-disposition"] == 'attachment; filename="emms-beans.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    expected = {row.checkpoint: row for row in recomputed(example()).rows}
    assert [row["checkpoint"] for row in rows] == ["org/worse", "org/best"]
    assert float(rows[0]["emms"]) == expected["org/worse"].scores["emms"].value
    assert float(rows[1]["emms_stderr"]) == expected["org/best"].scores["emms"].stderr
    ranking = Ranking.from_json(pages.get(f"/export?{query}&kind=json").content)
    assert list(ranking.rows) == [expected["org/best"], expected["org/worse"]]  # a ranking is in order


def test_submitting_tells_good_from_bad(pages):
    def post(**fields):
        answer = pages.post("/?tab=submit", **fields)
        return unescape(re.sub("<[^>]+>", "", answer.text[answer.text.index('id="emms-result"') :]))

    bad = post(data={"pasted": '{"schema_version": 1, "dataset": 3}'})
    assert "This is not a ranking: Expected `str`, got `int` - at `$.dataset`" in bad
    good = post(files={"file": ("ranking.json", example().to_json())})
    assert "This is a ranking of 4 checkpoints for beans, image-classification." in good
    assert "hf-emms publish results --repo-id org/emms-results --ranking ranking.json --create-pr" in good
    assert "<script>window" not in pages.post("/?tab=submit", data={"pasted": HOSTILE[1]}).text


@pytest.mark.parametrize("query", ["ranking=gone", "task=gone", "checkpoint=org%2Fgone", "ranking=gone&tab=across"])
def test_what_does_not_exist_is_not_found_and_leads_on(pages, query):
    answer = pages.get(f"/?{query}")
    assert answer.status_code == 404
    assert "gone. It was removed, or the link is wrong" in answer.text
    assert '<a aria-current="page"' in answer.text


@pytest.mark.parametrize("query", ["", "utm_source=x", "__theme=dark"])
def test_parameters_of_others_lead_to_the_home_page(pages, query):
    assert "all datasets" in pages.get(f"/?{query}").text.partition("</title>")[0]


def test_a_body_is_cut_at_the_limit_whether_or_not_it_says_its_length(pages):
    def chunks():
        yield b"pasted="
        for _ in range(300):
            yield b"x" * 1_000_000

    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = pages.post("/?tab=submit", content=chunks(), headers=headers)
    for cut in (answer, pages.post("/?tab=submit", data={"pasted": "x" * 7_000_000})):
        assert cut.status_code == 413
        assert "limit of 3 MB" in cut.text


@pytest.mark.parametrize("path", ["/", "/?ranking=gone", "/?tab=submit", "/view?tab=across", "/export?kind=csv"])
def test_a_head_request_has_the_status_and_headers_of_a_get_request(pages, path):
    head, get = pages.head(path), pages.get(path)
    assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")


def test_pages_come_compressed(pages):
    answer = pages.get("/", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 0.35 * len(answer.content)
    plain = pages.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
