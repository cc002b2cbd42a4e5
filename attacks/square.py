"""The Square attack: random search over squares, without gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import Feasible, ball
from attacks._loss import lack
from attacks._reach import QUERIES, WARM_QUERIES, Reach
from attacks._require import at_least_one
from attacks._squares import Bumps, Ends, Move
from attacks._start import first_start
from attacks._windows import HALVINGS, image_shape, share
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, View

BLOCK = 64  # moves whose random numbers are drawn together
AT_ONCE = 128  # inputs of a pass that looks several moves ahead


@dataclass(frozen=True)
class Square:
    """Random search that changes a square of the image at a time and keeps what comes nearer to success; scores only.

    A square covers `p_init` of the pixels at first, half of that after 10, 50, 200, 500, 1000, 2000 and 4000 queries. In
    linf it is set to one end of the ball for each channel, in l2 the change of another square is moved into it. Nearer
    means a smaller lack of misclassification or, where that is larger, of acceptance. Vectors are images of one row.
    Where an earlier search ended, it begins there. give_up: an input leaves where success is out of reach; samples:
    draws a score is the mean of. Source: Andriushchenko et al. 2020, algorithms 1 to 3.
    """

    queries: int = 5000
    p_init: float = 0.8
    give_up: bool = False
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "logits"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "queries", "samples")
        if not 0 < self.p_init <= 1:
            raise ValueError(f"Square was given p_init = {self.p_init}; expected a share of the pixels, in (0, 1]")

    @torch.no_grad()
    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest to success of what was tried, or what fooled the system: (B, *S) -> (B, *S)."""
        image = image_shape(x.shape[1:])
        move: Move = Ends(image) if budget.norm == "linf" else Bumps(image)
        moves = (self.queries if budget.queries is None else min(self.queries, budget.queries)) - 1
        walk = self._begun(view, move, x, y, budget, draws)
        everybody = walk.rows
        found, least, done = walk.candidate.clone(), walk.lack.clone(), 0
        while True:
            leaving, walk = self._leaving(view, walk, done, moves)
            if done >= moves or bool(leaving.any()):
                found[walk.rows], least[walk.rows] = walk.candidate, walk.lack
                walk = walk[(~leaving).nonzero()[:, 0]]
            if done >= moves or not len(walk.rows):
                break
            if done % BLOCK == 0:
                numbers = walk.draws.stream(f"block {done // BLOCK}").uniform(BLOCK, move.numbers)
                walk = replace(walk, numbers=numbers.to(x))
            ahead = 1 if view.random else _ahead(done, moves, len(walk.rows))
            self._move(view, move, walk, done, ahead)
            done += ahead
        view.note("loss", everybody, -least)
        return found

    def _begun(self, view: View, move: Move, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> _Walk:
        """Everybody after the first query; where they may give up, with what the clean inputs lack."""
        assert view.forward is not None, "needs = logits"
        rows, infinite = torch.arange(len(x), device=x.device), torch.full_like(y, torch.inf, dtype=x.dtype)
        feasible, broken, none = ball(x, budget), torch.zeros_like(y, dtype=torch.bool), x.new_empty(len(x), 0)
        walk = _Walk(rows, y, feasible, draws, x.clone(), infinite, broken, Reach.of(infinite), none)
        first = draws.stream("start")
        start = first_start(view, feasible, budget, first, otherwise=move.start(feasible, first))
        self._try(view, walk, rows, start, first)
        clean = lack(view.forward(x, draws), y) if self.give_up and view.early_exit else infinite
        return replace(walk, reach=Reach.of(clean, None if view.start is None else walk.lack.clone()))

    def _leaving(self, view: View, walk: _Walk, done: int, moves: int) -> tuple[Tensor, _Walk]:
        """Who leaves: broken, or out of reach of success; and the walk, with progress brought up to date."""
        if not (self.give_up and view.early_exit):
            return walk.broken, walk
        reach = walk.reach.after(walk.lack)
        lost = reach.lost(done, moves, earliest=QUERIES if view.start is None else WARM_QUERIES)
        return walk.broken | lost, replace(walk, reach=reach.marked(done))

    def _move(self, view: View, move: Move, walk: _Walk, done: int, ahead: int) -> None:
        """`ahead` moves of every input, tried at once; those after one that is taken over are tried again from there."""
        pixels, place = share(self.p_init, done), torch.arange(ahead, device=walk.y.device)
        if ahead == 1:
            proposal = move.propose(walk.candidate, walk.feasible, walk.numbers[:, done % BLOCK], pixels)
            self._try(view, walk, torch.arange(len(walk.y), device=walk.y.device), proposal, walk.draws.stream(done))
            return
        following = torch.zeros_like(walk.y)
        while len(rows := (place >= following[:, None]).nonzero()):
            row, turn = rows.unbind(1)
            numbers = walk.numbers[row, done % BLOCK + turn]
            proposal = move.propose(walk.candidate[row], walk.feasible[row], numbers, pixels)
            taken = self._try(view, walk, row, proposal, walk.draws.stream(done))
            following = torch.full_like(following, ahead).index_put_((row[taken],), turn[taken] + 1)
            following = torch.where(walk.broken, ahead, following)

    def _try(self, view: View, walk: _Walk, row: Tensor, proposal: Tensor, draws: Draws) -> Tensor:
        """Of the proposals to each of `row` (B',), sorted, the first that comes nearer is taken over: their places."""
        assert view.forward is not None, "needs = logits"
        outputs = expectation(view.forward, self.samples)(proposal, draws[row])
        missing = lack(outputs, walk.y[row]).nan_to_num(nan=-torch.inf)
        taken = (missing < walk.lack[row]).nonzero()[:, 0]
        if len(taken) > 1:
            taken = taken[torch.cat([taken.new_ones(1, dtype=torch.bool), row[taken].diff() > 0])]
        walk.candidate[row[taken]], walk.lack[row[taken]] = proposal[taken], missing[taken]
        if view.early_exit and len(suspects := row[taken][outputs[taken].fooled(walk.y[row[taken]])]):
            candidate, centers, epsilon = walk.candidate[suspects], walk.feasible.x[suspects], walk.feasible.epsilon
            walk.broken[suspects] = view.fooled(candidate, centers, walk.y[suspects], epsilon, draws[suspects])
        return taken


def _ahead(done: int, moves: int, inputs: int) -> int:
    """How many moves to try at once: the fewer inputs, and the rarer moves are taken over, the more.

    Not beyond the next change of the squares' size, the next power of two or the block of numbers.
    """
    most = max(1, min(AT_ONCE // inputs, done // 32))
    ends = [
        moves,
        (done // BLOCK + 1) * BLOCK,
        2 ** done.bit_length(),
        *(place + 1 for place in HALVINGS if place >= done),
    ]
    return int(min(most, min(ends) - done))


@dataclass(frozen=True)
class _Walk:
    """The inputs that still search, `rows` of all: the candidate of each, what it lacks, whether it is broken.

    numbers (B, BLOCK, n): random numbers of this block of moves.
    """

    rows: Tensor
    y: Tensor
    feasible: Feasible
    draws: Draws
    candidate: Tensor
    lack: Tensor
    broken: Tensor
    reach: Reach
    numbers: Tensor

    def __getitem__(self, rows: Tensor) -> _Walk:
        return _Walk(**{name: value[rows] for name, value in vars(self).items()})
