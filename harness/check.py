"""The contract tests: for our own suite over the registry, for authors as `harness check`, and before a submission runs.

They run on a small victim fitted to the bundled digits, in seconds; each finding is a test with its message.
"""

from __future__ import annotations

import atexit
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import api, registry
from harness.data import Data, key_of
from harness.digests import digest
from harness.draws import CounterDraws
from harness.gradients import Count
from harness.grid import System as Row
from harness.grid import norms_of, role
from harness.isolation.errors import ENDINGS, Stopped, SubmissionError
from harness.isolation.policy import Isolation
from harness.loading import Loader, elsewhere, required_methods
from harness.plan import Fitted, Pipeline, Plan, fitted
from harness.rounding import inside
from harness.spec import build, identity, parse, with_victim
from harness.store import Store
from harness.system import ContractError, Judge, System, calibrate, curves_of
from harness.types import Budget, Manifold, Network, Skip, Spec, Split
from harness.views import view

_NUMBER = 32
_EPSILON = {"linf": 0.15, "l2": 1.0, "l1": 4.0, "l0": 8.0, "patch": 3.0}


@dataclass(frozen=True)
class Finding:
    """What one contract test found."""

    test: str
    passed: bool
    message: str = ""
    verdict: str = "rejected"


def check(part: str, *, kind: str | None = None, isolation: Isolation | None = None) -> list[Finding]:
    """Run the contract tests of KIND/NAME or file.py:Class (a defense, an attack, a victim, ..., told by its methods).

    isolation: where the part's own code runs, if not here.
    """
    if kind is None:
        kind, name = _kind_and_name(part)
    else:
        name = part
    (spec,) = parse(kind, name)
    tests = _TESTS.get(kind, ())
    findings: list[Finding] = []
    before = _isolation.set(isolation)
    try:
        for test in (_has_methods, _is_frozen_dataclass, *tests):
            finding = _finding(test, spec)
            findings.append(finding)
            if not finding.passed:
                break  # what follows builds on it
    finally:
        _isolation.reset(before)
    return findings


_isolation: ContextVar[Isolation | None] = ContextVar("isolation", default=None)


def _kind_and_name(part: str) -> tuple[str, str]:
    head, slash, rest = part.partition("/")
    if ".py" not in part and slash and head in registry.FOLDERS:
        return head, rest
    if ".py" not in part:
        for kind in ("defense", "attack", "victim", "dataset", "shift", "manifold", "measure"):
            if part in registry.names(kind):
                return kind, part
        raise registry.UnknownName(
            f"'{part}' is neither KIND/NAME (such as defense/bit_depth) nor a path/to/file.py:Class"
        )
    source = registry.locate("defense", part)
    if "role" in registry.constants(source):
        return "defense", part
    for method, kind in (
        ("perturb", "attack"),
        ("split", "dataset"),
        ("apply", "shift"),
        ("run", "study"),
        ("measure", "measure"),
    ):
        if registry.has_method(source, method):
            return kind, part
    return ("victim" if registry.has_method(source, "load") and registry.has_method(source, "fit") else "defense"), part


def _finding(test: Callable[[Spec], str | None], spec: Spec) -> Finding:
    name = test.__name__.strip("_").replace("_", " ")
    try:
        with elsewhere(_stage().loader):
            message = test(spec)
    except Stopped as stopped:
        return Finding("isolation", False, str(stopped), ENDINGS[stopped.kind])
    except SubmissionError as error:
        return Finding(name, False, str(error), "failed")
    except Exception as error:
        return Finding(name, False, f"{type(error).__name__}: {error}")
    return Finding(name, message is None, message or "")


def description(spec: Spec) -> dict[str, Any]:
    """What is to be known of a part's class: whether it is a frozen dataclass, and which parameters are tensors."""
    cls = registry.load(spec.kind, spec.name)
    found: dict[str, Any] = {"dataclass": is_dataclass(cls), "frozen": False, "tensors": []}
    if found["dataclass"]:
        instance = build(spec)
        found["frozen"] = bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]
        found["tensors"] = [f.name for f in fields(instance) if isinstance(getattr(instance, f.name), Tensor)]
    return found


def _is_frozen_dataclass(spec: Spec) -> str | None:
    session = _stage().loader.session(Fitted(spec, "", False, (), _isolation.get()))
    found = session.describe(spec) if session else description(spec)
    if not found["frozen"]:
        what = "can be changed" if found["dataclass"] else "is not a dataclass"
        return f"{registry.locate(spec.kind, spec.name).class_name} {what}; put @dataclass(frozen=True) above it"
    for name in found["tensors"]:
        return f"parameter {name} is a tensor; hyperparameters are plain values, tensors belong into the state"
    return None


def _has_methods(spec: Spec) -> str | None:
    if spec.kind == "defense":
        role(spec)
    required_methods(spec.kind, spec.name)
    if registry.locate(spec.kind, spec.name).sentence:
        return None
    return "the class has no docstring; `list` shows its first sentence"


@dataclass(frozen=True)
class _Stage:
    """A fitted victim on digits, and a few inputs, for the tests to play on."""

    loader: Loader
    plan: Plan
    row: Row
    victim: Fitted
    data: Split

    @property
    def network(self) -> Network:
        return self.loader.network(self.victim)


@lru_cache(maxsize=1)
def _stage() -> _Stage:
    from harness.execute import attempt

    grid = api.read_grid({**_GRID})
    folder = tempfile.mkdtemp(prefix="harness-check-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = Store(Path(folder) / "store")
    plan = Plan(grid)
    victim = fitted(plan, grid.victims[0], grid.datasets[0])
    loader = Loader(store)
    for task in plan.tasks.values():
        error, _ = attempt(task, loader, {})
        if error:
            raise RuntimeError(f"the victim that the contract tests need could not be fitted: {error}")
    data = Data(grid.datasets[0], key_of(grid.datasets[0]), "cpu").split("test")[torch.arange(_NUMBER)]
    return _Stage(loader, plan, Row(grid.datasets[0], grid.victims[0], ()), victim, data)


_GRID = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"width": 64, "epochs": 5}}],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.15], "knowledge": ["adaptive"]}],
}


def _fitted(spec: Spec) -> Fitted:
    """The part fitted on the stage; raises the error of its fit."""
    from harness.perform import PERFORM

    stage = _stage()
    spec, plan = with_victim(spec, stage.row.victim), Plan(replace(stage.plan.grid, isolation=_isolation.get()))
    context = (stage.victim,) if spec.kind == "defense" else ()
    part = fitted(plan, spec, stage.row.dataset, context=context)
    for task in plan.tasks.values():
        if stage.loader.store.record(task.key) is None:
            result, facts = PERFORM[task.kind](task, stage.loader)
            stage.loader.store.put(task.key, result, {"facts": facts, "consumed": {}})
    return part


def _system(spec: Spec) -> System:
    stage, part = _stage(), _fitted(spec)
    pipeline = Pipeline(stage.row.dataset, stage.victim, (part,))
    if role(spec) == "training":
        return System(stage.loader.classifier(pipeline))
    loaded = stage.loader.defense(part, stage.network, pipeline)
    bare = System(stage.network, (loaded,))
    if loaded.role != "detector":
        return bare
    calibration = Data(stage.row.dataset, "check", "cpu").split("calibrate")
    with torch.no_grad():
        scores = bare.scores(calibration.x, calibration.draws)[1]
    state = calibrate(bare, scores, (0.01,))
    return System(stage.network, (loaded,), curves_of(state), float(state["threshold.0.01"]))


def _answers_clean_inputs(spec: Spec) -> str | None:
    """Shapes, dtypes, finiteness, range of purified inputs; inputs are not written to."""
    from harness.probe import keeps_contract

    if role(spec) != "none":
        keeps_contract(_system(spec), _stage().data)
    return None


def _does_not_depend_on_the_batch(spec: Spec) -> str | None:
    from harness.probe import repeat

    if role(spec) == "none":
        return None
    found = repeat(_system(spec), _stage().data)
    changed = {name: count for name, count in found.items() if name != "inputs" and count}
    if not changed:
        return None
    if found["again"]:
        cure = "a random part says `random: ClassVar[bool] = True` and takes (x, draws)"
        return f"the same batch gets other answers ({found['again']} of {_NUMBER}); {cure}"
    return f"answers depend on companions or on gradient mode: {changed} of {_NUMBER} inputs change"


def _loads_from_its_state(spec: Spec) -> str | None:
    """The part made again from its stored state gives the same answers, whatever it was asked for first."""
    from harness.probe import changed

    if role(spec) == "none":
        return None
    stage = _stage()
    with torch.no_grad():
        one = _system(spec)(stage.data.x, stage.data.draws)
        stage.loader.end()
        stage.loader.kept.clear()
        again = _system(spec)
        again(stage.data.draws.stream("other").uniform(*stage.data.x.shape[1:]), stage.data.draws)
        two = again(stage.data.x, stage.data.draws)
    if torch.allclose(one.logits, two.logits, atol=1e-5) and not changed(one, two):
        return None
    return "loaded again from the same state, and asked for other inputs first, it gives different answers"


def _surrogate_keeps_shape(spec: Spec) -> str | None:
    for part in _system(spec).parts if role(spec) not in ("none", "training") else ():
        surrogate = getattr(part.call, "surrogate", None)
        if surrogate is None:
            continue
        data = _stage().data
        x = data.x
        value = part.call(x, data.draws) if part.random else part.call(x)
        stand_in = surrogate(x.clone().requires_grad_())
        if value.shape != stand_in.shape:
            return f"surrogate gives {tuple(stand_in.shape)}, the part {tuple(value.shape)}; they must agree"
        if not stand_in.requires_grad:
            return "surrogate has no gradient; it is what an attacker differentiates"
    return None


def _answers(spec: Spec) -> dict[str, Tensor]:
    """The attack's answers to the stage's victim for each norm that it works in; made once for all tests of a part."""
    return _answers_of(spec, digest(identity(with_victim(spec, _stage().row.victim))))


@lru_cache(maxsize=1)
def _answers_of(spec: Spec, code: str) -> dict[str, Tensor]:
    return {norm: _perturbed(spec, norm, _stage().data) for norm in norms_of(spec)}


def _loaded_attack(spec: Spec) -> Any:
    return _stage().loader.attack(_fitted(spec))


def _perturbed(spec: Spec, norm: str, data: Split) -> Tensor:
    """The attack's answer, of the right shape; raises ContractError where it writes to its input."""
    attack, x = _loaded_attack(spec), data.x.clone()
    judge = Judge(System(_stage().network), norm, data.levels)
    sight = view(judge, num_classes=data.num_classes, early_exit=True, count=Count())
    epsilon = math.inf if attack.minimal else _EPSILON[norm]
    draws = CounterDraws("check", data.index)
    answer = attack.perturb(sight, x, data.y.clone(), Budget(norm, epsilon), draws)  # type: ignore[arg-type]
    if not torch.equal(x, data.x):
        raise ContractError(f"perturb ({norm}) writes to its input; work on a copy (x.clone())")
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ContractError(f"perturb gives {given}; expected a tensor of shape {tuple(x.shape)}")
    return answer


def _stays_in_ball_and_box(spec: Spec) -> str | None:
    attack, data = _loaded_attack(spec), _stage().data
    for norm, x_adv in _answers(spec).items():
        epsilon = math.inf if attack.minimal else _EPSILON[norm]
        allowed = inside(x_adv, data.x, norm, epsilon)
        if not allowed.all():
            return f"{int((~allowed).sum())} of {len(data)} answers leave the {norm} ball or the box"
    return None


def _repeats(spec: Spec) -> str | None:
    for norm, first in _answers(spec).items():
        if not torch.equal(first, _perturbed(spec, norm, _stage().data)):
            return f"the same call gives other inputs at {norm}; random numbers come from `draws` only"
    return None


def _does_not_depend_on_companions(spec: Spec) -> str | None:
    if getattr(_loaded_attack(spec), "by_shard", False):
        return None  # a foreign library's random numbers are seeded a shard
    half = torch.arange(0, _NUMBER, 2)
    for norm, whole in _answers(spec).items():
        apart = (whole[half] - _perturbed(spec, norm, _stage().data[half])).flatten(1).abs().amax(1) > 1e-3
        if apart.any():
            return f"{int(apart.sum())} of {len(half)} answers change with the other inputs of the batch ({norm})"
    return None


def _victim_answers(spec: Spec) -> str | None:
    """Logits (B, K), features and head that compose to them."""
    stage, part = _stage(), _fitted(replace(spec))
    network, x = stage.loader.network(part), stage.data.x
    with torch.no_grad():
        logits = network(x)
        if tuple(logits.shape) != (len(x), stage.data.num_classes):
            return f"logits are {tuple(logits.shape)}; expected {(len(x), stage.data.num_classes)}"
        features = network.features(x)
        if features.ndim != 2 or not torch.allclose(network.head(features), logits, atol=1e-4):
            return "head(features(x)) differs from the logits, or features are not (B, F)"
    return None


def _has_disjoint_parts(spec: Spec) -> str | None:
    dataset = build(spec)
    seen: set[int] = set()
    for part in ("train", "fit", "calibrate", "test"):
        split = dataset.split(part)
        if len(split) == 0:
            return f"the part {part} is empty"
        if float(split.x.min()) < 0 or float(split.x.max()) > 1 or split.x.dtype != torch.float32:
            given = f"{split.x.dtype} in [{float(split.x.min()):g}, {float(split.x.max()):g}]"
            return f"{part}: x is {given}; expected float32 in [0, 1]"
        indices = set(split.index.tolist())
        if seen & indices:
            return f"{len(seen & indices)} inputs stand in two parts"
        seen |= indices
    return None


def _shift_keeps_shape(spec: Spec) -> str | None:
    data = _stage().data
    x = build(spec).apply(data.x, data.draws)
    if x.shape != data.x.shape or float(x.min()) < 0 or float(x.max()) > 1:
        return f"apply gives {tuple(x.shape)} in [{float(x.min()):g}, {float(x.max()):g}]; expected {tuple(data.x.shape)} in [0, 1]"
    return None


def _measures_and_repeats(spec: Spec) -> str | None:
    """Rows of plain values, finite or null, the same at every call; or a Skip with its reason."""
    from harness.measure import rows_of

    stage, part = _stage(), _fitted(spec)
    data = Data(stage.row.dataset, key_of(stage.row.dataset), "cpu")
    found = [build(spec).measure(stage.network, data, **stage.loader.inputs(part)) for _ in range(2)]
    if any(isinstance(rows, Skip) for rows in found):
        return None if found[0] == found[1] and found[0].reason else "it skips without a reason, or not every time"
    one, two = (json.dumps(rows_of(rows, spec.name), allow_nan=False) for rows in found)
    return None if one == two else "the same network gets other rows; a measure has no random numbers of its own"


@lru_cache(maxsize=1)
def _manifold(spec: Spec) -> tuple[Manifold, Tensor]:
    """The manifold and points near it: digits that it was not fitted on, or its own samples with a little noise."""
    stage = _stage()
    part = _fitted(spec)
    manifold: Manifold = build(spec).load(stage.loader.state(part))
    sample = getattr(manifold, "sample", None)
    if sample is None:
        return manifold, stage.data.x
    x: Tensor = sample(_NUMBER, torch.Generator().manual_seed(0)).float()
    return manifold, x + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def _projects(spec: Spec) -> str | None:
    """Projections have the inputs' shape and lie nearer."""
    manifold, x = _manifold(spec)
    projected = manifold.project(x)
    if projected.shape != x.shape or not bool(torch.isfinite(projected).all()):
        return f"project gives {tuple(projected.shape)}, all finite or not; expected {tuple(x.shape)}, finite"
    before, after = manifold.distance(x), manifold.distance(projected)
    if before.shape != (len(x),) or float(before.min()) < 0:
        return (
            f"distance gives {tuple(before.shape)} from {float(before.min()):.3g} on; expected {(len(x),)}, at least 0"
        )
    if float(after.mean()) > float(before.mean()) + 1e-5:
        return (
            f"the distance of projections is {float(after.mean()):.3g}, that of the inputs {float(before.mean()):.3g}"
        )
    return None


def _has_orthonormal_tangents(spec: Spec) -> str | None:
    manifold, x = _manifold(spec)
    basis = manifold.tangent_basis(x)
    expected = (len(x), x[0].numel(), manifold.dim)
    if tuple(basis.shape) != expected:
        return f"tangent_basis gives {tuple(basis.shape)}; expected {expected}"
    gap = float((basis.mT @ basis - torch.eye(manifold.dim)).abs().max())
    return f"tangent vectors are {gap:.3g} from orthonormal; expected at most 0.001" if gap > 1e-3 else None


_TESTS: dict[str, tuple[Callable[[Spec], str | None], ...]] = {
    "defense": (_answers_clean_inputs, _does_not_depend_on_the_batch, _loads_from_its_state, _surrogate_keeps_shape),
    "attack": (_stays_in_ball_and_box, _repeats, _does_not_depend_on_companions),
    "victim": (_victim_answers,),
    "dataset": (_has_disjoint_parts,),
    "shift": (_shift_keeps_shape,),
    "measure": (_measures_and_repeats,),
    "manifold": (_projects, _has_orthonormal_tangents),
}
