"""The layer chosen on one half of the stimuli: numpy as oracle, planted layers, no gain from choosing, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from geometry.representations.layer_choice import halves, layer_choice, layer_matrices


def _matrix(seed, number=24, features=30):
    x = np.random.default_rng(seed).normal(size=(number, features))
    return torch.from_numpy(1 - np.corrcoef(x)).fill_diagonal_(0.0)


def _noisy(matrix, seed, share):
    other = _matrix(seed, len(matrix))
    return (1 - share) * matrix + share * other


@pytest.mark.parametrize("compare", ["pearson", "spearman"])
def test_one_layer_is_a_plain_correlation_on_the_halves(compare):
    measured, layer = _matrix(0), _noisy(_matrix(0), 1, 0.5)
    found = layer_choice({"only": layer}, measured, splits=4, draws=50, compare=compare)
    expected = []
    for half in halves(24, 4):
        rows = (~half).nonzero()[:, 0].numpy()
        i, j = np.triu_indices(len(rows), 1)
        pairs = [m.numpy()[np.ix_(rows, rows)][i, j] for m in (layer, measured)]
        expected.append(np.corrcoef(*pairs)[0, 1] if compare == "pearson" else spearmanr(*pairs).statistic)
    assert found.similarity == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.layer == "only"
    assert found.share == 1
    assert found.low < found.similarity < found.high


def test_a_planted_layer_is_chosen():
    measured = _matrix(0)
    layers = {f"noise {i}": _matrix(i) for i in range(10, 20)} | {"planted": _noisy(measured, 3, 0.3)}
    found = layer_choice(layers, measured, measured[None].expand(3, -1, -1), splits=5, draws=50)
    assert found.layer == "planted"
    assert found.share == 1
    assert found.people == pytest.approx(found.similarity)


def test_choosing_among_noise_gains_nothing():
    measured = _matrix(0)
    best, held_out = [], []
    for trial in range(30):
        layers = {str(i): _matrix(100 * trial + i + 50, features=5) for i in range(20)}
        i, j = np.triu_indices(24, 1)
        best.append(max(np.corrcoef(m.numpy()[i, j], measured.numpy()[i, j])[0, 1] for m in layers.values()))
        held_out.append(layer_choice(layers, measured, splits=3, draws=2).similarity)
    assert np.mean(best) > 0.1
    assert abs(np.mean(held_out)) < 3 * np.std(held_out) / len(held_out) ** 0.5


def test_the_interval_covers():
    """Rows are draws from one distribution, so that the mean over many draws is what an interval should cover."""
    random, inside = np.random.default_rng(0), 0
    drawn = [random.normal(size=(24, 40)) for _ in range(60)]
    noise = [0.9 * random.normal(size=(24, 40)) for _ in range(60)]
    common = random.normal(size=(3, 40)) * 1.5
    labels = np.arange(24) % 3
    pairs = [(torch.from_numpy(1 - np.corrcoef(x + common[labels])), x, n) for x, n in zip(drawn, noise, strict=True)]
    found = [
        layer_choice({"a": torch.from_numpy(1 - np.corrcoef(x + n + common[labels]))}, m, splits=3, draws=200)
        for m, x, n in pairs
    ]
    truth = np.mean([f.similarity for f in found])
    inside = sum(f.low <= truth <= f.high for f in found)
    assert inside >= 50


def test_halves_come_in_pairs():
    found = halves(7, 3)
    assert found.shape == (6, 7)
    assert torch.equal(found[0::2], ~found[1::2])
    assert set(found.sum(1).tolist()) == {3, 4}


def test_layers_count_from_the_first_with_weights():
    network = nn.Sequential(
        nn.Identity(), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3)
    ).eval()
    x = torch.rand(6, 2, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network[2].bias[:] += 3.0
    found, left_out = layer_matrices(network, x)
    assert list(found) == ["2", "3", "5"]
    assert not left_out
    with torch.no_grad():
        expected = 1 - np.corrcoef(network[2](x.flatten(1)).double().numpy())
    np.testing.assert_allclose(found["2"].numpy(), expected, atol=1e-6)


def test_silent_layers_are_left_out_with_the_reason():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with torch.no_grad():
        network[0].bias[:] = -100.0
    found, left_out = layer_matrices(network, torch.rand(5, 4))
    assert list(left_out) == ["1"]
    assert "constant" in left_out["1"]
    assert "0" in found


@pytest.mark.parametrize(
    ("layers", "measured", "words"),
    [
        ({}, _matrix(0), "no layer to choose from"),
        ({"a": _matrix(0, 20)}, _matrix(0), "20 and 24 stimuli"),
        ({"a": _matrix(0) + torch.eye(24)}, _matrix(0), "on its diagonal"),
        ({"a": _matrix(0)}, _matrix(0).triu(), "not symmetric"),
        ({"a": _matrix(0)}, _matrix(0) * torch.nan, "not finite"),
    ],
)
def test_what_cannot_be_compared_is_said(layers, measured, words):
    with pytest.raises(ValueError, match=words):
        layer_choice(layers, measured, splits=2, draws=10)
