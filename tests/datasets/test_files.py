"""Where data are looked for, and what is said when they are nowhere."""

from __future__ import annotations

import time

import pytest

from harness.datasets import _files
from harness.datasets.cifar10 import CIFAR10
from harness.datasets.mnist import MNIST


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data, and a network that refuses every connection."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path


def test_error_names_the_three_places(nowhere, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(nowhere / "absent"))
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        MNIST().files()
    message = str(caught.value)
    assert f"{nowhere / 'absent'} (no such folder)" in message
    assert str(nowhere / "home" / "data") in message
    assert "torchvision's download: failed" in message
    assert "{train,t10k}-images-idx3-ubyte" in message
    assert time.monotonic() - start < 60
    assert [path.name for path in (nowhere / "home" / "data").iterdir()] == [".MNIST-failed"]


def test_a_failed_download_is_not_tried_again(nowhere, monkeypatch):
    monkeypatch.setattr(_files, "_download_into", lambda name, folder: "failed (once)")
    with pytest.raises(FileNotFoundError, match=r"failed \(once\)"):
        CIFAR10().files()
    monkeypatch.setattr(_files, "_download_into", lambda name, folder: pytest.fail("tried again"))
    with pytest.raises(FileNotFoundError, match=r"CIFAR10/train-jpeg\.npz"):
        CIFAR10().files()


def test_a_failed_download_is_remembered_for_ten_minutes(nowhere, monkeypatch):
    monkeypatch.setattr(_files, "_download_into", lambda name, folder: "failed (once)")
    cache = nowhere / "home" / "data"
    assert _files.download("MNIST", cache) == "failed (once)"
    _files.download.cache_clear()
    monkeypatch.setattr(_files, "_download_into", lambda name, folder: pytest.fail("tried again"))
    assert _files.download("MNIST", cache).startswith("failed (once); tried less than ten minutes ago")


def test_a_download_appears_whole_in_the_cache(nowhere, monkeypatch):
    def download(name, folder):
        (folder / name / "raw").mkdir(parents=True)
        for half in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                (folder / name / "raw" / f"{half}-{kind}-ubyte").touch()
        return ""

    monkeypatch.setattr(_files, "_download_into", download)
    files = MNIST().files()
    assert [path.parent for path in files] == [nowhere / "home" / "data" / "MNIST" / "raw"] * 4
    assert [path.name for path in (nowhere / "home" / "data").iterdir()] == ["MNIST"]


def test_a_silent_download_is_stopped(nowhere, monkeypatch):
    monkeypatch.setattr(_files, "FIRST_BYTE_SECONDS", 0.05)
    with pytest.raises(FileNotFoundError, match=r"no answer within 0\.05 s"):
        MNIST().files()


def test_harness_data_comes_before_the_cache(nowhere, monkeypatch):
    for place in (nowhere / "given", nowhere / "home" / "data"):
        (place / "MNIST").mkdir(parents=True)
        for kind in ("images-idx3", "labels-idx1"):
            (place / "MNIST" / f"t10k-{kind}-ubyte").touch()
    assert MNIST().files()[0].is_relative_to(nowhere / "home")
    monkeypatch.setenv("HARNESS_DATA", str(nowhere / "given"))
    assert MNIST().files()[0].is_relative_to(nowhere / "given")
