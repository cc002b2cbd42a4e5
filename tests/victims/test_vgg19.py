"""VGG-19 for small images: torchvision's convolutions as the oracle, shapes of the blocks, and what it cannot take."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import vgg19_bn

from harness.victims.vgg19 import VGG19


def test_the_convolutions_are_torchvision_s():
    """At the published width, with torchvision's weights, the embedding is what its convolutions give."""
    torch.manual_seed(0)
    theirs = vgg19_bn(weights=None).features.eval()
    ours = VGG19(width=64)._build((3, 32, 32), 10).eval()
    pairs = [
        [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)] for network in (theirs, ours.body)
    ]
    assert len(pairs[0]) == len(pairs[1]) == 32
    for given, own in zip(*pairs, strict=True):
        if isinstance(given, nn.Conv2d):
            nn.init.zeros_(given.bias)
        state = {name: value for name, value in given.state_dict().items() if name in own.state_dict()}
        own.load_state_dict(state)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(x), theirs(x).flatten(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "size", "width", "features"),
    [((3, 32, 32), None, 4, 32), ((1, 28, 28), None, 4, 32), ((1, 8, 8), None, 2, 16), ((1, 28, 28), 64, 2, 64)],
)
def test_features_for_sizes(shape, size, width, features):
    network = VGG19(width=width, size=size)._build(shape, 10).eval()
    x = torch.rand(2, *shape)
    with torch.no_grad():
        assert network.features(x).shape == (2, features)
        assert network(x).shape == (2, 10)


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="vgg19 needs images"):
        VGG19()._build((5,), 2)
