"""All victims: one state, one network, wherever it is loaded."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from harness.datasets.digits import Digits
from harness.types import Split
from harness.victims.cnn import CNN
from harness.victims.mlp import MLP
from harness.victims.resnet18 import ResNet18
from harness.victims.timm import Timm
from harness.victims.torchvision import Torchvision

ONE_STEP = {"epochs": 0, "batch_size": 8}
SMALL = {
    "mlp": MLP(width=8, **ONE_STEP),
    "cnn": CNN(width=4, hidden=8, **ONE_STEP),
    "resnet18": ResNet18(width=4, **ONE_STEP),
    "timm": Timm("test_resnet", size=32, **ONE_STEP),
    "timm vit": Timm("test_vit", size=32, **ONE_STEP),
    "torchvision": Torchvision("shufflenet_v2_x0_5", size=32, **ONE_STEP),
}
FEATURES = {"mlp": 8, "cnn": 8, "resnet18": 32}


def images(channels=1, side=28, size=12, classes=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(size, channels, side, side, generator=generator)
    return Split(x, torch.arange(size) % classes, torch.arange(size), classes, None)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """One training step: enough to move statistics and weights."""
    monkeypatch.setattr("harness.victims._training.Recipe.steps", lambda self, size: 1)
    torch.manual_seed(0)


@pytest.mark.parametrize("name", SMALL)
def test_a_stored_state_gives_the_same_network(name, tmp_path):
    victim, data = SMALL[name], images()
    state = victim.fit(data)
    save_file(state, tmp_path / "state.safetensors")
    random = torch.get_rng_state()
    network, again = victim.load(state), victim.load(load_file(tmp_path / "state.safetensors"))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(network(data.x), again(data.x))
    assert state["meta.input_shape"].tolist() == [1, 28, 28]
    assert int(state["meta.num_classes"]) == 3


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_head_of_the_features(name):
    data = images()
    network = SMALL[name].load(SMALL[name].fit(data))
    features = network.features(data.x)
    assert features.ndim == 2
    assert features.shape[1] == FEATURES.get(name, features.shape[1])
    assert torch.equal(network(data.x), network.head(features))
    assert network(data.x).shape == (12, 3)


@pytest.mark.parametrize("name", SMALL)
def test_a_loaded_network_is_frozen(name):
    data = images()
    network = SMALL[name].load(SMALL[name].fit(data))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    alone = torch.cat([network(x[None]) for x in data.x])
    assert torch.allclose(network(data.x), alone, rtol=1e-4, atol=1e-4)
    x = data.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_other_image_shapes(name, channels, side):
    data = images(channels, side)
    assert SMALL[name].load(SMALL[name].fit(data))(data.x).shape == (12, 3)


def test_the_mlp_is_the_formula():
    data = images()
    state = MLP(width=8, depth=2).fit(data)
    hidden = ((data.x - data.x.mean()) / data.x.std(correction=0)).flatten(1)
    for layer in ("1", "3"):
        hidden = functional.relu(hidden @ state[f"body.{layer}.weight"].T + state[f"body.{layer}.bias"])
    logits = hidden @ state["head.weight"].T + state["head.bias"]
    assert torch.allclose(MLP(width=8, depth=2).load(state)(data.x), logits, atol=1e-5)


def test_statistics_are_those_of_the_training_data():
    data = images(channels=3)
    data.x[:, 1] = 0.25
    state = CNN(width=4).fit(data)
    assert torch.allclose(state["mean"].flatten(), data.x.mean((0, 2, 3)), atol=1e-6)
    expected = data.x.transpose(0, 1).flatten(1).std(1, correction=0)
    assert torch.allclose(state["deviation"].flatten()[[0, 2]], expected[[0, 2]], atol=1e-6)
    assert torch.isfinite(CNN(width=4).load(state)(data.x)).all()


def test_flat_inputs_are_for_the_mlp():
    x = torch.rand(12, 5)
    data = Split(x, torch.arange(12) % 3, torch.arange(12), 3, None)
    assert MLP(width=4).load(MLP(width=4).fit(data))(x).shape == (12, 3)
    for victim in (CNN(), ResNet18(), Timm("test_resnet"), Torchvision("resnet18")):
        with pytest.raises(ValueError, match=r"needs images \(C, H, W\).*use mlp"):
            victim.fit(data)
    with pytest.raises(ValueError, match="8 pixels or more, but they are 6x6"):
        CNN().fit(images(side=6))


def test_resnet18_has_the_published_size():
    # The 11,689,512 parameters of the ImageNet network with another stem (3x3) and another head (10 classes).
    state = ResNet18(**ONE_STEP).fit(images(3, 8, classes=10))
    network = ResNet18().load(state)
    stem, head = 64 * 3 * (49 - 9), 513 * (1000 - 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512 - stem - head


def test_unknown_architectures_name_the_nearest():
    with pytest.raises(ValueError, match="timm has no classifier 'resnet81': did you mean timm/resnet"):
        Timm("resnet81").fit(images())
    with pytest.raises(ValueError, match="did you mean torchvision/mobilenet_v2"):
        Torchvision("mobilnet_v2").fit(images())
    with pytest.raises(ValueError, match="torchvision has no classifier 'fasterrcnn_resnet50_fpn'"):
        Torchvision("fasterrcnn_resnet50_fpn").fit(images())


def test_architectures_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="ends with Conv2d; expected a linear layer"):
        Torchvision("squeezenet1_1").fit(images())
    with pytest.raises(ValueError, match="ends with tuple; expected one linear layer"):
        Timm("deit_tiny_distilled_patch16_224", size=32).fit(images())
    with pytest.raises(ValueError, match=r"does not take inputs of shape.*another `size`"):
        Torchvision("alexnet", size=16).fit(images())
    with pytest.raises(ValueError, match="take 3 channels, but the images have 2"):
        Torchvision("resnet18").fit(images(channels=2))


def test_pretrained_weights_that_cannot_be_had(monkeypatch):
    def refuse(*args, pretrained=False, **kwargs):
        raise OSError("the network is down\nRetry 5/5")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(OSError, match=r"weights of test_resnet \(the network is down\); run with network access"):
        Timm("test_resnet", pretrained=True).fit(images())


@pytest.mark.parametrize(("victim", "least"), [(CNN(), 0.95), (MLP(), 0.93)])
def test_learns_the_digits(victim, least, monkeypatch):
    monkeypatch.undo()
    network = victim.load(victim.fit(Digits().split("train")))
    test = Digits().split("test")
    accuracy = float((network(test.x).argmax(1) == test.y).double().mean())
    assert accuracy > least
    assert math.isfinite(float(network(test.x).abs().max()))
