"""Pictures for the board: inputs that a system was fooled on, clean, adversarial, and their difference magnified."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.craft import unpacked
from harness.data import Data
from harness.plan import Task
from harness.rank import counted
from harness.spec import build, label
from harness.types import Threat

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

NUMBER = 8


def gallery(
    outcomes: pd.DataFrame, tasks: Sequence[Task], headline: Threat, read: Callable[[str], Mapping[str, Tensor]]
) -> list[dict[str, Any]]:
    """A few inputs broken at the headline, each by its smallest perturbation; none where they are no images.

    `read` gives crafted inputs by key.
    """
    last = outcomes["draw"] == outcomes["draw"].max()
    rows = outcomes[counted(outcomes, headline) & outcomes["valid"] & outcomes["accepted"] & last]
    rows = rows[(rows["prediction"] != rows["label"]) & (rows["distance"] > 0)].sort_values(["index", "distance"])
    pictures = [_picture(tasks, row, read) for row in rows.drop_duplicates("index").head(NUMBER).to_dict("records")]
    return [picture for picture in pictures if picture is not None]


def _picture(
    tasks: Sequence[Task], row: Mapping[Any, Any], read: Callable[[str], Mapping[str, Tensor]]
) -> dict[str, Any] | None:
    for task in tasks:
        attempt = task.attempt
        if attempt is None or task.craft is None or row["epsilon"] not in attempt.epsilons:
            continue
        if (label(attempt.attack), attempt.norm, attempt.knowledge) != (row["attack"], row["norm"], row["knowledge"]):
            continue
        test = Data(task.dataset, "", "cpu").split("test")
        if test.x.ndim != 4:
            return None
        place = (test.index[task.rows[0] : task.rows[1]] == row["index"]).nonzero()
        if len(place):
            crafted, number = read(task.craft), int(place[0, 0])
            name = f"x_adv.{attempt.epsilons.index(row['epsilon'])}"
            x_adv = unpacked(crafted[name if name in crafted else "x_adv.0"][number], test.levels)
            return _facts(task, row) | _drawn(test.x[task.rows[0] + number], x_adv)
    return None


def _facts(task: Task, row: Mapping[Any, Any]) -> dict[str, Any]:
    names = getattr(build(task.dataset), "class_names", None)
    return {
        "index": int(row["index"]),
        "label": _class_name(names, int(row["label"])),
        "prediction": _class_name(names, int(row["prediction"])),
        "attack": row["attack"],
        "norm": row["norm"],
        "epsilon": float(row["epsilon"]),
        "distance": float(row["distance"]),
    }


def _class_name(names: Sequence[str] | None, number: int) -> str:
    """The class by name where the data set has names."""
    return str(names[number]) if names is not None and 0 <= number < len(names) else str(number)


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
