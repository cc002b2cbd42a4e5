"""A hyperplane between two clouds of embeddings, by a linear support vector machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Hyperplane:
    """Signed score a . normal + offset, positive on the side of the second cloud; normal (F,), offset ()."""

    normal: Tensor
    offset: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return x @ self.normal + self.offset


def separating_hyperplane(first: Tensor, second: Tensor, *, cost: float = 1.0) -> Hyperplane:
    """Linear support vector machine (squared hinge loss) between first (N1, F) and second (N2, F), in float64.

    Features are standardised over both clouds, and the scale is folded back into the hyperplane; constant features get
    weight 0. cost: the C of scikit-learn's LinearSVC. The result has the dtype and device of `first`.
    """
    from sklearn.svm import LinearSVC

    rows = torch.cat([first, second]).double().cpu()
    labels = torch.cat([torch.zeros(len(first)), torch.ones(len(second))])
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    varies = deviation > rows.abs().amax(0) * 1e-12
    inverse = torch.where(varies, 1.0 / torch.where(varies, deviation, 1.0), 0.0)
    machine = LinearSVC(C=cost, dual="auto", random_state=0, max_iter=10_000)
    machine.fit(((rows - mean) * inverse).numpy(), labels.numpy())
    normal = torch.as_tensor(machine.coef_).flatten() * inverse
    offset = torch.as_tensor(machine.intercept_).flatten()[0] - mean @ normal
    return Hyperplane(normal.to(first), offset.to(first))
