"""PGD-40 in linf beside foolbox, torchattacks and adv-lib: `python tests/benchmarks/pgd.py`.

One frozen network, the same inputs, epsilon, steps, step size and random start (all draw the same numbers from torch's
generator), one thread, process time.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from functools import partial

import torch
from _frozen import Attack, Counted, frozen, peer, race, ratio, scorer, table
from torch import Tensor

from attacks.pgd import PGD
from harness.types import Budget, View

STEPS, SHARE = 40, 0.05  # the step size is this share of epsilon


@dataclass(frozen=True)
class TorchDraws:
    """Draws from torch's generator, so that the start is that of the others."""

    number: int

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        return torch.rand(self.number, *shape)

    normal = integers = uniform  # asked for by no attack here

    def stream(self, name: str | int) -> TorchDraws:
        return self

    def __getitem__(self, rows: Tensor) -> TorchDraws:
        return self


def ours(model: Counted, x: Tensor, y: Tensor, *, epsilon: float, early_exit: bool) -> Tensor:
    """The attack of this project."""
    attack = PGD(steps=STEPS, step_size=SHARE)
    view, draws = View.of(model, early_exit=early_exit), TorchDraws(len(x))
    return attack.perturb(view, x, y, Budget("linf", epsilon), draws)


def foolbox(model: Counted, x: Tensor, y: Tensor, *, epsilon: float) -> Tensor:
    library = peer("foolbox", "foolbox")
    attack = library.attacks.LinfPGD(rel_stepsize=SHARE, steps=STEPS, random_start=True)
    _, clipped, _ = attack(library.PyTorchModel(model, bounds=(0, 1), device=x.device), x, y, epsilons=epsilon)
    return clipped


def torchattacks(model: Counted, x: Tensor, y: Tensor, *, epsilon: float) -> Tensor:
    library = peer("torchattacks", "torchattacks")
    return library.PGD(model, eps=epsilon, alpha=SHARE * epsilon, steps=STEPS, random_start=True)(x, y)


def adv_lib(model: Counted, x: Tensor, y: Tensor, *, epsilon: float) -> Tensor:
    library = peer("adv_lib.attacks", "adv-lib")
    return library.pgd_linf(model, x, y, epsilon, steps=STEPS, relative_step_size=SHARE)


def main() -> None:
    """Print a table for an epsilon that few inputs fall to, and one that nine in ten do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=256, help="inputs (default 256)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default 7)")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.01, 0.07])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, x, y = frozen(given.number)
    for epsilon in given.epsilons:
        attacks: dict[str, Attack] = {
            "ours": partial(ours, epsilon=epsilon, early_exit=True),
            "foolbox": partial(foolbox, epsilon=epsilon),
            "torchattacks": partial(torchattacks, epsilon=epsilon),
            "adv-lib": partial(adv_lib, epsilon=epsilon),
        }
        score = scorer(model, x, y, norm="linf", epsilon=epsilon)
        results = race(attacks, model, x, y, score=score, rounds=given.rounds)
        table(f"PGD-{STEPS} linf, epsilon {epsilon}, {len(x)} inputs, {given.rounds} rounds", results, len(x))
        print(f"ours / fastest other: {ratio(results, 'ours'):.2f}")
        patient = {
            "all steps": partial(ours, epsilon=epsilon, early_exit=False),
            "torchattacks": attacks["torchattacks"],
        }
        results = race(patient, model, x, y, score=score, rounds=given.rounds)
        table("without early exit", results, len(x))


if __name__ == "__main__":
    main()
