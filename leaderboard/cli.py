"""The command `leaderboard`: builds the board's files, shows the board, regenerates a paper's tables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leaderboard.rows import Board


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
    top = argparse.ArgumentParser(
        prog="leaderboard", description="The ranking of the systems recorded in a run folder."
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", type=Path, metavar="DIR", help="run folder (default: HARNESS_HOME, else ./runs)")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", parents=[shared], help="write the board as HTML, Markdown, CSV and JSON")
    build.add_argument("--out", type=Path, metavar="DIR", help="where to (default: board/ in the run folder)")
    build.set_defaults(command=_build)
    show = commands.add_parser("show", parents=[shared], help="print the board")
    show.add_argument("--attacks", action="store_true", help="the attacks instead: success, cost, and what each missed")
    form = show.add_mutually_exclusive_group()
    for name, words in (("markdown", "as Markdown tables"), ("csv", "as CSV"), ("json", "as JSON")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=words)
    show.set_defaults(command=_show)
    paper = commands.add_parser("paper", parents=[shared], help="regenerate a paper's tables beside the printed ones")
    paper.add_argument("name", metavar="NAME", help="a file of leaderboard/papers, such as jamil")
    paper.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    paper.set_defaults(command=_paper)
    return top


def _home(arguments: argparse.Namespace) -> Path:
    return Path(arguments.home or os.environ.get("HARNESS_HOME") or "runs").expanduser()


def _records(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from leaderboard.collect import collect

    found = collect(_home(arguments) / "records")
    for message in found.skipped:
        print(f"leaderboard: {message}", file=sys.stderr)
    return found.records


def _build(arguments: argparse.Namespace) -> int:
    from leaderboard.board import build

    home = _home(arguments)
    for path in build(_records(arguments), arguments.out or home / "board", selftests=home / "selftests"):
        print(path)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from leaderboard.rows import boards

    found = boards(_records(arguments))
    if arguments.attacks:
        return _show_attacks(found, arguments)
    if arguments.form is None:
        from leaderboard.terminal import shown

        print(shown(found))
        return 0
    from leaderboard.export import csv_text, json_text
    from leaderboard.markdown import markdown

    form = {"markdown": markdown, "csv": csv_text, "json": json_text}[arguments.form]
    print(form(found), end="")
    return 0


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


def _paper(arguments: argparse.Namespace) -> int:
    from harness.progress import say, shown
    from leaderboard.paper import regenerate

    with shown():
        text, path = regenerate(arguments.name, _home(arguments), device=arguments.device)
    print(text, end="")
    say(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
