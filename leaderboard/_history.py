"""What a system's record said before: a table beneath its row, the newest first."""

from __future__ import annotations

from leaderboard import _text
from leaderboard._interval import share
from leaderboard._markup import Markup, element, joined
from leaderboard.history import Entry, Past

_TITLES = ("Written", "Robust, % (95 %)", "Clean, % (95 %)", "What changed", "By", "Commit")


def earlier(past: Past | None) -> Markup | None:
    """The entries of a system whose figures changed; None for one that never did."""
    if past is None or len(past.entries) < 2:
        return None
    heads = joined(element("th", title, scope="col", role="columnheader") for title in _TITLES)
    body = joined(_line(entry) for entry in reversed(past.entries))
    return element(
        "table",
        element("caption", "A line for each time that the suite was run again with other figures.", class_="unseen"),
        element("thead", element("tr", heads, role="row"), role="rowgroup"),
        element("tbody", body, role="rowgroup"),
        class_="small",
        role="table",
    )


def _line(entry: Entry) -> Markup:
    commit = f"{entry.commit[:8]}{' with changes' if entry.dirty else ''}" if entry.commit else _text.MISSING
    changes = "; ".join(entry.changes) or ("other outcomes, the same figures" if entry.cause else "first record")
    cells = (share(entry.robust), share(entry.clean), changes, entry.cause, commit)
    first = element("th", entry.created[:10], scope="row", role="rowheader")
    rest = (element("td", cell, role="cell", data_label=title) for title, cell in zip(_TITLES[1:], cells, strict=True))
    return element("tr", first, *rest, role="row")
