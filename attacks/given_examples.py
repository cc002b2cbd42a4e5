"""Adversarial inputs that somebody found by other means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball
from harness.types import Budget, Draws, Needs, View

NEAREST = 4  # examples that are tried for an input
_SAME = 1e-4  # a value moved by the projection into the ball by less was inside


@dataclass(frozen=True)
class GivenExamples:
    """Examples from a file, each tried on the input that it lies nearest to, where that input's ball holds it.

    file: safetensors with `x` (N, *S) in [0, 1]; by: who found them, as the board names it. Raises ValueError for a file
    without `x`, of another shape, or with values that are not finite or outside [0, 1].
    """

    file: Path
    by: str = ""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    needs: ClassVar[Needs] = (
        "gradient"  # who made them may have had gradients: they speak neither for nor against those
    )
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("adaptive",)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest example inside the ball that fools the system, else the nearest, else the input: (B, *S) -> (B, *S)."""
        examples = self.examples(tuple(x.shape[1:])).to(x)
        found, standing = x.clone(), torch.ones(len(x), dtype=torch.bool, device=x.device)
        order = torch.cdist(x.flatten(1), examples.flatten(1)).argsort(1)[:, :NEAREST]
        for column in order.T:
            candidate = examples[column]
            inside = (ball(x, budget).project(candidate.clone()) - candidate).flatten(1).abs().amax(1) < _SAME
            rows = (standing & inside).nonzero()[:, 0]
            if not len(rows):
                continue
            fooled = view.fooled(candidate[rows], x[rows], y[rows], budget.epsilon, draws[rows])
            untouched = (found[rows] == x[rows]).flatten(1).all(1)
            kept = rows[fooled | untouched]
            found[kept] = candidate[kept]
            standing[rows[fooled]] = False
        return ball(x, budget).project(found)

    def examples(self, shape: tuple[int, ...]) -> Tensor:
        """What the file holds for inputs of a shape: (N, *S) float32. Raises ValueError where it holds something else."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(self.file)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.file} cannot be read as safetensors: {error}") from None
        if "x" not in tensors:
            held = ", ".join(sorted(tensors)) or "nothing"
            raise ValueError(
                f"{self.file} holds {held}; expected a tensor `x` of shape (N, {', '.join(map(str, shape))})"
            )
        x = tensors["x"].float()
        if tuple(x.shape[1:]) != shape or not len(x):
            raise ValueError(
                f"{self.file}: x is {tuple(x.shape)}; expected (N, {', '.join(map(str, shape))}), N at least 1"
            )
        low, high = float(x.min()), float(x.max())
        if not bool(torch.isfinite(x).all()) or low < 0 or high > 1:
            raise ValueError(f"{self.file}: x has values from {low:.4g} to {high:.4g}; expected [0, 1], finite")
        return x
