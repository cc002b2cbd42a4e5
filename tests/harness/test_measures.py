"""Measures of networks beside a grid: shared, recorded, asked for again, skipped with a reason, and no part of other keys."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import api, record
from harness.check import check
from harness.data import Data, key_of
from harness.spec import build, resolve
from harness.types import Skip, Spec

PLACE = os.environ.get("HARNESS_DATA")
real = pytest.mark.skipif(not PLACE or not (Path(PLACE) / "RSA92").is_dir(), reason="HARNESS_DATA has no folder RSA92")
SMALL: dict[str, Any] = {
    "name": "measures",
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 2, "width": 32}}],
    "defenses": ["none", "bit_depth", {"adversarial_training": {"updates": 20}}],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["oblivious"]}],
    "inputs": 40,
    "scrutiny": "light",
}
WIDTH = '''
@dataclass(frozen=True)
class Width:
    """The number of features, and the share of them that is above zero."""

    scale: float = 1.0

    def measure(self, network, dataset, /):
        with torch.no_grad():
            features = network.features(dataset.split("test").x[:50])
        active = float((features > 0).float().mean())
        return [{"name": "width", "value": self.scale * features.shape[1]}, {"name": "active", "value": active}]
'''


def _run(home, *measures, **changes):
    return api.run({**SMALL, **changes, "measures": list(measures)}, home=home, track=False)


def test_each_network_is_measured_once_and_every_record_has_it(tmp_path, part):
    result = _run(tmp_path, part(WIDTH))
    assert not result.progress.failed
    plan = api.plan_of(result.grid)
    assert len([task for task in plan.tasks.values() if task.kind == "measure"]) == 2
    found = {r["defense"]: r["measures"]["part.py:Width"]["rows"] for r in result.records}
    assert len(found) == 3
    assert found["none"] == found["bit_depth"] != found["adversarial_training(updates=20)"]
    assert all(rows[0] == {"name": "width", "value": 32.0} for rows in found.values())
    again = _run(tmp_path, part(WIDTH))
    assert again.progress.computed == 0
    assert [r["measures"] for r in again.records] == [r["measures"] for r in result.records]


def test_measures_change_no_other_key_and_no_record_id(part):
    plain, measured = (api.plan_of(api.read_grid({**SMALL, "measures": m})) for m in ([], [part(WIDTH)]))
    assert set(plain.tasks) == {key for key, task in measured.tasks.items() if task.kind != "measure"}
    ids = [[record.system_id(plan, system) for system in plan.observed] for plan in (plain, measured)]
    assert ids[0] == ids[1]


def test_a_grid_that_asks_for_more_gets_it_and_one_that_asks_for_less_does_not(tmp_path, part):
    before = _run(tmp_path, defenses=["none"])
    assert before.records[0]["measures"] == {}
    name = part(WIDTH)
    more = _run(tmp_path, {name: {"scale": [1.0, 2.0]}}, defenses=["none"])
    assert more.progress.computed == 2
    assert set(more.records[0]["measures"]) == {"part.py:Width", "part.py:Width(scale=2)"}
    assert more.records[0]["id"] == before.records[0]["id"]
    assert json.loads((tmp_path / "records" / f"{more.records[0]['id']}.json").read_text())["measures"]
    assert _run(tmp_path, defenses=["none"]).records[0]["measures"] == {}


def test_workers_know_the_kind_too(tmp_path, part):
    result = api.run(
        {**SMALL, "defenses": ["none"], "measures": [part(WIDTH)]}, home=tmp_path, track=False, executor="processes"
    )
    assert not result.progress.failed
    assert result.records[0]["measures"]["part.py:Width"]["rows"]


def test_without_the_brain_the_record_says_so_and_the_grid_goes_on(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    result = _run(tmp_path, "neural_similarity", defenses=["none"])
    assert not result.progress.failed
    told = result.records[0]["measures"]["neural_similarity"]
    assert told["rows"] == []
    assert "brain92 was not found" in told["missing"]
    assert "set HARNESS_DATA" in told["missing"]
    assert result.records[0]["complete"]
    assert any("neural_similarity is not measured" in reason for reason in result.skips)


def test_a_measure_that_fails_is_recorded_and_the_system_stands(tmp_path, part):
    result = _run(tmp_path, part(WIDTH.replace("network.features", "network.nothing")), defenses=["none"])
    assert len(result.progress.failed) == 1
    (made,) = result.records
    assert made["complete"]
    assert made["metrics"]["robust_accuracy"]
    assert "nothing" in made["measures"]["part.py:Width"]["missing"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (WIDTH, ""),
        (WIDTH.replace("return [", "return 3, ["), "expected a list of mappings"),
        (WIDTH.replace('"name": "active", ', ""), "a row has a name and a value"),
        (WIDTH.replace('"value": active', '"value": float("nan")'), "not JSON compliant"),
        (WIDTH.replace("features > 0", "features > torch.rand(features.shape)"), "gets other rows"),
        (WIDTH.replace("(frozen=True)", ""), "can be changed"),
    ],
)
def test_contract(part, body, words):
    found = [finding.message for finding in check(part(body)) if not finding.passed]
    assert (words in found[0]) if words else not found


def test_unknown_names_and_empty_lists():
    with pytest.raises(ValueError, match="unknown measure 'neural_similarty': did you mean neural_similarity"):
        api.read_grid({**SMALL, "measures": ["neural_similarty"]})
    with pytest.raises(ValueError, match="measures is a list"):
        api.read_grid({**SMALL, "measures": "neural_similarity"})
    assert api.read_grid({**SMALL, "measures": []}).measures == ()


@real
def test_neural_similarity_of_a_network():
    """Against the correlation of numpy at every layer, on the images as rdm_fine_tuning sees them."""
    import numpy as np

    from harness.datasets.brain92 import Brain92
    from harness.measures.neural_similarity import NeuralSimilarity, shown

    whole = Brain92(size=28, grey=True).whole().x
    assert torch.equal(shown(Brain92().whole().x, (1, 28, 28)), whole)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10))
    digits, brain = (resolve(Spec.of("dataset", name)) for name in ("digits", "brain92"))
    data, stimuli = (Data(spec, key_of(spec), "cpu") for spec in (digits, brain))
    human, monkey = NeuralSimilarity(splits=2, draws=30).measure(network, data, stimuli=stimuli)
    assert human["ceiling_low"] < human["ceiling_high"]
    assert monkey["people"] is None
    with torch.no_grad():
        rows = network[:3](shown(Brain92().whole().x, (1, 8, 8))).double().numpy()
    i, j = np.triu_indices(92, 1)
    expected = np.corrcoef((1 - np.corrcoef(rows))[i, j], Brain92().matrix("human_it").numpy()[i, j])[0, 1]
    assert human["by_layer"]["2"] == pytest.approx(expected, abs=1e-5)
    assert list(human["by_layer"]) == ["1", "2", "3"]
    for row in (human, monkey):
        assert -1 < row["low"] <= row["value"] <= row["high"] < 1


@real
def test_networks_and_data_that_have_no_layers_or_images_are_skipped():
    brain = resolve(Spec.of("dataset", "brain92"))
    stimuli = Data(brain, key_of(brain), "cpu")
    part = build(resolve(Spec.of("measure", "neural_similarity")))
    for name, network, words in (
        ("digits", lambda x: x, "layers of function cannot be read"),
        ("toy_plane", torch.nn.Linear(2, 2), "are no images"),
    ):
        data = resolve(Spec.of("dataset", name))
        found = part.measure(network, Data(data, key_of(data), "cpu"), stimuli=stimuli)
        assert isinstance(found, Skip)
        assert words in found.reason
