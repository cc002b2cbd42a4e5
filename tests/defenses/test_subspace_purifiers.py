"""pca_purifier and gradient_purifier against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from defenses._subspace import principal_components
from defenses.gradient_purifier import GradientPurifier
from defenses.pca_purifier import PCAPurifier
from harness.types import Split

PURIFIERS = [PCAPurifier(), GradientPurifier(steps=4)]


def fitted(part, digits):
    return part.load(part.fit(digits.fit, victim=digits.network), victim=digits.network)


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_pca_agrees_with_scikit_learn(digits, variance):
    purify = fitted(PCAPurifier(variance=variance), digits)
    oracle = PCA(n_components=variance, svd_solver="full").fit(digits.fit.x.flatten(1).double().numpy())
    assert len(purify.subspace.directions) == oracle.n_components_
    x = digits.test.x
    expected = oracle.inverse_transform(oracle.transform(x.flatten(1).double().numpy())).clip(0, 1)
    np.testing.assert_allclose(purify(x).flatten(1).numpy(), expected, atol=1e-5)


def test_all_variance_is_the_identity_on_the_inputs_that_were_fitted():
    """Fewer inputs than dimensions: they lie in their own components."""
    x = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = Split(x, torch.zeros(12).long(), torch.arange(12), 2)
    purify = PCAPurifier(variance=1.0).load(
        PCAPurifier(variance=1.0).fit(data, victim=nn.Identity()), victim=nn.Identity()
    )
    torch.testing.assert_close(purify(x), x, atol=1e-5, rtol=0)
    assert len(purify.subspace.directions) == 11


def test_constant_inputs_keep_one_direction():
    state = principal_components(torch.full((5, 1, 2, 2), 0.25), 0.9)
    assert state["directions"].shape == (1, 4)
    assert all(torch.isfinite(value).all() for value in state.values())


def test_without_consistency_the_descent_has_a_closed_form(digits):
    """Each step leaves (1 - 2 step_size) of what stands out of the subspace; the box does not matter to it here."""
    part = GradientPurifier(steps=6, step_size=0.2, consistency=0.0)
    purify = fitted(part, digits)
    grey = 0.4 + 0.2 * digits.test.x
    near = purify.subspace.project(grey)
    torch.testing.assert_close(purify(grey), near + (1 - 2 * 0.2) ** 6 * (grey - near), atol=1e-5, rtol=0)


def test_objective_by_its_definition_and_lower_after_the_descent(digits):
    purify, x = fitted(GradientPurifier(consistency=2.0), digits), digits.test.x
    near = purify.subspace.project(x)
    softmax = [digits.network(z).softmax(1) for z in (x, near)]
    expected = (x - near).square().sum((1, 2, 3)) + 2.0 * (softmax[0] - softmax[1]).square().sum(1)
    torch.testing.assert_close(purify.objective(x), expected)
    assert (purify.objective(purify(x)) < purify.objective(x)).float().mean() > 0.95
    z = x.clone().requires_grad_()
    purify.objective(z).sum().backward()
    assert z.grad.flatten(1).any(1).all()


def test_the_descent_cuts_its_graph_and_gives_the_same_values_in_every_mode(digits):
    purify, x = fitted(GradientPurifier(), digits), digits.test.x
    leaf = x.clone().requires_grad_()
    graded = purify(leaf)
    with torch.no_grad():
        plain = purify(x)
    assert torch.equal(graded, plain)
    assert not graded.requires_grad
    assert leaf.grad is None
    assert not any(parameter.requires_grad for parameter in digits.network.parameters())


def test_the_projection_has_its_true_gradient(digits):
    purify = fitted(PCAPurifier(), digits)
    grey = (0.4 + 0.2 * digits.test.x[:2]).double()
    assert torch.autograd.gradcheck(purify, grey.requires_grad_())


@pytest.mark.parametrize("part", PURIFIERS, ids=lambda part: type(part).__name__)
def test_purified_inputs_belong_to_the_input_and_keep_their_class(digits, part):
    purify, x = fitted(part, digits), digits.test.x
    before = x.clone()
    found = purify(x)
    assert torch.equal(x, before)
    assert found.min() >= 0
    assert found.max() <= 1
    rows = torch.tensor([5, 3])
    torch.testing.assert_close(purify(x[rows]), found[rows], atol=1e-5, rtol=0)
    assert (digits.network(found).argmax(1) == digits.test.y).float().mean() > 0.95
    assert found.dtype == x.dtype


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PCAPurifier(variance=0.0), "share of the variance"),
        (lambda: GradientPurifier(variance=2.0), "share of the variance"),
        (lambda: GradientPurifier(steps=0), "at least one step"),
        (lambda: GradientPurifier(step_size=0.0), "positive size"),
    ],
)
def test_senseless_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
