"""The classifiers of timm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._foreign import Adapt, unknown
from harness.victims._training import Recipe, adam


@dataclass(frozen=True)
class Timm:
    """A classifier of timm by the name of its architecture, such as timm/resnet18.

    Images are resized to `size` (its own size, often 224, suits `pretrained` networks best) and keep their channels.
    With `pretrained` the training starts from timm's weights, which it downloads. `epochs` passes over the data, at
    least 400 steps. `weights` are a trained network's, under our names or timm's, read in place of training; `seed`
    makes another network of the same kind. Raises ValueError when the architecture is unknown, does not take the inputs
    or does not end with one linear layer, and when the loss diverges or weights do not fit; OSError when timm's weights
    cannot be had. Source: Wightman 2019, "PyTorch image models".
    """

    family: ClassVar[str] = "architecture"

    architecture: str
    pretrained: bool = False
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
        build = self._build_pretrained if self.pretrained and self.weights is None else self._build
        return fitted(
            build,
            data,
            recipe=recipe,
            weights=self.weights,
            title=f"training timm/{self.architecture}",
            training=training,
        )

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        return self._split(self._create(shape, num_classes, pretrained=False), shape)

    def _build_pretrained(self, shape: Shape, num_classes: int) -> Classifier:
        try:
            return self._split(self._create(shape, num_classes, pretrained=True), shape)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise OSError(
                f"timm cannot give the pretrained weights of {self.architecture} ({reason}); "
                "run with network access, give a file as weights, or set pretrained: false"
            ) from None

    def _create(self, shape: Shape, num_classes: int, *, pretrained: bool) -> Any:
        import timm

        channels, _, _ = image_shape(shape, "timm")
        if not timm.is_model(self.architecture):
            raise unknown(self.architecture, timm.list_models(), "timm")
        settings: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
        published = timm.get_pretrained_cfg(self.architecture)
        if published is not None and published.fixed_input_size:
            settings["img_size"] = self.size
        return timm.create_model(self.architecture, pretrained=pretrained, **settings)

    def _split(self, model: Any, shape: Shape) -> Classifier:
        head, name = model.get_classifier(), model.pretrained_cfg.get("classifier", "head")
        if not isinstance(head, nn.Linear):
            raise ValueError(
                f"timm/{self.architecture} ends with {type(head).__name__}; expected one linear layer: choose another"
            )
        model.reset_classifier(0)
        return Classifier(model, head, shape=shape, adapt=Adapt(self.size), native_head=name)
