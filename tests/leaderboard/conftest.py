"""Records of made-up systems, of the shape that the harness writes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from leaderboard import html
from leaderboard._pack import unpacked

DEFENSES = (
    ("none", (), "plain", 0.912, 0.02),
    ("adversarial_training", ("training",), "plain", 0.861, 0.61),
    ("adversarial_training(steps=20)", ("training",), "plain", 0.858, 0.618),
    ("bit_depth", ("purifier",), "plain", 0.905, 0.11),
    ("gaussian_blur", ("purifier",), "plain", 0.884, 0.07),
    ("gaussian_noise", ("purifier",), "random", 0.871, 0.19),
    ("linear_map_svm", ("detector",), "detector", 0.901, 0.13),
    ("gaussian_blur + linear_map_svm", ("purifier", "detector"), "detector", 0.872, 0.16),
    ("adversarial_training + linear_map_svm", ("training", "detector"), "detector", 0.852, 0.605),
)
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
DRIVER = shutil.which("chromedriver") or "/usr/bin/chromedriver"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
THREATS = [
    (norm, epsilon, knowledge)
    for norm, epsilons in (("linf", (0.02, 0.05, 0.1, 0.2)), ("l2", (0.5, 1.0, 1.5)))
    for epsilon in epsilons
    for knowledge in ("oblivious", "adaptive")
]
ATTACKS = (("pgd(steps=40)", 40), ("fgsm", 1), ("transfer(attack=pgd)", 40), ("noise", 10), ("carlini_wagner", 900))


def interval(value, number=1000):
    """A share with a plain interval around it."""
    half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / number)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)}


def system(defense="none", *, clean=0.9, robust=0.5, **changes):
    """The record of one system; a keyword replaces a field."""
    number = changes.get("inputs", 1000)
    generator = np.random.default_rng(sum(map(ord, defense)))
    order = generator.permutation(number)
    right, held = order < clean * number, order < robust * number
    breakers = generator.choice([name for name, _ in ATTACKS], size=number, p=[0.6, 0.2, 0.1, 0.04, 0.06])
    record = {
        "schema": 1,
        "id": hashlib.sha256(f"{defense} {changes.get('victim')} {changes.get('suite')}".encode()).hexdigest()[:16],
        "suite": "fashion-1",
        "grid": "official",
        "created": "2026-11-24T10:00:00Z",
        "dataset": "fashion_mnist",
        "dataset_note": "",
        "note": "",
        "victim": "cnn",
        "defense": defense,
        "roles": [],
        "track": "plain",
        "size": "official",
        "seed": 0,
        "inputs": number,
        "submission": None,
        "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
        "metrics": {"clean_accuracy": interval(clean, number), "robust_accuracy": interval(robust, number)},
        "seconds": 40 + 600 * robust,
        "forwards": 1400.0,
        "backwards": 900.0,
        "parameters": 421_642,
        "threats": [_threat(threat, clean, robust, number) for threat in THREATS],
        "flags": [flag("zero-gradient"), flag("batch-dependent"), flag("single-step-beats-iterative", fired=None)],
        "cells": [_cell(attack, threat, clean, robust, number) for attack in ATTACKS for threat in THREATS[4:6]],
        "shifts": [],
        "per_input": {
            "index": list(range(number)),
            "clean": right.astype(float).tolist(),
            "robust": held.astype(float).tolist(),
            "breaker": np.where(right & ~held, breakers, "").tolist(),
        },
        "gallery": [_picture(index) for index in range(6)],
        "command": "harness run official --size official",
        "environment": {
            "commit": "8bb9f3e0c1d2e3f4",
            "dirty": False,
            "torch": "2.14.0",
            "python": "3.11.9",
            "cores": 2,
        },
        "parts": [{"name": name, "parameters": {"sigma": 1.0}} for name in defense.split(" + ") if name != "none"],
        "failed": [],
    }
    return record | changes


def flag(name, *, fired=False, severity="warning", text="gradient zero or not finite on 31 of 100 inputs"):
    """A flag as the harness writes it."""
    evidence = {"b": 31, "inputs": list(range(31))}
    return {"name": name, "fired": fired, "severity": severity, "value": 0.31, "text": text, "evidence": evidence}


def shift(name, accepted, auroc):
    """A shift as the harness writes it."""
    rates = {"tpr_at_1": interval(1 - accepted), "tpr_at_5": interval(min(1.0, 1.05 - accepted))}
    both = {"foreign_accepted": interval(0.41), "clean_rejected": interval(0.37), "aupr": interval(0.77)}
    return {"name": name, "accepted": interval(accepted), "auroc": interval(auroc)} | both | rates


def store(victims=("cnn", "resnet18")):
    """Every defense on every victim, with flags, a submission, an earlier suite and a failed system."""
    records = []
    for victim in victims:
        for defense, roles, track, clean, robust in DEFENSES:
            record = system(defense, clean=clean, robust=robust, roles=list(roles), track=track, victim=victim)
            if "detector" in roles:
                record["metrics"] |= {"auroc": interval(0.93), "false_positive_rate": interval(0.012)}
                record["shifts"] = [shift("kmnist", 0.62, 0.81), shift("gaussian_noise", 0.05, 0.997)]
            if track == "random":
                record["flags"].append(
                    flag("random", fired=True, severity="info", text="declared random: scored on fresh draws")
                )
                record["per_input"]["robust"] = [value * 0.83 for value in record["per_input"]["robust"]]
            if defense == "bit_depth":
                record["flags"][0]["fired"] = True
                record["flags"].append(
                    flag(
                        "gradient-mismatch",
                        fired=True,
                        text="cosine of finite differences and gradient 0.00 (sound: at least .8)",
                    )
                )
            records.append(record)
    stranger = {
        "name": "MyDefense",
        "authors": ["A. Stranger", "B. Other"],
        "claimed": {"robust_accuracy": 0.55},
        "isolation": "bubblewrap",
    }
    records.append(system("my_defense.py:MyDefense", clean=0.89, robust=0.33, submission=stranger, roles=["purifier"]))
    records.append(failed("my_defense.py:Broken"))
    records.append(system("none", clean=0.91, robust=0.05, suite="fashion-0", created="2026-01-02T00:00:00Z"))
    return records


def failed(defense):
    """A system none of whose figures are known."""
    nothing = {"metrics": {}, "threats": [], "flags": [], "cells": [], "per_input": {}, "gallery": [], "seconds": None}
    task = {"task": f"fit {defense}", "error": "ValueError: the defense returned NaN on 3 of 256 inputs"}
    return system(defense) | nothing | {"failed": [task], "forwards": None, "parameters": None}


def _threat(threat, clean, robust, number):
    norm, epsilon, knowledge = threat
    slope = math.log(max(clean / max(robust, 1e-3), 1.01)) / (0.1 if norm == "linf" else 1.3)
    value = clean * math.exp(-slope * epsilon * (0.55 if knowledge == "oblivious" else 1.0))
    if threat == ("linf", 0.1, "adaptive"):
        value = robust
    return {"norm": norm, "epsilon": epsilon, "knowledge": knowledge, "robust_accuracy": interval(value, number)}


def _cell(attack, threat, clean, robust, number):
    name, steps = attack
    norm, epsilon, knowledge = threat
    value = robust + (clean - robust) * (0.02 if steps == 40 else 0.3) * (1.0 if knowledge == "adaptive" else 1.6)
    cost = {"forwards": steps * 1.1, "backwards": float(steps), "seconds": steps * 0.31}
    axes = {"attack": name, "norm": norm, "epsilon": epsilon, "knowledge": knowledge}
    return (
        axes
        | cost
        | {
            "robust_accuracy": interval(value, number),
            "broken": int((clean - value) * number),
            "right": int(clean * number),
            "missed": int((value - robust) * number),
            "wins": 7 if steps == 40 else 0,
            "median_distance": 0.098,
        }
    )


def _picture(index):
    generator = np.random.default_rng(index)
    y, x = np.mgrid[0:28, 0:28] / 27.0
    clean = np.clip(1.3 - 4 * ((x - 0.5) ** 2 + (y - 0.3 - index / 20) ** 2) * (1 + index / 3), 0, 1)
    change = 0.1 * np.sign(generator.standard_normal((28, 28)))
    images = {"clean": clean, "adversarial": np.clip(clean + change, 0, 1), "difference": 0.5 + 5 * change}
    pictures = {f"{name}_png": png(image) for name, image in images.items()}
    facts = {"index": 17 * index, "label": "ankle boot", "prediction": "sneaker", "attack": "pgd(steps=40)"}
    return facts | {"norm": "linf", "epsilon": 0.1, "distance": 0.0980392} | pictures


def png(image):
    """A grey image as PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def waiting(text):
    """What the page's script gets, unpacked."""
    found = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    return found | {name: unpacked(found[name]) for name in ("facts", "table", "rows")}


def page(boards, *arguments):
    """The page with its details, where the script puts them once they are wanted."""
    text = html.page(boards, *arguments)
    details = [json.loads(unpacked(packed))["html"] for packed in waiting(text)["details"].values()]
    return text.replace("</main>", "".join(details) + "</main>")


@pytest.fixture(scope="session")
def made():
    """The makers of records, and every one of them at once in `store()`."""
    return SimpleNamespace(
        system=system,
        store=store,
        failed=failed,
        flag=flag,
        shift=shift,
        interval=interval,
        png=png,
        defenses=DEFENSES,
        page=page,
        waiting=waiting,
    )


@contextlib.contextmanager
def chromium(folder):
    """Chromium without a window, asking no network, its profile in `folder`; raises FileNotFoundError where it is missing."""
    from selenium import webdriver

    for program in (CHROMIUM, DRIVER):
        if not shutil.which(program):
            raise FileNotFoundError(f"{program} is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={folder}/profile"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium; tests are skipped where it is not installed."""
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install '.[browser]')")
    with contextlib.ExitStack() as stack:
        try:
            driver = stack.enter_context(chromium(tmp_path_factory.mktemp("browser")))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield driver
