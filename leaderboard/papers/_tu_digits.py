"""Images of two digits, and how cells of a grid of codes stand for their classes (Tu et al. 2023, Figures 9 and 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from geometry.manifolds._variational import VariationalManifold
from harness.rank import wilson
from harness.types import Split

Row = dict[str, Any]

_SHOWN = 600


def two_digits(data: Split, number: int, kinds: int, seed: int) -> Split:
    """Pairs of the first digits side by side, at half the size: (number, 1, H / 2, W), classes kinds * first + second.

    Raises ValueError where a digit is missing.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [(data.y == digit).nonzero()[:, 0] for digit in range(kinds)]
    if any(len(each) == 0 for each in rows):
        raise ValueError(f"images of the classes 0 to {kinds - 1} are needed, but some of them have none")
    digits = torch.randint(kinds, (number, 2), generator=generator)
    drawn = torch.rand(number, 2, generator=generator)
    chosen = torch.stack(
        [
            torch.tensor([int(rows[d][int(u * len(rows[d]))]) for d, u in zip(*column, strict=True)])
            for column in zip(digits.T.tolist(), drawn.T.tolist(), strict=True)
        ],
        dim=1,
    )
    halves = [avg_pool2d(data.x[chosen[:, place]], 2) for place in range(2)]
    label = kinds * digits[:, 0] + digits[:, 1]
    return Split(torch.cat(halves, dim=3), label, torch.arange(number), kinds**2, None)


def cells(codes: Tensor, levels: int) -> Tensor:
    """The number of the nearest grid point of codes (N, 2): (N,)."""
    points = codes.round().clamp(0, levels - 1).long()
    return points[:, 0] * levels + points[:, 1]


def matched(found: Tensor, true: Tensor, number: int) -> tuple[float, dict[int, int]]:
    """The share of inputs whose cell stands for their class after the best assignment, and the classes by cell."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((number, number))
    np.add.at(counts, (found.numpy(), true.numpy()), 1)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / len(found)), dict(zip(rows.tolist(), columns.tolist(), strict=True))


def grid_of_digits(model: VariationalManifold, train: Split, test: Split, levels: int) -> dict[str, list[Row]]:
    """`cells`: accuracy of the grid's cells, assigned on training images; `scatter` and `centers` for pictures."""
    with torch.no_grad():
        known, codes = model.encode(train.x), model.encode(test.x)
        points = torch.cartesian_prod(torch.arange(levels), torch.arange(levels)).float()
        images = model.decode(points)
        error = float((model.decode(codes) - test.x).square().mean())
    _, classes = matched(cells(known, levels), train.y, levels**2)
    right = torch.tensor([classes[int(cell)] for cell in cells(codes, levels)]) == test.y
    table = {
        "classes": levels**2,
        "accuracy": vars(wilson(float(right.sum()), len(right))),
        "chance": 1 / levels**2,
        "cells used": len(set(cells(codes, levels).tolist())),
        "squared error": error,
    }
    scatter = [
        {"code": [round(value, 3) for value in code], "label": int(label)}
        for code, label in zip(codes[:_SHOWN].tolist(), test.y[:_SHOWN], strict=True)
    ]
    centers = [
        {"center": [int(value) for value in point], "class": classes[place], "image": thousandths(image)}
        for place, (point, image) in enumerate(zip(points.tolist(), images, strict=True))
    ]
    return {"cells": [table], "scatter": scatter, "centers": centers}


def thousandths(image: Tensor) -> list[Any]:
    """An image (1, H, W) as rows of whole numbers, 1000 for white."""
    found: list[Any] = image[0].mul(1000).round().int().tolist()
    return found
