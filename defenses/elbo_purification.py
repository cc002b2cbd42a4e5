"""Purification by ascent on the evidence lower bound of a variational autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from geometry.manifolds.variational_autoencoder import VariationalAutoencoder
from harness.types import Draws, Network, Split, State

TOGETHER = 512  # inputs times restarts in one pass


@dataclass(frozen=True)
class ElboPurification:
    """Moves every input, at test time, to where a variational autoencoder finds it more likely, and classifies it there.

    `steps` signed steps up the bound with a drawn code, from the input and from restarts - 1 random points around it, every
    second restart with steps twice as long; the best end by the bound of the mean code is kept. radius: in linf about the
    input, None for the box alone, as against patches. enough: an input moves no more once its bound is that quantile of
    clean inputs' bounds (None: it takes all steps; without a stop an image is forgotten in the end). The bound is the
    classifier's own where it shows `elbo` (put `vae_classifier` before), else that of an autoencoder fitted here.
    Attackers are given `objective` (minus the bound), `encode`, `decode`, and a `surrogate`: `surrogate_steps` steps
    from the input with gradients scaled by their largest entry in place of their signs, differentiated exactly.
    Source: Tu et al. 2023, section 4, equation 30 (256 steps of 1/255); Yang et al. 2024 (96 steps, 16 restarts).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    random: ClassVar[bool] = True
    steps: int = 32
    restarts: int = 4
    step_size: float = 0.00784
    radius: float | None = 0.2
    enough: float | None = None
    surrogate_steps: int = 4
    dim: int = 32
    width: int = 32
    epochs: int = 10
    deviation: float = 0.2

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.surrogate_steps) < 1 or self.step_size <= 0:
            raise ValueError("elbo_purification takes one step, restart and surrogate step at least, of positive size")
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"elbo_purification takes a positive radius or None, not {self.radius}")
        if self.enough is not None and not 0 < self.enough < 1:
            raise ValueError(f"elbo_purification takes a quantile `enough` in (0, 1) or None, not {self.enough}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """The bound at which an input is left alone, and an autoencoder's weights where the victim has no bound of its own."""
        state = {} if shows_bound(victim) else self._autoencoder().fit(data)
        if self.enough is None:
            return state
        bound = self._bound(state, victim)
        with torch.no_grad():
            clean = torch.cat([bound.elbo(part) for part in torch.split(data.x, TOGETHER)])
        return state | {"enough": torch.quantile(clean.float(), self.enough)}

    def load(self, state: State, *, victim: Network) -> Ascent:
        """The ascent (B, *S), draws -> (B, *S)."""
        enough = float(state["enough"]) if "enough" in state else float("inf")
        return Ascent(self, self._bound(state, victim), enough)

    def _autoencoder(self) -> VariationalAutoencoder:
        return VariationalAutoencoder(dim=self.dim, width=self.width, epochs=self.epochs, deviation=self.deviation)

    def _bound(self, state: State, victim: Network) -> Any:
        if shows_bound(victim):
            return victim
        return self._autoencoder().load({name: value for name, value in state.items() if name != "enough"})


def shows_bound(network: Network) -> bool:
    """Whether a classifier has a variational autoencoder's bound, codes and images."""
    return all(callable(getattr(network, name, None)) for name in ("elbo", "encode", "decode"))


@dataclass(frozen=True, eq=False)
class Ascent:
    """Steps up the bound of `model`, each input on its own."""

    part: ElboPurification
    model: Any
    enough: float

    def objective(self, x: Tensor, /) -> Tensor:
        """Minus the bound with the mean code: (B, *S) -> (B,), differentiable."""
        return -self._bound(x)

    def encode(self, x: Tensor, /) -> Tensor:
        """Mean codes: (B, *S) -> (B, d)."""
        return cast("Tensor", self.model.posterior(x)[0])

    def decode(self, z: Tensor, /) -> Tensor:
        """Images of codes: (B, d) -> (B, *S)."""
        return cast("Tensor", self.model.decode(z))

    def surrogate(self, x: Tensor, /) -> Tensor:
        """A few smooth steps with the mean code: (B, *S) -> (B, *S), differentiable, with the memory of one step."""
        size = self.part.step_size * self.part.steps / self.part.surrogate_steps

        def step(z: Tensor, x: Tensor) -> Tensor:
            z = z if z.requires_grad else z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._bound(z).sum(), z, create_graph=True)
            scaled = gradient / gradient.flatten(1).abs().amax(1).clamp_min(1e-30).view(-1, *(1,) * (x.ndim - 1))
            return self._kept(z + size * scaled, x)

        z = x
        with torch.enable_grad():
            for _ in range(self.part.surrogate_steps):
                z = checkpoint(step, z, x, use_reentrant=False)
        return z

    @torch.no_grad()
    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        size = max(1, TOGETHER // self.part.restarts)
        rows = torch.split(torch.arange(len(x), device=x.device), size)
        return torch.cat([self._purified(x[part], draws[part]) for part in rows]) if len(x) else x.clone()

    def _purified(self, x: Tensor, draws: Draws) -> Tensor:
        """The best of all restarts, which go together: (B, *S)."""
        number, part = self.part.restarts, self.part
        around = 0.03 if part.radius is None else part.radius
        starts = [x]
        for restart in range(1, number):
            noise = draws.stream("start").uniform(*x.shape[1:], draw=restart).to(x)
            starts.append(self._kept(x + around * (2 * noise - 1), x))
        z, center = torch.cat(starts), x.repeat(number, *(1,) * (x.ndim - 1))
        longer = torch.tensor([1.0 + restart % 2 for restart in range(number)], device=x.device)
        sizes = (part.step_size * longer).repeat_interleave(len(x)).view(-1, *(1,) * (x.ndim - 1))
        for step in range(part.steps):
            noise = draws.stream(f"step {step}").normal(number, int(self.model.dim)).to(x).transpose(0, 1).flatten(0, 1)
            going = self._bound(z) < self.enough if self.enough < float("inf") else None
            moved = self._kept(z + sizes * self._gradient(z, noise).sign(), center)
            z = moved if going is None else torch.where(going.view(-1, *(1,) * (x.ndim - 1)), moved, z)
        best = self._bound(z).view(number, len(x)).argmax(0)
        return z.view(number, *x.shape)[best, torch.arange(len(x), device=x.device)]

    def _gradient(self, z: Tensor, noise: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._bound(z, noise).sum(), z)
        return gradient

    def _kept(self, z: Tensor, x: Tensor) -> Tensor:
        """In the box, and within the radius where there is one."""
        if self.part.radius is not None:
            z = torch.minimum(torch.maximum(z, x - self.part.radius), x + self.part.radius)
        return z.clamp(0.0, 1.0)

    def _bound(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return cast("Tensor", self.model.elbo(x, noise))
