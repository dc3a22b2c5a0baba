"""Write the tables of docs/architectures.md from the table of architectures in the code."""

from __future__ import annotations

from pathlib import Path

from hf_emms.features.architectures import ARCHITECTURES, Architecture
from hf_emms.features.fusion import find_fusion
from hf_emms.features.pooling import find_pooling

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
MARK = "<!-- table: {} -->"
END = "<!-- end of table -->"
KINDS = ("image", "text", "image+text", "prompt", "audio")


def table(kind: str) -> str:
    """Return the rows of one modality in Markdown."""
    lines = ["| Family | `model_type` | Class | Feature | Hidden layer | Source |", "|" + " :--- |" * 6]
    lines += [_line(row) for row in ARCHITECTURES if row.input_kind == kind]
    return "\n".join(lines)


def page(text: str) -> str:
    """Replace the tables of the page."""
    for kind in KINDS:
        before, mark, after = text.partition(MARK.format(kind))
        _, end, rest = after.partition(END)
        text = f"{before}{mark}\n{table(kind)}\n{end}{rest}"
    return text


def _line(row: Architecture) -> str:
    summary, layer = _pooled(row)
    types = ", ".join(f"`{name}`" for name in row.model_types)
    loader = row.loader.rpartition(":")[2]
    cells = (row.family, types, f"`{loader}`", summary, layer or "–", row.source)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _pooled(row: Architecture) -> tuple[str, str]:
    if row.input_kind != "image+text":
        pooling = find_pooling(row.pooling)
        return pooling.summary, pooling.layer_summary
    return find_fusion(row.pooling).summary, ""


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
