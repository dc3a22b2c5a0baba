"""Candidates from the whole Hub: filters, the order without the data, families, copies and the random draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.hub import HubModel
from hf_emms.run.shortlist import Filters, by_prior, choose
from hf_emms.tasks import get_task
from tests.hub import Hub
from tests.hub.fixtures import run_client
from tests.hub.population import populate

TASK = get_task("image-classification")
LIST = """
import json
from hf_emms.run.shortlist import Filters, make_shortlist
from hf_emms.tasks import get_task

made = make_shortlist(get_task("image-classification"), Filters(max_parameters=MAX), 40, seed=0)
print(json.dumps({
    "chosen": [candidate.id for candidate in made.candidates],
    "drawn": [candidate.is_drawn for candidate in made.candidates],
    "stages": [[stage.entered, stage.kept, stage.left_out] for stage in made.stages],
}))
"""


def model(id: str, downloads: int = 0, *, size: int | None = None, **changes: Any) -> HubModel:
    parameters = size or 1000 + sum(id.encode())
    made = HubModel(
        id=id,
        revision="0" * 40,
        config={"model_type": "vit"},
        files=("config.json", "model.safetensors"),
        parameters=parameters,
        downloads=downloads,
        likes=0,
        library="transformers",
        gated=False,
        tags=("license:mit",),
        architecture="vit",
    )
    return replace(made, **changes)


def strangers(count: int) -> list[HubModel]:
    """Checkpoints of different publishers and sizes, the most downloaded first."""
    return [model(f"user{number}/net", 1000 - number, size=5000 + number) for number in range(count)]


def reason(filters: Filters, **changes: Any) -> str:
    with pytest.raises(EmmsError) as caught:
        filters.usable(model("ada/net", **changes), TASK)
    return caught.value.code


def test_filters_have_a_reason_for_each_checkpoint_that_is_left_out() -> None:
    by_default = Filters()
    assert by_default.usable(model("ada/net"), TASK).architecture == "ViT"
    assert reason(by_default, tags=("license:cc-by-nc-4.0",)) == "other-license"
    assert reason(by_default, tags=()) == "no-license"
    assert reason(by_default, gated=True) == "gated"
    assert reason(by_default, tags=("license:mit", "base_model:a/b", "base_model:quantized:a/b")) == "quantized-copy"
    assert reason(by_default, config={"model_type": "vit", "quantization_config": {}}) == "quantized-copy"
    assert reason(by_default, tags=("license:mit", "base_model:adapter:a/b")) == "adapter"
    assert reason(by_default, files=("README.md", "model.gguf")) == "no-weights"
    assert reason(by_default, config={}) == "no-model-type"
    assert reason(Filters(max_parameters=10), parameters=None) == "unknown-size"
    assert reason(Filters(licenses=("apache-2.0",))) == "other-license"
    timm = model("timm/net", config={"architecture": "resnet18"}, library="timm")
    assert by_default.usable(timm, TASK).architecture == "timm"
    for licenses in (("any",), ("cc-by-nc-4.0",), ("open", "cc-by-nc-4.0")):
        Filters(licenses=licenses).usable(model("ada/net", tags=("license:cc-by-nc-4.0",)), TASK)
    Filters(licenses=("any",)).usable(model("ada/net", tags=()), TASK)


def test_public_results_come_before_a_few_more_downloads() -> None:
    known = model("timm/beit3_large_patch16_224.in22k_ft_in1k", 1)
    models = [*strangers(200), known]
    places = [each.id for each in by_prior(models, TASK)]
    assert places.index(known.id) < 100
    assert places == [each.id for each in by_prior(models[::-1], TASK)]
    # The second of the table, with the most downloads, comes before the first of the table.
    first, second = "timm/eva_large_patch14_196.in22k_ft_in22k_in1k", "timm/beitv2_large_patch16_224.in1k_ft_in22k_in1k"
    both = by_prior([model(second, 5000), *strangers(200), model(first, 1)], TASK)
    assert [each.id for each in both[:2]] == [second, first]


def test_one_candidate_in_five_is_drawn_by_the_seed() -> None:
    models = strangers(100)
    chosen, _ = choose(models, 20, seed=0)
    drawn = [candidate.id for candidate in chosen if candidate.is_drawn]
    assert [candidate.is_drawn for candidate in chosen] == [False, False, False, False, True] * 4
    ordered = [each.id for each in models if each.id not in drawn][:16]
    assert [candidate.id for candidate in chosen if not candidate.is_drawn] == ordered
    assert choose(models, 10, seed=0)[0] == chosen[:10]
    others, _ = choose(models, 20, seed=1)
    assert {candidate.id for candidate in others if candidate.is_drawn} != {*drawn}


def test_a_family_or_base_model_has_at_most_two_places_besides_the_drawn() -> None:
    tuned = [
        model(f"user{number}/tuned", 500 - number, size=9000 + number, tags=("license:mit", "base_model:finetune:a/b"))
        for number in range(30)
    ]
    family = [model(f"lab/vit-{number}", 400 - number, size=20_000 + number) for number in range(30)]
    timm = [
        model(f"timm/{name}", 300 - number, size=30_000 + number, library="timm", architecture="timm")
        for number, name in enumerate(("resnet18.a", "resnet50.a", "resnet101.a", "vit_tiny.b", "vit_base.b"))
    ]
    chosen, _ = choose([*tuned, *family, *timm], 10, seed=0)
    named = Counter(candidate.id.split("/")[1].split("-")[0] for candidate in chosen if not candidate.is_drawn)
    assert named["tuned"] == 2
    assert named["vit"] == 2
    assert sum(count for name, count in named.items() if name.startswith("resnet")) <= 2
    # If the limits leave too few, the rest is drawn.
    assert len(chosen) == 10


def listed(hub: Hub, home: Path, most: int) -> dict[str, Any]:
    return run_client(hub, LIST.replace("MAX", str(most)), home)


def test_list_continues_after_429_and_counts_copies_once(hub: Hub, tmp_path: Path) -> None:
    ids = populate(hub.store, 240, micro=22)
    hub.fail("GET /api/models", 429, Retry_After="1", times=2)
    made = listed(hub, tmp_path, 1_000_000)
    entered, kept, reasons = made["stages"][0]
    assert (entered, kept) == (hub_count(hub), 22)
    assert {"no license", "gated", "adapter", "too large", "unknown size"} <= {*reasons}
    # Checkpoints 0, 10 and 20 are exact, and 0 and 20 are equal.
    assert {*made["chosen"]} <= {*ids}
    assert made["stages"][1][:2] == [22, len(made["chosen"])]
    copies = {id for id in ids if int(id[-2:]) % 10 == 0}
    by_content = {hub.store.repo(id).resolve("main").files["model.safetensors"].sha256 for id in copies}
    assert len(copies & {*made["chosen"]}) == len(by_content)


def hub_count(hub: Hub) -> int:
    """Return the number of repositories of the task."""
    repos = [repo for repo in hub.store.repos.values() if repo.kind == "model"]
    return sum(repo.metadata is None or repo.metadata["pipeline_tag"] == TASK.id for repo in repos)


@pytest.mark.slow
def test_ten_thousand_repositories_need_few_requests(hub: Hub, tmp_path: Path) -> None:
    *_, first_on_leaderboard, _, _ = populate(hub.store)[:8]
    made = listed(hub, tmp_path, 10**12)
    assert made["stages"][0][0] == 5000
    assert len(made["chosen"]) == 40
    assert sum(made["drawn"]) == 8
    assert made["chosen"][0] == first_on_leaderboard
    assert hub.count() < 300
    assert made == listed(hub, tmp_path, 10**12)
