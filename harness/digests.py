"""Digests: of plain values, of files, of code with all that it imports, of what lies beside a submission's class."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import registry

CARD = "submission.yaml"  # a folder that holds one is a part as a whole
FIRST_PARTY = ("harness", "attacks", "defenses", "geometry", "leaderboard")
_LEFT_OUT = {"harness.types", "harness.progress"}
_NO_VERSION = {"torch", "numpy"}  # recorded with each result, not hashed
_DISTRIBUTION = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
_FILES = 10_000  # of a submission


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, or of the relative names and contents of all files in a folder."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        return digest([(str(file.relative_to(path)), file_digest(file)) for file in inside])
    try:
        stat = path.stat()
    except FileNotFoundError:
        beside = "a part finds files beside its own by Path(__file__).with_name(...) in fit and load"
        raise FileNotFoundError(f"there is no file {path} (looked from {Path.cwd()}); {beside}") from None
    return _file_digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=100_000)
def _file_digest(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(path: Path) -> str:
    """Hash of the syntax trees, without docstrings, of a file and all first-party files that it imports.

    Foreign distributions enter by their version (torch and numpy are recorded with each result instead).
    """
    return _code_digest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _code_digest(path: Path, modified: int) -> str:
    trees = {name: tree_digest(file) for name, file in sorted(_closure(path).items())}
    return digest(trees | _versions(path))


def tree_digest(path: Path) -> str:
    """Hash of one file's syntax tree, without docstrings."""
    return _tree_digest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _tree_digest(path: Path, modified: int) -> str:
    module = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(module).encode()).hexdigest()


def _closure(path: Path) -> dict[str, Path]:
    """The file and the first-party files that it imports, by module name."""
    found: dict[str, Path] = {"": path}
    waiting = [path]
    while waiting:
        for module in _imports(waiting.pop()):
            file = module_file(module)
            if module.split(".")[0] in FIRST_PARTY and module not in _LEFT_OUT and module not in found and file:
                found[module] = file
                waiting.append(file)
    return found


def module_file(module: str) -> Path | None:
    """The file of a first-party module, if there is one."""
    base = registry.root() / module.replace(".", "/")
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _versions(path: Path) -> dict[str, str]:
    modules = {m.split(".")[0] for file in _closure(path).values() for m in _imports(file)}
    foreign = modules - set(sys.stdlib_module_names) - set(FIRST_PARTY) - _NO_VERSION
    return {f"version of {name}": version(_DISTRIBUTION.get(name, name)) for name in foreign}


@lru_cache(maxsize=128)
def version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def _imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere; foreign ones by their first name."""
    return _imports_at(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _imports_at(path: Path, modified: int) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(registry.tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    named = {m if m.split(".")[0] in FIRST_PARTY else m.split(".")[0] for m in found}
    return named - {"__future__", *FIRST_PARTY}  # a package itself only hands on names


def beside(path: Path) -> str:
    """Names what may decide results beside a class in a folder with a card: modules, weights, tables; empty where nothing does.

    Left out are hidden files, notes and tests, and a run folder. Raises ValueError for a folder that holds too much.
    """
    folder = path.resolve().parent
    if not (folder / CARD).is_file():
        return ""
    found: dict[str, str] = {}
    waiting, left = [folder], {path.resolve(), Path(os.environ.get("HARNESS_HOME") or "runs").resolve()}
    while waiting:
        for each in sorted(waiting.pop().iterdir()):
            hidden = each.name.startswith((".", "test_")) or each.name in (CARD, "__pycache__") or each.suffix == ".md"
            if hidden or each.is_symlink() or each in left:
                continue
            if each.is_dir():
                waiting.append(each)
            elif each.is_file():
                found[str(each.relative_to(folder))] = file_digest(each)
            if len(found) + len(waiting) > _FILES:
                raise ValueError(
                    f"{folder} holds more than {_FILES} files; put the submission into a folder of its own"
                )
    return digest(found) if found else ""
