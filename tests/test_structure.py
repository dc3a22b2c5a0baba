"""Imports run one way, heavy libraries wait until they are needed, and the wheel holds what an install needs."""

import ast
import subprocess
import sys
from collections import defaultdict

import pytest

from tests import ROOT

PACKAGE = ROOT / "hf_emms"

# From the top to the bottom: a module or package may import only what is below it, `TYPE_CHECKING` included.
LAYERS = (
    "__main__",
    "cli",
    "sweeps",
    "sweep_plan",
    "pipeline",
    "finetune",
    "ranking_job",
    "preflight",
    "plan",
    "search",
    "space",
    "metrics",
    "models_in_memory",
    "from_arrays",
    "engines",
    "features",
    "results",
    "data",
    "at_stake",
    "presets",
    "evaluation",
    "plots",
    "cards",
    "merging",
    "views",
    "tasks",
    "scoring",
    "ranking",
    "ranking_methods",
    "plugins",
    "hub",
    "demo",
    "known_models",
    "cache",
    "formatting",
    "options",
    "wheel",
    "errors",
    "atomic_files",
)
# Methods of a record that call what is above it: it is imported in the method.
CONVENIENCES = ("ranking_methods",)
LAZY = ("torch", "transformers", "datasets", "torchvision", "gradio", "evaluate", "pyarrow")


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(tree):
    """Dotted names of the modules that are imported, and of what is imported from a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layers_imported(path):
    tree = ast.parse(path.read_text())
    if layer_of(path) in CONVENIENCES:
        tree = ast.Module([node for node in tree.body if isinstance(node, ast.ImportFrom)], [])
    for name in imported_names(tree):
        package, _, rest = name.partition(".")
        if package == "hf_emms" and rest != "__version__":
            layer = rest.partition(".")[0]
            # What the root exports is of any layer: only the module that defines it says which.
            assert layer in LAYERS, f"{path.name} imports {name}: import it from the module that defines it"
            yield layer


def top_level_imports(path):
    """What importing the module imports at once: nothing inside functions or TYPE_CHECKING blocks."""
    body = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name.split(".")[0] for name in imported_names(ast.Module(body, []))}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    layer = layer_of(path)
    assert layer in LAYERS, f"{layer} is new: give it its place in LAYERS"
    back = [other for other in layers_imported(path) if other != layer and LAYERS.index(other) <= LAYERS.index(layer)]
    assert not back, f"{layer} imports {back}, which are above it"


def repeated(named_paths):
    """Names that more than one path has, with these paths."""
    paths_of = defaultdict(list)
    for name, path in named_paths:
        paths_of[name].append(str(path.relative_to(PACKAGE)))
    return {name: paths for name, paths in paths_of.items() if len(paths) > 1}


def test_no_two_modules_have_one_name():
    # The folder of the metric is laid out as `evaluate` wants it.
    own = [path for path in modules() if path.name[:2] != "__" and path.parent != PACKAGE / "metrics" / "emms"]
    assert repeated((path.name, path) for path in own) == {}


def test_no_two_classes_have_one_name():
    classes = [
        (node.name, path)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert repeated(classes) == {}


def test_no_file_of_tests_is_longer_than_400_lines():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_scoring_needs_nothing_but_records_plugins_and_errors():
    allowed = {"scoring", "ranking", "plugins", "formatting", "errors", "atomic_files"}
    for path in (PACKAGE / "scoring").glob("*.py"):
        assert set(layers_imported(path)) <= allowed, path.name


def test_only_the_hub_package_talks_to_the_hub():
    for path in modules():
        if layer_of(path) != "hub":
            assert "huggingface_hub" not in top_level_imports(path) or "HfApi" not in path.read_text(), path.name


@pytest.mark.parametrize("arguments", [["-c", "import hf_emms"], ["-m", "hf_emms.cli", "--help"]])
def test_the_first_answer_imports_no_heavy_library(arguments):
    probe = f"""
import runpy, sys
sys.argv = ['hf-emms', *{arguments[2:]!r}]
try:
    {"import hf_emms" if arguments[0] == "-c" else "from hf_emms.cli import main; main()"}
except SystemExit:
    pass
print([name for name in {LAZY!r} if name in sys.modules], file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
