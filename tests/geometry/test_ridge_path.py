"""Many ridges from one decomposition: scikit-learn, the map by singular values, known best ridges, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from geometry.representations.linear_map import least_squares_map, mean_squared_error
from geometry.representations.ridge_path import RIDGES, RidgePath, chosen_ridge


def _normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(60, 7), (20, 50), (30, 30)])
@pytest.mark.parametrize("ridge", [0.0, 0.01, 3.0])
def test_agrees_with_the_map_by_singular_values_and_with_sklearn(shape, ridge):
    a, b = _normal(0, *shape) + 2.0, _normal(1, shape[0], 4) - 1.0
    path = RidgePath.of(a)
    found = path.map(b, ridge)
    expected = least_squares_map(a, b, ridge=ridge * path.scale())
    torch.testing.assert_close(found.matrix, expected.matrix, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(found(a), expected(a), atol=1e-7, rtol=1e-7)
    if ridge:
        model = Ridge(alpha=ridge * path.scale()).fit(a.numpy(), b.numpy())
        np.testing.assert_allclose(found(a).numpy(), model.predict(a.numpy()), atol=1e-8)


def test_scale_is_the_mean_squared_singular_value():
    a = _normal(0, 40, 6)
    expected = torch.linalg.svdvals(a - a.mean(0)).square().mean()
    assert RidgePath.of(a).scale() == pytest.approx(float(expected))


def test_maps_are_those_one_by_one():
    a, b = _normal(0, 40, 6), _normal(1, 40, 3)
    path = RidgePath.of(a)
    for ridge, found in zip((0.0, 0.5), path.maps(b, (0.0, 0.5)), strict=True):
        torch.testing.assert_close(found.matrix, path.map(b, ridge).matrix)


def test_dead_and_repeated_features_are_dropped():
    a = _normal(0, 50, 5)
    wide = torch.cat([a, a[:, :2], torch.zeros(50, 3, dtype=torch.float64)], dim=1)
    assert RidgePath.of(wide).rank == 5
    b = _normal(1, 50, 2)
    torch.testing.assert_close(RidgePath.of(wide).map(b)(wide), RidgePath.of(a).map(b)(a))


def test_a_target_in_the_span_needs_no_ridge_and_noise_needs_the_largest():
    a = _normal(0, 200, 20)
    fit = torch.arange(200) < 150
    exact, noise = a @ _normal(1, 20, 100), _normal(2, 200, 3)
    assert chosen_ridge(a, [exact, noise], fit) == [RIDGES[0], RIDGES[-1]]


def test_the_chosen_ridge_is_near_the_best_on_new_rows():
    """Known best: noise variance over the variance of a weight; the choice is within a decade or two of it."""
    weights, sigma = 0.3 * _normal(0, 80, 90), 2.0
    a, new = _normal(1, 120, 80), _normal(2, 3000, 80)
    b, truth = a @ weights + sigma * _normal(3, 120, 90), new @ weights
    (found,) = chosen_ridge(a, [b], torch.arange(120) < 90)
    path = RidgePath.of(a)
    errors = {ridge: mean_squared_error(path.map(b, ridge)(new), truth) for ridge in (0.0, *RIDGES)}
    assert errors[found] < 1.3 * min(errors.values())
    assert errors[found] < 0.6 * errors[0.0]


def test_without_a_ridge_the_error_peaks_where_rows_are_as_many_as_features():
    """Test variance of least squares: sigma^2 (1 + p / (n - p - 1)) above, and falling again below."""
    p, sigma, found = 40, 1.0, {}
    new = _normal(0, 2000, p)
    weights = _normal(1, p, 30) / p**0.5
    for n in (20, 41, 160):
        trials = []
        for seed in range(10):
            a = _normal(10 + seed, n, p)
            b = a @ weights + sigma * _normal(100 + seed, n, 30)
            trials.append(mean_squared_error(RidgePath.of(a).map(b)(new), new @ weights))
        found[n] = sum(trials) / len(trials)
    assert found[41] > 5 * found[20]
    assert found[41] > 5 * found[160]
    assert found[160] == pytest.approx(p / (160 - p - 1), rel=0.15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RidgePath.of(torch.ones(3)), r"rows \(N, F\) are needed"),
        (lambda: RidgePath.of(torch.ones(0, 3)), r"not \(0, 3\)"),
        (lambda: RidgePath.of(_normal(0, 5, 2)).map(_normal(0, 4, 2)), "5 rows were decomposed"),
        (lambda: RidgePath.of(_normal(0, 5, 2)).map(_normal(0, 5, 2), -1.0), "at least 0, not -1"),
        (lambda: chosen_ridge(_normal(0, 5, 2), [_normal(0, 5, 2)], torch.ones(5) > 0), "5 of 5 rows to fit"),
        (lambda: chosen_ridge(_normal(0, 5, 2), [_normal(0, 5, 2)], torch.arange(5) < 3, ridges=()), "0 ridges"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
