"""The study of Jamil et al. 2023 as Markdown: our tables beside the printed ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Row = dict[str, Any]
Tables = dict[str, list[Row]]
FEATURES = ("embedding", "magnitude", "phase")
ATTACKS = ("fgsm", "pgd", "carlini_wagner")
_INTRODUCTION = """\
Ours is the same procedure, other data: orders and differences can be compared, values cannot. In matrices rows are
targets, columns sources; the diagonal of the AUROC is each network's own detector on its own embeddings."""
_ADAPTIVE = """\
The adaptive attacker knows classifier, map and detector. Robust: right and accepted when clean, and never found wrong
and accepted; the detector's threshold is set at 5 % (1 %) false positives on other clean inputs. AUROC: misclassified
inputs against their own clean ones; "same attack": the one the detector was fitted on; "adaptive": the joint attack."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Values by target (rows) and source (columns)."""

    sources: list[str]
    targets: list[str]
    values: np.ndarray[Any, Any]

    @classmethod
    def of(cls, rows: Sequence[Row], column: str) -> Matrix:
        """Our table as a matrix."""
        names = list(dict.fromkeys(row["source"] for row in rows))
        found = {(row["target"], row["source"]): row[column] for row in rows}
        return cls(names, names, np.array([[found[t, s] for s in names] for t in names], dtype=float))

    @classmethod
    def printed(cls, table: dict[str, Any]) -> Matrix:
        """A printed table as a matrix."""
        return cls(table["sources"], list(table["targets"]), np.array(list(table["targets"].values()), dtype=float))

    def markdown(self, digits: int = 3) -> str:
        """The matrix as a table."""
        lines = zip(self.targets, self.values, strict=True)
        body = [[target, *(f"{value:.{digits}f}" for value in values)] for target, values in lines]
        return _table(["target \\ source", *self.sources], body)

    @property
    def off(self) -> np.ndarray[Any, Any]:
        """The values of other sources than the target."""
        values: np.ndarray[Any, Any] = self.values[~np.eye(len(self.values), dtype=bool)]
        return values

    def loss(self) -> float:
        """Mean of the diagonal less the other values of its row."""
        return float(np.mean(np.diag(self.values).repeat(len(self.values) - 1) - self.off))

    def explained(self, axis: int) -> float:
        """Share of the variance off the diagonal that the means of targets (axis 0) or of sources (axis 1) explain."""
        values = np.where(np.eye(len(self.values), dtype=bool), np.nan, self.values)
        means = np.broadcast_to(np.nanmean(values, axis=1 - axis, keepdims=True), values.shape)
        return float(np.var(means[~np.isnan(values)]) / max(np.var(self.off), 1e-12))


def report(results: Sequence[Tables]) -> str:
    """All sections, for the studies in the order given."""
    printed = yaml.safe_load((Path(__file__).parent / "jamil.yaml").read_text(encoding="utf-8"))
    sections = [
        "# Jamil et al. 2023: linear maps between embeddings, one detector for many networks",
        _INTRODUCTION,
        "## Setting",
        _records([result["setting"][0] for result in results]),
        *_networks(results, printed),
        *_matrices(results, printed),
        *_features(results, printed),
        *_heads(results, printed),
        *_controls(results),
        *_adaptive(results),
        *_findings(results, printed),
    ]
    return "\n\n".join(sections) + "\n"


def _networks(results: Sequence[Tables], printed: dict[str, Any]) -> Iterator[str]:
    yield "## Networks (Table 1)"
    rows = [{"attack": _attack(result), **row} for result in results for row in result["networks"]]
    yield _records(rows)
    yield _theirs(printed["networks"])
    yield _table(printed["networks"]["columns"], _strings(printed["networks"]["rows"]))


def _matrices(results: Sequence[Tables], printed: dict[str, Any]) -> Iterator[str]:
    titles = {"mse": "Mean squared error of mapped adversarial embeddings (Table 2)", "r2": "Held-out R² of the maps"}
    titles |= {"auroc": "AUROC of the target's detector on mapped embeddings (Table 3)"}
    titles |= {"tpr_at_5": "True-positive rate at 5 % false positives", "tpr_at_1": "The same at 1 %"}
    for column, title in titles.items():
        yield f"## {title}"
        for result in results:
            yield f"Ours, {_attack(result)}:"
            yield Matrix.of(_embedded(result), column).markdown()
        if column in printed:
            yield _theirs(printed[column])
            yield Matrix.printed(printed[column]).markdown()


def _features(results: Sequence[Tables], printed: dict[str, Any]) -> Iterator[str]:
    yield "## AUROC with the embedding, its Fourier magnitude (MFS) and phase (PFS) (Tables 5, 6, 8, 9)"
    header = ["target", "source", *(f"{_attack(r)} {name}" for r in results for name in ("embedding", "MFS", "PFS"))]
    body = []
    for pair in _embedded(results[0]):
        values = [_auroc(result, pair, features) for result in results for features in FEATURES]
        body.append([pair["target"], pair["source"], *(f"{value:.3f}" for value in values)])
    yield "Ours:"
    yield _table(header, sorted(body))
    yield _theirs(printed["features"])
    header = ["target", "source", *(f"{attack} {name}" for attack in ATTACKS for name in ("embedding", "MFS", "PFS"))]
    yield _table(
        header,
        [
            [target, source, *(f"{value:.3f}" for attack in ATTACKS for value in figures[attack])]
            for target, sources in printed["features"]["targets"].items()
            for source, figures in sources.items()
        ],
    )


def _heads(results: Sequence[Tables], printed: dict[str, Any]) -> Iterator[str]:
    yield "## Accuracy of the target's last layer on mapped adversarial embeddings (Table 7)"
    yield _records([{"attack": _attack(result), **row} for result in results for row in result["head"]])
    yield _theirs(printed["head"])
    yield _table(printed["head"]["columns"], _strings(printed["head"]["rows"]))


def _controls(results: Sequence[Tables]) -> Iterator[str]:
    yield "## Controls (not in the paper)"
    yield "Maps of unpaired rows, and maps learned from clean or from adversarial rows only; means off the diagonal."
    columns = ("r2_unpaired", "auroc_unpaired", "auroc_map_of_clean", "auroc_map_of_adversarial")
    yield _records(
        [
            {"attack": _attack(result), "auroc": _off(_embedded(result), "auroc")}
            | {column: _off(result["controls"], column) for column in columns}
            for result in results
        ]
    )


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
    yield _records(
        [
            {"attack": _attack(result), "source": row["source"], "target": row["target"]}
            | {title: row[column] for column, title in columns.items()}
            for result in results
            for row in result["adaptive"]
        ]
    )


def _findings(results: Sequence[Tables], printed: dict[str, Any]) -> Iterator[str]:
    """The paper's claims as differences and orders, which other data can confirm or not."""
    yield "## What carries over"
    matrices = [(_attack(result), Matrix.of(_embedded(result), "auroc")) for result in results]
    matrices.append(("paper, FGSM", Matrix.printed(printed["auroc"])))
    yield "AUROC lost by mapping (a target's own less the others'), and what explains its variance off the diagonal:"
    yield _records(
        [
            {
                "data": name,
                "mean loss": m.loss(),
                "largest loss": float(np.max(np.diag(m.values)[:, None] - m.values)),
                "explained by target": m.explained(0),
                "explained by source": m.explained(1),
            }
            for name, m in matrices
        ]
    )
    yield "How many pairs keep the order embedding ≥ PFS ≥ MFS:"
    orders = [(_attack(result), [_triple(result, pair) for pair in _embedded(result)]) for result in results]
    pairs = [pair for sources in printed["features"]["targets"].values() for pair in sources.values()]
    orders += [(f"paper, {attack}", [pair[attack] for pair in pairs]) for attack in ATTACKS]
    yield _records(
        [{"data": name, "kept": sum(e >= p >= m for e, m, p in found), "of": len(found)} for name, found in orders]
    )
    yield "Distance of the last layer's accuracy on mapped rows from that on the target's own, in points (mean):"
    gaps = [(_attack(result), [_gap(row, 100) for row in result["head"]]) for result in results]
    theirs = [dict(zip(printed["head"]["columns"], row, strict=True)) for row in printed["head"]["rows"]]
    gaps.append(("paper, FGSM", [_gap(row, 1) for row in theirs]))
    yield _records([{"data": name, "points": float(np.mean(values))} for name, values in gaps])


def _gap(row: Row, scale: int) -> float:
    return float(abs(row["adversarial_accuracy"] - row["mapped_accuracy_mean"]) * scale)


def _attack(result: Tables) -> str:
    """The attack and its norm, as a row's name; the section on the setting holds all its parameters."""
    setting = result["setting"][0]
    return f"{setting['attack'].partition('(')[0]} {setting['norm']}"


def _embedded(result: Tables) -> list[Row]:
    return [row for row in result["pairs"] if row["features"] == "embedding"]


def _auroc(result: Tables, pair: Row, features: str) -> float:
    names = (features, pair["source"], pair["target"])
    (found,) = [r["auroc"] for r in result["pairs"] if (r["features"], r["source"], r["target"]) == names]
    return float(found)


def _triple(result: Tables, pair: Row) -> list[float]:
    return [_auroc(result, pair, features) for features in FEATURES]


def _off(rows: Sequence[Row], column: str) -> float:
    return float(np.mean([row[column] for row in rows if row["source"] != row["target"]]))


def _theirs(table: dict[str, Any]) -> str:
    return f"Paper ({table['setting']}):"


def _strings(rows: Iterable[Iterable[Any]]) -> list[list[str]]:
    return [[str(value) for value in row] for row in rows]


def _records(rows: Sequence[Row]) -> str:
    """Rows of equal columns as a table."""
    return _table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
