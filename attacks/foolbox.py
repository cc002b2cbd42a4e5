"""The attacks of the foolbox library (Rauber et al. 2017), through one adapter."""

from __future__ import annotations

import ast
import difflib
import inspect
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from attacks._ball import ball
from attacks._confirm import confirmed
from harness.types import Budget, Draws, Needs, View

# Modules of foolbox whose attacks look at decisions alone, and those whose attacks must be given a start.
DECISION = "additive_noise blended_noise blur boundary_attack contrast contrast_min hop_skip_jump inversion pointwise"
STARTED = ("BoundaryAttack", "BrendelBethgeAttack", "HopSkipJumpAttack", "PointwiseAttack")
NORMS = {0.0: "l0", 1.0: "l1", 2.0: "l2", float("inf"): "linf"}


@dataclass(frozen=True)
class Foolbox:
    """An attack of the foolbox library, by the name of its class.

    options: its arguments as text, "steps=40, rel_stepsize=0.1". An input that it does not break comes back as it was
    where the attack minimises the norm, and as last tried where it does not. Raises ValueError for a class or an
    option that foolbox does not have.
    """

    attack: str = "LinfPGD"
    options: str = ""

    family: ClassVar[str] = "attack"
    by_shard: ClassVar[bool] = True

    @property
    def norms(self) -> tuple[str, ...]:
        """The norm of the class, or those that it can be given."""
        cls = self._class()
        taken = inspect.signature(cls).parameters
        if "distance" in taken or "constraint" in taken:
            return ("linf", "l2", "l0") if "distance" in taken else ("linf", "l2")
        distance = getattr(cls, "distance", None)
        if distance is None:
            raise ValueError(f"foolbox/{self.attack} is bounded by no norm; name an attack of linf, l2 or l0")
        if isinstance(distance, property):
            try:
                distance = cls().distance
            except AttributeError:  # PointwiseAttack: from element to element, then by bisection in l2
                return ("l2", "l0")
        return (NORMS[distance.p],)

    @property
    def needs(self) -> Needs:
        """Decisions for attacks without gradients, else gradients."""
        module = self._class().__module__.rpartition(".")[2]
        return "decision" if module in (*DECISION.split(), "saltandpepper") else "gradient"

    @property
    def minimal(self) -> bool:
        """Whether foolbox calls it a minimisation attack."""
        from foolbox.attacks.base import MinimizationAttack

        return issubclass(self._class(), MinimizationAttack)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Adversarial inputs inside ball and box: (B, *S) -> (B, *S)."""
        if not len(x):
            return x.clone()
        with _quiet_and_seeded(int(draws.integers(2**31)[0])):
            candidate, success = self._run(view, x, y, budget, draws)
        candidate = torch.where(torch.isfinite(candidate), candidate, x).clamp(0, 1)
        if self.minimal:
            return confirmed(view, candidate, x=x, y=y, found=success, draws=draws)
        return ball(x, budget).project(candidate)

    def _run(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> tuple[Tensor, Tensor]:
        """What foolbox makes of the inputs, and whether it calls them broken."""
        attack, epsilons = self._build(budget), None if self.minimal else budget.epsilon
        model, criterion = _target(view, x, y, draws)
        if not any(base.__name__ in STARTED for base in type(attack).__mro__):
            _, candidate, success = attack(model, x, criterion, epsilons=epsilons)
            return candidate, success
        start, begun = _start(model, x, criterion)
        candidate, success = x.clone(), begun.clone()
        if begun.any():
            model, criterion = _target(view, x[begun], y[begun], draws[begun])
            _, candidate[begun], success[begun] = attack(
                model, x[begun], criterion, epsilons=epsilons, starting_points=start[begun]
            )
        return candidate, success

    def _build(self, budget: Budget) -> Any:
        """The attack with its options, and the norm where it takes one."""
        import foolbox

        options = _parsed(self.options)
        cls = self._class()
        taken = inspect.signature(cls).parameters
        if "distance" in taken:
            options.setdefault("distance", getattr(foolbox.distances, budget.norm))
        if "constraint" in taken:
            options.setdefault("constraint", budget.norm)
        try:
            return cls(**options)
        except TypeError as error:
            raise ValueError(f"foolbox/{self.attack} does not take the options '{self.options}': {error}") from error

    def _class(self) -> Any:
        import foolbox
        from foolbox.attacks.base import Attack as Base

        found = getattr(foolbox.attacks, self.attack, None)
        if isinstance(found, type) and issubclass(found, Base):
            return found
        known = [name for name, value in vars(foolbox.attacks).items() if isinstance(value, type)]
        near = difflib.get_close_matches(self.attack, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(sorted(known))}"
        raise ValueError(f"foolbox has no attack '{self.attack}'{hint}")


def _parsed(options: str) -> dict[str, Any]:
    """Keyword arguments from their text; raises ValueError for what is not `name=literal, ...`."""
    try:
        call = ast.parse(f"f({options})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(word.arg is None for word in call.keywords):
            raise ValueError("a value without a name")
        return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'options are written "steps=40, rel_stepsize=0.1", not "{options}" ({error})') from error


class _Model(nn.Module):
    """The view as foolbox wants it; rejection is one more class, the last, largest where the margin is positive.

    The gradient of its logit is reversed, so that a loss that rises with any logit but the label's leads to acceptance.
    """

    def __init__(self, view: View, draws: Draws, number: int) -> None:
        super().__init__()
        self.view, self.draws, self.number, self.calls = view, draws, number, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        rows = torch.arange(len(x), device=x.device) % self.number
        draws = self.draws.stream(self.calls)[rows]
        if self.view.forward is None:
            classes = self.view.num_classes + 1
            return nn.functional.one_hot(self.view.decide(x, draws) % classes, classes).to(x)
        outputs = self.view.forward(x, draws)
        if outputs.margin is None:
            return outputs.logits
        value = (outputs.logits.amax(1) + outputs.margin).detach()
        rejection = value - (outputs.margin - outputs.margin.detach())
        return torch.cat([outputs.logits, rejection[:, None]], 1)

    def rejected(self, x: Tensor) -> int | None:
        """The class that stands for rejection, if there is one."""
        if self.view.forward is None:
            return self.view.num_classes
        with torch.no_grad():
            outputs = self.view.forward(x[:1], self.draws[torch.zeros(1, dtype=torch.long, device=x.device)])
        return None if outputs.margin is None else outputs.logits.shape[1]


def _target(view: View, x: Tensor, y: Tensor, draws: Draws) -> tuple[Any, Any]:
    """foolbox's model of the view, and its criterion: another class than y, and not rejected."""
    from foolbox.criteria import Misclassification
    from foolbox.models.pytorch import PyTorchModel

    class WrongAndAccepted(Misclassification):  # type: ignore[misc]
        def __call__(self, perturbed: Any, outputs: Any) -> Any:
            wrong = super().__call__(perturbed, outputs)
            return wrong if rejected is None else wrong.logical_and(outputs.argmax(axis=-1) != rejected)

    model = _Model(view, draws, len(x)).eval()
    rejected = model.rejected(x)
    return PyTorchModel(model, bounds=(0, 1), device=x.device), WrongAndAccepted(y)


def _start(model: Any, x: Tensor, criterion: Any) -> tuple[Tensor, Tensor]:
    """Inputs blended with noise until they are adversarial, and which are: some attacks raise without a start."""
    from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack

    _, start, begun = LinearSearchBlendedUniformNoiseAttack(steps=50)(model, x, criterion, epsilons=None)
    return start, begun


@contextmanager
def _quiet_and_seeded(seed: int) -> Iterator[None]:
    """Global random states set from the seed and restored afterwards; no warnings."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
