"""Dimensions of codes that stand for attributes of clothing (Tu et al. 2023, Figures 11 to 15)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from geometry.manifolds._variational import VariationalManifold
from geometry.manifolds.pca import PCA
from harness.rank import wilson
from harness.types import Split
from leaderboard.papers._tu_digits import thousandths

Row = dict[str, Any]

NAMES = ("footwear", "upper body", "long sleeves", "reaches the legs", "opens in front", "warm")
CLOTHING = (
    (0, 1, 0, 0, 0, 0),  # T-shirt
    (0, 0, 0, 1, 0, 0),  # trouser
    (0, 1, 1, 0, 0, 1),  # pullover
    (0, 1, 0, 1, 0, 0),  # dress
    (0, 1, 1, 0, 1, 1),  # coat
    (1, 0, 0, 0, 1, 0),  # sandal
    (0, 1, 1, 0, 1, 0),  # shirt
    (1, 0, 0, 0, 0, 0),  # sneaker
    (0, 0, 0, 0, 0, 0),  # bag
    (1, 0, 0, 0, 0, 1),  # ankle boot
)
LENGTH = (-0.5, 1.5)
_STEPS = 9
_COMPONENTS = 16


def read(name: str, model: VariationalManifold, test: Split, guided: int) -> Iterator[Row]:
    """A row for each attribute: the share of test images whose code is nearer to it than to its opposite.

    The first `guided` dimensions stand for the first attributes; the last row is the class nearest in them, and the images'
    squared error.
    """
    with torch.no_grad():
        codes = model.encode(test.x)
        error = float((model.decode(codes) - test.x).square().mean())
    attributes = torch.tensor(CLOTHING)[test.y]
    for place in range(guided):
        right = (codes[:, place] > 0.5) == (attributes[:, place] == 1)
        yield {"model": name, "attribute": NAMES[place], "right": vars(wilson(float(right.sum()), len(right)))}
    row: Row = {"model": name, "attribute": "class", "squared error": error}
    rows = torch.tensor(CLOTHING, dtype=torch.float32)[:, :guided]
    if guided and len({tuple(each) for each in rows.tolist()}) == len(rows):
        right = torch.cdist(codes[:, :guided], rows).argmin(1) == test.y
        row["right"] = vars(wilson(float(right.sum()), len(right)))
    yield row


def traversals(name: str, model: VariationalManifold, x: Tensor, guided: int) -> Iterator[Row]:
    """Images of an input (1, C, H, W)'s code with one guided dimension moved from -0.5 to 1.5, a row for each dimension."""
    values = torch.linspace(*LENGTH, _STEPS)
    with torch.no_grad():
        code = model.encode(x)
        for place in range(guided):
            moved = code.expand(_STEPS, -1).clone()
            moved[:, place] = values
            images = [thousandths(image) for image in model.decode(moved)]
            yield {"model": name, "attribute": NAMES[place], "code": float(code[0, place]), "images": images}


def neighbours(test: Split) -> list[Row]:
    """How much a neighbour's lack of an attribute says of an image's own, a row for each attribute, the most telling first.

    The neighbour is the nearest other image by principal components, the second manifold in place of an embedding of faces;
    divergence: of p(x | neighbour has x = 0) from p(x), in nats.
    """
    manifold = PCA(_COMPONENTS)
    codes = manifold.load(manifold.fit(test)).encode(test.x)
    far = torch.cdist(codes, codes)
    far.fill_diagonal_(torch.inf)
    attributes = torch.tensor(CLOTHING)[test.y]
    beside = attributes[far.argmin(1)]
    rows: list[Row] = []
    for place, name in enumerate(NAMES):
        share = float(attributes[:, place].float().mean())
        conditional = float(attributes[beside[:, place] == 0, place].float().mean())
        rows.append(
            {"attribute": name, "p": share, "conditional": conditional, "divergence": bernoulli(conditional, share)}
        )
    return sorted(rows, key=lambda row: -float(row["divergence"]))


def bernoulli(p: float, q: float) -> float:
    """Kullback-Leibler divergence of a coin with p from one with q, in nats; infinite where q excludes what p allows."""
    terms = [(p, q), (1 - p, 1 - q)]
    return sum(0.0 if a == 0 else math.inf if b == 0 else a * math.log(a / b) for a, b in terms)


def chosen(test: Split, classes: Sequence[int]) -> list[Tensor]:
    """The first test image (1, C, H, W) of each of some classes."""
    return [test.x[(test.y == label).nonzero()[:1, 0]] for label in classes]
