"""Table 1 of Liu Z. et al. 2024 as Markdown: areas under the curve for the pairs that the data allow, and under attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leaderboard.papers._markdown import printed, table
from leaderboard.papers.liu_z import DETECTORS

Record = dict[str, Any]

_NAMES = {"mnist": "MNIST", "kmnist": "KMNIST", "fashion_mnist": "FashionMNIST"}
_INTRODUCTION = """\
Area under the ROC curve, foreign inputs positive, with 95 % intervals, beside the paper's figure where there is one. Ours: small
networks (their parameters are those of the parts' defaults), distances by squared error, as LPIPS needs a network
trained on ImageNet, few steps of the sampler. MNIST is trained on 10,000 images. CIFAR-100 and SVHN cannot be had,
and KMNIST has no training part here, so that of the paper's twelve pairs four are left; on these four its method has no
lead in the paper either (.991, beside .991 of AE-MH and .991 of LR)."""
_ATTACKED = """\
The same detectors on adversarial images (PGD, 10 steps, L_inf 0.1, made for the classifier alone): the share of attacks on
images that are right and accepted when clean that is wrong and accepted, at 1 % false positives. What becomes of a
detector whose attacker knows it, the grid `out_of_distribution` says."""


def report(runs: Sequence[Sequence[Record]]) -> str:
    """The table of pairs, and the one of attacks."""
    records = [record for run in runs for record in run]
    header = ["at home", "foreign", *(name for short in DETECTORS for name in (short, "paper"))]
    sections = ["# Liu Z. et al. 2024: lift, map, detect", _INTRODUCTION, "## Foreign images (Table 1)"]
    sections += [table(header, _pairs(records)), "## Adversarial images", _ATTACKED, table(*_attacked(records))]
    return "\n\n".join(sections) + "\n"


def _of(records: Sequence[Record], home: str, defense: str) -> Record | None:
    return next((r for r in records if r["dataset"] == home and r["defense"].split("(")[0] == defense), None)


def _pairs(records: Sequence[Record]) -> Iterator[list[Any]]:
    figures = printed("liu_z")["table_1"]
    theirs = {(row[0], row[1]): dict(zip(figures["columns"], row, strict=True)) for row in figures["rows"]}
    homes = dict.fromkeys(record["dataset"] for record in records)
    for home in homes:
        foreign = dict.fromkeys(s["name"] for r in records if r["dataset"] == home for s in r["shifts"])
        for other in foreign:
            row: list[Any] = [home, other]
            paper = theirs.get((_NAMES.get(home, home), _NAMES.get(other, other)), {})
            for short, defense in DETECTORS.items():
                row += [_area(_of(records, home, defense), other), paper.get(short)]
            yield row


def _area(record: Record | None, foreign: str) -> str | None:
    found = next((s for s in (record or {"shifts": []})["shifts"] if s["name"] == foreign), None)
    area = (found or {}).get("auroc")
    if isinstance(area, dict):
        return f"{area['value']:.3f} ({area['low']:.3f}–{area['high']:.3f})"
    return None if area is None else f"{area:.3f}"


def _attacked(records: Sequence[Record]) -> tuple[list[str], list[list[Any]]]:
    header = ["at home", "detector", "robust accuracy", "clean accuracy", "forwards an image"]
    rows = []
    for record in records:
        robust, clean = record["metrics"].get("robust_accuracy"), record["metrics"].get("clean_accuracy")
        shares = [f"{m['value']:.3f} ({m['low']:.3f}–{m['high']:.3f})" if m else None for m in (robust, clean)]
        rows.append([record["dataset"], record["defense"], *shares, record.get("forwards")])
    return header, rows
