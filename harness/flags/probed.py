"""Flags from the probe: gradients, repeatability, loops, form of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.agreement import SOUND, agreement
from harness.flags._flag import Flag, open_question
from harness.rank import wilson

Probe = Mapping[str, Any]
SLOW = 10  # times a forward pass of the classifier alone


def probed(probe: Probe | None, *, surrogate: bool) -> list[Flag]:
    """The flags of a probe; surrogate: a part declares one."""
    rules: dict[str, Callable[[Probe], Flag]] = {
        "zero-gradient": _zero_gradient,
        "gradient-mismatch": lambda found: _mismatch(found, surrogate),
        "random": _random,
        "batch-dependent": _batch,
        "loops-at-inference": _loops,
        "probabilities-not-logits": _probabilities,
    }
    if probe is None:
        return [open_question(name, "the probe failed") for name in rules]
    return [rule(probe) for rule in rules.values()]


def _zero_gradient(probe: Probe) -> Flag:
    """The gradient of the class or detection margin is zero or not finite on more than 1 % of inputs.

    That of cross-entropy alone speaks for losses that rescale the logits, not against the number.
    """
    name, found = "zero-gradient", probe["gradient"]
    share = wilson(found["unusable"], found["inputs"])
    text = f"gradient of the margin zero or not finite on {found['unusable']} of {found['inputs']} inputs"
    if "error" in found:
        text += f" (it cannot be taken: {found['error']})"
    flat = wilson(found.get("cross_entropy_unusable", 0), found["inputs"])
    if share.low <= 0.01 < flat.low:
        text += f", that of cross-entropy on {found['cross_entropy_unusable']}: losses must rescale the logits"
        return Flag(name, True, text, flat.value, found, "info")
    return Flag(name, share.low > 0.01, text, share.value, found)


def _mismatch(probe: Probe, surrogate: bool) -> Flag:
    """Finite differences of a margin along random signs do not agree with autograd: cosine below .8 at both steps.

    Of the class margin and, where inputs may be rejected, of the detection margin; the worse of the two counts.
    """
    found = probe["mismatch"]
    cosines = agreement(found)
    if "" not in cosines:
        return open_question("gradient-mismatch", "no finite differences could be taken", found)
    best = min(cosines.values())
    text = f"cosine of finite differences and gradient {cosines['']:.2f} (sound: at least {SOUND:g})"
    if "detection_" in cosines:
        text += f", of the detection margin {cosines['detection_']:.2f}"
    if surrogate:
        text += "; a declared surrogate stands in for a part's gradient"
    return Flag("gradient-mismatch", best < SOUND, text, best, found, "info" if surrogate else "warning")


def _random(probe: Probe) -> Flag:
    """The same batch gets different answers."""
    changed, n = probe["repeat"]["again"], probe["inputs"]
    declared = bool(probe["random_declared"])
    told = "declared random, scored on fresh draws; " if declared else ""
    text = f"{told}the same batch{' and draws' if declared else ''} again changes {changed} of {n} answers"
    evidence = {"declared": declared, "changed": changed, "n": n}
    severity = "info" if declared and not changed else "warning"
    return Flag("random", declared or changed > 0, text, changed / n, evidence, severity)


def _batch(probe: Probe) -> Flag:
    """Answers depend on the batch, on gradient mode, or on the queries before."""
    repeat, n = probe["repeat"], probe["inputs"]
    if repeat["again"] > 0:
        return open_question("batch-dependent", "the same batch gets other answers", repeat)
    changes = {name: count for name, count in repeat.items() if name not in ("inputs", "again")}
    worst = max(changes, key=lambda name: changes[name])
    found = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in changes.items())
    text = f"answers of {n} that change with the batch, gradient mode or earlier queries: {found}"
    return Flag("batch-dependent", changes[worst] > 0, text, changes[worst] / n, repeat)


def _loops(probe: Probe) -> Flag:
    """The system differentiates inside its forward pass, or takes far longer than its classifier: a track of its own.

    A slowdown that does not matter is not told, so that records of equal runs are equal.
    """
    name, times, autograd = "loops-at-inference", float(probe.get("slowdown") or 0.0), bool(probe["autograd"])
    slow = times > SLOW
    how = "runs autograd inside its forward pass" if autograd else "no autograd inside its forward pass"
    took = f"takes {'' if slow else 'at most '}{times if slow else SLOW:.0f} times as long as the classifier alone"
    track = "; a track of its own, with attacks that unroll the loop" if autograd or slow else ""
    text = f"{how}, which {took}{track}"
    evidence = {"autograd": autograd, "slowdown": round(times) if slow else None}
    return Flag(name, autograd or slow, text, float(round(times)) if slow else None, evidence, "info")


def _probabilities(probe: Probe) -> Flag:
    """The logits are probabilities; the harness hands their logarithm to the losses."""
    fired = bool(probe["probabilities"])
    text = "outputs lie in [0, 1] and sum to 1" if fired else "outputs are logits"
    return Flag("probabilities-not-logits", fired, text, None, {}, "info")
