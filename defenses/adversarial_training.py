"""Adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from defenses._craft import budget_of
from defenses._fine_tuning import order, trainable, triangle
from harness.progress import steps
from harness.types import Attack, Network, Spec, Split, State, View


@dataclass(frozen=True)
class AdversarialTraining:
    """Trains the victim on adversarial inputs made for it at every update.

    epsilon: radius of the attack in `norm`. clean: share of each batch that is not attacked. warm_start: from the victim's
    weights, else from new ones. updates: batches seen; Adam, its learning rate rising over the first fifth of the updates
    and falling to zero. Raises TypeError for a victim that is not a torch module. Source: Madry et al. 2018, equation 2.1 and
    section 3; with the attack `normal` what Zhang et al. 2024, remark 3 on theorem 1, suggest as a free lunch.
    """

    role: ClassVar[Literal["training"]] = "training"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.1
    attack: Spec = Spec.of("attack", "pgd", steps=4)
    warm_start: bool = True
    updates: int = 600
    batch_size: int = 128
    learning_rate: float = 2e-3
    clean: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.clean <= 1:
            raise ValueError(f"clean is the share of a batch that is not attacked, between 0 and 1, not {self.clean}")

    def fit(self, data: Split, *, victim: Network, attack: Attack) -> State:
        """The weights of the trained network; inputs come in random order, epoch after epoch."""
        network = trainable(victim, "adversarial_training")
        if not self.warm_start:
            _start_anew(network)
        budget, view = budget_of(attack, self.norm, self.epsilon), View.of(network)
        optimizer = torch.optim.Adam(network.parameters())
        batches = steps(order(len(data), self.batch_size, self.updates), "adversarial training", self.updates)
        for update, rows in enumerate(batches):
            batch = data[rows.to(data.y.device)]
            network.eval().requires_grad_(False)
            x, attacked = (
                batch.x,
                batch[torch.arange(round(self.clean * len(batch)), len(batch), device=batch.y.device)],
            )
            if len(attacked):
                draws = attacked.draws.stream(update)
                found = attack.perturb(view, attacked.x, attacked.y, budget, draws).detach()
                x = torch.cat([x[: len(batch) - len(attacked)], found])
            network.train().requires_grad_(True)
            optimizer.param_groups[0]["lr"] = self.learning_rate * triangle(update, self.updates)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(cross_entropy(network(x), batch.y))
            optimizer.step()
        return {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}

    def load(self, state: State, *, victim: Network, attack: Attack) -> Network:
        """The victim's network with the trained weights."""
        network = trainable(victim, "adversarial_training")
        network.load_state_dict(state)
        return cast("Network", network.eval().requires_grad_(False))


def _start_anew(network: nn.Module) -> None:
    """Draw new weights for every layer."""
    for name, module in network.named_modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(f"layer '{name}' ({type(module).__name__}) has no reset_parameters; use warm_start: true")
