"""Token states become rows: of no, one and several tokens, and of the frames of sound."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_emms.features import reductions

STATES = torch.tensor([[1.0, 20.0], [3.0, -40.0], [8.0, 60.0]])
# The second token alone, the first two, the last two, and none.
MASKS = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("masked_mean", [(3, -40), (2, -10), (5.5, 10), (0, 0)]),
        ("first_token", [(3, -40), (1, 20), (3, -40), (1, 20)]),
        ("last_token", [(3, -40), (3, -40), (8, 60), (1, 20)]),
        ("average", [(4, 40 / 3)] * 4),
    ],
)
def test_states_are_reduced_by_their_mask(name: str, rows: list[tuple[float, float]]) -> None:
    reduced = getattr(reductions, name)(STATES.repeat(4, 1, 1), {"attention_mask": MASKS})
    torch.testing.assert_close(reduced, torch.tensor(rows, dtype=torch.float32))


class Halving(torch.nn.Module):
    """A reader of sound, of whose samples two make a frame."""

    def _get_feat_extract_output_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        return samples // 2


@pytest.mark.parametrize(
    ("model", "samples", "frames", "lengths", "counts"),
    [
        (Halving(), 6, 3, (6, 5, 1), (3, 2, 1)),
        (torch.nn.Module(), 6, 3, (6, 5, 1), (3, 3, 1)),  # by their share, and a part of a frame counts
        (Halving(), 9, 3, (6, 5, 1), (2, 2, 1)),  # the model would make four frames of nine samples
        (torch.nn.Module(), 300, 10, (300, 90, 91), (10, 3, 4)),
    ],
)
def test_frames_of_padding_are_left_out(
    model: torch.nn.Module, samples: int, frames: int, lengths: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    mask = (torch.arange(samples) < torch.tensor(lengths)[:, None]).long()
    states = torch.arange(float(frames)).repeat(3, 2, 1).mT
    means = torch.tensor([[(count - 1) / 2] * 2 for count in counts])
    torch.testing.assert_close(reductions.mean_frames(model, states, {"attention_mask": mask}), means)
    for cells, inputs in ((states, {}), (states.mT[..., None], {"attention_mask": mask})):
        torch.testing.assert_close(reductions.mean_frames(model, cells, inputs), states.mean(1))


def test_frames_are_masked_by_the_outputs_of_a_family_that_returns_a_mask() -> None:
    states = torch.arange(4.0).repeat(2, 1)[..., None]
    inputs = {"attention_mask": torch.tensor([[1] * 30 + [0], [1] * 9 + [0] * 22])}
    of_frames = SimpleNamespace(attention_mask=torch.tensor([[True] * 4, [True] + [False] * 3]))
    of_samples = SimpleNamespace(attention_mask=inputs["attention_mask"])
    for outputs, means in ((of_frames, [1.5, 0.0]), (of_samples, [1.5, 0.5])):
        found = reductions.mean_frames(torch.nn.Module(), states, inputs, outputs)
        torch.testing.assert_close(found[:, 0], torch.tensor(means))
