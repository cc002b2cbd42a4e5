"""Systems that differentiate or repeat themselves inside a forward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.draws import CounterDraws
from harness.loops import autograd, slowdown
from harness.system import System
from harness.types import Loaded, Split


def by_grad(x: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(x.square().sum(), x)
    return slope


def by_backward(x: Tensor) -> Tensor:
    x.square().sum().backward()
    assert x.grad is not None
    return x.grad


def by_function(x: Tensor) -> Tensor:
    torch.autograd.backward(x.square().sum())
    assert x.grad is not None
    return x.grad


def by_func(x: Tensor) -> Tensor:
    slope: Tensor = torch.func.grad(lambda z: z.square().sum())(x)
    return slope


@pytest.fixture(scope="module")
def data() -> Split:
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    index = torch.arange(20)
    return Split(x, index % 10, index, 10, 255, CounterDraws("loops", index))


def system(part: Callable[[Tensor], Tensor]) -> System:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 10)).requires_grad_(False)
    return System(network, (Loaded("purifier", "part", part),))


@pytest.mark.parametrize("derivative", [by_grad, by_backward, by_function, by_func])
def test_every_way_to_differentiate_is_seen(derivative: Callable[[Tensor], Tensor], data: Split) -> None:
    def descent(x: Tensor) -> Tensor:
        with torch.enable_grad():
            return (x - 0.1 * derivative(x.detach().clone().requires_grad_())).detach().clamp(0, 1)

    assert autograd(system(descent), data)


def test_a_plain_forward_pass_differentiates_nothing(data: Split) -> None:
    assert not autograd(system(lambda x: x.detach() * 0.5), data)


def test_slowdown_counts_passes(data: Split) -> None:
    """A purifier that asks the classifier thirty times takes about thirty times as long."""
    plain = system(lambda x: x)
    loop = System(plain.classifier, (Loaded("purifier", "loop", lambda x: x + 0 * _thirty(plain, x)),))
    assert slowdown(plain, data) < 5 < 10 < slowdown(loop, data)


def _thirty(plain: System, x: Tensor) -> float:
    return sum(float(plain.classifier(x).sum()) for _ in range(30))


def test_a_system_that_optimises_at_inference_has_a_track_of_its_own(tmp_path):
    from harness import api

    threat = {"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}
    grid = {"datasets": ["digits"], "victims": ["cnn"], "defenses": ["gradient_purifier"], "attacks": ["fgsm"]}
    grid |= {"threats": [threat], "inputs": 8, "clean_inputs": 16, "scrutiny": "light"}
    result = api.run(grid, home=tmp_path, track=False)
    assert [record["track"] for record in result.records] == ["optimising at inference"]
