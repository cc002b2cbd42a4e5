"""The classifiers of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._foreign import Adapt, last_linear, unknown
from harness.victims._training import Recipe, adam


@dataclass(frozen=True)
class Torchvision:
    """A classifier of torchvision by the name of its architecture, such as torchvision/resnet18.

    Images are resized to `size`; grey ones are repeated for three channels. `epochs` passes over the data, at least 400
    steps. `weights` are a trained network's, under our names or torchvision's, read in place of training; `seed` makes
    another network of the same kind. Raises ValueError when the architecture is unknown, does not take the inputs or
    does not end with a linear layer, and when the loss diverges or weights do not fit.
    Source: Marcel and Rodriguez 2010, "Torchvision, the machine-vision package of Torch".
    """

    family: ClassVar[str] = "architecture"

    architecture: str
    size: int = 64
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    shift: float = 0.125
    flip: bool = False
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        recipe = Recipe(optimizer, self.epochs, self.batch_size, shift=self.shift, flip=self.flip)
        title = f"training torchvision/{self.architecture}"
        return fitted(self._build, data, recipe=recipe, weights=self.weights, title=title, training=training)

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        channels, _, _ = image_shape(shape, "torchvision")
        if channels not in (1, 3):
            raise ValueError(f"torchvision's networks take 3 channels, but the images have {channels}; use timm")
        model = self._create(num_classes)
        name, head = last_linear(model, f"torchvision/{self.architecture}")
        model.set_submodule(name, nn.Identity())
        return Classifier(model, head, shape=shape, adapt=Adapt(self.size, repeat=3 // channels), native_head=name)

    def _create(self, num_classes: int) -> nn.Module:
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
        if self.architecture not in known:
            raise unknown(self.architecture, known, "torchvision")
        settings: dict[str, Any] = {"num_classes": num_classes}
        if self.architecture.startswith("vit_"):
            settings["image_size"] = self.size
        if self.architecture in ("googlenet", "inception_v3"):
            settings |= {"aux_logits": False, "init_weights": True}
        model: nn.Module = torchvision.models.get_model(self.architecture, weights=None, **settings)
        return model
