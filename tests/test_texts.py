"""List every note and error of the package in tests/golden/texts.json, so that wording is reviewed in one place.

After a change, run `python -m tests.test_texts` to write the file again.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests import ROOT

GOLDEN = ROOT / "tests" / "golden" / "texts.json"
NAMES = r"(HF_[A-Z_]+|Ray|Ranking)\b"


Assigned = dict[str, list[ast.expr]]


def template(node: ast.expr | None, assigned: Assigned) -> str:
    """Return the text that an expression makes, with {} for the parts that depend on values."""
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return ""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, {}) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, assigned) + template(node.right, assigned)
    if isinstance(node, ast.IfExp):
        return f"{template(node.body, assigned)} | {template(node.orelse, assigned)}"
    if isinstance(node, ast.Name) and node.id in assigned:
        return " | ".join(template(value, {}) for value in assigned[node.id])
    return "{}"


def assignments(nodes: Iterable[ast.AST]) -> Assigned:
    """Return the values that are assigned to each name."""
    values: Assigned = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets = node.targets[0]
            pairs = (
                zip(targets.elts, node.value.elts, strict=False)
                if isinstance(targets, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(targets, node.value)]
            )
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(value)
    return values


def calls(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of what each call calls, and the templates of its first three arguments."""
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]
    of_module, seen = assignments(tree.body), set[ast.AST]()
    for scope in reversed(scopes):  # inner functions first
        nodes = [node for node in ast.walk(scope) if node not in seen]
        seen.update(nodes)
        assigned = of_module | assignments(nodes)
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id, [template(argument, assigned) for argument in node.args[:3]]


def texts_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield whether each text of a file is of "notes" or "errors", with its code and what is said."""
    for name, texts in calls(ast.parse(path.read_text())):
        if name == "Note" and len(texts) >= 2:
            yield "notes", texts[:2]
        elif len(texts) > 1 and name.endswith(("Error", "Problem")) and not hasattr(builtins, name):
            yield "errors", texts


def collected() -> dict[str, dict[str, list[str]]]:
    """Return the texts of notes and errors by code, as "message → hint"."""
    found: dict[str, dict[str, set[str]]] = {"notes": {}, "errors": {}}
    for path in sorted((ROOT / "hf_emms").rglob("*.py")):
        for kind, (code, *said) in texts_of(path):
            found[kind].setdefault(code, set()).add(" → ".join(filter(None, said)))
    return {kind: {code: sorted(codes[code]) for code in sorted(codes)} for kind, codes in found.items()}


def test_texts_are_those_of_the_golden_file() -> None:
    assert collected() == json.loads(GOLDEN.read_text())


def test_texts_begin_without_a_capital_letter_and_end_without_a_full_stop() -> None:
    package = ROOT / "hf_emms"
    paths = [*package.rglob("*.py")]
    said = {text for path in paths for _, (_, *texts) in texts_of(path) for both in texts for text in both.split(" | ")}
    assert len(said) > 100
    assert [text for text in sorted(said) if re.match(rf"(?!{NAMES})[A-Z]", text) or re.search(r"[^.]\.$", text)] == []


def test_codes_of_notes_are_stable_identifiers() -> None:
    codes = {code for several in collected()["notes"] for code in several.split(" | ")}
    assert codes
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)] == []


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(collected(), indent=1, ensure_ascii=False) + "\n")


_INSTALLS = re.compile(r"\b(?:pip|uv pip|uv tool|pipx) install\b([^\n`#]*)")
_PRINTED = ("templates/*", "hf_emms/**/*.py", "hf_emms/**/*.md", "spaces_app/**/*.*", "skills/**/*.md", "docs/*.md")


def test_no_install_command_names_the_package_on_an_index() -> None:
    """Whoever registered the name there would run code on the machines of readers."""
    files = [file for pattern in _PRINTED for file in [*ROOT.glob(pattern), ROOT / "README.md"] if file.is_file()]
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.suffix != ".pyc"}
    installs = [(file.name, found[1]) for file, text in texts.items() for found in _INSTALLS.finditer(text)]
    assert len(installs) > 10
    assert not [each for each in installs if re.search(r"(?<![\w./-])hf[-_]emms\b(?!.* @ )", each[1])]
