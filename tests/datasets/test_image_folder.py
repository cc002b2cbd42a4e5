"""A user's own images, one folder a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from harness.datasets.image_folder import ImageFolder


@pytest.fixture
def folder(tmp_path):
    """Ten red pictures with blue side strips that the square leaves out, and ten grey ones, one level deeper."""
    for i in range(10):
        red = np.zeros((8, 16, 3), np.uint8)
        red[:, :, 2] = 255
        red[:, 4:12] = (200 + i, 0, 0)
        (tmp_path / "red").mkdir(exist_ok=True)
        Image.fromarray(red).save(tmp_path / "red" / f"{i}.png")
        (tmp_path / "grey" / "more").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 8), 100 + i, np.uint8)).save(tmp_path / "grey" / "more" / f"{i}.png")
    (tmp_path / "red" / "notes.txt").write_text("no image")
    return tmp_path


def test_squares_with_the_folder_as_label(folder):
    dataset = ImageFolder(folder, size=8)
    parts = [dataset.split(part) for part in ("train", "fit", "calibrate", "test")]
    assert [len(split) for split in parts] == [9, 3, 4, 4]
    assert dataset.class_names == ("grey", "red")
    assert (dataset.num_classes, len(dataset.files())) == (2, 20)
    for split in parts:
        assert split.x.shape[1:] == (3, 8, 8)
        for x, y, index in zip(split.x, split.y, split.index, strict=True):
            level = 100 + index if y == 0 else 200 + index - 10
            colour = [level, level, level] if y == 0 else [level, 0, 0]
            assert torch.equal((x * 255).round(), torch.tensor(colour)[:, None, None].expand(3, 8, 8).float())


def test_resizing_stays_on_the_grid(folder):
    x = ImageFolder(folder, size=5).split("train").x
    assert x.shape == (9, 3, 5, 5)
    assert torch.equal((x * 255).round() / 255, x)


def test_bad_folders_are_refused(folder):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolder(folder / "absent").split("train")
    with pytest.raises(ValueError, match="10 images in fewer than two sub-folders"):
        ImageFolder(folder / "grey").split("train")
    with pytest.raises(ValueError, match="size is 0"):
        ImageFolder(folder, size=0).split("train")
    (folder / "red" / "3.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"3\.png cannot be read as an image"):
        ImageFolder(folder, size=8).split("train")
