"""The pages of MLflow in Chromium: the printed link opens the ranking, the first system on top, its cells a click away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]
STARTED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def share(value):
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05)}


def record(defense, robust):
    """The record of a system that holds the first `robust` of 100 inputs."""
    cells = [
        {"attack": attack, "norm": "linf", "epsilon": 0.1, "knowledge": "adaptive", "robust_accuracy": share(value)}
        | {"broken": 3, "median_distance": 0.1, "seconds": 1.0, "forwards": 40.0, "backwards": 40.0}
        for attack, value in (("fgsm", (robust + 100) / 200), ("pgd(steps=40)", robust / 100))
    ]
    return {
        "schema": 1,
        "id": f"{robust:016d}",
        "suite": "toy-1",
        "grid": "toy",
        "created": "2026-01-01T00:00:00Z",
        **{"dataset": "digits", "victim": "cnn", "defense": defense, "track": "plain", "size": "official", "seed": 0},
        **{
            "status": "complete",
            "complete": True,
            "failed": [],
            "flags": [],
            "shifts": [],
            "gallery": [],
            "threats": [],
        },
        "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
        "metrics": {"clean_accuracy": share(0.9), "robust_accuracy": share(robust / 100)},
        "inputs": 100,
        "cells": cells,
        "per_input": {
            "index": list(range(100)),
            "clean": [1.0] * 100,
            "robust": [1.0] * robust + [0.0] * (100 - robust),
            "breaker": [""] * robust + ["pgd(steps=40)"] * (100 - robust),
        },
        **{"parts": [], "command": "harness run toy", "seconds": 2.0, "forwards": 80.0, "backwards": 80.0},
        "environment": {"commit": "0123abcd", "dirty": False},
    }


@pytest.fixture(scope="module")
def link(browser, tmp_path_factory):
    """What `harness ui` prints for three synthetic systems; the browser is asked for first, so that a skip is quick."""
    browser.set_window_size(1600, 900)
    home = tmp_path_factory.mktemp("run")
    (home / "records").mkdir()
    (home / "board").mkdir()
    (home / "board" / "leaderboard.html").write_text("<h1>The board itself</h1>", encoding="utf-8")
    for defense, robust in (("weak", 10), ("strongest", 70), ("middle", 40)):
        (home / "records" / f"{robust:016d}.json").write_text(json.dumps(record(defense, robust)), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    paths = "\n".join(map(str, (home / "records").glob("*.json")))
    writer = [sys.executable, "-m", "harness.track", str(home)]
    done = subprocess.run(writer, input=paths, text=True, capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout)["written"] == 3
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "harness", "ui", "--home", str(home), "--port", str(port), "--no-browser"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, preexec_fn=heard
    )
    yield server.stdout.readline().strip()
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 130


def text(browser, awaited, selector="body", patience=60):
    """The page's text once it holds what is awaited."""
    deadline = time.monotonic() + patience
    while True:
        found = browser.execute_script(
            f"return [...document.querySelectorAll({selector!r})].map(e => e.innerText).join('\\n')"
        )
        if awaited in found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_link_opens_the_ranking(browser, link):
    assert "viewStateShareKey=ranking" in link
    browser.get(link)
    browser.execute_script(STARTED)
    browser.refresh()
    rows = text(browser, "weak @ digits", "[role=row]")
    names = [line for line in rows.split("\n") if line.endswith(" @ digits")]
    assert names == ["strongest @ digits", "middle @ digits", "weak @ digits"]
    heads = browser.execute_script(
        "return [...document.querySelectorAll('[role=columnheader]')]"
        ".sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x).map(e => e.innerText)"
    )
    for head in ("rank", "robust_accuracy", "robust_low", "robust_high", "clean_accuracy", "flags"):
        assert head in heads
    assert heads.index("rank") < heads.index("robust_accuracy")


def test_first_line_of_the_description_is_the_answer(browser, link):
    browser.get(link)
    assert "1 strongest 70.0 · 2 middle 40.0 · 3 weak 10.0" in text(browser, "strongest 70.0")


def test_row_leads_to_its_cells(browser, link):
    browser.get(link)
    text(browser, "strongest @ digits")
    browser.get(browser.find_element("link text", "strongest @ digits").get_attribute("href"))
    assert "pgd(steps=40) linf 0.1 adaptive" in text(browser, "fgsm linf 0.1 adaptive")


def test_view_of_cells(browser, link):
    browser.get(link.replace("=ranking", "=cells"))
    rows = text(browser, "fgsm linf 0.1 adaptive", "[role=row]")
    assert rows.count("pgd(steps=40) linf 0.1 adaptive") == 3
    assert "@ digits" not in rows


def test_board_shows_inside(browser, link):
    browser.get(link)
    text(browser, "strongest 70.0")
    browser.get(browser.find_element("link text", "board").get_attribute("href"))
    deadline = time.monotonic() + 60
    while not (frames := browser.find_elements("css selector", "iframe")) and time.monotonic() < deadline:
        time.sleep(0.2)
    browser.switch_to.frame(frames[0])
    assert "The board itself" in text(browser, "The board itself")
    browser.switch_to.default_content()
