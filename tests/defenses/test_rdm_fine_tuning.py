"""Fine-tuning towards targets: what it learns on digits, its losses in closed form, its control, and bad input."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attacks.pgd import PGD
from defenses._rdm_losses import LOSSES, SHRUNK, atanh
from defenses._rdm_targets import chosen, target
from defenses.rdm_fine_tuning import RDMFineTuning
from geometry.representations.categorical import category_matrix
from geometry.representations.dissimilarity import dissimilarity_matrix
from harness.api import run
from harness.types import Spec, Split

QUICK = {"updates": 60, "stimuli": 48, "batch_size": 64, "learning_rate": 3e-3}
BRAIN = Spec.of("dataset", "brain92")


def fit(part, digits, *, seed=0, dataset=None, teacher=None):
    torch.manual_seed(seed)
    network = digits.network
    return part.fit(digits.fit, victim=network, teacher=teacher or network, attack=PGD(steps=2), dataset=dataset)


def loaded(part, state, digits):
    return part.load(state, victim=digits.network, teacher=digits.network, attack=PGD())


def gain(state, which="held_out"):
    return float((state[f"similarity.{which}.after"] - state[f"similarity.{which}.before"]).mean())


class Stimuli:
    """A data set of stimuli, with dissimilarities if given."""

    def __init__(self, split, matrix=None, *, number=60):
        self.whole, self.matrix, self.number = split, matrix, number

    def split(self, part):
        rows = torch.arange(self.number) if part == "train" else torch.arange(self.number, 2 * self.number)
        some = self.whole[rows]
        if self.matrix is None:
            return some
        made = type("Measured", (Split,), {"dissimilarity": self.matrix[rows][:, rows]})
        return made(**vars(some))


@pytest.mark.parametrize("loss", ["atanh", "pearson", "cka"])
def test_moves_towards_the_target_on_stimuli_that_it_did_not_see(digits, loss):
    # atanh compares correlations themselves, and first moves their mean level, which Pearson similarity does not see
    change = {"strength": 10.0, "updates": 240} if loss == "atanh" else {"strength": 3.0}
    part = RDMFineTuning(target="gabor", loss=loss, **QUICK | change)
    state = fit(part, digits)
    plain = fit(replace(part, strength=0.0), digits)
    control = fit(replace(part, shuffled=True), digits)
    assert gain(state) > 0.1
    assert gain(state) > max(gain(plain), gain(control)) + 0.1
    network = loaded(part, state, digits)
    assert float((network(digits.test.x).argmax(1) == digits.test.y).double().mean()) > 0.9


def test_categories_and_teachers_are_learnt(digits):
    category = RDMFineTuning(target="category", loss="pearson", strength=3.0, **QUICK)
    assert gain(fit(category, digits)) > 0.1
    torch.manual_seed(3)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU())
    other.features = other.forward
    teacher = replace(category, target="teacher", teacher_updates=0)
    assert gain(fit(teacher, digits, teacher=other)) > 0.1


def test_an_adversarially_trained_teacher_is_another(digits):
    part = RDMFineTuning(target="teacher", loss="pearson", **QUICK | {"updates": 1})
    itself = fit(replace(part, teacher_updates=0), digits)["similarity.held_out.before"]
    trained = fit(replace(part, teacher_updates=20, epsilon=0.3), digits)["similarity.held_out.before"]
    assert float(itself) == pytest.approx(1, abs=1e-5)
    assert float(trained) < 0.999


def test_measured_dissimilarities_come_with_the_stimuli(digits):
    values = torch.rand(120, 5, generator=torch.Generator().manual_seed(0))
    stimuli = Stimuli(digits.fit, dissimilarity_matrix(values.double()))
    part = RDMFineTuning(target="brain", dataset=BRAIN, loss="pearson", strength=5.0, **QUICK)
    state = fit(part, digits, dataset=stimuli)
    assert gain(state, "learnt") > 0.15  # nothing to be learnt but by heart, and nothing of it holds for others
    assert gain(state) < 0.1
    assert set(state) - set(digits.network.state_dict()) == {
        f"similarity.{which}.{when}" for which in ("learnt", "held_out") for when in ("before", "after")
    }


def test_layers_can_be_chosen_and_unknown_ones_are_listed(digits):
    part = RDMFineTuning(layers=("body.2", "features"), strength=5.0, **QUICK)
    state = fit(part, digits)
    assert state["similarity.held_out.after"].shape == (2,)
    with pytest.raises(ValueError, match=r"unknown layer 'layer4': .*known: body\.0, body\.1"):
        fit(replace(part, layers=("layer4",)), digits)


def test_losses_vanish_at_the_target_and_have_closed_forms():
    rows = [torch.randn(9, 6, generator=torch.Generator().manual_seed(s)).double().requires_grad_() for s in (0, 1)]
    one = torch.ones(1).double()
    for name, loss in LOSSES.items():
        measure = "squared_euclidean" if name == "cka" else "correlation"
        itself = dissimilarity_matrix(rows[0].detach(), measure)
        assert float(loss(rows[:1], itself, one).detach()) == pytest.approx(0, abs=1e-10)
        other = dissimilarity_matrix(rows[1].detach(), measure)
        assert torch.autograd.gradcheck(lambda x, loss=loss, other=other: loss([x], other, one), rows[0])
    half = torch.tensor([0.25, 0.75]).double()
    wanted = dissimilarity_matrix(torch.randn(9, 4, generator=torch.Generator().manual_seed(2)).double())
    correlations = [np.corrcoef(x.detach().numpy()) for x in rows]
    mixed = 0.25 * correlations[0] + 0.75 * correlations[1]
    upper = np.triu_indices(9, 1)
    gaps = np.arctanh(SHRUNK * mixed[upper]) - np.arctanh(SHRUNK * (1 - wanted.numpy()[upper]))
    assert float(atanh(rows, wanted, half).detach()) == pytest.approx(np.mean(gaps**2))
    assert bool(torch.isfinite(atanh(rows, category_matrix(torch.arange(9) // 3), half)))


def test_what_is_held_out_is_seen_by_no_loss(digits):
    torch.manual_seed(0)
    data, learnt, held_out = chosen(digits.fit, None)
    assert len(held_out) == 50
    assert not set(held_out.index.tolist()) & (set(data.index.tolist()) | set(learnt.index.tolist()))
    wanted = target("gabor", learnt, "correlation", None)
    torch.manual_seed(1)
    wrong = wanted.shuffled()
    assert torch.equal(wrong.x, wanted.x)
    assert not torch.equal(wrong.matrix, wanted.matrix)
    assert torch.equal(wrong.matrix.flatten().sort().values, wanted.matrix.flatten().sort().values)


def test_stimuli_leave_the_statistics_of_a_batch_norm_alone(digits):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
    network.features = network[:4].forward
    stimuli = Stimuli(replace(digits.fit, x=1 - digits.fit.x))
    part = RDMFineTuning(dataset=BRAIN, learning_rate=0.0, **{k: v for k, v in QUICK.items() if k != "learning_rate"})
    means = []
    for strength in (0.0, 5.0):
        torch.manual_seed(0)
        some = replace(part, strength=strength)
        means.append(
            some.fit(digits.fit, victim=network, teacher=network, attack=PGD(), dataset=stimuli)["2.running_mean"]
        )
    torch.testing.assert_close(*means)


def test_bad_input_is_said(digits):
    quick = RDMFineTuning(**QUICK)
    wide = Stimuli(replace(digits.fit, x=digits.fit.x.expand(-1, 3, -1, -1)))
    with pytest.raises(
        ValueError, match=r"stimuli are \(3, 8, 8\), but the network takes \(1, 8, 8\).*size: 8, grey: true"
    ):
        fit(replace(quick, dataset=BRAIN), digits, dataset=wide)
    with pytest.raises(ValueError, match="needs stimuli with measured dissimilarities"):
        fit(replace(quick, target="brain", dataset=BRAIN), digits, dataset=Stimuli(digits.fit))
    crooked = torch.rand(120, 120)
    for matrix, words in (
        (crooked - torch.diag(crooked.diagonal()), "the target 'brain' is not symmetric"),
        (torch.ones(120, 120), "1 on its diagonal"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(replace(quick, target="brain", dataset=BRAIN), digits, dataset=Stimuli(digits.fit, matrix))
    dark = digits.fit.x.clone()
    dark[7] = 0.0
    with pytest.raises(ValueError, match="stimulus 7 is constant"):
        fit(replace(quick, dataset=BRAIN), digits, dataset=Stimuli(replace(digits.fit, x=dark)))
    for change, words in (
        ({"stimuli": 2}, "stimuli is 2; a step needs at least 3"),
        ({"strength": -1.0}, "strength is -1.0"),
        ({"target": "brain"}, "target: brain needs stimuli"),
    ):
        with pytest.raises(ValueError, match=words):
            RDMFineTuning(**change)
    with pytest.raises(TypeError, match="this victim is a function"):
        quick.fit(digits.fit, victim=lambda x: x, teacher=None, attack=None)


GRID = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"width": 16, "epochs": 1}}],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["adaptive"]}],
    "inputs": 20,
    "scrutiny": "light",
}


def test_a_grid_crosses_targets_and_controls(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    lines = [{"rdm_fine_tuning": {"target": "category", "shuffled": [False, True], "updates": 3}}]
    lines += [{"rdm_fine_tuning": {"target": "teacher", "teacher": {"mlp": {"width": 8, "epochs": 1}}, "updates": 3}}]
    lines[1]["rdm_fine_tuning"] |= {"teacher_updates": 2, "attack": {"pgd": {"steps": 1}}}
    result = run({**GRID, "defenses": lines}, home=tmp_path, track=False)
    assert not result.progress.failed
    assert len(result.summary()["systems"]) == 3


@pytest.mark.skipif(
    not (Path(os.environ.get("HARNESS_DATA", "")) / "RSA92").is_dir(), reason="HARNESS_DATA has no folder RSA92"
)
def test_a_grid_takes_the_brain_by_name(tmp_path):
    brain = {"target": "brain", "dataset": {"brain92": {"size": 8, "grey": True}}, "updates": 3}
    result = run({**GRID, "defenses": [{"rdm_fine_tuning": brain}]}, home=tmp_path, track=False)
    assert not result.progress.failed
    (system,) = result.summary()["systems"]
    assert "dataset=brain92(grey=True, size=8)" in system["defense"]
