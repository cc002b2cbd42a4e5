"""Draws against splitmix64 in Python's own integers, and their distributions against scipy's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy import stats

from harness.draws import CounterDraws, seed_of

MASK = (1 << 64) - 1


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def splitmix64(seed: int, number: int) -> list[int]:
    """The first outputs of the generator of Steele, Lea and Flood for a seed."""
    found = []
    for _ in range(number):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        found.append(mix(seed))
    return found


def test_the_oracle_is_splitmix64() -> None:
    # First outputs for seed 0 and 1234567 as published with the reference implementations.
    assert splitmix64(0, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize(("key", "index", "draw"), [("a", 0, 0), ("a", 7, 3), ("key/stream", 2**40 + 1, 119)])
def test_bits_are_those_of_splitmix64(key: str, index: int, draw: int) -> None:
    seed = int.from_bytes(hashlib.sha256(f"{key}\x1f{draw}".encode()).digest()[:8], "little")
    start = mix((index * 0x9E3779B97F4A7C15 + seed) & MASK)
    bits = [value >> 11 for value in splitmix64(start, 6)]
    draws = CounterDraws(key, torch.tensor([index]))
    assert draws._bits((2, 3), draw).flatten().tolist() == bits
    uniform = draws.uniform(2, 3, draw=draw).double().flatten().tolist()
    assert uniform == [(value >> 29) / 2**24 for value in bits]
    normal = draws.normal(2, 3, draw=draw).flatten().numpy()
    np.testing.assert_allclose(normal, stats.norm.ppf([(v + 0.5) / 2**53 for v in bits]), rtol=2e-6, atol=2e-7)
    assert draws.integers(10, 2, 3, draw=draw).flatten().tolist() == [value * 10 >> 53 for value in bits]


def test_seed_of_is_sha256_of_the_names() -> None:
    value = int.from_bytes(hashlib.sha256(b"fit\x1f3").digest()[:8], "little")
    assert seed_of("fit", 3) & MASK == value
    assert -(2**63) <= seed_of("fit", 3) < 2**63


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_batch_order_and_companions_do_not_matter(name: str) -> None:
    draws = CounterDraws("k", torch.arange(100, 164))
    whole = getattr(draws, name)(3, 4, draw=2)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(getattr(draws[order], name)(3, 4, draw=2), whole[order])
    assert torch.equal(getattr(draws[order < 9], name)(3, 4, draw=2), whole[order < 9])
    alone = CounterDraws("k", torch.tensor([117]))
    assert torch.equal(getattr(alone, name)(3, 4, draw=2)[0], whole[17])
    assert torch.equal(getattr(alone, name)(2, draw=2)[0], whole[17].flatten()[:2])  # a shorter row is a beginning


def test_streams_keys_draws_and_indices_differ() -> None:
    draws = CounterDraws("k", torch.arange(50))
    tables = [draws.uniform(20, draw=d) for d in range(3)]
    tables += [draws.stream(s).uniform(20) for s in ("a", "b", 0)] + [CounterDraws("l", draws.index).uniform(20)]
    for i, one in enumerate(tables):
        for two in tables[:i]:
            assert abs(float(np.corrcoef(one.flatten(), two.flatten())[0, 1])) < 0.12
            assert not torch.equal(one, two)
    assert len({tuple(row) for row in tables[0].tolist()}) == 50
    assert torch.equal(draws.stream("a").stream("b").uniform(2), CounterDraws("k/a/b", draws.index).uniform(2))


def test_distributions() -> None:
    draws = CounterDraws("moments", torch.arange(2000))
    uniform, normal = draws.uniform(50).numpy().ravel(), draws.stream("n").normal(50).numpy().ravel()
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert 0 <= uniform.min() < 1e-4
    assert uniform.max() < 1
    counts = np.bincount(draws.integers(7, 50).numpy().ravel(), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3
    rows = draws.uniform(50).numpy().mean(1)  # no input is luckier than another
    assert stats.kstest((rows - 0.5) * np.sqrt(12 * 50), "norm").pvalue > 1e-4


def test_no_shape_is_one_number_an_input() -> None:
    draws = CounterDraws("k", torch.arange(5))
    assert draws.uniform().shape == (5,)
    assert draws[torch.tensor([], dtype=torch.long)].normal(2, 2).shape == (0, 2, 2)
    assert draws.integers(3).dtype == torch.int64
