"""What became of each test input, in columns that the page's script compares, lists and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leaderboard._values import number, plain, sequence

_TEXTS = ("breaker", "label", "prediction", "nearest")


def outcomes(per_input: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of one length: index, clean and robust (probabilities), and what else is known; empty without outcomes.

    A column of texts is a list of names and, for each input, its place among them.
    """
    index = [int(value) for value in map(number, sequence(per_input.get("index"))) if value is not None]
    robust = _numbers(per_input.get("robust"))
    if not index or len(robust) != len(index):
        return {}
    clean = _numbers(per_input.get("clean"))
    found: dict[str, Any] = {"index": index, "robust": robust, "clean": clean if len(clean) == len(index) else robust}
    distance = _numbers(per_input.get("distance"))
    if len(distance) == len(index):
        found["distance"] = distance
    for name in _TEXTS:
        texts = [plain(value) for value in sequence(per_input.get(name))]
        if len(texts) == len(index):
            names = list(dict.fromkeys(texts))
            place = {text: i for i, text in enumerate(names)}
            found[name] = {"names": names, "of": [place[text] for text in texts]}
    return found


def _numbers(values: Any) -> list[float | int | None]:
    """Numbers as short as they are: 1 for 1.0; None where one is unknown."""
    found = [number(value) for value in sequence(values)]
    return [value if value is None or value != round(value) else int(value) for value in found]
