"""How the life of a submission's process may end other than well; the names stand before the messages in records."""

from __future__ import annotations


class Ended(BaseException):
    """No answer will come any more. No attack or flag may take this for an answer, so that it is no Exception."""

    verdict = "failed"


class Rejected(Ended):
    """It broke a rule of submissions."""

    verdict = "rejected"


class TimedOut(Ended):
    """It took longer than it may."""

    verdict = "timed out"


class OverMemory(Ended):
    """It took more memory than it may."""

    verdict = "over memory"


class Died(Ended):
    """Its process is gone."""


class SubmissionError(RuntimeError):
    """Its code raised: the error; `trace` says where."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def printable(text: str) -> str:
    """A stranger's text as a terminal may show it: no control characters but ends of lines and tabulators."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


ENDINGS = {kind.__name__: kind.verdict for kind in (Rejected, TimedOut, OverMemory, Died)}


class Stopped(RuntimeError):
    """An ending as the error of a task; `kind` is its name."""

    def __init__(self, ending: Ended) -> None:
        super().__init__(str(ending))
        self.kind = type(ending).__name__
