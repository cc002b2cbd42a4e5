"""What came nearest to breaking each input, and the pictures of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from harness.nearest import LARGEST, Pictured, atlas, columns, nearest
from harness.types import Threat

HEADLINE = Threat("linf", 0.1, "adaptive")


def row(index, attack="pgd", **changes):
    known = {
        "index": index,
        "epsilon": 0.1,
        "draw": 0,
        "label": 3,
        "prediction": 3,
        "margin": 0.0,
        "accepted": True,
        "distance": 0.1,
        "valid": True,
        "attacked": True,
        "loss": 0.0,
        "cell": "attack",
        "attack": attack,
        "check": "",
        "norm": "linf",
        "knowledge": "adaptive",
        "role": "score",
    }
    return known | changes


def test_the_smallest_break_counts_and_of_an_input_that_held_the_largest_loss():
    outcomes = pd.DataFrame(
        [
            row(0, "fgsm", prediction=5, distance=0.1),
            row(0, "pgd", prediction=7, distance=0.04),
            row(0, "apgd", loss=99.0),
            row(1, "fgsm", loss=1.5),
            row(1, "pgd", loss=2.5),
            row(1, "noise", loss=math.nan),
            row(2, "pgd", prediction=5, accepted=False, loss=0.5),  # rejected: held
            row(3, "pgd", prediction=5, valid=False),  # outside the ball
            row(4, "pgd", prediction=5, norm="l2"),
            row(5, "pgd", prediction=5, epsilon=0.2),
            row(6, "pgd", prediction=5, attacked=False),
            row(7, "pgd", prediction=5, knowledge="oblivious", epsilon=0.05),  # counts: less of everything
        ]
    )
    found = nearest(outcomes, HEADLINE).set_index("index")
    assert found["attack"].to_dict() == {0: "pgd", 1: "pgd", 2: "pgd", 7: "pgd"}
    assert found["held"].to_dict() == {0: False, 1: True, 2: True, 7: False}
    told = columns(found.reset_index(), np.array([0, 1, 9]), {3: "cat", 7: "dog"}.__getitem__)
    assert told == {
        "label": ["cat", "cat", ""],
        "prediction": ["dog", "cat", ""],
        "nearest": ["pgd", "pgd", ""],
        "distance": [0.04, 0.1, None],
    }


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 3), (3, 3), (4, 3)])
def test_both_images_give_back_every_adversarial_input(channels, shown, tmp_path):
    generator = torch.Generator().manual_seed(0)
    clean, changed = torch.randint(0, 256, (2, 70, channels, 5, 40), generator=generator, dtype=torch.uint8)
    order = [2 * i for i in range(71)]  # the last has no picture
    index = [2 * i for i in reversed(range(70))]
    told = atlas(Pictured(clean / 255, changed / 255, index), order, tmp_path)
    one, two = (np.asarray(Image.open(tmp_path / f"{told[name]}.png")).astype(int) for name in ("clean", "change"))
    assert told["columns"] == 51
    wanted = changed[:, [0] * 3] if channels == 2 else changed[:, :shown]
    for place, value in enumerate(order[:-1]):
        top, left = place // 51 * 5, place % 51 * 40
        both = ((one + two) % 256)[top : top + 5, left : left + 40].reshape(5, 40, shown)
        assert (both == wanted[index.index(value)].permute(1, 2, 0).numpy()).all()
    assert not one[5:, 20 * 40 :].any()  # behind the last, and where the last would be


def test_systems_share_the_clean_image_and_one_too_large_is_not_drawn(tmp_path):
    clean = torch.rand((4, 1, 8, 8))
    first = atlas(Pictured(clean, clean, [0, 1, 2, 3]), range(4), tmp_path)
    second = atlas(Pictured(clean, 1 - clean, [0, 1, 2, 3]), range(4), tmp_path)
    assert first["clean"] == second["clean"]
    assert len(list(tmp_path.iterdir())) == 3
    large = Pictured(clean[:1], clean[:1], [0])
    assert atlas(large, range(1 + LARGEST // 64), tmp_path) is None
