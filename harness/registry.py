"""Names -> classes: file stems of the component folders, entry points, and `path/to/file.py:Class`.

Everything here but `load` reads source text, so that names, parameters and defaults are known without importing torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness.types import Spec

FOLDERS = {
    "dataset": "harness/datasets",
    "victim": "harness/victims",
    "attack": "attacks",
    "defense": "defenses",
    "manifold": "geometry/manifolds",
    "metric": "harness/metrics",
    "shift": "harness/shifts",
    "measure": "harness/measures",
    "study": "leaderboard/papers",
}


class UnknownName(ValueError):
    """A name that no part bears; the message lists the nearest known ones."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a part: its annotation as written, and its default."""

    name: str
    annotation: str
    default: Any
    required: bool = False


@dataclass(frozen=True)
class Source:
    """Where a part's class stands. filled: the (parameter, value) that the part of the name after the slash gives."""

    kind: str
    name: str
    path: Path
    class_name: str
    module: str | None
    filled: tuple[str, str] | None = None

    @property
    def node(self) -> ast.ClassDef:
        """The class as a syntax tree."""
        return _classes(self.path)[self.class_name]

    @property
    def sentence(self) -> str:
        """The first sentence of the class's docstring, on one line."""
        text = " ".join((ast.get_docstring(self.node) or "").split("\n\n")[0].split())
        head, stop, _ = text.partition(". ")
        return head + "." if stop else text


@lru_cache(maxsize=1)
def root() -> Path:
    """The folder that holds the five packages; raises if a package of one of their names shadows ours."""
    here = Path(__file__).resolve().parent.parent
    found = importlib.util.find_spec("attacks")
    places = list(found.submodule_search_locations or []) if found else []
    if found and str(here / "attacks") not in [str(Path(place).resolve()) for place in places]:
        where = places[0] if places else found.origin
        raise ImportError(
            f"the package 'attacks' is expected in {here}, but {where} shadows it; rename or remove that one"
        )
    return here


def names(kind: str) -> list[str]:
    """The names of all parts of a kind, entry points included."""
    stems = [path.stem for path in (root() / folder(kind)).glob("*.py") if not path.stem.startswith("_")]
    own = [stem for stem in stems if class_of_stem(kind, stem)]
    return sorted(own + [point.name for point in entry_points(group=f"harness.{kind}")])


def folder(kind: str) -> str:
    """The folder of a kind's parts, relative to the root."""
    if kind not in FOLDERS:
        raise UnknownName(unknown(kind, list(FOLDERS), "kind of part"))
    return FOLDERS[kind]


def unknown(given: str, known: list[str], what: str) -> str:
    """The message for an unknown name, with the nearest known ones."""
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(near)}? Known" if near else "; known"
    return f"unknown {what} '{given}'{hint}: {', '.join(sorted(known))}"


@lru_cache(maxsize=512)
def locate(kind: str, name: str) -> Source:
    """Where the class of a part stands; raises UnknownName or FileNotFoundError."""
    if ".py:" in name or name.endswith(".py"):
        return _locate_file(kind, name)
    stem, slash, rest = name.partition("/")
    path = root() / folder(kind) / f"{stem}.py"
    class_name = class_of_stem(kind, stem) if path.is_file() and not stem.startswith("_") else None
    if class_name is None:
        return _locate_entry_point(kind, name)
    module = f"{folder(kind).replace('/', '.')}.{stem}"
    source = Source(kind, name, path, class_name, module)
    if not slash:
        return source
    family = constants(source).get("family")
    if not isinstance(family, str):
        raise UnknownName(f"{kind} '{stem}' takes no name after a slash, but '{name}' was given; write '{stem}'")
    return Source(kind, name, path, class_name, module, (family, rest))


def _locate_file(kind: str, name: str) -> Source:
    text, _, class_name = name.partition(".py:")
    path = Path(text if text.endswith(".py") else text + ".py").expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{kind} '{name}': there is no file {path} (looked from {Path.cwd()})")
    classes = _classes(path.resolve())
    if not class_name:
        public = [c for c in classes if not c.startswith("_")]
        if len(public) != 1:
            raise UnknownName(f"{path} holds the classes {', '.join(public) or 'none'}; write {path}:Class")
        class_name = public[0]
    if class_name not in classes:
        raise UnknownName(f"{path}: " + unknown(class_name, list(classes), "class"))
    return Source(kind, f"{path.resolve()}:{class_name}", path.resolve(), class_name, None)


def _locate_entry_point(kind: str, name: str) -> Source:
    for point in entry_points(group=f"harness.{kind}"):
        if point.name == name:
            found = importlib.util.find_spec(point.module)
            if found is None or found.origin is None:
                raise UnknownName(f"entry point '{name}' names the module {point.module}, which cannot be found")
            return Source(kind, name, Path(found.origin), point.attr, point.module)
    if name and Path(name).expanduser().is_dir():
        raise UnknownName(f"{kind} '{name}' is a folder; name the file in it, such as {name}/defense.py")
    others = [other for other in FOLDERS if other != kind and name in names(other)]
    is_other = f"; '{name}' is a part of the kind {others[0]}" if others else ""
    raise UnknownName(unknown(name, names(kind), kind) + "; or path/to/file.py:Class" + is_other)


def class_of_stem(kind: str, stem: str) -> str | None:
    """The class of a file: the one with the file's name, compared without case and underscores."""
    wanted = stem.replace("_", "").lower()
    for class_name in _classes(root() / folder(kind) / f"{stem}.py"):
        if class_name.replace("_", "").lower() == wanted:
            return class_name
    return None


def _classes(path: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree(path).body if isinstance(node, ast.ClassDef)}


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file; a syntax error is reported with file and line."""
    stat = path.stat()
    return _tree(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _tree(path: Path, modified: int, size: int) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"{path}: nested too deeply to be read") from None


def parameters(source: Source) -> dict[str, Parameter]:
    """The parameters of a part in the order written; a default must be a literal or Spec.of(...) of literals."""
    return _parameters(source, source.path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _parameters(source: Source, modified: int) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for statement in source.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation, name = ast.unparse(statement.annotation), statement.target.id
        if annotation.startswith("ClassVar"):
            continue
        if statement.value is None:
            found[name] = Parameter(name, annotation, None, required=True)
        else:
            found[name] = Parameter(name, annotation, _literal(statement.value, source, name))
    return found


def _literal(node: ast.expr, source: Source, name: str) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Spec.of":
        kind, part = (_literal(argument, source, name) for argument in node.args)
        params = {str(k.arg): _literal(k.value, source, name) for k in node.keywords}
        return Spec.of(kind, part, **params)
    if isinstance(node, ast.Tuple):
        return tuple(_literal(element, source, name) for element in node.elts)
    if ast.unparse(node) in ("math.inf", "float('inf')"):
        return float("inf")
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and len(node.args) == 1:
        return Path(_literal(node.args[0], source, name))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        where = f"{source.path.name}, line {node.lineno}"
        raise ValueError(
            f"{where}: the default of '{name}' must be a literal or Spec.of(...), not {ast.unparse(node)}"
        ) from None


def constants(source: Source) -> dict[str, Any]:
    """The class variables of a part that are literals: role, norms, needs, minimal, family, random."""
    found: dict[str, Any] = {}
    for statement in source.node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            target, value = statement.target.id, statement.value
            if not ast.unparse(statement.annotation).startswith("ClassVar"):
                continue
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            target, value = statement.targets[0].id, statement.value
        else:
            continue
        try:
            found[target] = ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            continue
    return found


def has_method(source: Source, method: str) -> bool:
    """Whether the class defines a method."""
    return any(isinstance(node, ast.FunctionDef) and node.name == method for node in source.node.body)


_closed: set[Path] = set()


def close(source: Source, *, closed: bool = True) -> None:
    """From now on this process does not run the file of a part; or does again."""
    (_closed.add if closed else _closed.discard)(source.path)


def closed(source: Source) -> bool:
    """Whether this process must not run the file of a part."""
    return source.path in _closed


def load(kind: str, name: str) -> type:
    """Import the class of a part; a file that was edited is read anew, as its digest changes with it.

    Raises PermissionError for a file that is closed to this process.
    """
    source = locate(kind, name)
    if closed(source):
        raise PermissionError(
            f"{source.path} runs in a process of its own, but was to run here; constants of its class (role, norms, needs, "
            "minimal, random) must be literals"
        )
    if source.module is not None:
        return getattr(importlib.import_module(source.module), source.class_name)  # type: ignore[no-any-return]
    return _load_file(source.path, source.class_name, source.path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _load_file(path: Path, class_name: str, modified: int) -> type:
    module_name = f"submitted_{path.stem}_{modified}"
    found = importlib.util.spec_from_file_location(module_name, path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return getattr(module, class_name)  # type: ignore[no-any-return]
