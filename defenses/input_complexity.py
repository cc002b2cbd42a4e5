"""Detection by the likelihood, corrected for how complex the image is."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from defenses._craft import batches
from defenses._evidence import Likely, likelihood_noise, log_likelihoods, shows_likelihood
from defenses._images import sides
from harness.types import Network, Score, Spec, Split, State


@dataclass(frozen=True)
class InputComplexity:
    """Scores an image by minus its log-likelihood under a generative model less the length of its compressed file, in bits.

    The file holds the image in 8 bits, as PNG (of one or three channels) or packed by zlib. Lengths have no gradient:
    the surrogate puts the sum of log(1 + |difference of neighbours| in grey levels), scaled to the lengths by least
    squares on fit inputs. Noise makes an image complex, so that noisy and attacked images count as inliers. model,
    samples, steps: as in `likelihood`. Raises ValueError for inputs that are not (B, C, H, W), TypeError for other
    manifolds. Source: Serra et al. 2020, "Input complexity and out-of-distribution detection with likelihood-based
    generative models", section 3 (in bits of the image, up to a constant).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "variational_autoencoder")
    samples: int = 8
    steps: int = 5
    compression: Literal["png", "zlib"] = "png"

    def __post_init__(self) -> None:
        if min(self.samples, self.steps) < 1:
            raise ValueError(
                f"input_complexity takes one sample and step at least, not {self.samples} and {self.steps}"
            )

    def fit(self, data: Split, *, victim: Network, model: Likely) -> State:
        """Noise of codes or images, slope and offset of the surrogate's lengths."""
        sides(data.x, "input_complexity")
        rough = torch.cat([roughness(batch.x) for batch in batches(data)]).double()
        design = torch.stack([rough, torch.ones_like(rough)], 1)
        lengths = compressed_bits(data.x, self.compression).double()
        slope, offset = torch.linalg.lstsq(design, lengths[:, None]).solution[:, 0].float()
        noise = likelihood_noise(shows_likelihood(model, "input_complexity"), self.samples)
        return {"noise": noise, "slope": slope, "offset": offset}

    def load(self, state: State, *, victim: Network, model: Likely) -> Score:
        """Bits by the model less bits by the compressor, (B, C, H, W) -> (B,)."""
        shown = shows_likelihood(model, "input_complexity")
        slope, offset = float(state["slope"]), float(state["offset"])
        return _Excess(shown, state["noise"], self.steps, self.compression, slope, offset)


@dataclass(frozen=True, eq=False)
class _Excess:
    """Bits that the model needs beyond those of the compressor."""

    model: Likely
    noise: Tensor
    steps: int
    compression: str
    slope: float
    offset: float

    def __call__(self, x: Tensor, /) -> Tensor:
        sides(x, "input_complexity")
        return self._bits(x) - compressed_bits(x, self.compression)

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same with lengths that have a gradient."""
        return self._bits(x) - (self.slope * roughness(x) + self.offset)

    def _bits(self, x: Tensor) -> Tensor:
        return -log_likelihoods(self.model, x, self.noise, steps=self.steps) / math.log(2)


def compressed_bits(x: Tensor, compression: str) -> Tensor:
    """Bits of the compressed 8-bit image: (B, C, H, W) -> (B,)."""
    shown = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    pack = (
        _png
        if compression == "png" and shown.shape[3] in (1, 3)
        else lambda image: len(zlib.compress(image.tobytes(), 9))
    )
    return torch.tensor([8.0 * pack(image) for image in shown], device=x.device, dtype=x.dtype)


def _png(image: np.ndarray[Any, Any]) -> int:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "png", compress_level=9)
    return len(file.getvalue())


def roughness(x: Tensor) -> Tensor:
    """Sum of log(1 + |difference| in grey levels) over neighbours in rows and columns: (B, C, H, W) -> (B,)."""
    steps = (x[..., 1:] - x[..., :-1]).flatten(1), (x[..., 1:, :] - x[..., :-1, :]).flatten(1)
    return torch.cat(steps, 1).mul(255).abs().log1p().sum(1)
