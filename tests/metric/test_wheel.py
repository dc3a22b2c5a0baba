"""`evaluate.load("emms")` after installing the wheel, in a fresh environment without a network."""

from pathlib import Path

import pytest

from tests.helpers.environments import run

pytestmark = pytest.mark.slow

# Nothing listens there, and names of hosts are looked up nowhere: as without a network, but without waiting.
OFFLINE = {
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "",
    "HF_HUB_OFFLINE": "1",
}
THREE_LINES = """
import evaluate
emms = evaluate.load("emms")
results = emms.compute(predictions=features, references=label_embeddings)
"""
ARRAYS = """
import numpy as np
rng = np.random.default_rng(0)
features = rng.normal(size=(100, 5))
label_embeddings = features @ rng.normal(size=(5, 3)) + rng.normal(size=(100, 3))
"""
SHOW = """
import sys
print(sys.modules["hf_emms"].__file__, results["n"])
"""


@pytest.mark.parametrize("first", ["import hf_emms", None])
def test_three_lines_of_the_documentation(installed, tmp_path, first):
    """In the process that imports hf_emms, and in any process after the first import."""
    if first is None:
        assert run([str(installed / "python"), "-c", "import hf_emms"], tmp_path, **OFFLINE).returncode == 0
    code = ARRAYS + (f"{first}\n" if first else "") + THREE_LINES + SHOW
    done = run([str(installed / "python"), "-c", code], tmp_path, **OFFLINE)
    assert done.returncode == 0, done.stderr
    where, rows = done.stdout.split()
    assert where.startswith(str(installed.parent))
    assert rows == "100"


def test_metric_folder_is_in_the_wheel_and_loads_by_path(installed, tmp_path):
    code = "import hf_emms.metric; print(hf_emms.metric.__path__[0])"
    folder = run([str(installed / "python"), "-c", code], tmp_path).stdout.strip() + "/emms"
    assert folder.startswith(str(installed.parent))
    assert {path.name for path in Path(folder).iterdir()} - {"__pycache__"} == {
        "README.md",
        "app.py",
        "emms.py",
        "requirements.txt",
    }
    code = ARRAYS + THREE_LINES.replace('"emms"', repr(folder)) + SHOW
    done = run([str(installed / "python"), "-c", code], tmp_path, **OFFLINE)
    assert done.stdout.endswith(" 100\n"), done.stderr
