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
0.1 on the circle, 0.2 on the plane, 5 steps of PGD), how nearby-normal risk was estimated."""
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
_IMAGES = """\
L2 budgets, worst case over all attacks of the grid, in one run of the harness: systems `zhang-1` on the board. The
classifier is a small network (cnn, trained to the accuracies below), where the paper has a ResNet18; the manifold is the
image of an autoencoder of 16 numbers, whose latent size the paper does not print, and its encoder projects. MNIST is
trained on 10,000 images; cifar10, at SVHN's budget, stands for SVHN, which cannot be had, and is not to be compared
with it. R_in is the worst of three attacks that stay on the manifold moved to each input, within e and 2e; R_nor moves
along the exact normal, up the gradient and in random directions; RHS is R_std + R_nor + R_in(2e) + NNR."""
_CAUSES = """\
The first cause of each lost input; the columns add up to R_adv. In these spaces of hundreds of dimensions nearly
all directions are normal: what a gradient attack breaks, the normal attack breaks too."""
_MOVES = """\
What each attack does to images that are right when clean (medians; an image leaves the search when it is fooled).
on object: the share of the squared perturbation on pixels brighter than 0.1, beside the share of such pixels; the paper
says that moves along the manifold change the object and moves across it the background. leakage: the share of the squared
perturbation that is normal to the manifold at the image, which the manifold's curvature leaves. farther: distance to
the manifold, less that of the clean image."""


def report(results: Sequence[Tables], runs: Sequence[Sequence[Row]]) -> str:
    """All sections: the toys, then the images with the records of their systems in the same order."""
    figures = printed("zhang")
    sections = ["# Zhang et al. 2024: adversarial risk along and across the manifold", _INTRODUCTION]
    toys = [result for result in results if "setting" in result]
    for result in toys:
        sections += [records(result["setting"], sorted(result["setting"][0]))]
        sections += _theorems(result)
        for number, name in (("table_1", "Circle (Table 1)"), ("table_2", "Plane (Table 2)")):
            sections += _toys(result[number], figures[number], name)
    sections += [_PRINTED]
    sections += _images([result for result in results if "moves" in result], runs, figures["table_3"])
    return "\n\n".join(sections) + "\n"


def _images(results: Sequence[Tables], runs: Sequence[Sequence[Row]], figures: dict[str, Any]) -> Iterator[str]:
    yield "## Images (Table 3)"
    yield _IMAGES
    risks = [(record["dataset"], risk) for run in runs for record in run for risk in record["risks"][:1]]
    header = ["data", "e", "images", "R_adv", "R_std", "R_in(e)", "R_in(2e)", "R_nor", "NNR", "NNR printed", "RHS"]
    names = ["adversarial", "standard", "in_manifold", "in_manifold_twice", "normal", "nearby_normal"]
    names += ["nearby_normal_printed", "bound"]
    yield table(
        header,
        [
            [data, risk["epsilon"], risk["inputs"], *(_share(risk["risks"][name]) for name in names)]
            for data, risk in risks
        ],
    )
    yield "Paper, ResNet18:"
    yield theirs(figures)
    yield table(
        ["data", "e", *(f"by {cause.replace('_', '-')}" for cause in CAUSES)],
        [[data, risk["epsilon"], *(_share(risk["causes"][cause]) for cause in CAUSES)] for data, risk in risks],
    )
    yield _CAUSES
    quality = ["data", "accuracy", "training_accuracy", "dimension", "distance", "relative"]
    yield records([row for result in results for row in result["manifold"]], quality)
    yield "distance: of clean test images to the manifold, median; relative: as a share of their distance to the mean image."
    moves = ["data", "attack", "success", "size", "share_on_object", "object", "leakage", "farther"]
    yield records([row for result in results for row in result["moves"]], moves)
    yield _MOVES


def _share(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


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
