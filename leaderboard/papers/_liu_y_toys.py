"""Small regression networks, many at once, and all their cells: Figures 1 and 2 and Table 1 of Liu et al. 2023."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geometry.polyhedra.traverse import traverse
from harness.progress import steps

Row = dict[str, Any]
Layers = list[tuple[Tensor, Tensor]]  # weight (runs, in, out) and bias (runs, 1, out) of each layer

SHAPES = (
    (2, 5),
    (4, 5),
    (6, 5),
    (8, 5),
    (10, 5),
    (3, 5),
    (3, 10),
    (3, 15),
    (3, 20),
    (3, 25),
)  # layers x width, Table 1
FAILED = 0.01  # validation error above which a run counts as failed: the target's variance is 0.18 and more
_LEARNING_RATE = 5e-3
_STEPS_AN_EPOCH = 90


@dataclass(frozen=True)
class Toy:
    """Networks dimensions-width-..-width-1 on the target |x|^2 - offset over [-1, 1]^dimensions, `runs` of them."""

    dimensions: int
    width: int
    layers: int
    offset: float
    points: int
    runs: int
    epochs: int

    def trained(self) -> tuple[list[nn.Sequential], Tensor]:
        """The networks with the weights of their best epoch, float64, and their validation errors (runs,)."""
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(self.points, self.dimensions, generator=generator) * 2 - 1
        y = x.square().sum(1) - self.offset
        held_out = self.points // 10
        layers = _initial([self.dimensions, *[self.width] * self.layers, 1], self.runs, generator)
        error = _train(layers, x[held_out:], y[held_out:], (x[:held_out], y[:held_out]), self.epochs, generator)
        return [_network(layers, run) for run in range(self.runs)], error


def figure_1(runs: int, epochs: int) -> list[Row]:
    """Cells of 2-10-10-1 in the plane and in the box: one row a run."""
    networks, errors = Toy(2, 10, 2, 0.4, 10_000, runs, epochs).trained()
    rows = []
    for network, error in zip(networks, errors.tolist(), strict=True):
        plane = traverse(network)
        bounded = int(plane.bounded.sum())
        row = {"plane": len(plane), "box": len(traverse(network, (-1.0, 1.0)))}
        rows.append(row | {"bounded": bounded, "unbounded": len(plane) - bounded, "mse": error})
    return rows


def figure_2(runs: int, epochs: int) -> list[Row]:
    """Cells of 3-10-10-10-1 in the cube: one row a run."""
    networks, errors = Toy(3, 10, 3, 3.0, 125_000, runs, epochs).trained()
    return [
        {"cube": len(traverse(network, (-1.0, 1.0))), "mse": error}
        for network, error in zip(networks, errors.tolist(), strict=True)
    ]


def table_1(runs: int, epochs: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Row]:
    """Cells in the plane and in the box, and validation errors, over the runs of each shape that did not fail."""
    for layers, width in steps(shapes, "toy networks"):
        networks, errors = Toy(2, width, layers, 0.4, 10_000, runs, epochs).trained()
        kept = errors < FAILED
        plane = [len(traverse(network)) for network, good in zip(networks, kept, strict=True) if good]
        box = [len(traverse(network, (-1.0, 1.0))) for network, good in zip(networks, kept, strict=True) if good]
        row = {"layers": layers, "width": width, "failed": int((~kept).sum())}
        yield row | _statistics(plane) | {"box_mean": mean(box)} | _errors(errors[kept])


def _statistics(counts: list[int]) -> Row:
    if not counts:
        return dict.fromkeys(("mean", "sd", "median", "min", "max"))
    values = torch.tensor(counts, dtype=torch.float64)
    middle = float(values.quantile(0.5))
    spread = float(values.std(correction=0))
    return {"mean": mean(counts), "sd": spread, "median": middle, "min": min(counts), "max": max(counts)}


def _errors(errors: Tensor) -> Row:
    if not len(errors):
        return {"mse_mean": None, "mse_sd": None}
    return {"mse_mean": float(errors.mean()), "mse_sd": float(errors.std(correction=0))}


def mean(values: Sequence[float]) -> float | None:
    """The mean, none of no values."""
    return sum(values) / len(values) if values else None


def _initial(widths: list[int], runs: int, generator: torch.Generator) -> Layers:
    """Uniform within 1 / sqrt(inputs), as torch's linear layers start."""
    layers = []
    for before, after in itertools.pairwise(widths):
        bound = before**-0.5
        shapes = ((runs, before, after), (runs, 1, after))
        weight, bias = (bound * (2 * torch.rand(shape, generator=generator) - 1) for shape in shapes)
        layers.append((weight.requires_grad_(), bias.requires_grad_()))
    return layers


def _outputs(layers: Layers, x: Tensor) -> Tensor:
    """What each run makes of x (B, d), or of a batch of its own (runs, B, d): (runs, B)."""
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias if i == 0 else x.relu() @ weight + bias
    return x[..., 0]


def _train(
    layers: Layers, x: Tensor, y: Tensor, held_out: tuple[Tensor, Tensor], epochs: int, generator: torch.Generator
) -> Tensor:
    """Adam on the squared error, the runs side by side; leaves each run's best weights and returns their errors (runs,)."""
    parameters = [tensor for layer in layers for tensor in layer]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, kept = torch.full((len(parameters[0]),), torch.inf), [p.detach().clone() for p in parameters]
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).tensor_split(_STEPS_AN_EPOCH):
            loss = (_outputs(layers, x[rows]) - y[rows]).square().mean(1).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            error = (_outputs(layers, held_out[0]) - held_out[1]).square().mean(1)
            better = error < best
            best = torch.where(better, error, best)
            for saved, parameter in zip(kept, parameters, strict=True):
                saved[better] = parameter[better]
    for saved, parameter in zip(kept, parameters, strict=True):
        parameter.data.copy_(saved)
    return best


def _network(layers: Layers, run: int) -> nn.Sequential:
    """One run as a network of its own."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(weight.shape[1], weight.shape[2]).double().requires_grad_(False)
        linear.weight.copy_(weight[run].T.detach())
        linear.bias.copy_(bias[run, 0].detach())
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])
