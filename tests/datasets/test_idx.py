"""The idx reader against bytes written by hand."""

from __future__ import annotations

import gzip

import pytest
import torch

from harness.datasets._idx import read_idx

BYTES = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])


def test_reads_bytes_written_by_hand(tmp_path):
    (tmp_path / "plain").write_bytes(BYTES)
    expected = torch.tensor([[1, 2, 3], [4, 5, 255]], dtype=torch.uint8)
    assert torch.equal(read_idx(tmp_path / "plain"), expected)
    (tmp_path / "zipped.gz").write_bytes(gzip.compress(BYTES, mtime=0))
    assert torch.equal(read_idx(tmp_path / "zipped.gz"), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing"),
        (b"PNG....", "expected an idx file"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "unsigned bytes"),
        (BYTES[:-1], "17 bytes, but its header announces 18"),
        (BYTES + b"\0", "19 bytes"),
    ],
)
def test_refuses_what_is_no_whole_idx_file(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("content", [gzip.compress(BYTES, mtime=0)[:-9], b"no gzip at all", b""])
def test_refuses_a_broken_gzip_file(tmp_path, content):
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.gz"):
        read_idx(tmp_path / "file.gz")
