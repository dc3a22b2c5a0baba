"""Check hf_emms/presets/checkpoints.yaml against its rule, and write the tables of docs/default-checkpoints.md.

python -m scripts.default_checkpoints           # check
python -m scripts.default_checkpoints --write   # check, and write the page's tables
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_emms.formatting import format_count
from hf_emms.presets import CheckpointPreset, checkpoint_presets
from hf_emms.ranking.public_results import PUBLIC_TABLES, published_value
from hf_emms.ranking.records import PublicTable

PAGE = Path(__file__).parents[1] / "docs" / "default-checkpoints.md"
OPEN_LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"}
MAX_PARAMETERS = 1_050_000_000
MAX_PER_FAMILY = 2
SMALL = 35_000_000
# Names by which two checkpoints count as one family; other checkpoints count by their organisation.
FAMILIES = (
    *(
        "distil-whisper",
        "arctic",
        "granite",
        "bge",
        "dinov2",
        "siglip",
        "whisper",
        "moonshine",
        "clap",
        "ettin",
        "ms-marco",
    ),
    "mmBERT",
    *("ModernBERT", "DenseOn", "git-", "blip", "vilt", "MiniLM", "deberta", "swin", "beit", "resnet", "t5", "owl"),
)
# Tables whose values are in checkpoints.yaml and below alone, because their license does not let us ship all rows.
OTHER_TABLES = {
    name: PublicTable(title, source, "not redistributed", ())
    for name, title, source in (
        ("glue", "GLUE, mean", "JHU-CLSP/ettin-encoder-vs-decoder@6cbf954a"),
        ("xtreme", "XTREME, mean", "JHU-CLSP/mmBERT@108ffb37"),
        ("mnli", "MNLI accuracy", "microsoft/DeBERTa@4d7fe0bd"),
        ("decoders", "mean of ten tasks", "JHU-CLSP/ettin-encoder-vs-decoder@6cbf954a"),
        ("qwen3", "mean of 15 benchmarks, table 8", "QwenLM/Qwen3@7a2f61ff"),
        ("rerank", "nDCG@10 of MTEB(eng, v2) retrieval, 6 first stages", "huggingface/blog@3e4560d0"),
        ("refcoco", "RefCOCO val, zero-shot", "open-mmlab/mmdetection@220dca26"),
    )
}
TABLES = {**PUBLIC_TABLES, **OTHER_TABLES}


@dataclass(frozen=True)
class Earlier:
    """The list of early 2025 of a task, as far as a table has values.

    Attributes:
        task: The Hub's task id.
        table: A key of TABLES.
        values: Hub id → value; None if the package ships it.
        max_parameters: Compares only checkpoints up to this size.
    """

    task: str
    table: str
    values: Mapping[str, float | None]
    max_parameters: int = MAX_PARAMETERS


EARLIER = (
    Earlier(
        "text-retrieval",
        "beir",
        dict.fromkeys(
            (
                *("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-mpnet-base-v2"),
                *("BAAI/bge-small-en-v1.5", "intfloat/e5-small-v2", "intfloat/multilingual-e5-small"),
                *("thenlper/gte-small", "Snowflake/snowflake-arctic-embed-xs"),
            )
        ),
    ),
    Earlier(
        "text-ranking",
        "rerank",
        {
            "cross-encoder/ms-marco-MiniLM-L6-v2": 50.8,
            "cross-encoder/ms-marco-MiniLM-L12-v2": 50.7,
            "BAAI/bge-reranker-base": 48.9,
            "mixedbread-ai/mxbai-rerank-xsmall-v1": 49.7,
        },
    ),
    Earlier(
        "text-classification",
        "glue",
        {"jhu-clsp/ettin-encoder-17m": 79.2, "distilbert/distilbert-base-uncased": 81.5},
        80_000_000,
    ),
    Earlier(
        "text-classification",
        "glue",
        {
            "google-bert/bert-base-uncased": 84.7,
            "answerdotai/ModernBERT-base": 88.4,
            "answerdotai/ModernBERT-large": 90.4,
        },
    ),
    Earlier(
        "text-classification",
        "few-labels",
        dict.fromkeys(
            (
                *("sentence-transformers/all-MiniLM-L6-v2", "BAAI/bge-small-en-v1.5", "intfloat/e5-base-v2"),
                "intfloat/multilingual-e5-small",
            )
        ),
    ),
    Earlier(
        "image-classification",
        "mieb",
        dict.fromkeys(("facebook/dinov2-small", "facebook/dinov2-base", "facebook/dinov2-large")),
    ),
    Earlier(
        "image-classification",
        "imagenet",
        dict.fromkeys(
            (
                *("microsoft/resnet-50", "facebook/deit-tiny-patch16-224", "microsoft/swin-tiny-patch4-window7-224"),
                "microsoft/beit-base-patch16-224",
            )
        ),
    ),
    # The table has the English checkpoints of whisper-tiny and whisper-base.
    Earlier("automatic-speech-recognition", "wer", dict.fromkeys(("openai/whisper-tiny.en", "openai/whisper-base.en"))),
    Earlier(
        "audio-classification",
        "maeb",
        dict.fromkeys(
            (
                *("facebook/wav2vec2-base", "facebook/hubert-base-ls960", "microsoft/wavlm-base-plus"),
                *("openai/whisper-tiny", "openai/whisper-base", "MIT/ast-finetuned-audioset-10-10-0.4593"),
            )
        ),
    ),
    Earlier(
        "text-generation",
        "decoders",
        {
            "HuggingFaceTB/SmolLM2-135M": 45.2,
            "HuggingFaceTB/SmolLM2-360M": 53.1,
            "EleutherAI/pythia-160m": 39.1,
        },
    ),
    Earlier("text-generation", "qwen3", {"Qwen/Qwen2.5-0.5B": 25.8}),
    Earlier("referring-expression", "refcoco", {"IDEA-Research/grounding-dino-tiny": 50.8}),
)


def family(id: str) -> str:
    return next((name for name in FAMILIES if name.lower() in id.lower()), id.partition("/")[0])


def problems(task: str, presets: Sequence[CheckpointPreset]) -> Iterator[str]:
    """Yield each violation of the rule in a task's list."""
    for preset in presets:
        if preset.license is not None and preset.license not in OPEN_LICENSES:
            yield f"{task}: {preset.id} has the license {preset.license}, which is not open"
        if preset.parameters is None or preset.parameters > MAX_PARAMETERS:
            yield f"{task}: {preset.id} has {preset.parameters} parameters, the maximum is {MAX_PARAMETERS}"
        if preset.table in PUBLIC_TABLES:
            published = published_value(str(preset.table), preset.id)
            if published is not None and round(published.value, 1) != round(preset.value or 0, 1):
                yield (
                    f"{task}: {preset.id} has {preset.value} in the list and {published.value} in the table "
                    f"{preset.table}"
                )
        elif preset.table is not None and preset.table not in TABLES:
            yield f"{task}: {preset.id} names the unknown table {preset.table}"
    for name, count in Counter(family(preset.id) for preset in presets).items():
        if count > MAX_PER_FAMILY:
            yield f"{task}: {count} checkpoints of the family {name}, the maximum is {MAX_PER_FAMILY}"
    if list(presets) != sorted(presets, key=lambda preset: preset.parameters or 0):
        yield f"{task}: the list is not in the order of parameters"


def tables() -> Iterator[str]:
    """Yield the page's lines: the sources, then a table per list of checkpoints."""
    yield "| table | value | license |"
    yield "| :--- | :--- | :--- |"
    for key, table in TABLES.items():
        yield f"| {key} | {table.title} ({table.source}) | {table.license} |"
    lists: dict[tuple[CheckpointPreset, ...], list[str]] = {}
    for task, presets in checkpoint_presets().items():
        lists.setdefault(tuple(presets), []).append(task)
    for presets, tasks in lists.items():
        yield ""
        yield f"### {', '.join(tasks)}"
        yield ""
        yield "| checkpoint | parameters | license | released | value | table |"
        yield "| :--- | ---: | :--- | :--- | ---: | :--- |"
        for preset in presets:
            value = "–" if preset.value is None else f"{preset.value:g}"
            facts = (preset.license or "not seen", preset.released or "–", value, preset.table or "–")
            yield f"| {preset.id} | {format_count(preset.parameters)} | {' | '.join(facts)} |"


def comparison() -> Iterator[str]:
    """Yield the lines of the table that compares the best checkpoints of the earlier lists and of these ones."""
    yield "| task | table | list of early 2025 | this list | source |"
    yield "| :--- | :--- | ---: | ---: | :--- |"
    for earlier in EARLIER:
        table, sizes = TABLES[earlier.table], earlier.max_parameters
        old = {id: _published(earlier.table, id) if value is None else value for id, value in earlier.values.items()}
        new = {
            preset.id: preset.value
            for preset in checkpoint_presets()[earlier.task]
            if preset.table == earlier.table and preset.value is not None and (preset.parameters or 0) <= sizes
        }
        limit = "" if sizes == MAX_PARAMETERS else f", up to {sizes // 10**6} M parameters"
        title = f"{earlier.table}, lower is better" if table.lower_is_better else earlier.table
        cells = (_best(values, lower_is_better=table.lower_is_better) for values in (old, new))
        yield f"| {earlier.task}{limit} | {title} | {' | '.join(cells)} | {table.source} |"


def _published(table: str, id: str) -> float:
    published = published_value(table, id)
    if published is None:
        raise KeyError(f"the table {table} lacks {id}")
    return published.value


def _best(values: Mapping[str, float], *, lower_is_better: bool) -> str:
    best = (min if lower_is_better else max)(values, key=lambda id: values[id])
    return f"{values[best]:.1f} ({best.rpartition('/')[2]})"


def written(page: str) -> str:
    """Return the page with the tables between their marks."""
    for mark, lines in (("comparison", comparison()), ("tables", tables())):
        before, _, rest = page.partition(f"<!-- {mark} -->")
        after = rest.partition(f"<!-- /{mark} -->")[2]
        page = "\n".join([before + f"<!-- {mark} -->", "", *lines, "", f"<!-- /{mark} -->" + after])
    return page


def main(arguments: Sequence[str]) -> int:
    found = [problem for task, presets in checkpoint_presets().items() for problem in problems(task, presets)]
    page = PAGE.read_text(encoding="utf-8")
    if "--write" in arguments:
        PAGE.write_text(written(page), encoding="utf-8")
    elif written(page) != page:
        found.append(f"{PAGE.name} has other tables: run with --write")
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
