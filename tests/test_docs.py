"""What README and docs say is true: links lead somewhere, commands parse, code compiles, the network keeps the contract."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from harness import check, cli, registry
from leaderboard import cli as leaderboard

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as links have them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[str]:
    """Every line of a block that calls one of the programs."""
    found = [line for page in PAGES for text in blocks(page, "") for line in text.splitlines()]
    return sorted({line for line in found if re.match(r"([A-Z_]+=\S+ )*(harness|leaderboard) ", line)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_compiles_and_grids_are_yaml(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")
    for text in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str) -> None:
    words = shlex.split(re.split(r"   | > ", line)[0], comments=True)
    words = words[next(i for i, word in enumerate(words) if "=" not in word) :]
    program = {"harness": cli._parser, "leaderboard": leaderboard.parser}[words[0]]
    arguments = program().parse_args(words[1:])
    grid = getattr(arguments, "grid", None)
    assert grid is None or grid.endswith(".yaml") or (registry.root() / "harness" / "grids" / f"{grid}.yaml").is_file()


def test_every_page_can_be_reached() -> None:
    told = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for page in PAGES[1:]:
        assert any(page.name in text for other, text in told.items() if other != page), page.name


@pytest.mark.parametrize(
    ("page", "part"), [("grids.md", "my_network.py:Mine"), ("submitting.md", "my_attack.py:MyAttack")]
)
def test_what_a_page_shows_keeps_the_contract(page: str, part: str, tmp_path: Path) -> None:
    file, _, name = part.partition(":")
    code = next(text for text in blocks(ROOT / "docs" / page, "python") if f"class {name}" in text)
    (tmp_path / file).write_text(code, encoding="utf-8")
    findings = check.check(f"{tmp_path / file}:{name}")
    assert len(findings) >= 3
    assert [finding for finding in findings if not finding.passed] == []
