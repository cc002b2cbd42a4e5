"""Scores of attacks: sound ones find what is there, broken ones no more than chance, and what is known broken must break."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks._ball import ball
from attacks.apgd import APGD
from attacks.fgsm import FGSM
from attacks.pgd import PGD
from harness import cli, selftest
from harness.binarisation import Binarisation, binarise
from harness.draws import CounterDraws
from harness.neighbours import detecting, sought
from harness.system import System
from harness.types import Split, Threat

EPSILON = {"linf": 0.2, "l2": 1.0}
QUICK = {"dataset": "digits", "victim": {"mlp": {"width": 48, "epochs": 3}}, "inputs": 40}


@dataclass(frozen=True)
class Still:
    """Gives back its inputs."""

    norms = ("linf", "l2")
    minimal = False

    def perturb(self, view: Any, x: Tensor, y: Tensor, budget: Any, draws: Any) -> Tensor:
        return x


@dataclass(frozen=True)
class Guess(Still):
    """One random point, on the pretext of a hundred questions."""

    def perturb(self, view: Any, x: Tensor, y: Tensor, budget: Any, draws: Any) -> Tensor:
        for _ in range(100):
            view.forward(x, draws)
        return ball(x, budget).start(draws)


@dataclass(frozen=True)
class Far(Still):
    """Leaves the ball."""

    def perturb(self, view: Any, x: Tensor, y: Tensor, budget: Any, draws: Any) -> Tensor:
        return (x + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Falls(Still):
    """Raises."""

    def perturb(self, view: Any, x: Tensor, y: Tensor, budget: Any, draws: Any) -> Tensor:
        raise KeyError("targets of ten classes")


class Network(nn.Module):
    """Trained on digits; shows its hidden layer, or the inputs themselves."""

    def __init__(self, *, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU()) if hidden else nn.Flatten()
        self.last = nn.Linear(hidden or 64, 10)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def head(self, features: Tensor) -> Tensor:
        return self.last(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


def trained(hidden: int) -> tuple[System, Split]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(hidden=hidden)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    index = torch.arange(len(y))
    data = Split(x, y, index, 10, 16, CounterDraws("digits", index))
    return System(network.eval().requires_grad_(False)), data  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def case() -> Callable[[str, str], Binarisation]:
    """An altered network: `plain`, `linear` (whose features are the pixels) or `inverted`."""
    systems = {hidden: trained(hidden) for hidden in (0, 48)}
    made: dict[tuple[str, str], Binarisation] = {}

    def give(kind: str, norm: str) -> Binarisation:
        if (kind, norm) not in made:
            system, data = systems[0 if kind == "linear" else 48]
            if kind == "inverted":
                system = detecting(system, data[torch.arange(1000, 1400)], rate=0.01)
            few = data[torch.arange(60)]
            made[kind, norm] = binarise(system, few, norm=norm, epsilon=EPSILON[norm], inverted=kind == "inverted")
        return made[kind, norm]

    return give


def score(attack: object, case: Binarisation, norm: str) -> dict[str, Any]:
    return sought(attack, case, Threat(norm, EPSILON[norm], "adaptive"))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["plain", "inverted"])
@pytest.mark.parametrize("attack", [PGD(), APGD(), APGD(loss="dlr", steps=50)], ids=["pgd", "apgd", "dlr"])
def test_sound_attacks_find_nearly_all_where_chance_finds_nothing(case, attack: object, kind: str, norm: str):
    row = score(attack, case(kind, norm), norm)
    assert row["inputs"] >= 58
    assert row["found"] >= 0.95 * row["inputs"]
    assert row["random"]["value"] <= 0.05
    assert row["passed"]
    assert 0 < row["backwards"] <= row["forwards"]


def test_one_step_suffices_where_features_are_pixels_in_linf(case):
    """The corner along the signs of the slope is the most adversarial point of the ball."""
    assert score(FGSM(), case("linear", "linf"), "linf")["share"]["value"] == 1


def test_one_step_does_not_suffice_on_a_network(case):
    row = score(FGSM(), case("inverted", "linf"), "linf")
    assert row["found"] < 0.8 * row["inputs"]
    assert not row["passed"]


@pytest.mark.parametrize("attack", [Still(), Guess()], ids=["still", "guess"])
def test_attacks_that_do_not_search_find_no_more_than_chance(case, attack: object):
    row = score(attack, case("plain", "linf"), "linf")
    assert row["share"]["low"] <= row["random"]["high"]
    assert row["found"] <= 0.05 * row["inputs"]
    assert row["error"] is None
    assert not row["passed"]


def test_the_control_asks_as_many_questions(case):
    assert score(Guess(), case("plain", "linf"), "linf")["queries"] == 100
    assert score(Still(), case("plain", "linf"), "linf")["queries"] == 1


@pytest.mark.parametrize(("attack", "reason"), [(Far(), "leave the linf ball"), (Falls(), "targets of ten classes")])
def test_a_broken_contract_is_no_success(case, attack: object, reason: str):
    row = score(attack, case("plain", "linf"), "linf")
    assert reason in row["error"]
    assert (row["found"], row["passed"]) == (0, False)


def test_a_test_that_chance_passes_says_nothing(case, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.neighbours._random", lambda case, threat, queries: torch.ones(len(case.data)))
    row = score(PGD(), case("plain", "linf"), "linf")
    assert row["found"] >= 0.95 * row["inputs"]
    assert (row["informative"], row["passed"]) == (False, False)
    assert "random points find too many" in selftest._verdict(row)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_what_is_known_to_be_broken_must_break(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Cross-entropy stands still where the softmax saturates; the margin does not."""
    monkeypatch.setattr(selftest, "BROKEN", ("saturated_softmax",))
    options = {**QUICK, "home": home, "parts": ["broken"]}
    still = selftest.selftest({"apgd": {"steps": 40}}, norm="linf", epsilon=0.2, **options)
    assert [row["defense"] for row in still["broken"]] == ["none", "saturated_softmax"]
    undefended, saturated = (row["robust_accuracy"]["value"] for row in still["broken"])
    assert saturated > undefended + 0.3
    assert not still["broken"][1]["passed"]
    assert not still["passed"]
    moved = selftest.selftest({"apgd": {"loss": "margin", "steps": 40}}, norm="linf", epsilon=0.2, **options)
    assert moved["passed"], moved
    assert moved["broken"][1]["robust_accuracy"]["value"] <= moved["broken"][1]["undefended"] + 0.02
    assert not (home / "selftests").exists()  # only a whole test is kept


def test_an_attack_that_leaves_the_undefended_network_alone_does_not_pass(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Else it would break every defense to within two points of nothing."""
    monkeypatch.setattr(selftest, "BROKEN", ())
    answer = selftest.selftest({"noise": {"repeats": 1}}, home=home, parts=["broken"], norm="linf", **QUICK)
    assert answer["broken"][0]["robust_accuracy"]["value"] > answer["broken"][0]["undefended"] + 0.02
    assert not answer["passed"]


def test_a_whole_test_is_kept_for_the_board(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selftest, "BROKEN", ())
    answer = selftest.selftest("apgd: {loss: margin, steps: 60}", home=home, norm="linf", epsilon="0.2", **QUICK)
    assert answer["attack"] == "apgd(loss=margin, steps=60)"
    assert [(row["part"], row["epsilon"]) for row in answer["neighbours"]] == [("binarisation", 0.2), ("inverted", 0.2)]
    assert answer["passed"], answer
    assert answer["binarisation"]["value"] >= 0.95
    (path,) = (home / "selftests").glob("*.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(answer))
    shown = selftest.text(answer)
    assert "binarisation, linf 0.2" in shown
    assert shown.endswith("passed")


def test_command_line(home: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["selftest", "fgsm", "--victim", "mlp: {width: 48, epochs: 3}", "--home", str(home), "--json"]
    arguments += ["--norm", "linf", "--part", "inverted", "--inputs", "40", "--executor", "serial"]
    assert cli.main(arguments) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["neighbours"][0]["part"] == "inverted"
    assert (answer["passed"], answer["binarisation"], answer["broken"]) == (False, None, [])
    arguments[1] = "apgd: {loss: margin}"
    assert cli.main([a for a in arguments if a != "--json"]) == 0
    assert capsys.readouterr().out.strip().endswith("passed")


@pytest.mark.parametrize(
    ("attack", "options", "reason"),
    [
        ("pgdd", {}, "did you mean pgd"),
        ("pgd: {stepz: 3}", {}, "did you mean steps"),
        ("pgd: {steps: ", {}, "is not YAML"),
        ("carlini_wagner", {"norm": "linf"}, "is tested in l2, not in 'linf'"),
        ("pgd", {"epsilon": 0.1}, "say which of linf, l2"),
        ("pgd", {"norm": "linf", "epsilon": "much"}, "epsilon is a number above 0"),
        ("pgd", {"norm": "linf", "epsilon": 2.0}, "exceeds the box"),
        ("pgd", {"norm": "linf", "epsilon": 0.01, "parts": ["binarisation"]}, "less than a step"),
        ("pgd", {"parts": ["binarization"]}, "the parts of the test are binarisation, inverted, broken"),
        ("pgd", {"inputs": 0}, "inputs takes a whole number above 0"),
        ("patch_pgd", {}, "its test is in linf or l2"),
        ("pgd", {"dataset": "digit"}, "did you mean digits"),
    ],
)
def test_bad_questions(home: Path, attack: str, options: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        selftest.selftest(attack, home=home, **{**QUICK, **options})
