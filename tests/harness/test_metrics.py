"""Each metric of a system that may reject, by hand on a few inputs, and what the judge asks of a random one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from harness import registry
from harness.draws import CounterDraws
from harness.rank import wilson
from harness.system import Judge, System
from harness.types import Interval, Loaded, Threat

HEADLINE = Threat("linf", 0.2, "adaptive")
N = 40


def rows(cell: str, attack: str = "", **columns: Any) -> pd.DataFrame:
    """Forty inputs, seen once: right, accepted, inside the ball unless a column says otherwise."""
    made = pd.DataFrame({"index": np.arange(N), "cell": cell, "attack": attack, "check": "", "draw": 0, "label": 0})
    ball = ("linf", 0.2, "adaptive") if attack else ("", 0.0, "")
    made = made.assign(norm=ball[0], epsilon=ball[1], knowledge=ball[2], role="score", prediction=0, margin=-1.0)
    return made.assign(**({"accepted": True, "valid": True, "attacked": bool(attack)} | columns))


def value(name: str, *parts: pd.DataFrame, rejects: bool = True) -> Interval | None:
    outcomes = pd.concat(parts, ignore_index=True)
    outcomes.attrs["rejects"] = rejects
    found: Interval | None = registry.load("metric", name)()(outcomes, HEADLINE)
    return found


def below(limit: int) -> np.ndarray[Any, Any]:
    """The inputs before `limit`."""
    return np.arange(N) < limit


CLEAN = rows("clean", accepted=~below(4), prediction=(np.arange(N) >= 38).astype(int))


def test_rejected_and_wrong_clean_inputs() -> None:
    """Four of forty are rejected, two more are wrong."""
    assert value("clean_accuracy", CLEAN) == wilson(34, 40)
    assert value("false_positive_rate", CLEAN) == wilson(4, 40)
    assert value("false_positive_rate", CLEAN, rejects=False) is None


def test_strict_accuracy_counts_what_is_rejected_under_attack() -> None:
    """Of the 34 left, one attack gets 6 rejected and another 8 wrong, of which 3 are the same; what is invalid does not count."""
    first = rows("attack", "pgd", accepted=~below(10))
    second = rows("attack", "fgsm", prediction=((np.arange(N) >= 7) & below(15)).astype(int))
    assert value("strict_accuracy", CLEAN, first, second) == wilson(38 - 15, 40)
    assert value("robust_accuracy", CLEAN, first, second) == wilson(38 - 4 - 8, 40)
    outside = rows("attack", "fgsm", prediction=1, valid=False)
    assert value("strict_accuracy", CLEAN, first, outside) == wilson(38 - 10, 40)
    assert value("strict_accuracy", CLEAN, first, rejects=False) is None
    assert value("strict_accuracy", CLEAN) is None


def test_availability() -> None:
    """Thirty inputs are attacked: twelve end rejected, two of them outside the ball, where it does not count."""
    valid = np.arange(N) >= 2
    tried = rows("availability", "availability", accepted=~below(12), attacked=below(30), valid=valid)
    assert value("availability", CLEAN, tried) == wilson(18, 28)
    assert value("availability", CLEAN) is None


def test_noise_acceptance() -> None:
    """The noise of a quarter of epsilon, and no other."""
    near = rows("shift uniform_noise(epsilon=0.05)", accepted=~below(10))
    far = rows("shift uniform_noise(epsilon=0.1)", accepted=False)
    assert value("noise_acceptance", CLEAN, near, far) == wilson(30, 40)
    assert value("noise_acceptance", CLEAN, far) is None
    assert value("noise_acceptance", CLEAN, near, rejects=False) is None


def test_detection_takes_the_lowest_score_of_each_misclassified_input() -> None:
    """Clean margins 0 to 39, in tenths; two attacks, one of which is found out above all clean inputs and one below most."""
    seen = np.arange(N) / 10
    clean = rows("clean", margin=seen)
    loud = rows("attack", "pgd", prediction=below(30).astype(int), margin=9.0, accepted=False)
    soft = rows("attack", "fgsm", prediction=below(12).astype(int), margin=0.35)
    auroc, caught = value("auroc", clean, loud, soft), value("true_positive_rate", clean, loud, soft)
    own = seen[:30]
    lowest = np.where(below(12)[:30], 0.35, 9.0)
    assert auroc is not None
    assert auroc.value == pytest.approx((lowest[:, None] > own).mean())
    assert caught == wilson(18, 30)
    at_the_limit = rows("attack", "pgd", prediction=below(30).astype(int), margin=3.7)
    assert value("true_positive_rate", clean, at_the_limit) == wilson(0, 30)  # two of forty lie above: no more than 5 %
    assert value("true_positive_rate", clean, at_the_limit.assign(margin=3.75)) == wilson(30, 30)
    assert value("auroc", clean, soft.assign(prediction=below(9).astype(int))) is None


def test_strict_accuracy_of_a_random_system_is_counted_on_fresh_draws() -> None:
    """Twelve attacks that each get an input rejected in three passes of ten; the worst of them by chance is no worse."""
    generator = np.random.default_rng(0)

    def passes(attack: str, rate: float) -> list[pd.DataFrame]:
        cell = "attack" if attack else "clean"
        return [
            rows(cell, attack, draw=draw, role="select" if draw < 20 else "score", accepted=generator.random(N) > rate)
            for draw in range(70)
        ]

    made = [part for number in range(12) for part in passes(f"a{number}", 0.3)] + passes("", 0.0)
    found = value("strict_accuracy", *made)
    assert found is not None
    assert found.value == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / (50 * N)))
    left = rows("attack", "late", attacked=False, role="select")
    assert value("strict_accuracy", *made, left) == found


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_detection_by_a_random_score_is_that_of_one_pass(apart: float) -> None:
    """Normal scores, drawn anew in each pass: the lowest of a hundred would look as if nothing were found."""
    generator, inputs, frames = np.random.default_rng(0), 400, []
    for attack in ("", "pgd", "fgsm"):
        for draw in range(60):
            part = pd.DataFrame({"index": np.arange(inputs), "cell": "attack" if attack else "clean", "attack": attack})
            part["margin"] = generator.normal(apart if attack else 0.0, 1.0, inputs) + (
                3.0 if attack == "fgsm" else 0.0
            )
            frames.append(part.assign(draw=draw, role="select" if draw < 20 else "score", prediction=int(bool(attack))))
    made = pd.concat(frames, ignore_index=True)
    ball = made["cell"] == "attack"
    made = made.assign(
        norm=np.where(ball, "linf", ""),
        epsilon=np.where(ball, 0.2, 0.0),
        knowledge=np.where(ball, "adaptive", ""),
        label=0,
        check="",
        accepted=True,
        valid=True,
        attacked=ball,
    )
    found = value("auroc", made)
    assert found is not None
    assert found.value == pytest.approx(stats.norm.cdf(apart / np.sqrt(2)), abs=3 * 0.02)
    caught, expected = value("true_positive_rate", made), stats.norm.sf(stats.norm.ppf(0.95) - apart)
    assert caught is not None
    assert caught.value == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / inputs))


@pytest.mark.parametrize(("failures", "fooled"), [(18, False), (19, True), (20, True)])
def test_nineteen_of_twenty_draws_must_fail(failures: int, fooled: bool) -> None:
    """A purifier that changes the label in so many of the twenty draws by which the judge decides."""
    calls: list[int] = []

    def flips(x: Tensor, draws: CounterDraws) -> Tensor:
        calls.append(1)
        return torch.full_like(x, float(len(calls) <= failures))

    system = System(lambda x: torch.stack([1 - x[:, 0], x[:, 0]], 1), (Loaded("purifier", "flips", flips, True),))
    x, draws = torch.zeros(1, 1), CounterDraws("judge", torch.arange(1))
    broken = Judge(system, "linf", None)(x, x, torch.zeros(1, dtype=torch.long), 0.1, draws)
    assert len(calls) == 20
    assert broken.tolist() == [fooled]
