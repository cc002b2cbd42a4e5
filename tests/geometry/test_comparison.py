"""Similarities of dissimilarity matrices, categorical models, noise ceilings and bootstrap against rsatoolbox and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.model import ModelWeighted
from rsatoolbox.model.fitter import fit_regress_nn
from rsatoolbox.rdm import RDMs, compare
from scipy import stats

from geometry.representations import comparison
from geometry.representations._matrix import pair_vector, square_matrix
from geometry.representations.bootstrap import bca_interval, bootstrap, bootstrap_similarity, distinct_pairs
from geometry.representations.categorical import (
    categorical_model,
    category_matrices,
    category_matrix,
    weighted_model,
)
from geometry.representations.comparison import COMPARISONS, linear_cka, pearson, pearson_of_pairs, spearman
from geometry.representations.dissimilarity import dissimilarity_matrix
from geometry.representations.noise_ceiling import noise_ceiling


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def two():
    patterns = normal(14, 6)
    noisy = patterns + 0.7 * normal(14, 6, seed=1)
    first, second = (dissimilarity_matrix(x, "squared_euclidean") for x in (patterns, noisy))
    return first, (4 * second).round() / 4  # with ties


def rdms(*matrices):
    return RDMs(torch.stack([pair_vector(matrix) for matrix in matrices]).numpy())


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("pearson", "corr"),
        ("spearman", "spearman"),
        ("kendall_tau_a", "tau-a"),
        ("cosine", "cosine"),
        ("kernel_alignment", "cosine_cov"),
    ],
)
def test_agrees_with_rsatoolbox(two, name, theirs):
    expected = float(compare(rdms(two[0]), rdms(two[1]), method=theirs)[0, 0])
    assert float(COMPARISONS[name](*two)) == pytest.approx(expected, abs=1e-10)
    assert float(COMPARISONS[name](two[0], two[0])) == pytest.approx(1)
    both = COMPARISONS[name](torch.stack(two), two[1])
    assert both.shape == (2,)
    assert float(both[0]) == pytest.approx(expected, abs=1e-10)


def test_rank_correlations_agree_with_scipy_and_with_counting(two):
    one, other = (pair_vector(matrix) for matrix in two)
    assert float(spearman(*two)) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)
    np.testing.assert_array_equal(comparison.ranks(other).numpy(), stats.rankdata(other.numpy()))
    pairs = list(itertools.combinations(range(len(one)), 2))
    counted = sum(np.sign(float((one[i] - one[j]) * (other[i] - other[j]))) for i, j in pairs) / len(pairs)
    assert float(comparison.kendall_tau_a(*two)) == pytest.approx(counted, abs=1e-12)


def test_invariances(two):
    assert float(spearman(two[0] ** 3, two[1])) == pytest.approx(float(spearman(*two)))
    affine = square_matrix(2 * pair_vector(two[0]) + 5)
    assert float(pearson(affine, two[1])) == pytest.approx(float(pearson(*two)))
    shuffles = [torch.randperm(14, generator=torch.Generator().manual_seed(seed)) for seed in range(200)]
    null = torch.stack([pearson(two[0], two[0][order][:, order]) for order in shuffles])
    assert abs(float(null.mean())) < 0.1


def test_kernel_alignment_of_matrices_is_that_of_patterns():
    one, other = normal(20, 5), normal(20, 8, seed=1)
    from_patterns = linear_cka(one, other)
    matrices = [dissimilarity_matrix(x, "squared_euclidean") for x in (one, other)]
    assert float(from_patterns) == pytest.approx(float(comparison.kernel_alignment(*matrices)), abs=1e-12)
    cross, own = [
        float(torch.linalg.matrix_norm((a - a.mean(0)).T @ (b - b.mean(0)))) ** 2 for a, b in ((one, other), (one, one))
    ]
    last = float(torch.linalg.matrix_norm((other - other.mean(0)).T @ (other - other.mean(0)))) ** 2
    assert float(from_patterns) == pytest.approx(cross / math.sqrt(own * last))
    rotation = torch.linalg.qr(normal(5, 5, seed=2)).Q
    assert float(linear_cka(one, 3 * one @ rotation + 1)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["pearson", "cosine", "kernel_alignment"])
def test_what_can_be_differentiated_has_the_right_gradient(two, name):
    x = normal(6, 4, seed=3).requires_grad_()
    target = two[0][:6, :6]
    assert torch.autograd.gradcheck(lambda x: COMPARISONS[name](dissimilarity_matrix(x), target), x)
    assert torch.autograd.gradcheck(lambda x: linear_cka(x, normal(6, 3, seed=4)), x)


def test_bad_matrices_are_refused(two):
    with pytest.raises(ValueError, match="of 14 and 10 stimuli; they must be of the same"):
        pearson(two[0], two[1][:10, :10])
    with pytest.raises(ValueError, match="the second matrix has 1 on its diagonal"):
        spearman(two[0], 1 - two[1] / two[1].max())
    with pytest.raises(ValueError, match="all dissimilarities of a matrix are constant"):
        pearson(two[0], 1 - torch.eye(14, dtype=torch.float64))
    with pytest.raises(ValueError, match="of 14 and 3 stimuli"):
        linear_cka(normal(14, 2), normal(3, 2))


LABELS = torch.tensor([0] * 4 + [1] * 5 + [2] * 5)


def test_weights_of_a_categorical_model_are_found_again():
    parts = category_matrices(LABELS)
    target = (parts * torch.tensor([0.3, 0.0, 1.2], dtype=torch.float64)[:, None, None]).sum(0)
    found = categorical_model(target, LABELS)
    torch.testing.assert_close(found.weights, torch.tensor([0.3, 0.0, 1.2], dtype=torch.float64))
    torch.testing.assert_close(found.matrix, target)
    assert found.pearson == pytest.approx(1)
    raised = square_matrix(pair_vector(target) + 0.4)
    assert categorical_model(raised, LABELS, constant=True).constant == pytest.approx(0.4)
    assert torch.equal(category_matrix(LABELS) == 0, LABELS[:, None] == LABELS)
    with pytest.raises(ValueError, match="3 labels for a matrix of 14 stimuli"):
        categorical_model(target, LABELS[:3])


def test_weighted_models_agree_with_rsatoolbox(two):
    parts = category_matrices(LABELS)
    model = ModelWeighted("categories", rdms(*parts))
    expected = fit_regress_nn(model, rdms(two[0]), method="cosine")
    weights = weighted_model(two[0], list(parts)).weights.numpy()
    np.testing.assert_allclose(weights / np.linalg.norm(weights), expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(("name", "theirs"), [("pearson", "corr"), ("spearman", "spearman"), ("cosine", "cosine")])
def test_noise_ceilings_agree_with_rsatoolbox(two, name, theirs):
    subjects = torch.stack([dissimilarity_matrix(normal(14, 6) + normal(14, 6, seed=s)) for s in range(2, 7)])
    low, high = boot_noise_ceiling(rdms(*subjects), method=theirs)
    found = noise_ceiling(subjects, name)
    assert (found.lower, found.upper) == pytest.approx((float(low), float(high)), abs=1e-10)
    assert noise_ceiling(torch.stack([two[0], two[0]]), name).lower == pytest.approx(1)
    with pytest.raises(ValueError, match="known for pearson, spearman, cosine"):
        noise_ceiling(subjects, "tau")
    with pytest.raises(ValueError, match="at least two subjects"):
        noise_ceiling(subjects[:1], name)


def test_bca_interval_is_scipys():
    sample = np.random.default_rng(0).gamma(2.0, size=30)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=2000, rng=1, method="BCa")
    jackknife = [(sample.sum() - value) / 29 for value in sample]
    found = bca_interval(
        float(sample.mean()), torch.tensor(theirs.bootstrap_distribution), [torch.tensor(jackknife)], level=0.95
    )
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-10)
    ours = bootstrap(lambda rows, _: float(sample[rows.numpy()].mean()), stimuli=30, draws=4000)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.06)
    assert ours.p == pytest.approx(2 / 4001)


def test_bca_of_two_factors_is_scipys():
    random = np.random.default_rng(3)
    one, two = random.gamma(1.0, size=12), random.normal(size=20)
    theirs = stats.bootstrap((one, two), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=2000, rng=1)
    left = [np.delete(one, i).mean() - two.mean() for i in range(12)]
    right = [one.mean() - np.delete(two, i).mean() for i in range(20)]
    sample, jackknife = torch.tensor(theirs.bootstrap_distribution), [torch.tensor(left), torch.tensor(right)]
    found = bca_interval(float(one.mean() - two.mean()), sample, jackknife)
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-10)


def test_a_stimulus_drawn_twice_is_no_pair():
    row, column = distinct_pairs(torch.tensor([3, 1, 3]))
    assert row.tolist() == [3, 1]
    assert column.tolist() == [1, 3]
    unrelated = [dissimilarity_matrix(normal(20, 30, seed=seed)) for seed in (1, 2)]
    found = bootstrap_similarity(*unrelated, pearson_of_pairs, draws=300)
    assert float(found.draws.mean()) == pytest.approx(found.estimate, abs=0.03)  # with them: .3 and more
    assert found.low < found.estimate < found.high


def test_subjects_are_drawn_beside_stimuli():
    truth = dissimilarity_matrix(normal(30, 10))
    noise = [dissimilarity_matrix(normal(30, 10, seed=s)) for s in range(1, 7)]
    subjects = torch.stack([truth + one for one in noise])
    both = bootstrap_similarity(subjects, truth, pearson_of_pairs, draws=200)
    single = [bootstrap_similarity(one, truth, pearson_of_pairs, draws=200) for one in subjects]
    assert both.estimate == pytest.approx(sum(one.estimate for one in single) / 6)
    assert both.low < both.estimate < both.high
    assert max(one.low for one in single) < both.high
    with pytest.raises(ValueError, match="undefined in all 10 draws"):
        bootstrap(lambda a, b: float("nan"), stimuli=3, draws=10)
