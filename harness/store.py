"""Results under the keys of their tasks, in a folder.

A result is one data file (safetensors, parquet or JSON) and one record, `<key>.json`, written last. Both are written to a
temporary name and renamed, so that a result is there whole or not at all: a task is done when its record stands.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


class Corrupted(RuntimeError):
    """A stored result whose content does not have the hash in its record; `key` is the result's."""

    def __init__(self, key: str, path: Path) -> None:
        super().__init__(f"{path} does not have the content that its record names; it is set aside and computed anew")
        self.key = key


class Missing(KeyError):
    """No result stands under a key."""


@dataclass(frozen=True)
class Store:
    """Results in `folder`, two levels deep. Safe to read and write from many processes at once."""

    folder: Path

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of a finished task: what made it, its data file and that file's SHA-256; None if it is not done."""
        try:
            found = json.loads(self._path(key, "json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError):
            found = None
        if isinstance(found, dict) and {"form", "sha256"} <= found.keys():
            return cast("dict[str, Any]", found)
        self.forget(key)
        return None

    def done(self, key: str) -> bool:
        """Whether a result stands, made from the results that stand now under the keys it consumed."""
        record = self.record(key)
        if record is None:
            return False
        above = {name: self.record(name) for name in record.get("consumed", {})}
        return all(found is not None and found["sha256"] == record["consumed"][name] for name, found in above.items())

    def put(self, key: str, result: Any, record: Mapping[str, Any]) -> None:
        """Write a result and then its record. A dict of tensors, a DataFrame, or a JSON-able value."""
        form, content = _encode(result)
        digest = hashlib.sha256(content).hexdigest()
        write_whole(self._path(key, form), content)
        whole = {**record, "key": key, "form": form, "sha256": digest, "bytes": len(content)}
        write_whole(self._path(key, "json"), json.dumps(whole, sort_keys=True).encode())

    def get(self, key: str, *, device: str = "cpu") -> Any:
        """The result under a key; raises Missing if there is none, Corrupted if its content changed."""
        record = self.record(key)
        if record is None:
            raise Missing(key)
        path = self._path(key, record["form"])
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            self.forget(key)
            raise Corrupted(key, path)
        return _decode(record["form"], content, device)

    def intact(self, key: str, record: Mapping[str, Any]) -> bool:
        """Whether the data file has its stated size and hash."""
        path = self._path(key, record["form"])
        try:
            return bool(hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"])
        except FileNotFoundError:
            return False

    def forget(self, key: str) -> None:
        """Take back that a task is done."""
        self._path(key, "json").unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        """Record why a task failed; it does not count as done."""
        write_whole(self.folder / "failed" / f"{key}.json", json.dumps(failure).encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """Why a task failed when it was last tried, or None."""
        try:
            return cast("dict[str, Any]", json.loads((self.folder / "failed" / f"{key}.json").read_text()))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def clear_failure(self, key: str) -> None:
        """The task succeeded after all."""
        (self.folder / "failed" / f"{key}.json").unlink(missing_ok=True)

    def _path(self, key: str, form: str) -> Path:
        return self.folder / key[:2] / f"{key}.{'data.json' if form == 'value' else form}"


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name beside the file, then rename; a full disk leaves nothing half-written under the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(result: Any) -> tuple[str, bytes]:
    import pandas as pd

    if isinstance(result, pd.DataFrame):
        buffer = io.BytesIO()
        result.to_parquet(buffer, index=False)
        return "parquet", buffer.getvalue()
    if _is_state(result):
        import torch
        from safetensors.torch import save

        # clones, as tensors that share memory (tied weights) are refused by the format
        whole = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in result.items()
        }
        return "safetensors", save(whole)
    return "value", json.dumps(result, sort_keys=True).encode()


def _is_state(result: Any) -> bool:
    import torch

    return isinstance(result, dict) and bool(result) and all(isinstance(v, torch.Tensor) for v in result.values())


def _decode(form: str, content: bytes, device: str) -> Any:
    if form == "parquet":
        import pandas as pd

        frame: pd.DataFrame = pd.read_parquet(io.BytesIO(content))
        return frame
    if form == "safetensors":
        from safetensors.torch import load

        state: dict[str, Tensor] = load(content)
        return {name: tensor.to(device) for name, tensor in state.items()}
    return json.loads(content)
