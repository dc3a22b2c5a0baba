"""The script of TRL in docs/trainer.md runs with a checkpoint that was ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.docs.pages import fences
from tests.finetune.test_response_scorer import rows
from tests.helpers.tiny_writers import writer


def test_the_script_trains_the_chosen_checkpoint_on_completions(
    zoo: Path, tmp_path: Path, emms_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="the script is one of TRL: pip install trl")
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"prompt": row["question"], "completion": row["answer"]}) for row in rows(40)]
    Path("my_rows.jsonl").write_text("\n".join(lines))
    ranked, trained = fences(ROOT / "docs" / "trainer.md", "py")
    ranked = ranked.replace(
        '["HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B"]', f'["{writer(zoo, "llama")}"], encoders="demo"'
    )
    trained = trained.replace("num_train_epochs=3", 'max_steps=2, use_cpu=True, bf16=False, report_to="none"')
    names: dict[str, Any] = {}
    exec(ranked, names)
    exec(trained, names)
    assert names["chosen"] == str(writer(zoo, "llama"))
    (first, *_) = names["trainer"].get_train_dataloader()
    # Only completions are learnt.
    assert 0 < (first["labels"] != -100).sum() < (first["input_ids"] != 0).sum()
