"""The studies of Liu et al. 2023 as Markdown: our tables beside the printed ones, and what is wrong with those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from leaderboard.papers._markdown import printed, records, theirs

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Section = Callable[[Sequence[Tables], dict[str, Any]], Iterator[str]]

_INTRODUCTION = """\
Same procedure, other networks: the paper leaves open the learning rate, the scale of pixels, epsilon, how a point at a
given distance is drawn and the bounds of its balls. Pixels are in [0, 1] here. Cells, crossings and radii are exact
(double precision, tolerances of geometry/polyhedra). Left out: Figure 5, and the pictures of Figures 1 and 2."""
_TOYS = """\
Networks of 10 x 5 and the like often end constant; these failed runs (validation error above 0.01) are counted and left
out. The printed means 163.33, 472.53 and 788.83 cannot be means of 50 whole numbers, as the text has it; all ten fit
30. "Deeper is better" fails in the printed table itself: 10 layers are worse than 8, and 3 x 5 is better than 4 x 5 and
6 x 5.
Table 1 does not say where cells are counted: `mean` is over the plane, `box_mean` over [-1, 1]^2."""
_FACETS = """\
Over the whole space, without a box. More facets a cell are not "more polyhedra", as the text concludes from this table."""
_NEIGHBOURS = """\
Nearest other input of the same set. The Euclidean test figure depends on the data alone: it must be 95.58 on MNIST.
Beside it stands the networks' own accuracy, which the Hamming figure has to be compared with: a network's patterns know
its labels. The text says that all five networks exceed 98 % on test images, and gives 97.95 and 97.64 for two of these
shapes."""
_STEPS = """\
The paper does not say how the second point is drawn. Isotropic: a random direction; nearest: towards the nearest
training image; `signs`: noise of the attack's size. No law reaches the printed sizes: a step of 0.5 cannot flip more
units than lie between neighbours, and these are some 4.6 apart on MNIST (Figure 4: 21 to 49 cells). Their growth,
faster than the length of the step, is not found either."""
_PARITY = """\
Where one unit flips at a crossing, flips and Hamming distance are equal modulo 2: `parity_holds` is the share of pairs
that obey. The printed pairs do not: cells less Hamming distance is 2, 3, 9, 20, 17, 31, odd and even, whichever end is
counted. Bisection steps over a unit that flips and flips back, so it gives at most the exact number."""
_BALLS = """\
In the box [0, 1], with its sides; the paper mentions bounds and does not give them. Without a box the share of
unbounded cells is in the last column but one, and the distance from the input to its nearest plane in the last.
Printed: the largest adversarial radius, 0.54, fits in no box [0, 1]; the smallest, 0.097, is not smaller than the
others' as the text has it (0.0097?); the smallest of Table 7's test row, 0.089, exceeds its mean and its largest
(0.0089?)."""


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    figures = printed("liu_y")
    sections = ["# Liu et al. 2023: the polyhedra of ReLU networks", _INTRODUCTION]
    sections += [
        "## Setting",
        records([_named(r, r["setting"])[0] for r in results], ["data", "note", "trained on", "attack"]),
    ]
    for section in (_toys, _facets, _neighbours, _steps, _segments, _balls):
        sections += section(results, figures)
    return "\n\n".join(sections) + "\n"


def _toys(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    for result in results:
        if "table_1" not in result:
            continue
        yield "## Cells of small networks (Figures 1 and 2)"
        yield f"2-10-10-1, {len(result['figure_1'])} runs; printed: one."
        columns = ["plane", "box", "share in box", "bounded", "unbounded", "mse"]
        rows = [row | {"share in box": row["box"] / row["plane"]} for row in result["figure_1"]]
        ours = [{"": name} | _at(rows, columns, place) for name, place in _PLACES]
        single = figures["figure_1"] | {"share in box": figures["figure_1"]["box"] / figures["figure_1"]["plane"]}
        yield records([*ours, {"": "paper"} | single], ["", *columns])
        yield f"3-10-10-10-1, {len(result['figure_2'])} runs; printed: one."
        ours = [{"": name} | _at(result["figure_2"], ["cube", "mse"], place) for name, place in _PLACES]
        yield records([*ours, {"": "paper"} | figures["figure_2"]], ["", "cube", "mse"])
        yield "## Cells against depth and width (Table 1)"
        statistics = ["mean", "sd", "median", "min", "max", "box_mean", "mse_mean", "mse_sd"]
        yield records(result["table_1"], ["layers", "width", "failed", *statistics])
        yield "Paper:"
        yield theirs(figures["table_1"])
        yield _TOYS


_PLACES = (("smallest", 0.0), ("median", 0.5), ("largest", 1.0))


def _at(rows: Sequence[Row], columns: Sequence[str], place: float) -> Row:
    """Each column's value at a place of its order, the lower one between two."""
    return {name: sorted(row[name] for row in rows)[int(place * (len(rows) - 1))] for name in columns}


def _facets(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    rows = _all(results, "table_2")
    if rows:
        yield "## Active bits (Table 2, Figure 3)"
        yield records(rows, ["data", "network", "units", "images", "mean", "sd", "min", "max", "seconds"])
        yield "Paper:"
        yield theirs(figures["table_2"])
        yield _FACETS


def _neighbours(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    yield "## Nearest neighbours of one class (Table 3)"
    columns = ["train", "test", "train_accuracy", "test_accuracy"]
    rows = [row | _percent(row, columns) for row in _all(results, "table_3")]
    yield records(rows, ["data", "metric", *columns])
    yield "Paper, MNIST:"
    yield theirs(figures["table_3"])
    yield _NEIGHBOURS


def _steps(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    yield "## Hamming distance over a step of fixed length (Table 4, section 5)"
    for result in results:
        rows = _named(result, result["table_4"])
        names = [name for name in rows[0] if name.startswith(("mean_", "sd_"))]
        names.sort(key=lambda name: (float(name.partition("_")[2]), name))
        yield records(rows, ["data", "network", "set", "direction", *names])
    yield "Paper, MNIST:"
    yield theirs(figures["table_4"])
    yield "Paper, CIFAR-10:"
    yield theirs(figures["cifar"])
    yield _STEPS


def _segments(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    rows = _all(results, "table_5")
    if rows:
        yield "## Hamming distance and cells on a segment (Table 5)"
        yield records(rows, ["data", "hamming", "cells", "cells_by_bisection", "flips"])
        names = ["pairs", "parity_holds", "hamming_is_flips", "mean_hamming", "mean_cells"]
        yield records(_all(results, "table_5_all"), ["data", "network", *names])
        yield "Paper:"
        yield theirs(figures["table_5"])
        yield _PARITY
    rows = _all(results, "figure_4")
    if rows:
        yield "## Cells between neighbours against depth (Figure 4)"
        yield records(rows, ["data", "network", "pairs", "mean", "max", "min"])
        yield "Paper:"
        yield theirs(figures["figure_4"])


def _balls(results: Sequence[Tables], figures: dict[str, Any]) -> Iterator[str]:
    rows = _all(results, "table_6")
    if rows:
        yield "## Largest balls (Tables 6 and 7, Figure 6)"
        names = ["inputs", "mean", "sd", "max", "min", "unbounded_without_box", "nearest_plane"]
        yield records(rows, ["data", "network", "set", *names])
        yield "Paper, MNIST:"
        yield theirs(figures["table_6"])
        yield "Paper, CIFAR-10:"
        yield theirs(figures["table_7"])
        yield _BALLS


def _all(results: Sequence[Tables], table: str) -> list[Row]:
    """A table of all studies, with a column for the data."""
    return [row for result in results for row in _named(result, result.get(table, []))]


def _named(result: Tables, rows: Sequence[Row]) -> list[Row]:
    data = result["setting"][0]["dataset"]
    return [{"data": data} | {name: _short(value) for name, value in row.items()} for row in rows]


def _short(value: Any) -> Any:
    """A multilayer perceptron's label as depth x width."""
    if not isinstance(value, str) or "mlp(" not in value:
        return value
    before, _, inside = value.partition("mlp(")
    parts = dict(part.split("=") for part in inside.rstrip(")").split(", "))
    return f"{before}{parts.get('depth', '2')}x{parts.get('width', '256')}"


def _percent(row: Row, names: Sequence[str]) -> Row:
    return {name: f"{100 * row[name]:.2f}" for name in names if row.get(name) is not None}
