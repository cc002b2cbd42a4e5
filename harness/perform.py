"""One function a task kind; each takes a task and a loader, and returns the result and facts for its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from harness import probe as probing
from harness.craft import craft, pilot, stand_in, test_inputs, unpacked
from harness.data import Data, key_of, some_rows
from harness.draws import CounterDraws
from harness.grid import role
from harness.isolation.errors import Rejected
from harness.loading import Loader, elsewhere, required_methods, seeded
from harness.loops import slowdown
from harness.plan import Pipeline, Task
from harness.rounding import distance, inside, to_levels
from harness.spec import build, label
from harness.system import ContractError, System, answers, calibrate
from harness.training import kept
from harness.types import Draws, Split, State

_JUDGED = ("label", "prediction", "margin", "accepted", "distance", "valid", "attacked")
OUTCOME = ("index", "epsilon", "draw", *_JUDGED, "loss")
Facts = dict[str, Any]
_CHUNK = 512


def perform(task: Task, loader: Loader) -> tuple[Any, Facts]:
    """Do a task; returns its result and what is worth recording beside it (seconds, passes)."""
    start, used = time.perf_counter(), time.process_time()
    with elsewhere(loader) as processor:
        result, facts = PERFORM[task.kind](task, loader)
    seconds, core_seconds = time.perf_counter() - start, time.process_time() - used + processor()
    return result, {"seconds": seconds, "core_seconds": core_seconds, **facts}


def _data(task: Task, loader: Loader) -> Data:
    return Data(task.dataset, key_of(task.dataset), loader.device)


def _chunks(split: Split, size: int = _CHUNK) -> Iterator[Split]:
    for start in range(0, len(split), size):
        yield split[torch.arange(start, min(start + size, len(split)), device=split.y.device)]


def fit(task: Task, loader: Loader) -> tuple[State, Facts]:
    """Fit a part: victims, training defenses and manifolds on `train`; detectors and purifiers on `fit`.

    Detectors and purifiers see the data as the purifiers before them leave it.
    """
    part = task.part
    assert part is not None
    required_methods(part.spec.kind, part.spec.name)
    detects = part.spec.kind == "defense" and role(part.spec) in ("detector", "purifier")
    data = _data(task, loader).split("fit" if detects else "train")
    if task.pipeline is not None and detects:
        data = _through(task.pipeline, data, loader)
    data = Split(data.x, data.y, data.index, data.num_classes, data.levels, CounterDraws(task.seed, data.index))
    session = loader.session(part)
    if session is not None:
        state = session.fit(part, task.pipeline, task.seed, data)
        return state, {"parameters": sum(v.numel() for v in state.values())}
    built, inputs = build(part.spec), loader.inputs(part)
    if task.pipeline is not None:
        inputs["victim"] = loader.classifier(task.pipeline)
    with seeded(task.seed), kept(loader.store.folder, task.key, built.fit, task.label) as (given, told):
        state = built.fit(data, **inputs, **given)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ContractError(f"{part.spec.name}: fit gives {type(state).__name__}; expected a dict of tensors")
    return state, {"parameters": sum(v.numel() for v in state.values()), **told}


def _through(pipeline: Pipeline, data: Split, loader: Loader) -> Split:
    """The data as the purifiers of a pipeline leave it."""
    parts = loader.defenses(pipeline, loader.classifier(pipeline))
    purifiers = [part for part in parts if part.role == "purifier"]
    if not purifiers:
        return data
    purified = []
    with torch.no_grad():
        for chunk in _chunks(data):
            x = chunk.x
            for place, part in enumerate(purifiers):
                x = part.call(x, chunk.draws.stream(f"fit {place}")) if part.random else part.call(x)
            purified.append(x)
    return Split(torch.cat(purified), data.y, data.index, data.num_classes, data.levels, data.draws)


@torch.no_grad()
def calibration(task: Task, loader: Loader) -> tuple[State, Facts]:
    """Curves and thresholds of a system from its scores on the clean calibration part."""
    assert task.pipeline is not None
    pipeline = task.pipeline
    classifier = loader.classifier(pipeline)
    system = System(classifier, tuple(loader.defenses(pipeline, classifier)))
    data = _data(task, loader).split("calibrate")
    scores = [system.scores(chunk.x, chunk.draws.stream("calibrate"))[1] for chunk in _chunks(data)]
    joined = [torch.cat(column) for column in zip(*scores, strict=True)]
    return calibrate(system, joined, dict(task.options)["rates"]), {"inputs": len(data)}


def probe(task: Task, loader: Loader) -> tuple[dict[str, Any], Facts]:
    """What the gradients and answers of a system are like on 200 clean inputs."""
    assert task.pipeline is not None
    options = dict(task.options)
    system = loader.system(task.pipeline, rate=options["rate"])
    data = _data(task, loader).split("test")
    data = data[torch.arange(min(200, len(data)), device=data.y.device)]
    found = probing.probe(system, data, epsilon=options["epsilon"])
    slower = slowdown(system, data)
    if loader.sessions:
        _remembers_nothing(system, data, lambda: _anew(task, loader))
    return found, {"inputs": len(data), "slowdown": slower}


def _anew(task: Task, loader: Loader) -> System:
    """The system of a task in processes that have seen nothing."""
    assert task.pipeline is not None
    loader.end()
    return loader.system(task.pipeline, rate=dict(task.options)["rate"])


@torch.no_grad()
def _remembers_nothing(system: System, data: Split, anew: Callable[[], System]) -> None:
    """Raises Rejected if answers are others in processes that were asked for other inputs first."""
    known = system(data.x, data.draws)
    fresh = anew()
    fresh(data.draws.stream("other").uniform(*data.x.shape[1:]).to(data.x), data.draws)
    found = probing.changed(known, fresh(data.x, data.draws))
    if found:
        raise Rejected(f"dishonesty: {found} of {len(data)} answers are others where other inputs were asked for first")


def observe(task: Task, loader: Loader) -> tuple[pd.DataFrame, Facts]:
    """What a system answers on clean, shifted or crafted inputs: a row for each (input, epsilon, draw), columns OUTCOME."""
    assert task.pipeline is not None
    options = dict(task.options)
    system = loader.system(task.pipeline, rate=options["rate"])
    data = test_inputs(task, loader)
    draws = CounterDraws(f"observe {'clean' if task.craft is None else 'attacked'}", data.index)
    number = options["selection"] + options["scoring"] if system.random else 1
    if task.attempt is None:
        seen = data if task.shift is None else _shifted(task, data, loader)
        columns = _watch(system, seen, seen.x, draws, number=number, strict=task.shift is None)
        columns |= {"epsilon": 0.0, "distance": 0.0, "valid": True, "attacked": False, "loss": float("nan")}
        return pd.DataFrame(columns)[list(OUTCOME)], {"inputs": len(seen)}
    assert task.craft is not None
    crafted = loader.store.get(task.craft, device=loader.device)
    if loader.sessions:
        system.judge(data.x, draws.stream("clean"))  # an attack's first questions are clean inputs: so they are here
    frames = []
    for place, epsilon in enumerate(task.attempt.epsilons):
        place = place if f"x_adv.{place}" in crafted else 0  # minimal-norm: one for every epsilon
        x_adv, seen = unpacked(crafted[f"x_adv.{place}"], data.levels), crafted[f"attacked.{place}"]
        rows = seen.nonzero()[:, 0]
        threat = (task.attempt.norm, epsilon)
        if len(rows):
            frame = _attacked(system, data[rows], x_adv[rows], threat, draws=draws[rows], number=number)
            if loader.sessions and not system.random and task.attempt.knowledge == "adaptive":
                _stays_broken(frame, crafted[f"found.{place}"][rows])
            loss = crafted.get(f"note.loss.{place}")
            frame["loss"] = float("nan") if loss is None else loss[rows].double().repeat(number).cpu().numpy()
            frames.append(frame)
        if len(rows) < len(data):
            frames.append(_left_alone(data[~seen], epsilon))
    return pd.concat(frames, ignore_index=True)[list(OUTCOME)], {"inputs": len(data)}


def _stays_broken(frame: pd.DataFrame, found: Tensor) -> None:
    """Raises Rejected where inputs that an attack was seen to break hold when they are watched on their own."""
    held = (frame["prediction"] == frame["label"]).to_numpy() | ~frame["accepted"].to_numpy(dtype=bool)
    seen = found.cpu().numpy().astype(bool)
    lost = int((held & seen).sum())
    if lost > max(1, 0.02 * seen.sum()):
        raise Rejected(
            f"dishonesty: {lost} of {int(seen.sum())} inputs that an attack broke are answered otherwise when it is over"
        )


def _attacked(
    system: System, data: Split, x_adv: Tensor, threat: tuple[str, float], *, draws: Draws, number: int
) -> pd.DataFrame:
    norm, epsilon = threat
    columns = _watch(system, data, x_adv, draws, number=number, strict=False)
    far = distance(x_adv, data.x, norm).cpu().numpy()
    valid = inside(x_adv, data.x, norm, epsilon).cpu().numpy()
    columns |= {"epsilon": epsilon, "distance": list(far) * number, "valid": list(valid) * number, "attacked": True}
    return pd.DataFrame(columns)


def _left_alone(data: Split, epsilon: float) -> pd.DataFrame:
    """Rows of inputs that an attack was not given, as another had broken them: not broken by this one."""
    label = data.y.cpu().numpy()
    columns = {"index": data.index.cpu().numpy(), "epsilon": epsilon, "draw": 0, "label": label, "prediction": label}
    rest = {"margin": float("nan"), "accepted": True, "distance": 0.0, "valid": True, "attacked": False}
    return pd.DataFrame(columns | rest | {"loss": float("nan")})[list(OUTCOME)]


def _watch(system: System, data: Split, x: Tensor, draws: Draws, *, number: int, strict: bool) -> dict[str, Any]:
    """Predictions and margins, draw after draw; an exception on an input that is not clean is a wrong, accepted answer."""
    labels, margins = [], []
    for draw in range(number):
        for start in range(0, len(data), _CHUNK):
            rows = torch.arange(start, min(start + _CHUNK, len(data)), device=x.device)
            label, margin = answers(system, x[rows], draws[rows].stream(draw), strict=strict)
            labels.append(label)
            margins.append(margin)
    label, margin = torch.cat(labels).cpu(), torch.cat(margins).cpu()
    return {
        "index": data.index.cpu().repeat(number).numpy(),
        "draw": torch.arange(number).repeat_interleave(len(data)).numpy(),
        "label": data.y.cpu().repeat(number).numpy(),
        "prediction": label.numpy(),
        "margin": margin.numpy(),
        "accepted": (margin <= 0).numpy(),
    }


def _shifted(task: Task, data: Split, loader: Loader) -> Split:
    """Inputs of a shift: made from clean ones, or another data set's test inputs in this one's shape and grid."""
    assert task.shift is not None
    if task.shift.kind == "shift":
        x = build(task.shift).apply(data.x, CounterDraws(task.seed, data.index))
        return Split(to_levels(x, data.levels), data.y, data.index, data.num_classes, data.levels, data.draws)
    other = Data(task.shift, key_of(task.shift), loader.device).split("test")
    other = some_rows(other, (0, len(data)))
    try:
        x = to_levels(resized(other.x, data.x), data.levels)
    except ValueError as error:
        raise ValueError(f"{label(task.shift)} is no shift of {label(task.dataset)}: {error}") from None
    return Split(x, torch.full_like(other.y, -1), other.index, data.num_classes, data.levels, other.draws)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Images resized, with as many channels as `like`'s: the mean of all as grey, or a grey image repeated.

    Raises ValueError for inputs that differ in shape and are no images (B, C, H, W), and for other numbers of channels.
    """
    if x.shape[1:] == like.shape[1:]:
        return x
    given, wanted = tuple(x.shape[1:]), tuple(like.shape[1:])
    if x.ndim != 4 or like.ndim != 4:
        raise ValueError(f"inputs {given} cannot be made {wanted}, only images (C, H, W) can; leave it out of `shifts`")
    if given[0] not in (1, wanted[0]) and wanted[0] != 1:
        raise ValueError(f"images of {given[0]} channels cannot be shown in {wanted[0]}; leave it out of `shifts`")
    if given[1:] != wanted[1:]:
        x = torch.nn.functional.interpolate(x, wanted[1:], mode="bilinear", antialias=True).clamp(0, 1)
    if given[0] != wanted[0]:
        x = x.mean(1, keepdim=True).expand(-1, wanted[0], -1, -1)
    return x


def study(task: Task, loader: Loader) -> tuple[dict[str, Any], Facts]:
    """Run a study: tables by name."""
    assert task.part is not None
    required_methods("study", task.part.spec.name)
    with seeded(task.seed):
        tables = build(task.part.spec).run(**loader.inputs(task.part))
    return {name: list(rows) for name, rows in tables.items()}, {}


PERFORM: dict[str, Callable[[Task, Loader], tuple[Any, Facts]]] = {
    "fit": fit,
    "calibrate": calibration,
    "probe": probe,
    "stand_in": stand_in,
    "pilot": pilot,
    "craft": craft,
    "observe": observe,
    "study": study,
}
