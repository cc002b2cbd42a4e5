"""The shape of every victim: standardise, body, head; and the way to states and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from harness.types import Network, Split, State, Training
from harness.victims._training import Recipe, train

Shape = tuple[int, ...]
Build = Callable[[Shape, int], "Classifier"]


class Classifier(nn.Module):
    """logits = head(features(x)): inputs are standardised, adapted (resized), and pass the body, flattened to (B, F).

    Mean and standard deviation are buffers, for each channel of images and one number for other inputs. native_head:
    what the library that the body comes from calls the last layer in its own state dicts.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        body: nn.Module,
        head: nn.Linear,
        *,
        shape: Shape,
        adapt: nn.Module | None = None,
        native_head: str = "head",
    ) -> None:
        super().__init__()
        self.native_head = native_head
        self.adapt = adapt or nn.Identity()
        self.body = body
        self.head = head
        statistics = (shape[0], 1, 1) if len(shape) == 3 else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("deviation", torch.ones(statistics))

    def features(self, x: Tensor) -> Tensor:
        """Penultimate layer: (B, *S) -> (B, F)."""
        return cast("Tensor", self.body(self.adapt((x - self.mean) / self.deviation))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits: (B, *S) -> (B, K)."""
        return cast("Tensor", self.head(self.features(x)))

    def standardize(self, x: Tensor) -> None:
        """Measure mean and standard deviation on training data (N, *S); constant channels keep their scale."""
        dims = [0, *(d for d in range(1, x.ndim) if self.mean.shape[d - 1] == 1)]
        deviation, mean = torch.std_mean(x, dims, correction=0)
        self.mean.copy_(mean.view_as(self.mean))
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0).view_as(self.deviation))


def fitted(
    build: Build,
    data: Split,
    *,
    recipe: Recipe,
    weights: Path | None = None,
    title: str = "training",
    training: Training | None = None,
) -> State:
    """Build a network for the data, train it or read its weights, and give its state, on the device of the data."""
    shape = tuple(data.x.shape[1:])
    network = build(shape, data.num_classes).to(data.x.device)
    _check(network, data)
    network.standardize(data.x)
    if weights is None:
        train(network, data, recipe=recipe, title=title, training=training)
    else:
        read_weights(network, weights)
    state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    state["meta.input_shape"] = torch.tensor(shape, dtype=torch.int64, device=data.x.device)
    state["meta.num_classes"] = torch.tensor(data.num_classes, dtype=torch.int64, device=data.x.device)
    return state


def loaded(build: Build, state: State) -> Network:
    """The network of a state, in evaluation mode and without parameters to train, on the device of the state."""
    shape = tuple(state["meta.input_shape"].tolist())
    with torch.random.fork_rng(devices=[]):
        network = build(shape, int(state["meta.num_classes"])).to(state["meta.num_classes"].device)
    network.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("meta.")})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _check(network: Classifier, data: Split) -> None:
    """Raise ValueError unless the body takes the inputs and gives what the head takes."""
    try:
        features = network.eval().features(data.x[:2])
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"this architecture does not take inputs of shape {tuple(data.x.shape[1:])} ({reason}); "
            "choose another victim, or another `size` where it has one"
        ) from None
    if features.shape[1] != network.head.in_features:
        raise ValueError(
            f"the penultimate layer gives {features.shape[1]} features, but the last layer takes "
            f"{network.head.in_features}; this architecture cannot be split there: choose another"
        )


def read_weights(network: Classifier, path: Path) -> None:
    """Load trained weights, a .safetensors file or a saved state dict, under our names or the library's own.

    Mean and deviation stay as measured on the training data where the file lacks them. Raises FileNotFoundError, or
    ValueError when names or shapes do not fit.
    """
    given = _renamed(_read(path), network)
    own = {name: tensor for name, tensor in network.state_dict().items() if name in given or name not in _STATISTICS}
    wrong = [f"{name} is missing" for name in own if name not in given]
    wrong += [f"{name} is not part of the network" for name in given if name not in own]
    wrong += [
        f"{name} has the shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(
            f"the weights {path} do not fit the network: {'; '.join(wrong[:4])}{more}. "
            "Give the file of this architecture with the same parameters, data shape and number of classes"
        )
    network.load_state_dict(given, strict=False)


_STATISTICS = ("mean", "deviation")


def _read(path: Path) -> State:
    """The tensors of a file; nothing but tensors is unpickled."""
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; weights expects a .safetensors file or a saved state dict")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} cannot be read ({reason}); expected a .safetensors file or a saved state dict"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a state dict, from names to tensors")
    return content


def _renamed(state: State, network: Classifier) -> State:
    """Names as in `Classifier`: a library's own names get the prefix `body.`, its last layer becomes `head.`."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items() if not name.startswith("meta.")}
    if any(name.startswith("body.") for name in state):
        return state
    last = f"{network.native_head}."
    return {
        f"head.{name.removeprefix(last)}" if name.startswith(last) else f"body.{name}": tensor
        for name, tensor in state.items()
    }


def image_shape(shape: Shape, victim: str) -> tuple[int, int, int]:
    """(channels, height, width) of the inputs; raises ValueError when they are no images."""
    if len(shape) != 3:
        raise ValueError(f"{victim} needs images (C, H, W), but the inputs have the shape {shape}; use mlp")
    return shape[0], shape[1], shape[2]


def flat_size(shape: Shape) -> int:
    """The number of values in an input."""
    return math.prod(shape)
