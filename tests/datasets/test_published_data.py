"""The real data sets, where they are at hand: known sizes, known class counts, known notes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.datasets.cifar10 import CIFAR10
from harness.datasets.fashion_mnist import FashionMNIST
from harness.datasets.mnist import MNIST

PARTS = ("train", "fit", "calibrate", "test")


def needs(folder):
    place = os.environ.get("HARNESS_DATA")
    there = bool(place) and (Path(place) / folder).is_dir()
    return pytest.mark.skipif(not there, reason=f"HARNESS_DATA has no folder {folder}")


@needs("FashionMNIST")
def test_fashion_mnist_has_the_published_class_counts():
    parts = {part: FashionMNIST().split(part) for part in PARTS}
    assert [len(parts[part]) for part in PARTS] == [50_000, 5_000, 5_000, 10_000]
    counts = {part: split.y.bincount(minlength=10) for part, split in parts.items()}
    assert counts["test"].tolist() == [1000] * 10
    assert sum(counts[part] for part in PARTS[:3]).tolist() == [6000] * 10
    index = torch.cat([split.index for split in parts.values()])
    assert torch.equal(index.sort().values, torch.arange(70_000))
    # The mean grey value of the training images that their authors' users state: 0.2860.
    total = sum(parts[part].x.double().sum() for part in PARTS[:3])
    assert float(total / (60_000 * 784)) == pytest.approx(0.2860, abs=1e-4)
    assert FashionMNIST().note == ""


@needs("MNIST")
def test_mnist_test_images_have_the_published_class_counts():
    counts = MNIST().split("test").y.bincount()
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@needs("CIFAR10")
@pytest.mark.slow
def test_cifar10_has_the_published_class_counts():
    parts = {part: CIFAR10().split(part) for part in PARTS}
    assert [len(parts[part]) for part in PARTS] == [40_000, 5_000, 5_000, 10_000]
    assert parts["test"].y.bincount().tolist() == [1000] * 10
    assert sum(parts[part].y.bincount() for part in PARTS[:3]).tolist() == [5000] * 10
    # The channel means of the 50,000 training images: 0.4914, 0.4822, 0.4465.
    total = sum(parts[part].x.double().sum((0, 2, 3)) for part in PARTS[:3])
    expected = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)
    assert torch.allclose(total / (50_000 * 1024), expected, atol=2e-3)
