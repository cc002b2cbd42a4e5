"""The sources: a file that parses, an entry or a word for every part that ships, and what a board makes of it."""

from __future__ import annotations

import re

import pytest

from harness import registry
from leaderboard.bibtex import FILE, bibtex, escaped, keys, ours, parse, parts, references, submissions
from leaderboard.rows import boards

NEEDED = {
    "article": {"journal", "volume"},
    "inproceedings": {"booktitle"},
    "book": {"publisher"},
    "misc": set(),
    "techreport": {"institution"},
}


def test_the_file_parses_and_entries_are_whole():
    found = references()
    assert len(found) > 80
    assert len({entry.key for entry in found}) == len(found)
    for entry in found:
        assert entry.kind in NEEDED, entry.key
        lacking = NEEDED[entry.kind] | {"title", "year", "keywords"} - entry.fields.keys()
        assert not lacking - entry.fields.keys(), entry.key
        assert "author" in entry.fields or "editor" in entry.fields, entry.key
        assert re.fullmatch(r"(18|19|20)\d\d", entry.fields["year"]), entry.key
        assert re.findall(r"\d{4}", entry.key)[0] == entry.fields["year"], entry.key
        assert "&" not in entry.fields["title"].replace(r"\&", ""), entry.key
        for author in entry.fields.get("author", "").split(" and "):
            assert author == "others" or author.startswith("{") or author.count(",") == 1 or not author, (
                entry.key,
                author,
            )
        assert re.match(r"https://\S+$", entry.fields.get("url", "https://x")), entry.key
        assert re.match(r"10\.\d{4,}/\S+$", entry.fields.get("doi", "10.1000/x")), entry.key
    assert len({entry.fields["title"].lower() for entry in found}) == len(found)


@pytest.mark.parametrize("kind", ["attack", "defense", "victim", "dataset", "manifold", "shift", "measure"])
def test_every_part_that_ships_has_a_source_or_is_said_to_have_none(kind):
    named = {source for entry in references() for source in entry.sources} | ours()
    missing = [name for name in registry.names(kind) if f"{kind}/{name}" not in named]
    assert not missing, f"add an entry to {FILE.name}, or a line `% ours: {kind}/{missing[0]}`"


def test_no_part_is_named_that_does_not_exist():
    named = {source for entry in references() for source in entry.sources} | ours()
    kinds = ("attack", "defense", "victim", "dataset", "manifold", "shift", "measure", "metric")
    known = {f"{kind}/{name}" for kind in kinds for name in registry.names(kind)}
    assert {name for name in named if name.split("/")[0] in kinds} <= known
    assert not ours() & {source for entry in references() for source in entry.sources}


def test_the_twelve_papers_are_there():
    studies = {source for entry in references() for source in entry.sources if source.startswith("study/")}
    names = [
        "jamil",
        "tu",
        "liu_y",
        "sattelberg",
        "karimov",
        "pickard",
        "zhang",
        "mahler",
        "liu_z",
        "shukla",
        "jin",
        "gong",
    ]
    assert studies == {f"study/{name}" for name in names}


def test_an_entry_is_read_and_written():
    text = """
    % @comment{out, title = {of it}}
    @Article{a1,
      Title = {A {B} {\\'e}
               c},
      year = {2020}
    }
    """
    (entry,) = parse(text)
    assert (entry.kind, entry.key) == ("article", "a1")
    assert entry.fields == {"title": r"A {B} {\'e} c", "year": "2020"}
    assert parse(str(entry)) == [entry]
    assert str(entry).startswith("@article{a1,\n  title = {A {B}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@article{,}", "line 1: an entry begins"),
        ("\n@article{a,\n  title = {x}\n  2020\n}", "line 3: a field is written"),
        ("@article{a,\n  title = {x {y}\n", "line 2: a brace is not closed"),
        ("@article{a, title = {x},", "a field is written"),
        ("@article{a, title = {x}, Title = {y}}", "stands twice"),
    ],
)
def test_what_is_malformed_is_said_with_its_line(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)


def row_of(record):
    (board,) = boards([record])
    return board.rows[0]


def test_parts_behind_a_row(made):
    record = made.system(
        "gaussian_blur + linear_map_svm(attack=pgd(steps=3))",
        victim="timm/resnet18.a1(epochs=3)",
        dataset="digits",
        shifts=[made.shift("kmnist", 0.5, 0.9)],
        parts=[
            {"name": "gaussian_blur", "parameters": {"sigma": 1.0}},
            {"name": "linear_map_svm", "parameters": {"attack": "pgd(steps=3, norm=l2)", "source": ["cnn", None]}},
        ],
    )
    record["cells"].append(record["cells"][0] | {"attack": "transfer(attack=apgd, source=resnet18(width=8))"})
    found = parts(row_of(record))
    assert {"defense/gaussian_blur", "defense/linear_map_svm", "victim/timm", "dataset/digits", "victim/cnn"} <= found
    assert {"attack/pgd", "attack/transfer", "attack/apgd", "victim/resnet18", "shift/kmnist"} <= found
    assert {"metric/robust_accuracy", "flag/zero-gradient"} <= found
    assert "attack/steps" not in found


def test_what_a_board_rests_on(made):
    text = bibtex(boards(made.store()))
    found = {entry.key for entry in parse(text)}
    assert {
        "madry2018towards",
        "jamil2023leveraging",
        "goodfellow2015explaining",
        "xiao2017fashion",
        "holm1979simple",
    } <= found
    assert {"zaharia2018accelerating", "harness2026"} <= found
    assert "hanley1982meaning" in found  # some systems have an AUROC
    assert not {"wang2022vim", "krizhevsky2009learning", "gong2025recovering"} & found
    assert "keywords" not in text


def test_an_empty_board_rests_on_what_every_one_does():
    assert {source for entry in parse(bibtex([])) for source in references_of(entry.key)} >= {"judging", "software"}


def references_of(key):
    return next(entry.sources for entry in references() if entry.key == key)


def test_a_submission_with_a_paper_has_an_entry(made):
    told = {"name": "N & {M} 50%", "authors": ["Doe, A. & Co", "É. B_C"], "paper": "https://example.org/a_b%20c?d={e}"}
    row = row_of(made.system("my.py:Mine", submission=told))
    (entry,) = submissions([row, row]).values()
    assert keys(row, submissions([row])) == [entry.key]
    assert entry.fields["url"] == "https://example.org/a_b%20c?d=%7Be%7D"
    assert entry.fields["author"] == r"{Doe, A. \& Co} and É. B\_C"
    assert parse(str(entry)) == [entry]
    assert str(entry) in bibtex(boards([row.record]))


@pytest.mark.parametrize("told", [None, {"name": "x"}, {"paper": ""}, {"paper": 3, "authors": None}, "text"])
def test_odd_submissions_do_no_harm(made, told):
    row = row_of(made.system("x", submission=told))
    assert all(parse(str(entry)) for entry in submissions([row]).values())
    assert parse(bibtex(boards([row.record])))


def test_braces_of_strangers_are_balanced(made):
    row = row_of(made.system("x", submission={"name": "a } b {", "paper": "see } this", "authors": "}}"}))
    (entry,) = submissions([row]).values()
    assert parse(str(entry)) == [entry]


def test_escaping():
    assert escaped(r"a_b & 5% #1 $x$") == r"a\_b \& 5\% \#1 \$x\$"
    assert escaped("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
