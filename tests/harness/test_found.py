"""What is kept of submissions: whose it is, what of it can be tried, and that nobody gets credit for it twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from harness import api, found
from harness.grid import Grid
from harness.spec import parse
from harness.submit_attack import submit_attack, submit_examples, with_attack

SMALL: dict[str, Any] = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "defenses": ["none"],
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
        for _ in range({steps}):
            z = z.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(view.forward(z, draws).logits, y, reduction="sum")
            (slope,) = torch.autograd.grad(loss, z)
            z = (z + 0.05 * slope.sign()).clamp(x - budget.epsilon, x + budget.epsilon).clamp(0, 1)
        return z.detach()
'''
TOLD = {"dataset": "digits", "victim": "mlp(width=32, epochs=3)", "defense": "none", "norm": "linf", "by": "me"}


def grid_with(attack: Path) -> Grid:
    """The small grid with an attack of a file."""
    (spec,) = parse("attack", f"{attack}:Mine")
    return with_attack(api.read_grid("quick", changes=SMALL), spec)


def written(folder: Path, name: str, x: torch.Tensor, **changes: str) -> None:
    """A file as it is kept."""
    (folder / "found").mkdir(exist_ok=True)
    save_file({"x": x}, folder / "found" / name, metadata=TOLD | changes)


def test_another_file_of_the_same_name_is_another_attack(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "attack.py", tmp_path / "two" / "attack.py"
    for place, (file, steps) in enumerate(((one, 5), (two, 6))):
        file.parent.mkdir()
        file.write_text(ATTACK.replace("{steps}", str(steps)), encoding="utf-8")
        (spec,) = parse("attack", f"{file}:Mine")
        written(tmp_path, f"{place}.safetensors", torch.rand(2, 1, 8, 8), by="attack.py:Mine", code=found._code(spec))
    for file, other in ((one, "1.safetensors"), (two, "0.safetensors")):
        kept = found.with_found(grid_with(file), tmp_path).found
        assert [dict(k.attack.params)["file"].name for k in kept] == [other]
    assert len(found.with_found(api.read_grid("quick", changes=SMALL), tmp_path).found) == 2


@pytest.mark.parametrize(
    ("x", "changes", "said"),
    [
        (torch.full((2, 1, 8, 8), float("nan")), {}, "expected [0, 1], finite; it is left out"),
        (torch.full((2, 1, 8, 8), 3.0), {}, "values from 3 to 3"),
        (torch.rand(2, 3, 8, 8), {}, "x is (2, 3, 8, 8); expected (N, 1, 8, 8)"),
        (torch.rand(0, 1, 8, 8), {}, "N at least 1"),
        (torch.rand(2, 1, 8, 8), {"norm": "l7"}, "does not say whose system"),
        (torch.rand(2, 1, 8, 8), {"by": "x\x1b[2J"}, "does not say whose system"),
        (torch.rand(2, 1, 8, 8), {"by": "x" * 10_000}, "does not say whose system"),
        (torch.rand(2, 1, 8, 8), {"norm": "patch"}, ""),
        (torch.rand(2, 1, 8, 8), {"dataset": "another"}, ""),
    ],
)
def test_what_cannot_be_tried_is_left_out(
    tmp_path: Path, x: torch.Tensor, changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "a.safetensors", x, **changes)
    written(tmp_path, "b.safetensors", torch.rand(2, 1, 8, 8), by="../../etc/passwd")
    kept = found.with_found(api.read_grid("quick", changes=SMALL), tmp_path).found
    assert [k.by for k in kept] == ["../../etc/passwd"]  # a name, never a path
    assert said in capsys.readouterr().err


def test_who_found_something_is_one_line(tmp_path: Path) -> None:
    save_file({"x": torch.rand(2, 1, 8, 8)}, tmp_path / "x.safetensors")
    for by in ("a\nb", "\x1b[2J", "x" * 201):
        with pytest.raises(ValueError, match="by is one line of at most 200 letters"):
            submit_examples(
                "none", tmp_path / "x.safetensors", by=by, grid="quick", changes=SMALL, home=tmp_path / "runs"
            )


def test_what_others_found_before_is_nobodys_merit(tmp_path: Path) -> None:
    """In a schedule too, where an attack comes before what is kept; and no system is flagged for what is kept."""
    options: dict[str, Any] = {
        "grid": "quick",
        "changes": SMALL | {"cascade": True},
        "home": tmp_path / "runs",
        "track": False,
    }
    rows = []
    for name, steps in (("one", 20), ("two", 21)):
        file = tmp_path / name / "attack.py"
        file.parent.mkdir()
        file.write_text(ATTACK.replace("{steps}", str(steps)), encoding="utf-8")
        answer, result = submit_attack(f"{file}:Mine", **options)
        assert answer["verdict"] == "scored", answer
        assert result is not None
        rows += answer["systems"]
    assert rows[0]["wins"] > 0
    assert rows[1]["wins"] == 0
    assert rows[1]["before"] == rows[0]["after"]
    after = api.run("quick", changes=options["changes"], home=options["home"], track=False).records[0]
    assert after["metrics"]["robust_accuracy"]["value"] <= min(row["after"] for row in rows)
    assert not [
        flag["text"] for flag in after["flags"] if flag["name"] == "black-box-beats-white-box" and flag["fired"]
    ]


def test_a_folder_that_cannot_be_written_costs_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.data import Data, key_of

    (digits,) = parse("dataset", "digits")
    x = Data(digits, key_of(digits), "cpu").split("test").x[:24]
    save_file({"x": (x + 0.1 * (1 - 2 * x.round())).clamp(0, 1)}, tmp_path / "found.safetensors")

    def refused(path: Path, content: bytes) -> None:
        raise PermissionError(f"[Errno 13] Permission denied: '{path}'")

    monkeypatch.setattr(found, "write_whole", refused)
    answer, result = submit_examples(
        "none",
        tmp_path / "found.safetensors",
        by="me",
        grid="quick",
        changes=SMALL,
        home=tmp_path / "runs",
        track=False,
    )
    assert (answer["verdict"], answer["kept"]) == ("scored", [])
    assert result is not None
    if answer["wins"]:
        assert "cannot be kept" in capsys.readouterr().err


def test_a_grid_whose_attacks_have_victims_of_their_own(tmp_path: Path) -> None:
    written(tmp_path, "a.safetensors", torch.rand(2, 1, 8, 8))
    grid = api.read_grid("quick", changes=SMALL | {"attacks": ["transfer", "adaptive"]})
    assert found.with_found(replace(grid), tmp_path).found
