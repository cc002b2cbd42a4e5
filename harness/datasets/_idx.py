"""The idx format of MNIST and its relatives: a header of big-endian sizes, then bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes, plain or gzipped (by its name): uint8 of the shape in its header.

    Raises ValueError when the file is of another format, of another type or cut off.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path} starts with {content[:4].hex() or 'nothing'}; expected an idx file of unsigned bytes (000008..)"
        )
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content)} bytes, but its header announces {start + math.prod(shape)} for the shape "
            f"{tuple(shape)}; get the file again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(shape)


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); get the file again") from None
