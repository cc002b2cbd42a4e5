"""Networks of other libraries as victims: resized inputs, and the last layer apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional


class Adapt(nn.Module):
    """Images resized (bilinear) to squares of `size`, and grey ones repeated for `repeat` channels."""

    def __init__(self, size: int, *, repeat: int = 1) -> None:
        super().__init__()
        self.size = size
        self.repeat = repeat

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, repeat * C, size, size)."""
        if x.shape[2:] != (self.size, self.size):
            shrinks = self.size < min(x.shape[2:])
            x = functional.interpolate(
                x, (self.size, self.size), mode="bilinear", align_corners=False, antialias=shrinks
            )
        return x.expand(-1, self.repeat, -1, -1) if self.repeat > 1 else x


def unknown(given: str, known: Iterable[str], library: str) -> ValueError:
    """The error for an architecture that the library lacks, with the nearest it has."""
    near = difflib.get_close_matches(given, list(known), n=3)
    hint = f"did you mean {' or '.join(f'{library}/{name}' for name in near)}?" if near else "see its list of models"
    return ValueError(f"{library} has no classifier '{given}': {hint}")


def last_linear(model: nn.Module, architecture: str) -> tuple[str, nn.Linear]:
    """The last linear layer and its name; raises ValueError if the network ends with another kind of layer."""
    layers = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    weighted = [(name, module) for name, module in layers if list(module.parameters(recurse=False))]
    if not weighted or not isinstance(weighted[-1][1], nn.Linear):
        kind = type(weighted[-1][1]).__name__ if weighted else "nothing"
        raise ValueError(f"{architecture} ends with {kind}; expected a linear layer: choose another architecture")
    return weighted[-1][0], weighted[-1][1]
