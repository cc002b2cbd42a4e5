"""The studies of Zhang et al. 2024 as Markdown: our risks beside the printed ones, and what is wrong with the theorems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from geometry.risk.decomposition import CAUSES
from leaderboard.papers._markdown import printed, records, table, theirs

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_INTRODUCTION = """\
Same toy sets; risks by quadrature over the manifold, adversaries by grid search with refinement, where the paper has
1,000 points and PGD. Not printed, so ours: width 64, ReLU, logistic loss, batches of 100, the budget of f_adv (L_inf
0.1 on the circle, 0.2 on the plane, 5 steps of PGD), how nearby-normal risk was estimated. Left out: Table 3 and the
figures."""
_THEOREMS = """\
Budget 0.1, L2. bound = standard + normal(e) + in_manifold(2e) + nearby_normal(e); bound_printed has event A at 2e, as
definition 4 prints it. Theorem 1 (I) is false as printed: in the first row it says 1 <= 0.02, since inputs whose normal
adversary lies between e and 2e fall through; with A at e it holds. Part II (no normal risk, so adversarial <= standard
+ in_manifold) needs data on all of the manifold: the second row has 0.178 > 0. Theorem 2's adversarial risk is n l2 +
(n-1) min(l1, sqrt(3) e) + 2 min(l1, sqrt(3)/2 e): it is 1 from n = 10 here, not for every n > 5.8, as the two end
intervals have a neighbour on one side only."""
_COMPARED = """\
L_inf budgets, as in the paper. R_adv and RHS are ours (repaired reading), beside the printed ones; `labels` is the rule
itself as the classifier, for which standard, normal and nearby-normal risk are 0."""
_TERMS = """\
Terms at L_inf and L2. in_e and in_2e: on the manifold within e and 2e. nnr and nnr_printed: event A at e and at 2e.
Attribution: the first cause of each fooled input; the columns add up to adv. The theorem is about L2; in L_inf the
projection of an adversary may lie beyond 2e."""
_PRINTED = """\
Printed slips: RHS of f_adv at 0.02, double, 0.2525, lies far above its neighbours; RHS of f falls from 0.25 to 0.3 in
both halves, where only nearby-normal risk can fall. Their R_adv is that of L_inf: the theorem's budget is L2. A bound
above 1 says nothing; and as every risk is found by attack, from below, sums above R_adv confirm nothing and Table 3's
sum below it on MNIST (0.589 < 0.856) refutes nothing."""


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    figures = printed("zhang")
    sections = ["# Zhang et al. 2024: adversarial risk along and across the manifold", _INTRODUCTION]
    for result in results:
        sections += [records(result["setting"], sorted(result["setting"][0]))]
        sections += _theorems(result)
        for number, name in (("table_1", "Circle (Table 1)"), ("table_2", "Plane (Table 2)")):
            sections += _toys(result[number], figures[number], name)
    sections += [_PRINTED, "## Paper, images (Table 3), not regenerated", theirs(figures["table_3"])]
    return "\n\n".join(sections) + "\n"


def _theorems(result: Tables) -> Iterator[str]:
    yield "## Theorems 1 and 2 on examples with known risks"
    names = ["known", "adversarial", "standard", "normal", "in_manifold_twice", "nearby_normal"]
    yield records(result["theorems"], ["example", *names, "nearby_normal_printed", "bound", "bound_printed"])
    yield _THEOREMS


def _toys(rows: Sequence[Row], figures: dict[str, Any], name: str) -> Iterator[str]:
    if not rows:
        return
    yield f"## {name}"
    yield _COMPARED
    for boundary, theirs_ in figures.items():
        own = [row for row in rows if row["boundary"] == boundary]
        yield f"{boundary.capitalize()} boundary:"
        yield _beside(own, theirs_["rows"])
    yield _TERMS
    yield _terms(rows)


def _beside(rows: Sequence[Row], figures: Sequence[Sequence[float]]) -> str:
    """R_adv and RHS of the labels, f and f_adv, the last two with the printed figures after each."""
    at = {(row["classifier"], row["epsilon"]): row for row in rows if row["norm"] == "linf"}
    header = ["epsilon", "labels R_adv", "labels RHS"]
    header += [
        f"{net} {what}{paper}" for net in ("f", "f_adv") for what in ("R_adv", "RHS") for paper in ("", ", paper")
    ]
    lines = []
    for epsilon, *numbers in figures:
        ours = [at[net, epsilon][what] for net in ("labels", "f", "f_adv") for what in ("adversarial", "bound")]
        pairs = [value for pair in zip(ours[2:], numbers, strict=True) for value in pair]
        lines.append([f"{epsilon:g}", *(f"{value:.4f}" for value in [*ours[:2], *pairs])])
    return table(header, lines)


def _terms(rows: Sequence[Row]) -> str:
    short = {
        "std": "standard",
        "nor": "normal",
        "in_e": "in_manifold",
        "in_2e": "in_manifold_twice",
        "nnr": "nearby_normal",
        "nnr_printed": "nearby_normal_printed",
        "bound": "bound",
        "adv": "adversarial",
    }
    short |= {f"by {cause.replace('_', '-')}": f"by_{cause}" for cause in CAUSES}
    header = ["boundary", "net", "norm", "epsilon", *short]
    lines = [
        [
            row["boundary"],
            row["classifier"],
            row["norm"],
            f"{row['epsilon']:g}",
            *(f"{row[key]:.4f}" for key in short.values()),
        ]
        for row in rows
        if row["classifier"] != "labels"
    ]
    return table(header, lines)
