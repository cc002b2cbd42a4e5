"""The AutoAttack cascade beside pyautoattack's: `python tests/benchmarks/autoattack.py`.

Three networks of the harness (Fashion-MNIST's cnn, mlp and adversarially trained cnn, fitted once in the run folder), the
same inputs, epsilon and judge, version `standard`, one thread, process time, one run each: theirs takes minutes on a
robust network. Ours twice: leaving runs in which success is out of reach, and taking all steps. "?": run again on the
differing inputs alone, pyautoattack does not break them.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from dataclasses import dataclass, replace

import torch
from _frozen import Counted, peer, scorer
from torch import Tensor

from attacks.autoattack import AutoAttack
from harness import api
from harness.draws import CounterDraws
from harness.execute import attempt
from harness.loading import Loader
from harness.store import Store
from harness.types import Budget, Split, View

GRID = {
    "datasets": ["fashion_mnist"],
    "victims": ["cnn", "mlp"],
    "defenses": ["none", "adversarial_training"],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["adaptive"]}],
}
THEIRS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@dataclass(frozen=True)
class Run:
    """What a cascade broke, (N,) bool, by which of its parts, and what it cost; passes are those of one input."""

    broken: Tensor
    parts: dict[int, str]
    seconds: float
    forwards: float
    backwards: float


def networks(names: list[str]) -> dict[str, torch.nn.Module]:
    """Networks by name: a victim, or `robust-` and a victim; fitted if the run folder has none."""
    plan, loader = api.plan_of(api.read_grid(GRID)), Loader(Store(api.home_folder() / "store"))
    found = {}
    for system, pipeline in plan.pipelines.items():
        name = ("robust-" if system.defenses else "") + system.victim.name
        if name not in names:
            continue
        for part in {pipeline.victim, pipeline.classifier}:
            task = plan.tasks[part.key]
            if loader.store.record(part.key) is None:
                print(f"fitting {task.label}", flush=True)
                error, _ = attempt(task, loader, {})
                if error:
                    raise SystemExit(f"{task.label} failed: {error}")
        found[name] = loader.classifier(pipeline)
    return {name: found[name] for name in names}  # type: ignore[misc]


def ours(model: Counted, data: Split, budget: Budget, attack: AutoAttack) -> Run:
    """The cascade of this project."""
    parts: dict[int, str] = {}

    def note(name: str, rows: Tensor, values: Tensor | str) -> None:
        if name == "part":
            parts.update(dict.fromkeys(rows.tolist(), str(values)))

    view = replace(View.of(model, early_exit=True), note=note)
    draws = CounterDraws("benchmark", data.index)
    return _timed(model, data, budget, parts, lambda: attack.perturb(view, data.x, data.y, budget, draws))


def theirs(model: Counted, data: Split, budget: Budget) -> Run:
    """pyautoattack's, its progress not printed."""
    cascade = peer("pyautoattack", "pyautoattack").AutoAttack(
        model, norm=THEIRS[budget.norm], eps=budget.epsilon, seed=0
    )
    return _timed(model, data, budget, {}, lambda: cascade.run_standard_evaluation(data.x, data.y)[0])


def attributed(model: Counted, data: Split, budget: Budget) -> dict[int, str]:
    """Which of pyautoattack's parts, run on these inputs alone, breaks each first."""
    cascade = peer("pyautoattack", "pyautoattack").AutoAttack(
        model, norm=THEIRS[budget.norm], eps=budget.epsilon, seed=0
    )
    score = scorer(model, data.x, data.y, norm=budget.norm, epsilon=budget.epsilon)
    found: dict[int, str] = {}
    for part in list(cascade.attacks_to_run):
        cascade.attacks_to_run = [part]
        broken = torch.isfinite(score(cascade.run_standard_evaluation(data.x, data.y)[0]))
        for row in broken.nonzero()[:, 0].tolist():
            found.setdefault(row, part)
    return found


def _timed(model: Counted, data: Split, budget: Budget, parts: dict[int, str], perturb) -> Run:
    torch.manual_seed(0)
    model.forwards = model.backwards = 0
    began = time.process_time()
    candidate = perturb()
    seconds = time.process_time() - began
    forwards, backwards = model.forwards / len(data), model.backwards / len(data)
    score = scorer(model, data.x, data.y, norm=budget.norm, epsilon=budget.epsilon)
    return Run(torch.isfinite(score(candidate)), parts, seconds, forwards, backwards)


OURS = {"ours, give_up": AutoAttack(give_up=True), "ours, all steps": AutoAttack(give_up=False)}
HEAD = f"{'network':<12}{'threat':<10}{'cascade':<16}{'clean':>7}{'robust':>8}{'seconds':>9}{'fwd':>9}{'bwd':>8}{'time':>7}"


def compare(name: str, model: Counted, data: Split, budget: Budget) -> None:
    """Print a line for each cascade, and the inputs on which ours and theirs differ."""
    with torch.no_grad():
        right = (model(data.x).argmax(1) == data.y).nonzero()[:, 0]
    some, number = data[right], len(data)
    other = theirs(model, some, budget)
    runs = {title: ours(model, some, budget, attack) for title, attack in OURS.items()} | {"pyautoattack": other}
    for title, run in runs.items():
        robust = int((~run.broken).sum()) / number
        print(
            f"{name:<12}{budget.norm + f' {budget.epsilon:g}':<10}{title:<16}{len(some) / number:7.3f}{robust:8.3f}"
            f"{run.seconds:9.1f}{run.forwards:9.1f}{run.backwards:8.1f}{run.seconds / other.seconds:7.3f}",
            flush=True,
        )
    for title in OURS:
        only = (runs[title].broken & ~other.broken).nonzero()[:, 0]
        if len(only):
            broke = ", ".join(f"{int(some.index[row])} ({runs[title].parts.get(int(row), '?')})" for row in only)
            print(f"    only {title} broke: {broke}", flush=True)
        only = (other.broken & ~runs[title].broken).nonzero()[:, 0]
        if len(only):
            parts = attributed(model, some[only], budget)
            broke = ", ".join(f"{int(some.index[row])} ({parts.get(i, '?')})" for i, row in enumerate(only))
            print(f"    pyautoattack broke, {title} did not: {broke}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--number", type=int, default=500, help="test images, the first of the official order (default 500)"
    )
    parser.add_argument("--networks", nargs="+", default=["cnn", "mlp", "robust-cnn"])
    parser.add_argument("--threats", nargs="+", default=["linf:0.1", "l2:1.5"], help="NORM:EPSILON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from harness.datasets.fashion_mnist import FashionMNIST

    data = FashionMNIST().split("test")[torch.arange(given.number)]
    print(HEAD + "\nfwd and bwd: passes an input; time: seconds over pyautoattack's")
    for name, network in networks(given.networks).items():
        for threat in given.threats:
            norm, epsilon = threat.split(":")
            budget = Budget(norm, float(epsilon))  # type: ignore[arg-type]
            compare(name, Counted(network), data, budget)


if __name__ == "__main__":
    main()
