"""What is in a cache key: a setting or a version moves the keys of the results that it changes, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import datasets
import pytest

from hf_emms.cache import digest_of
from hf_emms.data import load_sample
from hf_emms.features import feature_spec
from hf_emms.features.device import choose_device
from hf_emms.features.feature_spec import FeatureSpec, make_feature_spec
from hf_emms.finetune import jobs as finetune_jobs
from hf_emms.finetune import splits
from hf_emms.finetune.recipe import TrainingJob, head_of, max_rows, recipe_for
from hf_emms.hub import resolve
from hf_emms.options import SETTINGS, Options, registry
from hf_emms.run import label_embeddings, plan
from hf_emms.run.extraction import features_key
from tests.helpers.rows import image_rows, pictures, texts

KINDS = ("features", "labels", "rows", "finetunings")
BERT, ENCODER = "emms-demo/bert-distilled", "emms-demo/encoder-minilm-static"
README = """---
configs:
- {config_name: one, data_files: [{split: train, path: train.csv}, {split: test, path: test.csv}]}
- {config_name: two, data_files: [{split: train, path: train.csv}, {split: test, path: test.csv}]}
---
"""

RankingPlan = Callable[[FeatureSpec], FeatureSpec]


def as_it_is(extraction: FeatureSpec) -> FeatureSpec:
    return extraction


def keys(options: Options, change: RankingPlan = as_it_is) -> dict[str, set[str]]:
    """Kind → the digests of the keys that the results of a ranking and of its confirmation are cached under."""
    encoder = resolve(options.features.encoders[0], "model")
    sample, rows = (
        load_sample(options.sample),
        splits.load_splits(options.sample, max_rows=max_rows(options.training)),
    )
    repo = resolve(options.features.checkpoints[0], "model")
    extraction = change(plan.spec_for(repo, options, sample.task))
    task = sample.task
    settings = {"trust_remote_code": options.running.trust_remote_code, "prompts": options.features}
    trained = change(make_feature_spec(repo, task.input, task.id, **settings))
    recipe = recipe_for(
        options.training, head_of(sample.task), 1000, options.training.method or "full", options.running.batch_size
    )
    runs = [(rate, seed) for rate in recipe.learning_rates for seed in recipe.seeds]
    jobs = [TrainingJob("c", trained, 1000, recipe, rate, seed) for rate, seed in runs]
    made = {
        "features": [
            features_key(extraction, sample, layer, options.running) for layer in options.features.read_layers
        ],
        "labels": [label_embeddings.labels_key(encoder, sample.label_texts, options.running)],
        "rows": [plan.row_key(extraction, options, sample, (encoder,))],
        "finetunings": [finetune_jobs.run_key(job, rows, options.running) for job in jobs],
    }
    return {kind: set(map(digest_of, of_kind)) for kind, of_kind in made.items()}


def kinds_moved(before: dict[str, set[str]], after: dict[str, set[str]]) -> set[str]:
    return {kind for kind in KINDS if not before[kind] <= after[kind]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Options]:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "README.md").write_text(README)
    for split, count in (("train", 80), ("test", 40)):
        lines = [f"the {split} text {number},{('calm', 'glad')[number % 2]},{number % 30}" for number in range(count)]
        (folder / f"{split}.csv").write_text("\n".join(("text,label,speaker", *lines)))
    return lambda **changes: Options.of(
        **{
            "dataset": str(folder),
            "config": "one",
            "split": "train",
            "checkpoints": (BERT,),
            "encoders": (ENCODER,),
            "max_samples": 60,
            "device": "cpu",
            "confirm": 2,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def moved(base: Callable[..., Options]) -> Callable[..., set[str]]:
    """The kinds of results whose keys move with these settings, or with what a test has changed."""
    before = keys(base())
    return lambda **settings: kinds_moved(before, keys(base(**settings)))


# Setting → a new value, and the kinds of results that have other keys then.
CHANGES: dict[str, tuple[Any, set[str]]] = {
    # What is read. The configuration and the split are resolved first.
    "task": ("text-classification", set()),
    "config": ("two", {"rows"}),
    "split": ("test", {"features", "rows", "finetunings"}),
    "columns": ({"text": "text"}, set()),
    "max_samples": (40, {"features", "rows"}),
    "corpus_size": (50, set()),  # classes of texts are not searched
    "sampling": ("proportional", {"rows"}),
    "label_template": ("about {}", {"labels", "rows"}),
    "group_column": ("speaker", {"features", "rows", "finetunings"}),
    "streaming": (True, {"features", "rows", "finetunings"}),  # only the first rows of a stream are read
    "seed": (7, {"features", "rows", "finetunings"}),
    # Which features are made, and how they are scored.
    "checkpoints": (("emms-demo/bert-random",), {"features", "rows", "finetunings"}),
    "encoders": (("emms-demo/encoder-wordnet-gpt2",), {"labels", "rows"}),
    "layers": (("last",), {"features", "rows"}),
    "query_prompt": ("", {"rows"}),  # classes of texts are not searched
    "document_prompt": ("", {"rows"}),
    "estimators": (("emms",), {"rows"}),
    "folds": (4, {"rows"}),
    "dimensions": (True, {"rows"}),
    # How is trained. A run at one rate with one seed is the same in a larger search.
    "confirm": (3, set()),
    "method": ("lora", {"finetunings"}),
    "budget": ("quick", {"finetunings"}),
    "epochs": (3, {"finetunings"}),
    "steps": (5, {"finetunings"}),
    "learning_rates": (("0.1",), {"finetunings"}),
    "seeds": (2, set()),
    "confirm_samples": (40, {"finetunings"}),
    "time_limit": ("2h", set()),
    "save_model": ("best", set()),
    "push_model_to": ("org/best", set()),
    # Where it runs.
    "device": ("cuda", set(KINDS)),
    "dtype": ("bfloat16", {"features", "rows"}),
    "batch_size": (7, {"finetunings"}),
    "stall_limit": (7, set()),
    "workers": (2, set()),
    "gpus_per_checkpoint": ("0.5", set()),
    "part": ("1/2", set()),
    "delete_downloads": (True, set()),
    "read_memory": ("8GB", set()),
    "resume": (False, set()),
    "cache": (False, set()),
    "allow_pickle": (True, set()),
    "trust_remote_code": (True, set(KINDS)),
}


@pytest.mark.parametrize(
    "name",
    sorted(set(SETTINGS) - {"dataset", "max_params", "references", "label_form", "label_separator", "box_format"}),
)
def test_a_setting_moves_the_keys_of_what_it_changes(moved: Callable[..., set[str]], name: str) -> None:
    value, kinds = CHANGES[name]
    assert moved(**{name: value}) == kinds


@pytest.mark.parametrize(
    "name", ["dataset", "references", "label_form", "label_separator", "box_format", "query_prompt", "document_prompt"]
)
def test_a_setting_that_is_not_for_classes_of_texts_moves_the_keys_of_what_it_changes(
    base: Callable[..., Options], name: str
) -> None:
    images = {"checkpoints": ("emms-demo/resnet-distilled",)}
    things, places = [f"the {n}" for n in range(60)], [[1, 1, 2 + n % 5, 3] for n in range(60)]
    captions = [[f"a {n}", f"the {n % 9}"] for n in range(60)]
    scores = texts(60, ["0.5", "2", "3.25"]).cast_column("label", datasets.Value("float64"))
    pairs = {"query": [f"who wrote {n}" for n in range(60)], "document": [f"{n} is a book" for n in range(60)]}
    prompt = ("search: ", {"features", "rows", "finetunings"}, datasets.Dataset.from_dict(pairs))
    value, kinds, data, settings = {
        # The same inputs have the same features, even with other labels.
        "dataset": (texts(60, ["c", "d"]), {"labels", "rows", "finetunings"}, texts(60, ["a", "b"]), {}),
        "references": ("first", {"labels", "rows"}, image_rows(pictures(60), captions=captions), images),
        "label_form": ("text", {"rows"}, scores, {}),
        "label_separator": ("|", {"labels", "rows", "finetunings"}, texts(60, ["a|b", "c"]), {}),
        "box_format": (
            "xyxy",
            {"labels", "rows", "finetunings"},
            image_rows(pictures(60), expression=things, bbox=places),
            {"checkpoints": ("emms-demo/owlvit-random",)},
        ),
        **dict.fromkeys(("query_prompt", "document_prompt"), (*prompt, {"task": "text-retrieval"})),
    }[name]
    settings = {"dataset": data, "config": None, "split": None, "max_samples": None, **settings}
    assert kinds_moved(keys(base(**settings)), keys(base(**{**settings, name: value}))) == kinds


def test_two_tasks_have_other_runs_of_equal_rows_and_recipes(
    base: Callable[..., Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, read = base(), splits.load_splits
    before = keys(options)

    def of_another_task(*arguments: Any, **settings: Any) -> splits.Splits:
        found = read(*arguments, **settings)
        return dataclasses.replace(found, task=dataclasses.replace(found.task, id="another"))

    monkeypatch.setattr(splits, "load_splits", of_another_task)
    assert kinds_moved(before, keys(options)) == {"finetunings"}


def test_the_device_in_a_key_is_what_auto_stands_for(
    base: Callable[..., Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, auto = keys(base(device=choose_device("auto").type)), base(device="auto")
    monkeypatch.setattr(feature_spec, "installed_version", lambda name: "2.13.0+cu130")
    assert kinds_moved(before, keys(auto)) == set()


def of_timm(extraction: FeatureSpec) -> FeatureSpec:
    return dataclasses.replace(extraction, architecture=dataclasses.replace(extraction.architecture, requires="timm"))


@pytest.mark.parametrize(
    ("package", "change", "settings", "kinds"),
    [
        ("torch", as_it_is, {}, set(KINDS)),
        ("transformers", as_it_is, {}, set(KINDS)),
        ("datasets", as_it_is, {}, {"labels", "rows", "finetunings"}),
        ("numpy", as_it_is, {}, {"labels", "rows", "finetunings"}),
        ("hf_emms", as_it_is, {}, {"labels", "rows", "finetunings"}),
        ("accelerate", as_it_is, {}, {"finetunings"}),
        ("accelerate", as_it_is, {"estimators": ("short_run",)}, {"rows", "finetunings"}),
        ("peft", as_it_is, {"method": "lora"}, {"finetunings"}),
        ("timm", of_timm, {}, {"features", "rows", "finetunings"}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) else ""),
)
def test_a_version_moves_the_keys_of_what_it_changes(
    base: Callable[..., Options],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    change: RankingPlan,
    settings: dict[str, Any],
    kinds: set[str],
) -> None:
    before = keys(base(**settings), change)
    installed = registry.installed_version
    monkeypatch.setattr(registry, "installed_version", lambda name: "0" if name == package else installed(name))
    if package == "hf_emms":
        monkeypatch.setattr(registry, "__version__", "0")
    assert kinds_moved(before, keys(base(**settings), change)) == kinds


@pytest.mark.parametrize(
    ("module", "constant", "kinds"),
    [
        (feature_spec, "FEATURES_VERSION", {"features", "rows"}),
        (label_embeddings, "LABELS_VERSION", {"labels"}),
        (plan, "ROW_VERSION", {"rows"}),
        (finetune_jobs, "FINETUNE_VERSION", {"finetunings"}),
        (splits, "SPLITS_VERSION", {"finetunings"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_version_of_our_code_moves_the_keys_of_what_it_makes(
    moved: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch, module: Any, constant: str, kinds: set[str]
) -> None:
    monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    assert moved() == kinds
