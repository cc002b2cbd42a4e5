"""The four parts: disjoint, complete, and the same for the same seed everywhere."""

from __future__ import annotations

import hashlib

import pytest
import torch

from harness.datasets._parts import PARTS, Pool, partition


@pytest.mark.parametrize(("size", "official"), [(10, 0), (1797, 0), (100_000, 0), (20_000, 10_000), (70_000, 10_000)])
def test_parts_are_disjoint_and_complete(size, official):
    rows = torch.cat([partition(size, official, 0)[part] for part in PARTS])
    assert torch.equal(rows.sort().values, torch.arange(size))


def test_sizes_are_as_documented():
    def sizes(size, official):
        return [len(partition(size, official, 0)[part]) for part in ("train", "fit", "calibrate", "test")]

    assert sizes(70_000, 10_000) == [50_000, 5_000, 5_000, 10_000]
    assert sizes(60_000, 10_000) == [40_000, 5_000, 5_000, 10_000]
    assert sizes(100_000, 0) == [80_000, 5_000, 5_000, 10_000]
    assert sizes(1_000, 0) == [450, 150, 200, 200]


def test_published_test_inputs_stay_test():
    rows = partition(70_000, 10_000, 3)["test"]
    assert rows.min() == 60_000
    assert not torch.equal(rows, rows.sort().values)


def test_seed_fixes_the_partition():
    first, again, other = (partition(500, 0, seed)["test"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_partition_is_the_one_that_results_were_made_with():
    rows = partition(70_000, 10_000, 0)["test"][:1000]
    assert hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16] == "68e6cb0fb6c4dcad"


def test_too_few_inputs_are_refused():
    with pytest.raises(ValueError, match="at least 10"):
        partition(9, 0, 0)


def test_split_gives_floats_on_the_grid():
    pool = Pool(torch.arange(20, dtype=torch.uint8)[:, None], torch.arange(20) % 2, torch.arange(20), ("a", "b"), 20)
    split = pool.split("train", 0)
    assert split.x.dtype == torch.float32
    assert torch.equal(split.x[:, 0], split.index.float() / 20)
    assert torch.equal(split.y, split.index % 2)
    assert (split.num_classes, split.levels) == (2, 20)
    with pytest.raises(ValueError, match=r"'validation'.*train, fit, calibrate, test"):
        pool.split("validation", 0)
