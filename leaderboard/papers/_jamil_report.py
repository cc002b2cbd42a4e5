"""The study of Jamil et al. 2023 as Markdown: our tables beside the printed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from leaderboard.papers import _jamil_claims
from leaderboard.papers._jamil_tables import (
    MAPS,
    Matrix,
    Row,
    Studies,
    Tables,
    attack,
    dataset,
    find,
    named,
    off_mean,
    short,
)
from leaderboard.papers._markdown import printed, records, table, theirs

FEATURES = ("magnitude", "phase")
ATTACKS = ("fgsm", "pgd", "carlini_wagner")
_CANONICAL = ("torchvision/resnet18", "timm/test_vit")  # in place of the paper's ResNet-152 and vision transformer
_INTRODUCTION = """\
Ours is the same procedure, other data: orders and differences can be compared, values cannot. In matrices rows are
targets, columns sources; the diagonal of the AUROC is each network's own detector on its own embeddings. Maps are affine;
"ridge" is the one chosen on a quarter of the mapping third, relative to the mean squared singular value of the source's rows.
The paper's MSE is taken to be an element's, as ours is; it depends on the scale of the target's embeddings, R² does not."""
_ADAPTIVE = """\
The adaptive attacker knows classifier, map and detector. Robust: right and accepted when clean, and never found wrong
and accepted; the detector's threshold is set at 5 % (1 %) false positives on other clean inputs. AUROC: misclassified
inputs against their own clean ones; "same attack": the one the detector was fitted on; "adaptive": the joint attack."""


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    figures, studies = printed("jamil"), Studies.of(results)
    sections = [
        "# Jamil et al. 2023: linear maps between embeddings, one detector for many networks",
        _INTRODUCTION,
        "## Setting",
        _settings([*studies.large, *studies.small]),
        *_networks(studies, figures),
        *_matrices(studies, figures),
        *_summaries(studies),
        *_canonical(studies, figures),
        *_heads(studies, figures),
        *_jamil_claims.variance(studies, figures),
        *_jamil_claims.interpolation(studies),
        *_controls(studies),
        *_adaptive(studies.small),
        *_jamil_claims.findings(studies, figures),
    ]
    return "\n\n".join(sections) + "\n"


def _settings(results: Sequence[Tables]) -> str:
    return records([result["setting"][0] for result in results], list(results[0]["setting"][0]))


def _networks(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    yield "## Networks (Table 1)"
    yield (
        "Trained here in minutes, on one core and from scratch; the paper's are trained to the end. Accuracy in per cent, "
        "under each attack; perturbations as means over inputs."
    )
    theirs_by_name = {row[0]: row for row in figures["networks"]["rows"]}
    for first in studies.first_of_each_data_set():
        beside = [result for result in studies.large if dataset(result) == dataset(first)]
        header = ["network", "width", "clean", *(f"{attack(r)} ε {r['setting'][0]['epsilon']:g}" for r in beside)]
        rows = []
        for place, row in enumerate(first["networks"]):
            under = [f"{100 * result['networks'][place]['adversarial_accuracy']:.1f}" for result in beside]
            theirs_row = theirs_by_name.get(short(row["network"]))
            paper = f"{theirs_row[2]:.1f} / {theirs_row[3]:.1f}" if theirs_row else None
            rows.append([short(row["network"]), row["width"], f"{100 * row['accuracy']:.1f}", *under, paper])
        yield f"Ours, {dataset(first)} (last column: the paper's clean and FGSM accuracy on CIFAR-10):"
        yield table([*header, "paper"], rows)
        yield "As trained: " + "; ".join(row["network"] for row in first["networks"]) + "."
    for result in studies.small:
        yield f"Ours, {named(result)}:"
        rows_small = [{**row, "network": short(row["network"])} for row in result["networks"]]
        yield records(rows_small, list(rows_small[0]))
    yield _theirs(figures["networks"])
    yield theirs(figures["networks"])


def _matrices(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    titles = {"mse": "Mean squared error of mapped adversarial embeddings (Table 2)", "r2": "Held-out R² of the maps"}
    titles |= {"auroc": "AUROC of the target's detector on mapped embeddings (Table 3)"}
    for column, title in titles.items():
        yield f"## {title}"
        for result in studies.first_of_each_data_set():
            for mapping in MAPS:
                yield f"Ours, {named(result)}, {mapping}:"
                yield Matrix.of(result["pairs"], column, mapping).markdown(4 if column == "mse" else 3)
        if column in figures:
            yield _theirs(figures[column])
            yield Matrix.printed(figures[column]).markdown()


def _summaries(studies: Studies) -> Iterator[str]:
    yield "## Every attack in a line"
    yield "Means over networks (own) and over pairs of different ones (mapped), the median of R²: least squares, then ridge."
    rows = []
    for result in [*studies.large, *studies.small]:
        line: Row = {"study": named(result), "rows": 2 * (result["setting"][0]["inputs"] // 3)}
        for mapping in MAPS:
            some = [row for row in result["pairs"] if row["map"] == mapping]
            if mapping == MAPS[0]:
                line["own AUROC"] = float(np.mean([row["auroc"] for row in some if row["source"] == row["target"]]))
            for column, title in (("auroc", "AUROC"), ("tpr_at_5", "TPR at 5 %"), ("tpr_at_1", "at 1 %")):
                line[f"{title}, {mapping}"] = off_mean(some, column)
            line[f"median R², {mapping}"] = float(np.median([r["r2"] for r in some if r["source"] != r["target"]]))
        rows.append(line)
    yield records(rows, list(rows[0]))


def _canonical(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    yield "## Into one canonical network, every attack (the procedure of Tables 4, 5, 6, 8 and 9)"
    yield (
        "Embeddings by least squares and with a ridge; MFS and PFS: Fourier magnitude and phase by least squares. "
        '"shared" is one fixed set made against another network, in place of DAmageNet.'
    )
    for first in studies.first_of_each_data_set():
        beside = [result for result in studies.large if dataset(result) == dataset(first)]
        for prefix in _CANONICAL:
            target = next((r["network"] for r in first["networks"] if r["network"].startswith(prefix)), None)
            if target is None:
                continue
            kinds = ("MSE", "AUROC", "ridge", "MFS", "PFS")
            header = ["source", *(f"{attack(result)} {kind}" for result in beside for kind in kinds)]
            sources = [row["network"] for row in first["networks"]]
            body = [[short(s), *(v for result in beside for v in _line(result, s, target))] for s in sources]
            yield f"Ours, {dataset(first)}, into {short(target)}:"
            yield table(header, body)
    yield _theirs(figures["features"])
    header = ["target", "source", *(f"{name} {kind}" for name in ATTACKS for kind in ("embedding", "MFS", "PFS"))]
    yield table(
        header,
        [
            [target, source, *(f"{value:.3f}" for name in ATTACKS for value in found[name])]
            for target, sources in figures["features"]["targets"].items()
            for source, found in sources.items()
        ],
    )


def _line(result: Tables, source: str, target: str) -> list[str]:
    """MSE and AUROC by least squares, AUROC with a ridge, and with the two spectra."""
    plain, ridge = (find(result["pairs"], source=source, target=target, map=mapping) for mapping in MAPS)
    spectral = [find(result["spectra"], source=source, target=target, map=MAPS[0], features=f) for f in FEATURES]
    if plain is None or ridge is None:
        return ["–"] * 5
    return [
        f"{plain['mse']:.4f}",
        f"{plain['auroc']:.3f}",
        f"{ridge['auroc']:.3f}",
        *(f"{row['auroc']:.3f}" if row else "–" for row in spectral),
    ]


def _heads(studies: Studies, figures: dict[str, Any]) -> Iterator[str]:
    yield "## Accuracy of the target's last layer on mapped adversarial embeddings (Table 7)"
    yield "In per cent; mean and standard deviation (ddof 0) over the other networks, by least squares and with a ridge."
    rows = [
        _jamil_claims.head(result, row) for result in studies.first_of_each_data_set() for row in result["networks"]
    ]
    yield records(rows, list(rows[0]))
    yield _theirs(figures["head"])
    yield theirs(figures["head"])


def _controls(studies: Studies) -> Iterator[str]:
    yield "## Controls (not in the paper)"
    yield (
        "Maps of unpaired rows (R² of the detector's score), and maps learned from clean or from adversarial rows only; "
        "least squares, means off the diagonal, the median of R²."
    )
    columns = ("auroc_unpaired", "auroc_map_of_clean", "auroc_map_of_adversarial")
    rows = []
    for result in [*studies.large, *studies.small]:
        some = [row for row in result["pairs"] if row["map"] == MAPS[0]]
        found: Row = {"study": named(result), "auroc": off_mean(some, "auroc")}
        unpaired = [row["r2_unpaired"] for row in result["controls"] if row["source"] != row["target"]]
        found["median R², unpaired"] = float(np.median(unpaired))
        rows.append(found | {column: off_mean(result["controls"], column) for column in columns})
    yield records(rows, list(rows[0]))


def _adaptive(results: Sequence[Tables]) -> Iterator[str]:
    yield "## Under an adaptive attacker (not in the paper)"
    yield _ADAPTIVE
    columns = {
        "undefended_robust_accuracy": "robust without detector",
        "accuracy_at_5": "accuracy at 5 %",
        "robust_oblivious_at_5": "robust, oblivious",
        "robust_adaptive_at_5": "robust, adaptive",
        "robust_adaptive_at_1": "robust, adaptive, 1 %",
        "auroc_oblivious": "AUROC, same attack",
        "auroc_adaptive": "AUROC, adaptive",
        "misclassified_adaptive": "misclassified",
    }
    rows = [
        {"attack": attack(result), "source": short(row["source"]), "target": short(row["target"])}
        | {title: row[column] for column, title in columns.items()}
        for result in results
        for row in result["adaptive"]
    ]
    yield records(rows, list(rows[0])) if rows else "No study had an adaptive attacker."


def _theirs(figures: dict[str, Any]) -> str:
    return f"Paper ({figures['setting']}):"
