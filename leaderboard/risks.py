"""The adversarial risk of a board's systems taken apart: along the data's manifold, across it, nearby, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.types import Interval, Threat
from leaderboard._values import interval, mapping, mappings, number, sequence
from leaderboard.rows import Board, Row, threat_of

RISKS = {
    "adversarial": "Adversarial",
    "standard": "Standard",
    "normal": "Normal",
    "in_manifold": "In-manifold, ε",
    "in_manifold_twice": "In-manifold, 2ε",
    "nearby_normal": "Nearby-normal",
    "nearby_normal_printed": "as printed",
    "bound": "Bound",
}
CAUSES = {
    "standard": "wrong or rejected when clean",
    "normal": "lost along its normal",
    "in_manifold": "lost on the manifold within 2ε",
    "nearby_normal": "lost along the normal of a point nearby",
    "unexplained": "lost to other attacks only",
}
EXPLANATION = (
    "Shares of the inputs, in %. Standard: wrong or rejected when clean; such an input counts as normal and in-manifold too. "
    "Normal: lost within ε along the normal at the input. In-manifold: lost on the manifold within ε or 2ε. Nearby-normal: "
    "neither within ε along its own normal nor on the manifold within 2ε, but within ε along the normal of a point of the "
    "manifold within 2ε; as printed: with 2ε for its own normal. Bound: standard + normal + in-manifold at 2ε + "
    "nearby-normal (Zhang et al. 2024, theorem 1); its terms are found by attack, so a bound below the adversarial risk shows "
    "that attacks missed something. The causes are the first that holds, from left to right, and add up to the adversarial risk."
)


@dataclass(frozen=True)
class Line:
    """A system at a threat whose risk is taken apart."""

    row: Row
    threat: Threat
    inputs: int
    risks: Mapping[str, Interval]
    causes: Mapping[str, Interval]
    per_input: Mapping[str, Any]

    def lost(self, cause: str) -> list[int]:
        """The test inputs that were lost for a cause."""
        return [int(i) for i in map(number, sequence(self.per_input.get(f"by {cause}"))) if i is not None]


def lines(board: Board) -> list[Line]:
    """The systems in their order, each with its threats from the largest budget of the headline's norm on."""
    found = [line for row in board.rows for line in of_row(row)]
    order = {id(row): place for place, row in enumerate(board.rows)}
    head = board.headline
    return sorted(
        found,
        key=lambda line: (line.threat.norm != head.norm, line.threat.norm, -line.threat.epsilon, order[id(line.row)]),
    )


def of_row(row: Row) -> list[Line]:
    """What the record of one system holds; what is malformed is left out."""
    found = []
    for item in mappings(row.record.get("risks")):
        threat = threat_of(item)
        if threat is None:
            continue
        risks, causes = (_intervals(item.get(name)) for name in ("risks", "causes"))
        inputs = int(number(item.get("inputs")) or 0)
        found.append(Line(row, threat, inputs, risks, causes, mapping(item.get("per_input"))))
    return found


def _intervals(value: Any) -> dict[str, Interval]:
    found = {name: interval(item) for name, item in mapping(value).items()}
    return {name: item for name, item in found.items() if item is not None}
