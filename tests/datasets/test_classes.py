"""Data sets of some classes: parts of the same parts, labels renumbered."""

from __future__ import annotations

import pytest
import torch

from harness import registry
from harness.datasets._parts import PARTS
from harness.datasets.cifar10 import CIFAR10
from harness.datasets.digits import Digits
from harness.spec import parse


@pytest.mark.parametrize("part", PARTS)
def test_some_classes_are_those_of_the_whole(part):
    whole, some = Digits().split(part), Digits(classes=(7, 2, 4)).split(part)
    kept = torch.isin(whole.y, torch.tensor([2, 4, 7]))
    assert torch.equal(some.index, whole.index[kept])
    assert torch.equal(some.x, whole.x[kept])
    assert torch.equal(torch.tensor([7, 2, 4])[some.y], whole.y[kept])
    assert (some.num_classes, some.levels) == (3, 16)


def test_halves_share_nothing():
    one, two = Digits(classes=tuple(range(5))), Digits(classes=tuple(range(5, 10)))
    seen = [half.split(part).index for half in (one, two) for part in PARTS]
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(1797))


def test_names_follow():
    cars = CIFAR10(classes=(9, 1))
    assert (cars.class_names, cars.num_classes) == (("truck", "automobile"), 2)
    assert len(CIFAR10().class_names) == 10


@pytest.mark.parametrize("name", ["cifar10", "digits", "fashion_mnist", "kmnist", "mnist"])
@pytest.mark.parametrize("classes", [(1, 10), (-1, 2), (3, 3)])
def test_unknown_and_repeated_classes_are_refused(name, classes):
    with pytest.raises(ValueError, match=f"{name} has the classes 0 to 9"):
        registry.load("dataset", name)(classes=classes)


def test_a_list_in_a_grid_is_one_choice_and_lists_of_lists_are_many():
    (one,) = parse("dataset", {"digits": {"classes": [0, 1]}})
    assert dict(one.params)["classes"] == (0, 1)
    assert len(list(parse("dataset", {"digits": {"classes": [[0, 1], [2, 3]]}}))) == 2
