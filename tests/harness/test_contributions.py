"""What each attack adds to the others, on outcomes small enough to be counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.contributions import contributions, only_by
from harness.rank import robustness
from harness.types import Threat

SMALL, LARGE = Threat("linf", 0.1, "adaptive"), Threat("linf", 0.2, "adaptive")


def rows(attack: str, broken: list[int], *, inputs: int = 8, epsilon: float = 0.2, **more: Any) -> pd.DataFrame:
    """Outcomes of an attack that breaks the inputs listed, and was given all but those `spared`."""
    index = np.arange(inputs)
    spared = np.isin(index, more.pop("spared", []))
    table = {"index": index, "epsilon": epsilon, "draw": 0, "label": 0, "prediction": np.isin(index, broken) * 1}
    table |= {"margin": 0.0, "accepted": True, "distance": 0.1, "valid": True, "attacked": ~spared, "check": ""}
    table |= {"cell": "attack", "attack": attack, "norm": "linf", "knowledge": "adaptive", "role": "score"}
    return pd.DataFrame(table | more)


def clean(wrong: list[int], **more: Any) -> pd.DataFrame:
    return rows("", wrong, cell="clean", **{"epsilon": 0.0, "norm": "", "knowledge": "", **more})


def test_missed_and_wins_by_hand():
    table = pd.concat([clean([7]), rows("a", [0, 1, 2, 7]), rows("b", [1, 2, 3]), rows("c", [])])
    found = contributions(table)
    assert found["a", LARGE] == {"right": 7, "missed": 1, "wins": 1}
    assert found["b", LARGE] == {"right": 7, "missed": 1, "wins": 1}
    assert found["c", LARGE] == {"right": 7, "missed": 4, "wins": 0}


def test_what_only_one_attack_broke_at_any_size():
    small, other = rows("a", [5], epsilon=0.1), rows("a", [0, 1, 2], norm="l2")
    table = pd.concat([clean([7]), small, rows("a", [0, 1, 5, 7]), other, rows("b", [1]), rows("b", [2], norm="l2")])
    assert only_by(table, "a") == {"linf": {0, 5}, "l2": {0, 1}}
    assert only_by(table, "b") == {"linf": set(), "l2": set()}
    assert only_by(table, "c") == {}


def test_what_an_attack_was_not_given_it_did_not_miss():
    table = pd.concat([clean([]), rows("first", [0, 1]), rows("second", [2], spared=[0, 1])])
    assert contributions(table)["second", LARGE] == {"right": 6, "missed": 0, "wins": 1}


def test_an_attack_is_no_rival_of_itself_and_a_larger_ball_does_not_count_in_a_smaller():
    table = pd.concat([clean([]), rows("a", [0], epsilon=0.1), rows("a", [0, 1]), rows("b", [2])])
    found = contributions(table)
    assert found["a", SMALL] == {"right": 8, "missed": 0, "wins": 1}
    assert found["a", LARGE] == {"right": 8, "missed": 1, "wins": 2}


def test_less_knowledge_counts_and_more_does_not():
    table = pd.concat([clean([]), rows("a", [0], knowledge="oblivious"), rows("b", [1])])
    found = contributions(table)
    assert found["b", LARGE]["missed"] == 1
    assert found["a", Threat("linf", 0.2, "oblivious")]["missed"] == 0


def test_what_is_invalid_rejected_or_seen_for_a_flag():
    table = [clean([]), rows("far", [0, 1], valid=False), rows("seen", [0, 1], accepted=False), rows("a", [2])]
    table.append(rows("a", [2, 3], check="not-converged", index=np.arange(8)))
    table.append(rows("noise", [4], cell="moved", check="twins"))
    found = contributions(pd.concat(table))
    assert set(found) == {("far", LARGE), ("seen", LARGE), ("a", LARGE)}
    assert found["far", LARGE] == {"right": 8, "missed": 2, "wins": 0}
    assert found["a", LARGE] == {"right": 8, "missed": 1, "wins": 1}  # 3 fell to it only when tried again


def test_random_systems_choose_on_selection_draws():
    def drawn(table: pd.DataFrame, broken: dict[str, list[int]]) -> pd.DataFrame:
        parts = []
        for draw, role in enumerate(("select", "select", "score")):
            part = table.assign(draw=draw, role=role)
            parts.append(part.assign(prediction=np.isin(part["index"], broken.get(role, [])) * 1))
        return pd.concat(parts)

    table = pd.concat(
        [drawn(clean([]), {}), drawn(rows("a", []), {"select": [0]}), drawn(rows("b", []), {"score": [1]})]
    )
    found = contributions(table)
    assert found["a", LARGE]["wins"] == 1
    assert found["b", LARGE] == {"right": 8, "missed": 1, "wins": 0}


def test_wins_and_missed_agree_with_the_worst_case():
    """Without an attack, exactly the inputs that only it broke stand again."""
    generator = np.random.default_rng(0)
    attacks = {name: generator.choice(60, 25, replace=False).tolist() for name in "abcd"}
    table = pd.concat([clean([1, 2], inputs=60), *(rows(n, b, inputs=60) for n, b in attacks.items())])
    whole = (robustness(table, LARGE).robust > 0.5).sum()
    for (name, _), found in contributions(table).items():
        rest = (robustness(table[table["attack"] != name], LARGE).robust > 0.5).sum()
        assert found["wins"] == rest - whole
        alone = (robustness(table, LARGE, attack=name).robust > 0.5).sum()
        assert found["missed"] == alone - whole
