"""What the harness asks of a submission's process, as if its parts were here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from harness import registry
from harness.isolation.endpoint import Endpoint
from harness.isolation.errors import Rejected
from harness.isolation.functions import Remote
from harness.isolation.policy import Isolation
from harness.isolation.sandbox import Child, sandbox_for
from harness.isolation.witness import Comparison, Witness, Witnessed
from harness.plan import Fitted, Pipeline, states_of
from harness.system import ContractError
from harness.types import Spec, Split, State


class Session:
    """A child of its own for one task."""

    def __init__(self, isolation: Isolation, device: str, state: Callable[[Fitted], State], closed: list[str]) -> None:
        self.isolation, self.device, self.state, self.closed = isolation, device, state, closed
        self.sandbox = sandbox_for(isolation, device, closed)
        self.child: Child = self.sandbox.child()
        self.endpoint = Endpoint(self.child, device=device)
        self.given: set[str] = set()
        self.witness = Witness()
        self.loads: dict[int, Callable[[Session], Any]] = {}  # how each function was loaded, by its number
        self.layers: list[str] = self.ask("layers")

    def ask(self, name: str, /, *arguments: Any, seconds: float | None = None) -> Any:
        """The answer to a question, within the seconds for an answer or other ones."""
        self.child.seconds = seconds or self.isolation.limits.answer
        try:
            return self.endpoint.ask(name, *arguments)
        except MemoryError as error:
            raise Rejected(f"contract: {error}") from None
        finally:
            self.child.seconds = self.isolation.limits.answer

    def give(self, *parts: Fitted) -> None:
        """Send the states that parts are loaded from, those that were not sent yet."""
        wanted = {f.key: f for part in parts for f in states_of(part) if f.key not in self.given}
        if wanted:
            self.ask("give", {key: self.state(part) for key, part in wanted.items()})
            self.given |= set(wanted)

    def fit(self, part: Fitted, pipeline: Pipeline | None, key: str, data: Split) -> State:
        """The state of a part, fitted there; raises ContractError if it is none."""
        self.give(*part.children(), *(_parts(pipeline) if pipeline else ()))
        state = self.ask("fit", part, pipeline, key, data, seconds=self.isolation.limits.fit)
        if not isinstance(state, dict) or not all(
            isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()
        ):
            raise ContractError(f"{part.spec.name}: fit gives {type(state).__name__}; expected a dict of tensors")
        return state

    def defense(self, part: Fitted, pipeline: Pipeline) -> Callable[..., Tensor]:
        """A purifier or detector, loaded there."""
        self.give(part, *_parts(pipeline))
        return self._function(self.ask("defense", part, pipeline), part, lambda anew: anew.defense(part, pipeline))

    def classifier(self, pipeline: Pipeline) -> Callable[..., Tensor]:
        """A pipeline's classifier, loaded there."""
        self.give(*_parts(pipeline))
        load = self.ask("classifier", pipeline)
        return self._function(load, pipeline.classifier, lambda anew: anew.classifier(pipeline))

    def network(self, part: Fitted) -> Callable[..., Tensor]:
        """A victim, loaded there."""
        self.give(part)
        return self._function(self.ask("network", part), part, lambda anew: anew.network(part))

    def describe(self, spec: Spec) -> Mapping[str, Any]:
        """What the contract asks of a part's class."""
        found: Mapping[str, Any] = self.ask("describe", spec)
        return found

    def attack(self, part: Fitted) -> Attack:
        """An attack that searches there."""
        self.give(part)
        return Attack(self, part)

    @property
    def processor(self) -> float:
        """Seconds of the processor so far."""
        return self.child.processor()

    def _function(self, found: Any, part: Fitted, load: Callable[[Session], Any]) -> Callable[..., Tensor]:
        if not isinstance(found, Remote):
            raise ContractError(f"{part.spec.name}: load gives {type(found).__name__}; expected a callable")
        self.loads[found.number] = load
        return Witnessed(found, self.witness)

    def end(self) -> None:
        """Ask once more what was asked before, say farewell, end the child, ask another; raises what went wrong."""
        try:
            self.witness.ask_again()
            comparisons = self.witness.comparisons()
            self.ask("farewell")
        finally:
            self.child.close()
        if comparisons:
            self._elsewhere(comparisons)

    def _elsewhere(self, comparisons: Sequence[Comparison]) -> None:
        """Compare with a child that was asked nothing."""
        other = Session(self.isolation, self.device, self.state, self.closed)
        try:
            made: dict[int, Any] = {}
            for comparison in comparisons:
                number = comparison.question.function.number
                if number not in made:
                    made[number] = self.loads[number](other).remote
                comparison.compare(made[number])
        finally:
            other.abandon()

    def abandon(self) -> None:
        """End the child whatever it does."""
        self.child.close()

    @property
    def dead(self) -> BaseException | None:
        """Why there will be no answer any more, or None."""
        return self.child.dead


class Attack:
    """An attack on the other side, which asks for the system's answers while it searches; its constants are read here."""

    def __init__(self, session: Session, part: Fitted) -> None:
        source = registry.locate("attack", part.spec.name)
        self.session, self.held = session, part
        self.constants = {"minimal": False, "uses": (), **registry.constants(source)}
        for name in ("perturb", "pilot"):
            if registry.has_method(source, name):
                setattr(self, name, partial(self._asked, name))

    def _asked(self, name: str, *arguments: Any) -> Any:
        return self.session.ask("perturb", self.held, name, *arguments, seconds=self.session.isolation.limits.fit)

    def __getattr__(self, name: str) -> Any:
        constants = self.__dict__.get("constants", {})
        if name in constants:
            return constants[name]
        raise AttributeError(f"the attack has no {name}")


def _parts(pipeline: Pipeline) -> Iterator[Fitted]:
    yield pipeline.victim
    yield from pipeline.parts


def closed_folders(home: Path) -> list[str]:
    """Where a submission may read nothing: the run folder, the data, the user's home."""
    data = os.environ.get("HARNESS_DATA", "")
    cache = Path.home() / ".cache"
    return [os.path.realpath(path) for path in (home, data, cache) if str(path)]
