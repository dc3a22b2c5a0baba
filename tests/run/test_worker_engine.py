"""Rankings with the worker process: whatever a checkpoint does to its process costs one row."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import hf_emms
from hf_emms.ranking import Ranking
from hf_emms.run import worker
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer
from tests.run.test_worker import check_the_worker_ends

GOOD, ENCODER = "emms-demo/bert-distilled", "emms-demo/encoder-minilm-static"
# The row on which a text, a template or a regular expression does not end.
TRAP = "a" * 40 + "!"


@pytest.fixture(autouse=True)
def with_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(worker.ENABLED, "1")
    yield
    while worker._idle:
        worker._idle.pop().close()


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([[f"the number {n} of {'one' if n % 2 else 'other'} kind", "ab"[n % 2]] for n in range(60)])
        writer.writerow([TRAP, "a"])
    return str(path)


CODE = """
import os, signal
import torch
from transformers import PreTrainedModel, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutput

class SmallConfig(PretrainedConfig):
    model_type = "own-code"
    hidden_size = 4

class SmallModel(PreTrainedModel):
    config_class = SmallConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(400, 4)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **others):
        {act}
        return BaseModelOutput(last_hidden_state=self.embed(input_ids))
"""
ACTS = {
    "os.kill(os.getpid(), signal.SIGKILL)": "signal 9",
    "os._exit(3)": "exit code 3",
    "import ctypes; ctypes.string_at(0)": "SIGSEGV",
    "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 32,) * 2); x = torch.ones(1 << 40)": "memory",
}


def own_code(folder: Path, act: str) -> str:
    shutil.copytree(build(folder.parent, "bert"), folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    (folder / "small.py").write_text(CODE.format(act=act))
    auto = {"AutoConfig": "small.SmallConfig", "AutoModel": "small.SmallModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own-code", "auto_map": auto}))
    save_file(
        {"embed.weight": torch.arange(1600.0).view(400, 4)}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    return str(folder)


def rank(texts: str, bad: list[str], **settings: object) -> Ranking:
    ranking = hf_emms.rank(texts, [*bad, GOOD], encoders=ENCODER, estimators="emms", cache=False, **settings)
    assert ranking.row(GOOD).error is None
    return ranking


def test_a_checkpoint_that_ends_its_process_is_one_failed_row(texts: str, tmp_path: Path) -> None:
    bad = [own_code(tmp_path / f"own-{number}", act) for number, act in enumerate(ACTS)]
    ranking = rank(texts, bad, trust_remote_code=True)
    for folder, reason in zip(bad, ACTS.values(), strict=True):
        assert reason in (ranking.row(folder).error or ""), ranking.row(folder)


def exploding_tokenizer(zoo: Path, folder: Path) -> str:
    """A tokenizer whose regular expression takes exponential time on the trap, in Rust."""
    shutil.copytree(build(zoo, "bert"), folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": r"(?:(a+)+)\1\1$|\s"}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return str(folder)


@pytest.mark.slow
def test_a_regular_expression_that_does_not_end_on_one_row_is_one_failed_row(
    texts: str, zoo: Path, tmp_path: Path
) -> None:
    bad = exploding_tokenizer(zoo, tmp_path / "explodes")
    ranking = rank(texts, [bad], stall_limit=20)
    assert "Regex" in (ranking.row(bad).error or "")  # the library stops by itself


@pytest.mark.slow
def test_a_chat_template_that_does_not_end_on_one_row_is_one_failed_row(zoo: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% if 'trap' in m.content %}"
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}{% endfor %}"
    )
    folder = writer(tmp_path, "llama", template)
    rows = [{"prompt": f"say {n}", "completion": f"it is {n}"} for n in range(40)]
    rows.append({"prompt": "a trap", "completion": "it is"})
    good = writer(zoo, "gpt2")
    ranking = hf_emms.rank(
        rows, [str(folder), str(good)], task="text-generation", encoders=ENCODER, estimators="zero_shot", stall_limit=20
    )
    assert "no progress" in (ranking.row(str(folder)).error or "")
    assert ranking.row(str(good)).error is None


def test_rankings_are_equal_with_and_without_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"encoders": ENCODER, "max_samples": 60, "cache": False}
    checkpoints = [GOOD, "emms-demo/bert-random"]
    first = hf_emms.rank("demo_glosses", checkpoints, **settings)
    monkeypatch.setenv(worker.ENABLED, "0")
    second = hf_emms.rank("demo_glosses", checkpoints, **settings)
    assert [row.scores for row in first] == [row.scores for row in second]


SCRIPT = """
import hf_emms
from hf_emms.ranking.progress import Progress

class Tells(Progress):
    def started(self, checkpoint, inputs):
        import psutil
        print(psutil.Process().children(recursive=True)[-1].pid, flush=True)

hf_emms.rank({dataset!r}, {checkpoints!r}, encoders={encoder!r}, cache=False, trust_remote_code=True, progress=Tells())
"""


@pytest.mark.parametrize(
    "number",
    [*(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM)), signal.SIGKILL],
)
def test_no_worker_is_left_if_the_main_process_is_stopped(number: int, texts: str, tmp_path: Path) -> None:
    """The script has no main guard: the worker must not run it again."""
    slow = own_code(tmp_path / "slow", "import time; time.sleep(3600)")
    check_the_worker_ends(SCRIPT.format(dataset=texts, checkpoints=[slow], encoder=ENCODER), number)
