"""The absence of a defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class None_:
    """No defense: the victim answers as it is, the row that every other row is compared with."""

    role: ClassVar[Literal["none"]] = "none"
