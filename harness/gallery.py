"""What the board shows of single inputs: what became of each, and pictures: clean, adversarial, the difference magnified."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.nearest import Pictured, Read, atlas, columns, images, names_of, nearest
from harness.plan import Task
from harness.rank import counted, robustness
from harness.types import Threat

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

NUMBER = 8


def inputs(
    outcomes: pd.DataFrame, tasks: Sequence[Task], headline: Threat, read: Read, *, folder: Path | None
) -> dict[str, Any]:
    """What a record tells of each input at the headline: what became of it, the nearest attack, pictures of it.

    folder: for the pictures of all inputs. The gallery in the record holds a few.
    """
    if not bool(counted(outcomes, headline).any()):
        return {"per_input": {}, "gallery": []}
    found, closest, names = robustness(outcomes, headline), nearest(outcomes, headline), names_of(tasks[0].dataset)
    pictured = images(closest, tasks, read)
    drawn = atlas(pictured, found.index.tolist(), folder) if pictured and folder else None
    per_input = {
        "index": found.index.tolist(),
        "clean": found.clean.round(4).tolist(),
        "robust": found.robust.round(4).tolist(),
        "breaker": found.breaker.tolist(),
        **columns(closest, found.index, names),
    }
    return {
        "per_input": per_input,
        "gallery": gallery(closest, pictured, names),
        **({"pictures": drawn} if drawn else {}),
    }


def gallery(found: pd.DataFrame, pictured: Pictured | None, names: Callable[[int], str]) -> list[dict[str, Any]]:
    """A few inputs broken at the headline, each by its smallest perturbation; none where they are no images.

    found: what came nearest to breaking each input, see `nearest`; names: of classes.
    """
    if pictured is None:
        return []
    place = {index: i for i, index in enumerate(pictured.index)}
    broken = found[~found["held"] & (found["distance"] > 0) & found["index"].isin(place)]
    return [
        _facts(row, names) | _drawn(pictured.clean[place[row["index"]]], pictured.changed[place[row["index"]]])
        for row in broken.head(NUMBER).to_dict("records")
    ]


def _facts(row: Mapping[Any, Any], names: Callable[[int], str]) -> dict[str, Any]:
    return {
        "index": int(row["index"]),
        "label": names(int(row["label"])),
        "prediction": names(int(row["prediction"])),
        "attack": row["attack"],
        "norm": row["norm"],
        "epsilon": float(row["epsilon"]),
        "distance": float(row["distance"]),
    }


def _drawn(x: Tensor, x_adv: Tensor) -> dict[str, str]:
    largest = max(1e-6, float((x_adv - x).abs().max()))
    difference = 0.5 + (x_adv - x) / (2 * largest)
    return {"clean_png": _png(x), "adversarial_png": _png(x_adv), "difference_png": _png(difference)}


def _png(x: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as base64 of a PNG; one channel is grey, of more than three the first three are shown."""
    from PIL import Image

    pixels = (x.clamp(0, 1) * 255).round().byte().numpy()
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
