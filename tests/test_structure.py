"""Imports have one direction and no circles, and only `tasks` and `inputs` contain the names of tasks and inputs."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

import hf_emms.heads
from hf_emms.inputs import MODALITIES
from hf_emms.tasks import TASKS
from tests import ROOT

PACKAGE = ROOT / "hf_emms"

# From the top to the bottom: a folder, or a module outside of folders, imports only what is below it, whether at the
# top of a file, inside a function or under `TYPE_CHECKING`. Only methods of `Ranking` import what is above them, when
# they are called.
FOLDERS = (
    "__main__",
    "cli",
    "metric",
    "run",
    "finetune",
    "publish",
    "evaluation",
    "data",
    "ranking",
    "tasks",
    "heads",
    "inputs",
    "features",
    "scoring",
    "presets",
    "hub",
    "cache",
    "options",
    "formatting",
    "errors",
    "texts",
)
WITH_METHODS_FROM_ABOVE = PACKAGE / "ranking" / "ranking.py"
MAX_LOOSE_MODULES = 3
MAX_SEEING_OPTIONS = 13
LAZY = (
    *("torch", "transformers", "datasets", "torchvision", "gradio", "evaluate", "pyarrow", "sklearn"),
    *("numpy", "huggingface_hub", "rich"),
)
# Vague names of variables.
VAGUE_NAMES = ("one", "own", "found", "given", "known", "wanted")


@cache
def syntax_tree(path):
    return ast.parse(path.read_text())


@cache
def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(tree):
    """Dotted names of the modules that are imported, and of what is imported from a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path):
    """Names as `imported_names` returns them, without those that methods of `Ranking` import."""
    if path != WITH_METHODS_FROM_ABOVE:
        return imported_names(syntax_tree(path))
    return imported_names(
        ast.Module([node for node in syntax_tree(path).body if not isinstance(node, ast.ClassDef)], [])
    )


def folders_imported(path):
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        if package == "hf_emms" and rest != "__version__":
            folder = rest.partition(".")[0]
            assert folder in FOLDERS, f"{path.name} imports {name}: import it from the module that defines it"
            yield folder


@cache
def module_names():
    return {dotted_name(path) for path in modules()}


def modules_imported(path):
    names = module_names()
    for name in imports_of(path):
        module = name if name in names else name.rpartition(".")[0]
        if module in names and module != dotted_name(path):
            yield module


def top_level_imports(path):
    """What importing the module imports at once: nothing inside functions or `TYPE_CHECKING` blocks."""
    body = [node for node in syntax_tree(path).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name.split(".")[0] for name in imported_names(ast.Module(body, []))}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    folder = folder_of(path)
    assert folder in FOLDERS, f"{folder} is new: add it to FOLDERS"
    above = [
        other for other in folders_imported(path) if other != folder and FOLDERS.index(other) <= FOLDERS.index(folder)
    ]
    assert not above, f"{folder} imports {above}, which are above it"


def test_no_files_import_each_other_in_a_circle():
    graph = {dotted_name(path): set(modules_imported(path)) for path in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_few_modules_lie_outside_of_folders():
    loose = [path.name for path in PACKAGE.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert len(loose) <= MAX_LOOSE_MODULES, loose


def test_few_files_see_the_whole_of_the_options():
    seeing = [
        path
        for path in modules()
        if any(getattr(node, "id", None) == "Options" for node in ast.walk(syntax_tree(path)))
        and folder_of(path) != "options"
    ]
    assert len(seeing) <= MAX_SEEING_OPTIONS, seeing
    assert {folder_of(path) for path in seeing} <= {"cli", "run", "finetune"}
    assert not {path.name for path in seeing} & {"engine.py", "extraction.py", "rows.py"}


def test_scoring_needs_nothing_but_errors():
    for path in (PACKAGE / "scoring").glob("*.py"):
        assert set(folders_imported(path)) <= {"scoring", "formatting", "errors", "texts"}, path.name


def lines_with(pattern, outside):
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules()
        if folder_of(path) not in outside
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]


def test_only_tasks_and_inputs_name_a_task_or_a_kind_of_input():
    ids = "|".join(re.escape(id) for id in TASKS.built_in)
    kinds = "|".join(re.escape(kind) for kind in MODALITIES)
    # A table or a comparison by the id of a task; a comparison with the name of a kind, unless an estimator needs it.
    by_task = re.compile(rf'"({ids})": |[=!]= "({ids})"|"({ids})" [=!]=|in \("({ids})"')
    by_kind = re.compile(
        rf'(modality|kind|input)[\w.]* [=!]= "({kinds})"|"({kinds})" (not )?in (?!\S+\.needs)|startswith\("({kinds})"\)'
    )
    assert lines_with(by_task, outside=("tasks", "inputs")) == []
    assert lines_with(by_kind, outside=("tasks", "inputs")) == []


def test_only_tasks_and_heads_name_a_head():
    heads = "|".join(name for name in vars(hf_emms.heads) if name.endswith("Head") and name != "Head")
    asking = re.compile(rf"\b({heads})\b|isinstance\(.*\bHead\b|IGNORED = -100")
    assert lines_with(asking, outside=("tasks", "heads")) == []


def test_names_say_what_they_hold():
    vague = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for path in modules()
        for node in ast.walk(syntax_tree(path))
        for name in [getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", None)]
        if name in VAGUE_NAMES
    ]
    assert vague == []


def test_errors_have_a_code():
    errors = {"EmmsError"} | {
        node.name
        for path in modules()
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", None) == "EmmsError" for base in node.bases)
    }
    for path in [*modules(), *(ROOT / "spaces_app").rglob("*.py")]:
        for node in ast.walk(syntax_tree(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in errors:
                code = ast.unparse(node.args[0])
                # An error that adds to another one has its code.
                assert re.fullmatch(r"'[a-z][a-z0-9]*(-[a-z0-9]+)*'|code|error\.code", code), f"{path}:{node.lineno}"


def test_no_two_classes_have_one_name():
    places = {}
    for path in modules():
        for node in ast.walk(syntax_tree(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_only_the_hub_package_talks_to_the_hub():
    for path in modules():
        if folder_of(path) != "hub":
            assert "HfApi" not in path.read_text(), path.name


@pytest.mark.parametrize("words", [None, ["--help"], ["rank", "--help"]])
def test_the_first_answer_imports_no_heavy_library(words):
    probe = f"""
import sys
sys.argv = ['hf-emms', *{words or []!r}]
try:
    {"import hf_emms" if words is None else "from hf_emms.cli.app import main; main()"}
except SystemExit:
    pass
print([name for name in {LAZY!r} if name in sys.modules], file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
    assert words is None or "--help" in result.stdout
