"""For each input of a system, what came nearest to breaking it at the headline; its pictures, all inputs in two images.

One image holds the clean inputs, side by side, the other what was added to each, modulo 256: an adversarial input is their sum.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.craft import unpacked
from harness.data import Data
from harness.plan import Task
from harness.rank import counted
from harness.spec import build, label
from harness.types import Threat

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LARGEST = 16_000_000  # bytes of an image, unpacked
_AXES = ["attack", "norm", "knowledge", "check", "epsilon"]


@dataclass(frozen=True, eq=False)
class Pictured:
    """Clean inputs and what came nearest to breaking them, (N, *S) in [0, 1] each, and their indices."""

    clean: Tensor
    changed: Tensor
    index: list[int]


Read = Callable[[str], Mapping[str, Tensor]]


def nearest(outcomes: pd.DataFrame, headline: Threat) -> pd.DataFrame:
    """A row of outcomes for each input: of those that broke it the one of smallest distance, else the one of largest loss.

    Only attacks that count at the headline and stayed inside it; of a random system the last draw.
    """
    last = outcomes["draw"] == outcomes["draw"].max()
    rows = outcomes[counted(outcomes, headline) & outcomes["valid"] & outcomes["attacked"].astype(bool) & last]
    held = (rows["prediction"] == rows["label"]) | ~rows["accepted"].astype(bool)
    loss = -rows["loss"].astype(float).fillna(-math.inf)
    order = rows.assign(held=held, far=rows["distance"].where(~held, loss))
    found: pd.DataFrame = order.sort_values(["index", "held", "far"], kind="stable").drop_duplicates("index")
    return found.drop(columns="far")


def columns(found: pd.DataFrame, index: np.ndarray[Any, Any], names: Callable[[int], str]) -> dict[str, list[Any]]:
    """What the record tells of each input of `index`: its class, the nearest attack, what was answered, the distance."""
    rows = found.set_index("index").reindex(index)
    known = rows["attack"].notna().to_numpy()

    def texts(name: str) -> list[str]:
        return [names(int(value)) if there else "" for value, there in zip(rows[name], known, strict=True)]

    distance = [round(float(v), 6) if there else None for v, there in zip(rows["distance"], known, strict=True)]
    attack = [str(value) if there else "" for value, there in zip(rows["attack"], known, strict=True)]
    return {"label": texts("label"), "prediction": texts("prediction"), "nearest": attack, "distance": distance}


def names_of(dataset: Any) -> Callable[[int], str]:
    """A class by its name, where the data set has names."""
    known = getattr(build(dataset), "class_names", None)
    return lambda number: str(known[number]) if known is not None and 0 <= number < len(known) else str(number)


def images(found: pd.DataFrame, tasks: Sequence[Task], read: Read) -> Pictured | None:
    """The pictures of rows of `nearest`; None where the inputs are no images."""
    if not tasks or Data(tasks[0].dataset, "", "cpu").split("test").x.ndim != 4:
        return None
    return crafted(found, tasks, read)


def crafted(found: pd.DataFrame, tasks: Sequence[Task], read: Read) -> Pictured | None:
    """The inputs of rows of `nearest`, clean and crafted, (N, *S); None where there are none.

    `read` gives crafted inputs by key. Rows whose crafted inputs are not to be had are left out.
    """
    if not len(found) or not tasks:
        return None
    test = Data(tasks[0].dataset, "", "cpu").split("test")
    clean: list[Tensor] = []
    changed: list[Tensor] = []
    index: list[int] = []
    groups = {tuple(axes): rows for axes, rows in found.groupby(_AXES, sort=False)}
    for task in tasks:
        attempt = task.attempt
        if attempt is None or task.craft is None or (task.check is not None and task.check.moved):
            continue
        check = task.check.flag if task.check else ""
        for place, epsilon in enumerate(attempt.epsilons):
            rows = groups.get((label(attempt.attack), attempt.norm, attempt.knowledge, check, epsilon))
            if rows is None:
                continue
            here = test.index[task.rows[0] : task.rows[1]]
            places = torch.isin(here, torch.tensor(rows["index"].tolist())).nonzero()[:, 0]
            if not len(places):
                continue
            stored = read(task.craft)
            name = f"x_adv.{place}" if f"x_adv.{place}" in stored else "x_adv.0"
            clean.append(test.x[task.rows[0] + places])
            changed.append(unpacked(stored[name][places], test.levels))
            index += here[places].tolist()
    return Pictured(torch.cat(clean), torch.cat(changed), index) if clean else None


def atlas(pictured: Pictured, order: Sequence[int], folder: Path) -> dict[str, Any] | None:
    """Writes both images as PNG into `folder`; returns their names and measures, None where they would be too large.

    The pictures stand in the order of `order`, `columns` in a line; an input without a picture is black in both. A file is
    named by its content, so that systems share the clean one.
    """
    number, channels, height, width = len(order), *pictured.clean.shape[1:]
    wide = min(number, max(1, 2048 // width))
    channels = 1 if channels == 1 else 3
    if channels * height * width * wide * -(-number // wide) > LARGEST:
        return None
    place = {value: i for i, value in enumerate(order)}
    known = [i for i, value in enumerate(pictured.index) if value in place]
    at = torch.tensor([place[pictured.index[i]] for i in known])
    before, after = (_bytes(x[known], channels) for x in (pictured.clean, pictured.changed))
    told: dict[str, Any] = {"width": width, "height": height, "columns": wide}
    for name, pixels in (("clean", before), ("change", after - before)):
        whole = torch.zeros((number, channels, height, width), dtype=torch.uint8)
        whole[at] = pixels
        told[name] = _written(whole, wide, folder)
    return told


def _bytes(x: Tensor, channels: int) -> Tensor:
    """Images in [0, 1] as bytes; one channel as it is, of two the first in grey, else the first three."""
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    if channels == 3 and pixels.shape[1] < 3:
        return pixels[:, :1].expand(-1, 3, -1, -1)
    return pixels[:, :channels]


def _written(pixels: Tensor, wide: int, folder: Path) -> str:
    from PIL import Image

    from harness.store import write_whole

    number, channels, height, width = pixels.shape
    lines = -(-number // wide)
    padded = torch.zeros((lines * wide, channels, height, width), dtype=torch.uint8)
    padded[:number] = pixels
    grid = padded.reshape(lines, wide, channels, height, width).permute(0, 3, 1, 4, 2)
    array = grid.reshape(lines * height, wide * width, channels).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if channels == 1 else array).save(buffer, "PNG", optimize=True)
    content = buffer.getvalue()
    name = hashlib.sha256(content).hexdigest()[:24]
    if not (folder / f"{name}.png").is_file():
        write_whole(folder / f"{name}.png", content)
    return name
