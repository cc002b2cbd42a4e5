"""A user's own arrays: what is accepted, and what each refusal says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.datasets.arrays import Arrays


def write(path, x, y):
    np.savez(path, x=x, y=y)
    return Arrays(path)


def all_parts(dataset):
    return [dataset.split(part) for part in ("train", "fit", "calibrate", "test")]


Y = np.arange(40) % 4
X = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 5), dtype=np.uint8)


def test_bytes_and_floats_on_the_grid_are_the_same(tmp_path):
    whole = all_parts(write(tmp_path / "bytes.npz", X, Y))
    for dtype in (np.float32, np.float64):
        floats = all_parts(write(tmp_path / f"{dtype.__name__}.npz", (X / 255).astype(dtype), Y))
        for a, b in zip(whole, floats, strict=True):
            assert torch.equal(a.x, b.x)
            assert a.levels == b.levels == 255
    assert [len(split) for split in whole] == [18, 6, 8, 8]
    for split in whole:
        assert np.array_equal((split.x * 255).round().numpy(), X[split.index.numpy()])
        assert np.array_equal(split.y.numpy(), Y[split.index.numpy()])


def test_floats_off_the_grid_have_none(tmp_path):
    x = np.random.default_rng(1).random((40, 7), dtype=np.float32)
    split = write(tmp_path / "a.npz", x, Y).split("train")
    assert split.levels is None
    assert np.array_equal(split.x.numpy(), x[split.index.numpy()])
    assert write(tmp_path / "a.npz", x, Y).class_names == ("0", "1", "2", "3")


def test_safetensors_and_images_without_channel(tmp_path):
    save_file({"x": torch.from_numpy(X[:, 0].copy()), "y": torch.from_numpy(Y)}, tmp_path / "a.safetensors")
    dataset = Arrays(tmp_path / "a.safetensors")
    assert dataset.split("test").x.shape == (8, 1, 5, 5)
    assert dataset.num_classes == 4
    assert dataset.files() == (tmp_path / "a.safetensors",)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:-1], r"x has the shape \(40, 3, 5, 5\) and y \(39,\)"),
        (X, Y * 0, "1 class in 40 labels"),
        (X[:0], Y[:0], "0 class"),
        (X, Y - 1, "smallest label is -1"),
        (X, Y / 2, "y is torch.float64"),
        (X, Y[:, None], r"shape \(40, 1\)"),
        (X.astype(np.int32), Y, "x is torch.int32"),
        (X / 254.0, Y, r"ranges from 0 to 1\.00394"),
        (X / 255.0 - 0.5, Y, r"ranges from -0\.5"),
        (np.where(X > 250, np.nan, 0.5), Y, "expected finite values"),
        (X.transpose(0, 2, 3, 1), Y, "expected channels first"),
        (X[:8], Y[:8], "at least 10"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, x, y, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.npz", x, y).split("train")


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Arrays(tmp_path / "absent.npz").split("train")
    np.savez(tmp_path / "a.npz", inputs=X)
    with pytest.raises(ValueError, match="it has the arrays inputs and lacks x, y"):
        Arrays(tmp_path / "a.npz").split("train")
    save_file({"x": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="holds the tensors x; expected x and y"):
        Arrays(tmp_path / "a.safetensors").split("train")
    for name in ("text.npz", "text.safetensors", "text.csv"):
        (tmp_path / name).write_text("no arrays at all")
        with pytest.raises(ValueError, match=name):
            Arrays(tmp_path / name).split("train")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, []], dtype=object), y=Y)
    with pytest.raises(ValueError, match=r"expected an .npz file of numeric arrays"):
        Arrays(tmp_path / "objects.npz").split("train")
