"""Places: whole files in a folder, in memory, behind a file system that renames, and on an S3-compatible server."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from harness import api, execute, places
from harness.claims import Claims
from harness.loading import Loader
from harness.places import Away, Folder, Place, Remote
from harness.plan import Task
from harness.store import Corrupted, Missing, Store, file_name, store_of
from harness.types import Spec

S3 = all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask"))
needs_s3 = pytest.mark.skipif(not S3, reason="needs a local S3 server: pip install 's3fs' 'moto[s3]'")
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
KINDS = ["folder", "memory", "renaming", pytest.param("s3", marks=needs_s3)]
TINY = {
    "name": "tiny",
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 2, "width": 16}}],
    "defenses": ["none"],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["adaptive"]}],
    "inputs": 8,
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3-compatible server of its own; gives its address."""
    port = free_port()
    with (tmp_path_factory.mktemp("s3") / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                with urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    import fsspec

    for name, value in (KEYS | {"AWS_ENDPOINT_URL": server}).items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return f"s3://{name}/runs"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    import fsspec

    if request.param == "folder":
        return Folder(tmp_path / "store")
    if request.param == "renaming":
        return Remote("other://store", fsspec.filesystem("file"), str(tmp_path / "store"))
    url = request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{uuid.uuid4().hex}/runs"
    return places.at(url)


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_a_file_is_written_replaced_read_and_deleted(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        place.read("ab/one")
    place.write("ab/one", b"first")
    place.write("ab/one", b"second")
    place.write("ab/two", b"")
    assert place.read("ab/one") == b"second"
    assert place.read_many(["ab/two", "ab/three", "ab/one"]) == {"ab/one": b"second", "ab/two": b""}
    assert place.read_many([]) == {}
    place.delete("ab/one")
    place.delete("ab/one")
    assert place.read_many(["ab/one"]) == {}
    assert sorted(place.times("ab")) == ["two"]  # no temporary file stays


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_a_file_is_created_once(place: Place) -> None:
    assert place.create("claims/a", b"one")
    assert not place.create("claims/a", b"other")
    assert place.read("claims/a") == b"one"
    place.delete("claims/a")
    assert place.create("claims/a", b"other")


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_times_are_those_of_the_place_now(place: Place) -> None:
    assert place.times("claims") == {}
    place.write("claims/a", b"")
    first = place.times("claims")["a"]
    assert abs(first - time.time()) < 5
    time.sleep(1.1)
    place.write("claims/a", b"")
    assert place.times("claims")["a"] > first


@pytest.mark.parametrize("place", ["folder", pytest.param("s3", marks=needs_s3)], indirect=True)
def test_of_many_who_create_at_once_one_is_told_so(place: Place) -> None:
    told: list[bool] = []
    begin = threading.Barrier(8)

    def create(number: int) -> None:
        begin.wait()
        told.append(place.create("claims/a", str(number).encode()))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 7 + [True]


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_claims(place: Place) -> None:
    with Claims(place, beat=0.2) as claims:
        assert claims.take("a")
        assert not claims.take("a")
        place.write("claims/b", b"elsewhere 1 1")
        assert claims.free(["a", "b", "c"]) == ["c"]
        time.sleep(0.5)
        claims.drop("a")
    assert sorted(place.times("claims")) == ["b"]
    with Claims(place, lease=1.5, beat=0.2) as claims:
        deadline = time.monotonic() + 20
        while not claims.free(["b"]) and time.monotonic() < deadline:  # nobody gave a sign of life
            time.sleep(0.2)
        assert claims.take("b")


@needs_s3
def test_a_store_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Data first, the record last, told by hash."""
    store, key = Store(tmp_path / "store", bucket), "ab" * 16
    assert store.record(key) is None
    with pytest.raises(Missing):
        store.get(key)
    store.put(key, {"a": 1}, {"kind": "fit", "consumed": {}})
    assert store.get(key) == {"a": 1}
    assert store.done(key)
    assert list(store.records([key, "cd" * 16])) == [key]
    store.fail(key, {"error": "ValueError: no"})
    assert store.failure(key) == {"error": "ValueError: no"}
    store.clear_failure(key)
    assert store.failure(key) is None
    store.place.write(file_name(key, "value"), b'{"a": 2}')
    with pytest.raises(Corrupted, match=f"{bucket}/ab/{key}.data.json does not have the content"):
        store.get(key)
    assert not store.done(key)
    assert not (tmp_path / "store").exists()


def outcomes(store: Store, result: api.Result) -> dict[str, str]:
    records = store.records(api.plan_of(result.grid).tasks)
    return {key: record["sha256"] for key, record in records.items()}


@needs_s3
def test_a_grid_in_a_bucket_gives_what_it_gives_in_a_folder(
    bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the middle it goes on; a corrupted object is computed anew."""
    here = api.run(TINY, home=tmp_path / "here", track=False)
    begun, whole = [], execute.attempt

    def stops(task: Task, loader: Loader, tasks: object) -> tuple[str | None, float]:
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(task.key)
        return whole(task, loader, tasks)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "attempt", stops)
        with pytest.raises(KeyboardInterrupt):
            api.run(TINY, home=tmp_path / "there", store=bucket, track=False)
    there = api.run(TINY, home=tmp_path / "there", store=bucket, track=False)
    store = Store(tmp_path / "there" / "store", bucket)
    assert (there.progress.reused, there.progress.failed) == (3, {})
    found = outcomes(store, there)
    assert found == outcomes(Store(tmp_path / "here" / "store"), here)
    assert not (tmp_path / "there" / "store").exists()
    fit = next(task for task in api.plan_of(there.grid).tasks.values() if task.kind == "fit")
    name = file_name(fit.key, "safetensors")
    content = bytearray(store.place.read(name))
    content[len(content) // 2] ^= 1
    store.place.write(name, bytes(content))
    again = api.run(TINY | {"attacks": ["fgsm", "noise"]}, home=tmp_path / "there", store=bucket, track=False)
    assert not again.progress.failed
    assert "does not have the content that its record names" in capfd.readouterr().err
    assert outcomes(store, there) == found
    assert store.place.times("claims") == {}


@needs_s3
def test_two_coordinators_share_a_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    store = Store(tmp_path, bucket)

    def attempt(task: Task, loader: object, tasks: object) -> tuple[str | None, float]:
        made.append(task.key)
        time.sleep(0.05)
        store.put(task.key, {"made": 1}, {"consumed": {}})
        return None, 0.0

    monkeypatch.setattr(execute, "attempt", attempt)
    monkeypatch.setattr(execute, "PAUSE", 0.05)
    digits = Spec.of("dataset", "digits")
    tasks = [Task("fit", f"{n:032d}", "task", digits, (f"{0:032d}",) if n else ()) for n in range(12)]
    found: list[execute.Progress] = []
    workers = [threading.Thread(target=lambda: found.append(execute.run(tasks, store))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(made) == [task.key for task in tasks]
    assert [progress.computed + progress.reused for progress in found] == [12, 12]
    assert min(progress.computed for progress in found) >= 2


@needs_s3
def test_a_server_that_goes_away_ends_the_run_and_what_was_done_stands(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = Remote._put, []

    def away(self: Remote, path: str, content: bytes) -> None:
        if len(written) == 8:
            raise ConnectionError("Could not connect to the endpoint URL")
        written.append(path)
        whole(self, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "_put", away)
        with pytest.raises(Away, match=f"the store {bucket} does not answer .ConnectionError.*run the same command"):
            api.run(TINY, home=tmp_path, store=bucket, track=False)
    after = api.run(TINY, home=tmp_path, store=bucket, track=False)
    assert after.progress.reused == 3  # of eight files one is the sign of life; a task writes two
    assert not after.progress.failed


@needs_s3
@pytest.mark.parametrize("fault", ["no server", "no bucket", "no credentials"])
def test_a_bucket_that_cannot_be_used(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    import fsspec

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url = bucket
    if fault == "no server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    elif fault == "no bucket":
        url = "s3://not-there/runs"
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("HOME", str(tmp_path))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    places.at.cache_clear()
    said = {
        "no server": "does not answer .EndpointConnectionError",
        "no bucket": "there is no bucket for the store s3://not-there/runs; make it",
        "no credentials": "refuses .NoCredentialsError.*AWS_ACCESS_KEY_ID",
    }[fault]
    store = Store(tmp_path, url)
    try:
        for ask in (lambda: execute.run([], store), lambda: store.record("ab"), lambda: store.records(["ab"])):
            with pytest.raises(Away, match=said):
                ask()
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        places.at.cache_clear()


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("s4://bucket/runs", ValueError, "s3"),
        ("file://shared/runs", ValueError, "begins with /"),
        ("s3://", ValueError, "names no place"),
        ("simplecache::s3://bucket/runs", ValueError, "protocol of a store"),
    ],
)
def test_an_address_that_is_none(address: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        places.at(address)


def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(ImportError, match=r"needs a client that is not installed.*pip install .*\[s3\]"):
        places.at("s3://bucket/not-installed")


def test_addresses_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_STORE", raising=False)
    assert store_of(tmp_path) == Store(tmp_path / "store")
    for given in (f"file://{tmp_path}/other", f"{tmp_path}/other", "other"):
        monkeypatch.chdir(tmp_path)
        assert store_of(tmp_path, given).place.address == str(tmp_path / "other")
    monkeypatch.setenv("HARNESS_STORE", f"{tmp_path}/third")
    assert store_of(tmp_path).place.private == (f"{tmp_path}/third",)
    assert store_of(tmp_path, "other").url == str(tmp_path / "other")


def test_memory_is_for_one_process(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seen by this process only; take the executor serial"):
        execute.run([], Store(tmp_path, "memory://runs"), executor="processes")
    result = api.run(TINY, home=tmp_path, store=f"memory://{uuid.uuid4().hex}", track=False)
    assert not result.progress.failed
    assert not os.path.exists(tmp_path / "store")
