"""The study of Tu et al. 2023 as Markdown: purification under patches beside the printed figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaderboard.papers._markdown import printed, records, table, theirs

Tables = dict[str, list[dict[str, Any]]]

_INTRODUCTION = """\
A classifier that reads the codes of a variational autoencoder (Fashion-MNIST in place of faces), a patch at a fixed place, and
ascent on the evidence lower bound at test time, without a bound on the move and without knowledge of the place. The
paper's attacker does not know of the purification. Here each attack is made in four ways: oblivious, on the classifier alone;
through a few smooth steps of the ascent (surrogate); through the purified input's gradient as if the ascent changed
nothing (identity); on the classifier alone, held to where the bound is that of clean images (bound). Accuracies in %
with 95 % intervals; the judge's random numbers are none that an attacker has seen. The last three attackers face the
largest number of steps; worst: right under all of them."""
_LEFT = """\
As in the paper, clean accuracy is lost to the purification, the more the longer it goes on: without a bound and without a stop
(`radius`, `enough`) an image is forgotten in the end. Not regenerated: the figures on flows, diffusion models and grid
priors."""


def report(results: Sequence[Tables]) -> str:
    """The table of each study and the paper's."""
    sections = ["# Tu et al. 2023: purification by the evidence bound under patches", _INTRODUCTION]
    for result in results:
        sections += [records(result["setting"], list(result["setting"][0]))]
        rows = result["table_1"]
        numbers = sorted(int(name.split()[1]) for name in rows[0] if name.startswith("after ") and name != "after none")
        columns = ["after none", *(f"after {number}" for number in numbers)]
        titles = ["no purification", *(f"{number} steps" for number in numbers)]
        lines = [[row["attack"], row["knows"], *(_share(row.get(name)) for name in columns)] for row in rows]
        sections += [table(["attack", "attacker", *titles], lines)]
    sections += ["Paper (attacker oblivious):", theirs(printed("tu")["table_1"]), _LEFT]
    return "\n\n".join(sections) + "\n"


def _share(found: dict[str, float] | None) -> str | None:
    return None if found is None else f"{100 * found['value']:.1f} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"
