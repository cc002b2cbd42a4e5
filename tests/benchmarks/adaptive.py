"""Detectors and purifiers under single attacks and under `adaptive`: `python tests/benchmarks/adaptive.py`.

For each system: robust accuracy and core-seconds of every attack by itself, of `adaptive` with what its pilot kept, and how
many inputs each of its parts broke. The worst case over all attacks stands beside, with the inputs that `adaptive` missed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import harness
from harness.rank import failures

SINGLE: list[Any] = [
    "fgsm",
    "pgd",
    {"apgd": {"loss": "margin", "steps": 100}},
    {"apgd": {"loss": "rescaled_cross_entropy", "steps": 100}},
    {"apgd": {"loss": "margin", "targets": 3, "steps": 50}},
    {"square": {"queries": 1000}},
]
DEFENSES: list[Any] = [
    "none",
    "linear_map_svm",
    "feature_squeezing",
    "mahalanobis",
    "kernel_density",
    "pca_purifier",
    "gradient_purifier",
    "bit_depth",
]


def run(arguments: argparse.Namespace) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Records and outcomes of the systems."""
    before = [] if arguments.training is None else [arguments.training]
    defenses = [[*before, name] if before else name for name in arguments.defenses]
    grid = {
        "name": "adaptive",
        "datasets": [arguments.dataset],
        "victims": ["cnn"],
        "defenses": defenses,
        "attacks": [*SINGLE, "adaptive"],
        "threats": [{"norm": "linf", "epsilons": [arguments.epsilon], "knowledge": ["adaptive"]}],
        "inputs": arguments.inputs,
        "scrutiny": "light",
    }
    result = harness.run(grid, home=arguments.home, executor=arguments.executor, track=False)
    folder = Path(arguments.home) / "records"
    return [(r, pd.read_parquet(folder / f"{r['id']}.parquet")) for r in result.records if r["complete"]]


def missed(outcomes: pd.DataFrame) -> int:
    """Inputs that another attack broke and `adaptive` did not."""
    rows = outcomes[outcomes["cell"] == "attack"]
    broken = pd.Series(failures(rows), index=rows.index).astype(float)
    rate = broken.groupby([rows["index"], rows["attack"] == "adaptive"]).mean().unstack(fill_value=0.0)
    return int(((rate[False] > 0.01) & (rate[True] == 0)).sum()) if True in rate else 0


def show(record: dict[str, Any], outcomes: pd.DataFrame) -> None:
    """One system's table."""
    value = record["metrics"]["robust_accuracy"]["value"]
    clean = record["metrics"]["clean_accuracy"]["value"]
    print(f"\n{record['defense']}: clean {clean:.3f}, worst case {value:.3f}, missed by adaptive {missed(outcomes)}")
    for cell in record["cells"]:
        robust, seconds = cell["robust_accuracy"]["value"], cell["seconds"]
        pilot = cell.get("pilot")
        told = f" + pilot {pilot['seconds']:.1f} s, kept {'; '.join(pilot['kept'])}" if pilot else ""
        print(f"  {cell['attack']:48} {robust:.3f}  {seconds:7.1f} s{told}")
        for name, number in sorted(cell.get("parts", {}).items(), key=lambda item: -item[1]):
            print(f"      {name:44} broke {number}")
        if pilot:
            fell = sorted(pilot["fell"].items(), key=lambda item: -item[1])
            print(
                f"      in the pilot, of {pilot['inputs']}: " + ", ".join(f"{name} {number}" for name, number in fell)
            )
    print("  flags: " + (", ".join(flag["name"] for flag in record["flags"] if flag["fired"]) or "none"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--epsilon", type=float, default=0.03)
    parser.add_argument("--inputs", type=int, default=250)
    parser.add_argument("--defenses", nargs="+", default=DEFENSES)
    parser.add_argument("--training", help="a training defense before each of them")
    parser.add_argument("--executor", default="processes", choices=("processes", "serial"))
    parser.add_argument("--home", default="runs")
    for record, outcomes in run(parser.parse_args()):
        show(record, outcomes)


if __name__ == "__main__":
    main()
