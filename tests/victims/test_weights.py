"""Trained weights from files: ours, other people's, and those that do not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from harness.types import Split
from harness.victims.mlp import MLP
from harness.victims.timm import Timm
from harness.victims.torchvision import Torchvision


@pytest.fixture
def data():
    torch.manual_seed(0)
    return Split(torch.rand(12, 1, 28, 28), torch.arange(12) % 3, torch.arange(12), 3, None)


@pytest.fixture
def state(data, monkeypatch):
    monkeypatch.setattr("harness.victims._training.Recipe.steps", lambda self, size: 1)
    return MLP(width=8).fit(data)


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_stored_state_is_read_back(state, data, tmp_path):
    save_file(state, tmp_path / "state.safetensors")
    assert equal(MLP(width=8, weights=tmp_path / "state.safetensors").fit(data), state)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {f"module.{n}": t for n, t in s.items()}]
)
def test_a_state_dict_without_statistics_gets_them_from_the_data(state, data, tmp_path, wrap):
    trained = {name: tensor for name, tensor in state.items() if name.startswith(("body.", "head."))}
    torch.save(wrap(trained), tmp_path / "trained.pt")
    assert equal(MLP(width=8, weights=tmp_path / "trained.pt").fit(data), state)


def test_weights_under_the_names_of_timm(data, tmp_path):
    import timm

    model = timm.create_model("test_resnet", num_classes=3, in_chans=1).eval()
    torch.save(model.state_dict(), tmp_path / "timm.pt")
    victim = Timm("test_resnet", size=28, weights=tmp_path / "timm.pt")
    network = victim.load(victim.fit(data))
    standard = (data.x - data.x.mean()) / data.x.std(correction=0)
    assert torch.allclose(network(data.x), model(standard), atol=1e-5)


def test_weights_under_the_names_of_torchvision(data, tmp_path):
    import torchvision

    model = torchvision.models.get_model("mobilenet_v3_small", num_classes=3).eval()
    save_file(model.state_dict(), tmp_path / "torchvision.safetensors")
    victim = Torchvision("mobilenet_v3_small", size=28, weights=tmp_path / "torchvision.safetensors")
    network = victim.load(victim.fit(data))
    standard = ((data.x - data.x.mean()) / data.x.std(correction=0)).repeat(1, 3, 1, 1)
    assert torch.allclose(network(data.x), model(standard), atol=1e-5)


def test_weights_that_do_not_fit_are_told_apart(state, data, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(ValueError, match=r"body\.1\.weight has the shape \(8, 784\), expected \(16, 784\)"):
        MLP(width=16, weights=path).fit(data)
    with pytest.raises(ValueError, match=r"body\.5\.weight is missing"):
        MLP(width=8, depth=3, weights=path).fit(data)
    with pytest.raises(ValueError, match=r"body\.3\.weight is not part of the network"):
        MLP(width=8, depth=1, weights=path).fit(data)


def test_files_that_hold_no_weights_are_refused(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        MLP(weights=tmp_path / "absent.pt").fit(data)
    for name in ("text.pt", "text.safetensors", "empty.pt"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pt" else b"no weights")
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            MLP(weights=tmp_path / name).fit(data)
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list; expected a state dict"):
        MLP(weights=tmp_path / "list.pt").fit(data)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        MLP(weights=tmp_path / "module.pt").fit(data)
