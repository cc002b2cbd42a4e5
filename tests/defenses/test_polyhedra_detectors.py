"""Detectors on ReLU polyhedra against SciPy, hooks and closed forms; their surrogates; victims that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from attacks.pgd import PGD
from defenses._units import Units, differing, soft
from defenses.activation_svm import ActivationSVM
from defenses.boundary_crossings import BoundaryCrossings
from defenses.chebyshev import Chebyshev
from defenses.hamming import Hamming
from defenses.hamming_walk import HammingWalk
from defenses.local_map_distance import LocalMapDistance
from geometry.polyhedra.activation_pattern import pack
from geometry.polyhedra.chebyshev_center import chebyshev_center
from geometry.polyhedra.crossings import crossings
from geometry.polyhedra.halfspaces import halfspaces

DETECTORS = [
    Hamming(references=200),
    Hamming(references=200, layer=1, k=1),
    HammingWalk(references=200),
    HammingWalk(towards="random"),
    BoundaryCrossings(references=200),
    BoundaryCrossings(references=200, points=0),
    ActivationSVM(references=150),
    Chebyshev(references=50),
    Chebyshev(suspicious="either"),
    LocalMapDistance(references=200, clusters=3),
]


def fitted(part, digits):
    torch.manual_seed(0)
    given = {"attack": PGD(steps=5)} if isinstance(part, ActivationSVM) else {}
    state = part.fit(digits.fit, victim=digits.network, **given)
    return state, part.load(state, victim=digits.network, **given)


def patterns(digits, x):
    """Bits (N, 112) by hooks."""
    found: list[torch.Tensor] = []
    hooks = [
        m.register_forward_hook(lambda *given: found.append(given[1][0] > 0))
        for m in digits.network.body
        if isinstance(m, nn.ReLU)
    ]
    digits.network(x)
    for hook in hooks:
        hook.remove()
    return torch.cat(found, 1).numpy()


@pytest.mark.parametrize("k", [1, 5])
def test_hamming_is_the_mean_distance_to_the_nearest_patterns(digits, k):
    part = Hamming(k=k, references=10_000)
    _, score = fitted(part, digits)
    distance = 112 * cdist(patterns(digits, digits.test.x), patterns(digits, digits.fit.x), "hamming")
    np.testing.assert_allclose(score(digits.test.x).numpy(), np.sort(distance, 1)[:, :k].mean(1), atol=1e-4)


def test_the_layers_add_up(digits):
    first, second, both = (Units.of(digits.network, "x", layer).bits(digits.test.x) for layer in (0, 1, None))
    assert torch.equal(torch.cat([first, second], 1), both)
    assert torch.equal(both, torch.tensor(patterns(digits, digits.test.x)))


def test_soft_bits_that_are_hard_count_as_bits():
    a, b = torch.rand(5, 19) > 0.5, torch.rand(5, 3, 19) > 0.5
    expected = (a[:, None] != b).sum(2).float()
    torch.testing.assert_close(differing(a.float(), pack(b)), expected)
    assert torch.equal(soft(torch.tensor([[-1e6, 1e6]]), torch.ones(2)), torch.tensor([[0.0, 1.0]]))


def test_a_walk_counts_flips_towards_the_nearest_other_image(digits):
    state, score = fitted(HammingWalk(step=0.7, references=10_000), digits)
    x, images = digits.test.x[:40], state["goals"]
    distance = cdist(x.flatten(1), images.flatten(1))
    distance[distance < 1e-4] = np.inf
    goal = images[distance.argmin(1)]
    share = np.minimum(0.7 / distance.min(1), 1.0).astype(np.float32)
    end = x + torch.tensor(share)[:, None, None, None] * (goal - x)
    flips = (patterns(digits, x) != patterns(digits, end)).sum(1)
    assert np.abs(score(x).numpy() - flips).max() <= 1


def test_random_directions_have_the_length_of_the_step(digits):
    state, _ = fitted(HammingWalk(towards="random", directions=3), digits)
    torch.testing.assert_close(state["goals"].flatten(1).norm(dim=1), torch.ones(3))


def test_places_on_a_segment_bound_the_boundaries_from_below(digits):
    x = digits.test.x[:30]
    _, exact = fitted(BoundaryCrossings(points=0, references=50), digits)
    counts = [fitted(BoundaryCrossings(points=points, references=50), digits)[1](x) for points in (2, 16, 400)]
    goal_count = crossings(
        digits.network, x, exact.images[torch.cdist(x.flatten(1), exact.images.flatten(1)).argmin(1)]
    )
    assert torch.equal(exact(x), goal_count.number.float())
    for fewer, more in zip(counts, [*counts[1:], exact(x)], strict=True):
        assert (fewer <= more).all()
    assert float((exact(x) - counts[-1]).mean()) < 0.5


def test_the_inscribed_ball_touches_the_nearest_plane(digits):
    x = digits.test.x[:10]
    _, score = fitted(Chebyshev(suspicious="large", candidates=112), digits)
    for value, one in zip(score(x), x, strict=True):
        cell = halfspaces(digits.network, one)
        slack = cell.offsets - cell.normals @ one.flatten().double()
        assert float(value.exp()) == pytest.approx(float((slack / cell.normals.norm(dim=1)).min()), rel=1e-3)


def test_the_radius_in_the_box_is_that_of_the_toolbox(digits):
    x = digits.test.x[:3]
    _, score = fitted(Chebyshev(ball="box"), digits)
    expected = [chebyshev_center(halfspaces(digits.network, one), box=(0.0, 1.0)).radius for one in x]
    np.testing.assert_allclose((-score(x)).exp().numpy(), expected, rtol=1e-4)


def test_bits_separate_what_the_machine_was_fitted_on(digits):
    _, score = fitted(ActivationSVM(epsilon=0.3, references=10_000), digits)
    noisy = (digits.test.x + 0.3 * torch.sign(torch.randn_like(digits.test.x))).clamp(0, 1)
    assert score(noisy).mean() > score(digits.test.x).mean()


def test_with_a_cluster_for_each_input_every_input_is_at_its_centre(digits):
    part = LocalMapDistance(clusters=60, references=60)
    state, score = fitted(part, digits)
    assert (score(digits.fit.x) < 1e-3).sum() >= 55
    own = torch.func.jacrev(digits.network)(digits.test.x[:1])[0]
    predicted = int(digits.network(digits.test.x[:1]).argmax())
    row = own[predicted].flatten()
    offset = digits.network(digits.test.x[:1])[0, predicted] - row @ digits.test.x[0].flatten()
    distance = torch.cdist(torch.cat([row, offset[None]])[None], state["centres"][predicted]).nan_to_num(nan=torch.inf)
    expected = float(distance.min() / state["usual"][predicted])
    assert float(score(digits.test.x[:1])) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("part", DETECTORS, ids=str)
def test_the_surrogate_goes_with_the_score_and_has_a_gradient(digits, part):
    _, score = fitted(part, digits)
    x = digits.test.x[:100].clone().requires_grad_()
    value = score.surrogate(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.shape == score(x).shape == (100,)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).abs().amax(1) > 0).float().mean() > 0.9
    ranks = [torch.argsort(torch.argsort(v.detach())).double() for v in (value, score(x))]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.3


@pytest.mark.parametrize("part", DETECTORS[:1] + DETECTORS[6:8] + DETECTORS[9:], ids=str)
def test_a_victim_that_is_no_module_is_refused(digits, part):
    given = {"attack": PGD(steps=1)} if isinstance(part, ActivationSVM) else {}
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        part.fit(digits.fit, victim=digits.network.forward, **given)


def test_what_is_not_piecewise_linear_is_refused_by_name(digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10))
    with pytest.raises(ValueError, match="GELU"):
        Hamming().fit(digits.fit, victim=network)


def test_bad_parameters_are_refused(digits):
    with pytest.raises(ValueError, match="2 ReLU layers"):
        Hamming(layer=2).fit(digits.fit, victim=digits.network)
    with pytest.raises(ValueError, match="no ReLU"):
        Hamming().fit(digits.fit, victim=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(ValueError, match="3 fit inputs"):
        Hamming().fit(digits.fit[torch.arange(3)], victim=digits.network)
    with pytest.raises(ValueError, match="1 <= k <= references"):
        Hamming(k=0)
    with pytest.raises(ValueError, match="points"):
        BoundaryCrossings(points=1)
    with pytest.raises(ValueError, match="step above 0"):
        HammingWalk(step=0.0)
    with pytest.raises(ValueError, match="clusters"):
        LocalMapDistance(clusters=0)
    with pytest.raises(ValueError, match="candidate"):
        Chebyshev(candidates=0)
