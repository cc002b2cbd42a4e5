"""`harness list` and `harness show`: the parts and what is known of them, in the width of the terminal."""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from harness import registry
from harness.arguments import nearest

KINDS = tuple(registry.FOLDERS)


def listed(arguments: argparse.Namespace) -> int:
    kinds = (
        [arguments.kind.rstrip("s") if arguments.kind not in KINDS else arguments.kind]
        if arguments.kind
        else [*KINDS, "grid"]
    )
    if kinds[0] not in (*KINDS, "grid"):
        raise ValueError(registry.unknown(str(arguments.kind), [*KINDS, "grid"], "kind of part"))
    rows = [row for kind in kinds for row in (_grids() if kind == "grid" else _parts(kind))]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for kind in kinds:
        members = [row for row in rows if row["kind"] == kind]
        if members:
            print(f"\n{kind}")
        for row in members:
            text = ", ".join(f"{p['name']}={p['default']}" for p in row["parameters"])
            print(_wrapped(row["sentence"], f"  {row['name']:24} "))
            if text:
                print(_wrapped(f"({text})", " " * 27))
    return 0


def _wrapped(text: str, first: str = "") -> str:
    """A paragraph in the terminal's width, further lines under the first; as it is where nobody reads."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or max(len(first + line) for line in text.splitlines() or [""]) <= width:
        return first + text
    indent = " " * len(first) if len(first) < width // 2 else "    "
    return textwrap.fill(" ".join(text.split()), width, initial_indent=first, subsequent_indent=indent)


def _parts(kind: str) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names(kind):
        source = registry.locate(kind, name)
        parameters = [
            {"name": p.name, "type": p.annotation, "default": _plain(p.default), "required": p.required}
            for p in registry.parameters(source).values()
        ]
        rows.append({"kind": kind, "name": name, "sentence": source.sentence, "parameters": parameters})
    return rows


def _plain(value: Any) -> Any:
    from harness.types import Spec

    if isinstance(value, Spec):
        return f"{value.name}({', '.join(f'{k}={_plain(v)}' for k, v in value.params)})" if value.params else value.name
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _grids() -> list[dict[str, Any]]:
    rows = []
    for path in sorted((registry.root() / "harness" / "grids").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        rows.append({"kind": "grid", "name": path.stem, "sentence": first.lstrip("# "), "parameters": []})
    return rows


def described(arguments: argparse.Namespace) -> int:
    kind, name = _kind_and_name(arguments.part)
    source = registry.locate(kind, name)
    rows = [row for row in _parts(kind) if row["name"] == name.partition("/")[0]]
    if arguments.json:
        print(json.dumps(rows[0] if rows else {}))
        return 0
    paragraphs = (ast.get_docstring(source.node) or "").split("\n\n")
    print(f"{kind} {name}\n\n" + "\n\n".join(_wrapped(text) for text in paragraphs) + "\n")
    for parameter in registry.parameters(source).values():
        print(f"  {parameter.name}: {parameter.annotation} = {_plain(parameter.default)}")
    return 0


def _kind_and_name(part: str) -> tuple[str, str]:
    """attack, pgd for `attack/pgd`, and for `pgd` alone; raises ValueError with the nearest names."""
    kind, _, name = part.partition("/")
    if kind in KINDS and name:
        return kind, name
    found = [each for each in KINDS if kind in registry.names(each)]
    if len(found) == 1:
        return found[0], part
    if found:
        raise ValueError(f"'{part}' may be {' or '.join(f'{each}/{part}' for each in found)}")
    known = [f"{each}/{known}" for each in KINDS for known in registry.names(each)]
    near = nearest(part, known if name else [text.partition("/")[2] for text in known])
    raise ValueError(f"no part is called '{part}'{near or ';'} harness list shows all")
