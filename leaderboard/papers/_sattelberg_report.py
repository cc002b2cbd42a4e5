"""The studies of Sattelberg et al. 2023 as Markdown: our tables beside the printed ones, with the nulls that these lack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leaderboard.papers._markdown import printed, records, table, theirs

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_INTRODUCTION = """\
Same procedure, fewer images; a network with batch-norm stands in place of Inception and ResNet. Ours are correct
answers in per cent of the test inputs, the printed ones of 10,000. Left out: the pictures (Figures 3 to 12), k = 1,000
and 10,000 by default, Inception and ResNet. "ResNet-152" is in the authors' code a ResNet of basic blocks [18, 18, 18,
18], 146 layers; the text names four networks and lists five."""
_OVERLAP = """\
shared: training inputs whose pattern another one has (the paper: below 1 %). With max-pooling a cell ends at a pool's
switches too, which the patterns here include. without_bias: the network's own maps, their b left out; what that costs
depends on where the origin is put, here the mean grey."""
_CLUSTERS = """\
centers: k centres of k-means an output; random_maps: k maps of training inputs picked at random in place of the
centres; the last k is every training map. Printed, k = 1: Inception's 974 is the number of eights among the test
images, so a constant answer, not chance. At k = 10 the convolutional networks keep 86 %, which the text calls poor, and
ResNet 82 %."""
_MAPS = """\
mapped: with the coordinate b, the paper's Table 2; without_bias: w alone on both sides, to be compared with what the
target itself loses without its b (accuracy_without_bias above): a fall into deep networks is first of all theirs. Nulls:
mean_row, the target's mean map whatever the source; shuffled, the map fitted to wrong pairs; bias_only, the affine map
from the source's b alone, which holds the source's own answer at the input. A printed figure means something only above
its mean row: k = 1 of Table 1, 8679 into dense, 189 below Inception's 8868 there. The paper calls the maps affine; they
are linear in (w, b). Its 2 in equation 8 means the Frobenius norm."""
_PLANE = """\
cells and cells_in_box: all, in the plane and in [-1, 1]^2; on the grid of 101 x 101 points: patterns, and maps that
differ by 1e-6 of the largest number. solved: above 98 % on the grid. Paper: 3 cells for equation 2, about 90 maps in
Figure 5 (2-8-8-8-2), failed runs of 3 hidden units at about 50 %. Equation 4's map, -x-y, is none of the three of
equation 3."""


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    figures = printed("sattelberg")
    sections = ["# Sattelberg et al. 2023: local affine maps of ReLU networks", _INTRODUCTION]
    for result in results:
        sections += _networks(result)
        sections += _clusters(result)
        sections += _maps(result)
        sections += _plane(result)
    sections += ["## Paper, MNIST: clusters (Table 1)", theirs(figures["table_1"]), _CLUSTERS]
    sections += ["## Paper, MNIST: maps between networks (Table 2)", theirs(figures["table_2"])]
    sections += ["Without the bias coordinate:", theirs(figures["without_bias"]), _MAPS]
    return "\n\n".join(sections) + "\n"


def _networks(result: Tables) -> Iterator[str]:
    setting = result["setting"][0]
    yield f"## {setting['dataset']}: maps of {setting['rows']} training and {setting['inputs']} test inputs"
    if setting.get("note"):
        yield f"The data: {setting['note']}."
    names = ["accuracy", "accuracy_without_bias", "shared"]
    rows = [row | _percent(row, names) for row in result["networks"]]
    yield records(rows, ["network", *names, "patterns"])
    yield _OVERLAP


def _clusters(result: Tables) -> Iterator[str]:
    yield "Clusters (Table 1): k centres an output, and in brackets as many random maps"
    networks = [row["network"] for row in result["networks"]]
    numbers = sorted({row["k"] for row in result["table_1"]})
    found = {(row["network"], row["k"]): _pair(row) for row in result["table_1"]}
    yield table(["k", *networks], [[k, *(found[name, k] for name in networks)] for k in numbers])


def _pair(row: Row) -> str:
    centers = "–" if row["centers"] is None else f"{100 * row['centers']:.1f}"
    return f"{centers} ({100 * row['random_maps']:.1f})"


def _maps(result: Tables) -> Iterator[str]:
    yield "Maps between networks (Table 2), with and without the bias coordinate, and the nulls"
    names = ["mapped", "without_bias", "mean_row", "shuffled", "bias_only"]
    rows = [row | _percent(row, names) for row in result["table_2"]]
    yield records(rows, ["from", "to", *names, "r2"])


def _plane(result: Tables) -> Iterator[str]:
    if "circles" not in result:
        return
    counts = ["cells", "cells_in_box", "patterns_on_grid", "maps_on_grid"]
    yield "## Networks on the plane: exclusive or (Figures 3 and 4)"
    yield records(result["exclusive_or"], ["network", *counts, "accuracy"])
    yield "Two networks 2-20-2 mapped into each other (Figure 6): R², and points of one class"
    yield records(result["figure_6"], ["from", "to", "r2", "same_class"])
    yield "Disc against ring (Figures 5, 9, 10)"
    yield records(result["circles"], ["network", "runs", "solved", "accuracy_of_failed", *counts[1:]])
    yield _PLANE


def _percent(row: Row, names: Sequence[str]) -> Row:
    return {name: f"{100 * row[name]:.1f}" for name in names if row.get(name) is not None}
