"""Adversarial inputs: what an attack is given, what becomes of its answer; checked and rounded, never trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness import stand_in as standing_in
from harness.data import Data, key_of, some_rows
from harness.draws import CounterDraws
from harness.gradients import Count
from harness.loading import Loader, required_methods, seeded
from harness.plan import Task
from harness.rounding import distance, inside, round_inside
from harness.system import ContractError, Judge, System, answers
from harness.twins import twins_of
from harness.types import Budget, Draws, Split, State, View
from harness.views import Knowledge, view

Facts = dict[str, Any]
CLEAN = 512  # inputs of the `fit` part that an attacker holds, before those that the system gets wrong are left out
LOOPS = 4  # times fewer inputs in a pilot against a system that differentiates inside its forward pass


@dataclass
class Scene:
    """An attack before a system: the inputs, the judge, the view, and what is noted on the way."""

    task: Task
    system: System
    data: Split
    judge: Judge
    attack: Any
    sight: View
    count: Count
    draws: Draws
    stored: Mapping[str, list[Tensor]]
    notes: dict[str, Tensor] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def early(self) -> bool:
        """Whether only success against the attacked system counts."""
        return self.sight.early_exit

    def batch(self, rows: Tensor, *, start: Tensor | None = None, place: int = 0) -> tuple[View, Split, Draws]:
        """View, inputs and draws of some of the inputs, at the epsilon in that place."""

        def note(name: str, inner: Tensor, values: Tensor | str) -> None:
            kept = self.notes.setdefault(name, torch.full((len(self.data),), math.nan, device=self.data.x.device))
            if isinstance(values, str):
                known = self.texts.setdefault(name, [])
                if values not in known:
                    known.append(values)
                kept[rows[inner]] = float(known.index(values))
            else:
                kept[rows[inner]] = values.detach().to(kept)

        stored = {name: made[place][rows] for name, made in self.stored.items()}
        return replace(self.sight, note=note, start=start, stored=stored), self.data[rows], self.draws[rows]


def scene(task: Task, loader: Loader) -> Scene:
    """Load what a craft or pilot task works on."""
    attempt, pipeline, part, options = task.attempt, task.pipeline, task.attack, dict(task.options)
    assert attempt is not None
    assert pipeline is not None
    assert part is not None
    required_methods("attack", part.spec.name)
    system = loader.system(pipeline, rate=options["rate"])
    data = test_inputs(task, loader)
    judge = Judge(system, attempt.norm, data.levels, options["selection"])
    attack = loader.attack(part)
    known = _knowledge(task, loader, system, uses=getattr(attack, "uses", ()))
    count, epsilon = Count(), attempt.epsilons[-1]
    sight = view(
        judge,
        num_classes=data.num_classes,
        early_exit=attempt.knowledge == "adaptive",
        count=count,
        knowledge=known,
        sigma=epsilon / 2 if attempt.norm == "linf" else 0.05,
    )
    draws = CounterDraws(options["stream"], data.index)
    return Scene(task, system, data, judge, attack, sight, count, draws, _stored(task, loader, data))


def _stored(task: Task, loader: Loader, data: Split) -> dict[str, list[Tensor]]:
    """What attacks on other rows made of the inputs, for each row and epsilon: the first that broke that row, else the last."""
    assert task.attempt is not None
    found: dict[str, list[Tensor]] = {}
    done = {
        name: [torch.zeros_like(data.y, dtype=torch.bool) for _ in task.attempt.epsilons] for name, _ in task.stored
    }
    for name, key in task.stored:
        crafted = loader.store.get(key, device=loader.device)
        kept = found.setdefault(name, [data.x.clone() for _ in task.attempt.epsilons])
        for place, x in enumerate(kept):
            new = crafted[f"attacked.{place}"] & ~done[name][place]
            x[new] = unpacked(crafted[f"x_adv.{place}"], data.levels)[new]
            done[name][place] |= new & crafted[f"found.{place}"]
    return found


def test_inputs(task: Task, loader: Loader) -> Split:
    """The test inputs of a task; images beside them where a flag wants that."""
    data = some_rows(Data(task.dataset, key_of(task.dataset), loader.device).split("test"), task.rows)
    if task.check is None or not task.check.moved:
        return data
    draws = CounterDraws(dict(task.options)["beside"], data.index)
    return replace(data, x=twins_of(data.x, draws, data.levels))


def _knowledge(task: Task, loader: Loader, system: System, *, uses: tuple[str, ...]) -> Knowledge:
    """What the probe found, and for attacks that use them a stand-in and clean inputs of the attacker's own."""
    evidence = loader.store.get(task.probe) if task.probe else {}
    state = loader.store.get(task.stand_in, device=loader.device) if task.stand_in else {}
    clean = None
    if "clean" in uses:
        data = Data(task.dataset, key_of(task.dataset), loader.device).split("fit")
        data = some_rows(data, (0, CLEAN))
        label, margin = system.judge(data.x, data.draws.stream("attacker"))
        clean = data[(label == data.y) & (margin <= 0)]
    return Knowledge(evidence, state if "shape" in state else {}, clean)


def stand_in(task: Task, loader: Loader) -> tuple[State, Facts]:
    """A stand-in for the gradient of a system, where its probe asks for one; else nothing."""
    assert task.pipeline is not None
    assert task.probe is not None
    options = dict(task.options)
    if "stand_in" not in loader.store.get(task.probe).get("estimators", ()):
        return {"unused": torch.zeros(1)}, {"inputs": 0}
    data = some_rows(Data(task.dataset, key_of(task.dataset), loader.device).split("fit"), (0, 1000))
    system = loader.system(task.pipeline, rate=options["rate"])
    with seeded(task.seed):
        state = standing_in.fit(system, data, epsilon=options["epsilon"], norm=options["norm"])
    return state, {"inputs": len(data), "parameters": sum(v.numel() for v in state.values())}


def craft(task: Task, loader: Loader) -> tuple[State, Facts]:
    """Adversarial inputs of one attack for each epsilon, on the grid of the data.

    x_adv (E, B, *S) with E = 1 for minimal-norm attacks; found (E, B): the attacked system is fooled; attacked (E, B): the
    attack was given the input, here or at a smaller epsilon.
    """
    stage, attempt = scene(task, loader), task.attempt
    assert attempt is not None
    data, minimal = stage.data, bool(stage.attack.minimal)
    epsilons = (float("inf"),) if minimal else attempt.epsilons
    piloted = _piloted(task, loader)
    x_adv, found = data.x.clone(), torch.zeros_like(data.y, dtype=torch.bool)
    attacked, standing = found.clone(), _standing(stage)
    results: State = {}
    for place, epsilon in enumerate(epsilons):
        rows = (
            standing & ~found & _wanted(task, loader, data, attempt.epsilons[-1] if minimal else epsilon)
        ).nonzero()[:, 0]
        rows = rows[: task.check.most] if task.check is not None else rows
        fooled = torch.zeros_like(found)
        if len(rows):
            start = x_adv[rows] if place and stage.early else None
            x_adv[rows], fooled[rows] = _answer(stage, rows, place, start=start, piloted=piloted)
            found |= fooled if stage.early else False
        attacked[rows] = True
        results[f"found.{place}"] = found.clone() if stage.early else fooled
        results[f"attacked.{place}"] = attacked.clone()
        results[f"x_adv.{place}"] = _packed(x_adv, data.levels)
        results |= {f"note.{name}.{place}": values.clone() for name, values in stage.notes.items()}
    return results, {**_passes(stage, int(attacked.sum())), "texts": stage.texts, "parts": _parts(stage, found)}


def _parts(stage: Scene, found: Tensor) -> dict[str, int]:
    """Of an attack made of several: how many inputs each broke (an input is noted under the part that broke it)."""
    if "part" not in stage.notes:
        return {}
    kept = stage.notes["part"]
    return {name: int(((kept == code) & found).sum()) for code, name in enumerate(stage.texts["part"])}


def _passes(stage: Scene, attacked: int) -> Facts:
    return {
        "inputs": len(stage.data),
        "attacked": attacked,
        "forwards": stage.count.forwards,
        "backwards": stage.count.backwards,
    }


def _standing(stage: Scene) -> Tensor:
    """Inputs that the attack is given: all, or those that are not broken as they are; raises what the system raises there."""
    data = stage.data
    if not stage.early:
        return torch.ones_like(data.y, dtype=torch.bool)
    label, margin = answers(stage.system, data.x, stage.draws, strict=True)
    if stage.system.random:
        return ~stage.judge(data.x, data.x, data.y, 0.0, stage.draws)
    return (label == data.y) | (margin > 0)


def _wanted(task: Task, loader: Loader, data: Split, epsilon: float) -> Tensor:
    """Inputs that nothing in `task.after` broke, and where `task.only` says so something in it did: (B,) bool."""
    wanted = ~_fallen(task.after, loader, data, epsilon, task)
    if task.check is None or not task.check.only:
        return wanted
    return wanted & _fallen(task.only, loader, data, min(epsilon, task.check.epsilon), task)


def _fallen(keys: Sequence[str], loader: Loader, data: Split, epsilon: float, task: Task) -> Tensor:
    """Inputs that some observations found broken at `epsilon` or below: (B,) bool."""
    fallen = torch.zeros_like(data.y, dtype=torch.bool)
    for key in keys:
        table = loader.store.get(key)
        wrong = table["accepted"] & table["valid"] & (table["prediction"] != table["label"])
        select = table["draw"] < max(1, dict(task.options)["selection"])
        rows = table[(table["epsilon"] <= epsilon * (1 + 1e-9)) & select]
        rate = wrong[rows.index].groupby([rows["index"], rows["epsilon"]]).mean()
        broken = rate[rate >= 0.95].index.get_level_values(0).unique()
        fallen |= torch.isin(data.index, torch.tensor(broken.to_numpy(copy=True), device=data.index.device))
    return fallen


@dataclass(frozen=True)
class _Piloted:
    """What the pilot came to: its record for `perturb`, and the adversarial inputs that it found."""

    record: Mapping[str, Any]
    index: Tensor
    x_adv: Tensor


def _piloted(task: Task, loader: Loader) -> _Piloted | None:
    if task.pilot is None:
        return None
    state, record = loader.store.get(task.pilot, device=loader.device), loader.store.record(task.pilot)
    assert record is not None
    return _Piloted(record["facts"]["found"], state["index"], state["x_adv"])


def _answer(
    stage: Scene, rows: Tensor, place: int, *, start: Tensor | None, piloted: _Piloted | None
) -> tuple[Tensor, Tensor]:
    """The attack's inputs, or the pilot's where only those fool the system; and which do."""
    attempt, part = stage.task.attempt, stage.task.attack
    assert attempt is not None
    assert part is not None
    epsilon = math.inf if stage.attack.minimal else attempt.epsilons[place]
    sight, batch, draws = stage.batch(rows, start=start, place=place)
    budget = Budget(attempt.norm, epsilon)
    inputs = {} if piloted is None else {"pilot": piloted.record}
    given = _perturbed(stage.attack, sight, batch, budget, draws, inputs)
    x_adv = _checked(given, batch.x, budget, batch.levels, part.spec.name)
    fooled = stage.judge(x_adv, batch.x, batch.y, epsilon, draws.stream("found"))
    if piloted is not None and stage.early and not fooled.all():
        _take_over(stage, batch, budget, draws, x_adv, fooled, piloted)
    return x_adv, fooled


def _take_over(
    stage: Scene, batch: Split, budget: Budget, draws: Draws, x_adv: Tensor, fooled: Tensor, piloted: _Piloted
) -> None:
    """Put the pilot's inputs where the attack itself has found none and they fool the system at this epsilon."""
    same = batch.index[:, None] == piloted.index[None]
    rows = (same.any(1) & ~fooled).nonzero()[:, 0]
    if not len(rows):
        return
    candidate = unpacked(piloted.x_adv[same[rows].float().argmax(1)], batch.levels)
    allowed = inside(candidate, batch.x[rows], budget.norm, budget.epsilon)
    success = stage.judge(candidate, batch.x[rows], batch.y[rows], budget.epsilon, draws[rows].stream("found"))
    taken = allowed & success
    x_adv[rows[taken]], fooled[rows[taken]] = candidate[taken], True


def _perturbed(attack: Any, sight: View, batch: Split, budget: Budget, draws: Draws, inputs: Mapping[str, Any]) -> Any:
    """The attack's answer; a batch that does not fit into a GPU's memory is halved until it does."""
    try:
        return attack.perturb(sight, batch.x.clone(), batch.y.clone(), budget, draws, **inputs)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        torch.cuda.empty_cache()
    answers = []
    for half in torch.arange(len(batch), device=batch.y.device).chunk(2):
        start = None if sight.start is None else sight.start[half]

        def note(name: str, inner: Tensor, values: Tensor | str, half: Tensor = half) -> None:
            sight.note(name, half[inner], values)

        stored = {name: made[half] for name, made in sight.stored.items()}
        part = replace(sight, start=start, note=note, stored=stored)
        answers.append(_perturbed(attack, part, batch[half], budget, draws[half], inputs))
    return torch.cat(answers)


def pilot(task: Task, loader: Loader) -> tuple[State, Facts]:
    """An attack's first look: its `pilot` on the first inputs that still stand, at the headline's epsilon or the largest.

    On `trial` of them; on a quarter, where the probe found that the system differentiates inside its forward pass, so that
    each step costs as much as many. Its record goes to every `perturb`, so that what is learned there does not depend on
    shards.
    """
    stage, attempt = scene(task, loader), task.attempt
    assert attempt is not None
    epsilon = float(dict(task.options)["epsilon"])
    standing = _standing(stage) & _wanted(task, loader, stage.data, epsilon)
    trial = int(getattr(stage.attack, "trial", 100))
    trial = max(1, trial // LOOPS) if stage.sight.evidence.get("autograd") else trial
    rows = standing.nonzero()[:trial, 0]
    sight, batch, draws = stage.batch(rows)
    budget = Budget(attempt.norm, epsilon)
    given, found = stage.attack.pilot(sight, batch.x.clone(), batch.y.clone(), budget, draws)
    assert task.attack is not None
    x_adv = _checked(given, batch.x, budget, batch.levels, task.attack.spec.name)
    return {"index": batch.index, "x_adv": _packed(x_adv, batch.levels)}, {
        **_passes(stage, len(rows)),
        "found": dict(found),
    }


def _checked(x_adv: Any, x: Tensor, budget: Budget, levels: int | None, name: str) -> Tensor:
    """The attack's answer, rounded inside the ball; raises ContractError if it broke the threat model."""
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        given = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ContractError(f"attack {name} gives {given}; expected a tensor of shape {tuple(x.shape)}")
    x_adv = x_adv.detach().float()
    allowed = inside(x_adv, x, budget.norm, budget.epsilon)
    if not allowed.all():
        worst = float(distance(x_adv, x, budget.norm).max())
        raise ContractError(
            f"attack {name} left the threat model on {int((~allowed).sum())} of {len(x)} inputs: largest {budget.norm} distance "
            f"{worst:.6g} with epsilon {budget.epsilon:g}, range {float(x_adv.min()):.4g} to {float(x_adv.max()):.4g} "
            "(expected inside the ball and [0, 1], finite)"
        )
    return round_inside(x_adv, x, norm=budget.norm, epsilon=budget.epsilon, levels=levels)


def _packed(x: Tensor, levels: int | None) -> Tensor:
    return (x * levels).round().to(torch.uint8) if levels is not None and levels <= 255 else x.clone()


def unpacked(x: Tensor, levels: int | None) -> Tensor:
    """Stored inputs as float32 in [0, 1], on the grid."""
    return x.float() / levels if x.dtype == torch.uint8 and levels else x.float()
