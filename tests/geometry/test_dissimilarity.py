"""Dissimilarity matrices against rsatoolbox, scipy and closed forms; blocks, gradients, memory, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm
from scipy.spatial.distance import pdist, squareform

from geometry.representations import dissimilarity
from geometry.representations._matrix import pair_vector, require_matrix, square_matrix
from geometry.representations._memory import block_rows, memory_needed, readable
from geometry.representations.dissimilarity import (
    MEASURES,
    crossnobis,
    dissimilarity_matrix,
    streamed_dissimilarity,
)

NUMBER, FEATURES = 17, 9


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def patterns():
    return normal(NUMBER, FEATURES) * torch.linspace(0.5, 2, FEATURES, dtype=torch.float64) + 3


@pytest.fixture
def precision():
    root = normal(FEATURES, FEATURES, seed=5)
    return torch.linalg.inv(root @ root.T + torch.eye(FEATURES, dtype=torch.float64))


@pytest.mark.parametrize(
    ("measure", "theirs", "scale"),
    [
        ("correlation", "correlation", 1),
        ("squared_euclidean", "euclidean", FEATURES),
        ("squared_mahalanobis", "mahalanobis", FEATURES),
    ],
)
def test_agrees_with_rsatoolbox(patterns, precision, measure, theirs, scale):
    noise = precision.numpy() if "mahalanobis" in measure else None
    expected = calc_rdm(Dataset(patterns.numpy()), method=theirs, noise=noise).get_matrices()[0] * scale
    found = dissimilarity_matrix(patterns, measure, precision=precision)
    assert float((found - torch.tensor(expected)).abs().max()) < 1e-10


@pytest.mark.parametrize("measure", ["correlation", "cosine", "euclidean", "squared_euclidean", "mahalanobis"])
def test_agrees_with_scipy(patterns, precision, measure):
    names = {"squared_euclidean": "sqeuclidean"}
    more = {"VI": precision.numpy()} if measure == "mahalanobis" else {}
    expected = squareform(pdist(patterns.numpy(), names.get(measure, measure), **more))
    found = dissimilarity_matrix(patterns, measure, precision=precision)
    assert float((found - torch.tensor(expected)).abs().max()) < 1e-10
    assert torch.equal(found.diagonal(), torch.zeros(NUMBER, dtype=torch.float64))


def test_crossnobis_agrees_with_rsatoolbox(precision):
    folds = normal(3, NUMBER, FEATURES) + normal(NUMBER, FEATURES, seed=1)
    descriptors = {
        "stimulus": np.tile(np.arange(NUMBER), 3),
        "fold": np.repeat(np.arange(3), NUMBER),
    }
    data = Dataset(folds.reshape(-1, FEATURES).numpy(), obs_descriptors=descriptors)
    for noise in (None, precision.numpy()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it averages descriptors too
            theirs = calc_rdm(data, method="crossnobis", descriptor="stimulus", cv_descriptor="fold", noise=noise)
        found = crossnobis(folds, precision=None if noise is None else precision)
        assert float((found - torch.tensor(theirs.get_matrices()[0] * FEATURES)).abs().max()) < 1e-10


def test_crossnobis_has_no_bias_from_noise():
    signal = torch.zeros(3, 40, dtype=torch.float64)
    signal[1, :10] = 1.0  # squared distance 10 from the others, which are alike
    noise = normal(4000, 2, 3, 40)
    mean = torch.stack([crossnobis(signal + folds) for folds in noise]).mean(0)
    expected = torch.tensor([[0, 10, 0], [10, 0, 10], [0, 10, 0]], dtype=torch.float64)
    assert float((mean - expected).abs().max()) < 0.6
    with pytest.raises(ValueError, match="R of at least 2"):
        crossnobis(noise[0, :1])


def test_closed_forms_of_correlation_distance(patterns):
    rows = torch.stack([patterns[0], patterns[0], -patterns[0], 3 * patterns[0] - 7, patterns[1]])
    found = dissimilarity_matrix(rows)
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    assert found[0, 2] == pytest.approx(2)
    assert torch.allclose(found[0], found[3], atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_blocks_and_leading_dimensions_change_nothing(patterns, precision, measure):
    whole = dissimilarity_matrix(patterns, measure, precision=precision)
    small = 4 * 4 * FEATURES * 8 + 8 * NUMBER**2 + 1000  # a few rows a block
    read = lambda start, stop: patterns[start:stop]  # noqa: E731
    streamed = streamed_dissimilarity(read, NUMBER, measure, precision=precision, memory=small)
    torch.testing.assert_close(streamed, whole, atol=1e-12, rtol=1e-12)
    several = dissimilarity_matrix(torch.stack([patterns, 2 * patterns]), measure, precision=precision)
    torch.testing.assert_close(several[0], whole, atol=1e-12, rtol=1e-12)


def test_streams_from_a_file_into_a_file(tmp_path, patterns):
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (NUMBER, FEATURES))
    stored[:] = patterns.numpy()
    there = torch.from_numpy(np.lib.format.open_memmap(tmp_path / "d.npy", "w+", "float64", (NUMBER, NUMBER)))
    found = streamed_dissimilarity(lambda a, b: torch.from_numpy(stored[a:b]), NUMBER, memory=2000, out=there)
    expected = dissimilarity_matrix(torch.from_numpy(stored).double())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.tensor(np.load(tmp_path / "d.npy")), expected, atol=1e-12, rtol=0)


def test_says_how_much_memory_it_needs_before_it_starts(patterns, monkeypatch):
    need = memory_needed(5000, 25_000)
    assert need.matrix == 5000 * 5000 * 8
    assert need.total == 2 * 5000 * 25_000 * 8 + 3 * need.matrix
    with pytest.raises(MemoryError, match=r"17 stimuli of 9 features need 2\.26 KiB for the matrix .* give `out`"):
        dissimilarity_matrix(patterns, memory=2000)
    asked = []
    monkeypatch.setattr(dissimilarity, "available_memory", lambda: asked.append(1) or 10_000)
    dissimilarity_matrix(patterns)
    assert asked
    assert readable(3 << 30) == "3 GiB"
    assert block_rows(1000, 8, 0) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_are_those_of_finite_differences(measure, precision):
    rows = normal(5, FEATURES).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dissimilarity_matrix(x, measure, precision=precision), rows)
    same = torch.cat([rows[:1], rows]).detach().requires_grad_()  # a distance of 0 has no direction
    (gradient,) = torch.autograd.grad(dissimilarity_matrix(same, measure, precision=precision).sum(), same)
    assert bool(torch.isfinite(gradient).all())


def test_keeps_digits_in_float64_and_where_the_mean_is_large(patterns):
    single = (patterns + 1000).float()
    exact = torch.tensor(squareform(pdist(single.double().numpy())))
    found = dissimilarity_matrix(single, "euclidean", dtype=torch.float64)
    assert float((found - exact).abs().max()) < 1e-10
    assert float((dissimilarity_matrix(single, "euclidean") - exact).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("change", "measure", "words"),
    [
        (lambda x: x.index_fill(0, torch.tensor([4]), 0.3), "correlation", "stimulus 4 is constant"),
        (lambda x: x.index_fill(0, torch.tensor([2, 4]), 0.0), "cosine", "stimulus 2, 4 is zero"),
        (lambda x: x[:2], "correlation", "2 stimuli were given"),
        (lambda x: x.masked_fill(x == x[3, 5], float("nan")), "euclidean", r"first in stimulus 3, feature \(voxel\) 5"),
        (lambda x: x.long(), "euclidean", "of floats are needed, not torch.int64"),
        (lambda x: x, "manhattan", "unknown measure 'manhattan'; known: correlation"),
    ],
)
def test_bad_patterns_are_named(patterns, change, measure, words):
    for memory in (None, 5000):
        with pytest.raises(ValueError, match=words):
            dissimilarity_matrix(change(patterns), measure, memory=memory)


def test_nan_is_found_with_a_gradient_too(monkeypatch):
    monkeypatch.setattr(dissimilarity, "AT_ONCE", 3)
    rows = normal(5, 4)
    rows[2, 1] = float("nan")
    for asked in (False, True):
        with pytest.raises(ValueError, match="first in stimulus 2"):
            dissimilarity_matrix(rows.clone().requires_grad_(asked))
    with pytest.raises(ValueError, match="first in stimulus 2"):
        crossnobis(torch.stack([rows, rows]))


def test_bad_precisions_are_named(patterns):
    with pytest.raises(ValueError, match="need `precision`"):
        dissimilarity_matrix(patterns, "mahalanobis")
    with pytest.raises(ValueError, match=r"is \(3, 3\), but patterns have 9"):
        dissimilarity_matrix(patterns, "mahalanobis", precision=torch.eye(3))
    with pytest.raises(ValueError, match="positive definite"):
        dissimilarity_matrix(patterns, "mahalanobis", precision=-torch.eye(FEATURES))


def test_bad_matrices_are_named(patterns):
    matrix = dissimilarity_matrix(patterns)
    require_matrix(matrix)
    torch.testing.assert_close(square_matrix(pair_vector(matrix)), matrix)
    crooked, similar, broken = matrix.clone(), 1 - matrix, matrix.clone()
    crooked[2, 3] += 0.5
    broken[1, 2] = broken[2, 1] = float("nan")
    cases = [
        (crooked, "stimuli 2 and 3 differ by 0.5"),
        (similar, "1 on its diagonal"),
        (broken, "not finite between the stimuli 1 and 2"),
        (matrix[:2, :2], "at least 3"),
        (matrix[:4], r"\(4, 17\)"),
    ]
    for bad, words in cases:
        with pytest.raises(ValueError, match=words):
            require_matrix(bad)
    with pytest.raises(ValueError, match="4 pairs are those of no number"):
        square_matrix(torch.zeros(4))
