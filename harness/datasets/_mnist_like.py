"""MNIST and its relatives: 60,000 training and 10,000 test images in the idx format, 28x28 grey, ten classes."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from harness.datasets._files import Stamp, find, stamps
from harness.datasets._idx import read_idx
from harness.datasets._npz import read_npz
from harness.datasets._parts import Pool

_OFFICIAL = 60_000


def files(name: str) -> tuple[Path, ...]:
    """The files of a data set, from NAME/raw or NAME: images and labels of both halves, or of what there is of them."""
    expected = (
        f"{name}/raw/{{train,t10k}}-images-idx3-ubyte and -labels-idx1-ubyte, plain or .gz "
        f"(in place of the first, {name}/train-*.npz of x and y)"
    )
    return find(name, partial(_search, name), expected=expected)


def _search(name: str, place: Path) -> tuple[Path, ...]:
    train = _pair(place / name, "train") or tuple(sorted((place / name).glob("train*.npz"))[:1])
    return train + _pair(place / name, "t10k")


def _pair(folder: Path, half: str) -> tuple[Path, ...]:
    """Images and labels of one half, if both are there."""
    found = []
    for stem in (f"{half}-images-idx3-ubyte", f"{half}-labels-idx1-ubyte"):
        places = [base / (stem + suffix) for base in (folder / "raw", folder) for suffix in ("", ".gz")]
        found += [path for path in places if path.is_file()][:1]
    return tuple(found) if len(found) == 2 else ()


def pool(name: str, class_names: tuple[str, ...]) -> Pool:
    """All images of a data set, read once a process."""
    return _pool(stamps(files(name)), class_names)


@lru_cache(maxsize=4)
def _pool(stamped: tuple[Stamp, ...], class_names: tuple[str, ...]) -> Pool:
    halves: dict[bool, tuple[Tensor, Tensor]] = {}
    for is_test in (False, True):
        paths = [path for path, _, _ in stamped if path.name.startswith("t10k") == is_test]
        if paths:
            halves[is_test] = _read(paths, len(class_names))
    count = len(halves[False][1]) if False in halves else 0
    index = [torch.arange(len(y)) + (_OFFICIAL if is_test else 0) for is_test, (_, y) in halves.items()]
    return Pool(
        x=torch.cat([x for x, _ in halves.values()])[:, None],
        y=torch.cat([y for _, y in halves.values()]),
        index=torch.cat(index),
        class_names=class_names,
        official_test=len(halves[True][1]) if len(halves) == 2 else 0,
        note=_note(count, has_test=True in halves),
    )


def _read(paths: list[Path], num_classes: int) -> tuple[Tensor, Tensor]:
    """Images (N, 28, 28) uint8 and labels (N,) int64 from a pair of idx files or one npz."""
    x, y = (read_idx(path) for path in paths) if len(paths) == 2 else read_npz(paths[0], ("x", "y"))
    names = " and ".join(str(path) for path in paths)
    if x.dtype != torch.uint8 or x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(
            f"{names} hold images {x.dtype} {tuple(x.shape)} and labels {tuple(y.shape)}; "
            "expected uint8 (N, 28, 28) and (N,): get the files again"
        )
    if len(y) and int(y.max()) >= num_classes:
        raise ValueError(
            f"{names}: the largest label is {int(y.max())}; expected 0 to {num_classes - 1}: get the files again"
        )
    return x, y.long()


def _note(training: int, *, has_test: bool) -> str:
    if not training:
        return "the test images only, in four parts"
    missing = "" if has_test else "training images only, in four parts"
    partial_set = f"{training:,} of the {_OFFICIAL:,} training images" if training < _OFFICIAL else ""
    return "; ".join(text for text in (partial_set, missing) if text)
