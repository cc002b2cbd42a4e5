"""A submission as a folder, its card, its requirements; attacks and examples of others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from harness import api, cli, new, submission
from harness.records import outcomes_of
from harness.submission import Card, card_of, named
from harness.submit import submit
from harness.submit_attack import submit_attack, submit_examples

SMALL: dict[str, Any] = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "attacks": ["noise"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["adaptive"]}],
    "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
    "shifts": [],
    "inputs": 24,
    "scrutiny": "light",
    "fallback": {},
}
ATTACK = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch


@dataclass(frozen=True)
class Mine:
    """Signed steps."""

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    needs: ClassVar[str] = "gradient"
    minimal: ClassVar[bool] = False

    def perturb(self, view, x, y, budget, draws):
        z = x
        for _ in range(20):
            z = z.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(view.forward(z, draws).logits, y, reduction="sum")
            (slope,) = torch.autograd.grad(loss, z)
            z = (z + 0.05 * slope.sign()).clamp(x - {epsilon}, x + {epsilon}).clamp(0, 1)
        view.note("loss", torch.arange(len(x)), torch.zeros(len(x)))
        return z.detach()
'''


RANDOM = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch


@dataclass(frozen=True)
class Mine:
    """A random mixture with a random image."""

    role: ClassVar[str] = "purifier"
    random: ClassVar[bool] = True

    def fit(self, data, victim):
        return {"image": torch.rand(data.x.shape[1:]) * data.draws.uniform()[0]}

    def load(self, state, victim):
        def purify(x, draws):
            return (x + 0.2 * draws.normal(*x.shape[1:]) + 0.1 * state["image"].to(x)).clamp(0, 1)

        return purify
'''


def test_a_new_defense_passes_its_test_and_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "defense", "MyGreatDefense"]) == 0
    place = tmp_path / "my_great_defense"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    card = place / "submission.yaml"
    card.write_text(card.read_text().replace("# robust_accuracy: 0.50", "robust_accuracy: 0.50"), encoding="utf-8")
    oblivious = {"norm": "linf", "epsilons": [0.3], "knowledge": ["oblivious"], "attacks": ["pgd"]}
    changes = SMALL | {"threats": [*SMALL["threats"], oblivious]}  # what breaks the victim need not break the system
    answer, result = submit(str(place), grid="quick", changes=changes, home=tmp_path / "runs", track=False)
    assert answer["verdict"] == "scored", answer
    assert result is not None
    record = next(r for r in result.records if r["defense"] == "defense.py:MyGreatDefense")
    assert record["submission"]["claimed"] == {"robust_accuracy": 0.5}
    assert record["submission"]["name"] == "My great defense"
    assert record["submission"]["isolation"] in ("bubblewrap", "process")
    assert cli.main(["new", "defense", "MyGreatDefense"]) == 2  # it is there already


def test_isolated_and_trusted_give_the_same_record(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(RANDOM, encoding="utf-8")
    attacks = [{"apgd": {"steps": 5}}, "noise", {"square": {"queries": 20}}, "adaptive"]
    changes = SMALL | {"attacks": attacks, "inputs": 12, "shifts": ["gaussian_noise"]}
    records, outcomes = [], []
    for trusted in (False, True):
        home = tmp_path / str(trusted)
        answer, result = submit(
            f"{file}:Mine", grid="quick", size="smoke", changes=changes, home=home, track=False, trusted=trusted
        )
        assert answer["verdict"] == "scored", answer
        assert result is not None
        record = next(r for r in result.records if r["defense"] == "mine.py:Mine")
        assert (record["submission"]["isolation"] == "none") is trusted
        records.append(
            {name: record[name] for name in ("metrics", "threats", "shifts", "per_input", "forwards", "backwards")}
        )
        outcomes.append(outcomes_of(home / "records", record["id"]))
    assert records[0] == records[1]
    pd.testing.assert_frame_equal(outcomes[0], outcomes[1])


def test_names_that_make_no_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="makes no name of a class"):
        new.defense("3d", tmp_path)
    assert new.defense("my_PGD-detector", tmp_path)[0].parent.name == "my_pgd_detector"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "a mapping of name"),
        ("a: [", "not YAML"),
        ("name: x\nname: y", "the key 'name' stands twice"),
        ("nmae: x", "unknown key 'nmae': did you mean name"),
        ("name: 3", "name is text, not 3"),
        ("authors: [1]", "authors is a list of texts"),
        ("claimed: {robust: 0.5}", "unknown claim 'robust'"),
        ("claimed: {robust_accuracy: 55}", "a share from 0 to 1"),
        ("file: ../x.py", "a file beside it"),
    ],
)
def test_cards_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "submission.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        card_of(tmp_path)


def test_a_folder_stands_for_its_class(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no defense\.py"):
        named(str(tmp_path))
    (tmp_path / "mine.py").write_text("class Mine: ...", encoding="utf-8")
    (tmp_path / "submission.yaml").write_text("{file: mine.py, class: Mine, authors: me}", encoding="utf-8")
    assert named(str(tmp_path)) == f"{tmp_path / 'mine.py'}:Mine"
    assert card_of(tmp_path).authors == ("me",)
    assert named("bit_depth") == "bit_depth"
    assert Card().shown == {}


def test_requirements_are_names_with_versions(tmp_path: Path) -> None:
    assert submission.environment([], tmp_path) == ""
    for line in ("git+https://example.org/x", "-r other.txt", "x @ file:///tmp/x", "./x.whl"):
        with pytest.raises(ValueError, match="is not a name with versions"):
            submission.environment([line], tmp_path)


@pytest.mark.parametrize("body", ["class Other: ...", "class Mine(:", "raise SystemExit(3)"])
def test_what_is_no_defense_fails(tmp_path: Path, body: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(body, encoding="utf-8")
    answer, result = submit(f"{path}:Mine", grid="quick", changes=SMALL, home=tmp_path / "runs", track=False)
    assert (answer["verdict"], result) == ("failed", None)


def test_isolation_that_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.isolation import places

    monkeypatch.setattr(places, "best", lambda: "process")
    path = new.defense("mine", tmp_path)[0]
    with pytest.raises(RuntimeError, match="apt-get install bubblewrap"):
        submit(str(path), grid="quick", changes=SMALL, home=tmp_path / "runs", require_isolation=True)


def test_a_submitted_attack_counts(tmp_path: Path) -> None:
    path, home = tmp_path / "attack.py", tmp_path / "runs"
    path.write_text(ATTACK.replace("{epsilon}", "budget.epsilon"), encoding="utf-8")
    answer, _ = submit_attack(
        f"{path}:Mine", grid="quick", changes=SMALL | {"defenses": ["none"]}, home=home, track=False
    )
    assert (answer["verdict"], answer["name"]) == ("scored", "attack.py:Mine"), answer
    (row,) = answer["systems"]
    assert row["wins"] == answer["wins"] > 0, row
    assert row["after"] == pytest.approx(row["before"] - row["wins"] / 24)


def test_what_an_attack_found_is_tried_ever_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, home = tmp_path / "attack.py", tmp_path / "runs"
    path.write_text(ATTACK.replace("{epsilon}", "budget.epsilon"), encoding="utf-8")
    changes = SMALL | {"defenses": ["none", "bit_depth"]}
    before = api.run("quick", changes=changes, home=home, track=False).records
    first, _ = submit_attack(f"{path}:Mine", grid="quick", changes=changes, home=home, track=False)
    (home / "found" / "a.safetensors").write_bytes(b"nonsense")
    save_file({"x": torch.rand(2, 1, 8, 8)}, home / "found" / "b.safetensors")
    after = api.run("quick", changes=changes, home=home, track=False)
    told = capsys.readouterr().err
    assert "a.safetensors cannot be read and is left out" in told
    assert "b.safetensors does not say whose system it is for" in told
    for row, old, now in zip(first["systems"], before, after.records, strict=True):
        assert row["defense"] == old["defense"] == now["defense"]
        assert row["before"] >= old["metrics"]["robust_accuracy"]["value"]  # flags look on with attacks of their own
        assert row["after"] >= now["metrics"]["robust_accuracy"]["value"]
        assert sum("by=attack.py:Mine" in breaker for breaker in now["per_input"]["breaker"]) >= row["wins"] > 0
    assert after.progress.computed < 12  # what stood is reused
    names = {cell["attack"] for record in after.records for cell in record["cells"] if "given" in cell["attack"]}
    assert len(names) == 1  # of one name, so that the board counts it as one attack
    second, _ = submit_attack(f"{path}:Mine", grid="quick", changes=changes, home=home, track=False)
    assert second == first  # nobody is measured against what is kept of himself


def test_a_submitted_attack_that_leaves_the_ball(tmp_path: Path) -> None:
    path = tmp_path / "attack.py"
    path.write_text(ATTACK.replace("{epsilon}", "9"), encoding="utf-8")
    answer, result = submit_attack(f"{path}:Mine", grid="quick", changes=SMALL, home=tmp_path / "runs", track=False)
    assert (answer["verdict"], result) == ("rejected", None)
    assert "leave the linf ball" in answer["reason"]


def test_examples_count_where_they_hold(tmp_path: Path) -> None:
    from harness.data import Data, key_of
    from harness.spec import parse

    (digits,) = parse("dataset", "digits")
    data = Data(digits, key_of(digits), "cpu").split("test")
    draws = torch.Generator().manual_seed(0)
    moved = data.x[:24] + 0.1 * (2 * torch.randint(0, 2, data.x[:24].shape, generator=draws) - 1)
    far = data.x[:24].flip(-1)
    save_file({"x": torch.cat([far, moved.clamp(0, 1)])}, tmp_path / "found.safetensors")
    options: dict[str, Any] = {"grid": "quick", "changes": SMALL, "home": tmp_path / "runs", "track": False}
    answer, result = submit_examples("none", tmp_path / "found.safetensors", by="me", **options)
    assert answer["verdict"] == "scored"
    assert result is not None
    assert "by=me" in answer["name"]
    (row,) = answer["systems"]
    assert row["after"] <= row["before"]
    assert row["tried"] > 0
    (record,) = result.records
    assert any(cell["attack"] == answer["name"] for cell in record["cells"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"y": torch.zeros(3)}, "holds y; expected a tensor `x`"),
        ({"x": torch.zeros(3, 2)}, r"x is \(3, 2\); expected \(N, 1, 8, 8\)"),
        ({"x": torch.full((2, 1, 8, 8), 2.0)}, r"values from 2 to 2; expected \[0, 1\]"),
    ],
)
def test_examples_that_cannot_be_read(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    save_file(tensors, tmp_path / "found.safetensors")
    with pytest.raises(ValueError, match=message):
        submit_examples("none", tmp_path / "found.safetensors", grid="quick", changes=SMALL, home=tmp_path / "runs")


def test_a_file_that_is_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "found").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        submit_examples("none", tmp_path / "found", grid="quick", changes=SMALL, home=tmp_path / "runs")
    with pytest.raises(FileNotFoundError):
        submit_examples("none", tmp_path / "nothing", grid="quick", changes=SMALL, home=tmp_path / "runs")


def test_what_an_author_says_is_in_mlflow_as_tags() -> None:
    from harness import tracked

    told = {"name": "Mine", "authors": ["A", "B"], "claimed": {"robust_accuracy": 0.5}, "isolation": "bubblewrap"}
    assert tracked._submitted({"submission": told}) == {
        "submission.name": "Mine",
        "submission.authors": "A, B",
        "submission.claimed_robust_accuracy": "50.0 %",
        "submission.isolation": "bubblewrap",
    }
    assert tracked._submitted({"submission": None}) == {}
