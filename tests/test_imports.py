"""The arrows between the packages, read from the files, and what a bare import may pull in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "attacks", "defenses", "geometry", "leaderboard")
PARTS = ("harness.types", "harness.gradients", "harness.progress")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any level and inside functions too; relative imports are refused."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}, line {node.lineno}: imports are absolute"
            yield str(node.module)


def allowed(package: str, path: Path, module: str) -> bool:
    top = module.split(".")[0]
    if top not in PACKAGES or top == package:
        return True
    if package == "harness":
        return top == "geometry" and path.parent == ROOT / "harness/measures"
    if package == "attacks":
        return top == "geometry" or module in PARTS
    if package == "defenses":
        return top in ("geometry", "attacks") or module in PARTS
    if package == "leaderboard":
        return top == "harness" or (top == "geometry" and "papers" in path.parts)
    return False


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [(f.relative_to(ROOT), m) for f in files for m in imported(f) if not allowed(package, f, m)]
    assert not found


def test_types_imports_nothing_of_ours() -> None:
    assert not [m for m in imported(ROOT / "harness/types.py") if m.split(".")[0] in PACKAGES]


def test_one_file_imports_mlflow() -> None:
    files = [f for p in PACKAGES for f in (ROOT / p).rglob("*.py")]
    users = {str(f.relative_to(ROOT)) for f in files if any(m.split(".")[0] == "mlflow" for m in imported(f))}
    assert users == {"harness/track.py"}


def test_tests_are_not_shipped() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "tests*" not in text.split("[tool.setuptools.packages.find]")[1].split("[", 1)[0]
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


@pytest.mark.parametrize(
    "statement",
    ["import harness, harness.cli", "import harness.cli; harness.cli.main(['list'])", "import harness.track"],
)
def test_names_can_be_read_without_torch_and_mlflow(statement: str) -> None:
    heavy = "torch" if "track" not in statement else "nothing"
    code = f"{statement}\nimport sys; print([m for m in ('{heavy}', 'mlflow', 'ray') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
