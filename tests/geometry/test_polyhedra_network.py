"""Reading networks: bits, layers, halfspaces, local maps and inscribed balls, against Jacobians and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from geometry.polyhedra._network import dense_layers, symbols
from geometry.polyhedra._windows import windows
from geometry.polyhedra.activation_pattern import activation_pattern, layer_patterns, pack, unpack
from geometry.polyhedra.halfspaces import halfspaces, pattern_halfspaces
from geometry.polyhedra.inscribed_ball import inscribed_ball, inscribed_ball_screened
from geometry.polyhedra.local_affine_map import local_affine_map


class Mixed(nn.Module):
    """Convolution, batch-norm, max-pool, leaky ReLU, a skip connection, average-pool: (B, 2, 8, 8) -> (B, 3)."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.average = nn.AvgPool2d(2)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
        )
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.double().eval()

    def forward(self, x):
        x = self.pool(functional.relu(self.norm(self.first(x - 0.5))))
        x = functional.leaky_relu(self.second(x) / 2 + x, 0.2)
        return self.head(self.average(x))


def plain(*widths, seed=0, bias=True):
    torch.manual_seed(seed)
    layers = [m for a, b in pairwise(widths[:-1]) for m in (nn.Linear(a, b, bias=bias), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1])).double()


def test_bits_are_those_of_the_formula():
    network, x = plain(3, 5, 4, 2), torch.randn(20, 3, dtype=torch.float64)
    first = network[0](x)
    second = network[2](first.clamp_min(0))
    assert torch.equal(activation_pattern(network, x), torch.cat([first > 0, second > 0], 1))
    assert [bits.shape[1] for bits in layer_patterns(network, x)] == [5, 4]
    assert torch.equal(activation_pattern(network, x, block=3), activation_pattern(network, x))


def test_a_point_on_a_plane_is_off():
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    assert not activation_pattern(network, torch.zeros(1, 1)).any()


@pytest.mark.parametrize("number", [1, 8, 13])
def test_packing_is_undone(number):
    bits = torch.rand(4, 3, number) > 0.5
    packed = pack(bits)
    assert packed.dtype == torch.uint8
    assert packed.shape[-1] == -(-number // 8)
    assert torch.equal(unpack(packed, number), bits)
    network, x = plain(3, number, 2), torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(unpack(activation_pattern(network, x, packed=True), number), activation_pattern(network, x))


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d((2, 3), 2, dilation=2, ceil_mode=True),
        nn.MaxPool2d(2, 3, ceil_mode=True),
    ],
)
def test_the_largest_of_a_window_is_the_pool(pool, size):
    x = torch.randn(2, 3, size, size)
    found, output = symbols(pool, x)
    assert torch.equal(found[0].values.amax(-1), output)
    assert (found[0].margins >= 0).all()
    assert torch.equal(found[0].bits.view(found[0].values.shape).sum(-1), torch.ones(output.shape, dtype=torch.long))


def test_windows_in_one_dimension():
    x = torch.arange(5.0).view(1, 1, 5)
    values = windows(x, "max_pool1d", (2,), {"ceil_mode": True})
    assert values.tolist() == [[[[0, 1], [2, 3], [4, -math.inf]]]]


def test_layers_give_the_network():
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(4, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Identity()),
        nn.Linear(5, 3),
        nn.Linear(3, 2),
    ).eval()
    network[2].running_mean.normal_()
    network[2].running_var.uniform_(0.1, 3)
    layers = dense_layers(network)
    assert [weight.shape for weight, _ in layers] == [(6, 4), (5, 6), (2, 5)]
    x = torch.randn(9, 4, dtype=torch.float64)
    value = x.numpy()
    for weight, bias in layers[:-1]:
        value = (value @ weight.T + bias).clip(0)
    expected = network.double()(x).detach()
    torch.testing.assert_close(torch.from_numpy(value @ layers[-1][0].T + layers[-1][1]), expected)


def test_layers_are_exact():
    network = plain(3, 4, 2)
    (weight, bias), (last, end) = dense_layers(network)
    assert torch.equal(torch.from_numpy(weight), network[0].weight.detach())
    assert torch.equal(torch.from_numpy(bias), network[0].bias.detach())
    assert torch.equal(torch.from_numpy(last), network[2].weight.detach())
    assert torch.equal(torch.from_numpy(end), network[2].bias.detach())


def test_one_input_dimension():
    network = plain(1, 3, 1)
    cell = halfspaces(network, torch.tensor([0.3]))
    assert cell.normals.shape == (3, 1)
    assert dense_layers(network)[0][0].shape == (3, 1)


@pytest.mark.parametrize("widths", [(3, 5, 4, 2), (12, 5, 5, 5, 3), (5, 4, 2)])
def test_halfspaces_are_the_formula(widths):
    network, x = plain(*widths), torch.randn(widths[0], dtype=torch.float64)
    cell = halfspaces(network, x)
    formula = pattern_halfspaces(network, activation_pattern(network, x[None])[0])
    torch.testing.assert_close(cell.normals, formula.normals, atol=1e-14, rtol=0)
    torch.testing.assert_close(cell.offsets, formula.offsets, atol=1e-14, rtol=0)
    assert cell.first == formula.first == widths[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_cell_holds_its_points_and_no_others(seed):
    """Points near x lie in its halfspaces exactly where they have its symbols, for every kind of layer."""
    network = Mixed(seed=seed)
    x = torch.rand(2, 8, 8, dtype=torch.float64)
    cell = halfspaces(network, x)
    near = x + 10 ** torch.empty(300, 1, 1, 1).uniform_(-5, -1) * torch.randn(300, 2, 8, 8, dtype=torch.float64)
    room = cell.offsets - near.flatten(1) @ cell.normals.T
    inside = (room >= 0).all(1)
    same = (activation_pattern(network, near) == activation_pattern(network, x[None])).all(1)
    assert torch.equal(inside, same)
    assert 10 < inside.sum() < 290
    found, _ = symbols(network, near[inside])
    margins = torch.cat([one.margins for one in found], 1)
    torch.testing.assert_close(room[inside], margins[:, margins[0].isfinite()], atol=1e-13, rtol=0)


@pytest.mark.parametrize("network", [Mixed(), nn.Sequential(nn.Flatten(), plain(128, 6, 6, 3))])
def test_local_maps_are_jacobians(network):
    x = torch.rand(4, 2, 8, 8, dtype=torch.float64)
    maps = local_affine_map(network, x)
    expected = torch.stack([torch.autograd.functional.jacobian(network, one[None])[0, :, 0].flatten(1) for one in x])
    torch.testing.assert_close(maps.weight, expected, atol=1e-15, rtol=1e-12)
    value = torch.einsum("bkd,bd->bk", maps.weight, x.flatten(1)) + maps.bias
    torch.testing.assert_close(value, network(x).detach(), atol=1e-14, rtol=0)


def test_the_xor_network():
    """Sattelberg et al. 2023, equations (2) and (3)."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    for module, weight, bias in ((network[0], [[1.0, 1], [1, 1]], [1.0, 0]), (network[2], [[2.0, -4]], [-1.0])):
        module.weight.data, module.bias.data = torch.tensor(weight), torch.tensor(bias)
    maps = local_affine_map(network, torch.tensor([[1.0, 1], [-0.5, 0.2], [-1, -1]]))
    assert maps.weight.squeeze(1).tolist() == [[-2, -2], [2, 2], [0, 0]]
    assert maps.bias.squeeze(1).tolist() == pytest.approx([1, 1, -1])


@pytest.mark.parametrize("seed", range(2))
def test_inscribed_balls_reach_the_nearest_plane(seed):
    network, x = Mixed(seed=seed), torch.rand(3, 2, 8, 8, dtype=torch.float64)
    cells = [halfspaces(network, one) for one in x]
    expected = torch.stack(
        [((c.offsets - c.normals @ c.point) / c.normals.norm(dim=1)).nan_to_num(torch.inf).min() for c in cells]
    )
    torch.testing.assert_close(inscribed_ball(network, x), expected)
    directions = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inscribed_ball_screened(network, x, directions, candidates=32), expected)


def test_a_unit_that_never_changes_bounds_no_ball():
    network = plain(2, 2, 1)
    network[0].weight.data[0] = 0
    network[0].bias.data = torch.tensor([0.0, 3.0], dtype=torch.float64)
    x = torch.zeros(1, 2, dtype=torch.float64)
    expected = 3 / float(network[0].weight[1].detach().norm())
    assert float(inscribed_ball(network, x)) == pytest.approx(expected)


class Branching(nn.Module):
    """Goes another way by the value of its input."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Squared(nn.Module):
    def forward(self, x):
        return x * x


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.LayerNorm(4), "layer_norm"),
        (nn.Softmax(1), "softmax"),
        (nn.ReLU6(), "hardtanh"),
        (nn.PReLU(), "prelu"),
        (Squared(), "__mul__|mul"),
        (Branching(), "__gt__|gt"),
    ],
)
def test_what_is_not_piecewise_linear_is_refused_by_name(module, name):
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), module))
    with pytest.raises(ValueError, match=rf"'1\.1' \({type(module).__name__}\): ({name})"):
        activation_pattern(network, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"'1\.1'"):
        local_affine_map(network, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"'1\.1'"):
        dense_layers(network)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False).eval()])
def test_batch_norm_in_training_mode_is_refused(norm):
    network = nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for call in (activation_pattern, local_affine_map, lambda n, x: halfspaces(n, x[0]), lambda n, x: dense_layers(n)):
        with pytest.raises(ValueError, match="batch-norm '1'"):
            call(network, torch.zeros(2, 3))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_dropout_in_training_mode_is_refused():
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.ReLU())
    with pytest.raises(ValueError, match=r"'1' \(Dropout\)"):
        activation_pattern(network.train(), torch.zeros(2, 3))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    network = plain(3, 4, 2)
    bad = torch.tensor([0.0, value, 0.0], dtype=torch.float64)
    for call in (activation_pattern, local_affine_map, inscribed_ball):
        with pytest.raises(ValueError, match="NaN or infinite"):
            call(network, bad[None])
    with pytest.raises(ValueError, match="NaN or infinite"):
        halfspaces(network, bad)
    network[2].weight.data[0, 0] = value
    for call in (local_affine_map, lambda n, x: halfspaces(n, x[0]), lambda n, x: dense_layers(n)):
        with pytest.raises(ValueError, match=r"2\.weight"):
            call(network, torch.zeros(1, 3))


def test_only_plain_networks_have_layers():
    with pytest.raises(ValueError, match="skips a ReLU"):
        dense_layers(Skipping())
    with pytest.raises(ValueError, match="leaky_relu"):
        dense_layers(nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU()))
    with pytest.raises(ValueError, match="give shape="):
        dense_layers(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="4 hidden units"):
        pattern_halfspaces(plain(3, 4, 2), torch.ones(5))
    for call in (activation_pattern, inscribed_ball):
        with pytest.raises(ValueError, match="it is affine"):
            call(nn.Linear(2, 2), torch.zeros(1, 2))


class Skipping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return functional.relu(self.layer(x)) + x


def test_an_input_that_asks_for_gradients_has_the_same_pattern() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.rand(2, 3)
    assert torch.equal(activation_pattern(network, x), activation_pattern(network, x.clone().requires_grad_()))
