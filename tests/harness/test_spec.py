"""Specs: what a grid line stands for, and what tells two parts from each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.digests import code_digest, digest
from harness.spec import (
    build,
    identity,
    label,
    name_and_params,
    nested,
    number,
    parse,
    resolve,
    with_victim,
)
from harness.types import Spec

PART = '''
@dataclass(frozen=True)
class Part:
    """A detector."""

    role: ClassVar[str] = "detector"
    size: int = 3
    scale: float = 1.0
    rows: tuple[int, ...] = (1, 2)
    words: "str | None" = None
    on: bool = True

    def load(self, state, *, victim):
        """Docstring."""
        return lambda x: x.flatten(1).sum(1)  # a comment
'''


def touch(path: Path, text: str) -> None:
    """Write and make sure that the time of change differs."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pgd", ("pgd", {})),
        ({"pgd": None}, ("pgd", {})),
        ({"pgd": {"steps": 3}}, ("pgd", {"steps": 3})),
        ({"name": "pgd", "steps": 3}, ("pgd", {"steps": 3})),
        (Spec.of("attack", "pgd", steps=3), ("pgd", {"steps": 3})),
    ],
)
def test_lines(line: object, expected: object) -> None:
    assert name_and_params("attack", line) == expected


@pytest.mark.parametrize("line", [3, None, [], {}, {"a": 1}, {"a": {}, "b": {}}, ["pgd"]])
def test_what_is_no_line(line: object) -> None:
    with pytest.raises(ValueError, match="attack is a name or"):
        list(parse("attack", line))


def test_defaults_are_filled_and_order_does_not_matter() -> None:
    (bare,) = parse("attack", "pgd")
    (same,) = parse("attack", {"pgd": {"restarts": 1}})
    assert bare == same
    assert digest(identity(bare)) == digest(identity(same))
    one, two = ({"pgd": dict(pairs)} for pairs in ([("steps", 3), ("restarts", 2)], [("restarts", 2), ("steps", 3)]))
    assert list(parse("attack", one)) == list(parse("attack", two))
    assert resolve(bare) == bare


def test_lists_are_expanded_in_every_combination() -> None:
    found = list(parse("attack", {"pgd": {"steps": [3, 5], "restarts": [1, 2]}}))
    pairs = [(dict(s.params)["steps"], dict(s.params)["restarts"]) for s in found]
    assert pairs == [(3, 1), (3, 2), (5, 1), (5, 2)]


def test_lists_of_a_nested_part_are_expanded() -> None:
    line = {"linear_map_svm": {"attack": {"name": "pgd", "steps": [5, 10]}, "canonical": {"self": {"seed": [1, 2]}}}}
    found = [dict(s.params) for s in parse("defense", line)]
    chosen = {(dict(p["attack"].params)["steps"], dict(p["canonical"].params)["seed"]) for p in found}
    assert chosen == {(5, 1), (5, 2), (10, 1), (10, 2)}
    assert len(found) == 4


def test_alternatives_of_a_nested_part() -> None:
    found = list(parse("defense", {"linear_map_svm": {"attack": ["fgsm", "pgd"]}}))
    assert [dict(s.params)["attack"].name for s in found] == ["fgsm", "pgd"]


@pytest.mark.parametrize(
    ("given", "expected"), [("8/255", 8 / 255), (1, 1.0), ("0.5", 0.5), ("1e-3", 1e-3), (True, None), ("a/b", None)]
)
def test_number(given: object, expected: float | None) -> None:
    assert number(given) == expected
    assert number("1/0") is None
    assert number([1]) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"pgd": {"step": 3}}, "unknown parameter 'step': did you mean"),
        ({"pgd": {"steps": "many"}}, "'steps' takes int, not 'many'"),
        ({"pgd": {"steps": 2.5}}, "'steps' takes int, not 2.5"),
        ({"pgd": {"steps": True}}, "'steps' takes int, not True"),
        ({"pgdd": {}}, "unknown attack 'pgdd': did you mean pgd"),
        ({"pgd": {"steps": None}}, "'steps' takes int, not None"),
    ],
)
def test_wrong_parameters(line: object, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        list(parse("attack", line))


def test_every_annotation(part: Callable[..., str]) -> None:
    name = part(PART)
    (spec,) = parse("defense", {name: {"size": 4, "scale": 2, "rows": [3, 4], "words": None, "on": False}})
    assert dict(spec.params) == {"size": 4, "scale": 2.0, "rows": (3, 4), "words": None, "on": False}
    assert build(spec).rows == (3, 4)
    expanded = list(parse("defense", {name: {"rows": [[1], [2, 3]]}}))
    assert [dict(s.params)["rows"] for s in expanded] == [(1,), (2, 3)]
    for wrong in ({"size": "a"}, {"rows": ["a"]}, {"on": 1}, {"scale": "x"}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' takes"):
            list(parse("defense", {name: wrong}))


def test_self_is_the_victim_with_changes() -> None:
    (victim,) = parse("victim", {"mlp": {"width": 32}})
    (spec,) = parse("defense", "linear_map_svm")
    filled = with_victim(spec, victim)
    canonical = nested(filled)["canonical"]
    assert isinstance(canonical, Spec)
    assert (canonical.name, dict(canonical.params)["width"], dict(canonical.params)["seed"]) == ("mlp", 32, 1)
    assert with_victim(filled, victim) == filled


def test_labels() -> None:
    (spec,) = parse("attack", {"pgd": {"steps": 7}})
    assert label(spec) == "pgd(steps=7)"
    assert label(next(parse("attack", "pgd"))) == "pgd"
    assert label(next(parse("attack", "foolbox/LinfPGD"))) == "foolbox/LinfPGD"
    assert label(Spec.of("victim", "self", seed=1)) == "self(seed=1)"


def test_a_file_enters_by_content_not_by_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one.bin", tmp_path / "two.bin"
    one.write_bytes(b"abc")
    two.write_bytes(b"abc")
    keys = [digest(identity(next(parse("victim", {"mlp": {"weights": str(p)}})))) for p in (one, two)]
    assert keys[0] == keys[1]
    touch(two, "abd")
    changed = digest(identity(next(parse("victim", {"mlp": {"weights": str(two)}}))))
    assert changed != keys[0]
    with pytest.raises(FileNotFoundError, match=r"there is no file .*three"):
        identity(next(parse("victim", {"mlp": {"weights": str(tmp_path / "three")}})))


def test_code_enters_docstrings_and_comments_do_not(tmp_path: Path, part: Callable[..., str]) -> None:
    name = part(PART)
    path = Path(name.rpartition(":")[0])
    text = path.read_text()
    before = code_digest(path)
    touch(
        path,
        text.replace('"""A detector."""', '"""Another sentence."""')
        .replace("# a comment", "#")
        .replace('"""Docstring."""', ""),
    )
    assert code_digest(path) == before
    touch(path, text.replace("sum(1)", "amax(1)"))
    assert code_digest(path) != before


def test_code_of_imported_files_of_ours_enters(part: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import digests as module

    name = part("from attacks._ball import ball\n" + PART)
    path = Path(name.rpartition(":")[0])
    closure = module._closure(path)
    assert "attacks._ball" in closure
    assert "harness.types" not in closure
    module._code_digest.cache_clear()
    before = code_digest(path)
    whole = module._tree_digest
    monkeypatch.setattr(
        module, "_tree_digest", lambda file, at: "other" if file.name == "_ball.py" else whole(file, at)
    )
    module._code_digest.cache_clear()
    assert code_digest(path) != before
    module._code_digest.cache_clear()


def test_the_same_file_elsewhere_is_the_same_part(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.py").write_text(
            "from dataclasses import dataclass\nfrom typing import ClassVar\n" + PART
        )
        names.append(f"{tmp_path / folder / 'part.py'}:Part")
    one, two = names
    assert digest(identity(next(parse("defense", one)))) == digest(identity(next(parse("defense", two))))


def test_an_edited_file_is_loaded_anew(part: Callable[..., str]) -> None:
    """Otherwise old code would be stored under the key of the new."""
    name = part(PART)
    path = Path(name.rpartition(":")[0])
    import torch

    x = torch.tensor([[1.0, 2.0]])
    assert build(next(parse("defense", name))).load({}, victim=None)(x).item() == 3
    touch(path, path.read_text().replace("sum(1)", "amax(1)"))
    score = build(next(parse("defense", name))).load({}, victim=None)(x)
    assert score.tolist() == [2.0]
