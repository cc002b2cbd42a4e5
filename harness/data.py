"""Data sets as the harness uses them: parts with draws, cached in the process."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.digests import digest, file_digest
from harness.draws import CounterDraws
from harness.spec import build, identity
from harness.types import Part, Spec, Split

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=16)
def fingerprint(spec: Spec) -> dict[str, Any]:
    """What tells a data set from every other: its identity and the digests of its files."""
    files = build(spec).files()
    return {**identity(spec), "files": sorted(file_digest(path) for path in files)}


@lru_cache(maxsize=8)
def _part(spec: Spec, part: Part, device: str) -> tuple[Split, tuple[int, ...]]:
    """A part, kept in the process, with the number of writes to its tensors."""
    split: Split = build(spec).split(part)
    split = replace(split, x=split.x.to(device), y=split.y.to(device), index=split.index.to(device))
    return split, _writes(split)


def _writes(split: Split) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in (split.x, split.y, split.index))


@lru_cache(maxsize=16)
def test_size(spec: Spec) -> int:
    """The number of test inputs; kept in the run folder, so that a plan need not read the data."""
    home = os.environ.get("HARNESS_HOME")
    kept = Path(home) / "data" / f"{key_of(spec)}.size" if home else None
    if kept is not None and kept.is_file():
        return int(kept.read_text())
    size = len(_part(spec, "test", "cpu")[0])
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(str(size))
    return size


@dataclass(frozen=True)
class Data:
    """A data set's parts on a device, with draws under a key."""

    spec: Spec
    key: str
    device: str

    def split(self, part: Part) -> Split:
        """One of the four parts; made anew if a part of a system wrote to it, so that no other sees that."""
        split, writes = _part(self.spec, part, self.device)
        if _writes(split) != writes:
            _part.cache_clear()
            split, _ = _part(self.spec, part, self.device)
        return replace(split, draws=CounterDraws(self.key, split.index))


def part_hash(spec: Spec, part: Part) -> str:
    """SHA-256 of a part's inputs, labels and indices, in order."""
    import hashlib

    split, _ = _part(spec, part, "cpu")
    state = hashlib.sha256()
    for tensor in (split.x, split.y, split.index):
        state.update(tensor.contiguous().numpy().tobytes())
    return state.hexdigest()


def on_device(device: str) -> torch.device:
    """The device by name; raises ValueError where the machine has none."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device '{device}' was asked for, but torch finds no CUDA device here; use --device cpu")
    return torch.device(device)


def key_of(spec: Spec) -> str:
    """The key of a data set's content."""
    return digest(fingerprint(spec))


def some_rows(split: Split, rows: tuple[int, int]) -> Split:
    """The inputs from rows[0] to rows[1] (-1: to the end)."""
    import torch

    stop = len(split) if rows[1] < 0 else min(rows[1], len(split))
    return split[torch.arange(rows[0], max(stop, rows[0]), device=split.y.device)]
