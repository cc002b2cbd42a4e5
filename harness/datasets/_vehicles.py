"""Seven vehicles of blocks and wheels, in metres: x forward, y left, z up, symmetric from left to right."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import cos, pi, sin

import torch

from harness.datasets._render import Mesh

Point = tuple[float, float, float]
Color = tuple[float, float, float]
Pair = tuple[float, float]
Faces = list[tuple[tuple[Point, Point, Point], Color]]

_PAINT = (0.25, 0.5, 0.9)
_WHITE = (0.85, 0.85, 0.82)
_GLASS = (0.12, 0.16, 0.2)
_DARK = (0.22, 0.22, 0.24)
_TYRE = (0.1, 0.1, 0.1)
_HUB = (0.75, 0.75, 0.75)
_LAMP = (1.0, 0.95, 0.6)
_BRAKE = (0.9, 0.08, 0.08)
_SIDES = 14  # of a wheel


def block(x: Pair, y: Pair, z: Pair, color: Color, *, top: Pair | None = None, narrow: float = 1.0) -> Faces:
    """A block from x, y at z[0] to `top` (x if None), narrow * y at z[1]: a box, a wedge or a cabin."""
    ends = [(x, y, z[0]), (top or x, (narrow * y[0], narrow * y[1]), z[1])]
    below, above = ([(u[0], v[0], w), (u[1], v[0], w), (u[1], v[1], w), (u[0], v[1], w)] for u, v, w in ends)
    faces = _polygon(below[::-1], color) + _polygon(above, color)
    for i in range(4):
        j = (i + 1) % 4
        faces += _polygon([below[i], below[j], above[j], above[i]], color)
    return faces


def wheel(x: float, y: float, radius: float, width: float) -> Faces:
    """A tyre that stands on z = 0, its outer face at y, and its hub."""
    out = 1 if y > 0 else -1
    return _disc((x, y, radius), radius, -out * width, _TYRE) + _disc(
        (x, y + 0.02 * out, radius), 0.55 * radius, 0, _HUB
    )


def _disc(center: Point, radius: float, depth: float, color: Color) -> Faces:
    """A disc that faces outward, to the left where y > 0; with a depth, the mantle and the disc behind it."""
    x, y, z = center
    turns = [2 * pi * i / _SIDES for i in range(_SIDES)]
    rim = [(x + radius * sin(turn), y, z + radius * cos(turn)) for turn in (turns if y > 0 else turns[::-1])]
    faces = _polygon(rim, color)
    if depth:
        back = [(u, v + depth, w) for u, v, w in rim]
        faces += _polygon(back[::-1], color)
        for i in range(_SIDES):
            j = (i + 1) % _SIDES
            faces += _polygon([rim[j], rim[i], back[i], back[j]], color)
    return faces


def _polygon(corners: list[Point], color: Color) -> Faces:
    """A convex polygon, anticlockwise from outside, as a fan of triangles."""
    return [((corners[0], corners[i], corners[i + 1]), color) for i in range(1, len(corners) - 1)]


def _pair(faces: Callable[[int], Faces]) -> Faces:
    """Right and left."""
    return faces(-1) + faces(1)


def _ordered(a: float, b: float) -> Pair:
    return (a, b) if a < b else (b, a)


def _wheels(front: float, rear: float, half_width: float, radius: float, width: float = 0.24) -> Faces:
    return _pair(
        lambda side: wheel(front, side * half_width, radius, width) + wheel(rear, side * half_width, radius, width)
    )


def _lamps(front: float, rear: float, half_width: float, height: float, size: float = 0.2) -> Faces:
    """Headlamps and brake lights, which tell the front from the rear."""

    def one(side: int) -> Faces:
        y, z = _ordered(side * (half_width - 1.8 * size), side * (half_width - 0.2 * size)), (height, height + size)
        return block((front - 0.1, front + 0.03), y, z, _LAMP) + block((rear - 0.03, rear + 0.1), y, z, _BRAKE)

    return _pair(one)


def _across(half_width: float) -> Pair:
    return -half_width, half_width


def _car(length: float, belt: float, roof: float, *, cabin: Pair, top: Pair, clearance: float, radius: float) -> Faces:
    """A body up to the belt line, a cabin of glass with a post, a painted roof, wheels and lamps."""
    end, half, post = length / 2, 0.9, (top[0] + top[1]) / 2
    return [
        *block((-end, end), _across(half), (clearance, belt), _PAINT, narrow=0.96),
        *block(cabin, _across(0.84), (belt, roof), _GLASS, top=top, narrow=0.85),
        *block((post - 0.1, post + 0.1), _across(0.86), (belt, roof), _PAINT, narrow=0.85),
        *block((top[0] - 0.05, top[1] + 0.05), _across(0.74), (roof, roof + 0.07), _PAINT),
        *_wheels(0.62 * end, -0.6 * end, half + 0.02, radius),
        *_lamps(end, -end, half, belt - 0.32),
    ]


def sedan() -> Faces:
    """A boot behind the cabin."""
    return _car(4.7, 0.88, 1.36, cabin=(-1.5, 0.95), top=(-0.85, 0.3), clearance=0.25, radius=0.33)


def hatchback() -> Faces:
    """Short, and the cabin ends at the tail."""
    return _car(3.8, 0.92, 1.45, cabin=(-1.86, 0.95), top=(-1.35, 0.25), clearance=0.25, radius=0.32)


def suv() -> Faces:
    """High above the ground, upright, a spare wheel's box behind and rails on the roof."""
    faces = _car(4.6, 1.12, 1.76, cabin=(-2.25, 1.1), top=(-2.05, 0.6), clearance=0.48, radius=0.42)
    rails = _pair(lambda side: block((-1.9, 0.4), _ordered(side * 0.6, side * 0.68), (1.83, 1.9), _DARK))
    return faces + rails + block((-2.5, -2.2), _across(0.36), (0.75, 1.4), _TYRE)


def pickup() -> Faces:
    """A cabin in the middle and an open bed."""
    return [
        *block((-0.7, 2.7), _across(0.95), (0.5, 1.12), _PAINT, narrow=0.96),
        *block((-2.6, -0.7), _across(0.9), (0.5, 0.8), _DARK),
        *block((-0.7, 1.15), _across(0.88), (1.12, 1.75), _GLASS, top=(-0.6, 0.5), narrow=0.85),
        *block((-0.66, 0.55), _across(0.77), (1.75, 1.82), _PAINT),
        *_pair(lambda side: block((-2.7, -0.7), _ordered(side * 0.85, side * 0.95), (0.6, 1.2), _PAINT)),
        *block((-2.7, -2.58), _across(0.9), (0.6, 1.2), _PAINT),
        *_wheels(1.75, -1.7, 0.98, 0.42),
        *_lamps(2.7, -2.7, 0.95, 0.8),
    ]


def van() -> Faces:
    """A closed body, a short sloping nose and side windows at the front only."""
    return [
        *block((-2.5, 1.4), _across(0.95), (0.35, 2.1), _PAINT, narrow=0.92),
        *block((1.4, 2.5), _across(0.95), (0.35, 1.15), _PAINT, top=(1.4, 2.3), narrow=0.96),
        *block((1.4, 2.25), _across(0.88), (1.15, 2.02), _GLASS, top=(1.4, 1.5), narrow=0.92),
        *_pair(lambda side: block((0.5, 1.5), _ordered(side * 0.8, side * 0.95), (1.2, 1.8), _GLASS, narrow=0.97)),
        *_pair(lambda side: block((-2.53, -2.4), _ordered(side * 0.1, side * 0.7), (1.3, 1.8), _GLASS)),
        *_wheels(1.6, -1.6, 0.97, 0.36),
        *_lamps(2.5, -2.5, 0.95, 0.75),
    ]


def bus() -> Faces:
    """Long, with a band of windows all around."""
    posts = (-2.6, -1.3, 0.0, 1.3, 2.6)
    return [
        *block((-4.2, 4.2), _across(1.2), (0.4, 2.8), _PAINT, narrow=0.97),
        *block((-3.9, 3.9), _across(1.215), (1.4, 2.3), _GLASS, narrow=0.987),
        *[face for x in posts for face in block((x - 0.1, x + 0.1), _across(1.23), (1.4, 2.3), _PAINT, narrow=0.987)],
        *block((3.9, 4.23), _across(1.1), (1.2, 2.4), _GLASS),
        *block((-4.23, -3.9), _across(0.9), (1.6, 2.3), _GLASS),
        *block((-2.0, 0.5), _across(0.7), (2.8, 3.0), _WHITE),
        *_wheels(2.7, -2.5, 1.21, 0.5, 0.3),
        *_lamps(4.2, -4.2, 1.2, 0.7, 0.3),
    ]


def box_truck() -> Faces:
    """A cab, and behind it a white box that is higher and wider."""
    return [
        *block((-3.3, 3.0), _across(0.5), (0.5, 0.8), _DARK),
        *block((-3.3, 1.5), _across(1.15), (0.85, 3.2), _WHITE),
        *block((1.65, 3.3), _across(1.0), (0.45, 1.35), _PAINT),
        *block((1.65, 3.3), _across(0.98), (1.35, 2.15), _GLASS, top=(1.65, 2.8), narrow=0.92),
        *block((1.65, 2.05), _across(1.0), (1.35, 2.15), _PAINT, narrow=0.92),
        *block((1.65, 2.82), _across(0.92), (2.15, 2.25), _PAINT),
        *_wheels(2.4, -1.9, 1.05, 0.48, 0.3),
        *_lamps(3.3, -3.3, 1.0, 0.7, 0.28),
    ]


VEHICLES: dict[str, Callable[[], Faces]] = {
    "sedan": sedan,
    "hatchback": hatchback,
    "suv": suv,
    "pickup": pickup,
    "van": van,
    "bus": bus,
    "box_truck": box_truck,
}


@lru_cache(maxsize=len(VEHICLES))
def mesh(name: str) -> Mesh:
    """A vehicle by name, one of VEHICLES."""
    triangles, colors = zip(*VEHICLES[name](), strict=True)
    return Mesh(torch.tensor(triangles, dtype=torch.float64), torch.tensor(colors))
