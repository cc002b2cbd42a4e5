"""How much memory a dissimilarity matrix needs, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

SHARE = 0.8  # of the free memory that is used
BLOCK = 1024  # rows of a block at most: more gains nothing


@dataclass(frozen=True)
class Memory:
    """Bytes for the patterns as they are prepared, for the matrix, and for what is made on the way to it."""

    patterns: int
    matrix: int
    working: int

    @property
    def total(self) -> int:
        """All together."""
        return self.patterns + self.matrix + self.working


def memory_needed(stimuli: int, features: int, dtype: torch.dtype = torch.float64) -> Memory:
    """An estimate for a matrix made at once, beside the patterns that are there already."""
    size = torch.empty((), dtype=dtype).element_size()
    return Memory(2 * stimuli * features * size, stimuli * stimuli * size, 2 * stimuli * stimuli * size)


def available_memory() -> int:
    """Bytes that may be used: four fifths of the free memory where the system tells it, else two gigabytes."""
    file = Path("/proc/meminfo")
    if file.is_file():
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(SHARE * 1024 * int(line.split()[1]))
    return 2 << 30


def block_rows(features: int, itemsize: int, memory: int) -> int:
    """Rows of a block so that two blocks, each with a copy, and their products stay within so many bytes."""
    rows = min(BLOCK, max(0, memory) // (4 * features * itemsize))
    while rows and 4 * rows * features * itemsize + 3 * rows * rows * itemsize > memory:
        rows -= 1
    return rows


def readable(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"
