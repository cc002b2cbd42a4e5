"""The grids of Liu Z. et al. are ones of the harness, and the report puts areas beside the printed ones."""

from __future__ import annotations

from harness import grid as grids_of_the_harness
from leaderboard.papers._markdown import printed
from leaderboard.papers.liu_z import DETECTORS, PAIRS, grids, report, studies


def share(value):
    return {"value": value, "low": value - 0.01, "high": min(1.0, value + 0.01)}


def record(home, defense, areas):
    return {
        "dataset": home,
        "defense": defense,
        "shifts": [{"name": name, "auroc": share(value)} for name, value in areas.items()],
        "metrics": {"robust_accuracy": share(0.3), "clean_accuracy": share(0.9)},
        "forwards": 12.0,
    }


def test_grids_are_read_by_the_harness():
    assert not studies()
    for mapping in grids():
        grid = grids_of_the_harness.from_mapping(mapping)
        assert grid.inputs == 200
        assert len(grid.defenses) == len(DETECTORS)


def test_areas_stand_beside_the_printed_ones():
    runs = [
        [
            record(home, defense, dict.fromkeys(foreign, 0.5 + 0.01 * place))
            for place, defense in enumerate(DETECTORS.values())
        ]
        for home, foreign in PAIRS.items()
    ]
    text = report([], runs)
    row = next(line for line in text.splitlines() if line.startswith("| fashion_mnist | mnist |"))
    assert "0.550 (0.540–0.560) | 0.992" in row  # LMD, and the paper's
    assert "| mnist | lift_map_detect | 0.300 (" in text
    assert len(printed("liu_z")["table_1"]["rows"]) == 13
