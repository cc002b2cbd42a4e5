"""The command `leaderboard`: builds the board's files, shows it, compares systems, tells their history, studies papers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.arguments import Parser

if TYPE_CHECKING:
    from leaderboard.choose import Filters
    from leaderboard.collect import Collected
    from leaderboard.rows import Board

_FORMS = (
    ("markdown", "as Markdown tables"),
    ("csv", "as CSV"),
    ("json", "as JSON"),
    ("latex", "as LaTeX tables (booktabs)"),
    ("bibtex", "the sources of what is compared, as BibTeX"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, or 2 for a wrong argument, 1 for a study that failed, 130 when interrupted."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, FileNotFoundError, RuntimeError, OSError) as error:
        if arguments.debug:
            raise
        print(f"leaderboard: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    top = Parser(prog="leaderboard", description="The ranking of the systems recorded in a run folder.")
    shared = Parser(add_help=False)
    shared.add_argument("--home", type=Path, metavar="DIR", help="run folder (default: HARNESS_HOME, else ./runs)")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    setting = Parser(add_help=False)
    for name, words in (("suite", "suite"), ("dataset", "data set"), ("victim", "victim"), ("size", "size")):
        setting.add_argument(f"--{name}", default="", metavar="NAME", help=f"only boards of this {words}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, *parents: Parser) -> Parser:
        return commands.add_parser(name, help=text, description=text, parents=[shared, *parents])

    build = add("build", "write the board as HTML, Markdown, CSV and JSON")
    build.add_argument("--out", type=Path, metavar="DIR", help="where to (default: board/ in the run folder)")
    build.set_defaults(command=_build)
    _add_show(add("show", "print the board, or a part of it", setting))
    compare = add("compare", "two systems on the same inputs: who holds what, difference, p", setting)
    for name in ("a", "b"):
        compare.add_argument(name, metavar=name.upper(), help="a defense, or the first characters of an id")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.set_defaults(command=_compare)
    past = add("history", "what changed since the board was built, and before", setting)
    past.add_argument(
        "system", nargs="?", metavar="SYSTEM", help="a defense, or the first characters of an id: all of it"
    )
    past.add_argument("--json", action="store_true", help="as JSON")
    past.set_defaults(command=_history)
    paper = add("paper", "regenerate a paper's tables beside the printed ones")
    paper.add_argument("name", metavar="NAME", help="such as jamil; all of them: harness list study")
    paper.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    paper.set_defaults(command=_paper)
    return top


def _add_show(show: argparse.ArgumentParser) -> None:
    show.add_argument("--defense", default="", metavar="TEXT", help="only defenses with this in their name")
    show.add_argument(
        "--flags", nargs="?", const="", metavar="NAME", help="only systems that a flag speaks against (or this flag)"
    )
    show.add_argument("--unflagged", action="store_true", help="only systems that no flag speaks against")
    show.add_argument("--claims", action="store_true", help="only systems with a claim, and what is claimed")
    show.add_argument("--top", type=int, metavar="N", help="at most so many rows of each board (terminal: 50)")
    show.add_argument("--attacks", action="store_true", help="the attacks instead: success, cost, and what each missed")
    form = show.add_mutually_exclusive_group()
    for name, words in _FORMS:
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=words)
    show.set_defaults(command=_show)


def _home(arguments: argparse.Namespace) -> Path:
    return Path(arguments.home or os.environ.get("HARNESS_HOME") or "runs").expanduser()


def _collected(arguments: argparse.Namespace, *, alone: bool = False) -> Collected:
    """The records of the run folder, and the references that none of them replaces.

    alone: whether references do where there is no run folder; a line says so.
    """
    from dataclasses import replace

    from harness.references import with_references
    from leaderboard.collect import Collected, collect

    folder = _home(arguments) / "records"
    shipped = [dict(record) for record in with_references([])]
    found = Collected([], []) if alone and shipped and not folder.exists() else collect(folder)
    for message in found.skipped:
        print(f"leaderboard: {message}", file=sys.stderr)
    if alone and shipped and not found.records:
        words = "only results that ship with the package follow; `harness run quick` writes the first of your own"
        print(f"leaderboard: {folder} holds no records: {words}", file=sys.stderr)
    return replace(found, records=[dict(record) for record in with_references(found.records)])


def _filters(arguments: argparse.Namespace) -> Filters:
    from dataclasses import fields

    from leaderboard.choose import Filters

    given = vars(arguments)
    return Filters(**{field.name: given[field.name] for field in fields(Filters) if field.name in given})


def _build(arguments: argparse.Namespace) -> int:
    for path in _built(arguments, arguments.out or _home(arguments) / "board"):
        print(path)
    return 0


def _built(arguments: argparse.Namespace, out: Path) -> list[Path]:
    """The board's files, written."""
    from leaderboard.board import build

    home = _home(arguments)
    return build(_collected(arguments).records, out, selftests=home / "selftests", folder=home / "records")


def _show(arguments: argparse.Namespace) -> int:
    from leaderboard.choose import chosen
    from leaderboard.rows import boards

    if arguments.attacks and arguments.form in ("latex", "bibtex"):
        raise ValueError(f"--attacks is no table of --{arguments.form}; use --markdown, --csv or --json")
    everything = boards(_collected(arguments, alone=True).records)
    filters = _filters(arguments)
    found = chosen(everything, filters)
    if filters.suite == "":
        found = [board for board in found if not board.shipped] or found
    if arguments.attacks:
        return _show_attacks(found, arguments)
    if arguments.form is None:
        from leaderboard.terminal import shown

        limit = {"rows": arguments.top} if arguments.top else {}
        print(shown(found, claims=arguments.claims, **limit))
        shown_suites = {board.suite for board in found}
        beside = {board.suite for board in everything if board.shipped} - shown_suites
        for suite in sorted(beside):
            print(f"Reference results of suite {suite}: leaderboard show --suite {suite}", file=sys.stderr)
    else:
        print(_text_of(found, arguments.form), end="")
    return 0


def _text_of(found: Sequence[Board], form: str) -> str:
    from leaderboard.bibtex import bibtex
    from leaderboard.export import csv_text, json_text
    from leaderboard.latex import latex
    from leaderboard.markdown import markdown

    makers = {"markdown": markdown, "csv": csv_text, "json": json_text, "latex": latex, "bibtex": bibtex}
    return str(makers[form](found))


def _show_attacks(found: Sequence[Board], arguments: argparse.Namespace) -> int:
    from leaderboard.attacks import selftests

    tests = selftests(_home(arguments) / "selftests")
    if arguments.form is None:
        from leaderboard.terminal import shown_attacks

        print(shown_attacks(found, tests))
        return 0
    from leaderboard.export import attack_csv, attack_json
    from leaderboard.markdown import attack_sections

    if arguments.form == "markdown":
        print("\n\n".join(["# Attacks", *attack_sections(found, tests)]))
    else:
        print({"csv": attack_csv, "json": attack_json}[arguments.form](found, tests), end="")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from leaderboard import compare
    from leaderboard.choose import kept, pair

    records = kept(_collected(arguments, alone=True).records, _filters(arguments))
    result = compare.compare(*pair(records, arguments.a, arguments.b))
    print(json.dumps(compare.as_json(result), indent=1, allow_nan=False) if arguments.json else compare.text(result))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from leaderboard import history
    from leaderboard.choose import kept
    from leaderboard.rows import boards

    collected, filters = _collected(arguments), _filters(arguments)
    kept(collected.records, filters)  # says which names are unknown
    pasts = history.history(_home(arguments) / "records", collected.every)
    pasts = history.chosen(pasts, filters, arguments.system)
    path = _home(arguments) / "board" / "leaderboard.json"
    news = None if arguments.system else history.since_built(path, boards(collected.records), filters)
    if arguments.json:
        from leaderboard.export import finite

        print(json.dumps({"since_build": news, "systems": finite(history.as_json(pasts))}, indent=1, allow_nan=False))
    else:
        print(history.report(pasts, news, whole=arguments.system is not None))
    return 0


def _paper(arguments: argparse.Namespace) -> int:
    from harness.progress import say, shown
    from leaderboard.paper import regenerate

    with shown():
        text, path = regenerate(arguments.name, _home(arguments), device=arguments.device)
    print(text, end="")
    say(f"written to {path}")
    (_home(arguments) / "records").mkdir(parents=True, exist_ok=True)
    say(f"on the board: {_built(arguments, _home(arguments) / 'board')[0]}#view=papers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
