"""The flow against the determinant of its Jacobian, an integral over the plane, and Gaussian data on a subspace."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from geometry.manifolds.flow import Flow, spline_flow

FEATURES, DIM = 6, 2


@pytest.fixture(scope="module")
def gaussian():
    """Gaussian data on a plane in six dimensions, and a flow fitted to them."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(FEATURES, DIM)).Q
    deviations = torch.tensor([0.2, 0.1])
    codes = deviations * torch.randn(4000, DIM)
    x = 0.5 + codes @ basis.T
    part = Flow(dim=DIM, width=2, epochs=1, learning_rate=1e-4, transforms=2, hidden=16, flow_epochs=20)
    return part, part.fit(SimpleNamespace(x=x)), x, codes, deviations


def test_the_log_determinant_is_that_of_the_jacobian_and_the_inverse_inverts() -> None:
    torch.manual_seed(0)
    flow = spline_flow(3, 2, 16).requires_grad_(False)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    z = torch.randn(5, 3)
    transform = flow().transform
    moved = transform(z)
    torch.testing.assert_close(transform.inv(moved), z, atol=1e-5, rtol=0)
    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda one: transform(one[None])[0], z[row])
        normal = -0.5 * float(moved[row].square().sum()) - 1.5 * math.log(2 * math.pi)
        expected = normal + float(torch.linalg.slogdet(jacobian).logabsdet)
        assert float(flow().log_prob(z[row : row + 1])) == pytest.approx(expected, abs=1e-4)


def test_the_density_of_codes_integrates_to_one(gaussian) -> None:
    part, state, *_ = gaussian
    manifold = part.load(state)
    reach = 6 * state["spread"]
    axes = [torch.linspace(-1, 1, 301) * reach[i] + state["center"][i] for i in range(DIM)]
    grid = torch.cartesian_prod(*axes)
    cell = float((2 * reach / 300).prod())
    assert float(manifold.code_density(grid).exp().sum()) * cell == pytest.approx(1.0, abs=0.01)


def test_on_a_plane_the_density_is_that_of_the_data(gaussian) -> None:
    part, state, x, codes, deviations = gaussian
    exact = MultivariateNormal(torch.zeros(DIM), torch.diag(deviations.square())).log_prob(codes[:500])
    found = part.load(state).log_density(x[:500])
    assert float((found - exact).abs().median()) < 0.15
    assert float(found.mean()) == pytest.approx(float(exact.mean()), abs=0.1)


def test_samples_have_the_moments_of_the_data(gaussian) -> None:
    part, state, x, *_ = gaussian
    drawn = part.load(state).sample(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), x.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(x.T), atol=0.004, rtol=0)


def test_outliers_on_the_manifold_are_less_likely_and_the_gradient_leads_back(gaussian) -> None:
    part, state, x, *_ = gaussian
    manifold = part.load(state)
    far = (0.5 + 4 * (x[:50] - 0.5)).requires_grad_()
    density: Tensor = manifold.log_density(far)
    assert float(density.detach().mean()) < float(manifold.log_density(x[:50]).mean()) - 3
    (gradient,) = torch.autograd.grad(density.sum(), far)
    assert float(((gradient * (0.5 - far)).sum(1) > 0).double().mean()) > 0.9


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="transforms must be"):
        Flow(transforms=0)
    with pytest.raises(ValueError, match="width must be"):
        Flow(width=0)
