"""Images beside the test images, and a defense that knows the test images by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness import api
from harness.data import Data, key_of
from harness.draws import CounterDraws
from harness.spec import parse
from harness.twins import twins_of

X = (torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
INDEX = torch.arange(40)
MEMORY = '''
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class Memory:
    """Answers near a test image, or near one moved by a pixel, as it does at that image."""

    role: ClassVar[str] = "purifier"

    def load(self, state, victim):
        known = load_file(Path(__file__).parent / "weights.safetensors")["x"]
        moved = torch.nn.functional.pad(known, (1, 0, 1, 0), mode="replicate")[..., :-1, :-1]
        known = torch.cat([known, moved])

        def purify(x):
            far = (x[:, None].detach() - known).flatten(2).abs().amax(2)
            least, place = far.min(1)
            near = ((least > 0.04) & (least < 0.21)).view(-1, 1, 1, 1)
            return torch.where(near, known[place] + x - x.detach(), x)

        return purify
'''


class Still:
    """Random numbers in the middle: nothing is moved."""

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((len(X), *shape), 0.5)


def test_images_in_the_box_on_the_grid_whatever_their_batch() -> None:
    found = twins_of(X, CounterDraws("system", INDEX), 255)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)
    some = torch.tensor([3, 17, 31])
    assert torch.equal(twins_of(X[some], CounterDraws("system", some), 255), found[some])
    assert not torch.equal(twins_of(X, CounterDraws("another", INDEX), 255), found)
    assert float((found - X).flatten(1).abs().amax(1).min()) > 0.1


def test_nothing_moves_without_a_turn_and_what_is_no_image_stays() -> None:
    torch.testing.assert_close(twins_of(X, cast("CounterDraws", Still()), None), X, atol=1e-6, rtol=0)
    points = torch.rand(5, 2)
    assert twins_of(points, CounterDraws("system", INDEX[:5]), None) is points


@pytest.mark.parametrize("defense", ["memory.py:Memory", "none"])
def test_test_images_known_by_heart_are_found_out(tmp_path: Path, defense: str) -> None:
    (digits,) = parse("dataset", "digits")
    (tmp_path / "memory.py").write_text(MEMORY, encoding="utf-8")
    save_file(
        {"x": Data(digits, key_of(digits), "cpu").split("test").x[:100].contiguous()}, tmp_path / "weights.safetensors"
    )
    grid: dict[str, Any] = {
        "name": "memory",
        "datasets": ["digits"],
        "victims": [{"mlp": {"epochs": 10, "width": 64}}],
        "defenses": [defense if defense == "none" else f"{tmp_path}/{defense}"],
        "attacks": [{"apgd": {"steps": 20}}],
        "threats": [{"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}],
        "inputs": 100,
    }
    (record,) = api.run(grid, home=tmp_path / "runs", track=False).records
    flag = next(f for f in record["flags"] if f["name"] == "twins")
    robust = record["metrics"]["robust_accuracy"]["value"]
    assert (flag["fired"], robust > 0.5) == ((False, False) if defense == "none" else (True, True)), flag
