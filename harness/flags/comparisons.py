"""Flags that compare two kinds of attacks: where the weaker breaks what the stronger does not, gradients mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.flags._flag import BLACK, SINGLE, Flag, enough, listed, open_question
from harness.flags._inputs import at_headline, attacked, broken, held, seen
from harness.rank import counted, one_sided, wilson
from harness.types import Threat

if TYPE_CHECKING:
    import pandas as pd

LEAST = 0.006  # of the inputs: fewer prove nothing


@dataclass(frozen=True)
class _Compared:
    """Inputs that only the weaker attacks broke, tried again and not broken (b), and those that only the stronger broke (c).

    alone: b before they were tried again; tried: whether they were; number: inputs in all.
    """

    b: set[int]
    c: set[int]
    alone: set[int]
    tried: bool
    number: int

    @property
    def how(self) -> str:
        """What became of the inputs that only the weaker attacks broke."""
        return f"left of {len(self.alone)} after four times the steps" if self.tried else "not tried again"


def _compared(
    table: pd.DataFrame, headline: Threat, name: str, *, weaker: pd.Series, stronger: pd.Series
) -> _Compared | None:
    """The comparison; None where one side made no attack. An input that the weaker was not given counts for the stronger."""
    weak, strong = (at_headline(table, headline, attacks=side) for side in (weaker, stronger))
    if not len(weak) or not len(strong):
        return None
    clean = held(table)
    fell, stood = broken(weak) & clean, broken(strong) & clean
    checks = table[counted(table, headline) & (table["check"] != "") & stronger]
    alone, again = fell - stood, table[(table["check"] == name) & (table["cell"] == "attack")]
    b = (alone & attacked(again) if len(again) else alone) - broken(checks)
    return _Compared(b, stood - fell, alone, bool(len(again)), len(seen(weak)))


def _black_box(table: pd.DataFrame, headline: Threat) -> pd.Series:
    """The rows of attacks without gradients of the system that the headline is about (attrs: defended; needs, by attack)."""
    blind = table["attack"].map(table.attrs["needs"]).fillna("gradient") != "gradient"
    hidden = headline.knowledge == "adaptive" and table.attrs["defended"]
    return blind | (table["knowledge"] == "oblivious") if hidden else blind


def single_step(table: pd.DataFrame, headline: Threat) -> Flag:
    """FGSM breaks inputs that no iterative attack does, more than the other way round (exact one-sided McNemar)."""
    white = ~_black_box(table, headline)
    fgsm = table["attack"].str.split("(").str[0] == "fgsm"
    found = _compared(table, headline, SINGLE, weaker=white & fgsm, stronger=white & ~fgsm)
    if found is None:
        return open_question(SINGLE, "needs fgsm and an iterative attack at the headline")
    b, c = len(found.b), len(found.c)
    p = one_sided(b, c)
    fired = b > c and p < 0.01 and enough(b, found.number, LEAST)
    text = f"fgsm alone broke {b} of {found.number} inputs ({found.how}), iterative attacks alone {c} (p = {p:.2g})"
    evidence = {"b": b, "c": c, "p": p, "n": found.number, "alone": len(found.alone), "inputs": listed(found.b)}
    return Flag(SINGLE, fired, text, b / found.number, evidence)


def black_box(table: pd.DataFrame, headline: Threat) -> Flag:
    """Noise, queries or transfer break inputs that no attack with gradients of the system does."""
    black = _black_box(table, headline)
    found = _compared(table, headline, BLACK, weaker=black, stronger=~black)
    if found is None:
        return open_question(BLACK, "needs a black-box and a white-box attack at the headline")
    b, c, n = len(found.b), len(found.c), found.number
    low = wilson(b, n).low
    text = (
        f"black-box attacks alone broke {b} of {n} inputs ({found.how}; lower bound {100 * low:.2f} %, allowed 0.2 %)"
    )
    evidence = {"b": b, "c": c, "p": one_sided(b, c), "n": n, "low": low, "alone": len(found.alone)}
    fired = low > 0.002 and enough(b, n, LEAST)
    return Flag(BLACK, fired, text, b / n, evidence | {"inputs": listed(found.b)})
