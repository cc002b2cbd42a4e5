"""Each flag on outcomes made to deserve it, and on sound ones; and on systems that ran."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import api, validity
from harness import grid as grids
from harness.reading import from_mapping
from harness.spec import parse
from harness.types import Threat

HEADLINE = Threat("linf", 0.2, "adaptive")
NEEDS = {"noise": "decision", "transfer": "decision", "square": "logits"}
SOUND: dict[str, Any] = {
    "inputs": 200,
    "random_declared": False,
    "gradient": {"inputs": 200, "unusable": 0, "cross_entropy_unusable": 0},
    "mismatch": {"inputs": 200, "near": 0.99, "far": 0.95},
    "repeat": {"inputs": 200, "again": 0, "reversed": 0, "halved": 0, "gradient_mode": 0, "queried": 0},
    "autograd": False,
    "slowdown": 1.2,
    "probabilities": False,
}
Rows = pd.DataFrame


def rows(
    attack: str = "", broken: Set[int] = frozenset(), *, given: Set[int] | None = None, n: int = 500, **columns: Any
) -> Rows:
    """What an attack (or none) came to on the inputs 0 .. n - 1; those that it was not given are not broken."""
    frame = pd.DataFrame({"index": np.arange(n)})
    base = {"cell": "attack", "norm": "linf", "epsilon": 0.2, "knowledge": "adaptive"}
    base = base if attack else {"cell": "clean", "norm": "", "epsilon": 0.0, "knowledge": ""}
    values: dict[str, Any] = {
        "attack": attack,
        "check": "",
        "draw": 0,
        "label": 0,
        "valid": True,
        "accepted": True,
    } | base
    values |= {"margin": 0.0, "distance": 0.1, "role": "score", "loss": float("nan")} | columns
    frame["attacked"] = bool(attack) if given is None else frame["index"].isin(given)
    frame["prediction"] = (frame["index"].isin(broken) & (frame["attacked"] | (attack == ""))).astype(int)
    return frame.assign(**values)


def table(*parts: Rows, n: int = 500, rejected: int = 0, **attrs: Any) -> Rows:
    """The outcomes of a system: clean rows, those of SOUND attacks where there are no others, and what flags read beside them."""
    clean = rows(n=n)
    clean["accepted"] = clean["index"] >= rejected
    made = pd.concat([clean, *parts], ignore_index=True)
    known = {
        "defended": True,
        "rejects": False,
        "rate": 0.01,
        "calibrated": 5000,
        "surrogate": False,
        "classes": 10,
        "needs": NEEDS,
    }
    made.attrs.update(known | attrs)
    return made


def grid_rows(**changes: Rows) -> list[Rows]:
    """The rows of a sound system's attacks; a keyword replaces some."""
    sound = {
        "fgsm": rows("fgsm", set(range(100))),
        "pgd": rows("pgd", set(range(300))),
        "noise": rows("noise", set(range(10))),
        "oblivious": rows("pgd", set(range(200)), knowledge="oblivious"),
        "again": rows("apgd", set(), given=set(), check="single-step-beats-iterative"),
        "blind": rows("apgd", set(), given=set(), check="black-box-beats-white-box"),
    }
    return list((sound | changes).values())


def flag(name: str, outcomes: Rows, probe: Any = SOUND) -> dict[str, Any]:
    return {f["name"]: f for f in validity.flags(outcomes, probe, HEADLINE)}[name]


def sound_checks() -> list[Rows]:
    """The cells of flags on a sound system, with the losses of its search."""
    survivors = set(range(300, 500))
    return [
        rows(
            "apgd(loss=margin, steps=50)",
            set(range(100)),
            given=set(range(100)),
            check="not-monotone-in-epsilon",
            epsilon=0.4,
        ),
        rows(
            "apgd(loss=margin, steps=50)",
            set(range(100)),
            given=set(range(100)),
            check="survives-full-range",
            epsilon=1.0,
        ),
        rows("apgd(loss=margin)", {300}, given=survivors, check="not-converged"),
        rows("apgd(loss=margin, restarts=2)", {300}, given=survivors, check="not-converged"),
        rows("apgd(loss=margin, steps=50)", set(range(110)), given=set(range(200)), check="twins"),
        rows("apgd(loss=margin, steps=50)", set(range(120)), given=set(range(200)), check="twins", cell="moved"),
    ]


def test_a_sound_system_has_no_flag() -> None:
    pgd = rows("pgd", set(range(300)))
    pgd["loss"] = np.where(pgd["index"] < 300, 1.0, -1.0)
    noise = rows("", cell="shift uniform_noise(epsilon=0.05)", n=200)
    parts = [*grid_rows(pgd=pgd), *sound_checks(), noise]
    found = validity.flags(table(*parts, rejected=5, rejects=True), SOUND, HEADLINE)
    assert {f["name"]: f["text"] for f in found if f["fired"] is not False} == {}
    assert len({f["name"] for f in found}) == len(found) == 15
    assert all(f["text"] for f in found)


def test_what_was_not_tried_is_said() -> None:
    found = {f["name"]: f for f in validity.flags(table(), None, HEADLINE)}
    assert {name for name, f in found.items() if f["fired"] is False} == {"threshold-off", "rejects-noise"}
    assert all(f["text"].startswith("not evaluated: ") for f in found.values() if f["fired"] is None)


def test_single_step_beats_iterative() -> None:
    name = "single-step-beats-iterative"
    fgsm, pgd = rows("fgsm", set(range(120))), rows("pgd", set(range(110, 125)))
    again = rows("apgd", {0, 1, 2}, given=set(range(110)), check=name)
    found = flag(name, table(*grid_rows(fgsm=fgsm, pgd=pgd, again=again)))
    assert found["fired"]
    assert (found["evidence"]["b"], found["evidence"]["c"], found["evidence"]["alone"]) == (107, 5, 110)
    assert found["evidence"]["p"] == pytest.approx(stats.binomtest(107, 112, alternative="greater").pvalue)
    assert found["evidence"]["inputs"] == list(range(3, 53))
    confirmed = rows("apgd", set(range(110)), given=set(range(110)), check=name)
    assert flag(name, table(*grid_rows(fgsm=fgsm, pgd=pgd, again=confirmed)))["fired"] is False
    few = grid_rows(fgsm=rows("fgsm", {1, 2}), pgd=rows("pgd", {2}), again=rows("apgd", given={1}, check=name))
    assert flag(name, table(*few))["fired"] is False
    assert flag(name, table(rows("fgsm", {1})))["fired"] is None


def test_a_cascade_loses_no_comparison() -> None:
    """Each attack is given what stood before it: what it was not given is in nobody's favour."""
    name, weak = "single-step-beats-iterative", set(range(120))
    sound = [rows("fgsm", weak), rows("pgd", set(range(120, 300)), given=set(range(120, 500)))]
    assert flag(name, table(*sound, rows("apgd", weak, given=weak, check=name)))["fired"] is False
    broken = [rows("fgsm", weak), rows("pgd", {120, 121}, given=set(range(120, 500)))]
    found = flag(name, table(*broken, rows("apgd", {0}, given=weak, check=name)))
    assert (found["fired"], found["evidence"]["b"], found["evidence"]["c"]) == (True, 119, 2)
    late = [rows("pgd", set(range(300))), rows("fgsm", set(range(300, 304)), given=set(range(300, 500)))]
    assert flag(name, table(*late, rows("apgd", given=set(range(300, 304)), check=name)))["fired"] is False


def test_random_systems_are_broken_in_more_than_half_of_the_draws() -> None:
    name = "single-step-beats-iterative"

    def drawn(attack: str, rate: float, **columns: Any) -> Rows:
        draws = [
            rows(attack, set(range(30)) if draw < 20 * rate else set(), draw=draw, n=100, **columns)
            for draw in range(20)
        ]
        return pd.concat(draws, ignore_index=True)

    again = drawn("apgd", 0.4, check=name)
    made = table(drawn("fgsm", 0.6), drawn("pgd", 0.4), again, n=100)
    assert (flag(name, made)["fired"], flag(name, made)["evidence"]["b"]) == (True, 30)
    assert flag(name, table(drawn("fgsm", 0.5), drawn("pgd", 0.4), again, n=100))["fired"] is False


def test_black_box_beats_white_box() -> None:
    name, after = "black-box-beats-white-box", set(range(300, 330))
    stays = rows("apgd", {300}, given=after, check=name)
    for parts in (
        {"noise": rows("noise", set(range(290, 320))), "blind": stays},
        {"oblivious": rows("pgd", set(range(330)), knowledge="oblivious"), "blind": stays},
        {"square": rows("square", after), "blind": stays},
    ):
        assert flag(name, table(*grid_rows(**parts)))["fired"]
    bare = table(*grid_rows(oblivious=rows("pgd", set(range(330)), knowledge="oblivious"), blind=stays), defended=False)
    assert flag(name, bare)["fired"] is False
    falls = rows("apgd", after, given=after, check=name)
    assert flag(name, table(*grid_rows(square=rows("square", after), blind=falls)))["fired"] is False
    assert flag(name, table(rows("pgd", {1})))["fired"] is None


def test_inputs_wrong_when_clean_are_no_evidence() -> None:
    made = table(rows("fgsm", set(range(100))), rows("pgd"))
    made.loc[(made["cell"] == "clean") & (made["index"] < 100), "prediction"] = 1
    assert flag("single-step-beats-iterative", made)["fired"] is False


@pytest.mark.parametrize(("lost", "fired"), [(5, False), (6, True)])
def test_not_monotone_in_epsilon(lost: int, fired: bool) -> None:
    name, given = "not-monotone-in-epsilon", set(range(100))
    check = rows("apgd", set(range(lost, 100)), given=given, check=name, epsilon=0.4)
    found = flag(name, table(*grid_rows(), check))
    assert (found["fired"], found["value"], found["evidence"]["inputs"]) == (fired, lost / 100, list(range(lost)))
    nobody = rows("apgd", given=set(), check=name, epsilon=0.4)
    assert flag(name, table(nobody))["text"] == "not evaluated: no input was broken at the headline"


@pytest.mark.parametrize(
    ("held", "classes", "fired"), [(0, 10, False), (15, 10, False), (16, 10, True), (40, 2, False)]
)
def test_survives_full_range(held: int, classes: int, fired: bool) -> None:
    """Wilson's lower bound of 15 of 100 is below a tenth, that of 16 is not."""
    check = rows("apgd", set(range(held, 100)), given=set(range(100)), check="survives-full-range", epsilon=1.0)
    assert flag("survives-full-range", table(check, classes=classes))["fired"] is fired


@pytest.mark.parametrize(("fell", "fired"), [(3, False), (30, True)])
def test_not_converged(fell: int, fired: bool) -> None:
    given = set(range(300, 500))
    doubled = rows("apgd(loss=margin)", set(range(300, 300 + fell)), given=given, check="not-converged")
    restart = rows("apgd(loss=margin, restarts=2)", {499, 498}, given=given, check="not-converged")
    found = flag("not-converged", table(*grid_rows(), doubled, restart))
    assert found["fired"] is fired
    assert found["value"] == pytest.approx(fell / 200 * 200 / 500)
    assert (found["evidence"]["restart_broken"], found["evidence"]["n"]) == (2, 200)


def test_an_input_wrong_when_clean_survives_nothing() -> None:
    """An oblivious attack is given those too; they are no gain of doubled steps and no survivors of the full range."""
    given, wrong = set(range(100)), set(range(50))
    parts = [
        rows("apgd(loss=margin)", wrong, given=given, check="not-converged"),
        rows("apgd(loss=margin)", wrong, given=given, check="survives-full-range", epsilon=1.0),
    ]
    made = table(*grid_rows(), *parts)
    made.loc[(made["cell"] == "clean") & (made["index"] < 50), "prediction"] = 1
    assert (flag("not-converged", made)["evidence"]["n"], flag("not-converged", made)["value"]) == (50, 0)
    assert flag("survives-full-range", made)["evidence"]["held"] == 50


def test_few_survivors_do_not_make_a_gain() -> None:
    """Where two of 500 are left, one of them is a fifth of a point."""
    grid = grid_rows(pgd=rows("pgd", set(range(498))))
    doubled = rows("apgd(loss=margin)", {499}, given={498, 499}, check="not-converged")
    assert flag("not-converged", table(*grid, doubled))["fired"] is False
    assert (
        flag("not-converged", table(*grid, rows("apgd(loss=margin)", given=set(), check="not-converged")))["fired"]
        is False
    )


@pytest.mark.parametrize(
    ("moved", "right", "fired"), [(70, 200, True), (100, 200, False), (70, 150, None), (5, 15, None)]
)
def test_twins(moved: int, right: int, fired: bool | None) -> None:
    """Of 200 images 150 are robust; of the moved ones `right` are right at all and `moved` robust."""
    own = rows("apgd", set(range(50)), given=set(range(200)), check="twins")
    given = set(np.linspace(0, 199, right).astype(int).tolist())
    twin = rows("apgd", set(sorted(given)[: right - moved]), given=given, check="twins", cell="moved")
    assert flag("twins", table(own, twin))["fired"] is fired


@pytest.mark.parametrize(("others", "fired"), [(0, True), (5, True), (80, False)])
def test_images_that_other_attacks_broke_are_not_memorised(others: int, fired: bool) -> None:
    """One search leaves 150 of 200 images, and 70 of the moved ones; the attacks of the grid break some of the 150 too."""
    own = rows("apgd", set(range(50)), given=set(range(200)), check="twins")
    twin = rows("apgd", set(range(130)), given=set(range(200)), check="twins", cell="moved")
    grid = rows("adaptive", set(range(100, 100 + others)))
    found = flag("twins", table(grid, own, twin))
    assert found["fired"] is fired
    assert found["evidence"]["own"] == pytest.approx((150 - others) / 200)


def test_inconsistent_loss() -> None:
    generator = np.random.default_rng(0)
    pgd = rows("pgd(steps=40)", set(range(250)))
    pgd["loss"] = generator.normal(size=500)
    found = flag("inconsistent-loss", table(pgd))
    assert found["fired"]
    higher = stats.mannwhitneyu(pgd["loss"][:250], pgd["loss"][250:]).statistic / 250**2
    assert found["value"] == pytest.approx(higher)
    pgd["loss"] += np.where(pgd["index"] < 250, 4.0, 0.0)
    assert flag("inconsistent-loss", table(pgd))["fired"] is False
    few = rows("pgd", set(range(29)), loss=0.0)
    assert flag("inconsistent-loss", table(few))["fired"] is None


@pytest.mark.parametrize(
    ("name", "changes", "fired", "severity"),
    [
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 20}}, True, "warning"),
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 2}}, False, "warning"),
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 200, "error": "no grad_fn"}}, True, "warning"),
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 0, "cross_entropy_unusable": 190}}, True, "info"),
        ("gradient-mismatch", {"mismatch": {"near": 0.3, "far": 0.5}}, True, "warning"),
        ("gradient-mismatch", {"mismatch": {"near": 0.3, "far": 0.9}}, False, "warning"),
        ("gradient-mismatch", {"mismatch": {"near": None, "far": None}}, None, "warning"),
        (
            "gradient-mismatch",
            {"mismatch": {"near": 1.0, "far": 1.0, "detection_near": 0.7, "detection_far": 0.1}},
            True,
            "warning",
        ),
        (
            "gradient-mismatch",
            {"mismatch": {"near": 1.0, "far": 0.9, "detection_near": 0.9, "detection_far": 0.1}},
            False,
            "warning",
        ),
        ("random", {"repeat": {**SOUND["repeat"], "again": 3}}, True, "warning"),
        ("random", {"random_declared": True}, True, "info"),
        ("random", {"random_declared": True, "repeat": {**SOUND["repeat"], "again": 3}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "halved": 1}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "gradient_mode": 9}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "queried": 9}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "again": 1, "halved": 1}}, None, "warning"),
        ("loops-at-inference", {"autograd": True}, True, "info"),
        ("loops-at-inference", {"slowdown": 36.2}, True, "info"),
        ("loops-at-inference", {"slowdown": 9.0}, False, "info"),
        ("loops-at-inference", {"slowdown": None}, False, "info"),
        ("probabilities-not-logits", {"probabilities": True}, True, "info"),
    ],
)
def test_flags_of_the_probe(name: str, changes: dict[str, Any], fired: bool | None, severity: str) -> None:
    found = flag(name, table(), SOUND | changes)
    assert (found["fired"], found["severity"]) == (fired, severity)


def test_a_declared_surrogate_is_said_and_is_no_warning() -> None:
    found = flag("gradient-mismatch", table(surrogate=True), SOUND | {"mismatch": {"near": 0.0, "far": 0.1}})
    assert (found["fired"], found["severity"]) == (True, "info")
    assert "surrogate" in found["text"]


@pytest.mark.parametrize(("accepted", "rejects", "fired"), [(179, True, True), (180, True, False), (0, False, False)])
def test_rejects_noise(accepted: int, rejects: bool, fired: bool) -> None:
    noise = rows("", cell="shift uniform_noise(epsilon=0.05)", n=200)
    noise["accepted"] = noise["index"] < accepted
    assert flag("rejects-noise", table(noise, rejects=rejects))["fired"] is fired
    assert flag("rejects-noise", table(rejects=True))["fired"] is None


@pytest.mark.parametrize(("calibrated", "clean"), [(359, 359), (360, 300), (5000, 1000)])
def test_threshold_off_is_calibrated(calibrated: int, clean: int) -> None:
    """p of an honest threshold, against simulation of the whole procedure: calibrate, then count rejections."""
    generator = np.random.default_rng(calibrated)
    place = int(np.ceil(round((calibrated + 1) * 0.99, 9)))
    counts = []
    for _ in range(4000):
        threshold = np.partition(generator.random(calibrated), place - 1)[place - 1]
        counts.append(int((generator.random(clean) > threshold).sum()))
    numbers = np.array(counts)
    for rejected in (0, 2, int(np.quantile(numbers, 0.9)), int(np.quantile(numbers, 0.99))):
        made = table(n=clean, rejected=rejected, rejects=True, calibrated=calibrated)
        p = flag("threshold-off", made)["evidence"]["p"]
        simulated = min(1.0, 2 * min((numbers <= rejected).mean(), (numbers >= rejected).mean()))
        assert p == pytest.approx(simulated, abs=4 * np.sqrt(0.25 / 4000))


def test_threshold_off_fires_where_it_is_off() -> None:
    assert flag("threshold-off", table(n=1000, rejected=50, rejects=True))["fired"]
    assert flag("threshold-off", table(n=1000, rejected=10, rejects=True))["fired"] is False
    assert flag("threshold-off", table(n=5000, rejected=5, rejects=True))["fired"]
    assert flag("threshold-off", table(n=1000, rejected=500))["fired"] is False


BASE: dict[str, Any] = {
    "datasets": ["digits"],
    "victims": ["mlp"],
    "attacks": ["pgd"],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.2], "knowledge": ["oblivious", "adaptive"]}],
}


def extra(**changes: Any) -> list[grids.Cell]:
    grid = from_mapping({"name": "g", **BASE, **changes})
    (system,) = grids.systems(grid)
    return list(validity.cells(grid, system))


def attacks(cells: list[grids.Cell]) -> list[str]:
    """The attacks of cells that are no checks, all at the headline."""
    found = [cell.attempt for cell in cells if cell.attempt is not None and cell.check is None]
    assert all((a.norm, a.epsilons, a.knowledge) == ("linf", (0.2,), "adaptive") for a in found)
    return [a.attack.name for a in found]


def test_cells_that_the_flags_need() -> None:
    assert attacks(extra()) == ["fgsm", "noise"]
    assert attacks(extra(attacks=["noise", "fgsm", {"pgd": {"steps": 3}}])) == []
    assert attacks(extra(attacks=["noise"])) == ["fgsm", "pgd"]
    assert attacks(extra(attacks=["apgd", "fgsm"])) == ["noise"]
    line = {"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}
    assert attacks(extra(attacks=["noise", "fgsm"], threats=[line | {"attacks": ["apgd"]}])) == ["fgsm", "noise"]


def test_checks_of_full_and_light_scrutiny() -> None:
    def checks(**changes: Any) -> list[str]:
        return [cell.check.flag for cell in extra(**changes) if cell.check]

    comparisons = ["single-step-beats-iterative", "black-box-beats-white-box"]
    assert checks(scrutiny="light") == comparisons
    scratch = ["not-monotone-in-epsilon", "survives-full-range", "twins", "twins"]
    assert checks() == [*comparisons, "not-converged", "not-converged", *scratch]
    oblivious = {"norm": "linf", "epsilon": 0.2, "knowledge": "oblivious"}
    assert set(checks(headline=oblivious)) == {*comparisons, "not-converged"}
    detects = extra(defenses=["linear_map_svm"])
    assert "survives-full-range" not in [cell.check.flag for cell in detects if cell.check]
    assert [cell.shift for cell in detects if cell.shift] == [validity.noise(HEADLINE)]


def test_a_system_that_may_reject_is_searched_with_several_weights_at_twice_epsilon() -> None:
    cells = extra(defenses=["linear_map_svm"], scrutiny="full")
    tried = [c.attempt for c in cells if c.check and c.check.flag == "not-monotone-in-epsilon" and c.attempt]
    assert sorted(dict(a.attack.params)["weight"] for a in tried) == [0.2, 1.0, 5.0]
    assert {a.epsilons for a in tried} == {(0.4,)}


def test_what_each_check_is_given() -> None:
    """Doubled steps: what no attack of the grid broke. Twice epsilon: what one of them broke. Others: what is right."""
    given = {cell.check.flag: cell.check for cell in extra(scrutiny="full", attacks=["pgd", "fgsm"]) if cell.check}
    listed = {("pgd", "oblivious"), ("pgd", "adaptive"), ("fgsm", "oblivious"), ("fgsm", "adaptive")}

    def names(side: Any) -> set[tuple[str, str]]:
        return {(a.attack.name, a.knowledge) for a in side}

    converged, monotone = given["not-converged"], given["not-monotone-in-epsilon"]
    assert (names(converged.only), names(converged.after), converged.most) == (set(), listed, 200)
    assert (names(monotone.only), names(monotone.after), monotone.most) == (listed, set(), 100)
    assert monotone.epsilon == 0.2
    whole, twins = given["survives-full-range"], given["twins"]
    assert (whole.only, whole.after, whole.most) == ((), (), 100)
    assert (twins.only, twins.after, twins.most) == ((), (), 200)


def test_what_is_tried_again() -> None:
    changes: dict[str, Any] = {"scrutiny": "light", "attacks": ["transfer", "pgd", "fgsm"], "defenses": ["bit_depth"]}
    (single, black) = [cell.check for cell in extra(**changes) if cell.check]
    names = [
        [(a.attack.name, a.knowledge) for a in side] for side in (single.only, single.after, black.only, black.after)
    ]
    oblivious = [(name, "oblivious") for name in ("transfer", "pgd", "fgsm")]
    assert names[0] == [("fgsm", "adaptive")]
    assert names[1] == [("pgd", "adaptive")]
    assert names[2] == [*oblivious, ("noise", "adaptive")]
    assert sorted(names[3]) == [("fgsm", "adaptive"), ("pgd", "adaptive")]
    (_, bare) = [cell.check for cell in extra(**changes | {"defenses": ["none"]}) if cell.check]
    assert [(a.attack.name, a.knowledge) for a in bare.only] == [("transfer", "oblivious"), ("noise", "adaptive")]


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("pgd", "gradient"),
        ("noise", "decision"),
        ("transfer", "decision"),
        ("foolbox/LinfDeepFoolAttack", "gradient"),
        ("foolbox/PointwiseAttack", "decision"),
        ("escalate", "gradient"),
        ({"escalate": {"attack": "noise"}}, "decision"),
    ],
)
def test_what_an_attack_needs_decides_on_which_side_it_stands(line: object, needed: str) -> None:
    (spec,) = parse("attack", line)
    assert validity.needs(spec) == needed


def test_no_cell_where_the_attack_does_not_fit_the_headline() -> None:
    from harness import registry

    threats = [{"norm": "l0", "epsilons": [5], "knowledge": ["adaptive"]}]
    for cell in extra(attacks=["foolbox/PointwiseAttack"], threats=threats):
        assert cell.attempt is not None
        name = cell.attempt.attack.name
        assert "l0" in registry.constants(registry.locate("attack", name))["norms"]


def test_systems_that_ran_carry_their_flags(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sound systems have no warning; a purifier that rounds has no gradient, and more than one flag says so."""
    grid: Mapping[str, Any] = {
        "name": "flags",
        "datasets": ["digits"],
        "victims": [{"mlp": {"epochs": 5, "width": 64}}],
        "defenses": [
            "none",
            "gaussian_blur",
            {"adversarial_training": {"epsilon": 0.1, "updates": 100}},
            "quantised_input",
        ],
        "attacks": ["fgsm", {"apgd": {"loss": "margin", "steps": 20}}],
        "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["oblivious", "adaptive"]}],
        "inputs": 80,
    }
    result = api.run(grid, home=tmp_path_factory.mktemp("flags"), track=False)
    assert not result.progress.failed
    fired = {
        record["defense"]: {f["name"] for f in record["flags"] if f["fired"] and f["severity"] == "warning"}
        for record in result.records
    }
    broken = fired.pop("quantised_input")
    assert {"zero-gradient", "gradient-mismatch", "black-box-beats-white-box"} <= broken
    assert fired == {name: set() for name in fired}
    assert len(fired) == 3
    for record in result.records:
        assert {"b", "n", "inputs"} <= next(f for f in record["flags"] if f["name"] == "black-box-beats-white-box")[
            "evidence"
        ].keys()
