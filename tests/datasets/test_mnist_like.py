"""MNIST and its relatives from small copies: whole, in part, packed and unpacked, and broken."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from harness.datasets.fashion_mnist import FashionMNIST
from harness.datasets.kmnist import KMNIST
from harness.datasets.mnist import MNIST

DATASETS = [FashionMNIST, KMNIST, MNIST]


def write_idx(path, array, *, packed):
    content = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def images(size, start):
    """Images whose first pixel counts them, with the count's last digit as label."""
    x = np.zeros((size, 28, 28), np.uint8)
    x[:, 0, 0] = np.arange(start, start + size)
    return x, (np.arange(size) % 10).astype(np.uint8)


def write_half(folder, half, x, y, *, packed=False):
    write_idx(folder / f"{half}-images-idx3-ubyte", x, packed=packed)
    write_idx(folder / f"{half}-labels-idx1-ubyte", y, packed=packed)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["raw", "."])
def test_both_halves(data, dataset, packed, below):
    folder = data / dataset.__name__ / below
    write_half(folder, "train", *images(100, 0), packed=packed)
    write_half(folder, "t10k", *images(20, 200), packed=packed)
    parts = {part: dataset().split(part) for part in ("train", "fit", "calibrate", "test")}
    assert {part: len(split) for part, split in parts.items()} == {"train": 57, "fit": 18, "calibrate": 25, "test": 20}
    for part, split in parts.items():
        shown = (split.x[:, 0, 0, 0] * 255).round().long()
        expected = split.index + (200 - 60_000 if part == "test" else 0)
        assert torch.equal(shown, expected)
        assert torch.equal(split.y, (shown % 100) % 10)
        assert split.x.shape[1:] == (1, 28, 28)
    assert len(dataset().class_names) == dataset().num_classes == 10
    assert dataset().note == "100 of the 60,000 training images"


def test_training_images_from_an_npz(data):
    x, y = images(100, 0)
    (data / "MNIST").mkdir()
    np.savez(data / "MNIST" / "train-10k.npz", x=x, y=y)
    write_half(data / "MNIST" / "raw", "t10k", *images(20, 200), packed=True)
    assert MNIST().files()[0].name == "train-10k.npz"
    assert MNIST().note == "100 of the 60,000 training images"
    assert MNIST().split("test").index.min() == 60_000


def test_test_images_alone_give_all_parts(data):
    write_half(data / "KMNIST", "t10k", *images(100, 0))
    parts = [KMNIST().split(part) for part in ("train", "fit", "calibrate", "test")]
    assert [len(split) for split in parts] == [45, 15, 20, 20]
    index = torch.cat([split.index for split in parts])
    assert torch.equal(index.sort().values, torch.arange(60_000, 60_100))
    assert KMNIST().note == "the test images only, in four parts"


def test_a_changed_file_is_read_again(data):
    write_half(data / "KMNIST", "t10k", *images(100, 0))
    before = KMNIST().split("test").x
    write_half(data / "KMNIST", "t10k", *images(120, 0))
    assert len(KMNIST().split("test")) == 24
    assert len(before) == 20


def test_lengths_that_differ_are_refused(data):
    write_half(data / "KMNIST", "t10k", images(100, 0)[0], images(99, 0)[1])
    with pytest.raises(ValueError, match=r"\(100, 28, 28\) and labels \(99,\).*get the files again"):
        KMNIST().split("test")


def test_labels_beyond_the_classes_are_refused(data):
    x, y = images(100, 0)
    write_half(data / "KMNIST", "t10k", x, y + 1)
    with pytest.raises(ValueError, match="largest label is 10; expected 0 to 9"):
        KMNIST().split("test")
