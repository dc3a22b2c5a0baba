"""A question with its context: contexts longer than the model reads are windowed with overlap, never cut.

Every context token counts once, in the window where it stands farther from the edge; what the windows say of one
input is merged exactly, as if one mean ran over all of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.data import Pairs
from hf_emms.features.memory import Inputs
from hf_emms.features.text import TextInput, check_vocabulary, plan_batches
from hf_emms.features.transfer import Batch

_CHUNK = 2_048  # pairs that are cut into windows and sorted at a time: memory does not grow with the data set
_OVERLAP = 4  # neighbouring windows share at least one part in so many of the context that one of them holds


@dataclass(frozen=True)
class Template:
    """The special tokens around a pair, and the types of all tokens.

    Attributes:
        before: in front of the first text.
        between: between the two.
        after: behind the second text.
        types: of the tokens before, of the first text, between, of the second text, and after.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True)
class TextPairInput:
    """How a checkpoint reads a pair of texts: as `TextInput`, with special tokens, and token types if it knows them."""

    text: TextInput
    template: Template
    typed: bool


@dataclass(frozen=True)
class Window:
    """Part of a pair that fits into the model.

    Attributes:
        first: token ids of the first text.
        second: token ids of the second text that are in the window.
        own: which of them count here: from, and up to.
    """

    first: Sequence[int]
    second: Sequence[int]
    own: tuple[int, int]


def read_template(tokenizer: Any) -> Template:
    """What the tokenizer puts around a pair of texts."""
    encoded = tokenizer("a", "b", return_special_tokens_mask=True, return_token_type_ids=True)
    ids, types = encoded["input_ids"], encoded["token_type_ids"]
    content = [i for i, special in enumerate(encoded["special_tokens_mask"]) if not special]
    length = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    first, second = content[:length], content[length:]
    before, after = ids[: first[0]], ids[second[-1] + 1 :]
    between = ids[first[-1] + 1 : second[0]]
    if not (before or between or after):
        # A decoder would read question and context as one sentence.
        between = tokenizer("\n", add_special_tokens=False)["input_ids"]
    kinds = (types[0], types[first[0]], types[first[-1] + 1], types[second[0]], types[-1])
    return Template(tuple(before), tuple(between), tuple(after), kinds)


def window_batches(
    source: TextPairInput,
    pairs: Pairs,
    forward: Callable[[Inputs], Tensor],
    merge: Callable[[np.ndarray], np.ndarray],
    *,
    budget: int,
    batch_size: int | None = None,
    on_cut: Callable[[int], None] = lambda count: None,
    on_windows: Callable[[int], None] = lambda count: None,
) -> Iterator[Batch]:
    """Features of pairs of texts, longest windows first within a chunk.

    Args:
        source: how the checkpoint reads them.
        pairs: M pairs.
        forward: `{"input_ids", "attention_mask", "first", "second"}` and `"token_type_ids"` if it knows them, all
            int64 (b, T), to what each window says, (b, S); `first` marks the tokens of the first text,
            `second` those of the second text that count.
        merge: what the w windows of one pair say, (w, S), to its row (D1,).
        budget: tokens a batch, padding included.
        batch_size: the most windows a batch; None: as the budget says.
        on_cut: told how many first texts of a chunk were too long even alone.
        on_windows: told how many pairs of a chunk needed several windows.

    Yields:
        Positions int64 (b,) and features float32 (b, D1), see `Batch`; on the CPU, where windows are merged.

    Raises:
        EmmsError: a token id beyond the model's vocabulary.
    """
    room = source.text.limit - len(source.template)
    for start in range(0, len(pairs), _CHUNK):
        parts = pairs.parts[start : start + _CHUNK]
        firsts = _token_ids(source.text, pairs.firsts, parts[:, 0])
        seconds = _token_ids(source.text, pairs.seconds, parts[:, 1])
        cut = sum(len(ids) > room // 2 for ids in firsts.values())
        if cut:
            on_cut(cut)
        windows = [cut_windows(firsts[first][: room // 2], seconds[second], room) for first, second in parts]
        several = sum(len(found) > 1 for found in windows)
        if several:
            on_windows(several)
        for done, rows in _merged(source, windows, forward, merge, budget, batch_size):
            yield start + done, rows


def cut_windows(first: Sequence[int], second: Sequence[int], room: int) -> list[Window]:
    """The windows of one pair, evenly over the second text; `room` tokens fit beside the special ones."""
    held = room - len(first)
    step = held - held // _OVERLAP
    count = 1 if len(second) <= held else 1 + ceil((len(second) - held) / step)
    starts = [round(i * (len(second) - held) / (count - 1)) for i in range(count)] if count > 1 else [0]
    # Two windows meet in the middle of what they share.
    meetings = [(start + held + after) // 2 for start, after in pairwise(starts)]
    edges = [0, *meetings, len(second)]
    return [
        Window(first, second[start : start + held], (edges[i] - start, edges[i + 1] - start))
        for i, start in enumerate(starts)
    ]


def _token_ids(source: TextInput, texts: Sequence[str], which: np.ndarray) -> dict[int, list[int]]:
    """Token ids of the distinct texts among those asked for, without special tokens."""
    used = np.unique(which).tolist()
    chosen = [texts[i] for i in used]
    # Too long for the model is no reason for its tokenizer to warn: windows follow.
    ids = source.tokenizer(
        chosen,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    check_vocabulary(source, ids)
    return dict(zip(used, ids, strict=True))


def _merged(
    source: TextPairInput,
    windows: Sequence[Sequence[Window]],
    forward: Callable[[Inputs], Tensor],
    merge: Callable[[np.ndarray], np.ndarray],
    budget: int,
    batch_size: int | None,
) -> Iterator[Batch]:
    """Rows of pairs as soon as all of their windows have been read."""
    flat = list(chain.from_iterable(windows))
    left = np.array([len(found) for found in windows])
    ends = np.cumsum(left)
    starts = ends - left
    owner = np.repeat(np.arange(len(windows)), left)
    said: np.ndarray | None = None
    lengths = [max(1, len(source.template) + len(window.first) + len(window.second)) for window in flat]
    for batch in plan_batches(source.text, lengths, budget, batch_size):
        results = forward(_inputs(source, [flat[i] for i in batch])).cpu().numpy()
        said = np.empty((len(flat), results.shape[1]), np.float32) if said is None else said
        said[batch] = results
        np.subtract.at(left, owner[batch], 1)
        done = np.unique(owner[batch])
        done = done[left[done] == 0]
        if len(done):
            yield done, torch.from_numpy(np.stack([merge(said[starts[pair] : ends[pair]]) for pair in done]))


def _inputs(source: TextPairInput, windows: Sequence[Window]) -> Inputs:
    """The tensors of a batch, int64 (b, T), filled up on the right."""
    template = source.template
    rows = []
    for window in windows:
        pieces = (template.before, window.first, template.between, window.second, template.after)
        lengths = [len(piece) for piece in pieces]
        ids = list(chain.from_iterable(pieces)) or [source.text.filler]
        rows.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "first": [0] * lengths[0] + [1] * lengths[1],
                "second": [0] * (sum(lengths[:3]) + window.own[0]) + [1] * (window.own[1] - window.own[0]),
                "token_type_ids": np.repeat(template.types, lengths).tolist(),
            }
        )
    names = [name for name in rows[0] if source.typed or name != "token_type_ids"]
    width = max(len(row["input_ids"]) for row in rows)
    fill = {name: source.text.pad if name == "input_ids" else 0 for name in names}
    return {name: torch.tensor([row[name] + [fill[name]] * (width - len(row[name])) for row in rows]) for name in names}
