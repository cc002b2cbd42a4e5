"""A submission: a file with a class, or a folder with `defense.py`, `submission.yaml`, weights and a list of requirements."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness import registry

CARD = "submission.yaml"
CLAIMS = ("clean_accuracy", "robust_accuracy")
_INSTALL = 900.0  # seconds for the requirements


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
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping):
        raise ValueError(f"{path}: a mapping of name, authors, paper, claimed, requirements, not {document!r}")
    known = {"name", "authors", "paper", "claimed", "requirements", "file", "class"}
    for key in document:
        if key not in known:
            raise ValueError(f"{path}: " + registry.unknown(str(key), sorted(known), "key"))
    texts = {key: _text(document, key, path) for key in ("name", "paper", "file", "class")}
    if Path(texts["file"] or "defense.py").name != (texts["file"] or "defense.py"):
        raise ValueError(f"{path}: file is the name of a file beside it, not {texts['file']!r}")
    return Card(
        name=texts["name"],
        authors=_texts(document, "authors", path),
        paper=texts["paper"],
        claimed=_claims(document.get("claimed") or {}, path),
        requirements=_texts(document, "requirements", path),
        file=texts["file"] or "defense.py",
        part=texts["class"],
    )


def _text(document: Mapping[str, Any], key: str, path: Path) -> str:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: {key} is text, not {value!r}")
    return value or ""


def _texts(document: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = document.get(key) or []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or not all(isinstance(item, str) and item.strip() for item in listed):
        raise ValueError(f"{path}: {key} is a list of texts, not {value!r}")
    return tuple(item.strip() for item in listed)


def _claims(value: Any, path: Path) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: claimed holds {' and '.join(CLAIMS)}, not {value!r}")
    for name, share in value.items():
        if name not in CLAIMS:
            raise ValueError(f"{path}: " + registry.unknown(str(name), list(CLAIMS), "claim"))
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise ValueError(f"{path}: claimed {name} is a share from 0 to 1, such as 0.55, not {share!r}")
    return {str(name): float(share) for name, share in value.items()}


def named(text: str) -> str:
    """What a person submits as the name of a part: a folder becomes its file and class. Raises FileNotFoundError, ValueError."""
    folder = Path(text).expanduser()
    if ".py" in text or not folder.is_dir():
        return text
    card = card_of(folder)
    file = folder / card.file
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {card.file}; `harness new defense NAME` writes a folder that does")
    return f"{file}:{card.part}" if card.part else str(file)


def environment(requirements: Sequence[str], home: Path) -> str:
    """The folder with the packages that are required, besides what is installed here; in the run folder, installed once.

    Only wheels are installed, as the building of a package would run its code, and the environment's interpreter is never
    started again, as it would run what packages put into .pth files. Raises ValueError with pip's last lines.
    """
    if not requirements:
        return ""
    for line in requirements:
        if line.startswith("-") or "://" in line or "@" in line or line.endswith((".whl", ".gz", ".zip")):
            raise ValueError(f"the requirement {line!r} is not a name with versions, such as scikit-image>=0.24")
    folder = home / "environments" / digest_of(requirements)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    if (folder / "ready").is_file():
        return str(packages)
    import venv

    venv.EnvBuilder(with_pip=False, clear=True, symlinks=True).create(folder)
    here = sysconfig.get_paths()["purelib"]
    (packages / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--no-input", *requirements],
            capture_output=True,
            text=True,
            timeout=_INSTALL,
            check=False,
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
