"""What a system's record said before: a table beneath its row, the newest first."""

from __future__ import annotations

from leaderboard import _text
from leaderboard._interval import share
from leaderboard._markup import Markup
from leaderboard._tables import table
from leaderboard.history import Entry, Past

_TITLES = ("Written", "Robust, % (95 %)", "Clean, % (95 %)", "What changed", "By", "Commit")


def earlier(past: Past | None) -> Markup | None:
    """The entries of a system whose figures changed; None for one that never did."""
    if past is None or len(past.entries) < 2:
        return None
    caption = "A line for each time that the suite was run again with other figures."
    return table(_TITLES, map(_line, reversed(past.entries)), caption)


def _line(entry: Entry) -> list[str]:
    commit = f"{entry.commit[:8]}{' with changes' if entry.dirty else ''}" if entry.commit else _text.MISSING
    changes = "; ".join(entry.changes) or ("other outcomes, the same figures" if entry.cause else "first record")
    return [entry.created[:10], share(entry.robust), share(entry.clean), changes, entry.cause, commit]
