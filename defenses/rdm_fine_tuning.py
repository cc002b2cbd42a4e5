"""Fine-tuning towards given dissimilarities between stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from defenses._fine_tuning import order, trainable, triangle
from defenses._rdm_losses import LOSSES, MEASURES
from defenses._rdm_targets import Target, chosen, target
from defenses.adversarial_training import AdversarialTraining
from geometry.representations._matrix import LEAST, pair_vector
from geometry.representations.activations import PENULTIMATE, activations, all_activations, require_layers
from geometry.representations.comparison import pearson_of_pairs
from geometry.representations.dissimilarity import dissimilarity_matrix
from harness.progress import steps
from harness.types import Attack, Network, Spec, Split, State

_REPORT = "similarity."  # what the state holds besides weights


@dataclass(frozen=True)
class RDMFineTuning:
    """Trains the victim on with cross-entropy plus `strength` times how far its dissimilarities are from a target's.

    target: energies of Gabor filters; a teacher's penultimate layer, the teacher being first trained adversarially (norm,
    epsilon, attack) for teacher_updates; brain, measured in `dataset`, such as brain92; or categories. Stimuli are those of
    `dataset`, else training images; a step sees `stimuli` of them. layers: names of modules, the penultimate layer if none.
    shuffled: the control, the target of the wrong stimuli. The state records Pearson similarity with the true target on stimuli
    learnt from and held out, before and after. Source: Li et al. 2019; Dapello et al. 2023; Pickard et al. 2023.
    """

    role: ClassVar[Literal["training"]] = "training"
    target: Literal["gabor", "teacher", "brain", "category"] = "gabor"
    loss: Literal["atanh", "pearson", "cka"] = "atanh"
    strength: float = 1.0
    shuffled: bool = False
    layers: tuple[str, ...] = ()
    dataset: Spec | None = None
    teacher: Spec = Spec.of("victim", "self")
    attack: Spec = Spec.of("attack", "pgd", steps=4)
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.1
    teacher_updates: int = 600
    stimuli: int = 64
    updates: int = 300
    batch_size: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.stimuli < LEAST:
            raise ValueError(
                f"stimuli is {self.stimuli}; a step needs at least {LEAST} for a matrix of dissimilarities"
            )
        if self.strength < 0:
            raise ValueError(f"strength is {self.strength}; it weighs a loss, and is at least 0")
        if self.target == "brain" and self.dataset is None:
            raise ValueError("target: brain needs stimuli; give dataset: {brain92: {size: .., grey: ..}}")

    def fit(
        self, data: Split, *, victim: Network, teacher: Network, attack: Attack, dataset: Any | None = None
    ) -> State:
        """The weights of the trained network, and its similarities with the target."""
        network = trainable(victim, "rdm_fine_tuning")
        names = self.layers or (PENULTIMATE,)
        require_layers(network, names)
        data, learnt, held_out = chosen(data, dataset)
        guide = self._teacher(data, teacher, attack)
        true, unseen = (target(self.target, part, MEASURES[self.loss], guide) for part in (learnt, held_out))
        report = self._report("before", network, names, true, unseen)
        self._train(network, data, true.shuffled() if self.shuffled else true, names)
        report |= self._report("after", network, names, true, unseen)
        return {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()} | report

    def load(
        self, state: State, *, victim: Network, teacher: Network, attack: Attack, dataset: Any | None = None
    ) -> Network:
        """The victim's network with the trained weights."""
        network = trainable(victim, "rdm_fine_tuning")
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith(_REPORT)})
        return cast("Network", network.eval().requires_grad_(False))

    def _teacher(self, data: Split, teacher: Network, attack: Attack) -> nn.Module | None:
        """The teacher, trained on adversarial inputs, in evaluation mode; None where the target is another."""
        if self.target != "teacher":
            return None
        if self.teacher_updates:
            training = AdversarialTraining(norm=self.norm, epsilon=self.epsilon, updates=self.teacher_updates)
            teacher = training.load(training.fit(data, victim=teacher, attack=attack), victim=teacher, attack=attack)
        return teacher if isinstance(teacher, nn.Module) else None

    def _train(self, network: nn.Module, data: Split, wanted: Target, names: tuple[str, ...]) -> None:
        """Cross-entropy in training mode; the stimuli pass in evaluation mode, so that they change no batch statistics."""
        network.requires_grad_(True)
        mixture = torch.zeros(len(names), device=data.x.device)  # learnt where Li et al. learn it
        optimizer = torch.optim.Adam([*network.parameters(), mixture.requires_grad_(self.loss == "atanh")])
        number = min(self.stimuli, len(wanted.x))
        subsets = order(len(wanted.x), number, self.updates)
        batches = steps(order(len(data), self.batch_size, self.updates), "rdm fine-tuning", self.updates)
        for update, (rows, subset) in enumerate(zip(batches, subsets, strict=True)):
            batch = data[rows.to(data.y.device)]
            optimizer.param_groups[0]["lr"] = self.learning_rate * triangle(update, self.updates)
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(network.train()(batch.x), batch.y)
            if self.strength:
                some = wanted[subset.to(data.y.device)]
                seen = activations(network.eval(), some.x, names)
                loss = loss + self.strength * LOSSES[self.loss](seen, some.matrix, mixture.softmax(0))
            torch.autograd.backward(loss)
            optimizer.step()
        network.eval()

    def _report(
        self, when: str, network: nn.Module, names: tuple[str, ...], learnt: Target, held_out: Target
    ) -> dict[str, Tensor]:
        """Pearson similarity (L,) of each layer's dissimilarities with the target's, on both sets of stimuli."""
        network.eval()
        found = {}
        for which, some in (("learnt", learnt), ("held_out", held_out)):
            layers = all_activations(network, some.x, names)
            pairs = [pair_vector(dissimilarity_matrix(rows, MEASURES[self.loss])) for rows in layers]
            wanted = pair_vector(some.matrix)
            found[f"{_REPORT}{which}.{when}"] = torch.stack([pearson_of_pairs(own, wanted) for own in pairs])
        return found
