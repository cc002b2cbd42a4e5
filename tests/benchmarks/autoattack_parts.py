"""APGD, FAB and Square one by one beside other libraries': `python tests/benchmarks/autoattack_parts.py`.

One frozen network, the same inputs, epsilon and number of steps or queries, published settings else; one thread, process
time. FAB goes towards nine targets, in adv-lib towards the nearest of all planes. A library that is not installed is left
out, and named.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from _frozen import Attack, Counted, frozen, peer, race, ratio, scorer, table
from torch import Tensor

from attacks.apgd import APGD
from attacks.fab import FAB
from attacks.square import Square
from harness.draws import CounterDraws
from harness.types import Budget, View

THEIRS = {"linf": "Linf", "l2": "L2"}
POWER = {"linf": np.inf, "l2": 2}
Maker = Callable[[str, float, int], Attack]  # norm, epsilon, steps
LIBRARIES = ("foolbox", "torchattacks", "adv_lib", "pyautoattack", "art")


def _ours(attack: Any) -> Maker:
    def make(norm: str, epsilon: float, steps: int) -> Attack:
        part = attack(steps)

        def call(model: Counted, x: Tensor, y: Tensor) -> Tensor:
            draws = CounterDraws(str(torch.initial_seed()), torch.arange(len(x)))
            bound = float("inf") if part.minimal else epsilon
            found: Tensor = part.perturb(View.of(model, early_exit=True), x, y, Budget(norm, bound), draws)  # type: ignore[arg-type]
            return found

        return call

    return make


def _torchattacks(name: str, steps_name: str, **options: Any) -> Maker:
    def make(norm: str, epsilon: float, steps: int) -> Attack:
        library = peer("torchattacks", "torchattacks")

        def call(model: Counted, x: Tensor, y: Tensor) -> Tensor:
            attack = getattr(library, name)(
                model, norm=THEIRS[norm], eps=epsilon, seed=torch.initial_seed(), **{steps_name: steps}, **options
            )
            found: Tensor = attack(x, y)
            return found

        return call

    return make


def _pyautoattack(part: str, steps_name: str) -> Maker:
    def make(norm: str, epsilon: float, steps: int) -> Attack:
        library = peer("pyautoattack", "pyautoattack")

        def call(model: Counted, x: Tensor, y: Tensor) -> Tensor:
            cascade = library.AutoAttack(model, norm=THEIRS[norm], eps=epsilon, seed=torch.initial_seed())
            cascade.attacks_to_run = [part]
            for held in (cascade.apgd, cascade.fab, cascade.square):
                if hasattr(held, steps_name):
                    setattr(held, steps_name, steps)
            found: Tensor = cascade.run_standard_evaluation(x, y)[0]
            return found

        return call

    return make


def _adv_lib_apgd(norm: str, epsilon: float, steps: int) -> Attack:
    library = peer("adv_lib.attacks", "adv-lib")
    return lambda model, x, y: library.apgd(
        model, x, y, eps=epsilon, norm=float(POWER[norm]), n_iter=steps, loss_function="ce"
    )


def _adv_lib_fab(norm: str, epsilon: float, steps: int) -> Attack:
    library = peer("adv_lib.attacks", "adv-lib")
    return lambda model, x, y: library.fab(model, x, y, norm=float(POWER[norm]), n_iter=steps)


def _art(name: str, **options: Any) -> Maker:
    def make(norm: str, epsilon: float, steps: int) -> Attack:
        library, estimators = peer("art.attacks.evasion", "ART"), peer("art.estimators.classification", "ART")

        def call(model: Counted, x: Tensor, y: Tensor) -> Tensor:
            wrapped = estimators.PyTorchClassifier(
                model, loss=torch.nn.CrossEntropyLoss(), input_shape=x.shape[1:], nb_classes=10, clip_values=(0, 1)
            )
            size = {"eps_step": 2 * epsilon, "nb_random_init": 1} if name.startswith("Auto") else {}
            attack = getattr(library, name)(
                wrapped,
                norm=POWER[norm],
                eps=epsilon,
                max_iter=steps,
                batch_size=len(x),
                verbose=False,
                **size,
                **options,
            )
            np.random.seed(torch.initial_seed() % 2**32)
            return torch.from_numpy(attack.generate(x.numpy(), y.numpy())).to(x)

        return call

    return make


PARTS: dict[str, dict[str, Maker]] = {
    "APGD, cross-entropy": {
        "ours": _ours(lambda steps: APGD(steps=steps)),
        "torchattacks": _torchattacks("APGD", "steps"),
        "adv_lib": _adv_lib_apgd,
        "pyautoattack": _pyautoattack("apgd-ce", "n_iter"),
        "art": _art("AutoProjectedGradientDescent", loss_type="cross_entropy"),
    },
    "FAB": {
        "ours": _ours(lambda steps: FAB(steps=steps)),
        "torchattacks": _torchattacks("FAB", "steps", multi_targeted=True),
        "adv_lib": _adv_lib_fab,
        "pyautoattack": _pyautoattack("fab-t", "n_iter"),
    },
    "Square": {
        "ours": _ours(lambda queries: Square(queries=queries)),
        "torchattacks": _torchattacks("Square", "n_queries"),
        "pyautoattack": _pyautoattack("square", "n_queries"),
        "art": _art("SquareAttack"),
    },
}
STEPS = {"APGD, cross-entropy": 100, "FAB": 100, "Square": 1000}


def main() -> None:
    """A table for each attack and norm, at an epsilon that about half of the inputs fall to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=128, help="inputs (default 128)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default 3)")
    parser.add_argument("--threats", nargs="+", default=["linf:0.03", "l2:0.5"], help="NORM:EPSILON")
    parser.add_argument("--attacks", nargs="+", default=list(PARTS), choices=list(PARTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    there = {name for name in LIBRARIES if find_spec(name)} | {"ours"}
    print("not installed:", ", ".join(sorted(set(LIBRARIES) - there)) or "none")
    model, x, y = frozen(given.number)
    for threat in given.threats:
        norm, epsilon = threat.split(":")[0], float(threat.split(":")[1])
        score = scorer(model, x, y, norm=norm, epsilon=epsilon)
        for part in given.attacks:
            makers = {name: maker for name, maker in PARTS[part].items() if name in there}
            racers = {name: maker(norm, epsilon, STEPS[part]) for name, maker in makers.items()}
            results = race(racers, model, x, y, score=score, rounds=given.rounds)
            table(f"{part}, {STEPS[part]} steps, {norm} {epsilon:g}, {len(x)} inputs", results, len(x))
            if len(results) > 1:
                print(f"ours / fastest other: {ratio(results, 'ours'):.2f}")


if __name__ == "__main__":
    main()
