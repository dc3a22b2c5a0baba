"""ITM: implicit transferability modelling (Zheng et al., NeurIPS 2025, arXiv 2510.23145)."""

from __future__ import annotations

import numpy as np

from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.standardise import standardise_rows

BATCH_ROWS, ITERATIONS, EVALUATE_EVERY = 256, 500, 100
STEP = 0.5  # η
RATE, DECAY, RATE_ENDS_AT = 5e-3, 1e-2, 10_000
TRAIN_SHARE = 0.8


def itm(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float | None:
    """Best held-out accuracy of a linear map whose outputs evolve towards their classes; None where there are none.

    A batch E of B rows is mapped to Θ = f(E), of unit length each, and moves one step towards pseudo-centres Ê, the
    one-hot classes: (I − η C) Θ + η C Ê with C = Θ Θᵀ / B held constant. A linear layer then predicts the classes; the
    map and this layer are trained by cross-entropy for 500 batches, and after every 100 the accuracy is measured.

    The step, the batches, the centres and what is measured are those of the paper as summaries of it describe them.
    They leave open what f is, η, the number of steps, the optimiser and the split: here a linear layer, 0.5, 1, AdamW
    and four fifths, as a public port of the authors' code has them. Departure: rows are split by group. As in the
    port, rows that are measured evolve too, by their own classes.
    """
    if not labels.categorical:
        return None
    import torch
    from sklearn.model_selection import GroupShuffleSplit
    from torch.nn import functional

    split = GroupShuffleSplit(1, train_size=TRAIN_SHARE, random_state=0).split(features, groups=groups)
    train, test = (torch.from_numpy(rows) for rows in next(split))
    x = torch.from_numpy(standardise_rows(features)[0].astype(np.float32))
    codes = torch.from_numpy(np.unique(labels.codes, return_inverse=True)[1])
    centres = functional.one_hot(codes).float()

    def evolved(rows: torch.Tensor) -> torch.Tensor:
        mapped = functional.normalize(to_classes(x[rows]))
        fixed, gap = mapped.detach(), mapped - centres[rows]
        return mapped - STEP * fixed @ (fixed.T @ gap) / len(rows)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        classes = centres.shape[1]
        to_classes, head = torch.nn.Linear(x.shape[1], classes), torch.nn.Linear(classes, classes)
        optimizer = torch.optim.AdamW([*to_classes.parameters(), *head.parameters()], lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, RATE_ENDS_AT)
        best, done = 0.0, 0
        while done < ITERATIONS:
            for rows in train[torch.randperm(len(train))].split(BATCH_ROWS)[: ITERATIONS - done]:
                optimizer.zero_grad()
                functional.cross_entropy(head(evolved(rows)), codes[rows]).backward()
                optimizer.step()
                schedule.step()
                done += 1
                if done % EVALUATE_EVERY == 0:
                    with torch.no_grad():
                        right = [head(evolved(rows)).argmax(dim=1) == codes[rows] for rows in test.split(BATCH_ROWS)]
                    best = max(best, torch.cat(right).float().mean().item())
    return best
