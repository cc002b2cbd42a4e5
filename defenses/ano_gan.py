"""Detection by how well a generative adversarial network can make the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._gan import Critic, Generator, train
from defenses._images import sides
from harness.types import Draws, Network, Split, State, Training

_TOGETHER = 512


@dataclass(frozen=True)
class AnoGAN:
    """Scores an image by what is left of it after the nearest image of a generative adversarial network, sought among its codes.

    The network learns the fit inputs in `updates` alternate updates of generator and critic; width: channels of their first
    convolution. From a drawn code, `steps` of Adam go down (1 - weight) times the sum of absolute differences of pixels plus
    weight times that of the critic's features; the least on the way is the score. The gradient is that at the found code
    held still, exact where it is the best one. Raises ValueError for inputs that are no images (C, H, W) of 4 pixels or
    more. Source: Schlegl et al. 2017, "Unsupervised anomaly detection with generative adversarial networks to guide marker
    discovery", equations 2, 5 and 6 (500 steps, weight 0.1).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    random: ClassVar[bool] = True
    dim: int = 16
    width: int = 16
    updates: int = 1500
    batch_size: int = 64
    learning_rate: float = 5e-4
    steps: int = 60
    step_size: float = 0.1
    weight: float = 0.1

    def __post_init__(self) -> None:
        if min(self.dim, self.width, self.updates, self.steps) < 1 or self.batch_size < 2:
            raise ValueError("ano_gan takes a dim, width, updates and steps of 1 at least, and batches of 2")
        if min(self.learning_rate, self.step_size) <= 0 or not 0 <= self.weight <= 1:
            raise ValueError("ano_gan takes a positive learning_rate and step_size, and a weight in [0, 1]")

    def fit(self, data: Split, *, victim: Network, training: Training | None = None) -> State:
        """Weights of generator and critic, and the images' shape; raises ValueError for fewer than two images."""
        sides(data.x, "ano_gan", least=4)
        if len(data) < 2:
            raise ValueError(f"ano_gan learns from two images at least, not {len(data)}")
        shape = tuple(data.x.shape[1:])
        generator, critic = self._networks(shape)
        state = train(
            generator.to(data.x.device),
            critic.to(data.x.device),
            data.x,
            dim=self.dim,
            updates=self.updates,
            size=min(self.batch_size, len(data)),
            rate=self.learning_rate,
            training=training,
        )
        return state | {"shape": torch.tensor(shape, device=data.x.device)}

    def load(self, state: State, *, victim: Network) -> Search:
        """What is left, (B, C, H, W), draws -> (B,)."""
        with torch.random.fork_rng(devices=[]):
            generator, critic = self._networks(tuple(state["shape"].tolist()))
        for name, part in (("generator.", generator), ("critic.", critic)):
            own = {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
            part.load_state_dict(own)
            part.to(state["shape"].device).double().eval().requires_grad_(False)
        return Search(self, generator, critic)

    def _networks(self, shape: tuple[int, ...]) -> tuple[Generator, Critic]:
        return Generator(shape, self.dim, self.width), Critic(shape, self.width)


@dataclass(frozen=True, eq=False)
class Search:
    """The search for the code of each image; in float64, as it magnifies what is rounded."""

    part: AnoGAN
    generator: Generator
    critic: Critic

    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        given = x.double()
        if tuple(x.shape[1:]) != self.generator.shape:
            raise ValueError(f"ano_gan learned images {self.generator.shape}, but these are {tuple(x.shape[1:])}")
        start = draws.stream("start").normal(self.part.dim).to(given)
        rows = torch.split(torch.arange(len(x), device=x.device), _TOGETHER)
        found = [self._left(given[part], self._code(given[part].detach(), start[part])) for part in rows]
        return torch.cat(found).to(x.dtype) if found else x.new_zeros(0)

    @torch.enable_grad()
    def _code(self, x: Tensor, start: Tensor) -> Tensor:
        """The code with the least left on the way of Adam: (B, d)."""
        z = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=self.part.step_size)
        best, least = start, torch.full((len(x),), torch.inf).to(x)
        for step in range(self.part.steps + 1):
            left = self._left(x, z)
            better = left.detach() < least
            best = torch.where(better[:, None], z.detach(), best)
            least = torch.minimum(least, left.detach())
            if step < self.part.steps:
                (z.grad,) = torch.autograd.grad(left.sum(), z)
                optimizer.step()
        return best

    def _left(self, x: Tensor, z: Tensor) -> Tensor:
        """The paper's loss of images (B, *S) for codes (B, d): (B,)."""
        made = self.generator(z)
        residual = (x - made).abs().flatten(1).sum(1)
        features = (self.critic.features(x) - self.critic.features(made)).abs().sum(1)
        left: Tensor = (1 - self.part.weight) * residual + self.part.weight * features
        return left
