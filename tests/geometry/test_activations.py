"""Activations by the names of layers, and a Gabor bank on gratings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from geometry.representations.activations import activations, all_activations, layer_names, require_layers
from geometry.representations.gabor_bank import gabor_energies, gabor_filters


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(5, 4)

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Net()


X = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_layers_are_those_of_a_forward_pass(network):
    names = ["head", "body.1", "features", "body.3"]
    head, relu, features, last = activations(network, X, names)
    torch.testing.assert_close(head, network(X))
    torch.testing.assert_close(relu, network.body[:2](X).flatten(1))
    torch.testing.assert_close(features, network.body(X))
    torch.testing.assert_close(last, features)
    whole = all_activations(network, X, names, block=3)
    for one, other in zip(whole, (head, relu, features, last), strict=True):
        torch.testing.assert_close(one, other)
        assert not one.requires_grad
    assert layer_names(network) == ["body.0", "body.1", "body.2", "body.3", "unused", "head", "features"]


def test_gradients_pass_and_no_hook_stays(network):
    (rows,) = activations(network, X, ["body.1"])
    (gradient,) = torch.autograd.grad(rows.sum(), network.body[0].weight)
    assert float(gradient.abs().sum()) > 0
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(RuntimeError):
        activations(network, X[:, :, :2], ["body.1"])
    assert not any(module._forward_hooks for module in network.modules())


def test_unknown_layers_are_named(network):
    with pytest.raises(
        ValueError, match=r"unknown layer 'body\.9': did you mean 'body\..'\? known: body\.0, .*features"
    ):
        require_layers(network, ["body.9"])
    with pytest.raises(ValueError, match="layer 'unused' does not run"):
        activations(network, X, ["unused"])
    with pytest.raises(ValueError, match="unknown layer 'features'"):
        require_layers(nn.Sequential(nn.Linear(2, 2)), ["features"])


def grating(wavelength, angle, phase=0.0, side=64):
    axis = torch.arange(side, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    wave = torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wavelength + phase)
    return (0.5 + 0.5 * wave)[None, None]


@pytest.mark.parametrize("number", range(8))
def test_a_grating_excites_its_filter_whatever_its_phase(number):
    images = torch.cat([grating(8.0, number * math.pi / 8, phase) for phase in (0.0, 1.0, 2.5)])
    energies = gabor_energies(images, wavelengths=(8.0,)).reshape(3, 8, 16, 16)[:, :, 5:11, 5:11]
    assert energies.mean((2, 3)).argmax(1).tolist() == [number] * 3
    middle = energies[:, number]
    assert float(middle.std() / middle.mean()) < 0.03
    longer = gabor_energies(images, wavelengths=(16.0,)).reshape(3, 8, 8, 8)[:, number, 2:6, 2:6]
    assert float(longer.mean()) < 0.5 * float(middle.mean())


def test_filters_have_no_mean_and_unit_length():
    even, odd = gabor_filters(4.0, 8, torch.zeros((), dtype=torch.float64))
    for pair in (even, odd):
        assert float(pair.sum((1, 2, 3)).abs().max()) < 1e-9
        torch.testing.assert_close(pair.square().sum((1, 2, 3)), torch.ones(8, dtype=torch.float64))
    assert float((even * odd).sum((1, 2, 3)).abs().max()) < 1e-9
    assert float(gabor_energies(torch.full((1, 3, 16, 16), 0.3)).abs().max()) < 1e-4


def test_energies_can_be_differentiated_and_need_images():
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gabor_energies(x).sum(), x)
    assert bool(torch.isfinite(gradient).all())
    with pytest.raises(ValueError, match=r"need images \(B, C, H, W\), but the inputs are \(5,\)"):
        gabor_energies(torch.rand(2, 5))
    with pytest.raises(ValueError, match="images of 3 pixels hold no wave of 4 pixels"):
        gabor_energies(torch.rand(2, 1, 3, 3))
