"""The decomposition of adversarial risk from outcomes: against the one of closed forms, by hand, with what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from geometry.risk import decomposition as exact
from geometry.risk.radii import Radii
from harness.metrics.nearby_normal_risk import NearbyNormalRisk
from harness.metrics.normal_risk import NormalRisk
from harness.risks import CAUSES, causes, decomposition, flags
from harness.types import Threat

NUMBER, E = 400, 0.5
MOVES = {"across": "normal", "along": "in_manifold", "near": "nearby_normal", "any": None}
THREAT = Threat("l2", E, "adaptive")


def rows(attack: str, lost: Any, epsilon: float, **more: Any) -> pd.DataFrame:
    lost = np.asarray(lost, dtype=bool)
    table = {
        "index": np.arange(len(lost)),
        "label": 0,
        "prediction": lost.astype(int),
        "accepted": True,
        "valid": True,
        "attacked": True,
        "draw": 0,
        "role": "score",
        "epsilon": epsilon,
        "cell": "attack" if attack else "clean",
        "attack": attack,
        "check": "",
        "norm": "l2" if attack else "",
        "knowledge": "adaptive" if attack else "",
    }
    return pd.DataFrame(table | more)


def outcomes(*frames: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat(frames, ignore_index=True)
    table.attrs["moves"] = MOVES
    return table


def drawn(seed: int) -> Radii:
    """Radii that obey what every set of them does: wrong inputs at 0, the adversarial one the least."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(NUMBER, generator=generator) < 0.1
    normal, inside, beyond, near = (4 * E * torch.rand(NUMBER, generator=generator) for _ in range(4))
    normal, inside = torch.where(wrong, 0.0, normal), torch.where(wrong, 0.0, inside)
    return Radii(wrong, torch.stack([normal, inside, beyond]).amin(0), inside, normal, near)


def attacked(radii: Radii) -> pd.DataFrame:
    return outcomes(
        rows("", radii.wrong, 0.0),
        rows("any", radii.adversarial < E, E),
        *(rows("across", radii.normal <= factor * E, factor * E) for factor in (1, 2)),
        *(rows("along", radii.in_manifold <= factor * E, factor * E) for factor in (1, 2)),
        rows("near", radii.nearby <= E, 3 * E),
    )


@pytest.mark.parametrize("seed", range(3))
def test_events_risks_and_causes_are_those_of_the_closed_forms(seed: int) -> None:
    radii = drawn(seed)
    expected, table = exact.flags(radii, E), attacked(radii)
    found = flags(table, THREAT)
    assert found is not None
    for name in found:
        assert found[str(name)].tolist() == getattr(expected, str(name)).tolist(), name
    assert set(found) == set(vars(expected))
    names = ["", *exact.CAUSES]
    assert causes(found).tolist() == [names[place + 1] for place in exact.cause(expected).tolist()]
    assert exact.CAUSES == CAUSES
    answer = decomposition(table, THREAT)
    assert answer is not None
    risks = {name: value for name, value in exact.risks(expected).items() if name != "bound_printed"}
    assert {name: value["value"] for name, value in answer["risks"].items()} == pytest.approx(risks)
    assert sum(share["value"] for share in answer["causes"].values()) == pytest.approx(risks["adversarial"])
    assert all(share["low"] <= share["value"] <= share["high"] for share in answer["risks"].values())
    assert len(answer["per_input"]["by normal"]) == round(NUMBER * answer["causes"]["normal"]["value"])
    assert NormalRisk()(table, THREAT).value == pytest.approx(risks["normal"])  # type: ignore[union-attr]
    assert NearbyNormalRisk()(table, THREAT).value == pytest.approx(risks["nearby_normal"])  # type: ignore[union-attr]


def test_without_attacks_that_tell_there_is_nothing() -> None:
    table = outcomes(rows("", [0, 1], 0.0), rows("any", [1, 1], E), rows("across", [0, 1], E))
    assert flags(table, THREAT) is None
    assert decomposition(table, THREAT) is None
    assert NormalRisk()(table, THREAT) is None


def test_what_no_attack_tells_is_left_out_and_unexplained() -> None:
    table = outcomes(
        rows("", [0, 0, 0], 0.0),
        rows("any", [1, 1, 0], E),
        rows("across", [1, 0, 0], E),
        rows("along", [0, 0, 0], E),
        rows("along", [0, 0, 0], 2 * E),
    )
    found = decomposition(table, THREAT)
    assert found is not None
    assert set(found["risks"]) == {"standard", "adversarial", "normal", "in_manifold", "in_manifold_twice"}
    assert found["per_input"]["by normal"] == [0]
    assert found["per_input"]["by unexplained"] == [1]
    assert NearbyNormalRisk()(table, THREAT) is None


def test_inputs_that_an_attack_was_not_given_do_not_count() -> None:
    across = rows("across", [0, 0, 0], E, attacked=[True, False, False])
    along = [rows("along", [0, 0, 0], epsilon) for epsilon in (E, 2 * E)]
    table = outcomes(rows("", [0, 0, 1], 0.0), rows("any", [0, 1, 1], E), across, *along)
    found = flags(table, THREAT)
    assert found is not None
    assert found.index.tolist() == [0, 2]  # the third was lost when clean: no attack need tell
    assert found.loc[2].all()


def test_outside_the_ball_nothing_is_lost() -> None:
    along = [rows("along", [1], epsilon, accepted=False) for epsilon in (E, 2 * E)]
    table = outcomes(rows("", [0], 0.0), rows("across", [1], E, valid=False), *along)
    found = flags(table, THREAT)
    assert found is not None
    assert not found.to_numpy().any()
