"""The registry: names to classes, and what it says where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness import registry
from harness.types import Spec

ROOT = Path(registry.__file__).resolve().parent.parent
KINDS = ("dataset", "victim", "attack", "defense", "metric", "shift", "measure", "study")


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_a_class_a_sentence_and_parameters(kind: str) -> None:
    assert registry.names(kind) == sorted(set(registry.names(kind)))
    assert registry.names(kind)
    for name in registry.names(kind):
        source = registry.locate(kind, name)
        assert source.sentence.endswith(".")
        assert "\n" not in source.sentence
        assert all(p.annotation for p in registry.parameters(source).values())
        assert registry.load(kind, name).__name__ == source.class_name


def test_parameters_read_from_text_are_those_of_the_class() -> None:
    from dataclasses import fields

    for kind in ("attack", "defense", "victim", "dataset"):
        for name in registry.names(kind):
            written = registry.parameters(registry.locate(kind, name))
            real = {f.name: f.default for f in fields(registry.load(kind, name))}
            assert list(written) == list(real)
            assert all(written[k].default == v for k, v in real.items() if not written[k].required)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("attack", "pdg", "did you mean pgd"),
        ("attack", "zzz", "unknown attack 'zzz'; known: "),
        ("attack", "", "unknown attack ''"),
        ("attack", "bit_depth", "'bit_depth' is a part of the kind defense"),
        ("attack", "_search", "unknown attack '_search'"),
        ("attack", "fgsm/x", "'fgsm' takes no name after a slash, but 'fgsm/x' was given; write 'fgsm'"),
        ("atack", "pgd", "unknown kind of part 'atack': did you mean attack"),
        ("victim", "../attacks/pgd", "unknown victim"),
    ],
)
def test_unknown_names(kind: str, name: str, words: str) -> None:
    with pytest.raises(registry.UnknownName, match=words):
        registry.locate(kind, name)


def test_a_name_after_the_slash_fills_the_family() -> None:
    source = registry.locate("attack", "foolbox/LinfPGD")
    assert source.filled == ("attack", "LinfPGD")
    assert registry.locate("victim", "timm/resnet18.a1_in1k").filled == ("architecture", "resnet18.a1_in1k")


def test_classes_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class One:\n    pass\n\nclass _Hidden:\n    pass\n")
    assert registry.locate("defense", f"{path}:One").class_name == "One"
    assert registry.locate("defense", str(path)).class_name == "One"
    with pytest.raises(registry.UnknownName, match="unknown class 'On': did you mean One"):
        registry.locate("defense", f"{path}:On")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.py \(looked from"):
        registry.locate("defense", f"{tmp_path}/none.py:One")
    two = tmp_path / "two.py"
    two.write_text("class A: ...\nclass B: ...\n")
    with pytest.raises(registry.UnknownName, match=r"holds the classes A, B; write .*two\.py:Class"):
        registry.locate("defense", str(two))
    monkeypatch.chdir(tmp_path)
    assert registry.locate("defense", "mine.py:One").path == path


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"broken\.py, line 2: "):
        registry.locate("defense", f"{path}:One")


def test_defaults_must_be_literal(tmp_path: Path) -> None:
    path = tmp_path / "part.py"
    path.write_text(
        "from harness.types import Spec\nclass Part:\n    a: Spec = Spec.of('attack', 'pgd', steps=2)\n"
        "    b: float = float('inf')\n    c: tuple[int, ...] = (1, -2)\n"
    )
    found = {n: p.default for n, p in registry.parameters(registry.locate("defense", f"{path}:Part")).items()}
    assert found == {"a": Spec.of("attack", "pgd", steps=2), "b": float("inf"), "c": (1, -2)}
    other = tmp_path / "other.py"
    other.write_text("import math\nclass Part:\n    a: float = math.pi / 3\n")
    with pytest.raises(ValueError, match=r"other\.py, line 3: the default of 'a' must be a literal"):
        registry.parameters(registry.locate("defense", f"{other}:Part"))


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign_part.py").write_text('class Fancy:\n    """A foreign part."""\n    role = "detector"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("fancy", "foreign_part:Fancy", "harness.defense")
    gone = EntryPoint("gone", "nowhere_at_all:Fancy", "harness.defense")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point, gone] if group == "harness.defense" else [])
    registry.locate.cache_clear()
    assert "fancy" in registry.names("defense")
    assert registry.load("defense", "fancy").__name__ == "Fancy"
    with pytest.raises(registry.UnknownName, match="names the module nowhere_at_all, which cannot be found"):
        registry.locate("defense", "gone")
    monkeypatch.undo()
    registry.locate.cache_clear()


def test_a_package_that_shadows_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "__init__.py").write_text("")
    paths = f"sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]"
    code = f"import sys; {paths}; import harness.cli; sys.exit(harness.cli.main(['list']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{tmp_path / 'attacks'} shadows it" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_class_of_a_file_is_found_without_case_and_underscores() -> None:
    assert registry.class_of_stem("defense", "linear_map_svm") == "LinearMapSVM"
    found: Callable[..., object] = registry.load("victim", "resnet18")
    assert found.__name__ == "ResNet18"
