"""Schedules: who is given which inputs, what a pilot and other rows hand over, and what a defense that raises is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import api

GRID: dict[str, Any] = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"width": 64, "epochs": 5}}],
    "attacks": ["noise", "fgsm", {"adaptive": {"steps": 20, "trial": 20}}, "replay"],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.15], "knowledge": ["adaptive"]}],
    "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
    "inputs": 96,
    "clean_inputs": 200,
    "cascade": True,
    "scrutiny": "light",
}


def outcomes(home: Path, result: api.Result, defense: str) -> pd.DataFrame:
    record = next(r for r in result.records if r["defense"].startswith(defense))
    assert record["complete"], record["failed"]
    return pd.read_parquet(home / "records" / f"{record['id']}.parquet")


def run(home: Path, **changes: Any) -> api.Result:
    return api.run({**GRID, **changes}, home=home, track=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, api.Result]:
    home = tmp_path_factory.mktemp("schedule")
    return home, run(home, defenses=["none", "bit_depth"])


def attacked(table: pd.DataFrame, attack: str, epsilon: float = 0.1) -> pd.DataFrame:
    rows = table[(table["attack"].str.split("(").str[0] == attack) & (table["check"] == "")]
    return rows[rows["epsilon"] == epsilon].set_index("index").sort_index()


def broken(rows: pd.DataFrame) -> set[int]:
    return set(rows.index[(rows["prediction"] != rows["label"]) & rows["accepted"] & rows["valid"]])


def test_each_attack_is_given_what_those_before_it_left(ran: tuple[Path, api.Result]) -> None:
    table = outcomes(*ran, "none")
    clean = table[(table["cell"] == "clean") & (table["index"].isin(attacked(table, "noise").index))]
    standing = set(clean.loc[clean["prediction"] == clean["label"], "index"])
    for attack in ("noise", "fgsm", "adaptive", "replay"):
        rows = attacked(table, attack)
        assert len(rows) == 96
        assert set(rows.index[rows["attacked"]]) == standing
        standing -= broken(rows)


def test_an_input_that_an_attack_was_not_given_is_not_broken_by_it(ran: tuple[Path, api.Result]) -> None:
    rows = attacked(outcomes(*ran, "none"), "adaptive")
    left = rows[~rows["attacked"]]
    assert len(left)
    assert (left["prediction"] == left["label"]).all()


def test_a_schedule_finds_what_the_attacks_find_one_by_one(ran: tuple[Path, api.Result]) -> None:
    home, result = ran
    apart = run(home, defenses=["none"], cascade=False)
    value = apart.records[0]["metrics"]["robust_accuracy"]["value"]
    same = next(r for r in result.records if r["defense"] == "none")["metrics"]["robust_accuracy"]["value"]
    assert same == pytest.approx(value, abs=2 / 96)


def test_shards_do_not_change_what_a_schedule_finds(ran: tuple[Path, api.Result]) -> None:
    home, _ = ran
    table, again = outcomes(*ran, "none"), outcomes(home, run(home, defenses=["none"], shard=40), "none")
    for attack in ("noise", "fgsm", "adaptive"):
        assert broken(attacked(table, attack)) == broken(attacked(again, attack))


def test_the_record_names_what_the_pilot_kept_and_which_part_broke_what(ran: tuple[Path, api.Result]) -> None:
    record = next(r for r in ran[1].records if r["defense"] == "none")
    cell = next(c for c in record["cells"] if c["attack"].startswith("adaptive"))
    assert len(cell["pilot"]["kept"]) == 3
    assert cell["pilot"]["inputs"] <= 20
    assert set(cell["parts"]) <= set(cell["pilot"]["kept"])


def test_there_is_one_pilot_however_many_shards() -> None:
    plan = api.plan_of(api.read_grid({**GRID, "shard": 20}))
    assert sum(task.kind == "pilot" for task in plan.tasks.values()) == 1


def test_replay_offers_the_other_rows_and_never_its_own(ran: tuple[Path, api.Result]) -> None:
    for record in ran[1].records:
        cell = next(c for c in record["cells"] if c["attack"] == "replay")
        other = "bit_depth" if record["defense"] == "none" else "none"
        assert all(name.startswith(other) for name in cell.get("parts", {}))


def test_several_epsilons_go_on_with_the_survivors(ran: tuple[Path, api.Result]) -> None:
    table = outcomes(*ran, "none")
    small, large = attacked(table, "adaptive"), attacked(table, "adaptive", 0.15)
    assert broken(small) <= broken(large)


RAISES = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Raises:
    """Raises where most pixels are not black."""

    role: ClassVar[str] = "purifier"

    def load(self, state, *, victim):
        def purify(x):
            if (x > 0).flatten(1).sum(1).max() > 50:
                raise RuntimeError("this input was not clean")
            return x
        return purify
'''


def test_a_defense_that_raises_on_attacked_inputs_loses_them(tmp_path: Path) -> None:
    file = tmp_path / "raises.py"
    file.write_text(RAISES)
    changes = {"attacks": ["fgsm"], "defenses": [f"{file}:Raises"], "datasets": ["digits"]}
    result = run(tmp_path, **changes)
    record = result.records[0]
    assert record["complete"], record["failed"]
    undefended = run(tmp_path, attacks=["fgsm"]).records[0]["metrics"]["robust_accuracy"]["value"]
    assert record["metrics"]["robust_accuracy"]["value"] < undefended - 0.2


def test_a_check_of_a_flag_gets_only_the_inputs_it_is_for(ran: tuple[Path, api.Result]) -> None:
    home, _ = ran
    full = run(home, defenses=["none"], scrutiny="full")
    table = outcomes(home, full, "none")
    wider = table[table["check"] == "not-monotone-in-epsilon"]
    fell = set().union(*(broken(attacked(table, name)) for name in ("noise", "fgsm", "adaptive")))
    assert set(wider.loc[wider["attacked"], "index"]) <= fell
    longer = table[(table["check"] == "not-converged") & table["attacked"]]
    assert not fell & set(longer["index"])
    assert set(table.loc[table["cell"] == "moved", "check"]) == {"twins"}


def test_what_is_tried_again_comes_after_what_only_a_replay_broke(ran: tuple[Path, api.Result]) -> None:
    plan = api.plan_of(api.read_grid({**GRID, "defenses": ["none", "bit_depth"]}))
    replays = [
        t.key for t in plan.tasks.values() if t.kind == "observe" and t.attempt and t.attempt.attack.name == "replay"
    ]
    again = [t for t in plan.tasks.values() if t.kind == "craft" and t.check and t.check.flag.startswith("black-box")]
    assert len(again) == 2
    assert set(replays) <= {key for task in again for key in task.only}


def test_clean_inputs_that_no_attack_sees_get_fewer_draws() -> None:
    plan = api.plan_of(api.read_grid({**GRID, "defenses": ["none", "gaussian_noise"], "scoring": 50}))
    clean = [t for t in plan.tasks.values() if t.kind == "observe" and t.attempt is None and t.shift is None]
    found = {(bool(t.pipeline and t.pipeline.parts), t.rows, dict(t.options)["scoring"]) for t in clean}
    assert found == {(False, (0, 200), 50), (True, (0, 96), 50), (True, (96, 200), 10)}


def test_a_pilot_takes_a_quarter_of_the_inputs_where_a_system_differentiates_inside(tmp_path: Path) -> None:
    attacks = ["fgsm", {"adaptive": {"steps": 4, "trial": 20, "first": 2, "kept": 1}}]
    result = run(tmp_path, defenses=["gradient_purifier"], attacks=attacks, inputs=48)
    (cell,) = {
        c["attack"]: c for c in result.records[0]["cells"] if c["attack"].startswith("adaptive") and c["epsilon"] == 0.1
    }.values()
    assert cell["pilot"]["inputs"] == 5
