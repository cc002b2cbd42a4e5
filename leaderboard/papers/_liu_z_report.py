"""The studies of Liu Z. et al. 2024 as Markdown: areas under the curve beside the printed ones, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leaderboard.papers._liu_z_steps import comparisons
from leaderboard.papers._markdown import printed, table

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
Pair = tuple[str, str]

NAMES = {"mnist": "MNIST", "kmnist": "KMNIST", "fashion_mnist": "FashionMNIST"}
FIRST = "checkerboard, squares of 4"
MASKS = {  # ours: the paper's
    FIRST: "Alternating checkerboard 8x8",
    "checkerboard, squares of 7": "Alternating checkerboard 4x4",
    "checkerboard, squares of 2": "Alternating checkerboard 16x16",
    "fixed checkerboard, squares of 4": "Fixed checkerboard 8x8",
    "centre": "Center",
    "random squares of 4": "Random patch",
}
DISTANCES = {"mse": "MSE", "ssim": "SSIM", "LPIPS on our cnn": "LPIPS", "LPIPS on a random cnn": "LPIPS"}
NOISES = {FIRST: "inpaint"} | {f"noise of time {time}": f"denoise t={round(1000 * time)}" for time in (0.25, 0.5, 0.75)}
RESAMPLED = "checkerboard, squares of 4, resampled 4 times (RePaint)"

_INTRODUCTION = """\
Areas under the ROC curve with 95 % intervals over images, foreign images positive, and behind the stroke the paper's figure
where there is one. Ours: small networks at 28 pixels (the paper: 32, repeated to three channels), 10 steps of the sampler
in place of 1,000, squared error in place of LPIPS, which needs a network trained on ImageNet. MNIST is trained on
5,625 images, KMNIST on 4,500 (its published test set is all there is here: split in parts, no image used twice), Fashion-MNIST
on 50,000. SVHN and CIFAR-100 cannot be had, and Pretrained is left out; of twelve pairs six are left.
The paper's lead rests on the others: on the four whose home is not KMNIST its own figures say .991, as for AE-MH and LR.
The paper's LMD is one by LPIPS; its figures by squared error stand in Table 3."""
_COST = """\
Evaluations: passes of an image through the layer that is passed most often, in models and classifier. Likelihood and IC are
those of the diffusion model, by the probability-flow equation, as in the paper; VAE and IC, VAE those of a variational
autoencoder. Mahalanobis, MSP, Energy, kNN and ViM read a classifier trained with labels, which the others do without."""
_LIFTS = """\
The same images in every row of a column, 10 steps, 10 attempts (resampled: 4); squared error."""
_STEPS = """\
Steps of the sampler on one pair, four attempts, squared error. Difference: from the row with the most steps, on the same
images, with its paired bootstrap interval."""
_LEFT = """\
On adversarial images, oblivious and adaptive: the grid `generative`. Not regenerated: Figures 4 to 8 and 10, images of 256
pixels, MAE and LaMa."""


def report(results: Sequence[Tables]) -> str:
    """All tables that the studies allow."""
    areas = [row for result in results for row in result["areas"]]
    first = [row for row in areas if "detector" in row]
    counted = [result for result in results if _of_steps(result)]
    lifted = [row for result in results if result not in counted for row in result["areas"] if "lift" in row]
    sections = ["# Liu Z. et al. 2024: lift, map, detect", _INTRODUCTION]
    if first:
        sections += [f"## Foreign images (Table 1), {first[0]['inputs']} of each set", _table_1(first), _COST]
    if lifted:
        sections += ["## Masks (Table 2)", _LIFTS, _lifts(lifted, [*MASKS, RESAMPLED], _masks()), _resampled(lifted)]
        sections += ["## Distances (Table 3)", _distances(lifted)]
        sections += ["## Noise in place of masks (Table 4)", _lifts(lifted, [*NOISES], _noises())]
    if counted:
        sections += ["## Steps", _STEPS, table(*_steps(counted))]
    return "\n\n".join([*sections, _LEFT]) + "\n"


def _of_steps(result: Tables) -> bool:
    return any(str(row.get("lift", "")).endswith(" steps") for row in result["areas"])


def shown(area: Mapping[str, float] | None) -> str | None:
    """A value with its interval."""
    return None if area is None else f"{area['value']:.3f} ({area['low']:.3f}–{area['high']:.3f})"


def _pairs(rows: Sequence[Row]) -> list[Pair]:
    return list(dict.fromkeys((row["home"], row["foreign"]) for row in rows))


def _title(pair: Pair) -> str:
    return f"{NAMES[pair[0]]}, {NAMES[pair[1]]}"


def _printed(name: str) -> dict[Pair, dict[str, float]]:
    """The paper's rows of a table by pair: column to value."""
    figures = printed("liu_z")[name]
    own = {long: short for short, long in NAMES.items()}
    rows = (dict(zip(figures["columns"], row, strict=True)) for row in figures["rows"])
    return {
        (own[row["in-domain"]], own[row["ood"]]): row for row in rows if row["in-domain"] in own and row["ood"] in own
    }


def _beside(ours: Mapping[str, float] | None, theirs: float | None) -> str | None:
    return shown(ours) if theirs is None or ours is None else f"{shown(ours)} / {theirs:.3f}"


def _table_1(rows: Sequence[Row]) -> str:
    pairs, paper = _pairs(rows), _printed("table_1")
    found = {(row["detector"], row["home"], row["foreign"]): row for row in rows}
    names = list(dict.fromkeys(row["detector"] for row in rows))

    def line(name: str) -> list[Any]:
        cells = [found.get((name, *pair)) for pair in pairs]
        theirs = [paper.get(pair, {}).get(name) for pair in pairs]
        areas = [_beside(row and row["auroc"], value) for row, value in zip(cells, theirs, strict=True)]
        known = [row for row in cells if row is not None]
        mean = f"{sum(row['auroc']['value'] for row in known) / len(known):.3f}"
        if None not in theirs:
            mean += f" / {sum(value or 0 for value in theirs) / len(theirs):.3f}"
        milliseconds = 1000 * sum(row["seconds"] for row in known) / len(known)
        return [name, *areas, mean, round(known[0]["evaluations"]), f"{milliseconds:.2g}"]

    header = ["detector", *map(_title, pairs), "mean", "evaluations an image", "core ms an image"]
    return table(header, [line(name) for name in names])


def _area(rows: Sequence[Row], pair: Pair, **wanted: Any) -> Mapping[str, float] | None:
    """The area of the row with the most attempts that has these values."""
    same = [r for r in rows if (r["home"], r["foreign"]) == pair and all(r[k] == v for k, v in wanted.items())]
    return max(same, key=lambda row: row["attempts"])["auroc"] if same else None


def _lifts(rows: Sequence[Row], names: Sequence[str], paper: Mapping[tuple[str, Pair], float]) -> str:
    pairs = _pairs(rows)
    lines = []
    for name in names:
        cells = [_beside(_area(rows, pair, lift=name, distance="mse"), paper.get((name, pair))) for pair in pairs]
        lines.append([name, *cells])
    return table(["lift", *map(_title, pairs)], lines)


def _masks() -> dict[tuple[str, Pair], float]:
    figures = printed("liu_z")["table_2"]
    theirs = {row[0]: dict(zip(figures["columns"], row, strict=True)) for row in figures["rows"]}
    return {(name, ("mnist", "kmnist")): theirs[mask]["MNIST vs KMNIST"] for name, mask in MASKS.items()}


def _noises() -> dict[tuple[str, Pair], float]:
    return {(ours, pair): row[name] for pair, row in _printed("table_4").items() for ours, name in NOISES.items()}


def _distances(rows: Sequence[Row]) -> str:
    pairs, paper = _pairs(rows), _printed("table_3")

    def cell(pair: Pair, ours: str, theirs: str) -> str | None:
        return _beside(_area(rows, pair, lift=FIRST, distance=ours), paper.get(pair, {}).get(theirs))

    lines = [[ours, *(cell(pair, ours, theirs) for pair in pairs)] for ours, theirs in DISTANCES.items()]
    return table(["distance", *map(_title, pairs)], lines)


def _resampled(rows: Sequence[Row]) -> str:
    """What resampling costs and brings, at the same number of attempts."""
    lines = []
    for pair in _pairs(rows):
        again = [
            r for r in rows if (r["home"], r["foreign"], r["lift"]) == (*pair, RESAMPLED) and r["distance"] == "mse"
        ]
        if again:
            number = again[0]["attempts"]
            plain = _area(rows, pair, lift=FIRST, distance="mse", attempts=number)
            lines.append([_title(pair), number, shown(plain), shown(again[0]["auroc"])])
    return table(["pair", "attempts", "overwritten", "resampled 4 times, at four times the evaluations"], lines)


def _steps(results: Sequence[Tables]) -> tuple[list[str], Iterator[list[Any]]]:
    header = ["steps", "evaluations an image", "area", "difference", "core seconds an image"]
    rows = (
        [one.steps, one.evaluations, shown(one.area), _apart(one.difference), f"{one.seconds:.3g}"]
        for one in comparisons(results)
    )
    return header, rows


def _apart(difference: Mapping[str, float] | None) -> str | None:
    return (
        None
        if difference is None
        else f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
    )
