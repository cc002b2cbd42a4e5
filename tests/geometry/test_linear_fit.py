"""Held-out fits, reduced rank and effective rank against closed forms; Hamming similarity of activation patterns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.representations.fiedler import agreement, fiedler_partition
from geometry.representations.hamming_similarity import hamming_similarity_matrix
from geometry.representations.linear_fit import effective_rank, held_out_fit, map_rank, reduced_rank_map
from geometry.representations.linear_map import LinearMap, least_squares_map


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_invertible_map_is_found_and_unpaired_rows_give_nothing():
    source = normal(200, 12)
    found = held_out_fit(source, source @ normal(12, 12, seed=1))
    assert found.r2 == pytest.approx(1)
    assert found.mse == pytest.approx(0, abs=1e-12)
    assert found.rank == 12
    null = held_out_fit(source, normal(200, 12, seed=2))
    assert null.r2 < 0.1


def test_near_interpolation_the_error_is_many_times_the_noise():
    """Test variance of least squares with p features of n rows: 1 + p / (n - p - 1)."""
    features, rows = 50, 75
    source = normal(8000, features)
    target = source @ normal(features, 40, seed=1) + normal(8000, 40, seed=2)
    errors = [held_out_fit(source, target, share=rows / 8000, affine=False, seed=s).mse for s in range(8)]
    assert sum(errors) / 8 == pytest.approx(1 + features / (rows - features - 1), rel=0.12)
    found = held_out_fit(source, target, share=rows / 8000, affine=False)
    assert found.rows_per_feature == 1.5
    assert found.fitted_mse < 0.5 < held_out_fit(source, target, share=0.9).mse < 1.1


def test_reduced_rank_is_the_truncated_decomposition_for_orthonormal_sources():
    source, target = torch.linalg.qr(normal(60, 10)).Q, normal(60, 8, seed=1)
    left, values, right = torch.linalg.svd(source.T @ target)
    for rank in (1, 3, 8):
        found = reduced_rank_map(source, target, rank, affine=False)
        expected = left[:, :rank] * values[:rank] @ right[:rank]
        torch.testing.assert_close(found.matrix, expected)
        assert map_rank(found) == rank


@pytest.mark.parametrize("ridge", [0.0, 2.0])
def test_no_map_of_the_rank_is_better(ridge):
    source, target = normal(50, 6) + 1, normal(50, 5, seed=1)
    found = reduced_rank_map(source, target, 2, ridge=ridge)

    def loss(matrix):
        residual = (source - source.mean(0)) @ matrix - (target - target.mean(0))
        return residual.square().sum() + ridge * matrix.square().sum()

    left, values, right = torch.linalg.svd(found.matrix, full_matrices=False)
    best = loss(found.matrix)
    for seed in range(20):
        one, two = (left * values)[:, :2], right[:2]
        moved = (one + 0.02 * normal(*one.shape, seed=seed)) @ (two + 0.02 * normal(*two.shape, seed=100 + seed))
        assert float(loss(moved)) >= float(best)
    whole = least_squares_map(source, target, ridge=ridge)
    torch.testing.assert_close(reduced_rank_map(source, target, 5, ridge=ridge).matrix, whole.matrix)


def test_effective_rank():
    assert effective_rank(LinearMap(torch.eye(7), torch.zeros(7))) == pytest.approx(7)
    lone = torch.zeros(4, 4)
    lone[1, 2] = 3.0
    assert effective_rank(LinearMap(lone, torch.zeros(4))) == pytest.approx(1)
    two = LinearMap(torch.diag(torch.tensor([3.0, 1.0])), torch.zeros(2))
    assert effective_rank(two) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)))


def test_bad_input_is_said():
    source = normal(10, 3)
    with pytest.raises(ValueError, match="leaves no rows on one side"):
        held_out_fit(source, source, share=1.0)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        reduced_rank_map(source, source, 0)
    with pytest.raises(ValueError, match=r"booleans are needed, not torch\.float64"):
        hamming_similarity_matrix(source)


def test_differing_bits_are_hyperplanes_between():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, 2))
    x = torch.randn(9, 2)
    found = hamming_similarity_matrix(activation_pattern(network, x))
    sides = network[0](x) > 0
    for i in range(9):
        for j in range(9):
            assert float(found[i, j]) == pytest.approx(1 - float((sides[i] != sides[j]).sum()) / 40)
    assert torch.equal(found.diagonal(), torch.ones(9, dtype=torch.float64))


def test_clusters_fall_apart_by_their_bits():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 2))
    labels = torch.arange(40) % 2
    x = 0.3 * torch.randn(40, 2) + 2.0 * (2 * labels[:, None] - 1)
    cut = fiedler_partition(hamming_similarity_matrix(activation_pattern(network, x)))
    assert agreement(cut.part, labels).accuracy == 1
