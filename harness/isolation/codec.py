"""Values as JSON and tensors, without pickle: what crosses between the harness and a submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.grid import Attempt
from harness.isolation.policy import Isolation, Limits
from harness.plan import Fitted, Pipeline
from harness.types import Budget, Loaded, Outputs, Spec, Split, Threat, View

_KNOWN = {
    kind.__name__: kind
    for kind in (Attempt, Budget, Fitted, Isolation, Limits, Loaded, Outputs, Pipeline, Spec, Split, Threat, View)
}
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


def pack(value: Any, tensors: list[Tensor], export: Callable[[Any], Mapping[str, Any]]) -> Any:
    """A value as JSON; tensors are put into the list, and what is neither data nor tensor is exported. Raises TypeError."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"$": "tensor", "at": len(tensors) - 1}
    if isinstance(value, Path):
        return {"$": "path", "text": str(value)}
    if isinstance(value, Mapping):
        return {"$": "dict", "items": [[pack(k, tensors, export), pack(v, tensors, export)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {"$": kind, "items": [pack(v, tensors, export) for v in value]}
    if is_dataclass(value) and type(value).__name__ in _KNOWN:
        inside = {field.name: pack(getattr(value, field.name), tensors, export) for field in fields(value)}
        return {"$": "data", "type": type(value).__name__, "fields": inside}
    return {"$": "remote", **export(value)}


def unpack(packed: Any, tensors: Sequence[Tensor], receive: Callable[[Mapping[str, Any]], Any]) -> Any:
    """The value of what `pack` made; raises ValueError for anything else."""
    if packed is None or isinstance(packed, bool | int | float | str):
        return packed
    kind = packed.get("$") if isinstance(packed, dict) else None
    try:
        if kind == "tensor":
            return tensors[packed["at"]]
        if kind == "path":
            return Path(packed["text"])
        if kind == "dict":
            return {unpack(k, tensors, receive): unpack(v, tensors, receive) for k, v in packed["items"]}
        if kind in ("list", "tuple"):
            items = [unpack(v, tensors, receive) for v in packed["items"]]
            return tuple(items) if kind == "tuple" else items
        if kind == "data":
            inside = {name: unpack(v, tensors, receive) for name, v in packed["fields"].items()}
            return _KNOWN[packed["type"]](**inside)
        if kind == "remote":
            return receive(packed)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"a message that cannot be read: {type(error).__name__}: {error}") from None
    raise ValueError(f"a message that cannot be read: {str(packed)[:80]}")
