"""A search may ask about no inputs at all, and a defense may fail there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.draws import CounterDraws
from harness.system import Curve, System, answers
from harness.types import Loaded
from harness.views import surviving

NOBODY = CounterDraws("nobody", torch.arange(0))


def refuses(x: Tensor) -> Tensor:
    """The first input decides about all."""
    return x + 0 * x[0]


@pytest.mark.parametrize("rejects", [False, True])
def test_a_defense_that_fails_on_no_inputs(rejects: bool) -> None:
    curves = (Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])),) if rejects else ()
    part = Loaded("detector", "part", lambda x: refuses(x)[:, 0]) if rejects else Loaded("purifier", "part", refuses)
    system, x = System(lambda x: x, (part,), curves), torch.zeros(0, 3)
    outputs = surviving(system, num_classes=3, rejects=rejects)(x, NOBODY)
    assert outputs.logits.shape == (0, 3)
    assert (outputs.margin is not None) is rejects
    label, margin = answers(system, x, NOBODY)
    assert label.shape == margin.shape == (0,)
