"""A small generative adversarial network of images: the networks and their training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from harness.types import State, Training

SMALLEST = 7.0  # pixels to which the shorter side is about halved
_MOMENTS = (0.5, 0.999)


class Generator(nn.Module):
    """Images in [0, 1] of codes: (B, d) -> (B, *S), by transposed convolutions with stride 2."""

    def __init__(self, shape: tuple[int, ...], dim: int, width: int) -> None:
        super().__init__()
        channels, height, side = shape
        self.shape, number = shape, halvings(shape)
        wide = width * 2 ** (number - 1)
        small = (wide, -(-height // 2**number), -(-side // 2**number))
        layers: list[nn.Module] = [nn.Linear(dim, math.prod(small)), nn.Unflatten(1, small), nn.BatchNorm2d(wide)]
        for place in range(number):
            last = place + 1 == number
            after = channels if last else wide // 2
            layers += [nn.ReLU(), nn.ConvTranspose2d(wide, after, 4, stride=2, padding=1)]
            layers += [nn.Sigmoid()] if last else [nn.BatchNorm2d(after)]
            wide = after
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.layers(z)
        return found[..., : self.shape[1], : self.shape[2]]


class Critic(nn.Module):
    """The logit that an image is real, (B, *S) -> (B,), read from features (B, F) of convolutions with stride 2."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        before, layers, wide = shape[0], list[nn.Module](), width
        for _ in range(halvings(shape)):
            layers += [nn.Conv2d(before, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            before, wide = wide, 2 * wide
        self.body = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            number = self.body(torch.zeros(1, *shape)).shape[1]
        self.head = nn.Linear(number, 1)

    def features(self, x: Tensor) -> Tensor:
        """The last convolution's values: (B, *S) -> (B, F)."""
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(x))
        return found[:, 0]


def halvings(shape: tuple[int, ...]) -> int:
    """How often the sides are halved."""
    return max(1, round(math.log2(min(shape[1:]) / SMALLEST)))


def train(
    generator: Generator,
    critic: Critic,
    x: Tensor,
    *,
    dim: int,
    updates: int,
    size: int,
    rate: float,
    training: Training | None = None,
) -> State:
    """Weights of both, under `generator.` and `critic.`, after alternate updates of Adam on images (N, *S).

    The losses are those of Goodfellow et al. 2014 with the generator's that does not saturate; numbers from torch's global
    generator. Raises ValueError where a loss stops being finite.
    """
    makers = [torch.optim.Adam(part.parameters(), lr=rate, betas=_MOMENTS) for part in (generator, critic)]
    both = {"generator": generator.train(), "critic": critic.train()}
    begin = _resumed(both, makers, training)

    def descend(place: int, value: Tensor) -> float:
        if not math.isfinite(float(value.detach())):
            raise ValueError(f"ano_gan's loss is {float(value.detach())}; lower learning_rate (it is {rate:g})")
        makers[place].zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        makers[place].step()
        return float(value.detach())

    for update in range(begin, updates):
        real = x[torch.randint(len(x), (size,)).to(x.device)]
        made = generator(torch.randn(size, dim).to(x))
        lost = descend(1, softplus(-critic(real)).mean() + softplus(critic(made.detach())).mean())
        fooled = descend(0, softplus(-critic(generator(torch.randn(size, dim).to(x)))).mean())
        if training is not None:
            training.report(update + 1, lost + fooled, updates)
            training.save(_state(both, makers, update + 1))
    return {
        f"{name}.{key}": value.detach().clone().contiguous()
        for name, part in both.items()
        for key, value in part.state_dict().items()
    }


def _state(both: dict[str, nn.Module], makers: list[torch.optim.Adam], update: int) -> Callable[[], dict[str, object]]:
    return lambda: {
        "update": update,
        "generator": torch.get_rng_state(),
        "networks": {name: part.state_dict() for name, part in both.items()},
        "makers": [maker.state_dict() for maker in makers],
    }


def _resumed(both: dict[str, nn.Module], makers: list[torch.optim.Adam], training: Training | None) -> int:
    """Everything as it was when it was saved; the number of updates that are done."""
    state = training.resumed() if training is not None else None
    if state is None:
        return 0
    for name, part in both.items():
        part.load_state_dict(state["networks"][name])
    for maker, saved in zip(makers, state["makers"], strict=True):
        maker.load_state_dict(dict(saved))
    torch.set_rng_state(state["generator"])
    return int(state["update"])
