"""Trained weights of manifolds: those that come with the project, and files of others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from geometry.manifolds._rows import State

# How each was trained stands beside them, in weights/recipes.yaml.
DIGESTS = {
    "diffusion_fashion_mnist": "f5cfb4a8e623bddd24ac157aedc860d04c984c0a7638c52b30a0333eae6aa60e",
    "variational_autoencoder_fashion_mnist": "1a6042869f38fdc6ef72d914447d4065051f902530dad7b53300a7717b4d1298",
}


def shipped(part: str, name: str) -> Path:
    """The file of a part's weights that comes with the project; raises ValueError where it is not the one that was trained."""
    known = [key.removeprefix(f"{part}_") for key in DIGESTS if key.startswith(f"{part}_")]
    if name not in known:
        raise ValueError(f"weights are a Path or one of {known}, not {name!r}")
    path = Path(__file__).parent / "weights" / f"{part}_{name}.safetensors"
    if hashlib.sha256(path.read_bytes()).hexdigest() != DIGESTS[f"{part}_{name}"]:
        raise ValueError(f"{path} is not the file that belongs here; install the project again")
    return path


def read(part: str, weights: str | Path) -> State:
    """The tensors of a file, or of shipped weights by name; raises FileNotFoundError, and ValueError as `shipped` does."""
    from safetensors.torch import load_file

    path = weights if isinstance(weights, Path) else shipped(part, weights)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give the weights of a trained {part}, or none to train it")
    return load_file(path)
