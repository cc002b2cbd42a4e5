"""From keys to running objects: states are read from the store, parts are built and loaded, and kept in the process."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from harness import registry
from harness.data import Data
from harness.draws import seed_of
from harness.grid import role
from harness.isolation.errors import Ended, Stopped
from harness.isolation.policy import Isolation
from harness.plan import Fitted, Pipeline
from harness.spec import build, label
from harness.store import Store
from harness.system import ContractError, System, curves_of
from harness.types import Loaded, Network, State

if TYPE_CHECKING:
    from harness.isolation.remote import Session

_KEPT = 24


@dataclass
class Loader:
    """Loads parts and systems on a device; the last ones stay in memory.

    isolates: parts that are to run elsewhere do; False in the process where they do.
    """

    store: Store
    device: str = "cpu"
    kept: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    isolates: bool = True
    sessions: dict[Isolation, Session] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)

    def remember(self, key: str, make: Callable[[], Any]) -> Any:
        """The object under a key, made once."""
        if key not in self.kept:
            self.kept[key] = make()
            if self.sessions:
                self.passing.add(key)
            while len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]

    def session(self, part: Fitted) -> Session | None:
        """The process where a part runs; None if that is this one."""
        isolation = part.isolation if self.isolates else None
        if isolation is None:
            return None
        if isolation not in self.sessions:
            from harness.isolation.remote import Session, closed_folders

            closed = [*closed_folders(self.store.folder.parent), *self.store.place.private]
            self.sessions[isolation] = Session(isolation, self.device, self.state, closed)
        return self.sessions[isolation]

    def end(self, *, well: bool = True) -> None:
        """End the processes of the task at hand and forget what was loaded there; raises what they did wrong.

        well: the task came to its end, so that they may still be asked.
        """
        sessions, self.sessions = self.sessions, {}
        for key in self.passing:
            self.kept.pop(key, None)
        self.passing.clear()
        try:
            for session in sessions.values() if well else ():
                session.end()
        finally:
            for session in sessions.values():
                session.abandon()

    def state(self, part: Fitted) -> State:
        """The stored state of a part; empty for parts without `fit`."""
        return self.store.get(part.key, device=self.device) if part.state else {}

    def network(self, part: Fitted) -> Network:
        """A victim, frozen and in evaluation mode."""

        def make() -> Network:
            session = self.session(part)
            if session is not None:
                return cast("Network", session.network(part))
            network = build(part.spec).load(self.state(part), **self.inputs(part))
            return frozen(network)

        return cast("Network", self.remember(f"network {part.key}", make))

    def inputs(self, part: Fitted) -> dict[str, Any]:
        """The nested parts of a part, loaded, by parameter name."""
        return {
            name: [self._nested(v) for v in value] if isinstance(value, tuple) else self._nested(value)
            for name, value in part.inputs
        }

    def _nested(self, part: Fitted) -> Any:
        if part.spec.kind == "victim":
            return self.network(part)
        if part.spec.kind == "dataset":
            return Data(part.spec, part.key, self.device)
        if part.spec.kind == "attack":
            return self.attack(part)
        return build(part.spec).load(self.state(part), **self.inputs(part))

    def attack(self, part: Fitted) -> Any:
        """An attack; if it has nested parts, they are bound to its `perturb` and `pilot`."""
        session = self.session(part)
        if session is not None:
            return session.attack(part)
        attack = build(part.spec)
        inputs = self.inputs(part)
        if not inputs:
            return attack
        pilot = partial(attack.pilot, **inputs) if hasattr(attack, "pilot") else None
        return _Bound(attack, partial(attack.perturb, **inputs), pilot)

    def system(self, pipeline: Pipeline, *, rate: float) -> System:
        """The deployed pipeline with its threshold at a false-positive rate."""
        key = f"system {pipeline.key} {pipeline.calibration} {rate:g}"
        return self.remember(key, lambda: self._system(pipeline, rate))  # type: ignore[no-any-return]

    def _system(self, pipeline: Pipeline, rate: float) -> System:
        classifier = self.classifier(pipeline)
        loaded = self.defenses(pipeline, classifier)
        if pipeline.calibration is None:
            return System(classifier, tuple(loaded))
        state = self.store.get(pipeline.calibration, device=self.device)
        return System(classifier, tuple(loaded), curves_of(state), float(state[f"threshold.{rate:g}"]))

    def classifier(self, pipeline: Pipeline) -> Network:
        """What classifies: the victim, or the training defense that replaces it."""
        part = pipeline.classifier
        if part is pipeline.victim:
            return self.network(part)
        session = self.session(part)
        if session is not None:
            remote = self.remember(f"network {part.key}", lambda: session.classifier(pipeline))
            return cast("Network", remote)
        victim = self.network(pipeline.victim)

        def make() -> Network:
            return frozen(build(part.spec).load(self.state(part), victim=victim, **self.inputs(part)))

        return self.remember(f"network {part.key}", make)  # type: ignore[no-any-return]

    def defenses(self, pipeline: Pipeline, classifier: Network) -> list[Loaded]:
        """The purifiers and detectors of a pipeline, in order."""
        parts = [part for part in pipeline.parts if role(part.spec) != "training"]
        return [self.defense(part, classifier, pipeline) for part in parts]

    def defense(self, part: Fitted, victim: Network, pipeline: Pipeline) -> Loaded:
        """A purifier or detector of a pipeline behind its classifier."""
        session = self.session(part)
        if session is not None:
            random = bool(registry.constants(registry.locate("defense", part.spec.name)).get("random", False))
            return Loaded(role(part.spec), label(part.spec), session.defense(part, pipeline), random)
        built = build(part.spec)
        call = built.load(self.state(part), victim=victim, **self.inputs(part))
        if not callable(call):
            raise ContractError(f"{part.spec.name}: load gives {type(call).__name__}; expected a callable")
        return Loaded(
            role(part.spec),
            label(part.spec),
            cast("Callable[..., Tensor]", call),
            bool(getattr(built, "random", False)),
        )


@contextmanager
def elsewhere(loader: Loader) -> Iterator[Callable[[], float]]:
    """A task whose parts may run in other processes, which end with it; gives the seconds of the processor they took.

    Raises Stopped if one of them ended otherwise than well, whatever else was raised.
    """
    used = 0.0
    try:
        yield lambda: used
        used = sum(session.processor for session in loader.sessions.values())
        loader.end()
    except Ended as ending:
        raise Stopped(ending) from None
    except Exception as error:
        dead = next((session.dead for session in loader.sessions.values() if session.dead), None)
        if isinstance(dead, Ended):
            raise Stopped(dead) from error
        raise
    finally:
        loader.end(well=False)


@dataclass(frozen=True)
class _Bound:
    """An attack whose nested parts are bound."""

    attack: Any
    perturb: Callable[..., Any]
    pilot: Callable[..., Any] | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attack, name)


def frozen(network: Any) -> Network:
    """The network in evaluation mode, no parameter asking for gradients."""
    if isinstance(network, torch.nn.Module):
        network.eval().requires_grad_(False)
    if not callable(network):
        raise ContractError(f"load gives {type(network).__name__}; expected a callable (B, *S) -> (B, K)")
    return cast("Network", network)


@contextmanager
def seeded(key: str) -> Iterator[None]:
    """Global random numbers seeded from a key inside the block, and as they were after it."""
    import random

    import numpy as np

    states = random.getstate(), np.random.get_state()
    seed = seed_of("fit", key)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed & (2**63 - 1))
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def required_methods(kind: str, name: str) -> None:
    """Raise ContractError if a part's class lacks what its kind needs."""
    source = registry.locate(kind, name)
    if kind == "defense" and registry.constants(source).get("role") == "none":
        return
    method = {"attack": "perturb", "dataset": "split", "shift": "apply", "study": "run", "measure": "measure"}.get(
        kind, "load"
    )
    if registry.has_method(source, method):
        return
    if registry.closed(source) or not inspect.isfunction(getattr(registry.load(kind, name), method, None)):
        raise ContractError(
            f"{kind} {name}: the class {source.class_name} has no method `{method}`; see `harness list {kind}`"
        )
