"""Projections onto a hyperplane in the box, against linear and quadratic programs."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from attacks._plane import to_plane

ORDER = {"linf": "inf", "l2": 2, "l1": 1}


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("size", [0.3, 1.5, 3.0])
def test_shortest_change_that_reaches_the_plane(norm, size):
    generator = torch.Generator().manual_seed(2)
    point = torch.rand(6, 8, generator=generator).round(decimals=1)
    normal = torch.randn(6, 8, generator=generator) * (torch.rand(6, 8, generator=generator) > 0.2)
    gap = size * torch.tensor([1.0, -1.0, 1.0, -1.0, 0.5, -0.5])
    change = to_plane(point, normal, gap, norm)
    for row in range(len(point)):
        p, w, g = (value[row].double().numpy() for value in (point, normal, gap))
        room = np.where(np.sign(g) * w > 0, 1 - p, p)
        most = np.sign(g) * (np.abs(w) * room).sum()
        moved = cp.Variable(8)
        goal = g if abs(g) <= abs(most) else most
        problem = cp.Problem(
            cp.Minimize(cp.norm(moved, ORDER[norm])), [w @ moved == goal, p + moved >= 0, p + moved <= 1]
        )
        problem.solve(solver=cp.CLARABEL)
        mine = change[row].double().numpy()
        assert np.isclose(w @ mine, goal, atol=1e-5)
        assert (p + mine >= -1e-6).all()
        assert (p + mine <= 1 + 1e-6).all()
        if abs(g) <= abs(most):
            assert np.linalg.norm(mine, float(ORDER[norm])) <= problem.value + 1e-5


@pytest.mark.parametrize("norm", ORDER)
def test_no_slope_no_gap_and_no_room(norm):
    point = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.2, 0.4]])
    normal = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, -2.0]])
    change = to_plane(point, normal, torch.tensor([1.0, 1.0, 0.0]), norm)
    assert torch.equal(change.abs(), torch.zeros(3, 2))
