"""Results under the keys of their tasks, in a folder or at an address that fsspec knows.

A result is one data file (safetensors, parquet or JSON) and one record, `<key>.json`, written last. Both are written whole
or not at all (`harness.places`), so that a result is, too: a task is done when its record stands.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import places
from harness.places import Place
from harness.places import write_whole as write_whole

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


class Corrupted(RuntimeError):
    """A stored result whose content does not have the hash in its record; `key` is the result's."""

    def __init__(self, key: str, file: str) -> None:
        super().__init__(f"{file} does not have the content that its record names; it is set aside and computed anew")
        self.key = key


class Missing(KeyError):
    """No result stands under a key."""


@dataclass(frozen=True)
class Store:
    """Results two levels deep, safe to read and write from many processes at once.

    folder: where they stand, and what is kept of unfinished training. url: where they stand instead, as
    `s3://bucket/run`; raises Away (an OSError) from then on while that does not answer.
    """

    folder: Path
    url: str = ""

    @property
    def place(self) -> Place:
        """Where the files stand."""
        return places.at(self.url or str(self.folder))

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of a finished task: what made it, its data file and that file's SHA-256; None if it is not done."""
        try:
            content = self.place.read(file_name(key))
        except FileNotFoundError:
            return None
        found = _record(content)
        if found is None:
            self.forget(key)
        return found

    def records(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The records of those tasks that are done, read together; what cannot be read counts as none."""
        names = {file_name(key): key for key in keys}
        read = {names[name]: _record(content) for name, content in self.place.read_many(names).items()}
        return {key: found for key, found in read.items() if found is not None}

    def done(self, key: str) -> bool:
        """Whether a result stands, made from the results that stand now under the keys it consumed."""
        record = self.record(key)
        if record is None:
            return False
        consumed = record.get("consumed", {})
        above = self.records(consumed)
        return all(name in above and above[name]["sha256"] == digest for name, digest in consumed.items())

    def put(self, key: str, result: Any, record: Mapping[str, Any]) -> None:
        """Write a result and then its record. A dict of tensors, a DataFrame, or a JSON-able value."""
        form, content = _encode(result)
        digest = hashlib.sha256(content).hexdigest()
        self.place.write(file_name(key, form), content)
        whole = {**record, "key": key, "form": form, "sha256": digest, "bytes": len(content)}
        self.place.write(file_name(key), json.dumps(whole, sort_keys=True).encode())

    def get(self, key: str, *, device: str = "cpu") -> Any:
        """The result under a key; raises Missing if there is none, Corrupted if its content changed."""
        record = self.record(key)
        if record is None:
            raise Missing(key)
        name, content = file_name(key, record["form"]), b""
        with suppress(FileNotFoundError):
            content = self.place.read(name)
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            self.forget(key)
            raise Corrupted(key, f"{self.place.address}/{name}")
        return _decode(record["form"], content, device)

    def intact(self, key: str, record: Mapping[str, Any]) -> bool:
        """Whether the data file has its stated size and hash."""
        try:
            content = self.place.read(file_name(key, record["form"]))
            return bool(hashlib.sha256(content).hexdigest() == record["sha256"])
        except FileNotFoundError:
            return False

    def forget(self, key: str) -> None:
        """Take back that a task is done."""
        self.place.delete(file_name(key))

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        """Record why a task failed; it does not count as done."""
        self.place.write(f"failed/{key}.json", json.dumps(failure).encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """Why a task failed when it was last tried, or None."""
        try:
            return cast("dict[str, Any]", json.loads(self.place.read(f"failed/{key}.json")))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def clear_failure(self, key: str) -> None:
        """The task succeeded after all."""
        self.place.delete(f"failed/{key}.json")


def store_of(home: Path, address: str | None = None) -> Store:
    """The store at a folder or URL, else at HARNESS_STORE, else in the run folder.

    Raises ValueError for an address that names none, ImportError where its client is not installed.
    """
    given = address or os.environ.get("HARNESS_STORE")
    return Store(home / "store", places.at(given).address if given else "")


def file_name(key: str, form: str = "json") -> str:
    """The name of a result's record, or of its data in one of the forms `safetensors`, `parquet` and `value`."""
    return f"{key[:2]}/{key}.{'data.json' if form == 'value' else form}"


def _record(content: bytes) -> dict[str, Any] | None:
    """A record as it was written; None for what is none."""
    try:
        found = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) and {"form", "sha256"} <= found.keys() else None


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
