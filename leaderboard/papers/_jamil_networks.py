"""The networks and the studies of Jamil et al. 2023: the paper's five architectures, a transformer, and two of ours.

Trained in minutes on one core, at the size of the images: one or two passes for the five, where the paper's were trained to
the end. VGG-19 has 24 channels in its first block (the published one 64), so that it costs no more than the others.
"""

from __future__ import annotations

from typing import Any

from harness.types import Spec

LABELS = {
    "timm/efficientnet_b0": "EfficientNet-B0",
    "torchvision/resnet18": "ResNet-18",
    "vgg19": "VGG-19",
    "timm/mobilenetv2_100": "MobileNet-V2",
    "torchvision/googlenet": "GoogLeNet",
    "timm/test_vit": "ViT",
    "cnn": "CNN",
    "mlp": "MLP",
}
FLATTENED = "body.block5"  # of VGG-19, before the last maximum over 2x2
_CANONICAL = (1, 5)  # ResNet-18 and ViT, in place of the paper's ResNet-152 and vision transformer
_STUDIED = {"splits": 3, "adaptive_inputs": 0, "spectral": _CANONICAL}


def _architectures(size: int, epochs: tuple[int, ...], *, batch: int, flip: bool) -> tuple[Spec, ...]:
    recipe: dict[str, Any] = {"learning_rate": 2e-3, "shift": 0.0, "flip": flip}
    small = {"size": size, **recipe}
    separable = {**small, "batch_size": 64}  # depthwise convolutions learn little from few steps
    first, second, third, fourth, fifth, sixth = epochs
    return (
        Spec.of("victim", "timm/efficientnet_b0", epochs=first, **{**small, "batch_size": batch}),
        Spec.of("victim", "torchvision/resnet18", epochs=second, **small),
        Spec.of("victim", "vgg19", width=24, size=32, epochs=third, **{**recipe, "learning_rate": 1e-3}),
        Spec.of("victim", "timm/mobilenetv2_100", epochs=fourth, **separable),
        Spec.of("victim", "torchvision/googlenet", epochs=fifth, **small),
        Spec.of("victim", "timm/test_vit", epochs=sixth, **{**recipe, "size": 64, "learning_rate": 1e-3}),
    )


NETWORKS: dict[str, tuple[Spec, ...]] = {
    "fashion_mnist": (
        *_architectures(28, (1, 1, 1, 1, 1, 3), batch=128, flip=False),
        Spec.of("victim", "cnn"),
        Spec.of("victim", "mlp"),
    ),
    "cifar10": (
        *_architectures(32, (1, 2, 1, 2, 2, 3), batch=64, flip=True),
        Spec.of("victim", "cnn", epochs=4, flip=True),
        Spec.of("victim", "mlp", epochs=3),
    ),
}


def studies() -> list[Spec]:
    """The main tables and the test of interpolation, then other attacks, and our own networks against adaptive attackers.

    The one fixed set of adversarial inputs, in place of DAmageNet, is made against another of our convolutional networks.
    """
    fgsm, pgd = Spec.of("attack", "fgsm"), Spec.of("attack", "pgd", steps=5)
    far = Spec.of("attack", "carlini_wagner", steps=12, constants=2, constant=1.0)
    near = Spec.of("attack", "carlini_wagner", steps=30, constants=3, constant=0.1)
    another = Spec.of("victim", "cnn", seed=1, epochs=3)
    return [
        *(_study(name, fgsm, inputs=4000) for name in NETWORKS),
        *(_interpolation(name) for name in NETWORKS),
        *(_study(name, pgd, inputs=2000, splits=1) for name in NETWORKS),
        *(_study(name, pgd, inputs=2000, splits=1, victim=another) for name in NETWORKS),
        _study("cifar10", far, norm="l2", epsilon=1.0, inputs=600, splits=1),
        Spec.of("study", "jamil", attack=fgsm, inputs=3000, splits=3, adaptive_inputs=120),
        Spec.of(
            "study", "jamil", attack=Spec.of("attack", "pgd", steps=20), inputs=2000, splits=3, adaptive_inputs=120
        ),
        Spec.of("study", "jamil", attack=near, norm="l2", epsilon=1.0, inputs=900, splits=3, adaptive_inputs=120),
    ]


def _study(name: str, attack: Spec, **changes: Any) -> Spec:
    given = {"dataset": Spec.of("dataset", name), "networks": NETWORKS[name], "attack": attack}
    return Spec.of("study", "jamil", **{**given, **_STUDIED, **changes})


def _interpolation(name: str) -> Spec:
    _, residual, wide, mobile, *_ = NETWORKS[name]
    networks = (wide, residual, mobile)
    dataset = Spec.of("dataset", name)
    given = {"dataset": dataset, "networks": networks, "layer": FLATTENED, "splits": 3, "inputs": 3000}
    return Spec.of("study", "jamil_interpolation", **given)
