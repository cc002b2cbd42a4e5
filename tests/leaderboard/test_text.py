"""Threats in words: epsilon as each norm has it."""

from __future__ import annotations

import pytest

from harness.types import Interval, Threat
from leaderboard import _text
from leaderboard._curve import curves
from leaderboard.rows import boards
from leaderboard.terminal import shown


@pytest.mark.parametrize(
    ("norm", "epsilon", "words"),
    [
        ("linf", 0.1, "ℓ∞ 0.1"),
        ("linf", 8 / 255, "ℓ∞ 8/255"),
        ("l1", 12.0, "ℓ1 12"),
        ("l0", 8.0, "ℓ0 8"),
        ("patch", 5.0, "patch 5×5 px"),
    ],
)
def test_a_threat_says_what_may_change(norm, epsilon, words):
    assert _text.ball(norm, epsilon) == words
    assert _text.threat(Threat(norm, epsilon, "adaptive")) == f"{words}, adaptive"


def test_a_board_of_patches_speaks_of_pixels(made):
    headline = Threat("patch", 5.0, "adaptive")
    fields = {"norm": "patch", "epsilon": 5.0, "knowledge": "adaptive"}
    text = shown(boards([made.system(headline=fields)]), width=100, colour=False)
    assert "patch 5×5 px, adaptive" in text
    (figure,) = curves({headline: Interval(0.4, 0.3, 0.5)}, None, headline)
    assert "side of the patch, pixels" in figure
    assert "perturbation" not in figure
