"""The command `leaderboard`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import types

import pytest

import leaderboard
from leaderboard import board, paper
from leaderboard.cli import main


@pytest.fixture(autouse=True)
def no_references(monkeypatch):
    """Results that ship with the package are left out, but where a test puts some."""
    monkeypatch.setattr("harness.references.references", tuple)


@pytest.fixture
def home(tmp_path, made):
    folder = tmp_path / "runs" / "records"
    folder.mkdir(parents=True)
    for record in made.store(victims=("cnn",)):
        (folder / f"{record['id']}.json").write_text(json.dumps(record))
    return tmp_path / "runs"


def test_build_writes_four_files_and_prints_them(home, capsys):
    assert main(["build", "--home", str(home)]) == 0
    paths = capsys.readouterr().out.split()
    names = ["leaderboard.html", "leaderboard.md", "leaderboard.csv", "leaderboard.json"]
    assert paths == [str(home / "board" / name) for name in names]
    assert sorted(path.name for path in (home / "board").iterdir()) == sorted(names)


def test_building_twice_gives_the_same_bytes(home, tmp_path):
    for out in ("a", "b"):
        assert main(["build", "--home", str(home), "--out", str(tmp_path / out)]) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_folder_comes_from_the_environment_or_lies_here(home, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_HOME", str(home))
    assert main(["show"]) == 0
    monkeypatch.delenv("HARNESS_HOME")
    monkeypatch.chdir(home.parent)
    assert main(["show"]) == 0
    first, second = capsys.readouterr().out.split("suite fashion-0")[:2]
    assert "adversarial_training" in first
    assert "adversarial_training" in second


FORMS = [
    ("--markdown", "# Leaderboard"),
    ("--csv", "suite,size"),
    ("--json", "["),
    ("--latex", "% \\usepackage{booktabs"),
    ("--bibtex", "@article{jamil2023leveraging"),
]


@pytest.mark.parametrize(("form", "start"), FORMS)
def test_show_in_other_forms(home, capsys, form, start):
    assert main(["show", form, "--home", str(home)]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_an_empty_store_is_no_error_and_a_missing_one_is(tmp_path, capsys):
    assert main(["show", "--home", str(tmp_path)]) == 2
    assert "harness run quick" in capsys.readouterr().err
    (tmp_path / "records").mkdir()
    assert main(["build", "--home", str(tmp_path)]) == 0
    assert main(["show", "--home", str(tmp_path)]) == 0
    assert "No systems yet" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--csv"], ["--json"], ["--latex"], ["--bibtex"]])
@pytest.mark.parametrize("kind", ["empty", "one", "failed", "many"])
def test_every_form_of_small_and_large_folders(tmp_path, made, capsys, form, kind):
    folder = tmp_path / "records"
    folder.mkdir()
    many = [made.system(f"d{i}", robust=i / 200, inputs=20) for i in range(120)]
    records = {"empty": [], "one": [made.system()], "failed": [made.failed("a"), made.failed("b")], "many": many}[kind]
    for record in records:
        (folder / f"{record['id']}.json").write_text(json.dumps(record))
    assert main(["show", *form, "--home", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.strip()
    assert ("and 70 more: --top 120 prints them" in out) == (kind == "many" and not form)


def test_filters_and_claims(home, capsys):
    assert main(["show", "--defense", "gauss", "--suite", "fashion-1", "--top", "2", "--csv", "--home", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("gauss" in line for line in lines[1:])
    assert main(["show", "--claims", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert "claimed %" in out
    assert "55.0 ≠" in out
    assert main(["show", "--flags", "gradient-mismatch", "--json", "--home", str(home)]) == 0
    assert [system["defense"] for board in json.loads(capsys.readouterr().out) for system in board["systems"]] == [
        "bit_depth"
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["show", "--suite", "fashon"], "did you mean fashion-1"),
        (["show", "--attacks", "--latex"], "--attacks is no table of --latex"),
        (["show", "--flags", "--unflagged"], "not both"),
        (["compare", "none", "nonesuch"], "no record has the defense 'nonesuch'"),
        (["compare", "none", "bit_depth", "--suite", "fashion-2"], "known: fashion-0, fashion-1"),
        (["history", "nonesuch"], "defense or id 'nonesuch'"),
    ],
)
def test_wrong_arguments_are_errors(home, capsys, given, words):
    assert main([*given, "--home", str(home)]) == 2
    assert words in capsys.readouterr().err


def test_results_that_ship_stand_beside_own_ones(home, made, monkeypatch, capsys):
    shipped = (made.system("shipped", robust=0.99, reference=True), made.system("none", robust=0.9, reference=True))
    monkeypatch.setattr("harness.references.references", lambda: shipped)
    assert main(["show", "--suite", "fashion-1", "--json", "--home", str(home)]) == 0
    (board,) = json.loads(capsys.readouterr().out)
    found = {system["defense"]: system for system in board["systems"]}
    assert found["shipped"]["reference"]
    assert found["none"]["metrics"]["robust_accuracy"]["value"] == 0.02
    assert main(["compare", "shipped", "none", "--home", str(home)]) == 0
    assert main(["show", "--home", str(home)]) == 0
    assert "shipped°" in capsys.readouterr().out


def test_two_systems_are_compared(home, capsys):
    assert main(["compare", "adversarial_training", "bit_depth", "--home", str(home)]) == 0
    assert "1,000 inputs in common" in capsys.readouterr().out
    assert main(["compare", "adversarial_training", "bit_depth", "--json", "--home", str(home)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["a"]["defense"] == "adversarial_training"
    assert found["robust"]["difference"]["low"] > 0


def test_history_since_the_build_and_of_a_system(home, made, capsys):
    assert main(["history", "--home", str(home)]) == 0
    assert "No board was built yet" in capsys.readouterr().out
    assert main(["build", "--home", str(home)]) == 0
    record = made.system("none", clean=0.9, robust=0.3, created="2026-12-01T00:00:00Z")
    (home / "records" / "new.json").write_text(json.dumps(record | {"id": "c" * 16}))
    capsys.readouterr()
    assert main(["history", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert "none (fashion_mnist · cnn · ℓ∞ 0.1, adaptive): rank" in out
    assert "robust 2.0 → 30.0" in out
    assert main(["history", "none", "--suite", "fashion-1", "--json", "--home", str(home)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["since_build"] is None
    assert [entry["id"] for entry in found["systems"][0]["entries"]][-1] == "c" * 16


def test_skipped_files_are_named_on_standard_error(home, capsys):
    (home / "records" / "zz.json").write_text("{")
    assert main(["show", "--json", "--home", str(home)]) == 0
    captured = capsys.readouterr()
    assert "zz.json skipped: not JSON" in captured.err
    json.loads(captured.out)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.md"
    board.write(path, "old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        board.write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.md"]
    assert path.read_text() == "old"


def test_a_paper_is_studied_reported_and_written(tmp_path, monkeypatch, capsys):
    module = types.SimpleNamespace(studies=lambda: ["one", "two"], report=lambda results: f"# Report {results}\n")
    api = types.SimpleNamespace(study=lambda spec, *, home, device: {spec: [device]})
    known = {"leaderboard.papers.jamil": module, "harness.api": api}
    load = importlib.import_module
    monkeypatch.setattr(paper.importlib, "import_module", lambda name: known.get(name) or load(name))
    assert main(["paper", "jamil", "--home", str(tmp_path)]) == 0
    text = "# Report [{'one': ['cpu']}, {'two': ['cpu']}]\n"
    written = capsys.readouterr()
    assert written.out == text
    assert "leaderboard.html#view=papers" in written.err
    assert 'data-report="jamil"' in (tmp_path / "board" / "leaderboard.html").read_text()
    assert (tmp_path / "board" / "papers" / "jamil.md").read_text() == text


@pytest.mark.parametrize("name", ["jamill", "_jamil_maps", "../jamil", "os"])
def test_an_unknown_paper_names_the_known_ones(tmp_path, capsys, name):
    assert main(["paper", name, "--home", str(tmp_path)]) == 2
    assert "known: jamil" in capsys.readouterr().err


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom leaderboard.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'mlflow', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    start = time.perf_counter()
    root = os.path.dirname(os.path.dirname(leaderboard.__file__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert time.perf_counter() - start < 5
    assert done.stderr.strip() == "[]"
    assert "paper" in done.stdout
