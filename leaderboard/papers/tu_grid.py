"""Tu et al. 2023, section 3: GridVAE's divergence, a grid of two digits, and dimensions guided by attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.data import Data
from harness.spec import build, label
from harness.types import Spec, Split
from leaderboard.papers._tu_attributes import CLOTHING, NAMES, chosen, neighbours, read, traversals
from leaderboard.papers._tu_digits import grid_of_digits, two_digits
from leaderboard.papers._tu_divergences import divergences

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_SHOWN = (0, 7)  # classes whose images are traversed: a T-shirt and a sneaker
_TEST = 2000


@dataclass(frozen=True)
class TuGrid:
    """GridVAE: its divergence, cells of a grid that stand for pairs of digits, dimensions for attributes (Tu et al. 2023, 3).

    parts: the model of pairs of digits, of `levels` kinds at half the size, trained on `pairs` images of them; and that of
    clothing, trained on `training` images guided by six attributes, by the first four of them, and by none.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    digits: Spec = Spec.of("dataset", "mnist")
    parts: tuple[tuple[str, Spec], ...] = (
        (
            "digits",
            Spec.of("manifold", "grid_vae", dim=2, levels=6, grid_deviation=0.3333, width=16, epochs=60, refinements=0),
        ),
        ("clothing", Spec.of("manifold", "grid_vae", dim=16, width=16, epochs=10, deviation=0.3, refinements=0)),
    )
    levels: int = 6
    pairs: int = 10_000
    training: int = 20_000

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 10:
            raise ValueError(f"tu_grid takes 2 to 10 kinds of digits, not levels = {self.levels}")

    def run(self, *, dataset: Data, digits: Data) -> Tables:
        """`divergences`; `cells`, `scatter`, `centers` of digits; `attributes`, `traversals`, `neighbours` of clothing."""
        tables: Tables = {"setting": [{"clothing": label(self.dataset), "digits": label(self.digits)}]}
        tables["divergences"] = [
            {"grid deviation": deviation, **row} for deviation in (1 / 16, 1 / 3) for row in divergences(deviation, 2)
        ]
        return tables | self._digits(digits) | self._clothing(dataset)

    def _digits(self, data: Data) -> Tables:
        train = two_digits(data.split("train"), self.pairs, self.levels, 0)
        test = two_digits(data.split("test"), _TEST, self.levels, 1)
        part = build(dict(self.parts)["digits"])
        return grid_of_digits(part.load(part.fit(train)), train, test, self.levels)

    def _clothing(self, data: Data) -> Tables:
        train, test = _first(data.split("train"), self.training), _first(data.split("test"), _TEST)
        part = build(dict(self.parts)["clothing"])
        tables: Tables = {"attributes": [], "traversals": [], "neighbours": neighbours(test)}
        for name, guided in (("guided", len(NAMES)), ("partly guided", 4), ("not guided", 0)):
            made = replace(part, attributes=tuple(row[:guided] for row in CLOTHING) if guided else ())
            model = made.load(made.fit(train))
            tables["attributes"] += list(read(name, model, test, guided))
            for x in chosen(test, _SHOWN):
                tables["traversals"] += list(traversals(name, model, x, guided))
        return tables


def _first(data: Split, number: int) -> Split:
    return data[torch.arange(min(number, len(data)), device=data.y.device)]
