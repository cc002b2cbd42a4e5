"""The study of Mahler et al. 2024 as Markdown: their figures in numbers, and the table that the paper lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leaderboard.papers._mahler_attacks import EVERY
from leaderboard.papers._mahler_circles import RADII
from leaderboard.papers._markdown import printed, table, theirs

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_INTRODUCTION = """\
The paper prints no table; its figures are given here as numbers, and its two examples of an attack as rates over many
starts. Ours, because the paper's data are not available or because it does not say: the renderer (seven vehicles of
blocks and wheels, diffuse light, plain background, 64 pixels), the window of views about each start, bandwidth (the
mean of d^2 / (rho rho) over the neighbours), 12 neighbours and 100 eigenfunctions for images, steps, budgets, how networks are
trained. Not run: VGG11 of experiment 3.1; its protocol, a manifold wider than what the network was trained on, is run on
the network of experiment 3.2."""
_CIRCLES = """\
Unit circle, 20 neighbours, 20 eigenfunctions. Coefficients are taken in the product weighted by the degrees D; the printed
sum lacks it, and with phi = D^-1/2 v shrinks everything to the middle."""
_FIGURE_1 = """\
Mean error against the value at the nearest point of the circle, by radius; radius noise 0.1. The fixed kernel is evaluated
by logarithms: written plainly, all its weights are 0, and the extension 0 / 0, from radius {radius:.2f} on. Printed CIDM
loses the nearest point far away, where the widest local scale wins; `ours` takes off all squared distances what the nearest
has beyond its gap, which changes nothing on the circle."""
_FIGURE_2 = """\
Projection onto a clean circle of points at a radius: largest error of the angle in radians, mean distance of what is found to
the circle. "Even very far" is false of the printed kernel: all of a far circle ends in one place."""
_NOISE = "Deviation of the radius before, and after projections: many eigenfunctions make the noise again."
_FIGURE_3 = """\
|cos| with the circle's tangent: dense and clean on one side, sparse and noisy on the other; in four dimensions the circle is
(cos t, sin t, cos 2t, sin 2t) / sqrt 5. Over the points of each seed: median, lowest tenth, worst; then the median of the seeds,
and the worst of all. SEC and carre du champ have 60 neighbours; local PCA with 60 in four dimensions is not in the
paper."""
_NETWORKS = """\
Accuracy with 95 % interval: clean test images; views up to {beyond:g} degrees outside the look-down angles trained on;
under PGD of 10 steps from a random start. The others continue from the first: `on-manifold-trained` on images changed
along the manifold of their class's training images, `trained longer` is its control, as many updates on images as they
are. One training of each: chance of training is in none of the intervals."""
_ATTACKS = """\
Starts that the network gives their class. inside: the manifold of views that the network was trained on (experiment 3.2);
beyond: {beyond:g} degrees of look-down angle more at either end (experiment 3.1), where an adversary may be a view that
the network has never seen. Searches take at most 30 steps of one local scale (mean distance to the 12 nearest views); no
ball, but for PGD one of one local scale in L2. Success: misclassified, and not so by the projection alone (`projection
alone`, and the row `projection only`: N is not the identity, so it must be asked). `random walk` is the same search with
random gradients; latent PGD goes along one decoder for all vehicles; the last row looks at every view that the manifold
is made of. `real image too`: of the successes, how often the rendered vehicle at the labels found is misclassified as
well."""
_MEDIANS = """\
Medians over successes: steps; size of the change; distance in local scales to the manifold (the input's to its own projection)
and to the real image at the labels found; degrees from the start by extension of the known labels."""
_DEVIATIONS = """\
A fixed step on the raw gradient, 10^6.38, belongs to the paper's network; here the tangent part is normalised. Algorithm 1
has no cap on its steps and gives back an input that is misclassified already; here there are 30 steps, and such starts
are left out and counted. What is found beyond is a shift of distribution rather than an error of the network on its own data,
as the authors say of experiment 3.1; the reflection of experiment 3.2 has no counterpart, as our light makes none."""


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    figures = printed("mahler")
    sections = ["# Mahler et al. 2024: on-manifold projected gradient descent", _INTRODUCTION]
    for result in results:
        sections += [table(["setting", "value"], sorted(result["setting"][0].items()))]
        sections += _circles(result)
        sections += _vehicles(result) if "attacks" in result else ()
    sections += ["## Printed: the two examples", theirs(figures["experiments"])]
    sections += ["## Claims", theirs(figures["claims"]), _DEVIATIONS]
    return "\n\n".join(sections) + "\n"


def _circles(result: Tables) -> Iterator[str]:
    radii = [f"{radius:g}" for radius in RADII]
    ways = ["D-weighted", "printed", "unit length"]
    yield "## Circles (Figures 1 to 3)"
    yield _CIRCLES
    yield "### Figure 1"
    yield _FIGURE_1.format(radius=result["underflow"][0]["radius"])
    yield _rounded(result["figure_1"], ["extension", *radii])
    yield "### Figure 2"
    yield _FIGURE_2
    yield _rounded(result["figure_2"], ["kernel", "density", "score", *radii])
    yield _NOISE
    yield _rounded(result["noise_left"], ["eigenfunctions", "before", "after 1", "after 2", "after 3"])
    yield "Mean error of the projection at the data, by the inner product of the coefficients."
    yield _rounded(result["inner_products"], ["density", *ways])
    yield "### Figure 3"
    yield _FIGURE_3
    yield _rounded(result["figure_3"], ["space", "tangent", "median", "tenth", "worst", "worst of all seeds"])


def _rounded(rows: Sequence[Row], columns: Sequence[str]) -> str:
    values = ([row[name] for name in columns] for row in rows)
    return table(columns, [[f"{v:.3f}" if isinstance(v, float) else v for v in line] for line in values])


def _vehicles(result: Tables) -> Iterator[str]:
    yield "## Vehicles (Figures 6 to 10)"
    yield "### Networks"
    beyond = result["setting"][0]["beyond"]
    yield _NETWORKS.format(beyond=beyond)
    yield _networks(result["networks"])
    yield "### Searches: the table that the paper lacks"
    yield _ATTACKS.format(beyond=beyond)
    yield table(
        ["window", "network", "search", "rate", "successes", "starts", "projection alone", "real image too"],
        [
            [
                *(row[name] for name in ("window", "network", "search")),
                _share(row, "rate"),
                *(row[name] for name in ("successes", "starts", "projection alone")),
                _too(row),
            ]
            for row in result["attacks"]
        ],
    )
    wrong = [f"{row['wrong']} {row['window']}, {row['network']}" for row in result["natural"] if row["wrong"]]
    yield f"Starts left out, as the network errs there: {'; '.join(wrong) or 'none'}."
    yield _MEDIANS
    names = ["steps", "L2", "Linf", "off manifold", "off real", "azimuth", "look-down"]
    successful = [row for row in result["attacks"] if row["successes"] and row["search"] != EVERY]
    yield table(
        ["window", "network", "search", *names],
        [
            [*(row[name] for name in ("window", "network", "search")), *(_short(row[name]) for name in names)]
            for row in successful
        ],
    )


def _networks(rows: Sequence[Row]) -> str:
    found = [name for name in rows[0] if f"{name} low" in rows[0]]
    scores = sorted(found, key=lambda name: (name not in ("clean", "beyond"), name == "beyond", name))
    lines = [[row["network"], row["images"], *(_share(row, name) for name in scores)] for row in rows]
    return table(["network", "images", *scores], lines)


def _too(row: Row) -> str | None:
    """Of successes, those that the real image is too; images of the window are real themselves."""
    real = row["search"] == EVERY or not row["successes"]
    return None if real else f"{row['real image too']} of {row['successes']}"


def _share(row: Row, name: str) -> str:
    prefix = "" if name == "rate" else f"{name} "
    return f"{row[name]:.3f} [{row[f'{prefix}low']:.3f}, {row[f'{prefix}high']:.3f}]"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
