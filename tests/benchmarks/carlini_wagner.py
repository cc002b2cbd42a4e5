"""Carlini and Wagner in l2 beside adv-lib and foolbox: `python tests/benchmarks/carlini_wagner.py`.

One frozen network, the same inputs, adv-lib's settings (step 0.01, nine constants from 0.001 on, early abort), one
thread, process time. adv-lib's 10,000 steps take minutes an input: `--steps 10000 --number 8` runs them.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import torch
from _frozen import Attack, Counted, frozen, peer, race, ratio, scorer, table
from torch import Tensor

from attacks.carlini_wagner import CarliniWagner
from harness.draws import CounterDraws
from harness.types import Budget, View


def ours(model: Counted, x: Tensor, y: Tensor, *, steps: int) -> Tensor:
    """The attack of this project."""
    draws = CounterDraws("benchmark", torch.arange(len(x)))
    return CarliniWagner(steps=steps).perturb(View.of(model), x, y, Budget("l2", float("inf")), draws)


def adv_lib(model: Counted, x: Tensor, y: Tensor, *, steps: int) -> Tensor:
    library = peer("adv_lib.attacks", "adv-lib")
    return library.carlini_wagner_l2(model, x, y, max_iterations=steps)


def foolbox(model: Counted, x: Tensor, y: Tensor, *, steps: int) -> Tensor:
    library = peer("foolbox", "foolbox")
    attack = library.attacks.L2CarliniWagnerAttack(steps=steps)
    found, _, _ = attack(library.PyTorchModel(model, bounds=(0, 1), device=x.device), x, y, epsilons=None)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=64, help="inputs (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default 3)")
    parser.add_argument("--steps", type=int, default=1000, help="most steps a constant (default 1000)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, x, y = frozen(given.number)
    attacks: dict[str, Attack] = {
        name: partial(attack, steps=given.steps)
        for name, attack in {"ours": ours, "adv-lib": adv_lib, "foolbox": foolbox}.items()
    }
    score = scorer(model, x, y, norm="l2", epsilon=float("inf"))
    results = race(attacks, model, x, y, score=score, rounds=given.rounds)
    table(f"C&W l2, {given.steps} steps, {len(x)} inputs, {given.rounds} rounds", results, len(x))
    print(f"ours / fastest other: {ratio(results, 'ours'):.2f}")


if __name__ == "__main__":
    main()
