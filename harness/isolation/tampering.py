"""Which functions of torch and of the harness a submission replaced: for the verdict; the protection is the boundary."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness import registry

_TORCH = ("torch", "torch.nn", "torch.nn.functional", "torch.autograd", "torch.linalg", "torch.special", "torch._C._nn")
_CLASSES = (("torch", "Tensor"), ("torch.nn", "Module"), ("torch.autograd", "Function"))
_OURS = ("harness", "attacks", "defenses", "geometry", "leaderboard")


class Snapshot:
    """What the functions were."""

    def __init__(self) -> None:
        self.before = _functions()

    def changed(self) -> str | None:
        """The name of one that is not what it was, or None. What is new does not count."""
        for place, known in self.before.items():
            now = _of(place)
            for name, function in known.items():
                if now.get(name) is not function and not _known(now.get(name)):
                    return f"{place}.{name}"
        return None


def _known(function: Any) -> bool:
    """Whether a function was written in torch or here: torch wraps some of its own when parts of it are first used."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return bool(file) and any(Path(file).is_relative_to(folder) for folder in _homes())


@lru_cache(maxsize=1)
def _homes() -> tuple[Path, ...]:
    import torch

    return (Path(torch.__file__).parent, *(registry.root() / name for name in _OURS))


def _functions() -> dict[str, dict[str, Any]]:
    places = [name for name in sys.modules if name in _TORCH or name.split(".")[0] in _OURS]
    return {place: _of(place) for place in [*places, *(f"{module}:{name}" for module, name in _CLASSES)]}


def _of(place: str) -> dict[str, Any]:
    module, _, name = place.partition(":")
    found = sys.modules.get(module)
    if found is None:
        return {}
    held = vars(getattr(found, name)) if name else vars(found)
    return {key: value for key, value in list(held.items()) if callable(value) and not key.startswith("__getattr")}
