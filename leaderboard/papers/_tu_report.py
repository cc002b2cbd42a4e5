"""The studies of Tu et al. 2023 as Markdown: purification under patches beside the printed figures, densities, samplers, grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from leaderboard.papers._markdown import printed, records, table, theirs

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_PURIFICATION = """\
A classifier that reads the codes of a variational autoencoder (Fashion-MNIST in place of faces), a patch at a fixed place, and
ascent on the evidence lower bound at test time, without a bound on the move and without knowledge of the place. The
paper's attacker does not know of the purification. Here each attack is made in four ways: oblivious, on the classifier alone;
through a few smooth steps of the ascent (surrogate); through the purified input's gradient as if the ascent changed
nothing (identity); on the classifier alone, held to where the bound is that of clean images (bound). Accuracies in %
with 95 % intervals; the judge's random numbers are none that an attacker has seen. The last three attackers face the
largest number of steps; worst: right under all of them."""
_FORGOTTEN = """\
As in the paper, clean accuracy is lost to the purification, the more the longer it goes on: without a bound and without a stop
(`radius`, `enough`) an image is forgotten in the end."""
_ORDERS = """\
Normal data, whose denoiser and whose probability-flow solution are known; walks in equal steps of the noise's deviation, from 5
to 0. An evaluation is a pass of the denoiser: Runge-Kutta takes four a step. Order: minus the slope of log error."""
_SAMPLES = """\
A diffusion model of a Swiss roll in the plane. Distance: sliced Wasserstein-1 from fresh points, mean and range of repeats; its
floor is that between two sets of fresh points. Off: root mean square distance from the end of a fine walk from the same
noise. The paper compares strides, at which Runge-Kutta costs four times as much, and has no number."""
_CHAINS = """\
Equation 23 on normal data with the exact denoiser, in nats: right, with the variance that is exact for the data's variance;
printed, with the first of equation 19, which is exact for variance 1. Of {times} times, stride k uses every k-th."""
_POINTS = """\
The same on points, by the model of the Swiss roll, log10 of the density in units of a half of the box. Bound: the mean over rounds
of noise, which equation 23 takes for exact; deviation: over rounds; tighter: log of the mean over rounds; flow: the
probability-flow equation, the model's own, as a median, since far from the roll some points are lost. AUROC: of the bound,
between roll and shape. Paper: mean −0.933 for its Swiss roll, in units that are not told."""
_DENSITIES = """\
Log-densities in nats (Figure 2). AUROC: of minus the density as a score of foreign images, above 1/2 where they are found less
likely; likelier: foreign images above the median of those at home, in %. Flow: the codes' noise alone, with the flow's
determinant, and with the decoder's volume, where the paper adds determinants of maps between spaces of different
dimensions, which there are not."""
_DIVERGENCES = """\
The divergence of a posterior of one dimension from the prior about 0 and 1: equation 28 (nearest centre), the same by
torch.distributions, and equation 26 by quadrature and by {draws} codes. Equation 28 plus log 2 is an upper bound of the
whole grid's, sharp where centres do not overlap; the printed sign of equation 26 is the other one."""
_CELLS = """\
Two digits of 0 to 5 on a grid of 6 x 6 centres (Figures 9, 10), trained without labels: accuracy of the cells as classes after
the best assignment on training images. The paper reports no number."""
_ATTRIBUTES = """\
Clothing with six attributes in place of faces with forty (Figures 11 to 14): share of test images whose code is on the right side
of 1/2 in the dimension that was pulled to the attribute; class: the nearest row of attributes, where these differ."""
_NEIGHBOURS = """\
The nearest other image by principal components has not the attribute: how far that moves the attribute's own distribution
(Figure 15), in nats. Infinite: no image has the attribute whose neighbour lacks it."""


def report(results: Sequence[Tables]) -> str:
    """The tables of every study that ran, with the paper's figure where it has one."""
    sections = ["# Tu et al. 2023: probabilistic and semantic descriptions of image manifolds"]
    for result in results:
        for name, section in _SECTIONS.items():
            if name in result:
                sections += section(result)
    return "\n\n".join(sections) + "\n"


def _purification(result: Tables) -> Iterator[str]:
    rows = result["table_1"]
    numbers = sorted(int(name.split()[1]) for name in rows[0] if name.startswith("after ") and name != "after none")
    columns = ["after none", *(f"after {number}" for number in numbers)]
    titles = ["no purification", *(f"{number} steps" for number in numbers)]
    lines = [[row["attack"], row["knows"], *(_share(row.get(name)) for name in columns)] for row in rows]
    yield from ("## Purification by the evidence bound under patches (Table 1)", _PURIFICATION)
    yield records(result["setting"], list(result["setting"][0]))
    yield table(["attack", "attacker", *titles], lines)
    yield from ("Paper (attacker oblivious):", theirs(printed("tu")["table_1"]), _FORGOTTEN)


def _orders(result: Tables) -> Iterator[str]:
    yield from ("## Orders of samplers", _ORDERS)
    yield records(result["orders"], ["sampler", "evaluations", "error", "order"])


def _samples(result: Tables) -> Iterator[str]:
    lines = [
        [row["sampler"], row["evaluations"] or None, row["distance"], _range(row), row.get("off")]
        for row in result["samples"]
    ]
    yield from ("## Samples at equal evaluations (Figures 6 to 8)", _SAMPLES)
    yield table(["sampler", "evaluations", "distance", "range", "off"], lines)


def _chains(result: Tables) -> Iterator[str]:
    names = ["bias", "deviation", "largest"]
    columns = ["variance", "stride", *(f"{which}_{name}" for which in ("right", "printed") for name in names)]
    yield from ("## Log-densities by chain ratios", _CHAINS.format(times="1,000"))
    yield table([column.replace("_", ", ") for column in columns], _picked(result["chain_normal"], columns))
    columns = ["stride", "shape", "spread", "bound", "deviation", "tighter", "flow"]
    lines = [
        [*line, _area(row["auroc"])]
        for line, row in zip(_picked(result["chain_points"], columns), result["chain_points"], strict=True)
    ]
    yield from (_POINTS, table([*columns, "AUROC"], lines))


def _densities(result: Tables) -> Iterator[str]:
    setting = result["setting"][0]
    lines = [
        [row["density"], row["foreign"], row["home"], row["median"], _area(row["auroc"]), _share(row["likelier"])]
        for row in result["densities"]
    ]
    yield f"## Densities of {setting['data']} on foreign images ({setting['inputs']} of each)"
    yield _DENSITIES
    yield table(["density", "foreign", "median at home", "median foreign", "AUROC", "likelier"], lines)


def _divergences(result: Tables) -> Iterator[str]:
    columns = ["grid deviation", "mean", "deviation", "nearest", "torch", "bound", "whole", "drawn"]
    yield from ("## GridVAE: divergences", _DIVERGENCES.format(draws="20,000"))
    yield table([*columns[:5], "nearest + log 2", *columns[6:]], _picked(result["divergences"], columns))


def _cells(result: Tables) -> Iterator[str]:
    (row,) = result["cells"]
    yield from ("## GridVAE: pairs of digits", _CELLS)
    header = ["classes", "accuracy", "chance", "cells used", "squared error"]
    yield table(header, [[row["classes"], _share(row["accuracy"]), _percent(row["chance"]), *_rest(row, header)]])


def _attributes(result: Tables) -> Iterator[str]:
    lines = [
        [row["model"], row["attribute"], _share(row.get("right")), row.get("squared error")]
        for row in result["attributes"]
    ]
    yield from ("## GridVAE: attributes", _ATTRIBUTES)
    yield table(["model", "attribute", "right", "squared error"], lines)
    yield from (_NEIGHBOURS, records(result["neighbours"], ["attribute", "p", "conditional", "divergence"]))


_SECTIONS: dict[str, Callable[[Tables], Iterator[str]]] = {
    "table_1": _purification,
    "orders": _orders,
    "samples": _samples,
    "chain_normal": _chains,
    "densities": _densities,
    "divergences": _divergences,
    "cells": _cells,
    "attributes": _attributes,
}


def _picked(rows: Sequence[Row], columns: Sequence[str]) -> list[list[Any]]:
    return [[row.get(name) for name in columns] for row in rows]


def _rest(row: Row, header: Sequence[str]) -> list[Any]:
    return [row[name] for name in header[3:]]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(row: Row) -> str:
    return f"{row['least']:.4f}–{row['most']:.4f}"


def _area(found: dict[str, float] | None) -> str | None:
    return None if found is None else f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _share(found: dict[str, float] | None) -> str | None:
    return None if found is None else f"{100 * found['value']:.1f} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"
