"""Steps from an input towards the nearest of some stored images."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def nearest_image(x: Tensor, images: Tensor) -> Tensor:
    """For each input the nearest image in l2 that is not the input itself: (B, *S), (R, *S) -> (B, *S)."""
    distance = torch.cdist(x.flatten(1), images.to(x).flatten(1))
    return images.to(x)[distance.masked_fill(distance < 1e-4, torch.inf).argmin(1)]


def moved(x: Tensor, goal: Tensor, step: float) -> Tensor:
    """Points `step` away from the inputs on the way to their goals, or the goals where these are nearer: (B, *S)."""
    change = goal - x.detach()
    length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp_min(1e-12)
    share: Tensor = (step / length).clamp(max=1.0).reshape(-1, *(1,) * (x.ndim - 1))
    return x + share * change
