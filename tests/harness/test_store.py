"""The store: whole or not at all, told by hash, whatever happens to the disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harness import places
from harness.store import Corrupted, Missing, Store, file_name

KEY = "ab" * 16
RESULTS = {
    "safetensors": {"a": torch.arange(6).reshape(2, 3), "b": torch.tensor(float("nan")), "c": torch.zeros(0, 2)},
    "parquet": pd.DataFrame({"index": np.arange(3), "accepted": [True, False, True], "margin": [0.0, -np.inf, 2.5]}),
    "value": {"rows": [1, 2], "none": None, "text": "ä"},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(store: Store) -> list[str]:
    return sorted(p.name for p in store.folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("form", list(RESULTS))
def test_what_is_put_comes_back(store: Store, form: str) -> None:
    result = RESULTS[form]
    store.put(KEY, result, {"kind": "fit", "facts": {}})
    record, found = store.record(KEY), store.get(KEY)
    assert record is not None
    assert (record["form"], record["kind"], record["key"]) == (form, "fit", KEY)
    assert store.intact(KEY, record)
    if form == "safetensors":
        assert all(
            torch.equal(found[k].nan_to_num(7), v.nan_to_num(7)) and found[k].dtype == v.dtype
            for k, v in result.items()
        )
    elif form == "parquet":
        pd.testing.assert_frame_equal(found, result)
    else:
        assert found == result
    assert len(files(store)) == 2


def test_a_view_and_a_tensor_with_gradient_are_stored_as_values(store: Store) -> None:
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    store.put(KEY, {"t": base.T, "row": base[1], "again": base[1]}, {})
    assert torch.equal(store.get(KEY)["t"], base.detach().T)
    assert torch.equal(store.get(KEY)["again"], base.detach()[1])


def test_nothing_there_is_a_key_error(store: Store) -> None:
    assert store.record(KEY) is None
    with pytest.raises(Missing):
        store.get(KEY)
    assert store.failure(KEY) is None


@pytest.mark.parametrize("form", list(RESULTS))
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_damaged_data_are_found_and_forgotten(store: Store, form: str, damage: str) -> None:
    store.put(KEY, RESULTS[form], {})
    path = store.folder / file_name(KEY, form)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-3]), "empty": b""}[damage])
    record = store.record(KEY)
    assert record is not None
    assert not store.intact(KEY, record)
    with pytest.raises(Corrupted, match="computed anew") as caught:
        store.get(KEY)
    assert caught.value.key == KEY
    assert store.record(KEY) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": "x", "sha', b"\x00" * 80, b"\xff\xfe", b"null", b"[]", b"{}"])
def test_a_damaged_record_is_no_record(store: Store, content: bytes) -> None:
    store.put(KEY, {"a": 1}, {})
    (store.folder / file_name(KEY)).write_bytes(content)
    assert store.record(KEY) is None


def test_half_written_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between data and record, or in the middle of a file, leaves no result."""
    whole = places.write_whole

    def dies_before_the_record(path: Path, content: bytes) -> None:
        if path.name == f"{KEY}.json":
            raise SystemExit
        whole(path, content)

    monkeypatch.setattr(places, "write_whole", dies_before_the_record)
    with pytest.raises(SystemExit):
        store.put(KEY, RESULTS["parquet"], {})
    assert store.record(KEY) is None
    monkeypatch.undo()
    (store.folder / KEY[:2] / f".{KEY}.json.1.dead").write_text('{"form": "value"')  # left by a killed process
    assert store.record(KEY) is None
    store.put(KEY, RESULTS["parquet"], {})
    assert len(store.get(KEY)) == 3


def test_a_full_disk_leaves_what_stood(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(KEY, {"a": 1}, {})
    before = files(store)

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for key in (KEY, "cd" * 16):
        with pytest.raises(OSError, match="No space"):
            store.put(key, {"a": 2}, {})
    monkeypatch.undo()
    assert files(store) == before
    assert store.get(KEY) == {"a": 1}


def test_forget_and_failures(store: Store) -> None:
    store.put(KEY, {"a": 1}, {})
    store.forget(KEY)
    store.forget(KEY)
    assert store.record(KEY) is None
    store.fail(KEY, {"error": "ValueError: no"})
    assert store.failure(KEY) == {"error": "ValueError: no"}
    assert store.record(KEY) is None
    store.clear_failure(KEY)
    store.clear_failure(KEY)
    assert store.failure(KEY) is None


def test_the_record_names_the_content(store: Store) -> None:
    import hashlib

    store.put(KEY, {"a": 1}, {"kind": "probe"})
    record = json.loads((store.folder / file_name(KEY)).read_text())
    content = (store.folder / file_name(KEY, "value")).read_bytes()
    assert (record["sha256"], record["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
