"""The feature of a question with its context, from an encoder's token states.

[mean of the question's tokens; mean of the context's], read in one pass. It is the same whatever the answer is: where
an answer starts never enters. It is for answers in words of their own; spans.py is for those that stand in the context.

Measured with frozen encoders (held-out R² of MiniLM embeddings of the answers, ridge). Six of them on some 460 WordNet
spans: mean over all tokens .181, over the context .208, question and context .190. MiniLM on 1,000 rows of XQuAD: .059,
.056, .069. A third part, the context's tokens weighted by their similarity with the question, gained .001 to .006 on
WordNet and lost .003 to .004 on XQuAD, for half as many columns again.

A question with its context: contexts longer than the model reads are windowed with overlap, never cut.

Every context token counts once, in the window where it stands farther from the edge; what the windows say of one
input is merged exactly, as if one mean ran over all of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch, Inputs
from hf_emms.features.text import TextInput, check_vocabulary, plan_batches
from hf_emms.plugins import by_reference

SUMMARY = "mean of the question's tokens and mean of the context's, read together"


def token_states(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def encoder_states(model: Any, inputs: Inputs) -> Tensor:
    return token_states(model.get_encoder(), inputs)


def fallback_states(model: Any, inputs: Inputs) -> Tensor:
    return (encoder_states if model.config.is_encoder_decoder else token_states)(model, inputs)


States = Callable[[Any, Inputs], Tensor]
STATES: dict[str, States] = {
    "question_context": token_states,
    "encoder_question_context": encoder_states,
    "question_context_fallback": fallback_states,
}


def find_states(name: str) -> States:
    """An entry of `STATES`, or a function of another package from a model and a batch to token states (b, T, D).

    Raises:
        EmmsError: there is none of this name.
    """
    if ":" not in name:
        return STATES[name]
    found = by_reference(name)
    if not callable(found):
        raise EmmsError(f"{name} is of type {type(found).__name__}, no function to token states")
    return found


def said_by_window(states: States, model: Any, inputs: Inputs) -> Tensor:
    """What a window says of its pair.

    Args:
        states: token states of a model.
        model: the model.
        inputs: of b windows, see `windows.read_windows`.

    Returns:
        float32 (b, 2·D + 1): mean of the first text's tokens, sum of the second's, and their number.
    """
    hidden, told = counted_sums(states, model, inputs)
    first = inputs["first"].float()
    asked = torch.einsum("btd,bt->bd", hidden, first) / first.sum(1, keepdim=True).clamp_min(1)
    return torch.cat([asked, told[:, 0]], dim=1)


def counted_sums(states: States, model: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Token states, float32 (b, T, D); and of each run of tokens that counts their sum and number, (b, S, D + 1)."""
    own = {name: tensor for name, tensor in inputs.items() if name not in ("first", "counted")}
    hidden = states(model, own).float()
    start, stop = inputs["counted"].unbind(2)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    marks = ((places >= start[..., None]) & (places < stop[..., None])).float()
    return hidden, torch.cat([marks @ hidden, marks.sum(2, keepdim=True)], dim=2)


def merged(said: np.ndarray) -> np.ndarray:
    """The row (2·D,) of a pair from what its w windows say, float32 (w, 2·D + 1)."""
    asked, told = np.split(said[:, :-1], 2, axis=1)
    # An empty context has no tokens to average.
    return np.concatenate([asked.mean(0), told.sum(0) / max(1.0, said[:, -1].sum())])


# From and up to.
Run = tuple[int, int]

CHUNK = 2_048  # pairs that are cut into windows and sorted at a time: memory does not grow with the data set
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
class Tokens:
    """A text without special tokens: token ids, and from and up to which of its characters each token stands for."""

    ids: list[int]
    offsets: list[Run]


@dataclass(frozen=True)
class Window:
    """Part of a pair that fits into the model.

    Attributes:
        first: token ids of the first text.
        second: token ids of the second text that are in the window.
        at: how many of its token ids come before them.
        own: which of them count here and in no other window: from, and up to.
        spans: runs of those, which count each for itself; without, all of them count together.
    """

    first: Sequence[int]
    second: Sequence[int]
    at: int
    own: Run
    spans: tuple[Run, ...] = ()

    @property
    def counted(self) -> tuple[Run, ...]:
        return self.spans or (self.own,)


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
        forward: a batch as `read_windows` makes it, to what each window says, (b, …).
        merge: what the w windows of one pair say, (w, …), to its row (D1,).
        budget: tokens a batch, padding included.
        batch_size: the most windows a batch; None: as the budget says.
        on_cut: told how many first texts of a chunk were too long even alone.
        on_windows: told how many pairs of a chunk needed several windows.

    Yields:
        Positions int64 (b,) and features float32 (b, D1), see `Batch`; on the CPU, where windows are merged.

    Raises:
        EmmsError: a token id beyond the model's vocabulary.
    """
    for start in range(0, len(pairs), CHUNK):
        chunk = pairs[start : start + CHUNK]
        seconds = tokenised(source.text, pairs.seconds, chunk.parts[:, 1])
        windows = pair_windows(source, chunk, seconds, on_cut, on_windows)
        for done, rows in read_windows(source, windows, forward, merge, budget, batch_size):
            yield start + done, rows


def pair_windows(
    source: TextPairInput,
    pairs: Pairs,
    seconds: Mapping[int, Tokens],
    on_cut: Callable[[int], None],
    on_windows: Callable[[int], None],
) -> list[list[Window]]:
    """The windows of each pair; `seconds` holds the second texts by their numbers."""
    room = source.text.limit - len(source.template)
    firsts = tokenised(source.text, pairs.firsts, pairs.parts[:, 0])
    cut = sum(len(first.ids) > room // 2 for first in firsts.values())
    if cut:
        on_cut(cut)
    windows = [cut_windows(firsts[first].ids[: room // 2], seconds[second].ids, room) for first, second in pairs.parts]
    several = sum(len(found) > 1 for found in windows)
    if several:
        on_windows(several)
    return windows


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
        Window(first, second[start : start + held], start, (edges[i] - start, edges[i + 1] - start))
        for i, start in enumerate(starts)
    ]


def tokenised(
    source: TextInput, texts: Sequence[str], which: np.ndarray, *, offsets: bool = False
) -> dict[int, Tokens]:
    """The distinct texts among those asked for, by their numbers; offsets only where they are asked for too."""
    used = np.unique(which).tolist()
    # Too long for the model is no reason for its tokenizer to warn: windows follow.
    made = source.tokenizer(
        [texts[i] for i in used],
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=offsets,
        verbose=False,
    )
    check_vocabulary(source, made["input_ids"])
    places = made["offset_mapping"] if offsets else [[]] * len(used)
    return {one: Tokens(*told) for one, *told in zip(used, made["input_ids"], places, strict=True)}


def read_windows(
    source: TextPairInput,
    windows: Sequence[Sequence[Window]],
    forward: Callable[[Inputs], Tensor],
    merge: Callable[[np.ndarray], np.ndarray],
    budget: int,
    batch_size: int | None,
) -> Iterator[Batch]:
    """Rows of pairs as soon as all of their windows have been read.

    Args:
        source: how the checkpoint reads them.
        windows: of each pair; all count equally many runs of tokens, S.
        forward: `{"input_ids", "attention_mask", "first"}` and `"token_type_ids"` if it knows them, int64 (b, T), and
            `"counted"`, int64 (b, S, 2), to what each window says, (b, …); `first` marks the tokens of the
            first text, `counted` says which of the second text count: from, and up to.
        merge: what the w windows of one pair say, (w, …), to its row or rows.
        budget: tokens a batch, padding included.
        batch_size: the most windows a batch; None: as the budget says.
    """
    flat = list(chain.from_iterable(windows))
    left = np.array([len(found) for found in windows])
    ends = np.cumsum(left)
    starts = ends - left
    owner = np.repeat(np.arange(len(windows)), left)
    said: np.ndarray | None = None
    lengths = [max(1, len(source.template) + len(window.first) + len(window.second)) for window in flat]
    for batch in plan_batches(source.text, lengths, budget, batch_size):
        results = forward(_inputs(source, [flat[i] for i in batch])).cpu().numpy()
        said = np.empty((len(flat), *results.shape[1:]), np.float32) if said is None else said
        said[batch] = results
        np.subtract.at(left, owner[batch], 1)
        done = np.unique(owner[batch])
        done = done[left[done] == 0]
        if len(done):
            yield done, torch.from_numpy(np.stack([merge(said[starts[pair] : ends[pair]]) for pair in done]))


def _inputs(source: TextPairInput, windows: Sequence[Window]) -> Inputs:
    """The tensors of a batch, filled up on the right, see `read_windows`."""
    template = source.template
    rows, counted = [], []
    for window in windows:
        pieces = (template.before, window.first, template.between, window.second, template.after)
        lengths = [len(piece) for piece in pieces]
        ids = list(chain.from_iterable(pieces)) or [source.text.filler]
        before = sum(lengths[:3])
        rows.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "first": [0] * lengths[0] + [1] * lengths[1],
                "token_type_ids": np.repeat(template.types, lengths).tolist(),
            }
        )
        counted.append([_placed(run, before, len(ids)) for run in window.counted])
    names = [name for name in rows[0] if source.typed or name != "token_type_ids"]
    width = max(len(row["input_ids"]) for row in rows)
    fill = {name: source.text.pad if name == "input_ids" else 0 for name in names}
    filled = {
        name: torch.tensor([row[name] + [fill[name]] * (width - len(row[name])) for row in rows]) for name in names
    }
    return {**filled, "counted": torch.tensor(counted)}


def _placed(run: Run, before: int, length: int) -> Run:
    """A run of the second text's tokens among all `length` of a window, of which `before` come before that text.

    A run that is not empty stays so: where a text has no token, the nearest one stands for it.
    """
    start, stop = run
    return (min(before + start, length - 1), min(before + stop, length)) if start < stop else (0, 0)
