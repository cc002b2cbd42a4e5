"""What is told of long work: bars for a terminal, lines for a file, an estimate as far as it is known."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time

import pytest

from harness import printing, progress


def test_a_file_gets_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with progress.shown() as bars:
        bar = bars.add_task("quick", total=10)
        bars.advance(bar, 4)
        time.sleep(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("quick: 4 of 10, 0 min")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown() as bars:
        bars.add_task("quick", total=10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "unknown", "words"),
    [
        (12.4, [], "about 12 s left on one core"),
        (3700.0, [], "about 1 h 1 min left on one core"),
        (125.0, ["probe"], "more than 2 min 5 s left; no estimate yet for the tasks probe"),
        (0.0, ["craft", "probe"], "no estimate yet for the tasks craft, probe"),
    ],
)
def test_the_time_left(seconds: float, unknown: list[str], words: str) -> None:
    assert printing.left({"seconds_left_at_least": seconds, "kinds_without_estimate": unknown}) == words


def test_of_many_reasons_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    printing.skips({"a": 1, "b": 2, "c": 3, "d": 4}, most=2)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "skipped 2 x: b",
        "skipped 7 x for other reasons: --dry-run names them",
    ]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with io.FileIO(writing, "w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "list"], stdout=out, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
