"""CIFAR-10 from small copies."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from harness.datasets.cifar10 import CIFAR10


def write_jpeg(path, colours, y):
    """An npz of plain JPEG images in these colours."""
    parts = []
    for colour in colours:
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(buffer, "JPEG", quality=95)
        parts.append(buffer.getvalue())
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, jpeg=np.frombuffer(b"".join(parts), np.uint8), offsets=offsets, y=np.asarray(y, np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    colours = [(10 * i, 255 - 10 * i, 100) for i in range(20)]
    write_jpeg(tmp_path / "CIFAR10" / "train-jpeg.npz", colours, np.arange(20) % 10)
    write_jpeg(tmp_path / "CIFAR10" / "test-jpeg.npz", colours[:10], np.arange(10))
    return tmp_path / "CIFAR10"


def test_jpeg_images_are_decoded(folder):
    parts = {part: CIFAR10().split(part) for part in ("train", "fit", "calibrate", "test")}
    assert [len(split) for split in parts.values()] == [12, 3, 5, 10]
    for part, split in parts.items():
        count = split.index - (50_000 if part == "test" else 0)
        assert torch.equal(split.y, count % 10)
        red = 10 * count / 255
        expected = torch.stack([red, 1 - red, torch.full_like(red, 100 / 255)], 1)
        assert torch.allclose(split.x.mean((2, 3)), expected, atol=0.015)
        assert split.x.shape[1:] == (3, 32, 32)
    assert CIFAR10().note == "JPEG-recompressed"


def test_an_unreadable_image_is_named(folder):
    np.savez(folder / "test-jpeg.npz", jpeg=np.zeros(9, np.uint8), offsets=np.array([0, 9]), y=np.array([1]))
    with pytest.raises(ValueError, match=r"test-jpeg\.npz: image 0 is no JPEG"):
        CIFAR10().split("test")


def test_missing_arrays_are_named(folder):
    np.savez(folder / "test-jpeg.npz", y=np.array([1]))
    with pytest.raises(ValueError, match="lacks jpeg, offsets"):
        CIFAR10().split("test")


def test_batches_with_other_checksums_are_refused(folder, tmp_path):
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (batches / name).write_bytes(b"never unpickled")
    assert CIFAR10().note == ""
    with pytest.raises(ValueError, match="does not have the published checksums"):
        CIFAR10().split("test")
