"""Pairs of texts as windows: a second text longer than the model reads is cut into overlapping windows, never cut off.

Every token of it counts once, in the window where it is farther from the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import chain, pairwise
from math import ceil
from typing import Any

import numpy as np
import torch

from hf_emms.features.device import Inputs
from hf_emms.features.text import TextReader

Run = tuple[int, int]
"""Consecutive tokens: from, and up to."""

_OVERLAP = 4  # neighbouring windows share at least 1/4 of the part of the second text that each holds


@dataclass(frozen=True)
class Window:
    """A part of a pair that fits into the model.

    Attributes:
        first: token ids of the first text.
        second: token ids of the second text that are in the window.
        start: how many of its token ids are before them.
        counted: which of `second` count here and in no other window.
        spans: parts of those that count each for itself; empty: all of them count together.
    """

    first: Sequence[int]
    second: Sequence[int]
    start: int
    counted: Run
    spans: tuple[Run, ...] = ()


def cut_windows(first: Sequence[int], second: Sequence[int], capacity: int) -> list[Window]:
    """The windows of one pair, evenly over the second text; `capacity` tokens fit in addition to the special ones."""
    held = capacity - len(first)
    step = held - held // _OVERLAP
    count = 1 if len(second) <= held else 1 + ceil((len(second) - held) / step)
    starts = [round(i * (len(second) - held) / (count - 1)) for i in range(count)] if count > 1 else [0]
    # Two windows meet in the middle of their overlap.
    meetings = [(start + held + after) // 2 for start, after in pairwise(starts)]
    edges = [0, *meetings, len(second)]
    return [
        Window(first, second[start : start + held], start, (edges[i] - start, edges[i + 1] - start))
        for i, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class TextPairReader:
    """How a checkpoint reads a pair of texts.

    Attributes:
        text: how it reads each of them.
        before: special tokens before the first text.
        between: special tokens between the two.
        after: special tokens after the second text.
        types: token types of `before`, the first text, `between`, the second text and `after`; None where the model
            has none.
    """

    text: TextReader
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...] | None

    @property
    def special_tokens(self) -> int:
        """How many tokens are added to a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def capacity(self) -> int:
        """How many tokens of both texts fit into the model."""
        return self.text.max_length - self.special_tokens

    def length(self, window: Window) -> int:
        """Tokens of a window."""
        return max(1, self.special_tokens + len(window.first) + len(window.second))

    def tokenize(
        self, texts: Sequence[str], numbers: np.ndarray, *, offsets: bool = False
    ) -> tuple[dict[int, list[int]], dict[int, list[Run]]]:
        """Token ids of some of the texts by their numbers, and the characters of each token if asked for."""
        used = np.unique(numbers).tolist()
        encoded = self.text.tokenizer(
            [texts[i] for i in used],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
            verbose=False,  # no warning about texts longer than the model reads
        )
        self.text.check_vocabulary(encoded["input_ids"])
        ids = dict(zip(used, encoded["input_ids"], strict=True))
        return ids, dict(zip(used, encoded["offset_mapping"], strict=True)) if offsets else {}

    def pad(self, windows: Sequence[Window]) -> Inputs:
        """The tensors of b windows that count equally many runs of tokens, S.

        Returns:
            int64 (b, T): "input_ids", "attention_mask", "token_type_ids" if the model has them, and "first", 1 for the
            tokens of the first text; "counted", int64 (b, S, 2): the runs of the second text that count.
        """
        rows, counted = [], []
        for window in windows:
            pieces = (self.before, window.first, self.between, window.second, self.after)
            lengths = [len(piece) for piece in pieces]
            ids = list(chain.from_iterable(pieces)) or [self.text.empty_id]
            row = {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "first": [0] * lengths[0] + [1] * lengths[1],
            }
            if self.types is not None:
                row["token_type_ids"] = np.repeat(self.types, lengths).tolist()
            rows.append(row)
            runs = window.spans or (window.counted,)
            counted.append([_shift(run, sum(lengths[:3]), len(ids)) for run in runs])
        width = max(len(row["input_ids"]) for row in rows)
        fill = {name: self.text.pad_id if name == "input_ids" else 0 for name in rows[0]}
        padded = {
            name: torch.tensor([row[name] + [fill[name]] * (width - len(row[name])) for row in rows]) for name in fill
        }
        return {**padded, "counted": torch.tensor(counted)}


def text_pair_reader(model: Any, text: TextReader) -> TextPairReader:
    """The tokenizer with the special tokens that it puts around a pair."""
    encoded = text.tokenizer("a", "b", return_special_tokens_mask=True, return_token_type_ids=True)
    ids, types = encoded["input_ids"], encoded["token_type_ids"]
    content = [i for i, special in enumerate(encoded["special_tokens_mask"]) if not special]
    length = len(text.tokenizer("a", add_special_tokens=False)["input_ids"])
    first, second = content[:length], content[length:]
    before, between, after = ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
    if not (before or between or after):
        # A decoder would read both texts as one sentence.
        between = text.tokenizer("\n", add_special_tokens=False)["input_ids"]
    has_types = "token_type_ids" in signature(model.forward).parameters
    has_types = has_types and (getattr(model.config, "type_vocab_size", None) or 0) > 1
    positions = (0, first[0], first[-1] + 1, second[0], -1)
    token_types = tuple(types[i] for i in positions) if has_types else None
    return TextPairReader(text, tuple(before), tuple(between), tuple(after), token_types)


def _shift(run: Run, before: int, length: int) -> Run:
    """A run of the second text's tokens among all `length` of a window, of which `before` are before that text.

    A run that is not empty stays so: where the text has no token, the nearest one is taken.
    """
    start, stop = run
    return (min(before + start, length - 1), min(before + stop, length)) if start < stop else (0, 0)
