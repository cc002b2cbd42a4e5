"""What a stranger's folder may say and hold: its card, its requirements, the files that it names, what decides its keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import digests, submission
from harness.isolation.advice import advice, state_of
from harness.spec import identity, parse
from harness.submission import card_of, environment, named
from harness.submit import Refused, Rules, admitted, isolated

PART = '''
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Mine:
    """Sees nothing."""

    {field}
    role: ClassVar[str] = "purifier"

    def load(self, state, *, victim):
        return lambda x: x
'''
LETTERS = "abcdefghij"


def bomb() -> str:
    """Lists of lists of the lists before, nine each."""
    lines = [
        f"- &{LETTERS[i]} [{', '.join(['x'] * 9 if not i else ['*' + LETTERS[i - 1]] * 9)}]"
        for i in range(len(LETTERS))
    ]
    return "authors:\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), r"aliases \(\*name\) are not known here"),
        ("claimed:\n  a: &a {k: 1}\n  b: {<<: [*a, *a]}", "aliases"),
        ("[" * 60_000, "lists in lists in lists"),
        ("name: " + "[" * 200 + "]" * 200, "lists in lists in lists"),
        ("claimed: {robust_accuracy: 0x" + "f" * 50_000 + "}", "a share from 0 to 1.*more than 4,000 digits"),
        ("name: " + "9" * 50_000, "not YAML: Exceeds the limit"),
        ("claimed: {robust_accuracy: .nan}", "a share from 0 to 1"),
        ("name: " + "x" * 70_000, "expected at most 65536"),
        ("name: " + "x" * 201, "at most 200 letters"),
        ('name: "\\e]0;owned\\a"', "letters that can be printed"),
        ('authors: ["a\\u202eb"]', "letters that can be printed"),
        ("authors: [" + "a," * 501 + "]", "501 entries; expected at most 500"),
        ("name: 2001-99-99", "not YAML: month must be"),
        ("name: !!python/object/apply:os.system ['id']", "not YAML: could not determine a constructor"),
    ],
)
def test_cards_that_were_made_to_hurt(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "submission.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        card_of(tmp_path)
    assert len(str(caught.value)) < 1000


def test_a_card_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "submission.yaml").write_bytes("\ufeffname: Größe, Łukasz, 防御\n".encode())
    assert card_of(tmp_path).name == "Größe, Łukasz, 防御"


@pytest.mark.parametrize("name", ["submission.yaml", "defense.py"])
def test_files_that_lead_elsewhere_are_not_read(tmp_path: Path, name: str) -> None:
    """Their content would stand in the error."""
    (tmp_path / "secret").write_text("key: [hidden", encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="is a link that leads out of its folder") as caught:
        named(str(tmp_path / "mine"))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        *("./package", ".", "/tmp/package", "..\\package", "package/", "-r x", "--index-url=x", "git+https://x/y"),
        *("x @ file:///tmp/x", "x.tar.gz", "x.tgz --pre", "x; python_version @ 3", "x\n./y", "x --index-url y"),
    ],
)
def test_requirements_that_would_run_code_or_come_from_elsewhere(tmp_path: Path, line: str) -> None:
    if line == "x.tar.gz":  # a name to the eye; pip is started in an empty folder, where no such file is
        assert submission._REQUIREMENT.fullmatch(line)
        return
    with pytest.raises(ValueError, match="is not a name with versions"):
        environment([line], tmp_path)


@pytest.mark.parametrize(
    "line",
    ["numpy", "scikit-image>=0.24", "a[b,c] ~= 1.2, !=1.3", "x==1.*", "y; python_version < '3.12'", "z >= 1, < 2"],
)
def test_requirements_with_versions_are_read(line: str) -> None:
    assert submission._REQUIREMENT.fullmatch(line)


def test_pip_imports_nothing_from_where_the_author_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], Path]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        calls.append((command, Path(str(options["cwd"]))))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    environment(["numpy"], Path("runs"))
    ((command, folder),) = calls
    assert command[:4] == [sys.executable, "-I", "-m", "pip"]
    assert folder.is_absolute()
    assert folder.is_relative_to(tmp_path / "runs" / "environments")


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../secret", ".ssh/key", "link", "deep/.git/config", "~/.aws/credentials"]
)
def test_a_class_grants_itself_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    folder = tmp_path / "mine"
    (folder / "deep" / ".git").mkdir(parents=True)
    (folder / ".ssh").mkdir()
    for path in (tmp_path / "secret", folder / ".ssh" / "key", folder / "deep" / ".git" / "config"):
        path.write_text("secret", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret")
    monkeypatch.chdir(folder)
    file = folder / "part.py"
    file.write_text(PART.replace("{field}", f"data: Path = Path({place!r})"), encoding="utf-8")
    with pytest.raises(
        Refused, match=f"reads what it may not: a parameter names {place}.*expected a file in"
    ) as caught:
        admitted("defense", f"{file}:Mine", Rules(), tmp_path / "runs", lambda: None)  # type: ignore[arg-type,return-value]
    assert caught.value.verdict == "rejected"


def test_its_own_files_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "part.py"
    file.write_text(PART.replace("{field}", "data: Path = Path('weights.pt')"), encoding="utf-8")
    (spec,) = parse("defense", f"{file}:Mine")
    isolation = isolated(spec, {}, tmp_path / "runs")
    assert isolation is not None
    assert str(tmp_path / "weights.pt") in isolation.files


def test_what_lies_beside_the_class_decides_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolated, trusted, or in a grid of one's own."""
    file, home = tmp_path / "defense.py", tmp_path / "runs"
    file.write_text(PART.replace("{field}", ""), encoding="utf-8")
    (tmp_path / "submission.yaml").write_text("name: Mine", encoding="utf-8")
    (spec,) = parse("defense", f"{file}:Mine")

    def key() -> str:
        return str(identity(spec))

    monkeypatch.setenv("HARNESS_HOME", str(home))
    alone = key()
    (tmp_path / "helper.py").write_text("SIZE = 3", encoding="utf-8")
    first = key()
    (tmp_path / "helper.py").write_text("SIZE = 5  # another", encoding="utf-8")
    second = key()
    assert len({alone, first, second}) == 3
    home.mkdir()
    (home / "store").write_text("results", encoding="utf-8")
    (tmp_path / "README.md").write_text("told", encoding="utf-8")
    (tmp_path / "test_mine.py").write_text("tested", encoding="utf-8")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert key() == second


def test_a_folder_that_holds_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_FILES", 3)
    (tmp_path / "defense.py").write_text(PART.replace("{field}", ""), encoding="utf-8")
    (tmp_path / "submission.yaml").write_text("name: Mine", encoding="utf-8")
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match="holds more than 3 files; put the submission into a folder of its own"):
        digests.beside(tmp_path / "defense.py")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# Müller\n".encode("latin-1"), "not UTF-8 without a byte order mark, save it as that"),
        (("\ufeff" + PART.replace("{field}", "")).encode(), "without a byte order mark"),
        (b"x" * (1 << 22) + b"y", "expected at most 4194304; weights go into a file beside it"),
    ],
)
def test_files_that_cannot_be_read_have_a_verdict(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(content)
    with pytest.raises(Refused, match=message) as caught:
        admitted("defense", f"{file}:Mine", Rules(), tmp_path / "runs", lambda: None)  # type: ignore[arg-type,return-value]
    assert caught.value.verdict == "failed"


def test_a_card_that_cannot_be_read_is_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "submission.yaml").write_text("nmae: x", encoding="utf-8")
    with pytest.raises(Refused, match="did you mean name") as caught:
        admitted("defense", str(tmp_path), Rules(), tmp_path / "runs", lambda: None)  # type: ignore[arg-type,return-value]
    assert caught.value.verdict == "failed"


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (ModuleNotFoundError("No module named 'helper'"), "listed under `requirements`"),
        (FileNotFoundError("weights.pt"), "Path(__file__).parent"),
        (TypeError("Mine.fit() got an unexpected keyword argument 'victim'"), "fit(self, data, *, victim)"),
        (TypeError("f() takes 1 positional argument but 2 were given"), "is called with (x)"),
        (ValueError("mutable default <class 'list'> for field sizes"), "write a tuple"),
        (RuntimeError("Found no NVIDIA driver on your system"), "on the device of the input"),
        (TypeError("Mine.__init__() missing 1 required positional argument: 'size'"), "fields of a frozen dataclass"),
        (SystemExit(2), "must not exit"),
        (PermissionError(13, "Permission denied"), "num_workers=0"),
        (PermissionError("a submission opens a socket"), ""),
        (RuntimeError("a leaf Variable is being used in an in-place operation."), "x.clone()"),
        (RuntimeError("shapes differ"), ""),
    ],
)
def test_errors_say_what_to_do(error: BaseException, cure: str) -> None:
    assert cure in advice(error)
    assert bool(advice(error)) == bool(cure)


def test_what_fit_gives_is_named() -> None:
    assert "fit gives NoneType; expected a dict of tensors" in state_of(None)
    assert "fit gives {'net': float}; expected text with tensors" in state_of({"net": 1.0})
