"""Rows that more rows are appended to, without a copy of all at every time."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=np.generic)


class Growing(Generic[Kind]):
    """An array that grows along its first axis; room is doubled when there is none left.."""

    def __init__(self, values: NDArray[Kind]) -> None:
        self._room, self._length = values, len(values)

    @property
    def values(self) -> NDArray[Kind]:
        """A view of the rows so far, out of date after the next `append`."""
        return self._room[: self._length]

    def append(self, rows: NDArray[Kind]) -> None:
        length = self._length + len(rows)
        if length > len(self._room):
            room: NDArray[Any] = np.empty((2 * length, *rows.shape[1:]), self._room.dtype)
            room[: self._length] = self.values
            self._room = room
        self._room[self._length : length] = rows
        self._length = length
