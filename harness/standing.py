"""Which tasks of a plan may be performed: what the store was seen to hold, and what waits for what."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

from harness.plan import Task
from harness.store import Store

Seen = tuple[str, dict[str, str]]  # the hash of a result, and those of the results that it consumed


class Standing:
    """What the store was seen to hold of the tasks: read together once, and again where something may have changed."""

    def __init__(
        self, store: Store, tasks: Mapping[str, Task], records: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.store = store
        self.known: dict[str, Seen | None] = dict.fromkeys(tasks)
        self._see(store.records(tasks) if records is None else records)

    def done(self, key: str) -> bool:
        """Whether a result stands, made from the results that stand under the keys it consumed, as far as is known."""
        found = self._look(key)
        if found is None:
            return False
        above = {name: self._look(name) for name in found[1]}
        return all(made is not None and made[0] == found[1][name] for name, made in above.items())

    def read(self, keys: Iterable[str]) -> None:
        """Look again at several tasks, together."""
        several = list(keys)
        self.known.update(dict.fromkeys(several))
        self._see(self.store.records(several))

    def forget(self, *keys: str) -> None:
        """These may have changed; they are looked at again when they are asked for."""
        for key in keys:
            self.known.pop(key, None)

    def _look(self, key: str) -> Seen | None:
        if key not in self.known:
            self.read([key])
        return self.known[key]

    def _see(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.known |= {key: (record["sha256"], record.get("consumed", {})) for key, record in records.items()}


class Queue:
    """The tasks of a plan, each ready once all that it consumes is over; the first of the plan first."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks, self.place = list(tasks.values()), {key: number for number, key in enumerate(tasks)}
        self.unmet = {key: sum(above in tasks for above in task.inputs) for key, task in tasks.items()}
        self.dependents: dict[str, list[str]] = {}
        for key, task in tasks.items():
            for above in task.inputs:
                self.dependents.setdefault(above, []).append(key)
        self.ready = [self.place[key] for key, number in self.unmet.items() if number == 0]

    def pop(self) -> Task:
        """The next ready task."""
        return self.tasks[heapq.heappop(self.ready)]

    def push(self, *keys: str) -> None:
        """These are ready."""
        for key in keys:
            heapq.heappush(self.ready, self.place[key])

    def over(self, key: str) -> None:
        """A task is done, or has failed."""
        for below in self.dependents.get(key, ()):
            self.unmet[below] -= 1
            if self.unmet[below] == 0:
                self.push(below)
