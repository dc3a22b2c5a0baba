"""Check hf_emms/presets/checkpoints.yaml against its rule, and write the tables of docs/default-checkpoints.md.

python -m scripts.default_checkpoints           # check
python -m scripts.default_checkpoints --write   # check, and write the page's tables
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
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
# Names by which two checkpoints count as one family; other checkpoints count by their organization.
FAMILIES = (
    *("distil-whisper", "arctic", "granite", "bge", "dinov2", "siglip", "whisper", "moonshine", "clap", "ettin"),
    *("ms-marco", "mmBERT"),
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


def written(page: str) -> str:
    """Return the page with the tables between their marks."""
    before, _, rest = page.partition("<!-- tables -->")
    after = rest.partition("<!-- /tables -->")[2]
    return "\n".join([before + "<!-- tables -->", "", *tables(), "", "<!-- /tables -->" + after])


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
