"""Stored inputs are offered one row after the other, until one of them fools the system."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from attacks.replay import Replay
from harness.draws import CounterDraws
from harness.types import Budget, View


def bright(x: Tensor) -> Tensor:
    """Class 1 where the mean is above a half."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def test_every_row_is_tried_on_what_those_before_it_left() -> None:
    """The first row breaks the first input, the second the next one, nobody the third; the fourth has nothing stored."""
    x, y, draws = (
        torch.full((4, 1, 2, 2), 0.45),
        torch.zeros(4, dtype=torch.long),
        CounterDraws("tests", torch.arange(4)),
    )
    first, second = x.clone(), x.clone()
    first[0], first[1], first[2] = 0.52, 0.46, 0.47
    second[0], second[1], second[2] = 0.53, 0.54, 0.48
    noted: list[tuple[str, list[int]]] = []

    def note(name: str, rows: Tensor, values: Tensor | str) -> None:
        noted.append((str(values), rows.tolist()))

    view = replace(View.of(bright, early_exit=True), stored={"one": first, "two": second}, note=note)
    found = Replay().perturb(view, x, y, Budget("linf", 0.1), draws)
    assert found[:, 0, 0, 0].tolist() == torch.tensor([0.52, 0.54, 0.48, 0.45]).tolist()
    assert noted == [("one", [0]), ("two", [1])]
