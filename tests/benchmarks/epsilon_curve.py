"""A curve of eight epsilons as one search against eight searches: `python tests/benchmarks/epsilon_curve.py`.

The one search gives the larger epsilons only the survivors of the smaller, starting where those ended. Passes an input and
robust accuracy at each epsilon of both.
"""

from __future__ import annotations

import argparse
from typing import Any

import harness
from harness import api
from harness.spec import label
from harness.store import Store

ATTACKS: list[Any] = ["pgd", {"apgd": {"loss": "margin", "steps": 50}}]
SHARES = (0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)


def passes(grid: Any, home: str) -> dict[str, tuple[float, float, float]]:
    """Forwards, backwards and seconds of a grid's craft tasks, an input, by attack."""
    store = Store(api.home_folder(home) / "store")
    found: dict[str, list[float]] = {}
    for task in api.plan_of(api.read_grid(grid)).tasks.values():
        record = store.record(task.key)
        if task.kind != "craft" or task.check is not None or record is None or task.attempt is None:
            continue
        facts, sums = record["facts"], found.setdefault(label(task.attempt.attack), [0.0, 0.0, 0.0])
        for place, name in enumerate(("forwards", "backwards", "seconds")):
            sums[place] += facts[name]
    inputs = grid["inputs"]
    return {name: (a / inputs, b / inputs, c) for name, (a, b, c) in found.items()}


def grid(arguments: argparse.Namespace, epsilons: list[float], defense: Any) -> dict[str, Any]:
    return {
        "datasets": [arguments.dataset],
        "victims": ["cnn"],
        "defenses": [defense],
        "attacks": ATTACKS,
        "threats": [{"norm": "linf", "epsilons": epsilons, "knowledge": ["adaptive"]}],
        "inputs": arguments.inputs,
        "scrutiny": "light",
    }


def robust(record: dict[str, Any]) -> dict[tuple[str, float], float]:
    return {(c["attack"], c["epsilon"]): c["robust_accuracy"]["value"] for c in record["cells"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--inputs", type=int, default=250)
    parser.add_argument("--defenses", nargs="+", default=["none", "adversarial_training"])
    parser.add_argument("--home", default="runs")
    arguments = parser.parse_args()
    epsilons = [round(share * arguments.epsilon, 6) for share in SHARES]
    for defense in arguments.defenses:
        together = grid(arguments, epsilons, defense)
        apart = [grid(arguments, [epsilon], defense) for epsilon in epsilons]
        curve = robust(harness.run(together, home=arguments.home, track=False).records[0])
        points: dict[tuple[str, float], float] = {}
        for single in apart:
            points |= robust(harness.run(single, home=arguments.home, track=False).records[0])
        one, each = passes(together, arguments.home), [passes(single, arguments.home) for single in apart]
        for name in one:
            sums = [sum(point[name][place] for point in each) for place in range(3)]
            ratio = sum(one[name][:2]) / sum(sums[:2])
            print(f"\n{defense}, {name}: passes of the curve over those of eight runs {ratio:.2f}")
            print(
                f"  forwards {one[name][0]:.1f} against {sums[0]:.1f}, backwards {one[name][1]:.1f} against {sums[1]:.1f}"
            )
            print(f"  seconds {one[name][2]:.1f} against {sums[2]:.1f}")
            rows = [(e, curve[name, e], points[name, e]) for e in epsilons if (name, e) in curve]
            print("  epsilon " + " ".join(f"{e:7.3f}" for e, _, _ in rows))
            print("  curve   " + " ".join(f"{a:7.3f}" for _, a, _ in rows))
            print("  apart   " + " ".join(f"{b:7.3f}" for _, _, b in rows))


if __name__ == "__main__":
    main()
