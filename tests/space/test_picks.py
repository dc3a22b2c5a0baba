"""Every page, file and endpoint names the same checkpoint to fine-tune, and follows the filters."""

from __future__ import annotations

import csv
import io
import itertools
import random
import re
from html import unescape
from urllib.parse import urlencode

import msgspec
import pytest
from leaderboard import answer, home
from leaderboard.endpoints import Endpoints
from leaderboard.selection import SIZES, View

from hf_emms.publish.card_text import card
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, ranked
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.verdict import verdict
from tests.helpers.rankings import calibrated, emms_score
from tests.helpers.space import client_of, of_rows, scored, store_of, write
from tests.space.test_pages import names as shown_names

TIED, SMALL = (0.0, 0.02, -0.02), (0.0, -0.02, 0.02)


def row(name: str, score: float, folds: tuple[float, ...], parameters: int, **changes: object) -> Row:
    scores = {"emms": emms_score(*(score + step for step in folds))}
    return Row(name, "a" * 40, scores=scores, parameters=parameters, **changes)  # type: ignore[arg-type]


def shared() -> Ranking:
    """A ranking whose first two tie, the larger one first by score; others follow."""
    rows = [
        row("org/large", -0.1, TIED, 90_000_000, license="mit"),
        row("org/small", -0.11, SMALL, 20_000_000, license="apache-2.0"),
        row("org/worse", -0.4, TIED, 10_000_000, license="mit"),
    ]
    return of_rows("shared", rows=ranked(rows, "emms"), estimators=("emms",))


def tuned(ranking: Ranking, *names: str) -> Ranking:
    """Return a ranking whose checkpoints are fine-tuned, the first name the best."""
    results = {
        name: FineTuned("accuracy", 0.9 - place / 10, 0.01, 0.9 - place / 10) for place, name in enumerate(names)
    }
    rows = [msgspec.structs.replace(row, fine_tuned=results.get(row.checkpoint)) for row in ranking.rows]
    return msgspec.structs.replace(ranking, rows=tuple(rows))


@pytest.fixture
def asked(tmp_path):
    write(tmp_path, "shared", shared())
    write(
        tmp_path,
        "single",
        tuned(of_rows("single", scored("org/one", -0.1, 10), scored("org/two", -0.2, 20)), "org/one"),
    )
    store = store_of(tmp_path)
    return Endpoints(store), store.snapshot


def test_of_a_shared_first_rank_everything_names_the_same_checkpoint(asked) -> None:
    endpoints, snapshot = asked
    ranking = snapshot.entries["shared"].ranking
    assert ranking.rows[0].checkpoint == "org/large"
    named = {
        "verdict": endpoints.get_ranking("shared")["verdict"]["checkpoint"],
        "list": {each["id"]: each["best"] for each in endpoints.list_rankings()}["shared"],
        "python": ranking.best.checkpoint,
    }
    assert set(named.values()) == {"org/small"}
    assert "small</span>" in answer.answer(View(), ranking, snapshot).split("</a>")[0]
    assert "[org/small](https://huggingface.co/org/small) is one of the 2 best" in card(ranking)


@pytest.mark.parametrize(
    ("limits", "best", "certainty"),
    [
        ({}, "org/small", "tie"),
        ({"max_parameters": 20e6}, "org/small", "best estimate"),
        ({"max_parameters": 15e6}, "org/worse", "best estimate"),
        ({"license": "mit"}, "org/large", "best estimate"),
        ({"license": "mit", "max_parameters": 30e6}, "org/worse", "best estimate"),
        ({"license": "gpl"}, None, "no score"),
    ],
)
def test_answers_to_programs_keep_to_their_limits(asked, limits, best, certainty) -> None:
    endpoints, _ = asked
    found = endpoints.get_ranking("shared", **limits)
    assert (found["verdict"]["checkpoint"], found["verdict"]["certainty"]) == (best, certainty)
    beyond = {"org/large", "org/small", "org/worse"} - {row["checkpoint"] for row in found["rows"]}
    assert not any(name in f"{found['answer']} {found['advice']}" for name in beyond)


def test_a_single_fine_tuned_checkpoint_is_not_tied_and_every_checkpoint_is_found(asked) -> None:
    _, snapshot = asked
    assert "fine-tuned, tied" not in home.page(View(tab="home"), snapshot)
    found = home.page(View(tab="home", q="worse"), snapshot)
    assert ">1</span> of 2 datasets" in found
    assert "shared" in found


def test_programs_get_the_expected_gap_what_is_at_stake_and_the_learning_curve(tmp_path) -> None:
    runs = (TrainingRun(1e-3, 0, 0.7, curve=(0.1, 0.7)), TrainingRun(1e-4, 0, 0.9, curve=(0.2, 0.8, 0.9)))
    write(tmp_path, "gaps", calibrated(-0.3, -0.32, -0.5))
    first, *others = calibrated(-0.3, -0.32).rows
    measured = msgspec.structs.replace(first, fine_tuned=FineTuned("accuracy", 0.9, 0.01, 0.9, {}, 1e-4, runs))
    write(tmp_path, "measured", calibrated(-0.3, -0.32, n=500, rows=(measured, *others)))
    endpoints = Endpoints(store_of(tmp_path))
    found = endpoints.get_ranking("gaps")
    assert [row["points_behind"] for row in found["rows"]] == [None, pytest.approx(1.34), pytest.approx(13.4)]
    assert found["points_at_stake"] == pytest.approx(1.34)
    assert len(found["expected_gap"]) == 2
    small = endpoints.get_ranking("gaps", search="b | c")
    assert small["points_at_stake"] == pytest.approx(1.34)
    measured_rows = endpoints.get_ranking("measured")["rows"]
    assert [row["learning_curve"] for row in measured_rows] == [[0.2, 0.8, 0.9], []]


def wide() -> Ranking:
    """A ranking with ties, sizes, licenses and libraries, of which two checkpoints are fine-tuned and one failed."""
    facts = itertools.cycle(itertools.product(("mit", "apache-2.0", None), ("timm", "transformers")))
    rows = [
        row(f"org/{name}-{place}", -0.1 - place / 60, folds, 10 ** (place % 5 + 5), license=license, library=library)
        for place, (name, folds, (license, library)) in enumerate(
            zip("abcabcabcabc", itertools.cycle((TIED, SMALL)), facts, strict=False)
        )
    ]
    ranking = of_rows("wide", rows=ranked([*rows, Row("org/failed", error="broken")], "emms"), estimators=("emms",))
    return tuned(ranking, "org/b-4", "org/c-8")


def filters(rng: random.Random) -> dict[str, str]:
    """Return random filters and an order, as parameters of a page."""
    chosen = {
        "q": rng.choice(("org", "a | b", "c", "nothing")),
        "max": rng.choice(("1M", "30M", "300M")),
        "license": rng.choice(("mit", "apache-2.0")),
        "library": rng.choice(("timm", "transformers")),
        "trained": "unseen",
        "sort": rng.choice(("-", "")) + rng.choice(("checkpoint", "parameters", "emms", "rank")),
    }
    return {name: value for name, value in chosen.items() if rng.random() < 0.4}


def arguments(chosen: dict[str, str]) -> dict[str, object]:
    """Return the same selection as arguments of get_ranking."""
    limits: dict[str, object] = {name: chosen[name] for name in ("license", "library", "sort") if name in chosen}
    if "max" in chosen:
        limits["max_parameters"] = float(SIZES[chosen["max"]])
    return {"ranking": "wide", "search": chosen.get("q", ""), "unseen": "trained" in chosen, "limit": 100} | limits


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


def shown_pick(page: str) -> str | None:
    """The checkpoint that the answer of a page names."""
    links = re.findall(r"<a [^>]*>(.*?)</a>", re.findall(r'<p class="answer">(.*?)</p>', page)[0])
    return text_of(links[0]) if links else None


def test_page_files_and_endpoints_agree_for_sixty_combinations_of_filters(tmp_path) -> None:
    write(tmp_path, "wide", wide())
    client, rng, found = client_of(tmp_path), random.Random(0), set()
    for _ in range(60):
        chosen = filters(rng)
        query = urlencode({"ranking": "wide"} | chosen)
        given = client.get("/api/get_ranking", params=arguments(chosen)).json()
        names, best = [row["checkpoint"] for row in given["rows"]], given["verdict"]["checkpoint"]
        table = list(csv.DictReader(io.StringIO(client.get(f"/export?{query}&kind=csv").text)))
        page = client.get(f"/?{query}").text
        assert shown_names(page) == [row["checkpoint"] for row in table] == names, query
        picks = [[row["checkpoint"] for row in rows if str(row["pick"]) == "True"] for rows in (table, given["rows"])]
        assert [*picks, [shown_pick(page)]] == [[best] if best else [], [best] if best else [], [best]], query
        if names:
            file = Ranking.from_json(client.get(f"/export?{query}&kind=json").content)
            assert {row.checkpoint for row in file.rows} == set(names), query
            assert verdict(file).checkpoint == best, query
        found.add(best)
    assert len(found) > 5


def random_ranking(rng: random.Random, number: int) -> Ranking:
    """A ranking with random scores: some tie, some are fine-tuned, one may fail."""
    rows = [
        row(f"org/m{number}-{place}", -rng.random(), rng.choice((TIED, SMALL)), rng.randrange(10**5, 10**9))
        for place in range(rng.randrange(2, 12))
    ]
    failed = [Row("org/failed", error="broken")] * rng.randrange(2)
    ranking = of_rows(f"d{number}", rows=ranked([*rows, *failed], "emms"), estimators=("emms",))
    return tuned(ranking, *rng.sample([each.checkpoint for each in rows], rng.randrange(3)))


def test_every_view_of_27_rankings_names_the_same_checkpoint_certainty_and_caveats(tmp_path) -> None:
    rng = random.Random(0)
    for number in range(27):
        write(tmp_path, f"d{number}", random_ranking(rng, number))
    client = client_of(tmp_path)
    certainties = set()
    listed = {each["id"]: each for each in client.get("/api/list_rankings").json()}
    lines = re.findall(r"<tr data-row.*?</tr>", client.get("/").text, re.DOTALL)
    of_home = {text_of(line).split()[0]: text_of(line) for line in lines}
    for name, short in listed.items():
        given = client.get("/api/get_ranking", params={"ranking": name}).json()
        best, certainty = given["verdict"]["checkpoint"], given["verdict"]["certainty"]
        caveats = [caveat["code"] for caveat in given["verdict"]["caveats"]]
        file = Ranking.from_json(client.get(f"/export?ranking={name}&kind=json").content)
        table = list(csv.DictReader(io.StringIO(client.get(f"/export?ranking={name}&kind=csv").text)))
        page = client.get(f"/?ranking={name}").text
        decision = verdict(file)
        assert (short["best"], short["certainty"], short["caveats"]) == (best, certainty, caveats)
        assert (decision.checkpoint, decision.certainty) == (best, certainty)
        assert [one["checkpoint"] for one in table if one["pick"] == "True"] == ([best] if best else [])
        assert shown_pick(page) == best
        assert f": {certainty}</p>" in page
        assert all(code.replace("-", " ") in page for code in caveats)
        assert all(words in of_home[name] for words in (certainty, *(code.replace("-", " ") for code in caveats)))
        assert all(best in text for text in (of_home[name], card(file), recommendation(file)) if best)
        certainties.add(certainty)
    assert (len(listed), len(of_home)) == (27, 27)
    assert len(certainties) > 1
