"""Losses against their formulas."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax

from attacks._loss import SLACK, accepted, cross_entropy, margin, most_likely_wrong, towards
from harness.types import Outputs

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 3.5]])
Y = torch.tensor([0, 1])


def test_cross_entropy():
    expected = -log_softmax(LOGITS.numpy(), axis=1)[[0, 1], [0, 1]]
    assert np.allclose(cross_entropy(Outputs(LOGITS), Y).numpy(), expected, atol=1e-6)
    assert torch.equal(towards(cross_entropy)(Outputs(LOGITS), Y), -cross_entropy(Outputs(LOGITS), Y))


def test_margin_is_positive_where_the_label_is_lost():
    assert torch.allclose(margin(Outputs(LOGITS), Y), torch.tensor([-1.5, 0.5]))


def test_accepted_subtracts_the_weighted_margin_until_it_is_accepted():
    score = torch.tensor([1.0, -2.0])
    loss = accepted(margin, 0.5)
    assert torch.allclose(loss(Outputs(LOGITS, score), Y), torch.tensor([-2.0, 0.5 + 0.5 * SLACK]))
    assert torch.equal(loss(Outputs(LOGITS), Y), margin(Outputs(LOGITS), Y))


def test_most_likely_wrong_classes():
    assert most_likely_wrong(LOGITS, Y, 1).tolist() == [[2, 2]]
    assert most_likely_wrong(LOGITS, Y, 9).tolist() == [[2, 2], [1, 0]]
