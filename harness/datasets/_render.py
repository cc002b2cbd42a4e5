"""Pictures of triangles: a perspective camera that orbits, diffuse light, a depth buffer, vectorised over images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_TOGETHER = 64  # images
_DISTANCE = 4.0  # of the camera from the center, in radii of the mesh
_MARGIN = 1.06  # of the picture about the sphere that holds the mesh
_LIGHTS = ((0.6, (0.5, 0.5, 0.9)), (0.2, (-0.8, -0.4, 0.3)))  # weight and direction: a sun and the sky opposite to it
_AMBIENT = 0.4
_SAMPLES = 3  # a pixel, along each side; odd, so that one is in its middle


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles (T, 3, 3), a row a corner, anticlockwise from outside, x forward, y left, z up; colors (T, 3) in [0, 1]."""

    triangles: Tensor
    colors: Tensor

    def framed(self) -> Tensor:
        """The triangles about the center of their bounding box, scaled into the unit sphere."""
        corners = self.triangles.reshape(-1, 3).double()
        center = (corners.amin(0) + corners.amax(0)) / 2
        radius = (corners - center).norm(dim=1).max()
        framed: Tensor = (self.triangles.double() - center) / radius
        return framed

    def shaded(self) -> Tensor:
        """Colors (T, 3) under the lights, which stand still about the mesh: Lambert's cosine law, no reflections."""
        first, second, third = self.triangles.double().unbind(1)
        normals = functional.normalize(torch.linalg.cross(second - first, third - first), dim=1)
        light = torch.full((len(normals), 1), _AMBIENT, dtype=torch.float64)
        for weight, direction in _LIGHTS:
            toward = functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
            light = light + weight * (normals @ toward).clamp(min=0)[:, None]
        return (self.colors.double() * light).clamp(0, 1).float()


def render(mesh: Mesh, azimuth: Tensor, look_down: Tensor, *, size: int) -> Tensor:
    """Red, green, blue, each times the share of the pixel that is covered, and that share: (N,), (N,) -> (N, 4, size, size).

    azimuth: degrees from the front toward the mesh's left; look_down: degrees, 0 looks level and 90 straight down. Nine
    samples a pixel are weighed by a tent two pixels wide, so that pictures follow small changes of the angles.
    """
    framed, shaded = mesh.framed(), mesh.shaded()
    palette = torch.cat([torch.zeros(1, 4), functional.pad(shaded, (0, 1), value=1.0)])
    angles = zip(torch.split(azimuth, _TOGETHER), torch.split(look_down, _TOGETHER), strict=True)
    return torch.cat([_averaged(palette[_visible(_seen(framed, *pair), _SAMPLES * size)]) for pair in angles])


def _seen(framed: Tensor, azimuth: Tensor, look_down: Tensor) -> Tensor:
    """Corners as the camera sees them: (T, 3, 3) -> (N, T, 3, 3) of right, up, both in [-1, 1] in view, and 1 / depth."""
    a, e = torch.deg2rad(azimuth.double()), torch.deg2rad(look_down.double())
    zero = torch.zeros_like(a)
    right = torch.stack([-a.sin(), a.cos(), zero], dim=1)
    up = torch.stack([-e.sin() * a.cos(), -e.sin() * a.sin(), e.cos()], dim=1)
    toward = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], dim=1)
    axes = torch.einsum("tcx,nax->ntca", framed, torch.stack([right, up, toward], dim=1))
    nearness = 1 / (_DISTANCE - axes[..., 2])
    half = _MARGIN / (_DISTANCE**2 - 1) ** 0.5
    return torch.stack([axes[..., 0] * nearness / half, axes[..., 1] * nearness / half, nearness], dim=3)


def _visible(seen: Tensor, samples: int) -> Tensor:
    """One plus the number of the nearest triangle at each sample, 0 where there is none: -> (N, samples, samples)."""
    images = len(seen)
    x = (1 + seen[..., 0]) * samples / 2 - 0.5  # in samples, whose centers are integers
    y = (1 - seen[..., 1]) * samples / 2 - 0.5
    area = (x[..., 1] - x[..., 0]) * (y[..., 2] - y[..., 0]) - (x[..., 2] - x[..., 0]) * (y[..., 1] - y[..., 0])
    front = (area < -1e-9).nonzero()  # y points down: what is seen from outside turns clockwise
    x, y, nearness = (values[front[:, 0], front[:, 1]] for values in (x, y, seen[..., 2]))
    area = area[front[:, 0], front[:, 1]]

    # Barycentric coordinates are a x + b y + c of the sample, and so is 1 / depth.
    a = (y.roll(-1, 1) - y.roll(-2, 1)) / area[:, None]
    b = (x.roll(-2, 1) - x.roll(-1, 1)) / area[:, None]
    c = (x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)) / area[:, None]
    row_of, row = _ranges(y.amin(1), y.amax(1), samples)
    low, high = _span(a[row_of], b[row_of] * row[:, None] + c[row_of])
    span_of, column = _ranges(low, high, samples)
    of, row = row_of[span_of], row[span_of]
    depth = torch.stack([(part * nearness).sum(1) for part in (a, b, c)], dim=1)[of]
    near = (depth[:, 0] * column + depth[:, 1] * row + depth[:, 2]).float()

    # Positive floats are in the order of their bits; the lowest bits name the triangle, which settles ties.
    key = (near.view(torch.int32).long() << 32) | (front[of, 1] + 1)
    place = (front[of, 0] * samples + row) * samples + column
    buffer = torch.zeros(images * samples * samples, dtype=torch.int64).scatter_reduce_(0, place, key, "amax")
    return (buffer & (2**32 - 1)).reshape(images, samples, samples)


def _span(slope: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Where slope x + rest >= 0 for all three columns (R, 3): from, to (R,)."""
    infinity = torch.full_like(slope, float("inf"))
    crossing = -rest / slope
    low = torch.where(slope > 0, crossing, -infinity).amax(1)
    high = torch.where(slope < 0, crossing, infinity).amin(1)
    return low, high


def _ranges(low: Tensor, high: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """All integers of [low, high] (R,) within 0 .. samples - 1: the row each belongs to, and the integer."""
    slack = 1e-9  # neighbours share their edge: no crack between them
    first = (low - slack).ceil().clamp(0, samples).long()
    last = (high + slack).floor().clamp(-1, samples - 1).long()
    counts = (last - first + 1).clamp(min=0)
    of = torch.repeat_interleave(counts)
    start = counts.cumsum(0) - counts
    return of, torch.arange(len(of)) - start[of] + first[of]


def _averaged(samples: Tensor) -> Tensor:
    """Pixels from samples: (N, s S, s S, 4) -> (N, 4, S, S)."""
    tent = _SAMPLES - torch.arange(1 - _SAMPLES, _SAMPLES).abs()
    kernel = (tent[:, None] * tent / _SAMPLES**4).expand(4, 1, -1, -1)
    padded = functional.pad(samples.movedim(3, 1), (_SAMPLES // 2,) * 4, mode="replicate")
    return functional.conv2d(padded, kernel, stride=_SAMPLES, groups=4)
