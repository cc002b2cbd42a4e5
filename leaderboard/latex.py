"""Boards as LaTeX tables for a paper, with citations that `bibtex` resolves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.types import Interval, Threat
from leaderboard import _text
from leaderboard._values import bounded
from leaderboard.bibtex import Entry, escaped, keys, submissions
from leaderboard.markdown import shipped
from leaderboard.rows import Board, Row

_HEAD = r"""% \usepackage{booktabs,graphicx} in the preamble; the citations: leaderboard show --bibtex > board.bib,
% then \bibliographystyle{plain} and \bibliography{board}. Names that are not Latin need LuaLaTeX or XeLaTeX."""
_NORMS = {"linf": r"$\ell_\infty$", "l2": r"$\ell_2$", "l1": r"$\ell_1$", "l0": r"$\ell_0$"}
_MISSING = "--"
_DAGGER = r"$^{\dagger}$"
_CIRCLE = r"$^{\circ}$"


def latex(boards: Sequence[Board]) -> str:
    """A table for each board: rank, defense, clean and robust accuracy with interval, other threats, AUROC, flags as a dagger."""
    if not boards:
        return "% No systems yet: `harness run quick` evaluates the first ones.\n"
    told = submissions(row for board in boards for row in board.rows)
    return "\n\n".join([_HEAD, *(_table(board, told, place) for place, board in enumerate(boards, 1))]) + "\n"


def _table(board: Board, told: Mapping[str, Entry], place: int) -> str:
    detects = any(row.metric("auroc") for row in board.rows)
    heads = ["Rank", "Defense", r"Clean (\%)", r"Robust (\%)", *(_threat(threat) for threat in board.beside)]
    heads += ["AUROC"] if detects else []
    body = [_cells(row, board, told, detects) for row in board.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{_caption(board)}}}",
            f"  \\label{{tab:board-{place}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"  \\begin{{tabular}}{{rl{'r' * (len(heads) - 2)}}}",
            r"    \toprule",
            _line(heads),
            r"    \midrule",
            *map(_line, body),
            r"    \bottomrule",
            r"  \end{tabular}}",
            *_notes(board),
            r"\end{table}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _cells(row: Row, board: Board, told: Mapping[str, Entry], detects: bool) -> list[str]:
    cited = keys(row, told)
    name = escaped(row.name) + (f"~\\cite{{{','.join(cited)}}}" if cited else "")
    name += _DAGGER * row.flagged + _CIRCLE * (row.origin == "reference")
    rank = _MISSING if row.rank is None else f"{'$=$' if row.tied else ''}{row.rank}"
    cells = [rank, name, _percent(row.metric("clean_accuracy")), _with_ends(row.metric("robust_accuracy"))]
    cells += [_percent(row.threats.get(threat)) for threat in board.beside]
    area = row.metric("auroc")
    return [*cells, *([_MISSING if area is None else f"{area.value:.3f}".removeprefix("0")] if detects else [])]


def _percent(value: Interval | None) -> str:
    return _MISSING if value is None else f"{100 * value.value:.1f}"


def _with_ends(value: Interval | None) -> str:
    ends = f" ({100 * value.low:.1f}--{100 * value.high:.1f})" if value is not None and bounded(value) else ""
    return _percent(value) + ends


def _ball(threat: Threat) -> str:
    size = f"{threat.epsilon:g}$\\times${threat.epsilon:g} px" if threat.norm == "patch" else _text.size(threat.epsilon)
    return f"{_NORMS.get(threat.norm, escaped(threat.norm))} {size}"


def _threat(threat: Threat) -> str:
    """A threat as the head of a column, in two lines."""
    return f"\\shortstack[r]{{{_ball(threat)}\\\\{escaped(threat.knowledge)} (\\%)}}"


def _caption(board: Board) -> str:
    inputs = f"{board.inputs:,.0f}".replace(",", r"\,") + " test inputs" if board.inputs else ""
    named = (("suite", board.suite), ("size", board.size), ("seed", board.seed))
    facts = [*(f"{name} {escaped(value)}" for name, value in named if value), inputs, board.created]
    where = f"{escaped(board.dataset)}, {escaped(board.victim)}; {_ball(board.headline)}, {escaped(board.headline.knowledge)}"
    how = (
        r"Robust: right and accepted when clean, never wrong and accepted under any attack of the threat, worst case per "
        r"input, with its 95\,\% interval; equal ranks ($=$) are not told apart by a paired test"
    )
    told = ", ".join(filter(None, facts))
    return f"{where}. {how}. {told[:1].upper()}{told[1:]}."


def _notes(board: Board) -> list[str]:
    """What the dagger means, and what data set and grid say of themselves."""
    lines = []
    doubted = [row for row in board.rows if row.flagged]
    if doubted:
        named = (
            f"{escaped(row.name)}: {', '.join(escaped(f.name) for f in row.fired if f.warning)}" for row in doubted
        )
        lines.append(f"{_DAGGER}~A flag speaks against the number: {'; '.join(named)}.")
    if shipped(board):
        lines.append(f"{_CIRCLE}~A result that ships with the package.")
    if board.superseded:
        lines.append("An earlier suite, not to be compared with the newer one.")
    lines += [f"{re.sub('[.]$', '', escaped(note))}." for note in board.notes]
    return [f"  \\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {line}}}" for line in lines]
