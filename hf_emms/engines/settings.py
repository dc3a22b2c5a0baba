"""How checkpoints are run and scored."""

from __future__ import annotations

from dataclasses import dataclass

from hf_emms.features.layers import SPREAD


@dataclass(frozen=True)
class Settings:
    """How checkpoints are run and scored.

    Attributes:
        estimators: names; the first one decides whether a checkpoint is scored or failed.
        seed: of the folds.
        folds: number of folds.
        device: "auto", "cpu", "cuda", "mps".
        dtype: "auto", "float32", "bfloat16", "float16".
        batch_size: inputs a batch; None lets the extractor choose.
        allow_pickle: load pickled weights.
        trust_remote_code: run code that a checkpoint brings along.
        layers: asked for, see `features.layers`; a checkpoint's row is that of the best of them.
    """

    estimators: tuple[str, ...]
    seed: int = 0
    folds: int = 5
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    layers: tuple[str, ...] = ()

    @property
    def read_layers(self) -> tuple[str, ...]:
        """The layers that are read: those asked for, else the last with two earlier ones beside it."""
        return self.layers or (SPREAD,)
