"""Least-squares maps against scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from geometry.representations.linear_map import explained_share, least_squares_map, mean_squared_error


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def _normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 3.0])
def test_agrees_with_sklearn(random, affine, ridge):
    a, b = _normal(random, 60, 7) + 2.0, _normal(random, 60, 4) - 1.0
    model = Ridge(alpha=ridge, fit_intercept=affine) if ridge else LinearRegression(fit_intercept=affine)
    model.fit(a.numpy(), b.numpy())
    fitted = least_squares_map(a, b, ridge=ridge, affine=affine)
    np.testing.assert_allclose(fitted.matrix.T.numpy(), model.coef_, atol=1e-12)
    np.testing.assert_allclose(fitted(a).numpy(), model.predict(a.numpy()), atol=1e-12)
    expected = r2_score(b.numpy(), model.predict(a.numpy()), multioutput="variance_weighted")
    assert explained_share(fitted(a), b) == pytest.approx(expected)
    assert mean_squared_error(fitted(a), b) == pytest.approx(np.mean((model.predict(a.numpy()) - b.numpy()) ** 2))


def test_fewer_rows_than_features_give_the_least_norm(random):
    a, b = _normal(random, 10, 30), _normal(random, 10, 3)
    fitted = least_squares_map(a, b, affine=False)
    np.testing.assert_allclose(fitted.matrix.numpy(), np.linalg.pinv(a.numpy()) @ b.numpy(), atol=1e-11)


def test_dead_features_do_not_matter(random):
    a, b = _normal(random, 50, 5), _normal(random, 50, 3)
    dead = torch.cat([a, torch.zeros(50, 2, dtype=torch.float64), torch.ones(50, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(least_squares_map(dead, b)(dead), least_squares_map(a, b)(a))


@pytest.mark.parametrize("orthogonal", [True, False])
def test_an_invertible_image_is_recovered(random, orthogonal):
    a, q = _normal(random, 100, 8), _normal(random, 8, 8)
    if orthogonal:
        q = torch.linalg.qr(q).Q
    fitted = least_squares_map(a, a @ q, affine=False)
    torch.testing.assert_close(fitted.matrix, q)
    assert mean_squared_error(fitted(a), a @ q) < 1e-24
    assert explained_share(fitted(a), a @ q) == pytest.approx(1.0)


def test_missing_coordinates_leave_the_conditional_covariance(random):
    """Source = first k of d Gaussian coordinates: squared distance = trace of the Schur complement."""
    d, k, n = 6, 4, 200_000
    root = _normal(random, d, d)
    b = _normal(random, n, d) @ root
    covariance = root.T @ root
    known, hidden = slice(0, k), slice(k, d)
    cross = covariance[hidden, known]
    schur = covariance[hidden, hidden] - cross @ torch.linalg.solve(covariance[known, known], cross.T)
    fitted = least_squares_map(b[:, :k], b)
    assert mean_squared_error(fitted(b[:, :k]), b) * d == pytest.approx(float(schur.trace()), rel=0.01)
    share = 1 - float(schur.trace() / covariance.trace())
    assert explained_share(fitted(b[:, :k]), b) == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize(("n", "p"), [(40, 10), (40, 30)])
def test_noise_costs_what_theory_says(random, n, p):
    """Expected test error of least squares with Gaussian rows: sigma^2 (1 + p / (n - p - 1)), without an offset."""
    errors = []
    for _ in range(300):
        a, truth = _normal(random, n, p), _normal(random, p, 1)
        fitted = least_squares_map(a, a @ truth + _normal(random, n, 1), affine=False)
        fresh = _normal(random, 200, p)
        errors.append(mean_squared_error(fitted(fresh), fresh @ truth + _normal(random, 200, 1)))
    assert np.mean(errors) == pytest.approx(1 + p / (n - p - 1), rel=0.12)


def test_unpaired_rows_leave_the_mean(random):
    a = _normal(random, 5000, 6)
    b = a @ _normal(random, 6, 4) + 3.0
    fitted = least_squares_map(a, b[torch.randperm(5000, generator=random)])
    assert abs(explained_share(fitted(a), b)) < 0.05
    torch.testing.assert_close(fitted(a), b.mean(0).expand_as(b), atol=0.5, rtol=0)


def test_a_constant_target_has_no_share():
    assert math.isnan(explained_share(torch.zeros(4, 2), torch.ones(4, 2)))


@pytest.mark.parametrize(("rows", "ridge", "message"), [(5, 0.0, "paired rows"), (4, -1.0, "at least 0")])
def test_senseless_input_is_refused(rows, ridge, message):
    with pytest.raises(ValueError, match=message):
        least_squares_map(torch.zeros(4, 2), torch.zeros(rows, 3), ridge=ridge)
