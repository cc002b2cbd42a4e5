"""The small network of Mahler et al.: its layers, its size, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from harness.types import Split
from harness.victims.small_cnn import SmallCNN


def images(side, channels=3):
    x = torch.rand(12, channels, side, side, generator=torch.Generator().manual_seed(0))
    return Split(x, torch.arange(12) % 7, torch.arange(12), 7, None)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr("harness.victims._training.Recipe.steps", lambda self, size: 1)
    torch.manual_seed(0)


def test_it_is_the_formula():
    data = images(16)
    state = SmallCNN().fit(data)
    hidden = (data.x - state["mean"]) / state["deviation"]
    for layer in ("0", "3"):
        hidden = functional.conv2d(hidden, state[f"body.{layer}.weight"], state[f"body.{layer}.bias"], padding=1)
        hidden = functional.max_pool2d(hidden, 2).relu()
    logits = hidden.flatten(1) @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(SmallCNN().load(state)(data.x), logits)


def test_the_last_layer_has_the_published_size():
    state = SmallCNN().fit(images(128))
    assert state["head.weight"].shape == (7, 32 * 32 * 24)


def test_small_images_are_refused():
    assert SmallCNN().load(SmallCNN().fit(images(5)))(images(5).x).shape == (12, 7)
    with pytest.raises(ValueError, match="4 pixels or more, but they are 3x3"):
        SmallCNN().fit(images(3))
