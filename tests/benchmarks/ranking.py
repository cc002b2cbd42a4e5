"""Seconds and memory of ranking many systems of one group, beside a plain loop over their pairs.

python tests/benchmarks/ranking.py --systems 1000 10000 --inputs 1000              # 0 or 1 an input
python tests/benchmarks/ranking.py --systems 10000 --random 1 --missing 0.2        # probabilities, inputs not seen by all
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from harness.pairs import better
from harness.rank import SIGNIFICANCE, paired, ranked

HEADLINE = {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}


def systems(number: int, inputs: int, *, random: float, missing: float) -> np.ndarray[Any, Any]:
    """(systems, inputs): what systems of different strength hold, nan where an input was not seen."""
    generator = np.random.default_rng(0)
    strength, hardness = generator.normal(0, 1.5, number), generator.normal(0, 1, inputs)
    table = np.empty((number, inputs))
    for row, each in zip(table, strength, strict=True):
        chance = 1 / (1 + np.exp(hardness - each))
        row[:] = (
            generator.binomial(20, chance) / 20 if generator.random() < random else generator.random(inputs) < chance
        )
        row[generator.random(inputs) < missing] = np.nan
    return table


def record(place: int, row: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A record with no more than ranking reads."""
    index = np.flatnonzero(~np.isnan(row))
    return {
        "suite": "s", "dataset": "d", "victim": "v", "headline": HEADLINE, "defense": f"system {place}", "roles": [],
        "metrics": {"robust_accuracy": {"value": float(np.nanmean(row))}},
        "per_input": {"index": index.tolist(), "robust": row[index].tolist()},
    }  # fmt: skip


def main() -> None:
    """Print a line for each number of systems, then what a plain loop needs for a pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--random", type=float, default=0.0, help="share of systems with probabilities")
    parser.add_argument("--missing", type=float, default=0.0, help="share of inputs that a system has not seen")
    given = parser.parse_args()
    for number in given.systems:
        table = systems(number, given.inputs, random=given.random, missing=given.missing)
        records = [record(i, row) for i, row in enumerate(table)]
        wall, used = time.perf_counter(), time.process_time()
        ranked(records)
        wall, used = time.perf_counter() - wall, time.process_time() - used
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{number:,} systems, {given.inputs:,} inputs: {wall:.2f} s ({used:.2f} s of CPU), peak {memory:.2f} GB")
    few = systems(60, given.inputs, random=given.random, missing=given.missing)
    used = time.process_time()
    for i in range(len(few)):
        for j in range(i):
            paired(few[i], few[j])
    a_pair = (time.process_time() - used) / (len(few) * (len(few) - 1) / 2)
    pairs = given.systems[-1] * (given.systems[-1] - 1) // 2
    print(
        f"a plain loop: {1e6 * a_pair:.0f} µs a pair, {pairs * a_pair:,.0f} s of CPU for {given.systems[-1]:,} systems"
    )
    assert better(few, level=SIGNIFICANCE).max() > 0


if __name__ == "__main__":
    main()
