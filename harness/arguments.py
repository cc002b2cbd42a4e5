"""The arguments of both programs: a wrong name is answered in two lines, with the nearest known ones."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors name what is meant and where to read on instead of repeating all options."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        """As argparse's, but what nobody knows is answered by the command that it was given to."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            given = rest[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            near = nearest(given.partition("=")[0], known) if given.startswith("-") else ""
            self.error(f"'{given}' is not known here{near}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = nearest(str(value), known)
            listed = f"{near} Known: " if near else "; known: "
            raise argparse.ArgumentError(action, f"'{value}' is not known{listed}{', '.join(known)}")

    def error(self, message: str) -> NoReturn:
        """Two lines and exit status 2."""
        self.exit(2, f"{self.prog}: {message}\nmore: {self.prog} --help\n")


def nearest(given: str, known: Iterable[str]) -> str:
    """'; did you mean a or b?' for the known names that are near, else nothing."""
    near = difflib.get_close_matches(given, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
