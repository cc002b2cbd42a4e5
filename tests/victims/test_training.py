"""The training loop: its length, its augmentation, and what it says when it diverges."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.types import Split
from harness.victims._training import Recipe, adam, augmented, momentum, train


def blobs(size=60):
    """Two classes of points, apart by their first coordinate."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(size) % 2
    x = 0.1 * torch.rand(size, 4, generator=generator) + 0.5 * y[:, None]
    return Split(x, y, torch.arange(size), 2, None)


@pytest.mark.parametrize("optimizer", [adam(0.05, 0.0), momentum(0.05, 0.0)])
def test_separates_two_blobs(optimizer):
    torch.manual_seed(0)
    network, data = nn.Linear(4, 2), blobs()
    train(network, data, recipe=Recipe(optimizer, epochs=1, batch_size=16, least_steps=200))
    assert torch.equal(network(data.x).argmax(1), data.y)
    assert not network.training


def test_small_data_get_the_least_steps():
    recipe = Recipe(adam(1e-3, 0.0), epochs=2, batch_size=10, least_steps=7)
    assert [recipe.steps(size) for size in (5, 10, 30, 40, 100, 109)] == [7, 7, 7, 8, 20, 20]


def test_small_data_get_small_batches():
    recipe = Recipe(adam(1e-3, 0.0), epochs=1, batch_size=128)
    assert [recipe.batch(size) for size in (5, 100, 810, 1536, 50_000)] == [5, 16, 67, 128, 128]


def test_takes_so_many_steps_on_whole_batches():
    sizes = []

    def loss(logits, y):
        sizes.append(len(y))
        return functional.cross_entropy(logits, y)

    train(nn.Linear(4, 2), blobs(), recipe=Recipe(adam(1e-3, 0.0), epochs=3, batch_size=16, least_steps=1), loss=loss)
    assert sizes == [16] * 9


def test_a_pass_sees_every_input_once():
    seen = []

    class Watch(nn.Linear):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    data = blobs()
    train(Watch(4, 2), data, recipe=Recipe(adam(1e-3, 0.0), epochs=2, batch_size=15, least_steps=1))
    for first in (0, 4):
        rows = torch.cat(seen[first : first + 4])
        assert torch.equal(rows[rows[:, 1].argsort()], data.x[data.x[:, 1].argsort()])


def test_repeats_with_the_global_seed():
    def weights(seed):
        torch.manual_seed(seed)
        network = nn.Linear(4, 2)
        train(network, blobs(), recipe=Recipe(adam(1e-2, 0.0), epochs=1, batch_size=16, least_steps=5))
        return network.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_divergence_is_told():
    recipe = Recipe(momentum(1e30, 0.0), epochs=1, batch_size=16, least_steps=20)
    with pytest.raises(ValueError, match=r"the loss is \w+ after 20 steps; lower learning_rate"):
        train(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), blobs(), recipe=recipe)


def test_augmented_images_are_shifts_and_mirrors():
    torch.manual_seed(0)
    x = torch.rand(40, 2, 6, 5)
    moved = augmented(x, shift=0.4, flip=True)
    seen = set()
    for before, after in zip(x, moved, strict=True):
        found = [
            (down, right, mirror)
            for mirror in (False, True)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, shifted(before.flip(2) if mirror else before, down, right))
        ]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 20


def shifted(image, down, right):
    """An image moved by whole pixels, zeros coming in, written with slices."""
    out = torch.zeros_like(image)
    height, width = image.shape[1:]
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    source_rows = slice(max(0, -down), height + min(0, -down))
    source_columns = slice(max(0, -right), width + min(0, -right))
    out[:, rows, columns] = image[:, source_rows, source_columns]
    return out


def test_nothing_is_augmented_unless_asked():
    x = torch.rand(4, 1, 6, 6)
    assert augmented(x, shift=0.0, flip=False) is x
    flat = torch.rand(4, 6)
    assert augmented(flat, shift=0.5, flip=True) is flat
