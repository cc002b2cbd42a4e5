"""Adversarial risk taken apart: flags of each input at a budget, their means, and one cause for each fooled input."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from geometry.risk.radii import Radii

CAUSES = ("standard", "normal", "in_manifold", "nearby_normal", "unexplained")


@dataclass(frozen=True, eq=False)
class Flags:
    """What befalls each input at a budget e: booleans (N,).

    standard: misclassified. adversarial: fooled within e. normal: along the normal within e. in_manifold and
    in_manifold_twice: on the manifold within e and 2e. nearby_normal: neither along the normal within e nor on the
    manifold within 2e, but near a point that is turned along its normal. nearby_normal_printed: the same with 2e for
    the input's own normal, under which theorem 1 (I) is false.
    """

    standard: Tensor
    adversarial: Tensor
    normal: Tensor
    in_manifold: Tensor
    in_manifold_twice: Tensor
    nearby_normal: Tensor
    nearby_normal_printed: Tensor


def flags(radii: Radii, epsilon: float) -> Flags:
    """The flags at a budget, from the radii; raises ValueError unless epsilon > 0.

    The ball of the adversarial risk is open, the others are closed. Source: Zhang et al. 2024, definitions 1 to 4.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, not {epsilon}; what epsilon 0 means is the flag `standard`")
    normal, twice = radii.normal <= epsilon, radii.in_manifold <= 2 * epsilon
    near = (radii.nearby <= epsilon) & ~twice
    return Flags(
        standard=radii.wrong,
        adversarial=radii.adversarial < epsilon,
        normal=normal,
        in_manifold=radii.in_manifold <= epsilon,
        in_manifold_twice=twice,
        nearby_normal=near & ~normal,
        nearby_normal_printed=near & ~(radii.normal <= 2 * epsilon),
    )


def risks(found: Flags) -> dict[str, float]:
    """The share of inputs with each flag, and both readings of theorem 1's bound, the printed one and the repaired one.

    bound = standard + normal + in_manifold_twice + nearby_normal. Source: Zhang et al. 2024, theorem 1 (I), equation 1.
    """
    share = {field.name: float(getattr(found, field.name).double().mean()) for field in fields(found)}
    three = share["standard"] + share["normal"] + share["in_manifold_twice"]
    bounds = {"bound": three + share["nearby_normal"], "bound_printed": three + share["nearby_normal_printed"]}
    return share | bounds


def cause(found: Flags) -> Tensor:
    """The first of CAUSES that holds for each fooled input, by its place there; -1 for inputs that are not fooled: (N,)."""
    order = [found.standard, found.normal, found.in_manifold_twice, found.nearby_normal]
    held = torch.stack([*order, torch.ones_like(found.standard)])
    return torch.where(found.adversarial, held.to(torch.uint8).argmax(0), -1)


def attribution(found: Flags) -> dict[str, float]:
    """The share of inputs fooled for each of CAUSES; the shares add up to the adversarial risk."""
    causes = cause(found)
    return {name: float((causes == place).double().mean()) for place, name in enumerate(CAUSES)}
