"""Hard votes counted in the ways that people count them: the values stay, and the slope is that of soft votes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from harness.rewritten import Smooth, under

VOTES, CLASSES = 8, 4
WEIGHT = torch.randn(12, CLASSES, generator=torch.Generator().manual_seed(0))
NOISE = 0.3 * torch.randn(VOTES, 12, generator=torch.Generator().manual_seed(1))
X = torch.rand(5, 12, generator=torch.Generator().manual_seed(2))


def logits(x: Tensor) -> Tensor:
    """Of noisy copies: (B, D) -> (B * VOTES, K)."""
    return (x[:, None] + NOISE).flatten(0, 1) @ WEIGHT


def voted(x: Tensor) -> Tensor:
    return logits(x).argmax(1).view(len(x), VOTES)


def soft(x: Tensor) -> Tensor:
    return logits(x).softmax(1).view(len(x), VOTES, CLASSES).sum(1)


def kept_in_place(x: Tensor) -> Tensor:
    counts = torch.zeros(len(x), CLASSES)
    counts.scatter_add_(1, voted(x), torch.ones(len(x), VOTES))
    return counts


def apart(x: Tensor) -> Tensor:
    return torch.stack([(x + noise) @ WEIGHT for noise in NOISE], 1).argmax(-1)


COUNTS: dict[str, Callable[[Tensor], Tensor]] = {
    "scattered": lambda x: torch.zeros(len(x), CLASSES).scatter_add(1, voted(x), torch.ones(len(x), VOTES)),
    "scattered in place": kept_in_place,
    "one-hot": lambda x: one_hot(voted(x), CLASSES).sum(1).float(),
    "one-hot first": lambda x: one_hot(logits(x).argmax(dim=1), CLASSES).float().view(len(x), VOTES, -1).sum(1),
    "class by class": lambda x: torch.stack([(voted(x) == k).sum(1) for k in range(CLASSES)], 1).float(),
    "compared at once": lambda x: (voted(x)[..., None] == torch.arange(CLASSES)).float().sum(1),
    "kept": lambda x: one_hot(logits(x).argmax(1, keepdim=True), CLASSES).view(len(x), VOTES, CLASSES).sum(1).float(),
    "turned": lambda x: one_hot(voted(x).t(), CLASSES).sum(0).float(),
    "one by one": lambda x: torch.stack([one_hot(v, CLASSES) for v in voted(x).unbind(1)]).sum(0).float(),
    "a histogram each": lambda x: torch.stack(
        [torch.bincount(v, minlength=CLASSES) for v in voted(x).unbind()]
    ).float(),
    "members apart": lambda x: one_hot(torch.stack(apart(x).unbind(1), 1), CLASSES).sum(1).float(),
}


def slope(function: Callable[[Tensor], Tensor]) -> Tensor:
    x = X.clone().requires_grad_()
    return torch.autograd.grad((function(x) * torch.arange(CLASSES)).sum(), x)[0]


@pytest.mark.parametrize("how", COUNTS)
def test_counted_votes_follow_soft_votes(how: str) -> None:
    smooth = under(Smooth, COUNTS[how])
    assert torch.equal(smooth(X), COUNTS[how](X))
    assert torch.equal(smooth(X.clone().requires_grad_()), COUNTS[how](X))
    assert torch.allclose(slope(smooth), slope(soft), atol=1e-5)


def test_the_class_of_most_votes_follows_the_mean_of_soft_votes() -> None:
    def most(x: Tensor) -> Tensor:
        return one_hot(voted(x).mode(1).values, CLASSES).float()

    assert torch.equal(under(Smooth, most)(X), most(X))
    assert torch.allclose(slope(under(Smooth, most)), slope(soft) / VOTES, atol=1e-6)


def test_a_class_as_a_number_is_left_as_it_is() -> None:
    """It has no smooth stand-in: classes have no order."""

    def numbered(x: Tensor) -> Tensor:
        return (x @ WEIGHT).argmax(1).float()[:, None] + x[:, :CLASSES]

    assert torch.equal(under(Smooth, numbered)(X), numbered(X))
    assert torch.equal(slope(under(Smooth, numbered)), slope(lambda x: x[:, :CLASSES]))
    assert torch.equal(
        under(Smooth, lambda x: x.argmax(keepdim=True))(X.clone().requires_grad_()), X.argmax(keepdim=True)
    )
