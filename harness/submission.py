"""A submission: a file with a class, or a folder with `defense.py`, `submission.yaml`, weights and a list of requirements."""

from __future__ import annotations

import hashlib
import os
import re
import reprlib
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness import registry
from harness.digests import CARD as CARD
from harness.documents import document

CLAIMS = ("clean_accuracy", "robust_accuracy")
_INSTALL = 900.0  # seconds for the requirements
_LONGEST = {"name": 200, "paper": 500, "file": 200, "class": 200, "authors": 200, "requirements": 200}  # letters
_LARGEST = {CARD: 1 << 16, ".py": 1 << 22}  # bytes
_DEEPEST, _MOST = 4, 500  # lists in lists of a card; entries of a list
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[A-Za-z0-9._,\s-]*\])?"  # a name, extras
    r"\s*([<>=!~]=?[A-Za-z0-9.*+!,<>=~\s]*)?(;[A-Za-z0-9._<>=!~\s'\"()-]*)?"  # versions, a marker
)


@dataclass(frozen=True)
class Card:
    """What a submission says of itself: name, authors, paper (a link), claimed figures in [0, 1], requirements of pip.

    file, part: where its class is; `defense.py` and its only public class, if nothing is said.
    """

    name: str = ""
    authors: tuple[str, ...] = ()
    paper: str = ""
    claimed: Mapping[str, float] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    file: str = "defense.py"
    part: str = ""

    @property
    def shown(self) -> dict[str, Any]:
        """What goes into a record."""
        told = {**asdict(self), "authors": list(self.authors), "requirements": list(self.requirements)}
        return {name: told[name] for name in ("name", "authors", "paper", "claimed", "requirements") if told[name]}


def card_of(folder: Path) -> Card:
    """The card in a folder, the empty one if there is none; raises ValueError with the file and what is wrong in it."""
    path = folder / CARD
    if not path.is_file():
        return Card()
    _own(path, _LARGEST[CARD])
    told = _document(path)
    if not isinstance(told, Mapping):
        raise ValueError(f"{path}: a mapping of name, authors, paper, claimed, requirements, not {_short(told)}")
    known = {"name", "authors", "paper", "claimed", "requirements", "file", "class"}
    for key in told:
        if key not in known:
            raise ValueError(f"{path}: " + registry.unknown(_short(key).strip("'"), sorted(known), "key"))
    texts = {key: _text(told, key, path) for key in ("name", "paper", "file", "class")}
    if Path(texts["file"] or "defense.py").name != (texts["file"] or "defense.py"):
        raise ValueError(f"{path}: file is the name of a file beside it, not {texts['file']!r}")
    return Card(
        name=texts["name"],
        authors=_texts(told, "authors", path),
        paper=texts["paper"],
        claimed=_claims(told.get("claimed") or {}, path),
        requirements=_texts(told, "requirements", path),
        file=texts["file"] or "defense.py",
        part=texts["class"],
    )


def _own(path: Path, largest: int) -> None:
    """Raise ValueError for a file that stands for one elsewhere, whose content an error would tell, and for one too large."""
    if path.resolve().parent != path.parent.resolve():
        raise ValueError(f"{path} is a link that leads out of its folder; put the file itself there")
    if path.stat().st_size > largest:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes; expected at most {largest}; weights go into a file beside it"
        )


def _document(path: Path) -> Any:
    """What a card holds: plain YAML without aliases, which can stand for more than memory holds."""
    try:
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("aliases (*name) are not known here; write the value again")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError("lists in lists in lists; a card is a mapping of texts and lists of texts")
        return document(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())[:500]}") from None


def _short(value: Any) -> str:
    """A value as an error shows it, however large it is."""
    shows = reprlib.Repr()
    shows.maxlevel, shows.maxstring, shows.maxother = 2, 80, 80
    try:
        return shows.repr(value)
    except ValueError:
        return "a number of more than 4,000 digits"


def _text(document: Mapping[str, Any], key: str, path: Path) -> str:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: {key} is text, not {_short(value)}")
    return _printable((value or "").strip(), key, path)


def _texts(document: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = document.get(key) or []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) and item.strip() for item in listed):
        raise ValueError(f"{path}: {key} is a list of texts, not {_short(value)}")
    if len(listed) > _MOST:
        raise ValueError(f"{path}: {key} has {len(listed)} entries; expected at most {_MOST}")
    return tuple(_printable(item.strip(), key, path) for item in listed)


def _printable(text: str, key: str, path: Path) -> str:
    if len(text) > _LONGEST[key] or not text.isprintable():
        raise ValueError(
            f"{path}: {key} is one line of at most {_LONGEST[key]} letters that can be printed, not {_short(text)}"
        )
    return text


def _claims(value: Any, path: Path) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: claimed holds {' and '.join(CLAIMS)}, not {_short(value)}")
    for name, share in value.items():
        if name not in CLAIMS:
            raise ValueError(f"{path}: " + registry.unknown(_short(name).strip("'"), list(CLAIMS), "claim"))
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise ValueError(f"{path}: claimed {name} is a share from 0 to 1, such as 0.55, not {_short(share)}")
    return {str(name): float(share) for name, share in value.items()}


def named(text: str) -> str:
    """What a person submits as the name of a part: a folder becomes its file and class. Raises FileNotFoundError, ValueError."""
    folder = Path(text).expanduser()
    if not folder.is_dir():
        file = Path(text.partition(".py")[0] + ".py").expanduser()
        if ".py" in text and file.is_file():
            _own(file, _LARGEST[".py"])
        return text
    card = card_of(folder)
    file = folder / card.file
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {card.file}; `harness new defense NAME` writes a folder that does")
    _own(file, _LARGEST[".py"])
    return f"{file}:{card.part}" if card.part else str(file)


def environment(requirements: Sequence[str], home: Path) -> str:
    """The folder with the packages that are required, besides what is installed here; in the run folder, installed once.

    Only wheels of an index are installed, as the building of a package would run its code; pip is started where nothing of
    the submission can be imported; the environment's interpreter is never started again, as it would run what packages put
    into .pth files. Raises ValueError with pip's last lines.
    """
    if not requirements:
        return ""
    for line in requirements:
        if not _REQUIREMENT.fullmatch(line):
            raise ValueError(f"the requirement {line!r} is not a name with versions, such as scikit-image>=0.24")
    folder = (home / "environments" / digest_of(requirements)).resolve()
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    if (folder / "ready").is_file():
        return str(packages)
    import venv

    venv.EnvBuilder(with_pip=False, clear=True, symlinks=True).create(folder)
    here = sysconfig.get_paths()["purelib"]
    (packages / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    command = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--only-binary",
        ":all:",
    ]
    try:
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--no-input", *requirements],
            capture_output=True,
            text=True,
            timeout=_INSTALL,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONNOUSERSITE": "1"},
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"the requirements {', '.join(requirements)} took more than {_INSTALL:g} s to install"
        ) from None
    if done.returncode != 0:
        raise ValueError(
            f"the requirements {', '.join(requirements)} cannot be installed: {done.stderr.strip()[-500:]}"
        )
    (folder / "ready").touch()
    return str(packages)


def digest_of(requirements: Sequence[str]) -> str:
    """Names an environment: 16 hexadecimal digits; empty without requirements."""
    return hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16] if requirements else ""


def given_files(paths: Sequence[Path], folders: Sequence[Path]) -> list[str]:
    """Files that parameters name; raises PermissionError for one that is not its own: a class grants itself nothing."""
    for path in paths:
        inside = [
            path.resolve().relative_to(f.resolve()) for f in folders if path.resolve().is_relative_to(f.resolve())
        ]
        if not any(way.parts and not any(part.startswith(".") for part in way.parts) for way in inside):
            places = " or ".join(map(str, folders))
            raise PermissionError(
                f"reads what it may not: a parameter names {path} (seen from {Path.cwd()}); expected a file in {places}"
            )
    return [str(path.resolve()) for path in paths]
