"""The studies and the grid of Pickard et al. 2023 as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leaderboard.papers._markdown import printed, records, table, theirs
from leaderboard.papers._pickard_robustness import beside, differences, systems

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_INTRODUCTION = """\
BOLD5000 and weights from ImageNet cannot be had: the procedure runs on the 92 images of Kriegeskorte et al. 2008 (RSA92), with
monkey and human inferior temporal cortex in place of 40 regions, and small networks trained here. No figure of RSA92 is to be
compared with a printed one. Whoever has BOLD5000 gives the study `stimuli: brain_volumes`: `harness show dataset/brain_volumes`."""
_KNOWN = """\
What the matrices say of one another, beside what was known before. Noise ceiling: Spearman or Pearson similarity of the best
possible model with each of the four people's matrices, on average."""
_TABLE_2 = """\
As the paper does it: the categorical model is fitted to a region, each network's layer nearest to that model is taken, and both are
compared with the same region on the same images. That is circular: the intervals (BCa over images, pairs of an image with
itself left out) and p are of the comparison alone. "untrained": the same network with new weights."""
_HALVES = """\
The layer chosen on one half of the images and reported on the other, the categorical model fitted on one half; means over
20 splits, both ways. people: mean Spearman similarity with each person's matrix, to be held against the noise ceiling.
chosen: how often the layer named was the one chosen. sd: of Pearson over splits, which share images, so no standard error."""
_FIEDLER = """\
Share of images on their label's side of the cut, under the better naming of the sides; the paper prints (|P1| + |P2|) / N, which
is 1 for every cut. complement: 1 - R, as printed, whose negative entries can make the constant vector no longer the smallest
one's; beside: the same, orthogonal to the constant vector; clipped: max(0, 1 - R), with a BCa interval, Bonferroni
over the pairs; halved: 1 - R/2; normalised: clipped, symmetric normalisation. majority: the share of the more frequent label."""
_TARGETS = """\
One network, one seed. learnt and held out: Pearson similarity with the true target at the layer trained, before and after.
human IT: Spearman similarity of the penultimate layer on 26 images that no training saw (325 pairs; a standard error of
roughly 0.06 were they independent). robust: under one attack (APGD, margin loss, L_inf {epsilon})."""
_ROBUSTNESS = """\
Systems of the grid `rdm_robustness`, means over seeds of the victim with t-intervals (95 %) over seeds; one seed has none.
Accuracies in %, worst case over the grid's attacks. The question is the second table: what a target gives beyond its shuffled
control of the same strength, paired by seed, and what it and its control give beyond plain fine-tuning. Intervals are
not corrected for their number; the teacher is the victim trained adversarially, which saw attacks that no other target saw."""


def report(results: Sequence[Tables], runs: Sequence[Sequence[Row]]) -> str:
    """All sections."""
    sections = ["# Pickard et al. 2023: fMRI dissimilarity matrices as a yardstick", _INTRODUCTION]
    for result in results:
        if "table_2" in result:
            sections += _similarity(result)
        if "targets" in result:
            sections += _targets(result)
    for run in runs:
        sections += _robustness(run)
    return "\n\n".join(sections) + "\n"


def _similarity(result: Tables) -> Iterator[str]:
    figures, setting = printed("pickard"), result["setting"][0]
    yield "## Paper: images (Table 1) and similarity (Table 2)"
    yield theirs(figures["table_1"])
    yield theirs(figures["table_2"])
    yield f"## RSA92: the data, and networks trained on {setting['dataset']}"
    if setting.get("note"):
        yield f"The training data: {setting['note']}."
    yield records(result["networks"], ["network", "accuracy", "inputs"])
    yield _KNOWN
    yield records(result["known"], ["what", "value", "known"])
    yield "## RSA92: Table 2"
    yield _TABLE_2
    yield records(result["table_2"], ["region", "model", "layer", "pearson", "low", "high", "p"])
    yield "## RSA92: the layer chosen on other images"
    yield _HALVES
    yield records(
        result["halves"], ["region", "model", "layer", "chosen", "pearson", "pearson_sd", "spearman", "people"]
    )
    if result["left_out"]:
        yield "Layers without a matrix:"
        yield records(result["left_out"], ["model", "layer", "why"])
    yield "## RSA92: Fiedler partitions (Figures 8, 9)"
    yield _FIEDLER
    names = ["matrix", "pair", "complement", "beside", "clipped", "low", "high", "halved", "normalised", "balanced"]
    rows = [row | {"remarks": _remarks(row)} for row in result["fiedler"]]
    yield records(rows, [*names, "majority", "remarks"])


def _remarks(row: Row) -> str | None:
    text = [f"{what}: {', '.join(row[what])}" for what in ("constant", "degenerate") if row[what]]
    return "; ".join(text) or None


def _targets(result: Tables) -> Iterator[str]:
    setting = result["setting"][0]
    yield f"## What fine-tuning does to a network ({setting['data']}, {setting['inputs']} test images)"
    yield _TARGETS.format(epsilon=f"{setting['epsilon']:g}")
    header = ["target", "loss", "stimuli", "learnt", "held out", "human IT", "clean", "robust"]
    lines = [
        [
            row["target"],
            row["loss"] or None,
            "shuffled" if row["shuffled"] else "own",
            _change(row, "learnt"),
            _change(row, "held_out"),
            *(f"{row[name]:.3f}" for name in ("human_it", "clean", "robust")),
        ]
        for row in result["targets"]
    ]
    yield table(header, lines)


def _change(row: Row, which: str) -> str | None:
    if f"{which}.before" not in row:
        return None
    return f"{row[f'{which}.before']:.3f} → {row[f'{which}.after']:.3f}"


def _robustness(run: Sequence[Row]) -> Iterator[str]:
    found = systems(run)
    if not found:
        return
    yield f"## Does similarity buy robustness? ({run[0]['dataset']}, {run[0]['inputs']} inputs)"
    yield _ROBUSTNESS
    yield table(*beside(found))
    yield table(*differences(found))
