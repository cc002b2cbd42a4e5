"""What a system's gradients and answers are like on clean inputs: the evidence for flags and for the choice of attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.agreement import SOUND, agreement
from harness.gradients import Forward
from harness.loops import autograd
from harness.system import ContractError, System
from harness.types import Draws, Loaded, Outputs, Split
from harness.views import through

DIRECTIONS = 8
ASKED = 64  # inputs on which gradients are compared
QUERIES, QUERIED = 50, 4  # steps of an attack, and the inputs that it steps from, before answers are compared


def probe(system: System, data: Split, *, epsilon: float) -> dict[str, Any]:
    """Evidence from a few inputs: contract, gradients, repeatability, batches, form of the logits. Raises ContractError."""
    keeps_contract(system, data)
    found = {
        "inputs": len(data),
        "random_declared": system.random,
        "gradient": gradient(system, data),
        "mismatch": mismatch(system, data, epsilon=epsilon),
        "repeat": repeat(system, data),
        "autograd": autograd(system, data),
        "probabilities": probabilities(system, data),
    }
    return found | estimators(system, data[torch.arange(min(ASKED, len(data)), device=data.y.device)], found)


def estimators(system: System, data: Split, found: Mapping[str, Any]) -> dict[str, Any]:
    """Which gradients an attacker should try, the deployed system's own first, and why the others were left out.

    Another gradient is worth a try where it can be taken, is nowhere near zero everywhere, and differs from those before it.
    """
    doubted = _doubted(found)
    tried: dict[str, Tensor] = {}
    kept, left_out = [], {}
    for name in _offered(system):
        try:
            slope = _slope(through(system, name), data)
        except Exception as error:  # the defense's own code, run by other rules
            left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if not bool(_alive(slope).float().mean() > 0.5):
            left_out[name] = "zero or not finite on most inputs"
            continue
        twin = next((other for other, known in tried.items() if _similar(slope, known)), None)
        if twin:
            left_out[name] = f"the same as {twin}"
            continue
        tried[name] = slope
        kept.append(name)
    if doubted or "own" not in kept:
        kept += ["stand_in", "estimated"]
    return {"estimators": kept, "left_out": left_out, "doubted": doubted}


def _offered(system: System) -> list[str]:
    """Estimators that can say something of a system, without those that cost a fit or many passes."""
    purifies = any(part.role == "purifier" for part in system.parts)
    return ["own", "smooth", "unrolled", *(("identity", "removed") if purifies else ())]


def _doubted(found: Mapping[str, Any]) -> bool:
    """Whether the system's own gradients are missing on some inputs, or are not those of its values."""
    gradient, cosines = found["gradient"], agreement(found["mismatch"])
    return bool(gradient["unusable"] > 0.01 * gradient["inputs"] or "" not in cosines or min(cosines.values()) < SOUND)


def _slope(forward: Forward, data: Split) -> Tensor:
    """Gradients of class and detection margin, one after the other: (B, D) or (B, 2 D)."""
    classes, detection = _gradient(forward, data.x, data.y, data.draws)
    both = [classes.flatten(1)] if detection is None else [classes.flatten(1), detection.flatten(1)]
    return torch.cat([slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30) for slope in both], 1)


def _alive(slope: Tensor) -> Tensor:
    return torch.isfinite(slope).all(1) & (slope != 0).any(1)


def _similar(slope: Tensor, known: Tensor) -> bool:
    cosine = torch.nn.functional.cosine_similarity(slope, known).nan_to_num(0)
    return bool(cosine.median() > 0.99)


def keeps_contract(system: System, data: Split) -> None:
    """The answers to clean inputs are finite, of at least two classes and one logit for each; inputs are not written to."""
    x = data.x.clone()
    with torch.no_grad():
        outputs = system(x, data.draws)
        z = x
        for place, part in enumerate(system.parts):
            z = _answered(part, z, data.draws.stream(f"part {place}"))
            if part.role != "purifier":
                continue
            if not bool(torch.isfinite(z).all()) or float(z.min()) < -1e-6 or float(z.max()) > 1 + 1e-6:
                raise ContractError(
                    f"purifier {part.name} gives values from {float(z.min()):.4g} to {float(z.max()):.4g}; expected [0, 1], finite"
                )
        _precise(system.classifier(z), "the classifier")
    if not torch.equal(x, data.x):
        raise ContractError("the system writes to its input; work on a copy (x.clone())")
    classes = outputs.logits.shape[1]
    if classes < 2 or classes != data.num_classes:
        raise ContractError(
            f"the classifier gives {classes} logits; expected one for each of the {data.num_classes} classes, and at least 2"
        )
    if not bool(torch.isfinite(outputs.logits).all()):
        bad = int((~torch.isfinite(outputs.logits).all(1)).sum())
        raise ContractError(f"logits are not finite on {bad} of {len(x)} clean inputs")
    if outputs.margin is not None and not bool(torch.isfinite(outputs.margin).all()):
        raise ContractError(
            f"scores are not finite on {int((~torch.isfinite(outputs.margin)).sum())} of {len(x)} clean inputs"
        )


def _answered(part: Loaded, z: Tensor, draws: Draws) -> Tensor:
    """What comes after a part: a purifier's answer, and for a detector what came before it."""
    answer = part.call(z, draws) if part.random else part.call(z)
    _precise(answer, f"{part.role} {part.name}")
    return answer.float() if part.role == "purifier" else z


def _precise(answer: Tensor, what: str) -> None:
    """Half precision merges neighbouring scores and grey levels, and whole numbers have no gradient."""
    if answer.dtype not in (torch.float32, torch.float64):
        raise ContractError(f"{what} gives {answer.dtype}; expected float32, the dtype of its input")


def _class_margin(outputs: Outputs, y: Tensor) -> Tensor:
    """Largest wrong logit less the true one: (B,)."""
    true = outputs.logits.gather(1, y[:, None])[:, 0]
    return outputs.logits.scatter(1, y[:, None], float("-inf")).amax(1) - true


def _gradient(forward: Forward, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Gradients of the class margin and, where inputs may be rejected, of the detection margin; zeros where cut."""
    x = x.clone().requires_grad_()
    outputs = forward(x, draws)
    values = [_class_margin(outputs, y)] + ([outputs.margin] if outputs.margin is not None else [])
    gradients: list[Tensor] = []
    for value in values:
        if not value.requires_grad:
            gradients.append(torch.zeros_like(x))
            continue
        (found,) = torch.autograd.grad(value.sum(), x, retain_graph=True, allow_unused=True)
        gradients.append(torch.zeros_like(x) if found is None else found)
    return gradients[0], gradients[1] if len(gradients) > 1 else None


def gradient(system: System, data: Split) -> dict[str, Any]:
    """How many inputs have a class or detection margin, or a cross-entropy, whose gradient is zero or not finite."""
    try:
        classes, detection = _gradient(system, data.x, data.y, data.draws)
        entropy = _cross_entropy(system, data)
    except RuntimeError as error:
        return {"error": str(error).splitlines()[0], "unusable": len(data), "inputs": len(data)}
    unusable = _unusable(classes)
    found: dict[str, Any] = {"inputs": len(data), "classes_unusable": int(unusable.sum())}
    if detection is not None:
        flat = _unusable(detection)
        found["detection_unusable"] = int(flat.sum())
        unusable = unusable | flat
    return found | {"unusable": int(unusable.sum()), "cross_entropy_unusable": int(_unusable(entropy).sum())}


def _cross_entropy(system: System, data: Split) -> Tensor:
    """Gradient of cross-entropy, which rounds to zero where the logits are far apart: (B, *S), zeros where cut."""
    x = data.x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(system(x, data.draws).logits, data.y, reduction="sum")
    if not loss.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(loss, x, allow_unused=True, materialize_grads=True)
    return found


def _unusable(gradient: Tensor) -> Tensor:
    flat = gradient.flatten(1)
    return ~torch.isfinite(flat).all(1) | (flat == 0).all(1)


def mismatch(system: System, data: Split, *, epsilon: float) -> dict[str, Any]:
    """Cosine between finite differences of the margins along random signs and autograd's prediction, for two steps.

    near, far: of the class margin; detection_near, detection_far: of the detection margin, where inputs may be rejected.
    Inputs are moved inside the box first, so that both sides of the difference lie in it. None where nothing can be measured.
    """
    found: dict[str, Any] = {"inputs": len(data)}
    for name, step in (("near", epsilon / 50), ("far", epsilon / 5)):
        step = min(step, 0.05)
        x = data.x.clamp(step, 1 - step)
        try:
            slopes = [slope for slope in _gradient(system, x, data.y, data.draws) if slope is not None]
        except RuntimeError:
            return found | {"near": None, "far": None}
        predicted, measured = [], []
        for direction in range(DIRECTIONS):
            sign = data.draws.stream("sign").integers(2, *x.shape[1:], draw=direction) * 2.0 - 1.0
            ahead, behind = (_margins(system, x + way * step * sign, data) for way in (1, -1))
            measured.append((ahead - behind) / (2 * step))
            predicted.append(torch.stack([(slope * sign).flatten(1).sum(1) for slope in slopes]))
        pairs = zip(torch.stack(predicted, 1), torch.stack(measured, 1), strict=True)
        for kind, (of_gradient, of_values) in zip(("", "detection_"), pairs, strict=False):
            found[kind + name] = _cosine(of_gradient, of_values)
    return found


@torch.no_grad()
def _margins(system: System, x: Tensor, data: Split) -> Tensor:
    """The class margin and, where inputs may be rejected, the detection margin: (1 or 2, B)."""
    outputs = system(x, data.draws)
    classes = _class_margin(outputs, data.y)
    return torch.stack([classes] if outputs.margin is None else [classes, outputs.margin])


def _cosine(a: Tensor, b: Tensor) -> float | None:
    """Cosine over all inputs and directions, each input weighted by its own scale; 0 where one side is constant."""
    scale = (a.norm(dim=0) + b.norm(dim=0)).clamp(min=1e-12)
    a, b = (a / scale).flatten().double(), (b / scale).flatten().double()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return None
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else 0.0


@torch.no_grad()
def repeat(system: System, data: Split) -> dict[str, Any]:
    """Inputs whose answer changes: the same batch again, reversed, halved, in gradient mode, and after queries of an attack."""
    base = system(data.x, data.draws)
    spread = float((base.logits - base.logits.mean(1, keepdim=True)).abs().mean()) or 1.0
    rows = torch.arange(len(data), device=data.y.device)
    back, half = rows.flip(0), max(1, len(data) // 2)
    again = system(data.x, data.draws)
    reverse = _answer(system, data, back)[back]
    halves = [_answer(system, data, part) for part in (rows[:half], rows[half:]) if len(part)]
    with torch.enable_grad():
        graded = system(data.x.clone().requires_grad_(), data.draws)
    _attack(system, data[rows[:QUERIED]])
    queried = system(data.x, data.draws)
    found = {"again": again, "reversed": reverse, "gradient_mode": graded, "queried": queried}
    changes = {name: _changed(base, other, spread) for name, other in found.items()}
    joined = Outputs(
        torch.cat([h.logits for h in halves]),
        None if base.margin is None else torch.cat([h.margin for h in halves if h.margin is not None]),
    )
    return {"inputs": len(data), **changes, "halved": _changed(base, joined, spread)}


def _answer(system: System, data: Split, rows: Tensor) -> Outputs:
    """The answers to a batch of some of the inputs; raises ContractError where the system fails on it."""
    try:
        return system(data.x[rows], data.draws[rows])
    except Exception as error:
        raise ContractError(
            f"the system answers a batch of {len(data)} inputs but fails on {len(rows)} of them "
            f"({type(error).__name__}: {error}); a part must take batches of every size"
        ) from error


def _attack(system: System, data: Split) -> None:
    """Queries as an attack makes them: signed steps along the gradient of the class margin."""
    x = data.x
    for step in range(QUERIES):
        try:
            with torch.enable_grad():
                slope, _ = _gradient(system, x, data.y, data.draws.stream(step))
        except RuntimeError:
            slope = torch.zeros_like(x)
        x = (x + 0.01 * slope.sign()).clamp(0, 1)


def changed(base: Outputs, other: Outputs) -> int:
    """Inputs whose answers differ by more than rounding, on the scale of the first answers."""
    return _changed(base, other, float((base.logits - base.logits.mean(1, keepdim=True)).abs().mean()) or 1.0)


def _changed(base: Outputs, other: Outputs, spread: float) -> int:
    """Inputs whose label changes or whose logits or margin move by more than 1e-4 of the spread of the logits."""
    moved = (base.logits - other.logits).abs().amax(1) > 1e-4 * spread * 10
    changed = (base.logits.argmax(1) != other.logits.argmax(1)) & moved
    drift = (base.logits - other.logits).abs().amax(1) > 1e-3 * spread
    if base.margin is not None and other.margin is not None:
        drift = drift | ((base.margin - other.margin).abs() > 1e-2)
    return int((changed | drift).sum())


@torch.no_grad()
def probabilities(system: System, data: Split) -> bool:
    """Whether the logits lie in [0, 1] and sum to one."""
    logits = system(data.x, data.draws).logits
    return bool((logits >= 0).all() and (logits <= 1).all() and ((logits.sum(1) - 1).abs() < 1e-3).all())
