"""Points of closed-form manifolds in the unit box, of the classes that a function's sign tells apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from harness.datasets._parts import Pool
from harness.datasets._rendered import Rendered, require_at_least
from harness.draws import CounterDraws

CLASSES = ("minus", "plus")
REACH = 0.4  # from the box's middle to the manifold's outermost points

Place = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
Rules = Mapping[str, Callable[[Tensor], Tensor]]


def toy(name: str, points: int, seed: int, *, columns: int, place: Place, rules: Rules, boundary: str) -> Rendered:
    """Inputs at random, "plus" where the rule of the boundary is positive.

    place: uniform numbers (N, columns) to inputs, to where they lie in the paper's coordinates, which the rule takes, and
    to what they are made from. Raises ValueError for fewer than ten points and for another boundary.
    """
    require_at_least(points=(points, 10))
    if boundary not in rules:
        raise ValueError(f"boundary is one of {', '.join(rules)}, not '{boundary}'")
    index = torch.arange(points)
    x, given, values = place(CounterDraws(f"{name}/{seed}", index).uniform(columns))
    return Rendered(Pool(x, (rules[boundary](given) > 0).long(), index, CLASSES, levels=None), values)
