"""Adversarial training on a toy where the robust classifier is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attacks.pgd import PGD
from defenses.adversarial_training import AdversarialTraining
from harness.api import run
from harness.draws import CounterDraws
from harness.types import Split


class Net(nn.Module):
    """A linear classifier of (B, 1, 1, 2) with the layers shown."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.last = nn.Linear(2, 2)

    def features(self, x):
        return self.norm(x.flatten(1))

    def head(self, features):
        return self.last(features)

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


@pytest.fixture
def data():
    """Pixel 0 tells the class with a gap of .6, pixel 1 exactly but with a gap of .02."""
    torch.manual_seed(1)
    y = torch.arange(400) % 2
    sign = (2.0 * y - 1.0) * torch.where(torch.rand(400) < 0.02, -1.0, 1.0)
    x = 0.5 + torch.stack([0.3 * sign, 0.01 * (2.0 * y - 1.0)], dim=1)
    return Split(x.reshape(-1, 1, 1, 2), y, torch.arange(400), 2, None, CounterDraws("toy", torch.arange(400)))


def _fit(part, data, victim, seed=0):
    torch.manual_seed(seed)
    return part.fit(data, victim=victim, attack=PGD(steps=3))


def _share(state):
    """Share of the fragile pixel in the difference of the logits, per unit of input."""
    per_unit = (state["last.weight"][1] - state["last.weight"][0]) / (state["norm.running_var"] + 1e-5).sqrt()
    return float(per_unit[1].abs() / per_unit.abs().sum())


def test_turns_away_from_the_fragile_pixel(data, victim):
    part = AdversarialTraining(epsilon=0.1, updates=150, batch_size=64, learning_rate=0.02)
    state = _fit(part, data, victim)
    network = part.load(state, victim=victim, attack=PGD())
    fragile = data.x.clone()
    fragile[..., 1] = 1 - fragile[..., 1]
    plain = AdversarialTraining(epsilon=0.0, updates=150, batch_size=64, learning_rate=0.02)
    assert _share(state) < 0.5 * _share(_fit(plain, data, victim))
    assert (network(fragile).argmax(1) == data.y).float().mean() > 0.95


def test_is_loaded_frozen_and_leaves_the_victim_alone(data, victim):
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    part = AdversarialTraining(updates=3)
    state = _fit(part, data, victim)
    network = part.load(state, victim=victim, attack=PGD())
    assert all(torch.equal(before[name], value) for name, value in victim.state_dict().items())
    assert not victim.training
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(network.state_dict(), state)
    torch.testing.assert_close(network.head(network.features(data.x)), network(data.x))


def test_repeats_under_one_seed(data, victim):
    part = AdversarialTraining(updates=5)
    torch.testing.assert_close(_fit(part, data, victim), _fit(part, data, victim), rtol=0, atol=0)


def test_can_start_from_new_weights(data, victim):
    part = AdversarialTraining(updates=1, learning_rate=0.0)
    assert torch.equal(_fit(part, data, victim)["last.weight"], victim.last.weight)
    anew = AdversarialTraining(updates=1, learning_rate=0.0, warm_start=False)
    assert not torch.equal(_fit(anew, data, victim, seed=5)["last.weight"], victim.last.weight)


def test_refuses_what_it_cannot_train(data, victim):
    with pytest.raises(TypeError, match=r"trains a torch\.nn\.Module; this victim is a function"):
        _fit(AdversarialTraining(), data, lambda x: x)
    victim.token = nn.Parameter(torch.zeros(1))
    with pytest.raises(TypeError, match="warm_start: true"):
        _fit(AdversarialTraining(warm_start=False), data, victim)


def test_refuses_a_norm_that_the_attack_lacks(data, victim):
    class Only(PGD):
        norms = ("l2",)

    with pytest.raises(ValueError, match="works in l2, not in linf"):
        AdversarialTraining().fit(data, victim=victim, attack=Only())


def test_nearest_attacks_get_all_room():
    from defenses._craft import budget_of

    class Nearest(PGD):
        minimal = True

    assert budget_of(Nearest(), "l2", 0.5).epsilon == math.inf
    assert budget_of(PGD(), "l2", 0.5).epsilon == 0.5


class Spy(PGD):
    """Counts the inputs that it is given."""

    def perturb(self, view, x, y, budget, draws):
        sizes.append(len(x))
        return super().perturb(view, x, y, budget, draws)


sizes: list[int] = []


@pytest.mark.parametrize(("clean", "attacked"), [(0.0, 64), (0.25, 48), (1.0, 0)])
def test_a_share_of_each_batch_is_left_clean(data, victim, clean, attacked):
    sizes.clear()
    part = AdversarialTraining(updates=3, batch_size=64, clean=clean)
    torch.manual_seed(0)
    part.fit(data, victim=victim, attack=Spy(steps=1))
    assert sizes == [attacked] * 3 * bool(attacked)
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        AdversarialTraining(clean=1.5)


LOCAL, CODES = {"local_pca": {"dim": 10}}, {"autoencoder": {"dim": 4, "width": 2, "batch_size": 32}}


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (
            {"normal": {"steps": 2, "directions": 0, "manifold": LOCAL}},
            "normal(directions=0, manifold=local_pca(dim=10)",
        ),
        ({"on_manifold_pgd": {"steps": 2, "manifold": LOCAL}}, "on_manifold_pgd(manifold=local_pca(dim=10), steps=2)"),
        ({"latent_pgd": {"steps": 2, "manifold": CODES}}, "latent_pgd(manifold=autoencoder("),
    ],
)
def test_a_grid_trains_on_attacks_with_a_manifold(tmp_path, attack, name):
    grid = {
        "datasets": ["digits"],
        "victims": [{"mlp": {"width": 16, "epochs": 1}}],
        "defenses": [{"adversarial_training": {"norm": "l2", "epsilon": 1.0, "updates": 3, "attack": attack}}],
        "attacks": ["fgsm"],
        "threats": [{"norm": "l2", "epsilons": [1.0], "knowledge": ["adaptive"]}],
        "inputs": 20,
        "scrutiny": "light",
    }
    result = run(grid, home=tmp_path, track=False)
    (system,) = result.summary()["systems"]
    assert not result.progress.failed
    assert f"attack={name}" in system["defense"]
