"""The paper's claims about sources, targets and VGG-19, against what was measured: sections of the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from leaderboard.papers._jamil_tables import MAPS, Matrix, Row, Studies, Tables, dataset, find, named, short
from leaderboard.papers._jamil_variance import SHARES, shares, two_way
from leaderboard.papers._markdown import records

ATTACKS = ("fgsm", "pgd", "carlini_wagner")
PAPER_RATIO = (
    1.33  # rows a feature of VGG-19: at most a third of 50,000 images, clean and adversarial, and 25,088 features
)
_INTERPOLATION = """\
The paper's worst source is VGG-19 (AUROC .75 into ResNet-152, head accuracy 16.6 %), explained by its "high
dimensionality": the flattened output of its convolutions, 25,088 features, learned from at most 33,333 rows. Near as many rows as
features least squares interpolates, and its test variance is σ² (1 + p / (n - p - 1)). If that is what fails, then (1) any
network fails at so many rows a feature, (2) the error peaks at one row a feature and falls again on either side, (3) a ridge
chosen on the mapping rows alone has no peak, and (4) VGG-19's pooled embedding does not fail. Rows are clean and adversarial;
the rank is that of all rows of the mapping third, in double precision: where units are dead or alike, the peak stands at the
rank, not at the width."""


def variance(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    """How much of the variance over pairs each side explains, beside the same of the printed tables."""
    yield "## What decides a pair: source, target, or their pairing"
    yield (
        "Shares of the sum of squares over pairs of different networks, in per cent, with 95 % intervals over the splits of "
        "the inputs (networks are fixed). MSE is taken in logarithms. The paper explains Table 3 by the target's accuracy."
    )
    rows: list[Row] = []
    for result in [*studies.large, *studies.small]:
        if len({row["source"] for row in result["splits"]}) < 4:
            continue
        for column, mapping in itertools.product(("mse", "auroc"), MAPS):
            found = shares(split_matrices(result, column, mapping))
            title = f"{'log MSE' if column == 'mse' else 'AUROC'}, {mapping}"
            rows.append({"data": named(result), "of": title} | {name: _percent(found[name]) for name in SHARES})
    for column, title in (("mse", "log MSE"), ("auroc", "AUROC")):
        values = Matrix.printed(figures[column]).values
        whole = two_way(np.log(values + np.eye(len(values))) if column == "mse" else values)
        rows.append({"data": "paper, CIFAR-10", "of": title} | {name: f"{100 * whole[name]:.0f}" for name in SHARES})
    yield records(rows, ["data", "of", *SHARES])
    accuracies = [row for result in studies.first_of_each_data_set() for row in _accuracies(result)]
    yield "Spearman's correlation of a network's clean accuracy with its mean AUROC as a source and as a target:"
    yield records([*accuracies, _paper_accuracies(figures)], ["data", "networks", "as source", "as target"])


def split_matrices(result: Tables, column: str, mapping: str) -> list[np.ndarray[Any, Any]]:
    """A matrix a split, errors in logarithms."""
    numbers = sorted({row["split"] for row in result["splits"]})
    found = []
    for number in numbers:
        some = [row for row in result["splits"] if row["split"] == number]
        values = Matrix.of(some, column, mapping).values
        if column == "mse":
            values = np.log(np.where(np.eye(len(values), dtype=bool), 1.0, values))
        found.append(values)
    return found


def _percent(share: tuple[float, float, float]) -> str:
    middle, low, high = (100 * value for value in share)
    return f"{middle:.0f}" if np.isnan(low) else f"{middle:.0f} ({low:.0f} to {high:.0f})"


def _accuracies(result: Tables) -> Iterator[Row]:
    matrix = Matrix.of(result["pairs"], "auroc")
    accuracy = [row["accuracy"] for row in result["networks"]]
    yield {"data": named(result), "networks": len(accuracy)} | _by_side(matrix, accuracy)


def _paper_accuracies(figures: dict[str, Any]) -> Row:
    matrix, accuracy = Matrix.printed(figures["auroc"]), [row[2] for row in figures["networks"]["rows"]]
    return {"data": "paper, CIFAR-10", "networks": len(accuracy)} | _by_side(matrix, accuracy)


def _by_side(matrix: Matrix, accuracy: Sequence[float]) -> Row:
    from scipy.stats import spearmanr

    values = np.where(np.eye(len(matrix.values), dtype=bool), np.nan, matrix.values)
    sides = {"as source": np.nanmean(values, axis=0), "as target": np.nanmean(values, axis=1)}
    if len(set(accuracy)) < 2 or any(np.ptp(means) == 0 for means in sides.values()):
        return dict.fromkeys(sides)
    return {name: float(spearmanr(accuracy, means).statistic) for name, means in sides.items()}


def interpolation(studies: Studies) -> Iterator[str]:
    """Whether what failed is the number of rows a feature: embeddings of VGG-19, and every source over subsets of the rows."""
    if not studies.subsets:
        return
    yield "## Is VGG-19's failure interpolation?"
    yield _INTERPOLATION
    for result in studies.subsets:
        target = result["setting"][0]["target"]
        yield f"Ours, {dataset(result)}, into {short(target)}, all rows of the mapping third (own: its own detector on itself):"
        yield records([_whole(result, row) for row in result["sources"] if row["source"] != target], _WHOLE)
        yield f"The same from {PAPER_RATIO:g} rows a feature, as the paper had for VGG-19 (lowest and highest over splits):"
        rows = [row for row in result["sweep"] if row["ratio"] == PAPER_RATIO]
        yield records([_subset(row) for row in rows], _SUBSET)
        yield "Over rows a feature, 1 - R² on held-out inputs and AUROC, by least squares; with the chosen ridge in parentheses:"
        yield _sweep(result)
        yield _peaks(result)


_WHOLE = ["source", "width", "rank", "rows a feature", "own AUROC", "AUROC", "AUROC, ridge", "R²", "R², ridge"]
_SUBSET = ["source", "map", "rows", "width", "fitted R²", "R²", "AUROC", "lowest", "highest"]


def _embedding(source: str) -> str:
    """A source's name, and the layer that was flattened."""
    head, closed, layer = source.rpartition(") ")
    if not closed:
        name, _, layer = source.partition(" ")
        return f"{short(name)} flattened" if layer.startswith("body") or layer.isdigit() else short(source)
    return f"{short(head + ')')} flattened" if layer else short(source)


def _whole(result: Tables, own: Row) -> Row:
    plain, ridge = (find(result["whole"], source=own["source"], map=mapping) or {} for mapping in MAPS)
    return {
        "source": _embedding(own["source"]),
        "width": own["width"],
        "rank": own["rank"],
        "rows a feature": plain["rows"] / own["width"],
        "own AUROC": own["auroc"],
        "AUROC": plain["auroc"],
        "AUROC, ridge": ridge["auroc"],
        "R²": plain["r2"],
        "R², ridge": ridge["r2"],
    }


def _subset(row: Row) -> Row:
    names = {"AUROC": "auroc", "lowest": "auroc_low", "highest": "auroc_high", "R²": "r2", "fitted R²": "fitted_r2"}
    found = {title: row[name] for title, name in names.items()}
    return {"source": _embedding(row["source"]), "map": row["map"], "rows": row["rows"], "width": row["width"]} | found


def _sweep(result: Tables) -> str:
    sources = list(dict.fromkeys(row["source"] for row in result["sweep"]))
    ratios = sorted({row["ratio"] for row in result["sweep"]})
    rows = []
    for ratio in ratios:
        line: Row = {"rows a feature": ratio}
        for source in sources:
            found = [find(result["sweep"], source=source, map=mapping, ratio=ratio) for mapping in MAPS]
            errors, areas = ([row[name] if row else None for row in found] for name in ("r2", "auroc"))
            line[f"{_embedding(source)} error"] = _both([None if r2 is None else 1 - r2 for r2 in errors])
            line[f"{_embedding(source)} AUROC"] = _both(areas)
        rows.append(line)
    return records(rows, list(rows[0]))


def _both(values: Sequence[float | None]) -> str | None:
    """Least squares, and the ridge in parentheses."""
    plain, ridge = values
    return None if plain is None or ridge is None else f"{plain:.3f} ({ridge:.3f})"


def _peaks(result: Tables) -> str:
    """In words: where the error is largest, and how much larger than with the ridge."""
    words = []
    for source in dict.fromkeys(row["source"] for row in result["sweep"]):
        plain = {r["ratio"]: 1 - r["r2"] for r in result["sweep"] if (r["source"], r["map"]) == (source, MAPS[0])}
        ridge = {r["ratio"]: 1 - r["r2"] for r in result["sweep"] if (r["source"], r["map"]) == (source, MAPS[1])}
        rank = next(row["rank"] / row["width"] for row in result["sources"] if row["source"] == source)
        worst = max(plain, key=lambda ratio: plain[ratio])
        words.append(
            f"{_embedding(source)}: the error of least squares is largest at {worst:g} rows a feature ({plain[worst]:.3g}; with "
            f"the ridge {ridge[worst]:.3g}); its rows span {rank:.2f} of the width"
        )
    return "; ".join(words) + "."


def head(result: Tables, network: Row) -> Row:
    """A target's line of Table 7: its last layer on its own and on other networks' mapped adversarial embeddings."""
    name = network["network"]
    line: Row = {"data": named(result), "target": short(name), "own": 100 * network["adversarial_accuracy"]}
    for mapping in MAPS:
        some = [r for r in result["pairs"] if r["map"] == mapping and r["target"] == name and r["source"] != name]
        values = np.array([100 * row["head_accuracy"] for row in some])
        line[f"mean, {mapping}"], line[f"sd, {mapping}"] = float(values.mean()), float(values.std())
    return line


def findings(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    """The paper's claims as differences and orders, which other data can confirm or not."""
    yield "## What carries over"
    matrices = [
        (f"{named(result)}, {mapping}", Matrix.of(result["pairs"], "auroc", mapping))
        for result in [*studies.large, *studies.small]
        for mapping in MAPS
    ]
    matrices.append(("paper, FGSM", Matrix.printed(figures["auroc"])))
    yield "AUROC lost by mapping (a target's own less the others'):"
    losses = [
        {"data": name, "mean loss": m.loss(), "largest loss": float(np.max(np.diag(m.values)[:, None] - m.values))}
        for name, m in matrices
    ]
    yield records(losses, ["data", "mean loss", "largest loss"])
    yield "How many pairs keep the order embedding ≥ PFS ≥ MFS (least squares):"
    orders = [(named(result), list(_triples(result))) for result in [*studies.large, *studies.small]]
    printed_pairs = [pair for sources in figures["features"]["targets"].values() for pair in sources.values()]
    orders += [(f"paper, {name}", [pair[name] for pair in printed_pairs]) for name in ATTACKS]
    kept = [{"data": name, "kept": sum(e >= p >= m for e, m, p in found), "of": len(found)} for name, found in orders]
    yield records(kept, ["data", "kept", "of"])
    yield "Distance of the last layer's accuracy on mapped rows from that on the target's own, in points (mean):"
    gaps = [
        {"data": f"{named(result)}, {mapping}", "points": _gap(result, mapping)}
        for result in [*studies.large, *studies.small]
        for mapping in MAPS
    ]
    gaps.append(
        {"data": "paper, FGSM", "points": float(np.mean([abs(row[1] - row[2]) for row in figures["head"]["rows"]]))}
    )
    yield records(gaps, ["data", "points"])


def _gap(result: Tables, mapping: str) -> float:
    lines = [head(result, network) for network in result["networks"]]
    return float(np.mean([abs(line["own"] - line[f"mean, {mapping}"]) for line in lines]))


def _triples(result: Tables) -> Iterator[tuple[float, float, float]]:
    """AUROC with the embedding, its magnitude and its phase, a pair each."""
    for pair in result["pairs"]:
        if pair["map"] == MAPS[0]:
            names = {"source": pair["source"], "target": pair["target"], "map": MAPS[0]}
            m, p = (find(result["spectra"], features=f, **names) for f in ("magnitude", "phase"))
            if m and p:
                yield pair["auroc"], m["auroc"], p["auroc"]
