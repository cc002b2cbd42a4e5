"""Boards as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math

from leaderboard.export import csv_text, finite, json_text
from leaderboard.rows import boards


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_a_system(made):
    records = made.store()
    lines = read(csv_text(boards(records)))
    assert len(lines) == len(records)
    first = next(
        line for line in lines if line["defense"] == "none" and line["victim"] == "cnn" and line["suite"] == "fashion-1"
    )
    assert float(first["robust_accuracy"]) == 0.02
    assert float(first["robust_accuracy_low"]) < 0.02 < float(first["robust_accuracy_high"])
    assert first["tied"] == "False"
    assert first["origin"] == "own"
    assert float(first["robust_linf_0.1_adaptive"]) == 0.02


def test_a_name_is_no_formula(made):
    (line,) = read(csv_text(boards([made.system("=cmd|' /C calc'!A0")])))
    assert line["defense"] == "'=cmd|' /C calc'!A0"


def test_unknown_numbers_are_empty(made):
    record = made.system(metrics={"robust_accuracy": {"value": 0.5, "low": math.nan, "high": None}})
    (line,) = read(csv_text(boards([record])))
    assert (line["robust_accuracy_low"], line["clean_accuracy"]) == ("", "")


def test_an_empty_store():
    assert read(csv_text([])) == []
    assert json.loads(json_text([])) == []


def test_json_has_ranks_and_no_nan(made):
    record = made.system(seconds=math.nan)
    (board,) = json.loads(json_text(boards([record, made.failed("b")])))
    assert board["headline"] == {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}
    first, last = board["systems"]
    assert (first["rank"], first["seconds"], last["rank"]) == (1, None, None)
    assert "per_input" not in first
    assert "gallery" not in first


def test_finite():
    assert finite({"a": [math.inf, 1.5, (math.nan,)], 3: "x"}) == {"a": [None, 1.5, [None]], "3": "x"}
