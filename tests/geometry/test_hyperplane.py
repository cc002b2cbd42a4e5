"""Linear detectors between two clouds against scikit-learn and the closed form of two Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from geometry.representations.hyperplane import separating_hyperplane
from geometry.representations.linear_map import least_squares_map


@pytest.fixture
def clouds():
    """Two Gaussians of one covariance and Mahalanobis distance 1.5, 8,000 rows each."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    first, second = torch.randn(2, 8000, 5, generator=generator, dtype=torch.float64)
    shift = torch.zeros(5, dtype=torch.float64)
    shift[0] = 1.5
    return first @ root, (second + shift) @ root


def _auroc(scores_first, scores_second):
    labels = np.r_[np.zeros(len(scores_first)), np.ones(len(scores_second))]
    return roc_auc_score(labels, torch.cat([scores_first, scores_second]))


def test_agrees_with_sklearn(clouds):
    first, second = (cloud[:300] for cloud in clouds)
    rows = torch.cat([first, second]).numpy()
    machine = make_pipeline(StandardScaler(), LinearSVC(dual="auto", random_state=0, max_iter=10_000))
    machine.fit(rows, np.r_[np.zeros(300), np.ones(300)])
    plane = separating_hyperplane(first, second)
    np.testing.assert_allclose(plane(torch.from_numpy(rows)), machine.decision_function(rows), atol=1e-8)


def test_reaches_the_best_linear_detector(clouds):
    """AUROC = Phi(D / sqrt 2) for Mahalanobis distance D."""
    first, second = clouds
    plane = separating_hyperplane(first[:4000], second[:4000])
    assert _auroc(plane(first[4000:]), plane(second[4000:])) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.01)


def test_an_orthogonal_map_keeps_the_detector(clouds):
    first, second = clouds
    q = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    rows = torch.cat([first[:2000], second[:2000]])
    mapped = least_squares_map(rows, rows @ q)
    plane = separating_hyperplane(first[2000:4000] @ q, second[2000:4000] @ q)
    native = _auroc(plane(first[4000:] @ q), plane(second[4000:] @ q))
    assert _auroc(plane(mapped(first[4000:])), plane(mapped(second[4000:]))) == native


def test_unpaired_maps_detect_nothing(clouds):
    first, second = clouds
    plane = separating_hyperplane(first[:1000], second[:1000])
    rows, generator = torch.cat([first[1000:2000], second[1000:2000]]), torch.Generator().manual_seed(2)
    found = []
    for _ in range(100):
        unpaired = least_squares_map(rows, rows[torch.randperm(2000, generator=generator)])
        found.append(_auroc(plane(unpaired(first[2000:3000])), plane(unpaired(second[2000:3000]))))
    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / 10)


def test_shuffled_labels_teach_nothing(clouds):
    first, second = clouds
    rows, generator = torch.cat([first[:200], second[:200]]), torch.Generator().manual_seed(3)
    found = []
    for _ in range(50):
        mixed = rows[torch.randperm(400, generator=generator)]
        plane = separating_hyperplane(mixed[:200], mixed[200:])
        found.append(_auroc(plane(first[2000:3000]), plane(second[2000:3000])))
    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / np.sqrt(50))


def test_constant_features_get_no_weight(clouds):
    first, second = (torch.cat([cloud[:200], torch.full((200, 1), 0.3)], dim=1) for cloud in clouds)
    assert separating_hyperplane(first, second).normal[-1] == 0


def test_keeps_the_dtype(clouds):
    plane = separating_hyperplane(*(cloud[:100].float() for cloud in clouds))
    assert plane.normal.dtype == plane.offset.dtype == torch.float32
