"""The step rule of APGD, move by move."""

from __future__ import annotations

import torch

from attacks._adaptive_step import AdaptiveAscent, checkpoints
from attacks._ball import ball
from attacks._search import Memory, Point
from harness.types import Budget

X = torch.full((1, 1, 2, 2), 0.5)
BALL = ball(X, Budget("linf", 0.1))


def point(value: float, *, loss: float, step: int, gradient: float = 0.0) -> Point:
    """An iterate of one value everywhere."""
    return Point(torch.full_like(X, value), torch.tensor([loss]), torch.full_like(X, gradient), step)


def test_the_first_step_crosses_the_ball() -> None:
    """It is 2 epsilon long: from one corner to the opposite one."""
    moved = AdaptiveAscent(100)(point(0.4, loss=0.0, step=0, gradient=3.0), BALL, {})
    assert torch.allclose(moved, torch.full_like(X, 0.6))


def test_later_steps_are_three_quarters_of_a_step_and_a_quarter_of_the_last_move() -> None:
    rule, memory = AdaptiveAscent(100), Memory()
    rule(point(0.45, loss=0.0, step=0), BALL, memory)
    memory["step"] = torch.tensor([0.04])
    moved = rule(point(0.47, loss=1.0, step=1, gradient=1.0), BALL, memory)
    assert torch.allclose(moved, torch.full_like(X, 0.47 + 0.75 * 0.04 + 0.25 * 0.02))


def test_where_progress_stops_the_step_is_halved_and_the_best_point_is_taken_up() -> None:
    """The loss is highest at the start and never rises again; a search that rises goes on as it is."""
    first = min(checkpoints(20))
    for rises in (False, True):
        rule, memory = AdaptiveAscent(20), Memory()
        for step in range(first + 1):
            loss = float(step if rises else -step)
            moved = rule(point(0.45 + 0.01 * step, loss=loss, step=step), BALL, memory)
        here, before = 0.45 + 0.01 * first, 0.45 + 0.01 * (first - 1)
        start = here if rises else 0.45
        assert torch.allclose(moved, torch.full_like(X, start + 0.25 * (start - before)), atol=1e-6)
        assert torch.allclose(memory["step"], torch.tensor([0.2 if rises else 0.1]))
