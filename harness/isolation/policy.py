"""How a part of another author runs: where, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    memory: GiB of all its processes. answer, fit: seconds on the clock for one answer (or the loading of a state), and
    for a fit. processor: seconds of the processor in one task. files: MiB of what it writes. output: MiB of what it prints.
    """

    memory: float = 8.0
    answer: float = 300.0
    fit: float = 3600.0
    processor: float = 36_000.0
    files: float = 1024.0
    output: float = 16.0

    def changed(self, changes: Mapping[str, Any]) -> Limits:
        """These limits with some replaced; raises ValueError for an unknown name or a number that is not positive."""
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown limit '{name}'; known: {', '.join(known)}")
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"limit {name} takes a number above 0, not {value!r}")
        return replace(self, **{name: float(value) for name, value in changes.items()})


@dataclass(frozen=True)
class Isolation:
    """Where parts of another author run.

    mode: "bubblewrap" (namespaces, and all that "process" has) or "process" (limits, Landlock and seccomp, where the
    kernel offers them). packages: the folder of the packages that it requires; environment: their digest. files: the
    files and folders that are its own, to be read.
    """

    mode: str
    limits: Limits = Limits()
    packages: str = ""
    environment: str = ""
    files: tuple[str, ...] = ()

    @property
    def key(self) -> dict[str, str]:
        """What of it may change a result."""
        return {"mode": self.mode, "environment": self.environment}
