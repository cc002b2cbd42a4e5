"""What fine-tuning towards dissimilarities does to a network: similarity on held-out stimuli, with cortex, and accuracies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from geometry.representations._matrix import pair_vector
from geometry.representations.activations import all_activations
from geometry.representations.comparison import spearman_of_pairs
from geometry.representations.dissimilarity import dissimilarity_matrix
from harness.data import Data
from harness.progress import steps
from harness.spec import build
from harness.types import Attack, Budget, Network, Spec, Split, View

Row = dict[str, Any]


@dataclass(frozen=True)
class PickardTargets:
    """Each target of rdm_fine_tuning, its shuffled control and plain fine-tuning on one network, measured.

    part: the defense, in a pair with its role. cases: target, loss and layer ("" for the penultimate); each is done as it is and
    shuffled. For each the similarity with the target on stimuli learnt from and held out, Spearman similarity of the
    penultimate layer with human cortex on the test images of `stimuli`, clean accuracy, and accuracy under `attack`.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    stimuli: Spec = Spec.of("dataset", "brain92", size=28, grey=True)
    victim: Spec = Spec.of("victim", "cnn", width=16, epochs=3)
    attack: Spec = Spec.of("attack", "apgd", loss="margin", steps=30)
    inner: Spec = Spec.of("attack", "pgd", steps=4)
    part: tuple[tuple[str, Spec], ...] = (
        ("defense", Spec.of("defense", "rdm_fine_tuning", teacher=Spec.of("victim", "cnn"), strength=3.0)),
    )
    cases: tuple[tuple[str, str, str], ...] = (
        ("gabor", "pearson", "body.2"),
        ("category", "pearson", ""),
        ("teacher", "pearson", ""),
        ("brain", "pearson", ""),
        ("gabor", "atanh", "body.2"),
        ("brain", "cka", ""),
    )
    epsilon: float = 0.02
    inputs: int = 500

    def run(
        self, *, dataset: Data, stimuli: Data, victim: Network, attack: Attack, inner: Attack
    ) -> dict[str, list[Row]]:
        """`targets`: a row for each network."""
        train, test = dataset.split("train"), dataset.split("test")
        test = test[torch.arange(min(self.inputs, len(test)), device=test.y.device)]
        measured = stimuli.split("test")
        nothing = {"target": "none", "loss": "", "shuffled": False}
        rows = [nothing | self._measured(victim, test, measured, attack)]
        for case, defense in steps(list(self._defenses()), "targets"):
            data = stimuli if defense.dataset is not None else None
            given = {"victim": victim, "teacher": victim, "attack": inner, "dataset": data}
            torch.manual_seed(0)
            state = defense.fit(train, **given)
            found = {key.removeprefix("similarity."): float(state[key].mean()) for key in state if "similarity." in key}
            rows.append(case | found | self._measured(defense.load(state, **given), test, measured, attack))
        return {"targets": rows, "setting": [{"epsilon": self.epsilon, "inputs": len(test), "data": self.dataset.name}]}

    def _defenses(self) -> Iterator[tuple[Row, Any]]:
        """Plain fine-tuning, then each case and its control."""
        part = build(dict(self.part)["defense"])
        yield {"target": "plain", "loss": "", "shuffled": False}, replace(part, strength=0.0)
        for target, loss, layer in self.cases:
            layers, dataset = (layer,) * bool(layer), self.stimuli if target == "brain" else None
            case = replace(part, target=target, loss=loss, layers=layers, dataset=dataset)
            for shuffled in (False, True):
                named = {"target": target, "loss": loss, "shuffled": shuffled}
                yield named, replace(case, shuffled=shuffled)

    def _measured(self, network: Network, test: Split, stimuli: Split, attack: Attack) -> Row:
        (rows,) = all_activations(cast("nn.Module", network), stimuli.x, ["features"])
        own, brain = dissimilarity_matrix(rows, dtype=torch.float64), cast("Any", stimuli).dissimilarity
        view, budget = View.of(network, early_exit=True), Budget("linf", self.epsilon)
        clean, robust = [], []
        for places in torch.split(torch.arange(len(test)), 250):
            batch = test[places.to(test.y.device)]
            x = attack.perturb(view, batch.x, batch.y, budget, batch.draws.stream("targets")).detach()
            with torch.no_grad():
                right = network(batch.x).argmax(1) == batch.y
                clean.append(right.double())
                robust.append((right & (network(x).argmax(1) == batch.y)).double())
        return {
            "human_it": float(spearman_of_pairs(pair_vector(own), pair_vector(brain.to(own)))),
            "clean": float(torch.cat(clean).mean()),
            "robust": float(torch.cat(robust).mean()),
        }
