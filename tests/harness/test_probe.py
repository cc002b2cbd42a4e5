"""The probe on systems whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness import probe
from harness.agreement import agreement
from harness.draws import CounterDraws
from harness.system import ContractError, Curve, System
from harness.types import Loaded, Split

Call = Callable[..., Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A smooth network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data() -> Split:
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    index = torch.arange(60)
    return Split(x, index % 10, index, 10, 255, CounterDraws("probe", index))


def system(network: object, part: Call | None = None, *, role: str = "purifier", random: bool = False) -> System:
    if part is None:
        return System(network)  # type: ignore[arg-type]
    curves = (Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])),) if role == "detector" else ()
    return System(network, (Loaded(role, "part", part, random),), curves, 0.5)  # type: ignore[arg-type]


def test_a_smooth_network_is_sound(network: nn.Module, data: Split) -> None:
    found = probe.probe(system(network), data, epsilon=0.2)
    assert found["gradient"]["unusable"] == 0
    assert found["mismatch"]["near"] > 0.98
    assert set(found["repeat"].values()) == {0, 60}
    assert found["probabilities"] is False
    assert found["random_declared"] is False
    assert found["autograd"] is False
    assert found["gradient"]["cross_entropy_unusable"] == 0


def test_quantised_input_has_no_gradient(network: nn.Module, data: Split) -> None:
    found = probe.probe(system(network, lambda x: (x * 3).round() / 3), data, epsilon=0.2)
    assert found["gradient"]["unusable"] == 60


def test_detached_input_has_no_gradient(network: nn.Module, data: Split) -> None:
    found = probe.probe(system(network, lambda x: x.detach() * 0.9), data, epsilon=0.2)
    assert found["gradient"]["unusable"] == 60
    cut = probe.probe(system(network, lambda x: x.flatten(1).mean(1).detach(), role="detector"), data, epsilon=0.2)
    assert cut["gradient"]["detection_unusable"] == 60
    assert cut["gradient"]["classes_unusable"] == 0


def test_a_gradient_that_cannot_be_taken_is_said(network: nn.Module, data: Split) -> None:
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
            raise RuntimeError("no gradient here")

    found = probe.probe(system(network, Refuses.apply), data, epsilon=0.2)
    assert found["gradient"]["unusable"] == 60
    assert "no gradient here" in found["gradient"]["error"]


def test_a_straight_through_decoy_does_not_match(network: nn.Module, data: Split) -> None:
    """The value is the input, the gradient that of the input turned round."""

    def decoy(x: Tensor) -> Tensor:
        return x.flip(3) + (x - x.flip(3)).detach()

    found = probe.probe(system(network, decoy), data, epsilon=0.2)
    assert found["gradient"]["unusable"] == 0
    assert max(found["mismatch"]["near"], found["mismatch"]["far"]) < 0.8


def test_a_detector_whose_gradient_is_a_decoy_does_not_match(network: nn.Module, data: Split) -> None:
    """The score is that of the left half, its gradient that of the right; classes have the gradient of their values."""

    def honest(x: Tensor) -> Tensor:
        return (x[..., :4].flatten(1) - 0.3).square().sum(1)

    def decoy(x: Tensor) -> Tensor:
        other = x[..., 4:].flatten(1).sum(1)
        return honest(x).detach() + other - other.detach()

    found = probe.probe(system(network, honest, role="detector"), data, epsilon=0.2)
    assert agreement(found["mismatch"])["detection_"] > 0.98
    assert found["doubted"] is False
    found = probe.probe(system(network, decoy, role="detector"), data, epsilon=0.2)
    assert agreement(found["mismatch"])[""] > 0.98
    assert agreement(found["mismatch"])["detection_"] < 0.3
    assert found["gradient"]["unusable"] == 0
    assert found["doubted"] is True
    assert {"stand_in", "estimated"} <= set(found["estimators"])


def test_repeat_tells_what_changes(network: nn.Module, data: Split) -> None:
    generator = torch.Generator().manual_seed(2)
    again = probe.repeat(system(network, lambda x: x + 0.1 * torch.randn(x.shape, generator=generator)), data)
    assert again["again"] > 30
    batch = probe.repeat(system(network, lambda x: x - x.mean(0, keepdim=True) + 0.5), data)
    assert batch["again"] == 0
    assert batch["halved"] > 30
    first = probe.repeat(system(network, lambda x: x - 0.5 * x[:1]), data)
    assert first["reversed"] > 30
    mode = probe.repeat(system(network, lambda x: x * (0.5 if torch.is_grad_enabled() else 1.0)), data)
    assert mode["gradient_mode"] > 30
    assert (mode["again"], mode["reversed"], mode["halved"]) == (0, 0, 0)
    margin = probe.repeat(system(network, lambda x: x.flatten(1).mean(1) + 20 * x.mean(), role="detector"), data)
    assert margin["halved"] > 0


@pytest.mark.parametrize(("share", "changed"), [(0.0002, False), (0.02, True)])
def test_how_far_answers_may_differ(network: nn.Module, data: Split, share: float, changed: bool) -> None:
    """In gradient mode all logits are larger by a share of their spread: rounding below a thousandth, else another answer."""
    with torch.no_grad():
        logits = network(data.x)
    spread = float((logits - logits.mean(1, keepdim=True)).abs().mean())
    moved = probe.repeat(system(lambda x: network(x) + share * spread * torch.is_grad_enabled()), data)
    assert moved["gradient_mode"] == (60 if changed else 0)


def test_a_gradient_that_is_no_number_cannot_be_used(network: nn.Module, data: Split) -> None:
    """The square root of zero: the value is sound, its slope infinite times zero."""
    found = probe.gradient(system(lambda x: network(x) + (x[:, 0, :1, 0] * 0).sqrt()), data)
    assert (found["unusable"], found["classes_unusable"]) == (60, 60)


def test_equal_gradients_are_tried_once(network: nn.Module, data: Split) -> None:
    """What a smooth system's code is rewritten to has the gradient that it has itself."""
    found = probe.probe(system(network), data, epsilon=0.2)
    assert found["estimators"] == ["own"]
    assert found["left_out"] == {"smooth": "the same as own", "unrolled": "the same as own"}


def test_a_system_that_changes_after_queries_is_found(network: nn.Module, data: Split) -> None:
    calls = [0]

    def counting(x: Tensor) -> Tensor:
        calls[0] += 1
        return x if calls[0] <= 30 else x * 0.5

    found = probe.repeat(system(network, counting), data)
    assert found["queried"] > 30
    assert {count for name, count in found.items() if name not in ("queried", "inputs")} == {0}


def test_queries_of_a_system_without_a_gradient(network: nn.Module, data: Split) -> None:
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
            raise RuntimeError("no gradient here")

    assert probe.repeat(system(network, Refuses.apply), data)["queried"] == 0


def test_cross_entropy_alone_can_be_flat(network: nn.Module, data: Split) -> None:
    right = replace(data, y=network(data.x).argmax(1))
    found = probe.gradient(system(lambda x: 1e5 * network(x)), right)
    assert found["unusable"] == 0
    assert found["cross_entropy_unusable"] > 50


@pytest.mark.parametrize("whole", [60, 1])
def test_a_batch_of_another_size_that_fails_is_said(network: nn.Module, data: Split, whole: int) -> None:
    """One part takes the whole batch only, another has a buffer of its size."""

    def only(x: Tensor) -> Tensor:
        if len(x) != 60:
            raise ValueError(f"expected 60 inputs, got {len(x)}")
        return x

    buffer = torch.zeros(60, 1, 8, 8)
    part: Call = only if whole == 60 else lambda x: x + buffer
    with pytest.raises(ContractError, match=r"answers a batch of 60 inputs but fails on 30 of them .*every size"):
        probe.probe(system(network, part), data, epsilon=0.2)


@pytest.mark.parametrize("classes", [1, 9])
def test_the_wrong_number_of_classes(network: nn.Module, data: Split, classes: int) -> None:
    with pytest.raises(ContractError, match=f"gives {classes} logits; expected one for each of the 10 classes"):
        probe.keeps_contract(system(lambda x: network(x)[:, :classes]), data)


def test_one_class_only(network: nn.Module, data: Split) -> None:
    alone = Split(data.x, torch.zeros_like(data.y), data.index, 1, 255, data.draws)
    with pytest.raises(ContractError, match=r"gives 1 logits; .* at least 2"):
        probe.keeps_contract(system(lambda x: network(x)[:, :1]), alone)


def test_a_declared_random_part_repeats(network: nn.Module, data: Split) -> None:
    found = probe.probe(
        system(network, lambda x, draws: (x + 0.1 * draws.normal(*x.shape[1:])).clamp(0, 1), random=True),
        data,
        epsilon=0.2,
    )
    assert found["random_declared"] is True
    assert found["repeat"]["again"] == 0
    assert found["repeat"]["halved"] == 0


def test_probabilities(network: nn.Module, data: Split) -> None:
    assert probe.probabilities(system(lambda x: network(x).softmax(1)), data)
    assert not probe.probabilities(system(lambda x: network(x).log_softmax(1)), data)


@pytest.mark.parametrize(
    ("part", "role", "words"),
    [
        (lambda x: x * 2, "purifier", r"purifier part gives values from .* to .*; expected \[0, 1\]"),
        (lambda x: x / 0 * 0, "purifier", "not finite|finite"),
        (lambda x: x.mul_(0.5), "purifier", "writes to its input"),
        (lambda x: x.flatten(1).mean(1) / 0, "detector", "scores are not finite"),
        (lambda x: x.mul_(0.5).flatten(1).mean(1), "detector", "writes to its input"),
        (lambda x: x.flatten(1).mean(1).half(), "detector", "detector part gives torch.float16; expected float32"),
        (lambda x: x.bfloat16(), "purifier", "purifier part gives torch.bfloat16; expected float32"),
        (lambda x: (255 * x).round().int(), "purifier", "purifier part gives torch.int32; expected"),
    ],
)
def test_broken_contracts(network: nn.Module, data: Split, part: Call, role: str, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        probe.keeps_contract(system(network, part, role=role), data)


def test_logits_that_are_not_floats(data: Split) -> None:
    with pytest.raises(ContractError, match=r"the classifier gives torch.int64; expected float32"):
        probe.keeps_contract(system(lambda x: x.flatten(1)[:, :10].argsort(1)), data)


def test_logits_that_are_not_finite(data: Split) -> None:
    def broken(x: Tensor) -> Tensor:
        return torch.where(x.flatten(1)[:, :10] > 0.5, float("nan"), 1.0)

    with pytest.raises(ContractError, match=r"logits are not finite on \d+ of 60 clean inputs"):
        probe.keeps_contract(system(broken), data)
