"""Hamming distances against scipy, packed and not, by both ways of counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from geometry.polyhedra import hamming_distances as module
from geometry.polyhedra.activation_pattern import pack
from geometry.polyhedra.hamming_distances import hamming_distances, nearest_patterns


def _bits(number, length, seed=0):
    return torch.rand(number, length, generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.mark.parametrize("length", [1, 7, 64, 65, 200, 1000])
def test_agrees_with_scipy(length, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 5)
    monkeypatch.setattr(module, "COLUMNS", 11)
    a, b = _bits(23, length), _bits(31, length, seed=1)
    expected = np.rint(cdist(a.numpy(), b.numpy(), "hamming") * length)
    found = hamming_distances(a, b)
    assert found.dtype == torch.int16
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(hamming_distances(pack(a), pack(b)).numpy(), expected)


@pytest.mark.parametrize("packed", [False, True])
def test_products_count_the_same(packed, monkeypatch):
    """What a GPU does, done here."""
    monkeypatch.setattr(module, "PRODUCTS", 7)
    a, b = _bits(20, 77), _bits(15, 77, seed=1)
    given = (pack(a), pack(b)) if packed else (a, b)
    found = torch.empty(20, 15, dtype=torch.int16)
    module._multiply(*given, found)
    torch.testing.assert_close(found, hamming_distances(a, b))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_the_same():
    a, b = _bits(300, 5000), _bits(200, 5000, seed=1)
    torch.testing.assert_close(hamming_distances(a.cuda(), b.cuda()).cpu(), hamming_distances(a, b))


def test_long_patterns_do_not_overflow():
    ones, zeros = torch.ones(1, 40_000, dtype=torch.bool), torch.zeros(2, 40_000, dtype=torch.bool)
    assert hamming_distances(ones, zeros).tolist() == [[40_000, 40_000]]


def test_the_nearest_are_those_of_the_whole_matrix(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 100)
    a, b = _bits(30, 12), _bits(40, 12, seed=1)
    whole = hamming_distances(a, b)
    distances, indices = nearest_patterns(a, b, k=5)
    order = whole.argsort(dim=1, stable=True)[:, :5]
    torch.testing.assert_close(indices, order)
    torch.testing.assert_close(distances, whole.gather(1, order))


def test_none_against_some():
    assert hamming_distances(_bits(0, 9), _bits(4, 9)).shape == (0, 4)
    assert nearest_patterns(_bits(0, 9), _bits(4, 9), k=2)[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), "booleans, or bytes"),
        (torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.uint8), "both alike"),
        (torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool), "of one length"),
    ],
)
def test_other_patterns_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        hamming_distances(a, b)


@pytest.mark.parametrize("k", [0, 5])
def test_more_neighbours_than_patterns_are_refused(k):
    with pytest.raises(ValueError, match="between 1 and the number of patterns"):
        nearest_patterns(_bits(2, 3), _bits(4, 3), k=k)
