"""Lift-Map-Detect with exact denoisers: masks, fills, the bias of overwriting, distances against oracles, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor, nn

from defenses._distances import dissimilarity, mean_square, perceptual
from defenses._masks import centre, checkerboard, filled, patches
from defenses.lift_map_detect import LiftMapDetect
from geometry.manifolds import diffusion
from geometry.manifolds._denoising import Denoiser, gaussian_denoiser, levels
from harness import check
from harness.draws import CounterDraws
from harness.spec import parse


class Exact:
    """A model whose noise is known."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.noise = denoiser


def point(x: Tensor) -> Exact:
    """The model of a single image (C, H, W) in [-1, 1]."""
    return Exact(lambda z, kept: (z - math.sqrt(kept) * x) / math.sqrt(1 - kept))


def images(number: int = 6, side: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(number, 1, side, side, generator=torch.Generator().manual_seed(seed))


def draws(x: Tensor, key: str = "test") -> CounterDraws:
    return CounterDraws(key, torch.arange(len(x)))


def loaded(model: object, **params: object):
    return LiftMapDetect(**params).load({}, victim=nn.Identity(), model=model)  # type: ignore[arg-type]


def drawn(shape: tuple[int, ...], seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator)


def test_masks_cover_half_and_exchange() -> None:
    board = checkerboard(32, 32, 4)
    assert board.mean() == 0.5
    assert board[:4, :4].all()
    assert not board[:4, 4:8].any()
    part = loaded(point(torch.zeros(1, 8, 8)), side=2)
    x = images()
    first, second = part.mask(x, draws(x), 0), part.mask(x, draws(x), 1)
    assert (first + second == 1).all()
    assert (loaded(point(x[0]), side=2, mask="fixed").mask(x, draws(x), 1) == first).all()
    assert centre(32, 32).mean() == 0.75
    random = patches(8, 8, 2, draws(x))
    assert (random.flatten(1).mean(1) == 0.5).all()
    assert not torch.equal(random[0], random[1])


@pytest.mark.parametrize("side", [3, 5, 0])
def test_squares_that_do_not_divide_the_image_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match=r"take a side of \[1, 2, 4, 8\]"):
        checkerboard(8, 8, side)


def test_known_images_come_back_and_hidden_ones_do_not_matter() -> None:
    x, model, shares = images(4), point(images(1, seed=1)[0]), levels(1.0, 10)
    ones = filled(model.noise, x, torch.ones(8, 8), shares, drawn(x.shape))
    assert torch.equal(ones, x)
    zeros = [filled(model.noise, y, torch.zeros(8, 8), shares, drawn(x.shape)) for y in (x, 1 - x)]
    assert torch.equal(*zeros)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_single_point_gives_the_distance_to_it_exactly(rounds: int) -> None:
    x, star = images(), images(1, seed=1)[0]
    part = loaded(point(2 * star - 1), side=2, attempts=1, steps=7, rounds=rounds)
    hidden = 1 - checkerboard(8, 8, 2)
    expected = (hidden * (x - star)).square().flatten(1).mean(1)
    torch.testing.assert_close(part(x, draws(x)), expected, atol=1e-6, rtol=1e-5)
    both = (1 - hidden) * (x - star)
    two = loaded(point(2 * star - 1), side=2, attempts=2, steps=7)(x, draws(x))
    torch.testing.assert_close(two, (expected + both.square().flatten(1).mean(1)) / 2, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 0.401), (0.9, 0.938), (0.99, 1.299)])
def test_overwriting_leaves_the_fill_too_near_to_the_mean(rho: float, expected: float) -> None:
    """Two correlated coordinates, the first known to be 1.5; the truth is 1.5 rho. Resampling comes nearer."""
    denoiser = gaussian_denoiser(torch.tensor([[1.0, rho], [rho, 1.0]]))
    x = torch.tensor([1.5, 0.0]).expand(10_000, 2)
    mask = torch.tensor([1.0, 0.0])
    found = filled(denoiser, x, mask, levels(1.0, 1000), drawn(x.shape))
    assert found[:, 1].mean() == pytest.approx(expected, abs=0.03)
    short, again = (filled(denoiser, x, mask, levels(1.0, 50), drawn(x.shape), rounds=rounds) for rounds in (1, 5))
    assert short[:, 1].mean() == pytest.approx({0.5: 0.389, 0.9: 0.905, 0.99: 1.250}[rho], abs=0.03)
    assert short[:, 1].mean() < again[:, 1].mean() < 1.5 * rho + 0.02


def test_points_off_the_plane_of_the_data_score_higher() -> None:
    """Images of one brightness vary in a plane; the farther from it, the surer the difference. A lift by little noise says
    nothing, one by all of it makes the same of every image."""
    flat = torch.ones(16) / 4
    model = Exact(lambda z, kept: gaussian_denoiser(4 * torch.outer(flat, flat))(z.flatten(1), kept).view_as(z))
    inside = (0.5 + 0.1 * torch.randn(60, 1, 1, 1, generator=torch.Generator().manual_seed(0))).expand(60, 1, 4, 4)
    noise = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    part = loaded(model, side=1, attempts=4, steps=10)

    def share(size: float) -> float:
        moved = (inside + size * noise).clamp(0, 1)
        near, far = part(inside, draws(inside)), part(moved, draws(inside, "far"))
        return float((far[:, None] > near).float().mean())

    assert share(0.0) == pytest.approx(0.5, abs=0.1)
    assert share(0.1) < share(0.4)
    assert share(0.4) > 0.95
    outside = (inside + 0.4 * noise).clamp(0, 1)
    slight = loaded(model, noise=1e-3, steps=2)
    assert slight(inside, draws(inside)).max() < 1e-4
    full = loaded(model, noise=1.0, steps=5)
    made = [full.filled(x, draws(x), range(1), 5) for x in (inside, outside)]
    torch.testing.assert_close(*made, atol=0.02, rtol=0)


def test_scores_do_not_depend_on_companions_and_noise_is_the_inputs_own() -> None:
    x, part = images(), loaded(Exact(gaussian_denoiser(torch.ones(1))), side=2, attempts=3, steps=4)
    score, key = part(x, draws(x)), draws(x)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(part(x[rows], key[rows]), score[rows])
    assert not torch.allclose(part(x, draws(x, "other")), score)


@pytest.mark.parametrize("attempts", [1, 2, 3, 4])
def test_gradients_are_those_of_the_score(attempts: int) -> None:
    """Of the attempts in the middle alone, whichever these are."""
    x = images(3).double()
    part = loaded(Exact(gaussian_denoiser(torch.tensor(0.3))), side=2, attempts=attempts, steps=4)
    assert not hasattr(part, "surrogate")
    assert torch.autograd.gradcheck(lambda z: part(z, draws(z)), x.requires_grad_())
    every = part.distances(x, draws(x), [(place, torch.arange(3)) for place in range(attempts)], 4).view(attempts, 3)
    torch.testing.assert_close(part(x, draws(x)), torch.quantile(every, 0.5, dim=0))


def test_fewer_attempts_are_differentiated_than_scored() -> None:
    """Evaluations with a gradient, by the number of images: two attempts of six, each computed again on the way back."""
    passed = {True: 0, False: 0}
    exact = gaussian_denoiser(torch.tensor(0.3))

    def noise(z: Tensor, kept: float) -> Tensor:
        passed[torch.is_grad_enabled() and z.requires_grad] += len(z)
        return exact(z, kept)

    x = images(5).requires_grad_()
    loaded(Exact(noise), side=2, attempts=6, steps=3)(x, draws(x)).sum().backward()
    assert passed[False] >= 5 * 6 * 3
    assert passed[True] <= 2 * 5 * 2 * 3


def test_a_shorter_score_is_differentiated_where_that_is_asked_for() -> None:
    x = images(2).requires_grad_()
    part = loaded(Exact(gaussian_denoiser(torch.tensor(0.3))), side=2, attempts=4, steps=9, surrogate_steps=5)
    part.surrogate(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten(1).any(1).all()


def test_similarity_is_that_of_its_definition() -> None:
    """Against windows slid by scipy, one image at a time."""
    x, other = images(3, 14), images(3, 14, seed=1)
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    for place in range(3):
        a, b = x[place, 0].double().numpy(), other[place, 0].double().numpy()
        mean_a, mean_b, square_a, square_b, product = (
            correlate2d(z, window, mode="valid") for z in (a, b, a * a, b * b, a * b)
        )
        common, spread = product - mean_a * mean_b, square_a - mean_a**2 + square_b - mean_b**2
        similar = (2 * mean_a * mean_b + 1e-4) * (2 * common + 9e-4)
        similar /= (mean_a**2 + mean_b**2 + 1e-4) * (spread + 9e-4)
        found = dissimilarity(x[place : place + 1], other[place : place + 1])
        assert float(found) == pytest.approx(1 - similar.mean(), abs=1e-4)
    torch.testing.assert_close(dissimilarity(x[..., :4, :4], x[..., :4, :4]), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(mean_square(x, other), ((x - other) ** 2).mean((1, 2, 3)))


def test_perceptual_distance_is_the_formula_on_the_activations() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.SiLU(), nn.Flatten(), nn.Linear(48, 2), nn.ReLU()
    ).requires_grad_(False)
    x, other = images(3), images(3, seed=1)
    expected = torch.zeros(3)
    for depth in (2, 4):
        one, two = (nn.functional.normalize(network[:depth](z), dim=1) for z in (x, other))
        expected += ((one - two) ** 2).sum(1).mean((1, 2))
    torch.testing.assert_close(perceptual(network, x, other), expected, atol=1e-4, rtol=1e-4)
    assert float(perceptual(network, x, x).abs().max()) == 0
    with pytest.raises(ValueError, match="take mse or ssim"):
        perceptual(nn.Linear(8, 8), x, other)


def test_lpips_is_that_of_torchvisions_trunk(tmp_path) -> None:
    """Weights under the names that the package lpips gives them, on AlexNet of torchvision."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    layers = alexnet(weights=None).features.requires_grad_(False)
    names = {0: "slice1.0", 3: "slice2.3", 6: "slice3.6", 8: "slice4.8", 10: "slice5.10"}
    state = {f"net.{name}.{k}": v for i, name in names.items() for k, v in layers[i].state_dict().items()}
    lines = [torch.rand(1, layers[i].out_channels, 1, 1) for i in names]
    torch.save(state | {f"lin{i}.model.1.weight": line for i, line in enumerate(lines)}, tmp_path / "alex.pt")
    part = loaded(point(torch.zeros(1, 8, 8)), distance="lpips", lpips=tmp_path / "alex.pt")
    x, other = (torch.rand(2, 3, 40, 32) for _ in range(2))
    expected = torch.zeros(2)
    for place, line in zip(names, lines, strict=True):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        one, two = (
            nn.functional.normalize(layers[: place + 2]((2 * z - 1 - shift.view(3, 1, 1)) / scale.view(3, 1, 1)), dim=1)
            for z in (x, other)
        )
        expected += ((one - two) ** 2 * line).sum(1).mean((1, 2))
    torch.testing.assert_close(part.distance(x, other), expected, atol=1e-5, rtol=1e-4)
    small = images(3)
    assert part.distance(small, small).abs().max() == 0
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    for path, message in (("other.pt", "lacks net"), ("none.pt", "there is no file")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            loaded(point(small[0]), distance="lpips", lpips=tmp_path / path)
    with pytest.raises(ValueError, match="takes a file `lpips`"):
        LiftMapDetect(distance="lpips")


def test_the_contract_is_kept_with_few_steps(monkeypatch) -> None:
    """What `harness check` tests, on digits, with a model of a second's training."""
    monkeypatch.setattr(diffusion, "LEAST_UPDATES", 10)
    model = {"diffusion": {"width": 8, "batch_size": 64, "epochs": 1}}
    (spec,) = parse("defense", {"lift_map_detect": {"model": model, "side": 2, "steps": 2, "attempts": 2}})
    for test in check._TESTS["defense"]:
        assert test(spec) is None


class Shaped(Exact):
    """A model that knows what images it is of."""

    shape = (1, 8, 8)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(3, 8), "takes images"),
        (torch.rand(3, 3, 8, 8), r"one of inputs \(1, 8, 8\), not \(3, 8, 8\); resize them"),
        (torch.rand(3, 1, 12, 12), r"not \(1, 12, 12\)"),
        (255 * torch.ones(3, 1, 8, 8), r"values in \[0, 1\], not from 255 to 255; divide"),
        (torch.rand(3, 1, 8, 8) - 0.5, "takes values in"),
        (torch.full((3, 1, 8, 8), torch.nan), "takes values in"),
    ],
)
def test_bad_inputs_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loaded(Shaped(gaussian_denoiser(torch.ones(1))), side=2)(x, draws(x))


@pytest.mark.parametrize("noise", [None, 0.5])
@pytest.mark.parametrize("x", [torch.zeros(2, 1, 8, 8), torch.ones(1, 1, 8, 8), torch.rand(0, 1, 8, 8)])
def test_black_and_white_images_and_batches_of_one_and_of_none_have_scores(x: Tensor, noise: float | None) -> None:
    for distance in ("mse", "ssim"):
        part = loaded(Shaped(gaussian_denoiser(torch.tensor(0.3))), side=2, steps=2, distance=distance, noise=noise)
        score = part(x, draws(x))
        assert score.shape == (len(x),)
        assert score.isfinite().all()
        copy = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(part(copy, draws(x)).sum(), copy)
        assert gradient.isfinite().all()


def test_bad_parameters_and_models_are_refused() -> None:
    with pytest.raises(TypeError, match="such as diffusion, not object"):
        loaded(object())
    with pytest.raises(ValueError, match="torch module"):
        LiftMapDetect(distance="features").load({}, victim=lambda x: x, model=point(torch.zeros(1)))  # type: ignore
    for params, message in (
        ({"attempts": 0}, "at least"),
        ({"noise": 1.5}, "time of the noise"),
        ({"noise": 0.0}, "time"),
    ):
        with pytest.raises(ValueError, match=message):
            LiftMapDetect(**params)
