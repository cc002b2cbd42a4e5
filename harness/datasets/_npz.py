"""Named arrays from .npz files, as tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_npz(path: Path, names: Sequence[str]) -> list[Tensor]:
    """The arrays of these names; nothing is unpickled. Raises ValueError when it is no npz or lacks one of them."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive]:
                raise ValueError(f"it has the arrays {', '.join(archive) or 'none'} and lacks {', '.join(missing)}")
            return [torch.from_numpy(np.ascontiguousarray(archive[name])) for name in names]
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}; expected an .npz file of numeric arrays {' and '.join(names)}") from None
