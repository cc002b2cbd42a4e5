"""The digits of scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from harness.datasets.digits import Digits


def test_every_image_arrives_once():
    images = load_digits().images
    seen = []
    for part, size in {"train": 810, "fit": 269, "calibrate": 359, "test": 359}.items():
        split = Digits().split(part)
        assert split.x.shape == (size, 1, 8, 8)
        assert (split.num_classes, split.levels) == (10, 16)
        assert np.array_equal((split.x[:, 0] * 16).numpy(), images[split.index.numpy()])
        assert np.array_equal(split.y.numpy(), load_digits().target[split.index.numpy()])
        seen.append(split.index)
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(1797))


def test_nothing_is_read_from_files():
    assert Digits().files() == ()
    assert Digits().note == ""
    assert Digits().class_names == tuple("0123456789")
    assert not torch.equal(Digits(seed=1).split("test").index, Digits().split("test").index)
