"""Train the weights that come with the project again: `python tests/benchmarks/train_weights.py NAME OUT`, NAME from recipes.yaml.

One thread; it goes on where it was killed. Prints seconds, the file's size and its SHA-256, which is the shipped one's on the
same machine and version of torch.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from harness.data import Data, key_of
from harness.progress import shown
from harness.spec import build, resolve
from harness.training import Kept
from harness.types import Spec

RECIPES = Path(__file__).parents[2] / "geometry" / "manifolds" / "weights" / "recipes.yaml"


def main(name: str, out: Path) -> None:
    """Fit the part of a recipe on its data and write its state; raises ValueError for an unknown or an incomplete recipe."""
    recipes = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))
    if name not in recipes or recipes[name]["seed"] is None:
        known = [key for key, recipe in recipes.items() if recipe["seed"] is not None]
        raise ValueError(f"no complete recipe {name!r}; known: {', '.join(known)}")
    recipe = recipes[name]
    torch.set_num_threads(1)
    dataset = Spec.of("dataset", recipe["dataset"])
    data = Data(dataset, key_of(dataset), "cpu").split("train")
    part = build(resolve(Spec.of("manifold", recipe["manifold"], **recipe["parameters"])))
    begin = time.process_time()
    with shown():
        training = Kept(out.with_suffix(".training"), name)
        torch.manual_seed(recipe["seed"])
        state = part.fit(data, training=training)
        training.end()
    save_file({key: value.contiguous() for key, value in state.items()}, out)
    training.forget()
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    print(f"{time.process_time() - begin:.0f} s of a core, {out.stat().st_size:,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python tests/benchmarks/train_weights.py NAME OUT")
    main(sys.argv[1], Path(sys.argv[2]))
