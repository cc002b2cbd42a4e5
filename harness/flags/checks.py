"""Flags from cells of their own: twice epsilon, the whole box, doubled steps, images beside the same; from a search's loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.flags._flag import CONVERGED, MONOTONE, RANGE, TWINS, Flag, enough, listed, open_question
from harness.flags._inputs import at_headline, attacked, broken, held, seen
from harness.metrics._roc import area_interval, auroc
from harness.rank import counted, wilson
from harness.types import Threat

if TYPE_CHECKING:
    import pandas as pd

LOST = 0.06  # of the inputs broken at epsilon: so many may be lost at twice epsilon
GAIN = 0.01  # of all inputs: what doubled steps may still break
SIDE = 30  # inputs on either side of a comparison of losses
TWIN = 20  # inputs on either side of a comparison with moved images
HARMLESS = 0.85  # of the accuracy must be left on images beside the same; a cnn on Fashion-MNIST keeps .93, an mlp on digits .97
SEARCHES = ("pgd", "apgd")


@dataclass(frozen=True)
class _Tried:
    """The inputs that a check attacked, and those of them that it broke."""

    attacked: set[int]
    broken: set[int]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Tried:
        given = attacked(rows)
        return cls(given, broken(rows) & given)

    @property
    def held(self) -> set[int]:
        return self.attacked - self.broken


def _check(table: pd.DataFrame, flag: str, cell: str = "attack") -> pd.DataFrame:
    return table[(table["check"] == flag) & (table["cell"] == cell)]


def not_monotone(table: pd.DataFrame, headline: Threat) -> Flag:
    """Inputs broken at epsilon are not broken, from scratch, at twice epsilon."""
    rows = _check(table, MONOTONE)
    tried = _Tried.of(rows)
    number, lost = len(tried.attacked), tried.held
    if not number:
        why = "no input was broken at the headline" if len(rows) else "nothing was attacked at twice epsilon"
        return open_question(MONOTONE, why)
    epsilon = float(rows["epsilon"].max())
    text = f"{len(lost)} of {number} inputs broken at epsilon {headline.epsilon:g} stand at {epsilon:g}, from scratch"
    evidence = {"lost": len(lost), "n": number, "epsilon": epsilon, "inputs": listed(lost)}
    return Flag(MONOTONE, enough(len(lost), number, LOST), text, len(lost) / number, evidence)


def survives_full_range(table: pd.DataFrame) -> Flag:
    """With the whole box to move in, more inputs survive than a guess would get right."""
    tried = _Tried.of(_check(table, RANGE))
    if not tried.attacked:
        return open_question(RANGE, "nothing was attacked over the full range")
    guess = 1 / int(table.attrs["classes"])
    share = wilson(len(tried.held), len(tried.attacked))
    text = (
        f"{len(tried.held)} of {len(tried.attacked)} inputs stand though every value may change "
        f"(lower bound {100 * share.low:.1f} %, a guess {100 * guess:.1f} %)"
    )
    evidence = {"held": len(tried.held), "n": len(tried.attacked), "low": share.low, "guess": guess}
    return Flag(RANGE, share.low > guess, text, share.value, evidence | {"inputs": listed(tried.held)})


def not_converged(table: pd.DataFrame, headline: Threat) -> Flag:
    """Doubled steps break more than a point of all inputs among those that stood; a restart of equal cost stands beside it."""
    rows = _check(table, CONVERGED)
    if not len(rows):
        return open_question(CONVERGED, "no search with doubled steps")
    again = rows["attack"].str.contains("restarts=", regex=False)
    doubled, restart = _Tried.of(rows[~again]), _Tried.of(rows[again])
    tried, fell = len(doubled.attacked), len(doubled.broken)
    standing = _standing(table, headline)
    share = wilson(fell, tried) if tried else wilson(0, 1)
    gain = standing * share.value
    text = (
        f"doubled steps broke {fell} of {tried} survivors, a restart of equal cost {len(restart.broken)}: "
        f"{100 * gain:.1f} points of robust accuracy (lower bound {100 * standing * share.low:.1f}, allowed 1)"
    )
    evidence = {"broken": fell, "n": tried, "restart_broken": len(restart.broken), "survivors": standing}
    fired = bool(tried) and standing * share.low > GAIN
    return Flag(
        CONVERGED, fired, text, gain, evidence | {"low": standing * share.low, "inputs": listed(doubled.broken)}
    )


def _standing(table: pd.DataFrame, headline: Threat) -> float:
    """The share of the inputs that are right when clean and that no attack of the grid broke."""
    rows = at_headline(table, headline)
    inputs = seen(rows)
    return len((inputs & held(table)) - broken(rows)) / len(inputs) if inputs else 0.0


def twins(table: pd.DataFrame, headline: Threat) -> Flag:
    """On images beside the test images robustness is less than half of that on themselves (Fisher's exact test).

    Those beside them (`harness.twins`) are attacked where they are right, by one search; the test images by everything that
    counts: what is left of memorised ones stands, while a search alone is caught by ragged gradients more often on some
    images than on others.
    """
    moved, own = (_Tried.of(_check(table, TWINS, cell)) for cell in ("moved", "attack"))
    own = _Tried(own.attacked, own.attacked & broken(table[counted(table, headline)]))
    if min(len(moved.attacked), len(own.attacked)) < TWIN:
        given = f"{len(own.attacked)} and {len(moved.attacked)}"
        return open_question(TWINS, f"needs {TWIN} attacked images and as many moved ones, not {given}")
    left = _reached(table, moved) / _reached(table, own)
    if left < HARMLESS:
        why = f"without any attack {100 * left:.0f} % of the accuracy is left on images beside the test images"
        return open_question(TWINS, f"{why}; needs {100 * HARMLESS:g} %", {"left": left})
    from scipy import stats

    counts = np.array([[len(tried.held), len(tried.broken)] for tried in (moved, own)])
    p = float(stats.fisher_exact(counts, alternative="less").pvalue)
    shares = [len(tried.held) / len(tried.attacked) for tried in (moved, own)]
    text = (
        f"robust on images beside the test images: {len(moved.held)} of {len(moved.attacked)}, "
        f"on the images themselves {len(own.held)} of {len(own.attacked)} (p = {p:.2g})"
    )
    evidence: dict[str, float] = {
        "left": left,
        "moved": shares[0],
        "own": shares[1],
        "n_moved": len(moved.attacked),
        "n": len(own.attacked),
        "p": p,
    }
    fired = shares[0] < shares[1] / 2 and p < 0.01
    return Flag(TWINS, fired, text, shares[0], evidence | {"inputs": listed(moved.broken & own.held)})


def _reached(table: pd.DataFrame, tried: _Tried) -> float:
    """The share of right inputs up to the last that was attacked, in the order of the test set."""
    clean = table.loc[table["cell"] == "clean", "index"].unique()
    return len(tried.attacked) / (1 + int(np.isin(clean, list(tried.attacked)).nonzero()[0].max()))


def inconsistent_loss(table: pd.DataFrame, headline: Threat) -> Flag:
    """The final loss of a search does not tell the inputs that it broke from those that survived it: it climbs something else."""
    name = "inconsistent-loss"
    rows = at_headline(table, headline)
    family = rows["attack"].str.split("(").str[0].isin(SEARCHES)
    largest = rows["epsilon"] >= headline.epsilon * (1 - 1e-9)
    rows = rows[family & largest & (rows["knowledge"] == "adaptive") & rows["attacked"] & rows["loss"].notna()]
    found: dict[str, dict[str, float]] = {}
    for attack, cell in rows.groupby("attack", sort=False):
        losses = [cell.loc[cell["broken"] == side, "loss"].to_numpy(dtype=float) for side in (False, True)]
        if min(map(len, losses)) >= SIDE:
            area = area_interval(auroc(*losses), len(losses[1]), len(losses[0]))
            found[str(attack)] = {
                "auc": area.value,
                "high": area.high,
                "broken": len(losses[1]),
                "held": len(losses[0]),
            }
    if not found:
        return open_question(name, f"no search with a loss broke {SIDE} inputs and left {SIDE}")
    worst = min(found, key=lambda attack: found[attack]["high"])
    area_, high = found[worst]["auc"], found[worst]["high"]
    text = f"final loss of broken above surviving inputs: area {area_:.2f} (upper bound {high:.2f}) for {worst}; sound: at least .9"
    return Flag(name, high < 0.9, text, None if math.isnan(area_) else area_, found[worst] | {"attacks": found})
