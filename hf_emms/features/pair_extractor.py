"""Pictures with texts to feature rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.fusion import Fused, Towers
from hf_emms.features.layers import LAST
from hf_emms.features.memory import Inputs
from hf_emms.features.pairs import PairInput, Sizes, fused_batches, tokens_beside, tower_batches
from hf_emms.features.plan import ExtractionPlan
from hf_emms.features.running import PROBED, TOKENS, Running, fitting_images
from hf_emms.features.transfer import Batch

# Numbers kept of pictures that are gathered for the rows of one join: 32 MB of float32 on a CPU.
_KEPT = {"cpu": 2**23, "mps": 2**25, "cuda": 2**27}
_PROBED_WORDS = 64  # texts beside pictures are short


class PairExtractor(Running):
    """A checkpoint with its image processor and tokenizer, ready to turn pictures with texts into features."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: PairInput,
        fusion: Towers | Fused,
        asked: tuple[str, ...] = (LAST,),
    ) -> None:
        self._fusion = fusion
        super().__init__(plan, model, self._fusion.summary)
        self._ask_joined(asked)
        self._source = source
        self._pictures = self._pixels()
        self._texts = self._budget(TOKENS, _fused_tokens) if isinstance(fusion, Fused) else self._tokens()
        self._kept = self._budget(_KEPT, lambda inputs: inputs["picture"].numel())
        self._picture = self._halving(
            lambda inputs: fusion.picture(self._model, inputs["pixel_values"]), self._pictures, keep=True
        )
        if isinstance(fusion, Fused):
            self._fuse = self._halving(lambda inputs: fusion.fuse(self._model, inputs), self._texts)
        else:
            self._text = self._halving(lambda inputs: fusion.text(self._model, inputs), self._texts)
            self._join = self._halving(
                lambda inputs: fusion.join(inputs["picture"].float(), inputs["text"].float()), self._kept
            )
        self.width = self._probe(_examples(1, "a"), _examples(PROBED, "a " * _PROBED_WORDS))

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, Pairs):
            raise EmmsError(f"{self._plan.repo.id} reads pictures with texts, not {type(inputs).__name__}")
        source, on_cut = self._source, self._cut_at_limit
        pictures = batch_size or fitting_images(self._pictures, source.picture.pixels)
        sizes = Sizes(pictures, self._texts.units(), self._kept.units(), batch_size)
        if isinstance(self._fusion, Fused):
            return fused_batches(source, inputs, picture=self._picture, fuse=self._fuse, sizes=sizes, on_cut=on_cut)
        return tower_batches(
            source, inputs, picture=self._picture, text=self._text, join=self._join, sizes=sizes, on_cut=on_cut
        )

    def _cut_at_limit(self, count: int) -> None:
        self._note_cut(count, self._source.text.limit)


def _fused_tokens(inputs: Inputs) -> int:
    ids = inputs["input_ids"]
    return ids.numel() + len(ids) * tokens_beside(inputs["picture"])


def _examples(count: int, text: str) -> Pairs:
    from PIL import Image

    return Pairs([Image.new("RGB", (64, 64))] * count, [text] * count, np.arange(count).repeat(2).reshape(count, 2))
