"""The detector of Jamil et al. on networks whose maps are known."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from attacks.pgd import PGD
from defenses.linear_map_svm import LinearMapSVM
from harness.draws import CounterDraws
from harness.types import Budget, Spec, Split, View


class Net(nn.Module):
    """Two layers; `turned` gives the same function with its embedding turned by an orthogonal matrix."""

    def __init__(self, seed, turn=None):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(36, 12, generator=generator) / 6
        self.last = torch.randn(12, 3, generator=generator)
        self.turn = torch.eye(12) if turn is None else turn

    def features(self, x):
        return (x.flatten(1) @ self.first).tanh() @ self.turn

    def head(self, features):
        return features @ self.turn.T @ self.last

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture(scope="module")
def data():
    x = torch.rand(240, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return Split(x, Net(0)(x).argmax(1), torch.arange(240), 3, None, CounterDraws("toy", torch.arange(240)))


@pytest.fixture(scope="module")
def turned():
    return Net(0, torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(2))).Q)


def _fit(part, data, victim, canonical):
    torch.manual_seed(0)
    attack = PGD(steps=5, random_start=False)
    state = part.fit(data, victim=victim, canonical=canonical, attack=attack)
    return state, part.load(state, victim=victim, canonical=canonical, attack=attack)


def test_an_orthogonal_image_is_mapped_exactly(data, turned):
    part = LinearMapSVM(epsilon=0.2)
    state, _ = _fit(part, data, Net(0), turned)
    native, _ = _fit(part, data, turned, turned)
    torch.testing.assert_close(state["matrix"].float(), turned.turn, atol=1e-4, rtol=0)
    assert state["held_out_r2"] == pytest.approx(1.0, abs=1e-6)
    assert state["held_out_mse"] == pytest.approx(0.0, abs=1e-8)
    assert state["held_out_auroc"] == pytest.approx(float(native["held_out_auroc"]), abs=1e-3)


def test_scores_attacked_inputs_higher(data, turned):
    part = LinearMapSVM(epsilon=0.2)
    state, score = _fit(part, data, Net(0), turned)
    x = torch.rand(200, 1, 6, 6, generator=torch.Generator().manual_seed(9))
    y, draws = Net(0)(x).argmax(1), CounterDraws("new", torch.arange(200))
    attacked = PGD(steps=5, random_start=False).perturb(View.of(Net(0)), x, y, Budget("linf", 0.2), draws)
    scores = torch.cat([score(x), score(attacked)])
    found = roc_auc_score([0] * 200 + [1] * 200, scores)
    assert found > 0.65
    assert found == pytest.approx(float(state["held_out_auroc"]), abs=0.1)


@pytest.mark.parametrize("features", ["embedding", "magnitude", "phase"])
def test_the_score_is_the_svm_of_the_map(data, turned, features):
    part = LinearMapSVM(features=features, ridge=0.1)
    state, score = _fit(part, data, Net(0), turned)
    spectrum = {"embedding": lambda x: x, "magnitude": lambda x: torch.fft.rfft(x).abs()}
    spectrum["phase"] = lambda x: torch.fft.rfft(x).angle()
    embedded = spectrum[features](Net(0).features(data.x)).double()
    expected = (embedded @ state["matrix"] + state["offset"]) @ state["normal"] - state["threshold"]
    torch.testing.assert_close(score(data.x).double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(score(data.x[[5, 2]]), score(data.x)[[5, 2]])


@pytest.mark.parametrize("features", ["embedding", "magnitude", "phase"])
def test_the_score_is_differentiable(data, turned, features):
    _, score = _fit(LinearMapSVM(features=features), data, Net(0), turned)
    x = data.x[:4].clone().requires_grad_()
    score(x).sum().backward()
    direction = x.grad.sign()
    with torch.no_grad():
        change = (score(data.x[:4] + 1e-3 * direction) - score(data.x[:4] - 1e-3 * direction)) / 2e-3
    torch.testing.assert_close(change, x.grad.abs().flatten(1).sum(1), rtol=0.05, atol=1e-3)
    dark = torch.zeros(2, 1, 6, 6, requires_grad=True)
    score(dark).sum().backward()
    assert torch.isfinite(dark.grad).all()


def test_state_is_all_there_is(data, turned):
    state, score = _fit(LinearMapSVM(), data, Net(0), turned)
    assert all(isinstance(value, torch.Tensor) and value.isfinite().all() for value in state.values())
    again = LinearMapSVM().load({k: v.clone() for k, v in state.items()}, victim=Net(0), canonical=None, attack=None)
    assert torch.equal(again(data.x), score(data.x))


def test_repeats_under_one_seed(data, turned):
    first, _ = _fit(LinearMapSVM(), data, Net(0), turned)
    second, _ = _fit(LinearMapSVM(), data, Net(0), turned)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_networks_without_embeddings_are_refused(data):
    with pytest.raises(TypeError, match="no method features"):
        _fit(LinearMapSVM(), data, nn.Flatten(), Net(0))


def test_its_canonical_network_is_the_victim_of_another_seed():
    assert LinearMapSVM().canonical == Spec.of("victim", "self", seed=1)
