"""Hamming distances between activation patterns, in blocks: the largest thing in memory is what is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS, COLUMNS = 16, 8192  # of one block on the CPU, whose words then stay in the cache
PRODUCTS = 2048  # rows and columns of one block on a GPU
TOGETHER = 1 << 22  # distances that `nearest_patterns` looks at together


def hamming_distances(a: Tensor, b: Tensor) -> Tensor:
    """In how many bits each pattern of a differs from each of b: (N, h), (M, h) booleans -> (N, M) int16, or int32 for h > 32767.

    Patterns may also be packed, both alike: uint8, eight bits a byte. On the device of a: by counting bits of 64-bit
    words on the CPU, by matrix products elsewhere. Raises ValueError for other types and for patterns of unequal length.
    Liu et al. 2023, section 3.1; at least one facet is crossed between two inputs for every differing bit.
    """
    _check(a, b)
    kind = (
        torch.int16
        if a.shape[1] * (8 if a.dtype == torch.uint8 else 1) <= torch.iinfo(torch.int16).max
        else torch.int32
    )
    found = torch.empty(len(a), len(b), dtype=kind, device=a.device)
    if a.device.type == "cpu":
        _count_bits(_words(a), _words(b), found.numpy())
    else:
        _multiply(a, b.to(a.device), found)
    return found


def nearest_patterns(a: Tensor, b: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (N, k) of the k patterns of b (M, h) nearest to each of a (N, h), ties by the smaller index.

    Never holds the whole matrix of distances. Raises ValueError unless 1 <= k <= M.
    """
    if not 1 <= k <= len(b):
        raise ValueError(f"k must be between 1 and the number of patterns, {len(b)}, not {k}")
    parts = [_smallest(distances, k) for distances in _blocks(a, b)]
    distances, indices = (torch.cat(column) for column in zip(*parts, strict=True))
    return distances, indices


def _blocks(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    _check(a, b)
    rows = max(1, TOGETHER // len(b))
    for first in range(0, max(len(a), 1), rows):
        yield hamming_distances(a[first : first + rows], b)


def _smallest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row, in order; the index is part of the key, so that ties are no matter of chance."""
    number = distances.shape[1]
    keys = distances.long() * number + torch.arange(number, device=distances.device)
    smallest = keys.topk(k, dim=1, largest=False).values
    return (smallest // number).to(distances.dtype), smallest % number


def _check(a: Tensor, b: Tensor) -> None:
    if a.dtype != b.dtype or a.dtype not in (torch.bool, torch.uint8):
        raise ValueError(f"patterns are booleans, or bytes of packed bits, both alike; not {a.dtype} and {b.dtype}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"patterns (N, h) and (M, h) of one length are needed, not {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _words(patterns: Tensor) -> NDArray[np.uint64]:
    """Bits in 64-bit words, filled up with zeros: (N, h) -> (ceil(h / 64), N), a word of all patterns side by side."""
    rows = patterns.detach().cpu().numpy()
    packed = rows if rows.dtype == np.uint8 else np.packbits(rows, axis=1)
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(np.ascontiguousarray(packed).view(np.uint64).T)


def _count_bits(a: NDArray[np.uint64], b: NDArray[np.uint64], found: NDArray[np.signedinteger]) -> None:
    """Fill in the distances of all pairs of columns."""
    different = np.empty((ROWS, COLUMNS), np.uint64)
    counts = np.empty((ROWS, COLUMNS), np.uint8)
    found[...] = 0
    for row in range(0, a.shape[1], ROWS):
        for column in range(0, b.shape[1], COLUMNS):
            block = found[row : row + ROWS, column : column + COLUMNS]
            part = slice(block.shape[0]), slice(block.shape[1])
            for left, right in zip(a, b, strict=True):
                np.bitwise_xor(left[row : row + ROWS, None], right[column : column + COLUMNS], out=different[part])
                np.bitwise_count(different[part], out=counts[part])
                np.add(block, counts[part], out=block)


def _multiply(a: Tensor, b: Tensor, found: Tensor) -> None:
    """Fill in the distances h / 2 - s.t / 2 of patterns written as -1 and 1: exact in float32 below 2^24 bits."""
    for row in range(0, len(a), PRODUCTS):
        left = _signs(a[row : row + PRODUCTS])
        for column in range(0, len(b), PRODUCTS):
            right = _signs(b[column : column + PRODUCTS])
            block = found[row : row + PRODUCTS, column : column + PRODUCTS]
            block.copy_((left.shape[1] - left @ right.T) / 2)


def _signs(patterns: Tensor) -> Tensor:
    if patterns.dtype == torch.uint8:
        places = torch.arange(8, dtype=torch.uint8, device=patterns.device)
        patterns = (patterns[..., None] >> places & 1).flatten(1).bool()
    return patterns.float() * 2 - 1
