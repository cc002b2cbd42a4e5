"""Losses against their formulas."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax

from attacks._loss import (
    SLACK,
    SPREAD,
    accepted,
    cross_entropy,
    dlr,
    lack,
    margin,
    most_likely_wrong,
    rescaled_cross_entropy,
    targeted_dlr,
    targeted_margin,
    towards,
)
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


def test_dlr_by_the_published_formulas():
    """Croce and Hein 2020, equations 6 and 7, on five classes of which the label is not always the largest."""
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    y, target = np.arange(20) % 5, (np.arange(20) + 1) % 5
    rows, ordered = np.arange(20), -np.sort(-logits, axis=1)
    others = np.where(np.arange(5) == y[:, None], -np.inf, logits).max(1)
    own = logits[rows, y]
    outputs, pairs = Outputs(torch.tensor(logits)), torch.tensor(np.stack([y, target], 1))
    expected = -(own - others) / (ordered[:, 0] - ordered[:, 2])
    assert np.allclose(dlr(outputs, torch.tensor(y)).numpy(), expected, atol=1e-5)
    expected = -(own - logits[rows, target]) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2)
    assert np.allclose(targeted_dlr(outputs, pairs).numpy(), expected, atol=1e-5)


def test_with_few_classes_dlr_is_the_margin():
    two, three = Outputs(LOGITS[:, :2]), Outputs(LOGITS)
    pairs = torch.tensor([[0, 1], [1, 0]])
    assert torch.equal(dlr(two, Y), margin(two, Y))
    assert torch.equal(targeted_dlr(three, pairs), targeted_margin(three, pairs))


def test_rescaled_cross_entropy_is_that_of_logits_of_one_spread():
    brought = LOGITS.numpy() * SPREAD / LOGITS.numpy().std(1, keepdims=True)
    expected = -log_softmax(brought, axis=1)[[0, 1], [0, 1]]
    for scale in (1e-4, 1.0, 1e4):
        found = rescaled_cross_entropy(Outputs(LOGITS * scale), Y)
        assert np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_what_lacks_to_success_is_the_larger_of_two():
    score = torch.tensor([1.0, -2.0])
    assert torch.equal(lack(Outputs(LOGITS), Y), torch.tensor([1.5, -0.5]))
    assert torch.equal(lack(Outputs(LOGITS, score), Y), torch.tensor([1.5, -0.5]))
    assert torch.equal(lack(Outputs(LOGITS, 3 * score), Y), torch.tensor([3.0, -0.5]))
