"""Which models remove noise."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor


class Model(Protocol):
    """A model that finds the noise in images counted in [-1, 1] of which a share is kept: (B, *S) -> (B, *S)."""

    def noise(self, x: Tensor, kept: float, /) -> Tensor: ...


def modelled(model: object, part: str) -> Model:
    """The model; raises TypeError for a manifold that removes no noise."""
    if not callable(getattr(model, "noise", None)):
        raise TypeError(f"{part} needs a model that finds noise, such as diffusion, not {type(model).__name__}")
    return cast("Model", model)
